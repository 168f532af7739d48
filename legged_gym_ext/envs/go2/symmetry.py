"""Left-right mirror of a quadruped's observations and actions, for rsl-rl-lib's symmetry extension.

A robot that walks to the left teaches how to walk to the right: every transition is learnt from twice. Tables follow
the terms of observations.py; which leg and joint is whose image is read from the environment's robot, see legs.py.
Mittal et al., "Symmetry considerations for learning task symmetric robot policies", ICRA 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, List, Tuple

import torch

from legged_gym_ext.envs.base.legs import mirror_contacts, mirror_joints
from legged_gym_ext.envs.base.observations import group_terms
from legged_gym_ext.envs.go2.go2_config import Go2Cfg
from legged_gym_ext.envs.go2.terms import go2_terms
from legged_gym_ext.utils.errors import UserError

Columns = Tuple[List[int], List[float]]  # source column and sign of each mirrored column


@dataclass(frozen=True)
class Layout:
    """Whose image is what, as sources of the mirrored columns.

    Attributes:
        feet: (F) foot.
        joints: (J) joint.
        signs: (J) sign of the mirrored angle.
        contacts: column of `contact_states`.
    """

    feet: list[int]
    joints: list[int]
    signs: list[float]
    contacts: list[int]


LEGS = (1, 0, 3, 2)  # FL <-> FR, RL <-> RR
GO2 = Layout(
    feet=list(LEGS),
    joints=[3 * leg + joint for leg in LEGS for joint in range(3)],
    signs=[-1.0, 1.0, 1.0] * 4,
    contacts=[4 * block + leg for block in range(3) for leg in LEGS],
)
"""Of the Go2 as configured: legs FL FR RL RR, each hip thigh calf; contacts of thighs, calves and feet."""


def layout_of(env: Any) -> Layout:
    """The layout of the robot of `env`, a `LeggedRobot`.

    Raises:
        UserError: the robot has no left-right mirror image.
    """
    joints, signs = mirror_joints(env.sim)
    front_left, front_right, rear_left, rear_right = env.corners
    opposite = {front_left: front_right, front_right: front_left, rear_left: rear_right, rear_right: rear_left}
    return Layout([opposite[foot] for foot in range(4)], joints, signs, mirror_contacts(env, joints))


def _plain(*signs: float) -> Callable[[int, Layout], Columns]:
    """A term whose columns stay in place and change sign."""
    return lambda dim, robot: (list(range(dim)), list(signs))


def _same(dim: int, robot: Layout) -> Columns:
    """A term without a side."""
    return list(range(dim)), [1.0] * dim


def _joints(dim: int, robot: Layout) -> Columns:
    """Per-joint columns: legs change places, abduction changes sign."""
    return robot.joints, robot.signs


def _unsigned_joints(dim: int, robot: Layout) -> Columns:
    return robot.joints, [1.0] * dim


def _contacts(dim: int, robot: Layout) -> Columns:
    """Bodies of the legs, kind by kind."""
    return robot.contacts, [1.0] * dim


def _reversed(dim: int, width: int) -> list[int]:
    """A grid, x outer and y inner with `width` points: y is reversed."""
    return [width * x + (width - 1 - y) for x in range(dim // width) for y in range(width)]


def _grid(dim: int, robot: Layout, width: int) -> Columns:
    """A grid around the base."""
    return _reversed(dim, width), [1.0] * dim


def _foot_grids(dim: int, robot: Layout, width: int) -> Columns:
    """One grid per foot."""
    cells = dim // len(robot.feet)
    return [cells * foot + cell for foot in robot.feet for cell in _reversed(cells, width)], [1.0] * dim


def _foot_vectors(dim: int, robot: Layout) -> Columns:
    """One vector x y z per foot."""
    return [3 * foot + axis for foot in robot.feet for axis in range(3)], [1.0, -1.0, 1.0] * len(robot.feet)


MIRROR: dict[str, Callable[..., Columns]] = {
    "commands": _plain(1.0, -1.0, -1.0),
    "projected_gravity": _plain(1.0, -1.0, 1.0),
    "base_lin_vel": _plain(1.0, -1.0, 1.0),
    "base_ang_vel": _plain(-1.0, 1.0, -1.0),
    "dof_pos": _joints,
    "dof_vel": _joints,
    "last_action": _joints,
    "friction": _same,
    "added_mass": _same,
    "com_shift": _plain(1.0, -1.0, 1.0),
    "push_velocity": _plain(1.0, -1.0),
    "kp_scale": _unsigned_joints,
    "kd_scale": _unsigned_joints,
    "joint_armature": _same,
    "joint_stiffness": _same,
    "joint_damping": _same,
    "joint_friction": _same,
    "action_delay": _same,
    "foot_heights": _foot_grids,
    "foot_normals": _foot_vectors,
    "contact_states": _contacts,
    "height_scan": _grid,
    "terrain_scan": _grid,
}
"""Term -> (number of columns, robot, for grids also points along y -> source column and sign of each mirrored column)."""

GRIDS = {"foot_heights": "foot_points", "height_scan": "measured_points_y", "terrain_scan": "scan_points_y"}
"""Term that is a grid -> where the section `terrain` has its points along y."""


def mirror_table(env: Any, group: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Source columns (D,) and signs (D,) of a group's mirror image; `env` is a `LeggedRobot`, or None for the Go2 as configured.

    Raises:
        UserError: the points of a grid are not the same on the left and on the right.
    """
    cfg = Go2Cfg() if env is None else env.cfg
    terms = go2_terms(cfg) if env is None else env.observations.terms
    order: list[int] = []
    signs: list[float] = []
    robot = GO2 if env is None else layout_of(env)
    for name in group_terms(cfg)[group]:
        term_order, term_signs = MIRROR[name](terms[name].dim, robot, *_width(cfg, name))
        order += [len(signs) + column for column in term_order]
        signs += term_signs
    frames = cfg.env.critic_frames if group == "critic" else 1
    width, device = len(order), None if env is None else env.device
    order = [frame * width + column for frame in range(frames) for column in order]
    return torch.tensor(order, device=device), torch.tensor(signs * frames, device=device)


