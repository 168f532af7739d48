"""Legged-robot tasks with privileged and critic observations, in the manner of legged_gym."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"

ROOT_DIR = Path(__file__).resolve().parents[1]
"""The repository: robots are under `resources/`, training runs under `logs/`."""
