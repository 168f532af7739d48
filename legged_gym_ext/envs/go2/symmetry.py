"""Left-right mirror of a quadruped's observations and actions, for rsl-rl-lib's symmetry extension.

A robot that walks to the left teaches how to walk to the right: every transition is learnt from twice. Tables follow the terms of
observations.py and the joint order FL FR RL RR, each hip thigh calf. Mittal et al., "Symmetry considerations for learning task
symmetric robot policies", ICRA 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from legged_gym_ext.envs.base.observations import group_terms
from legged_gym_ext.envs.go2.go2_config import Go2Cfg
from legged_gym_ext.envs.go2.terms import go2_terms
from legged_gym_ext.utils.errors import UserError

LEGS = (1, 0, 3, 2)  # FL <-> FR, RL <-> RR


def _plain(*signs: float) -> Callable[[int], tuple[list[int], list[float]]]:
    """A term whose columns stay in place and change sign."""
    return lambda dim: (list(range(dim)), list(signs))


def _same(dim: int) -> tuple[list[int], list[float]]:
    """A term without a side."""
    return list(range(dim)), [1.0] * dim


def _joints(dim: int, hip_sign: float = -1.0) -> tuple[list[int], list[float]]:
    """Per-joint columns: legs change places, abduction changes sign."""
    order = [3 * leg + joint for leg in LEGS for joint in range(3)]
    return order, [hip_sign, 1.0, 1.0] * 4


def _unsigned_joints(dim: int) -> tuple[list[int], list[float]]:
    return _joints(dim, hip_sign=1.0)


def _blocks_of_legs(dim: int) -> tuple[list[int], list[float]]:
    """Blocks of one column per leg (thighs, calves, feet)."""
    return [4 * block + leg for block in range(dim // 4) for leg in LEGS], [1.0] * dim


def _grid(dim: int, width: int) -> tuple[list[int], list[float]]:
    """A grid, x outer and y inner with `width` points: y is reversed."""
    return [width * x + (width - 1 - y) for x in range(dim // width) for y in range(width)], [1.0] * dim


def _foot_grids(dim: int, width: int) -> tuple[list[int], list[float]]:
    """One grid per foot."""
    cells = dim // 4
    order, _ = _grid(cells, width)
    return [cells * leg + cell for leg in LEGS for cell in order], [1.0] * dim


def _foot_vectors(dim: int) -> tuple[list[int], list[float]]:
    """One vector x y z per foot."""
    return [3 * leg + axis for leg in LEGS for axis in range(3)], [1.0, -1.0, 1.0] * 4


MIRROR: dict[str, Callable[..., tuple[list[int], list[float]]]] = {
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
    "contact_states": _blocks_of_legs,
    "height_scan": _grid,
    "terrain_scan": _grid,
}
"""Term -> (number of columns, for grids also of points along y -> source column and sign of each mirrored column)."""

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
    for name in group_terms(cfg)[group]:
        term_order, term_signs = MIRROR[name](terms[name].dim, *_width(cfg, name))
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


_TABLES: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
"""Of the Go2 as configured."""


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
        order, signs = _joints(actions.shape[-1])
        image = actions[..., order] * torch.tensor(signs, device=actions.device)
        both_actions = torch.cat((actions, image))
    return both_obs, both_actions
