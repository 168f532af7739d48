"""Regimes of walking: settings of an existing task, each a task of its own for a distillation from many teachers.

A robot tells them apart by its command and by what it feels. Slopes and stairs begin on levels 0 to 3 of the task's map
and go on as in training, with commands straight ahead.
"""

from __future__ import annotations

from legged_gym_ext.utils.errors import UserError, did_you_mean


def _level(x: str, y: str, yaw: str) -> dict[str, str]:
    """On level ground with commands drawn from these ranges [m/s, m/s, rad/s]."""
    return {
        "terrain.mesh_type": "plane",
        "commands.heading_command": "false",
        "commands.ranges.lin_vel_x": x,
        "commands.ranges.lin_vel_y": y,
        "commands.ranges.ang_vel_yaw": yaw,
    }


def _ground(*kinds: str) -> dict[str, str]:
    """Straight ahead on tiles of these kinds."""
    shares = {f"terrain.proportions.{kind}": str((kind in kinds) / len(kinds)) for kind in KINDS}
    return {
        **shares,
        "terrain.mesh_type": "rough",
        "terrain.curriculum": "true",  # the levels above 3 are then for those who climb there
        "terrain.max_init_terrain_level": "3",
        "terrain.end_at_edge": "false",
        "commands.heading_command": "true",
        "commands.ranges.lin_vel_x": "[0.3, 1.0]",
        "commands.ranges.lin_vel_y": "[0.0, 0.0]",
    }


KINDS = (
    *("slope_up", "slope_down", "rough_slope", "stairs_up", "stairs_down"),
    *("discrete", "stepping_stones", "gap", "pit", "flat"),
)
SHARED = {"commands.zero_fraction": "0.0", "commands.curriculum": "false"}

REGIMES: dict[str, dict[str, str]] = {
    "forward": _level("[0.3, 1.0]", "[0.0, 0.0]", "[0.0, 0.0]"),
    "backward": _level("[-1.0, -0.3]", "[0.0, 0.0]", "[0.0, 0.0]"),
    "sideways": {**_level("[0.0, 0.0]", "[-0.5, 0.5]", "[0.0, 0.0]"), "commands.min_lin_vel": "0.2"},
    "turning": _level("[0.0, 0.0]", "[0.0, 0.0]", "[-1.0, 1.0]"),
    "slopes": _ground("slope_up", "slope_down"),
    "stairs": _ground("stairs_up", "stairs_down"),
}
"""Name -> dotted field of the environment's configuration -> its value, as on a command line."""


def overrides(regime: str) -> dict[str, str]:
    """Dotted fields of the environment and their values for a regime; an unknown one is a `UserError`."""
    if regime not in REGIMES:
        raise UserError(f"unknown regime '{regime}'{did_you_mean(regime, REGIMES)}; known: {', '.join(REGIMES)}")
    return {**SHARED, **REGIMES[regime]}
