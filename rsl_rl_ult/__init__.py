"""Privileged-learning algorithms for legged robots, as a plugin for rsl_rl hosts."""

__version__ = "0.1.0"
