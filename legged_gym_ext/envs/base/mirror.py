"""Left-right mirror images of observation columns: what an observation term declares about its own.

A mirror image is a source column and a sign for each column. Which leg, joint and contact is on the other side is a
property of the robot (`Opposites`, made by symmetry.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, List, Tuple

from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

Columns = Tuple[List[int], List[float]]  # source column and sign of each mirrored column
SAME_POINT = 1e-6  # m


@dataclass(frozen=True)
class Opposites:
    """What is on the other side of a robot, as sources of the mirrored columns.

    Attributes:
        feet: (F) foot.
        joints: (J) joint.
        signs: (J) sign of the mirrored angle.
        contacts: column of the term `contact_states`.
    """

    feet: list[int]
    joints: list[int]
    signs: list[float]
    contacts: list[int]


Mirror = Callable[[int, Opposites, "LeggedRobotCfg"], Columns]
"""(number of columns, robot, configuration) -> mirror image of a term."""


def same(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
    """Of quantities without a side: every column is its own image."""
    return list(range(dim)), [1.0] * dim


def signs(*values: float) -> Mirror:
    """Of vectors: columns stay in place and are multiplied with `values`."""
    return lambda dim, robot, cfg: (list(range(dim)), list(values))


def joints(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
    """Of angles, their velocities and targets: legs change places, abduction changes sign."""
    return robot.joints, robot.signs


def unsigned_joints(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
    """Of positive quantities of the joints, such as gains: legs change places."""
    return robot.joints, [1.0] * dim


def contacts(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
    """Of `contact_states`: bodies of the legs change places, kind by kind."""
    return robot.contacts, [1.0] * dim


def foot_vectors(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
    """Of one vector x y z per foot."""
    return [3 * foot + axis for foot in robot.feet for axis in range(3)], [1.0, -1.0, 1.0] * len(robot.feet)


def grid(points_y: str) -> Mirror:
    """Of a grid around the base, x outer and y inner: y is reversed.

    Args:
        points_y: field of the section `terrain` with the grid's coordinates along y.
    """
    return lambda dim, robot, cfg: (_reversed(dim, _width(cfg, points_y)), [1.0] * dim)


def foot_grids(points: str) -> Mirror:
    """Of one grid per foot, as `grid`: y is reversed and the feet change places."""

    def columns(dim: int, robot: Opposites, cfg: LeggedRobotCfg) -> Columns:
        cells = dim // len(robot.feet)
        inside = _reversed(cells, _width(cfg, points))
        return [cells * foot + cell for foot in robot.feet for cell in inside], [1.0] * dim

    return columns


def _reversed(dim: int, width: int) -> list[int]:
    """Columns of a grid, x outer and y inner with `width` points, with y reversed."""
    return [width * x + (width - 1 - y) for x in range(dim // width) for y in range(width)]


def _width(cfg: LeggedRobotCfg, name: str) -> int:
    """Points along y of a grid, which must be the same on the left and on the right."""
    points = getattr(cfg.terrain, name)
    if any(abs(left + right) > SAME_POINT for left, right in zip(points, reversed(points))):
        raise UserError(
            f"terrain.{name}={points}: mirrored samples need the same points on both sides, as in [-0.2, 0.0, 0.2]; "
            "or switch them off with --train.algorithm.symmetry_cfg=none"
        )
    return len(points)
