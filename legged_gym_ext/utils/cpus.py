"""CPU cores: how many this process may use, and how its threads wait."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

from legged_gym_ext.utils.distributed import local_world_size


def limit_spinning() -> None:
    """Let torch's idle threads spin only briefly before they sleep; call before torch is imported.

    On a busy machine, spinning threads keep the core that another thread needs; threads that sleep at once wake late,
    which slows the many small operations of a transformer. Seconds per iteration on two threads of a shared machine:
    `go2_ult` alone 7.6 asleep, 6.4 as set here, 4.5 with libgomp's 300000 spins; `go2` beside a busy job 3.5, 4.0 and,
    with 20000 spins, 7.8. `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` in the environment take precedence.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def usable_cpus() -> int:
    """CPU cores for this process, at least 1: affinity mask and cgroup v2 quota, shared among torchrun's processes."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or no quota: "max"
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count // local_world_size())
