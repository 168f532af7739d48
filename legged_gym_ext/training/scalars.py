"""Tensorboard's files, written as long as the disk takes them: curves are not worth a training."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from typing import Any

from rsl_rl.utils.log_writer import LogWriter

from legged_gym_ext.training.runs import why

RETRY = 60.0  # s
ROOM = 2**20  # bytes that must be free before it is tried again


class TensorboardWriter(LogWriter):
    """Scalars for tensorboard; while the disk refuses them they are lost, and the training goes on."""

    def __init__(self, log_dir: str) -> None:
        """Write event files to the folder `log_dir`.

        Raises:
            OSError: the system refuses already now.
        """
        self._log_dir, self._told, self._tried = log_dir, False, time.monotonic()
        _silence_threads()
        self._writer: Any = self._open()

    def _open(self) -> Any:
        from torch.utils.tensorboard.writer import SummaryWriter

        return SummaryWriter(log_dir=self._log_dir, flush_secs=10)

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Write a value, or lose it."""
        writer = self._reopened() if self._writer is None else self._writer
        if writer is None:
            return
        try:
            writer.add_scalar(tag, scalar_value, global_step)
        except OSError as error:
            self._fail(error)

    def _reopened(self) -> Any:
        """A new file, now and then, once there is room; the last one may end in half a record."""
        if time.monotonic() - self._tried < RETRY:
            return None
        self._tried = time.monotonic()
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self._log_dir).free >= ROOM:
                self._writer = self._open()
        return self._writer

    def _fail(self, error: OSError) -> None:
        self._writer, self._tried = None, time.monotonic()
        if not self._told:
            self._told = True
            line = f"cannot write curves to {self._log_dir}: {why(error)}; the training goes on without them"
            print(f"\n{line}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Write what is left and close the file."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as error:
            self._fail(error)


def _silence_threads() -> None:
    """Tensorboard writes in a thread of its own, whose errors reach the writer, too: they need no traceback besides."""
    before = threading.excepthook
    if getattr(before, "of_scalars", False):
        return

    def hook(args: Any) -> None:
        ours = type(args.thread).__module__.startswith("tensorboard.")
        if not (ours and issubclass(args.exc_type, OSError)):
            before(args)

    hook.of_scalars = True  # type: ignore[attr-defined]
    threading.excepthook = hook
