"""Ground the robots walk on: heights, normals, spawn origins and levels."""

from __future__ import annotations

from typing import Any

import torch

from legged_gym_ext.terrain.map import TerrainMap
from legged_gym_ext.terrain.rough import RoughTerrain
from legged_gym_ext.terrain.terrain import PlaneTerrain, Terrain
from legged_gym_ext.utils.errors import UserError, did_you_mean

__all__ = ["PlaneTerrain", "RoughTerrain", "Terrain", "TerrainMap", "make_terrain"]


def make_terrain(cfg: Any, num_envs: int, rng: torch.Generator) -> Terrain:
    """The terrain named in `cfg.mesh_type` (section `terrain`) on the device of `rng`; an unknown name is a `UserError`."""
    if cfg.mesh_type == "plane":
        return PlaneTerrain(num_envs, rng.device)
    if cfg.mesh_type == "rough":
        return RoughTerrain(cfg, num_envs, rng)
    known = ("plane", "rough")
    raise UserError(
        f"unknown terrain.mesh_type '{cfg.mesh_type}'{did_you_mean(cfg.mesh_type, known)}; known: {', '.join(known)}"
    )
