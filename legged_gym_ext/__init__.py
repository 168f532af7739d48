"""Legged-robot tasks with privileged and critic observations, in the manner of legged_gym."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

os.environ.setdefault(
    "GIT_PYTHON_REFRESH", "quiet"
)  # GitPython, which rsl-rl-lib imports, fails to import without a git program

__version__ = "0.1.0"

ROOT_DIR = Path(__file__).resolve().parents[1]
"""The repository: robots are under `resources/`, training runs under `logs/`."""


def register_tasks(
    task_registry: Any, prefix: str = "", names: Sequence[str] | None = None, class_prefix: str = ""
) -> list[str]:
    """Put the tasks into the registry of a legged_gym fork; see wrappers/vec_env_v1.py. Returns their names there."""
    from legged_gym_ext.wrappers.vec_env_v1 import register_tasks as register_all

    return register_all(task_registry, prefix=prefix, names=names, class_prefix=class_prefix)
