"""How many processors this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

from legged_gym_ext.utils.processes import local_world_size


def wait_passively() -> None:
    """Let torch's threads sleep instead of spin while they wait for each other; call before torch is imported.

    On a machine that is busy with anything else, spinning threads keep the core that the awaited thread needs: training beside one
    other job ran at 1 k instead of 4 k steps/s. `OMP_WAIT_POLICY` in the environment wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cpus() -> int:
    """Processors by affinity mask and, in a container, by the cgroup v2 quota (rounded up), shared among torchrun's processes; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass  # no cgroup v2 here: the affinity mask is all there is to know
    return max(1, count // local_world_size())
