"""Tensorboard's event files; a full or broken disk costs curves, not the training."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rsl_rl.utils.log_writer import LogWriter

from legged_gym_ext.training.runs import os_error_reason

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

RETRY_AFTER = 60.0  # s between attempts to open a new file
MIN_FREE_SPACE = 2**20  # bytes that must be free for an attempt


class TensorboardWriter(LogWriter):
    """Writes scalars for tensorboard; while the disk refuses them they are dropped."""

    def __init__(self, log_dir: str) -> None:
        """Write event files to the folder `log_dir`.

        Raises:
            OSError: the first file cannot be created.
        """
        self._log_dir, self._reported, self._last_attempt = log_dir, False, time.monotonic()
        _silence_writer_threads()
        self._writer: SummaryWriter | None = self._open()

    def _open(self) -> SummaryWriter:
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(log_dir=self._log_dir, flush_secs=10)

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Write a value, or drop it."""
        writer = self._reopen() if self._writer is None else self._writer
        if writer is None:
            return
        try:
            writer.add_scalar(tag, scalar_value, global_step)
        except OSError as error:
            self._fail(error)

    def _reopen(self) -> SummaryWriter | None:
        """A new file every `RETRY_AFTER` s, once there is space; the previous one may end in half a record."""
        if time.monotonic() - self._last_attempt < RETRY_AFTER:
            return None
        self._last_attempt = time.monotonic()
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self._log_dir).free >= MIN_FREE_SPACE:
                self._writer = self._open()
        return self._writer

    def _fail(self, error: OSError) -> None:
        self._writer, self._last_attempt = None, time.monotonic()
        if not self._reported:
            self._reported = True
            message = f"cannot write curves to {self._log_dir}: {os_error_reason(error)}"
            print(f"\n{message}; the training goes on without them", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Write what is buffered and close the file."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._fail(error)


def _silence_writer_threads() -> None:
    """Tensorboard writes in a thread, whose errors reach `add_scalar` as well: they need no traceback besides."""
    current = threading.excepthook
    if not (isinstance(current, functools.partial) and current.func is _thread_hook):
        threading.excepthook = functools.partial(_thread_hook, current)


def _thread_hook(otherwise: Callable[[Any], Any], args: Any) -> None:
    """Hook for `threading.excepthook` that passes on all but the OS errors of tensorboard's threads."""
    from_tensorboard = type(args.thread).__module__.startswith("tensorboard.")
    if not (from_tensorboard and issubclass(args.exc_type, OSError)):
        otherwise(args)
