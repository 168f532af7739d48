"""Ground the robots walk on: heights, normals, spawn origins and levels."""

from legged_gym_ext.terrain.terrain import PlaneTerrain, Terrain, make_terrain

__all__ = ["PlaneTerrain", "Terrain", "make_terrain"]
