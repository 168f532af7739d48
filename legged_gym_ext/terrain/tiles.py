"""Kinds of tiles: one function per kind draws the ground of one tile.

A function gets the tile's `Grid`, a difficulty in [0, 1) and a random generator and returns heights [m]: of cells (nx,
ny), flat-topped with vertical faces between them, or of vertices (nx + 1, ny + 1), slopes between them and zero along
the tile's edge so that tiles meet. x is the first axis. Shapes and difficulty formulas are those of legged_gym
(`utils/terrain.py`, commit 8fa29ac); lengths are rounded to cells where legged_gym truncates.

A new kind is one function with `@tile_type`; its name can then be given a share in `terrain.proportions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np

PLATFORM = 3.0  # m, side of the flat square in the middle where robots start


@dataclass(frozen=True)
class Grid:
    """Raster of a tile: nx x ny square cells with sides of `cell` metres, heights in multiples of `unit` metres."""

    nx: int
    ny: int
    cell: float
    unit: float

    def cells(self) -> np.ndarray:
        """Flat ground, a height per cell."""
        return np.zeros((self.nx, self.ny))

    def count(self, length: float) -> int:
        """Cells in `length` metres."""
        return round(length / self.cell)

    def height(self, height: float) -> float:
        """The multiple of `unit` that is nearest to `height`."""
        return self.unit * round(height / self.unit)

    def centre(self, size: float) -> tuple[slice, slice]:
        """Index of the centred square with sides of `size` metres."""
        half = self.count(size / 2)
        return slice(self.nx // 2 - half, self.nx // 2 + half), slice(self.ny // 2 - half, self.ny // 2 + half)


TileType = Callable[[Grid, float, np.random.Generator], np.ndarray]
TILE_TYPES: dict[str, TileType] = {}
"""Name -> function."""


def tile_type(function: TileType) -> TileType:
    """Make `function` known under its name."""
    TILE_TYPES[function.__name__] = function
    return function


@tile_type
def flat(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Level ground."""
    return grid.cells()


@tile_type
def slope_up(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A hollow with sloping sides: robots climb out of it."""
    return -_pyramid(grid, 0.4 * difficulty)


@tile_type
def slope_down(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A hill: robots start on top."""
    return _pyramid(grid, 0.4 * difficulty)


@tile_type
def rough_slope(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A hill with bumps of +-5 cm."""
    return _pyramid(grid, 0.4 * difficulty) + _bumps(grid, rng, amplitude=0.05, step=0.005, spacing=0.2)


@tile_type
def stairs_up(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pit with steps on all sides: robots climb out of it."""
    return -_stairs(grid, 0.05 + 0.18 * difficulty)


@tile_type
def stairs_down(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A pyramid of steps: robots start on top."""
    return _stairs(grid, 0.05 + 0.18 * difficulty)


@tile_type
def discrete(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Twenty rectangles with sides of 1 to 1.8 m, raised or sunken by the obstacle height or half of it."""
    cells, height = grid.cells(), 0.05 + 0.2 * difficulty
    spacing = grid.count(0.4)
    sides = np.arange(grid.count(1.0), grid.count(2.0), spacing)
    for _ in range(20):
        x_side, y_side = rng.choice(sides, 2)
        x = rng.choice(np.arange(0, grid.nx - x_side, spacing))
        y = rng.choice(np.arange(0, grid.ny - y_side, spacing))
        cells[x : x + x_side, y : y + y_side] = height * rng.choice([-1.0, -0.5, 0.5, 1.0])
    cells[grid.centre(PLATFORM)] = 0.0
    return cells


@tile_type
def stepping_stones(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of square stones over a hole of 10 m, around a platform of 4 m."""
    side, gap = grid.count(1.5 * (1.05 - difficulty)), grid.count(0.05 if difficulty == 0.0 else 0.1)
    cells = np.full((grid.nx, grid.ny), -10.0)
    for y in range(0, grid.ny, side + gap):
        for x in range(-int(rng.integers(side)), grid.nx, side + gap):
            cells[max(x, 0) : x + side, y : y + side] = 0.0
    cells[grid.centre(4.0)] = 0.0
    return cells


@tile_type
def gap(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A trench of 5 m depth around the platform, as wide as the difficulty in metres."""
    cells = grid.cells()
    cells[grid.centre(PLATFORM + 2.0 * difficulty)] = -5.0
    cells[grid.centre(PLATFORM)] = 0.0
    return cells


@tile_type
def pit(grid: Grid, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """A square hole of 4 m, as deep as the difficulty in metres; robots start in it."""
    cells = grid.cells()
    cells[grid.centre(4.0)] = -difficulty
    return cells


def _pyramid(grid: Grid, slope: float) -> np.ndarray:
    """Vertices of a hill with its top cut off: the product of two tents, `slope` steep along the centre lines."""
    x, y = (np.linspace(-1.0, 1.0, count + 1) for count in (grid.nx, grid.ny))
    heights = slope * grid.nx * grid.cell / 2 * np.outer(1.0 - np.abs(x), 1.0 - np.abs(y))
    corner_x, corner_y = grid.centre(PLATFORM)
    return np.minimum(heights, heights[corner_x.start, corner_y.start])


def _bumps(grid: Grid, rng: np.random.Generator, amplitude: float, step: float, spacing: float) -> np.ndarray:
    """Vertices with heights up to +- `amplitude` in multiples of `step`; zero along the edge.

    Heights are drawn every `spacing` metres and interpolated.
    """
    every = grid.count(spacing)
    levels = round(amplitude / step)
    coarse_x, coarse_y = (np.arange(0, count + every, every) for count in (grid.nx, grid.ny))
    coarse = step * rng.integers(-levels, levels, (len(coarse_x), len(coarse_y)), endpoint=True)
    fine_x, fine_y = np.arange(grid.nx + 1), np.arange(grid.ny + 1)
    along_x = np.stack([np.interp(fine_x, coarse_x, column) for column in coarse.T], axis=1)
    heights = np.stack([np.interp(fine_y, coarse_y, row) for row in along_x])
    heights[[0, -1], :] = heights[:, [0, -1]] = 0.0
    return heights


def _stairs(grid: Grid, step: float) -> np.ndarray:
    """Cells of a stepped pyramid with treads of 0.3 m, as many steps as leave at most the platform in the middle."""
    cells, tread, step = grid.cells(), grid.count(0.3), grid.height(step)  # rounded here, so that all steps are equal
    rings = int(np.ceil((min(grid.nx, grid.ny) - grid.count(PLATFORM)) / (2 * tread)))
    for ring in range(1, rings + 1):
        inside = slice(ring * tread, grid.nx - ring * tread), slice(ring * tread, grid.ny - ring * tread)
        cells[inside] = ring * step
    return cells
