"""The interface between ground and environment, and the flat ground.

An environment asks a terrain for heights and normals at arbitrary points and for where its robots start; an engine
turns what it describes into geometry. Curricula move robots between levels through `update_levels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch


class Terrain(ABC):
    """Ground shared by all environments, in world axes, z up, in metres."""

    origins: torch.Tensor
    """(N, 3) where each robot starts."""

    levels: torch.Tensor
    """(N,) int64 difficulty level of each robot's tile."""

    types: torch.Tensor
    """(N,) int64 column (kind of ground) of each robot's tile."""

    is_flat: bool = False
    """Whether the ground is the plane z = 0."""

    @abstractmethod
    def heights(self, points: torch.Tensor) -> torch.Tensor:
        """Ground height (...,) in m under points (..., 2)."""

    @abstractmethod
    def normals(self, points: torch.Tensor) -> torch.Tensor:
        """Unit ground normals (..., 3) under points (..., 2)."""

    @abstractmethod
    def update_levels(self, env_ids: torch.Tensor, distance: torch.Tensor, commanded: torch.Tensor) -> None:
        """Promote or demote robots that are being reset and move their origins.

        Args:
            env_ids: (M,) robots being reset.
            distance: (M,) m walked from their origin.
            commanded: (M,) m they were commanded to walk.
        """

    @abstractmethod
    def place(self, env_ids: torch.Tensor, levels: torch.Tensor) -> None:
        """Move robots `env_ids` (M,) to `levels` (M,), the hardest there is for those beyond it; it shows at their next reset."""

    @abstractmethod
    def level_statistics(self) -> dict[str, torch.Tensor]:
        """Mean levels, by name; empty where there is one level only."""


class PlaneTerrain(Terrain):
    """Infinite flat ground at height zero, one level."""

    is_flat = True

    def __init__(self, num_envs: int, device: torch.device) -> None:
        """All `num_envs` robots start at the world origin: environments never touch one another."""
        self.origins = torch.zeros(num_envs, 3, device=device)
        self.levels = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.types = torch.zeros(num_envs, dtype=torch.long, device=device)
        self._up = torch.tensor([0.0, 0.0, 1.0], device=device)

    def heights(self, points: torch.Tensor) -> torch.Tensor:
        """Zeros (...,)."""
        return points.new_zeros(points.shape[:-1])

    def normals(self, points: torch.Tensor) -> torch.Tensor:
        """(0, 0, 1) at every point."""
        return self._up.expand(*points.shape[:-1], 3)

    def update_levels(self, env_ids: torch.Tensor, distance: torch.Tensor, commanded: torch.Tensor) -> None:
        """Nothing to do: there is one level."""

    def place(self, env_ids: torch.Tensor, levels: torch.Tensor) -> None:
        """Nothing to do."""

    def level_statistics(self) -> dict[str, torch.Tensor]:
        """Nothing to tell."""
        return {}
