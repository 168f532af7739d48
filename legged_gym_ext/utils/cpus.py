"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from legged_gym_ext.utils.distributed import local_world_size


def wait_passively() -> None:
    """Let torch's threads spin only briefly before they sleep while they wait for each other; call before torch is imported.

    On a machine that is busy with anything else, spinning threads keep the core that the awaited thread needs; threads that sleep at once are woken late,
    which the many small operations of a transformer feel. Seconds per iteration on two threads of a shared machine, medians of few: `go2_ult`
    alone 7.6 asleep, 6.4 as set here, 4.5 with libgomp's 300000 spins; `go2` beside a busy job 3.5, 4.0 and, with 20000 spins, 7.8.
    `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` in the environment win.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def usable_cpus() -> int:
    """Processors by affinity mask and, in a container, by the cgroup v2 quota (rounded up), shared among torchrun's processes; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: the affinity mask is all there is to know
    return max(1, count // local_world_size())
