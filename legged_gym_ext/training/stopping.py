"""How a training ends early: by Ctrl-C, SIGTERM or a closed terminal, after the iteration that is running."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

from legged_gym_ext.utils.errors import Terminated

AGAIN = 1.0
"""s between signals that are two requests; torchrun and terminals send one request twice."""

PATIENCE = 5.0
"""s that an iteration may still take after SIGTERM: containers and schedulers kill 10 to 30 s later."""


class Stop:
    """A request to end, by signal. Outside of `defer` it is an exception at once: `KeyboardInterrupt`, or `Terminated`.

    SIGINT is heard even where it was ignored before: shells start the background jobs of a script like that, which
    could then not be ended with a save. SIGHUP is left ignored where it is (nohup).

    Attributes:
        asked: the exception that ends the program; None while nobody asked.
        agreed: whether all processes of a torchrun end after the same iteration.
    """

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.asked: BaseException | None = None
        self.agreed = False
        self._since, self._deferred, self._saving = 0.0, False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        """Hear the signals; in threads, where Python lets nobody hear them, change nothing."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM"):
            number = getattr(signal, name, None)  # Windows has two of them
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            with contextlib.suppress(ValueError):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        if hasattr(signal, "SIGALRM") and signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            # None: a handler that was not set from Python, and that cannot be given back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def defer(self) -> None:
        """From now on a request only sets `asked`; a second one, or `PATIENCE` after SIGTERM, is an exception again."""
        self._deferred = True

    def begin_saving(self) -> None:
        """From now on no signal interrupts: the last checkpoint is being written."""
        self._saving = True

    def _hear(self, number: int, frame: Any) -> None:
        if self._saving:
            return
        asked = self.asked
        if number == getattr(signal, "SIGALRM", None):  # an iteration took too long
            if asked is not None:
                raise asked
            return
        now = time.monotonic()
        request = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        if not self._deferred:
            raise request
        if asked is not None:
            if now - self._since > AGAIN:
                raise asked
            return
        self.asked, self._since = request, now
        if number != signal.SIGINT and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        with contextlib.suppress(OSError):  # os.write: print may not be entered twice
            os.write(2, b"\nending after this iteration; once more: at once\n")
