"""Errors a user can fix, and how programs report them.

Every script's `main(argv)` raises `UserError` and returns an exit code, so that it can be called from Python, too.
`run_main` turns it into a program: `run_main(lambda argv: train.main([...]))`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from legged_gym_ext import IN_REPOSITORY, ROOT_DIR
from legged_gym_ext.foreign import one_line

TRACEBACK = "LEGGED_GYM_TRACEBACK"
"""Environment variable: if set, the traceback of a `UserError` and of its cause is printed, too."""


class UserError(Exception):
    """Something the user can fix; the message is one line: what was found, what was expected, what to do."""

    def __str__(self) -> str:
        """One line, whatever stood in a file or on a command line."""
        return one_line(super().__str__())


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's, with this number, ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextlib.contextmanager
def user_errors(failed: str) -> Iterator[None]:
    """Convert any error into a `UserError` whose message begins with `failed`.

    For code that settings can break in unforeseen ways: building a task, and the first iteration.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{failed}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The reason in one line; for errors not meant for users, with their type and how to see the traceback."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    reason = " ".join(str(error).split())[:300] or "no reason given"
    return reason if type(error) is ValueError else f"{type(error).__name__}: {reason} ({TRACEBACK}=1 shows where)"


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` candidates most similar to `name`, best first; of dotted names the last part alone, or its initials."""

    def ratio(a: str, b: str) -> float:
        return difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio()

    scores = {}
    for candidate in candidates:
        section, _, part = name.rpartition(".")
        there, _, word = candidate.rpartition(".")
        whole, last = ratio(name, candidate), ratio(part, word)
        if "_" in word and section == there and part == "".join(piece[:1] for piece in word.split("_")):
            last = 1.0  # the initials: algorithm.lr
        # Below these limits (difflib's own default, and a stricter one for short last parts) names are unrelated.
        if whole >= 0.6 or last >= 0.7:
            scores[candidate] = (max(whole, last), whole)
    return sorted(scores, key=lambda candidate: scores[candidate], reverse=True)[:n]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean a, b?` with the nearest candidates; empty if there are none."""
    close = nearest(name, candidates)
    return f"; did you mean {', '.join(close)}?" if close else ""


def run_main(main: Callable[[list[str] | None], int | None]) -> NoReturn:
    """Run a program's `main(argv)` and exit with its code.

    One line on standard error and code 2 for a `UserError`, 130 for Ctrl-C, 128 plus its number for another handled
    signal (SIGTERM: 143). A reader of standard output that ended (head, less) is no error.
    """
    code = 0
    try:
        code = _exit_code(main)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _exit_code(main: Callable[[list[str] | None], int | None]) -> str | int | None:
    """Run `main` and return the exit code."""
    try:
        return main(sys.argv[1:]) or 0
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:  # of the system: a name too long, a folder that nobody may read
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"error: {error if isinstance(error, UserError) else one_line(_reason(error))}", file=sys.stderr)
        return 2
    except Terminated as ended:
        print("terminated", file=sys.stderr)
        return ended.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # argparse's --help; its text may still be in the buffer
        return leaving.code


def pluralize(number: int, noun: str) -> str:
    """`1 robot`, `2 robots`: for nouns with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def display_path(path: str | Path) -> str:
    """A path as one would type it: relative if it is below the working directory."""
    relative = os.path.relpath(path) if Path(path).is_absolute() else str(path)
    return str(path) if relative.startswith(os.pardir) else relative


def python_command() -> str:
    """The running interpreter as a shell command: `python` if that is what the shell finds."""
    executable = sys.executable or "python"
    found = shutil.which("python")
    # Links are not resolved: the interpreter of a virtual environment is a link to one without its packages.
    return "python" if found is not None and os.path.abspath(found) == executable else display_path(executable)


def installed(package: str) -> bool:
    """Whether a package can be imported; a bare folder, such as the `wandb` of its runs, does not count."""
    try:
        spec = find_spec(package)
    except Exception:  # imported without a spec, or a broken finder
        return package in sys.modules
    return spec is not None and spec.origin is not None


def install_command(extra: str) -> str:
    """Shell command that installs this package with an extra, in a clone in the versions that were tested."""
    python, uv = python_command(), not PathFinder.find_spec("pip")  # setuptools' finder, if asked, breaks setuptools
    pip = ["uv", "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    pins = ["-c", display_path(ROOT_DIR / "constraints.txt"), "-e"] if IN_REPOSITORY else []
    return shlex.join([*pip, *pins, f"{display_path(ROOT_DIR) if IN_REPOSITORY else 'rsl_rl_ult'}[{extra}]"])
