"""Errors a user can fix, and how programs report them.

Every script's `main(argv)` raises `UserError` and returns an exit code, so that it can be called from Python, too.
`run_main` is what makes a program of it: one line on standard error and an exit code. Own programs around a `main` end
with `run_main(lambda argv: train.main([...]))`.
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
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from legged_gym_ext import ROOT_DIR

TRACEBACK = "LEGGED_GYM_TRACEBACK"
"""Environment variable; when it is set, the traceback of a `UserError` and of its cause is printed, too."""


class UserError(Exception):
    """Something the user can fix; the message is one line: what was found, what was expected, what to do."""


class Terminated(KeyboardInterrupt):
    """The program was asked to end by a signal other than Ctrl-C's."""

    def __init__(self, number: int) -> None:
        """`number` is that of the signal."""
        super().__init__()
        self.exit_code = 128 + number


@contextlib.contextmanager
def user_errors(failed: str) -> Iterator[None]:
    """Turn any error of the code inside into a `UserError` that begins with `failed`, with the error as its cause.

    For what settings can break in ways that nobody foresaw: building, and the first iteration.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{failed}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What happened, in one line; of errors that do not speak to users, also the type and how to see more."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    reason = " ".join(str(error).split())[:300] or "no reason given"
    return reason if type(error) is ValueError else f"{type(error).__name__}: {reason} ({TRACEBACK}=1 shows where)"


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` candidates that look most like `name`, best first; for dotted names the last part counts too."""

    def tail(text: str) -> str:
        return text.rsplit(".", 1)[-1]

    scores = {}
    for candidate in candidates:
        whole = difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio()
        last = difflib.SequenceMatcher(None, tail(name).lower(), tail(candidate).lower()).ratio()
        # Below these limits (difflib's own default, and a stricter one for short last parts) names are unrelated.
        if whole >= 0.6 or last >= 0.7:
            scores[candidate] = (max(whole, last), whole)
    return sorted(scores, key=lambda candidate: scores[candidate], reverse=True)[:n]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean a, b?` with the nearest candidates, empty when nothing is near."""
    close = nearest(name, candidates)
    return f"; did you mean {', '.join(close)}?" if close else ""


def run_main(main: Callable[[list[str] | None], int | None]) -> NoReturn:
    """Run a program's `main(argv)` and exit with its code.

    A `UserError` is one line on standard error and code 2, Ctrl-C one line and code 130, another signal that was heard
    one line and 128 plus its number (SIGTERM: 143); a reader of standard output that went away (head, less) is no error.
    """
    code = 0
    try:
        code = _exit_code(main)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more when it ends; that must find something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _exit_code(main: Callable[[list[str] | None], int | None]) -> str | int | None:
    """Run `main` and say how to exit."""
    try:
        return main(sys.argv[1:]) or 0
    except UserError as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Terminated as ended:
        print("terminated", file=sys.stderr)
        return ended.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # argparse's --help; its text may still be in the buffer
        return leaving.code


def count(number: int, noun: str) -> str:
    """`1 robot`, `2 robots`: of nouns with a plain plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def here(path: str | Path) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    relative = os.path.relpath(path) if Path(path).is_absolute() else str(path)
    return str(path) if relative.startswith(os.pardir) else relative


def python() -> str:
    """The interpreter that runs this: `python` where that is what the shell would find."""
    executable = sys.executable or "python"
    found = shutil.which("python")
    # As it is spelt: the interpreter of a virtual environment is a link to one that has no packages.
    return "python" if found is not None and os.path.abspath(found) == executable else here(executable)


def installed(package: str) -> bool:
    """Whether a package of this import name is there; a bare folder, such as the `wandb` that runs leave behind, is none."""
    try:
        spec = find_spec(package)
    except Exception:  # imported without a spec, or a finder that is broken
        return package in sys.modules
    return spec is not None and spec.origin is not None


def install_command(extra: str) -> str:
    """A line for the shell that installs this package with an extra."""
    wanted = ["-e", f"{here(ROOT_DIR)}[{extra}]"] if (ROOT_DIR / "setup.py").is_file() else [f"rsl_rl_ult[{extra}]"]
    return shlex.join([python(), "-m", "pip", "install", *wanted])
