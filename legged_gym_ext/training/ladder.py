"""The ladder: the most difficult ground of each kind that a policy masters, and what its metrics mean.

Robots start in the middle of a tile, are commanded straight ahead, and succeed when they are half a tile (4 m) away
within 20 s without a fall. ladder_run.py runs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from legged_gym_ext.terrain.map import column_kinds
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

PASS_RATE = 0.8  # share of robots that must succeed on a level
SECONDS = 20.0  # to get 4 m away
SPEED = 0.6  # m/s forward
KIND_SPEEDS = {"discrete": 0.4}  # m/s, kinds of tile with another commanded speed
ROBOTS = 64  # per kind and level
FRICTION = "ladder_friction_"  # prefix of the key of metrics measured with another friction; its value follows
MAX_ENVS = 1024  # robots in one environment: more cost memory and save no time
MAP_FIELDS = (
    "num_rows", "num_cols", "terrain_length", "terrain_width", "horizontal_scale", "vertical_scale", "border_size",
    "seed", "proportions",
)  # fmt: skip
"""Fields of `terrain` that make the map."""

HEIGHTS = {"step_height": "stairs_up", "slope": "slope_up", "obstacle_height": "discrete"}
"""Physical quantity -> kind of tile whose level determines it."""

EFFORT = {
    "power": "W, mean of the summed absolute joint powers",
    "torque_change": "N m, root mean square over joints of the change of torque between control steps",
    "limit_share": "share of control steps in which some joint is within 1 % of its range from its limit",
    "fall_rate": "share of robots that fell before they were 4 m away or out of time",
}
"""Metric of effort -> unit; over the steps until each robot has succeeded or failed."""


@dataclass(frozen=True)
class Plan:
    """Which robots walk where: numbered by kind, then level; `per_round` robots of each in each of `rounds` rounds.

    Attributes:
        kinds: kinds of tiles on the map.
        levels: rows of the map.
        robots: per kind and level.
        per_round: of them in one round; in the last round some may not be needed.
    """

    kinds: tuple[str, ...]
    levels: int
    robots: int
    per_round: int

    @property
    def rounds(self) -> int:
        """Rounds until `robots` have walked on every level."""
        return -(-self.robots // self.per_round)

    @property
    def num_envs(self) -> int:
        """Robots in the environment."""
        return len(self.kinds) * self.levels * self.per_round


def make_plan(terrain_cfg: type[LeggedRobotCfg.terrain], robots: int) -> Plan:
    """The plan for the map of `terrain_cfg` with `robots` on every level of every kind that has a column.

    Raises:
        UserError: `robots` is less than 1.
    """
    if robots < 1:
        raise UserError(f"--robots_per_level={robots}: expected at least 1")
    kinds = tuple(dict.fromkeys(column_kinds(to_dict(terrain_cfg.proportions), int(terrain_cfg.num_cols))))
    levels = int(terrain_cfg.num_rows)
    rounds = math.ceil(robots / max(1, MAX_ENVS // (len(kinds) * levels)))
    return Plan(kinds, levels, robots, -(-robots // rounds))


def configure_ladder(
    env_cfg: LeggedRobotCfg, terrain_cfg: type[LeggedRobotCfg.terrain], friction: float | None = None
) -> None:
    """Change `env_cfg` so that robots start in the middle of the tiles of `terrain_cfg` and keep a heading.

    The domain randomisation of training stays, apart from the start position and, with `friction`, the friction of
    the feet.
    """
    for name in MAP_FIELDS:
        setattr(env_cfg.terrain, name, getattr(terrain_cfg, name))
    env_cfg.terrain.mesh_type, env_cfg.terrain.curriculum, env_cfg.terrain.spawn_radius = "rough", False, 0.0
    env_cfg.commands.heading_command, env_cfg.commands.curriculum = True, False
    env_cfg.env.episode_length_s = SECONDS
    if friction is not None:
        env_cfg.domain_rand.randomize_friction, env_cfg.domain_rand.friction_range = True, [friction, friction]


def ladder_level(rates: Iterable[float]) -> int:
    """The highest level that, like all below it, is passed by at least 0.8 of the robots; -1 for none."""
    level = -1
    for rate in rates:
        if rate < PASS_RATE:
            break
        level += 1
    return level


def ladder_metrics(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Summarise success rates.

    Args:
        rates: kind of tile -> success rate of each level.

    Returns:
        "ladder" (the rates), "ladder_level" by kind, "ladder_score" (mean over kinds of the share of levels passed,
        0 to 1), and "ladder_heights": the most difficult ground that was passed, as the quantities of `HEIGHTS`;
        0 where not even level 0 was.
    """
    levels = {kind: ladder_level(each) for kind, each in rates.items()}
    shares = [(levels[kind] + 1) / len(each) for kind, each in rates.items()]
    return {
        "ladder": {kind: list(each) for kind, each in rates.items()},
        "ladder_level": levels,
        "ladder_score": sum(shares) / len(shares),
        "ladder_heights": {
            name: round(tile_height(name, levels[kind], len(rates[kind])), 4)
            for name, kind in HEIGHTS.items()
            if kind in rates
        },
    }


def tile_height(name: str, level: int, levels: int) -> float:
    """Step height [m], slope [rise per run] or obstacle height [m] on `level` of a map of `levels`.

    Level -1 gives 0. The formulas are those of terrain/tiles.py.
    """
    if level < 0:
        return 0.0
    lowest, rise = {"step_height": (0.05, 0.18), "slope": (0.0, 0.4), "obstacle_height": (0.05, 0.2)}[name]
    return lowest + rise * level / levels
