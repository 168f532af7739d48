"""The ladder: how hard the ground may be that a policy still gets over, kind by kind; what its figures mean.

Robots start in the middle of a tile, are told to walk straight on, and succeed when they are half a tile (4 m) away within 20 s without a fall. What runs
it is ladder_run.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from legged_gym_ext.terrain.map import column_kinds
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError

PASSED = 0.8  # share of robots that must succeed on a level
SECONDS = 20.0  # to get 4 m away
SPEED = 0.6  # m/s forward
SLOWER = {"discrete": 0.4}  # m/s, kinds on which robots are told another speed
ROBOTS = 64  # per kind and level
FRICTION = "ladder_friction_"  # what figures measured with another friction stand under, with its value
AT_ONCE = 1024  # robots in one environment: more cost memory and save no time
MAP_FIELDS = (
    "num_rows", "num_cols", "terrain_length", "terrain_width", "horizontal_scale", "vertical_scale", "border_size", "seed", "proportions",
)  # fmt: skip
"""Fields of `terrain` that make the map."""

HEIGHTS = {"step_height": "stairs_up", "slope": "slope_up", "obstacle_height": "discrete"}
"""Figure that a reader can picture -> kind of tile whose level it is read from."""

EFFORT = {
    "power": "W, mean of the summed absolute joint powers",
    "torque_change": "N m, root mean square over joints of how much torques change from one control step to the next",
    "limit_share": "share of control steps in which some joint is within 1 % of its range from its stop",
    "fall_rate": "share of robots that fell before they were 4 m away or out of time",
}
"""What it costs -> unit; over the steps until each robot has succeeded or failed."""


@dataclass(frozen=True)
class Plan:
    """Who walks where. Robots are numbered by kind, then level; environments hold `at_once` of each, for `rounds` rounds.

    Attributes:
        kinds: kinds of tiles on the map.
        levels: rows of the map.
        robots: per kind and level.
        at_once: of them in one round; of the last round some may be left over.
    """

    kinds: tuple[str, ...]
    levels: int
    robots: int
    at_once: int

    @property
    def rounds(self) -> int:
        """Rounds until `robots` have walked on every level."""
        return -(-self.robots // self.at_once)

    @property
    def num_envs(self) -> int:
        """Robots in the environment."""
        return len(self.kinds) * self.levels * self.at_once


def make_plan(terrain_cfg: Any, robots: int) -> Plan:
    """The plan for the map of `terrain_cfg` with `robots` on every level of every kind that has a column.

    Raises:
        UserError: no robots.
    """
    if robots < 1:
        raise UserError(f"--robots_per_level={robots}: expected at least 1")
    kinds = tuple(dict.fromkeys(column_kinds(to_dict(terrain_cfg.proportions), int(terrain_cfg.num_cols))))
    levels = int(terrain_cfg.num_rows)
    rounds = math.ceil(robots / max(1, AT_ONCE // (len(kinds) * levels)))
    return Plan(kinds, levels, robots, -(-robots // rounds))


def set_ladder(env_cfg: Any, terrain_cfg: Any, friction: float | None = None) -> None:
    """Change `env_cfg` so that robots start in the middle of tiles of the map in `terrain_cfg` and are told headings.

    What is randomised in training stays so, apart from the place and, with `friction`, the friction of the feet.
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
        if rate < PASSED:
            break
        level += 1
    return level


def ladder_figures(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What is reported of success rates by kind, one per level.

    Returns:
        "ladder" (the rates), "ladder_level" by kind, "ladder_score" (mean over kinds of the share of levels climbed, 0 to 1), and "ladder_heights",
        the hardest ground that was passed in figures a reader can picture [m], 0 where not even level 0 was.
    """
    levels = {kind: ladder_level(each) for kind, each in rates.items()}
    shares = [(levels[kind] + 1) / len(each) for kind, each in rates.items()]
    return {
        "ladder": {kind: list(each) for kind, each in rates.items()},
        "ladder_level": levels,
        "ladder_score": sum(shares) / len(shares),
        "ladder_heights": {
            name: round(height(name, levels[kind], len(rates[kind])), 4)
            for name, kind in HEIGHTS.items()
            if kind in rates
        },
    }


def height(name: str, level: int, levels: int) -> float:
    """Step height [m], slope [rise per run] or obstacle height [m] on `level` of a map of `levels`; 0 for level -1. Formulas of terrain/tiles.py."""
    if level < 0:
        return 0.0
    lowest, rise = {"step_height": (0.05, 0.18), "slope": (0.0, 0.4), "obstacle_height": (0.05, 0.2)}[name]
    return lowest + rise * level / levels
