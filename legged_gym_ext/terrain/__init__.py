"""Ground the robots walk on: heights, normals, spawn origins and levels.

What looks heights up for many robots needs torch and is imported at first use; the map itself (map.py) is plain numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from legged_gym_ext.terrain.map import TerrainMap
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch

    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain.rough import RoughTerrain
    from legged_gym_ext.terrain.terrain import PlaneTerrain, Terrain

__all__ = ["PlaneTerrain", "RoughTerrain", "Terrain", "TerrainMap", "make_terrain"]
_MODULES = {"PlaneTerrain": "terrain", "RoughTerrain": "rough", "Terrain": "terrain"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"legged_gym_ext.terrain.{_MODULES[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def make_terrain(cfg: type[LeggedRobotCfg.terrain], num_envs: int, rng: torch.Generator) -> Terrain:
    """The terrain named in `cfg.mesh_type` (section `terrain`), on the device of `rng`.

    Raises:
        UserError: an unknown name.
    """
    from legged_gym_ext.terrain.rough import RoughTerrain
    from legged_gym_ext.terrain.terrain import PlaneTerrain

    if cfg.mesh_type == "plane":
        return PlaneTerrain(num_envs, rng.device)
    if cfg.mesh_type == "rough":
        return RoughTerrain(cfg, num_envs, rng)
    known = ("plane", "rough")
    raise UserError(
        f"unknown terrain.mesh_type '{cfg.mesh_type}'{did_you_mean(cfg.mesh_type, known)}; known: {', '.join(known)}"
    )