def _width(cfg: Any, name: str) -> list[int]:
    """Points along y of a term that is a grid, as a list of one; of others an empty list."""
    if name not in GRIDS:
        return []
    points = getattr(cfg.terrain, GRIDS[name])
    if any(abs(left + right) > 1e-6 for left, right in zip(points, reversed(points))):
        raise UserError(
            f"terrain.{GRIDS[name]}={points}: mirrored samples need the same points on both sides, as in [-0.2, 0.0, 0.2]; "
            "or switch them off with --train.algorithm.symmetry_cfg=none"
        )
    return [len(points)]


def _action_table(env: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of actions."""
    robot = GO2 if env is None else layout_of(env)
    device = None if env is None else env.device
    return torch.tensor(robot.joints, device=device), torch.tensor(robot.signs, device=device)


_TABLES: dict[str | None, tuple[torch.Tensor, torch.Tensor]] = {}
"""Of the Go2 as configured: group -> its table, None -> that of actions."""


def mirror(env: Any, obs: Any, actions: torch.Tensor | None) -> tuple[Any, Any]:
    """Samples followed by their mirror images, as rsl-rl-lib's `data_augmentation_func` wants them.

    Args:
        env: a `RslRlVecEnv`; None in hosts that do not show it.
        obs: groups (B, D), or None.
        actions: (B, 12), or None.

    Returns:
        Groups (2 B, D) in what they came in, and actions (2 B, 12), each None where None was given.
    """
    tables = _TABLES if env is None else env.__dict__.setdefault("_mirror_tables", {})
    both_obs = both_actions = None
    if obs is not None:
        groups = {}
        for group, value in obs.items():
            if group not in tables:
                tables[group] = mirror_table(None if env is None else env.env, group)
            order, signs = (table.to(value.device) for table in tables[group])
            if len(order) != value.shape[-1]:
                raise ValueError(
                    f"observation group '{group}' has {value.shape[-1]} columns, its mirror image {len(order)}: name the terms in symmetry.py"
                )
            groups[group] = torch.cat((value, value[..., order] * signs))
        if type(obs) is dict:
            both_obs = groups
        else:
            both_obs = type(obs)(groups, batch_size=[2 * obs.batch_size[0]], device=obs.device)
    if actions is not None:
        if None not in tables:
            tables[None] = _action_table(None if env is None else env.env)
        order, signs = (table.to(actions.device) for table in tables[None])
        both_actions = torch.cat((actions, actions[..., order] * signs))
    return both_obs, both_actions
