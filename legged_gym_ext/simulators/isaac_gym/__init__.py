"""NVIDIA Isaac Gym Preview 4."""
