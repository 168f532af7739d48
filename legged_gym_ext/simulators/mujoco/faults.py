"""Physics that became non-finite, as MuJoCo reports it."""

from __future__ import annotations

import mujoco

FAULTS = [
    int(w)
    for w in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]
"""Warnings after which MuJoCo has thrown the state away."""


def keep_quiet() -> None:
    """Stop MuJoCo from printing a line and writing MUJOCO_LOG.TXT for every fault: engines report them."""
    log = mujoco.MjLogConfig.get()
    log.logto_console = log.logto_file = False
    log.set()
