"""A map of tiles as ground: exact heights and normals, and the curriculum that moves robots between levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from legged_gym_ext.terrain.map import TerrainMap
from legged_gym_ext.terrain.terrain import Terrain
from legged_gym_ext.terrain.tiles import TILE_TYPES
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg


class RoughTerrain(Terrain):
    """N robots on a `TerrainMap`, column by column, each on the tile of its level.

    With `terrain.curriculum`, robots start on random levels up to `terrain.max_init_terrain_level` and move with how
    far they walk; without it they are spread evenly over all levels and stay there.
    """

    def __init__(self, cfg: type[LeggedRobotCfg.terrain], num_envs: int, rng: torch.Generator) -> None:
        """Draw the map of `cfg` (section `terrain`) and place the robots; `rng` draws levels and sets the device."""
        device = rng.device
        self.map = TerrainMap(cfg)
        self.kinds = self.map.kinds
        self._rng, self._curriculum = rng, bool(cfg.curriculum)
        self._levels = self.map.rows
        if not 0 <= cfg.max_init_terrain_level < self._levels:
            raise UserError(
                f"terrain.max_init_terrain_level={cfg.max_init_terrain_level}: expected a level from 0 to "
                f"{self._levels - 1} (num_rows - 1)"
            )
        if cfg.spawn_radius > min(self.map.tile_size) / 2:
            raise UserError(
                f"terrain.spawn_radius={cfg.spawn_radius}: expected at most {min(self.map.tile_size) / 2} m, half a "
                "tile; robots would start on other levels"
            )
        robots = torch.arange(num_envs, device=device)
        self.types = torch.div(robots * self.map.columns, num_envs, rounding_mode="floor")
        if self._curriculum:
            highest = int(cfg.max_init_terrain_level)
            self.levels = torch.randint(0, highest + 1, (num_envs,), generator=rng, device=device)
        else:
            self.levels = robots % self._levels
        self._note_kinds()  # columns are for life
        self._wanted: dict[tuple[str, ...], torch.Tensor] = {}  # kinds -> which columns are of them
        self._half_tile = 0.5 * torch.tensor(self.map.tile_size, device=device)
        self._tile_origins = torch.tensor(self.map.origins, dtype=torch.float32, device=device)
        self.origins = self._tile_origins[self.levels, self.types]
        # One ring of level cells around the tiles stands for all the ground beyond.
        corners = torch.from_numpy(self.map.corners).to(device)
        self._corners = torch.nn.functional.pad(corners, (0, 0, 1, 1, 1, 1))
        self._last = torch.tensor(self._corners.shape[:2], dtype=torch.float32, device=device) - 1.0
        self._flat_corners = self._corners.view(-1, 4)

    def _cell(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Heights (..., 4) at the corners of the cell under each point (..., 2), and its place in the cell, 0 to 1."""
        place = points / self.map.cell + 1.0
        # `fmin` gives the last cell for what is no number: a robot whose physics broke is reset, and must not end all.
        index = torch.fmin(place.floor().clamp_(min=0.0), self._last)
        inside = (place - index).clamp_(0.0, 1.0)
        index = index.long()
        return self._flat_corners[index[..., 0] * self._corners.shape[1] + index[..., 1]], inside

    def _gradient(self, corners: torch.Tensor, inside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rise per cell along x and along y of the triangle that each point lies in.

        Cells are split from corner (0, 0) to (1, 1), as MuJoCo and legged_gym's meshes split them.
        """
        h00, h10, h01, h11 = corners.unbind(-1)
        right = inside[..., 0] >= inside[..., 1]
        return torch.where(right, h10 - h00, h11 - h01), torch.where(right, h11 - h10, h01 - h00)

    def heights(self, points: torch.Tensor) -> torch.Tensor:
        """See `Terrain.heights`; exact, a point on the edge of a step belongs to the cell in +x, +y direction."""
        corners, inside = self._cell(points)
        along_x, along_y = self._gradient(corners, inside)
        return corners[..., 0] + along_x * inside[..., 0] + along_y * inside[..., 1]

    def normals(self, points: torch.Tensor) -> torch.Tensor:
        """See `Terrain.normals`; of the surface under each point, risers of steps have no part in it."""
        along_x, along_y = self._gradient(*self._cell(points))
        slope = torch.stack((-along_x, -along_y, torch.full_like(along_x, self.map.cell)), dim=-1)
        return torch.nn.functional.normalize(slope, dim=-1)

    def beyond_edge(self, positions: torch.Tensor, env_ids: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """See `Terrain.beyond_edge`; tiles are rectangles around their origins."""
        offset = (positions - self.origins[env_ids, :2]).abs()
        return (offset > self._half_tile).any(dim=-1)

    def on_kinds(self, kinds: Sequence[str]) -> torch.Tensor:
        """See `Terrain.on_kinds`."""
        for kind in kinds:
            if kind not in TILE_TYPES:
                raise UserError(
                    f"no tile of kind '{kind}'{did_you_mean(kind, TILE_TYPES)}; known: {', '.join(TILE_TYPES)}"
                )
        if tuple(kinds) not in self._wanted:
            self._wanted[tuple(kinds)] = torch.tensor([kind in kinds for kind in self.kinds], device=self.types.device)
        return self._wanted[tuple(kinds)][self.types]

    def update_levels(self, env_ids: torch.Tensor, positions: torch.Tensor, failed: torch.Tensor) -> None:
        """One level up for having left the tile, one down for having failed on it.

        Robots that leave the last level go to a random one, as in legged_gym.
        """
        if not self._curriculum:
            return
        up = self.beyond_edge(positions, env_ids)
        down = failed & ~up
        level = self.levels[env_ids] + up.long() - down.long()
        anywhere = torch.randint(0, self._levels, level.shape, generator=self._rng, device=level.device)
        level = torch.where(level >= self._levels, anywhere, level.clamp(min=0))
        self.place(env_ids, level)

    def place(self, env_ids: torch.Tensor, levels: torch.Tensor) -> None:
        """See `Terrain.place`; robots stay on their columns."""
        levels = levels.to(self.levels.device).clamp(max=self._levels - 1)
        self.levels[env_ids] = levels
        self.origins[env_ids] = self._tile_origins[levels, self.types[env_ids]]

    def place_on(self, kind: str, level: int) -> None:
        """Move all robots to the first column of `kind`, to `level`; it shows at their next reset.

        Raises:
            UserError: the map has no such kind or level.
        """
        if kind not in self.kinds:
            names = list(dict.fromkeys(self.kinds))
            raise UserError(f"no tile of kind '{kind}'{did_you_mean(kind, names)}; this map has {', '.join(names)}")
        if not 0 <= level < self._levels:
            raise UserError(f"no level {level}: this map has 0 to {self._levels - 1}")
        self.types.fill_(self.kinds.index(kind))
        self._note_kinds()
        robots = torch.arange(len(self.types), device=self.types.device)
        self.place(robots, torch.full_like(robots, level))

    def robots_by_kind(self) -> dict[str, torch.Tensor]:
        """Kind of tile -> mask (N,) of the robots on it; kinds without robots are left out."""
        kinds = list(dict.fromkeys(self.kinds))
        of_column = torch.tensor([kinds.index(kind) for kind in self.kinds], device=self.types.device)
        masks = {name: of_column[self.types] == index for index, name in enumerate(kinds)}
        return {name: mask for name, mask in masks.items() if bool(mask.any())}

    def level_statistics(self) -> dict[str, torch.Tensor]:
        """Mean level of all robots ("level") and of those on each kind of tile ("level_<kind>")."""
        return dict(zip(self._level_names, torch.mv(self._shares, self.levels.float())))

    def _note_kinds(self) -> None:
        """Names of mean levels, and the share of each robot in each, (names, N): means without a wait for a GPU."""
        by_kind = self.robots_by_kind()
        self._level_names = ["level", *(f"level_{kind}" for kind in by_kind)]
        masks = torch.stack([torch.ones_like(self.types, dtype=torch.bool), *by_kind.values()]).float()
        self._shares = masks / masks.sum(dim=1, keepdim=True)
