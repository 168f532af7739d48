"""Which values of an environment's configuration are valid; checked before anything is built."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from legged_gym_ext.envs.base.randomization import LONG, RANDOMIZED, SHORT
from legged_gym_ext.utils.config import lookup
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

NARROW = 1e-6  # smaller is meant to be zero, by which is divided

NUMBERS: dict[str, tuple[float, float]] = {
    "env.num_envs": (1, inf),
    "env.num_history": (0, inf),
    "env.critic_frames": (1, inf),
    "env.episode_length_s": (SHORT, LONG),
    "terrain.seed": (0, inf),
    "commands.resampling_time": (SHORT, LONG),
    "commands.zero_fraction": (0.0, 1.0),
    "commands.curriculum_step": (0.0, inf),
    "control.decimation": (1, inf),
    "rewards.tracking_sigma": (NARROW, inf),
    "rewards.soft_dof_pos_limit": (0.0, inf),
    "normalization.clip_actions": (NARROW, inf),
    "noise.noise_level": (0.0, inf),
    "sim.dt": (SHORT, 1.0),
    **{path: limits for row in RANDOMIZED.values() for path, limits in row.numbers.items()},
}
"""Field -> smallest and largest value."""

RANGES: dict[str, float] = {
    "commands.ranges.lin_vel_x": -inf,
    "commands.ranges.lin_vel_y": -inf,
    "commands.ranges.ang_vel_yaw": -inf,
    "commands.ranges.heading": -inf,
    **{path: lowest for row in RANDOMIZED.values() for path, lowest in row.all_ranges.items()},
}
"""Field [lower, upper] -> smallest value."""

POINTS = (
    "terrain.measured_points_x", "terrain.measured_points_y", "terrain.scan_points_x", "terrain.scan_points_y",
    "terrain.foot_points",
)  # fmt: skip
"""Fields that are lists of coordinates."""


def check_limits(cfg: LeggedRobotCfg) -> None:
    """Compare a configuration with the tables above.

    Raises:
        UserError: names the first field with an invalid value, and what is expected.
    """
    for path, (low, high) in NUMBERS.items():
        value = lookup(cfg, path)
        if not isinstance(value, (int, float)) or not low <= value <= high:
            expected = f"at least {low:g}" if high == inf else f"{low:g} to {high:g}"
            raise UserError(f"{path}={value}: expected {expected}")
    for path, low in RANGES.items():
        bounds = lookup(cfg, path)
        if not _are_numbers(bounds) or len(bounds) != 2 or not low <= bounds[0] <= bounds[1]:
            least = "" if low == -inf else f", lower at least {low:g}"
            raise UserError(f"{path}={bounds}: expected [lower, upper]{least}")
    for path in POINTS:
        points = lookup(cfg, path)
        if not _are_numbers(points) or not points:
            raise UserError(f"{path}={points}: expected a list of coordinates in metres")


def _are_numbers(values: Any) -> bool:
    return isinstance(values, (list, tuple)) and all(isinstance(v, (int, float)) and isfinite(v) for v in values)
