"""Other versions of Python on this machine, and virtual environments of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = ("torch==1.10.2", "numpy<1.25", "pytest<8.4")
"""What forks with Isaac Gym have, for Python 3.8; and what runs the tests."""


def find_python(version: str) -> str | None:
    """An interpreter of `version` ("3.8") that really starts; None where there is none."""
    for candidate in _candidates(version):
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            found = subprocess.run([candidate, "-c", program], capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if found.returncode == 0 and found.stdout.strip() == version:
            return candidate
    return None


def _candidates(version: str) -> Iterator[str]:
    """The one on the PATH, those of pyenv, what uv has or downloads.

    Commands of pyenv on the PATH start one version only.
    """
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield on_path
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))
    if shutil.which("uv"):
        subprocess.run(["uv", "python", "install", version], capture_output=True)
        found = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True)
        if found.returncode == 0:
            yield found.stdout.strip()


def make_environment(python: str, folder: Path) -> str:
    """A virtual environment of that interpreter, with the pip that it brings; its own interpreter."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True, env=clean_environment())
    return str(folder / "bin/python")


def clean_environment() -> dict[str, str]:
    """This process's environment without what leads Python to packages of another one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
