"""A map of tiles: heights to look up, samples for Isaac Gym, boxes and height fields for MuJoCo.

World axes: tiles of row 0 start at x = 0, those of column 0 at y = 0; rows (levels) follow along x, columns (kinds)
along y. All around is flat ground at z = 0. Rows get more difficult, columns share the kinds by their proportions, as
in legged_gym.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from legged_gym_ext.terrain.boxes import rectangles
from legged_gym_ext.terrain.tiles import TILE_TYPES, Grid
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

DEPTH = 0.5  # m that solid ground reaches below the lowest point around it, so that nothing can be wedged under it
COARSEST_CELL = 0.25  # m, bumps stand 0.2 m apart and treads are 0.3 m deep: coarser cells have none of them
SMALLEST_TILE = 5.0  # m, the widest trench (0.9 m) around its platform of 3 m fits
START_AREA = 2.0  # m, side of the square around a tile's centre whose highest point is the robots' start height


@dataclass(frozen=True)
class Tile:
    """What a tile is: all of its ground follows from it."""

    row: int
    column: int
    kind: str
    difficulty: float
    seed: int

    def draw(self, grid: Grid) -> np.ndarray:
        """Heights [m] of its cells or vertices, see tiles.py."""
        rng = np.random.default_rng((self.seed, self.row, self.column))
        heights = np.asarray(TILE_TYPES[self.kind](grid, self.difficulty, rng), dtype=float)
        cells, vertices = (grid.nx, grid.ny), (grid.nx + 1, grid.ny + 1)
        if heights.shape not in (cells, vertices) or not np.isfinite(heights).all():
            raise ValueError(
                f"tile type '{self.kind}' returned heights of shape {heights.shape}, expected finite cells {cells} or "
                f"vertices {vertices}"
            )
        return heights


@dataclass(frozen=True)
class Field:
    """Sloping ground of one tile: heights (nx + 1, ny + 1) [m] of vertices, centre (x, y) and half sizes (x, y) [m]."""

    heights: np.ndarray
    centre: tuple[float, float]
    half: tuple[float, float]


def column_kinds(proportions: dict[str, float], columns: int) -> list[str]:
    """Kind of each column: column j gets the kind in whose share j / columns + 0.001 falls, as in legged_gym.

    Raises:
        UserError: unknown kind, negative share, or no share at all.
    """
    for kind, share in proportions.items():
        if kind not in TILE_TYPES:
            raise UserError(
                f"terrain.proportions.{kind}: no such tile type{did_you_mean(kind, TILE_TYPES)}; known: "
                f"{', '.join(TILE_TYPES)}"
            )
        if share < 0.0:
            raise UserError(f"terrain.proportions.{kind}={share}: expected a share of at least 0")
    total = sum(proportions.values())
    if total <= 0.0:
        raise UserError("terrain.proportions: all are 0; give at least one tile type a share")
    kinds, bounds = list(proportions), np.cumsum(list(proportions.values())) / total
    choice = np.arange(columns) / columns + 0.001
    last = max(index for index, kind in enumerate(kinds) if proportions[kind] > 0.0)
    return [kinds[min(int(index), last)] for index in np.searchsorted(bounds, choice, side="right")]


class TerrainMap:
    """See the module.

    Attributes:
        tiles: row by row, column by column.
        kinds: of each column.
        size: (x, y) extent of all tiles [m].
        origins: (rows, columns, 3) where robots start, in the middle of each tile [m].
        corners: (X, Y, 4) heights [m] of each cell at its corners (0, 0), (1, 0), (0, 1), (1, 1); a flat-topped cell
            has four equal ones.
    """

    def __init__(self, cfg: type[LeggedRobotCfg.terrain] | SimpleNamespace) -> None:
        """Draw the map.

        Args:
            cfg: section `terrain` of a `LeggedRobotCfg`, or fields of the same names.

        Raises:
            UserError: invalid values.
        """
        self.cell, self.unit = float(cfg.horizontal_scale), float(cfg.vertical_scale)
        self.rows, self.columns, self.border = int(cfg.num_rows), int(cfg.num_cols), float(cfg.border_size)
        self.tile_size = float(cfg.terrain_length), float(cfg.terrain_width)
        if min(self.cell, self.unit) <= 0.0 or min(self.rows, self.columns) < 1 or self.border < 0.0:
            raise UserError(
                "terrain: horizontal_scale and vertical_scale must be positive, num_rows and num_cols at least 1, "
                "border_size at least 0"
            )
        if self.cell > COARSEST_CELL:
            raise UserError(
                f"terrain.horizontal_scale={self.cell}: expected at most {COARSEST_CELL} m, bumps and treads are not "
                "much larger"
            )
        counts = [round(length / self.cell) for length in self.tile_size]
        if any(abs(n * self.cell - length) > 1e-6 for n, length in zip(counts, self.tile_size)):
            raise UserError(
                f"terrain: tiles of {self.tile_size[0]} x {self.tile_size[1]} m are not whole cells of {self.cell} m"
            )
        if min(self.tile_size) < SMALLEST_TILE:
            raise UserError(
                f"terrain: tiles of {self.tile_size[0]} x {self.tile_size[1]} m, expected at least {SMALLEST_TILE} m: "
                "platforms and trenches take that much"
            )
        self.grid = Grid(counts[0], counts[1], self.cell, self.unit)
        self.size = self.rows * self.tile_size[0], self.columns * self.tile_size[1]
        self.kinds = column_kinds(to_dict(cfg.proportions), self.columns)
        self.tiles = [
            Tile(row, column, kind, row / self.rows, int(cfg.seed))
            for row in range(self.rows)
            for column, kind in enumerate(self.kinds)
        ]
        self._draw()

    def _draw(self) -> None:
        nx, ny = self.grid.nx, self.grid.ny
        self.corners = np.zeros((self.rows * nx, self.columns * ny, 4), dtype=np.float32)
        self.origins = np.zeros((self.rows, self.columns, 3))
        self.heights: list[np.ndarray] = []
        for tile in self.tiles:
            heights = self.unit * np.round(tile.draw(self.grid) / self.unit)
            self.heights.append(heights)
            x, y = tile.row * nx, tile.column * ny
            corners = self.corners[x : x + nx, y : y + ny]
            if self._is_field(heights):
                corners[:] = np.stack((heights[:-1, :-1], heights[1:, :-1], heights[:-1, 1:], heights[1:, 1:]), axis=-1)
            else:
                corners[:] = heights[..., None]
            highest = corners[self.grid.centre(START_AREA)].max()
            centre = (tile.row + 0.5) * self.tile_size[0], (tile.column + 0.5) * self.tile_size[1]
            self.origins[tile.row, tile.column] = (*centre, highest)

    def _is_field(self, heights: np.ndarray) -> bool:
        return heights.shape[0] > self.grid.nx

    @cached_property
    def samples(self) -> np.ndarray:
        """Isaac Gym's raster, border included.

        (X, Y) int16 heights in units of `vertical_scale` at the corner (0, 0) of each cell.
        """
        border = round(self.border / self.cell)
        heights = np.round(self.corners[..., 0] / self.unit)
        if np.abs(heights).max() > np.iinfo(np.int16).max:
            raise UserError(
                f"terrain: heights beyond {np.iinfo(np.int16).max * self.unit:.0f} m do not fit Isaac Gym's raster"
            )
        return np.pad(heights.astype(np.int16), border)

    @cached_property
    def fields(self) -> list[Field]:
        """Sloping tiles; those that happen to be level are boxes, because MuJoCo wants a height difference."""
        half = self.tile_size[0] / 2, self.tile_size[1] / 2
        return [
            Field(heights, tuple(self.origins[tile.row, tile.column, :2]), half)
            for tile, heights in zip(self.tiles, self.heights)
            if self._is_field(heights) and np.ptp(heights) > 0.0
        ]

    @cached_property
    def boxes(self) -> np.ndarray:
        """(B, 6) lower and upper corners [m] of boxes that make up all other ground, the endless border included."""
        floor = self._floors()
        boxes = []
        for tile, heights in zip(self.tiles, self.heights):
            field = self._is_field(heights)
            if field and np.ptp(heights) > 0.0:
                continue
            cells = heights[:-1, :-1] if field else heights
            x, y = tile.row * self.tile_size[0], tile.column * self.tile_size[1]
            for x0, x1, y0, y1 in rectangles(cells):
                low = x + x0 * self.cell, y + y0 * self.cell, floor[tile.row, tile.column]
                boxes.append((*low, x + x1 * self.cell, y + y1 * self.cell, cells[x0, y0]))
        far, (size_x, size_y), bottom = 1000.0, self.size, float(floor.min())
        boxes += [
            (-far, -far, bottom, 0.0, size_y + far, 0.0),
            (size_x, -far, bottom, size_x + far, size_y + far, 0.0),
            (0.0, -far, bottom, size_x, 0.0, 0.0),
            (0.0, size_y, bottom, size_x, size_y + far, 0.0),
        ]
        return np.array(boxes)

    def _floors(self) -> np.ndarray:
        """(rows, columns) m, bottom of each tile's boxes: below its own and its neighbours' lowest ground."""
        lowest = np.array([heights.min() for heights in self.heights]).reshape(self.rows, self.columns)
        padded = np.pad(np.minimum(lowest, 0.0), 1)
        around = [padded[i : i + self.rows, j : j + self.columns] for i in range(3) for j in range(3)]
        return np.min(around, axis=0) - DEPTH


def map_of_one_kind(kind: str, columns: int = 3) -> TerrainMap:
    """Ten levels of one kind of tile, as large as the tasks' tiles.

    With three columns a robot in the middle one stays on its level sideways.

    Raises:
        UserError: no such kind.
    """
    if kind not in TILE_TYPES:
        raise UserError(f"no tile of kind '{kind}'{did_you_mean(kind, TILE_TYPES)}; known: {', '.join(TILE_TYPES)}")
    return TerrainMap(
        SimpleNamespace(
            horizontal_scale=0.1,
            vertical_scale=0.005,
            num_rows=10,
            num_cols=columns,
            border_size=25.0,
            terrain_length=8.0,
            terrain_width=8.0,
            proportions=SimpleNamespace(**{kind: 1.0}),
            seed=1,
        )
    )
