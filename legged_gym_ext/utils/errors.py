"""Errors a user can fix, and how programs report them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class UserError(Exception):
    """Something the user can fix; the message is one line: what was found, what was expected, what to do."""


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

    A `UserError` is one line on standard error and code 2, Ctrl-C one line and code 130; a reader of standard output
    that went away (head, less) is no error.
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
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit as leaving:  # argparse's --help; its text may still be in the buffer
        return leaving.code
