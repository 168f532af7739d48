"""What tests of the ground share: a configuration of a map, and a map with every kind of tile."""

from __future__ import annotations

from typing import Any

import torch

from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.terrain.tiles import TILE_TYPES

DEFAULT = LeggedRobotCfg().terrain


def terrain_cfg(proportions: dict[str, float] | None = None, **fields: Any) -> Any:
    """The section `terrain` of a rough task; `proportions` replaces all shares."""
    cfg = LeggedRobotCfg().terrain
    cfg.mesh_type = "rough"
    if proportions is not None:
        for kind in vars(cfg.proportions):
            setattr(cfg.proportions, kind, 0.0)
        for kind, share in proportions.items():
            setattr(cfg.proportions, kind, share)
    for name, value in fields.items():
        setattr(cfg, name, value)
    return cfg


def all_kinds(**fields: Any) -> Any:
    """A map with one column of each kind."""
    return terrain_cfg(dict.fromkeys(TILE_TYPES, 1.0), num_cols=len(TILE_TYPES), **fields)


def rough(cfg: Any, num_envs: int = 1, seed: int = 0) -> RoughTerrain:
    """The ground of `cfg` with robots on it."""
    return RoughTerrain(cfg, num_envs, torch.Generator().manual_seed(seed))
