"""Early end of a training: by Ctrl-C, SIGTERM or a closed terminal, after the current iteration."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

from legged_gym_ext.utils.distributed import world_size
from legged_gym_ext.utils.errors import Terminated

REPEAT_INTERVAL = 1.0
"""s from which a second signal counts as a second request; torchrun and terminals send one request twice."""

GRACE_PERIOD = 5.0
"""s that an iteration may still take after SIGTERM: containers and schedulers kill 10 to 30 s later."""


LOST = ("gloo/transport", "closed by peer", "reset by peer", "nccl", "distbackenderror")
"""What torch says in its errors when a process of a distributed training is gone; it has no type for that."""


def is_lost_process(error: Exception) -> bool:
    """Whether an error of a distributed training comes from another process that has ended."""
    text = f"{type(error).__name__} {error}".lower()
    return world_size() > 1 and isinstance(error, RuntimeError) and any(words in text for words in LOST)


class GracefulStop:
    """Context manager that turns signals into a request to end, which is met after the current iteration.

    Before `defer` a signal raises `KeyboardInterrupt` or `Terminated` at once. SIGINT is handled even if it was ignored
    before: shells start the background jobs of scripts like that, which could then not be ended with a save. SIGHUP
    stays ignored if it is (nohup).

    Attributes:
        request: the exception that ends the program; None without a request.
        synchronized: whether all processes of a torchrun end after the same iteration.
    """

    def __init__(self) -> None:
        """Start without a request."""
        self.request: BaseException | None = None
        self.synchronized = False
        self._requested_at, self._deferred, self._saving = 0.0, False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> GracefulStop:
        """Install the signal handlers; outside of the main thread, where Python has none, change nothing."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM"):
            number = getattr(signal, name, None)  # Windows has two of them
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            with contextlib.suppress(ValueError):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous handlers."""
        if hasattr(signal, "SIGALRM") and signal.SIGALRM in self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            # None: a handler that was not set from Python and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def defer(self) -> None:
        """From now on a signal only sets `request`; a second one, or `GRACE_PERIOD` after SIGTERM, raises it."""
        self._deferred = True

    def begin_saving(self) -> None:
        """From now on ignore signals: the last checkpoint is being written."""
        self._saving = True

    def _on_signal(self, number: int, frame: Any) -> None:
        if self._saving:
            return
        earlier = self.request
        if number == getattr(signal, "SIGALRM", None):  # the iteration took too long
            if earlier is not None:
                raise earlier
            return
        now = time.monotonic()
        request = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
        if not self._deferred:
            raise request
        if earlier is not None:
            if now - self._requested_at > REPEAT_INTERVAL:
                raise earlier
            return
        self.request, self._requested_at = request, now
        if number != signal.SIGINT and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, GRACE_PERIOD)
        with contextlib.suppress(OSError):  # os.write: print may not be entered twice
            os.write(2, b"\nending after this iteration; once more: at once\n")
