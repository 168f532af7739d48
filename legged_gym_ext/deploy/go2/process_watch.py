"""Know within a moment that another process has died, before the system has cleared it away."""

from __future__ import annotations

import ctypes
import errno
import sys
from typing import Any


class Lifeline:
    """A lock in shared memory that another process holds as long as it lives.

    A pipe closes only after the memory of a killed process has been given back, which takes some 20 ms for one with onnxruntime and DDS. A robust mutex is
    handed over before that (man 3 pthread_mutexattr_setrobust). Only Linux is asked for one; elsewhere the line never breaks, and the pipe has to do.
    """

    def __init__(self, context: Any) -> None:
        """Make a line that nobody holds yet; `context` (of multiprocessing) is that of the process that will."""
        self._lock = context.RawArray(ctypes.c_long, 8)  # 64 bytes: a pthread_mutex_t has 40 on x86-64, 48 on arm64
        self._broken = False
        if _libc is None:
            return
        attributes = (ctypes.c_long * 8)()
        _libc.pthread_mutexattr_init(attributes)
        _libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED)
        _libc.pthread_mutexattr_setrobust(attributes, _ROBUST)
        _libc.pthread_mutex_init(self._lock, attributes)

    def hold(self) -> None:
        """Hold the line until the calling thread ends."""
        if _libc is not None:
            _libc.pthread_mutex_lock(self._lock)

    def broken(self) -> bool:
        """Whether someone held the line and died; takes a microsecond and never waits."""
        if _libc is not None and not self._broken:
            found = _libc.pthread_mutex_trylock(self._lock)
            self._broken = found == errno.EOWNERDEAD
            if found == 0:
                _libc.pthread_mutex_unlock(self._lock)
        return self._broken


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PROCESS_SHARED = _ROBUST = 1  # PTHREAD_PROCESS_SHARED and PTHREAD_MUTEX_ROBUST of glibc and musl
