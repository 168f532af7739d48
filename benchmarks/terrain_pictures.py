"""Pictures of the ground for the documentation: the default map from above, and every kind of tile on every level.

python benchmarks/terrain_pictures.py --folder docs/images
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import LightSource

from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.terrain.tiles import TILE_TYPES

STEP = 0.05  # m between drawn points
LIGHT = LightSource(azdeg=315, altdeg=40)


def main() -> None:
    """Parse flags and write both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    cfg = LeggedRobotCfg().terrain
    draw_map(RoughTerrain(cfg, 1, torch.Generator()), args.folder / "terrain_map.png")
    kinds = [kind for kind in TILE_TYPES if kind != "flat"]
    cfg.num_cols = len(kinds)
    for kind in vars(cfg.proportions):
        setattr(cfg.proportions, kind, float(kind in kinds))
    draw_kinds(RoughTerrain(cfg, 1, torch.Generator()), args.folder / "terrain_kinds.png")


def heights(terrain: RoughTerrain, x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
    """(Y, X) heights of an area, for pictures with x to the right and y up."""
    x, y = (torch.arange(low, high, STEP) + STEP / 3 for low, high in ((x0, x1), (y0, y1)))
    return terrain.heights(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)).numpy()


def shade(area: np.ndarray, limit: float) -> Any:
    """RGB of heights between -limit and limit, lit from the upper left."""
    return LIGHT.shade(
        np.clip(area, -limit, limit),
        plt.get_cmap("terrain"),
        vmin=-1.3 * limit,
        vmax=limit,
        dx=STEP,
        dy=STEP,
        blend_mode="soft",
    )


def draw_map(terrain: RoughTerrain, path: Path) -> None:
    """All tiles, levels along x."""
    length, width = terrain.map.size
    figure, axes = plt.subplots(figsize=(7, 12.5), constrained_layout=True)
    axes.imshow(shade(heights(terrain, 0.0, length, 0.0, width), 2.0), origin="lower", extent=(0.0, length, 0.0, width))
    side_x, side_y = terrain.map.tile_size
    axes.set_xticks(
        np.arange(terrain.map.rows) * side_x + side_x / 2,
        [f"level {row}" for row in range(terrain.map.rows)],
        rotation=45,
    )
    axes.set_yticks(np.arange(terrain.map.columns) * side_y + side_y / 2, terrain.kinds)
    axes.set_title(f"{length:.0f} x {width:.0f} m, {len(terrain.map.tiles)} tiles, heights -1.9 to 1.9 m")
    figure.savefig(path, dpi=90, bbox_inches="tight")


def draw_kinds(terrain: RoughTerrain, path: Path) -> None:
    """One tile for each kind (row) and level (column), heights coloured within each tile's kind."""
    ground = terrain.map
    figure, grid = plt.subplots(
        ground.columns, ground.rows, figsize=(14, 1.55 * ground.columns), constrained_layout=True
    )
    side_x, side_y = ground.tile_size
    for column, kind in enumerate(terrain.kinds):
        tiles = [
            heights(terrain, row * side_x, (row + 1) * side_x, column * side_y, (column + 1) * side_y)
            for row in range(ground.rows)
        ]
        limit = min(2.0, max(0.25, max(float(np.abs(tile).max()) for tile in tiles)))
        for row, tile in enumerate(tiles):
            axes = grid[column, row]
            axes.imshow(shade(tile, limit), origin="lower")
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_title(f"level {row}")
            if row == 0:
                axes.set_ylabel(kind)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
