"""Faults on purpose: killed programs, full disks, dead workers, broken physics, jumping clocks, shared folders.

Each fault is repeated `ULT_FAULTS` times (3 by default): `ULT_FAULTS=200 pytest tests/reliability`. The results of long
runs are in docs/reliability.md.
"""

from __future__ import annotations

import os

FAULTS = int(os.environ.get("ULT_FAULTS", "3"))
