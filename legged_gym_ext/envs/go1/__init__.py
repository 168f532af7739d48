"""Unitree Go1 tasks."""
