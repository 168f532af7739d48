"""Legged-robot tasks with privileged and critic observations, in the manner of legged_gym."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Sequence

os.environ.setdefault(
    "GIT_PYTHON_REFRESH", "quiet"
)  # GitPython, which rsl-rl-lib imports, fails to import without a git program

__version__ = "0.1.0"

PACKAGE_DIR = Path(__file__).resolve().parent
"""This package: robots are under `resources/`."""

ROOT_DIR = PACKAGE_DIR.parent
"""The repository, or the folder of installed packages."""

IN_REPOSITORY = (ROOT_DIR / "constraints.txt").is_file()
"""Whether this package is used from a clone: runs go to its `logs/`, and its script files are what one starts."""


def find_file(name: str) -> Path:
    """The file that a configuration names.

    Args:
        name: path; "{ROOT}" stands for this package or, for what is not in it, for the repository around it.

    Returns:
        The path; that there is such a file is for the caller to check.
    """
    path = Path(os.path.expanduser(name.replace("{ROOT}", str(PACKAGE_DIR))))
    around = Path(os.path.expanduser(name.replace("{ROOT}", str(ROOT_DIR))))
    return around if around.is_file() and not path.is_file() else path


def register_tasks(
    task_registry: Any, prefix: str = "", names: Sequence[str] | None = None, class_prefix: str = ""
) -> list[str]:
    """Put the tasks into the registry of a legged_gym fork; see wrappers/vec_env_v1.py. Returns their names there."""
    from legged_gym_ext.wrappers.vec_env_v1 import register_tasks as register_all

    return register_all(task_registry, prefix=prefix, names=names, class_prefix=class_prefix)
