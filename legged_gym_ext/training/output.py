"""Printing that outlives whoever reads it, for programs whose work is worth more than what they print."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator
from typing import Any


class _Outliving:
    """A text stream that drops everything once its reader is gone."""

    def __init__(self, stream: Any, note: str) -> None:
        self._stream, self._note, self._lost, self._told = stream, note, False, False

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Any) -> None:
        if self._lost:
            return
        try:
            action()
        except OSError as error:  # a broken pipe, a terminal that was closed, a full disk behind a redirection
            self._lost = error.errno != errno.ENOSPC  # a disk may have room again
            if not self._told:
                self._told = True
                with contextlib.suppress(OSError, ValueError):
                    print(self._note, file=sys.stderr, flush=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def outlive_reader(doing: str) -> Iterator[None]:
    """Go on when standard output cannot be written any more; standard error says so once.

    Its reader may be gone (`| head -1`), its terminal closed, the disk behind it full.

    Args:
        doing: what goes on, for that line.
    """
    note = f"note: standard output can no longer be written; {doing} goes on without it"
    with contextlib.redirect_stdout(_Outliving(sys.stdout, note)):
        yield
