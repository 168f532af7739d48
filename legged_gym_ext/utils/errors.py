"""Errors a user can fix, and how programs report them."""

from __future__ import annotations

import difflib
import os
import sys
from typing import Callable, Iterable


class UserError(Exception):
    """Something the user can fix; the message is one line: what was found, what was expected, what to do."""


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Up to `count` candidates that look most like `name`; for dotted names the last part counts too."""
    known = list(dict.fromkeys(candidates))
    close = difflib.get_close_matches(name, known, n=count, cutoff=0.6)
    tails = {}
    for candidate in known:
        tails.setdefault(candidate.rsplit(".", 1)[-1], []).append(candidate)
    for tail in difflib.get_close_matches(name.rsplit(".", 1)[-1], list(tails), n=count, cutoff=0.7):
        close += tails[tail]
    return list(dict.fromkeys(close))[:count]


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean a, b?` with the nearest candidates, empty when nothing is near."""
    close = nearest(name, candidates)
    return f"; did you mean {', '.join(close)}?" if close else ""


def run_main(main: Callable[[list[str] | None], int | None]) -> None:
    """Run a program's `main(argv)` and exit: user errors are one line on standard error and code 2."""
    try:
        code = main(sys.argv[1:]) or 0
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # The reader (head, less) went away; that is no error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
