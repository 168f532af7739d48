"""The robot-independent environment."""
