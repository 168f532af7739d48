"""Unitree Go2 tasks."""
