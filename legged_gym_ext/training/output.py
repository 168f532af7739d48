"""Standard output that may break, for programs whose work is worth more than what they print."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


class _TolerantStream:
    """A text stream that drops its output once it cannot be written any more."""

    def __init__(self, stream: TextIO, note: str) -> None:
        self._stream, self._note, self._broken, self._reported = stream, note, False, False

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self._broken:
            return
        try:
            action()
        except OSError as error:  # broken pipe, closed terminal, full disk behind a redirection
            self._broken = error.errno != errno.ENOSPC  # a full disk may have space again
            if not self._reported:
                self._reported = True
                with contextlib.suppress(OSError, ValueError):
                    print(self._note, file=sys.stderr, flush=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def tolerate_broken_stdout(activity: str) -> Iterator[None]:
    """Continue when standard output cannot be written any more; one line on standard error says so.

    Its reader may have ended (`| head -1`), its terminal been closed, the disk behind it be full.

    Args:
        activity: what continues, for that line.
    """
    note = f"note: standard output can no longer be written; {activity} goes on without it"
    with contextlib.redirect_stdout(_TolerantStream(sys.stdout, note)):
        yield
