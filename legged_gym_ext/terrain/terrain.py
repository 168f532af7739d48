"""The interface between ground and environment, and the flat ground.

An environment asks a terrain for heights and normals at arbitrary points and for where its robots start; an engine
turns what it describes into geometry. Curricula move robots between levels through `update_levels`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from legged_gym_ext.terrain.map import TerrainMap


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

    map: TerrainMap
    """The tiles; not defined where the ground is flat."""

    @abstractmethod
    def heights(self, points: torch.Tensor) -> torch.Tensor:
        """Ground height (...,) in m under points (..., 2)."""

    @abstractmethod
    def normals(self, points: torch.Tensor) -> torch.Tensor:
        """Unit ground normals (..., 3) under points (..., 2)."""

    @abstractmethod
    def beyond_edge(self, positions: torch.Tensor, env_ids: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Whether robots `env_ids` at `positions` (M, 2) [m] have left their tiles, (M,) bool."""

    @abstractmethod
    def on_kinds(self, kinds: Sequence[str]) -> torch.Tensor:
        """Which robots are on tiles of one of `kinds`, (N,) bool.

        Raises:
            UserError: an unknown kind, where there are tiles.
        """

    @abstractmethod
    def update_levels(self, env_ids: torch.Tensor, positions: torch.Tensor, failed: torch.Tensor) -> None:
        """Promote or demote robots that are being reset and move their origins.

        Args:
            env_ids: (M,) robots being reset.
            positions: (M, 2) where their episodes ended [m].
            failed: (M,) bool, whether they fell or lagged behind; counts for those that did not leave their tile.
        """

    @abstractmethod
    def place(self, env_ids: torch.Tensor, levels: torch.Tensor) -> None:
        """Move robots to other levels, from their next reset on.

        Args:
            env_ids: (M,).
            levels: (M,); those beyond the hardest one become the hardest.
        """

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

    def beyond_edge(self, positions: torch.Tensor, env_ids: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """False: the plane has no edge."""
        return torch.zeros(len(positions), dtype=torch.bool, device=positions.device)

    def on_kinds(self, kinds: Sequence[str]) -> torch.Tensor:
        """False: there are no tiles."""
        return torch.zeros(len(self.levels), dtype=torch.bool, device=self.levels.device)

    def update_levels(self, env_ids: torch.Tensor, positions: torch.Tensor, failed: torch.Tensor) -> None:
        """Nothing to do: there is one level."""

    def place(self, env_ids: torch.Tensor, levels: torch.Tensor) -> None:
        """Nothing to do."""

    def level_statistics(self) -> dict[str, torch.Tensor]:
        """Empty: there is one level."""
        return {}
