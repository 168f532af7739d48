"""Tasks that users register in their own files: `--import my_tasks.py`. Standard library only."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from legged_gym_ext.utils import cli
from legged_gym_ext.utils.errors import UserError

_importing: list[str] = []  # names of the files and modules that are being imported
imported: dict[str, None] = {}
"""What `--import` has named so far, files by their whole path: later commands need the same."""


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse as `cli.parse`, then import the files of `--import`, which register their tasks."""
    refuse_nested()
    args = cli.parse(parser, argv)
    for name in args.imports:
        import_tasks(name)
    return args


def import_tasks(name: str) -> None:
    """Import a Python file, or a module by its dotted name, which registers its tasks; once only.

    Raises:
        UserError: the file or module does not exist, or fails.
    """
    path = Path(os.path.expanduser(name))
    is_file = path.suffix == ".py" or path.is_file()
    if is_file and not path.is_file():
        raise UserError(f"--import={name}: there is no such file; expected a Python file, or the name of a module")
    if is_file and path.resolve() in _loaded():
        return
    key = str(path.resolve()) if is_file else name
    imported[key] = None
    _importing.append(name)
    try:
        if is_file:
            _import_file(path.resolve())
        else:
            _add_to_path(os.getcwd())
            importlib.import_module(name)
    except Exception as error:
        del imported[key]  # it registered nothing that a later command needs
        if isinstance(error, UserError):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--import={name} failed: {type(error).__name__}: {reason}") from error
    finally:
        _importing.pop()


def _loaded() -> set[Path]:
    """Files of all imported modules, the running program included."""
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {Path(file).resolve() for file in files if isinstance(file, str)}


def _import_file(path: Path) -> None:
    _add_to_path(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--import={path}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # "my_tasks:MyRobot" is found by that name
    spec.loader.exec_module(module)


def _add_to_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def refuse_nested() -> None:
    """Raise a `UserError` in a program that a file starts while it is imported; every program calls this first."""
    if _importing:
        raise UserError(
            f"--import={_importing[-1]}: this file starts a program when it is imported; put that below "
            '`if __name__ == "__main__":`'
        )


def source_of(namespace: dict[str, Any]) -> str | None:
    """Argument of `--import` for the module with these globals; None for modules of this package or without a file."""
    spec, name, file = namespace.get("__spec__"), namespace.get("__name__", ""), namespace.get("__file__")
    dotted = getattr(spec, "name", None) or name
    if dotted.partition(".")[0] == "legged_gym_ext" or not isinstance(file, str):
        return None
    return dotted if "." in dotted else str(Path(file).resolve())
