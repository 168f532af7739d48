"""Tiles, maps and their boxes, heights and normals, and the curriculum."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from legged_gym_ext.terrain.boxes import rectangles
from legged_gym_ext.terrain.map import TerrainMap, column_kinds
from legged_gym_ext.terrain.tiles import TILE_TYPES, Grid, tile_type
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError
from tests.ground import all_kinds, rough, terrain_cfg

GRID = Grid(80, 80, 0.1, 0.005)


def draw(kind: str, difficulty: float, seed: int = 0) -> np.ndarray:
    """Heights in whole 5 mm, as a map has them."""
    return np.round(TILE_TYPES[kind](GRID, difficulty, np.random.default_rng(seed)) / 0.005) * 0.005


# -- formulas, against the level table of go2.md with rounding where legged_gym truncates
# --------------------------------


@pytest.mark.parametrize(
    ("level", "step"),
    # 0.05 + 0.18 d: 0.050 0.068 0.086 0.104 0.122 0.140 0.158 0.176 0.194 0.212, to the nearest 5 mm.
    list(enumerate([0.05, 0.07, 0.085, 0.105, 0.12, 0.14, 0.16, 0.175, 0.195, 0.21])),
)
def test_nine_equal_steps_of_30_cm_around_a_platform_of_2_6_m(level, step):
    for kind, sign in (("stairs_down", 1.0), ("stairs_up", -1.0)):
        cells = draw(kind, level / 10)
        # Along the middle: 3 cells at the level of the neighbours, then up or down every 3 cells, 26 cells of platform.
        expected = (
            sign
            * step
            * np.array([i for i in range(9) for _ in range(3)] + [9] * 26 + [8 - i for i in range(9) for _ in range(3)])
        )
        np.testing.assert_allclose(cells[:, 40], expected, atol=1e-9)
        np.testing.assert_allclose(cells[40, :], expected, atol=1e-9)


@pytest.mark.parametrize("level", range(10))
def test_a_slope_is_cut_off_at_its_platform(level):
    hill = draw("slope_down", level / 10)
    # The product of two tents at 1.5 m from the middle on both axes: 0.4 d x 4 m x 0.625 x 0.625 = 0.625 d, to 5 mm.
    assert hill.max() == pytest.approx(0.0625 * level, abs=0.0026)
    assert hill[40, 40] == hill.max() == hill[25, 25]
    np.testing.assert_array_equal(draw("slope_up", level / 10), -hill)
    # On the centre line the gradient is the nominal one: 0.4 d over the first metre.
    assert hill[10, 40] - hill[0, 40] == pytest.approx(0.4 * level / 10, abs=0.005)
    assert not hill[[0, -1]].any() and not hill[:, [0, -1]].any()


def test_bumps_are_within_5_cm_drawn_every_20_cm_and_meet_the_neighbours():
    heights = draw("rough_slope", 0.0)
    assert 0.045 <= np.abs(heights).max() <= 0.05
    inner = heights[2:-2, 2:-2]
    # Between two drawn points the ground is straight.
    np.testing.assert_allclose(
        inner[1::2, ::2], (inner[:-1:2, ::2] + inner[2::2, ::2])[: inner[1::2].shape[0]] / 2, atol=0.0026
    )
    assert not heights[[0, -1]].any() and not heights[:, [0, -1]].any()
    assert len(np.unique(inner[::2, ::2])) == 21  # 0.005 m apart, from -0.05 to 0.05


@pytest.mark.parametrize(("level", "height"), [(0, 0.05), (5, 0.15), (9, 0.23)])
def test_obstacles_are_raised_or_sunken_by_the_height_or_half_of_it(level, height):
    heights = np.concatenate([draw("discrete", level / 10, seed).ravel() for seed in range(5)])
    allowed = [-height, -height / 2, 0.0, height / 2, height]
    assert np.abs(heights[:, None] - allowed).min(axis=1).max() <= 0.0026  # half of 0.05 is rounded to 5 mm
    assert {round(h, 2) for h in heights} > {-height, 0.0, height}
    assert not draw("discrete", level / 10)[25:55, 25:55].any()


@pytest.mark.parametrize(("level", "side", "between"), [(0, 16, 0), (1, 14, 1), (5, 8, 1), (9, 2, 1)])
def test_stones_get_smaller_and_stand_a_cell_apart(level, side, between):
    cells = draw("stepping_stones", level / 10)
    assert set(np.unique(cells)) <= {-10.0, 0.0}
    assert not cells[20:60, 20:60].any()  # platform of 4 m
    row = cells[:, 0] == 0.0  # along x, next to the edge
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], row, [0])))))
    stones, gaps = runs[::2], runs[1::2]
    if between:
        assert set(stones[1:-1]) == {side} and set(gaps) == {between}  # the outermost are cut by the tile's edge
    else:
        assert row.all()


@pytest.mark.parametrize(("level", "width"), [(0, 0), (3, 3), (7, 7), (9, 9)])
def test_a_gap_is_a_ring_of_the_difficulty_in_metres(level, width):
    cells = draw("gap", level / 10)
    line = cells[:, 40]
    assert not line[25:55].any() and not line[: 25 - width].any() and not line[55 + width :].any()
    assert (line[25 - width : 25] == -5.0).all() and (line[55 : 55 + width] == -5.0).all()


def test_robots_start_in_a_pit_of_4_m():
    cells = draw("pit", 0.6)
    assert (cells[20:60, 20:60] == -0.6).all() and np.count_nonzero(cells) == 1600
    terrain = TerrainMap(terrain_cfg({"pit": 1.0}))
    np.testing.assert_allclose(terrain.origins[6, 0], (6.5 * 8.0, 4.0, -0.6))


def test_columns_share_the_kinds_as_in_legged_gym():
    kinds = column_kinds(to_dict(terrain_cfg().proportions), 20)
    assert kinds[:4] == ["slope_up", "slope_down", "rough_slope", "rough_slope"]
    assert kinds[4:11] == ["stairs_up"] * 7 and kinds[11:16] == ["stairs_down"] * 5 and kinds[16:] == ["discrete"] * 4


def test_a_new_kind_is_one_function():
    @tile_type
    def ridge(grid, difficulty, rng):
        cells = grid.cells()
        cells[10:12] = difficulty
        return cells

    try:
        terrain = rough(terrain_cfg({"ridge": 1.0}, num_rows=2, num_cols=1))
        assert float(terrain.heights(torch.tensor([8.0 + 1.1, 3.0]))) == pytest.approx(
            0.5
        )  # row 1 of 2: difficulty 0.5
        assert terrain.kinds == ["ridge"]
    finally:
        del TILE_TYPES["ridge"]


def test_the_same_seed_is_the_same_map_and_another_is_not():
    maps = [TerrainMap(terrain_cfg(seed=seed)).corners for seed in (1, 1, 2)]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert (maps[0] != maps[2]).any()


# -- boxes ------------------------------------------------------------------------------------------------------------


def test_rectangles_cover_every_cell_once_with_its_height():
    heights = np.random.default_rng(0).integers(0, 3, (13, 9))
    count = np.zeros_like(heights)
    for x0, x1, y0, y1 in rectangles(heights):
        count[x0:x1, y0:y1] += 1
        assert len(np.unique(heights[x0:x1, y0:y1])) == 1
    assert (count == 1).all()


def test_simple_ground_is_few_boxes():
    assert len(rectangles(draw("flat", 0.0))) == 1
    assert len(rectangles(draw("pit", 0.5))) == 5  # the pit and four boxes around it
    assert len(rectangles(draw("stairs_up", 0.5))) == 4 * 9 + 1


def test_boxes_have_the_heights_of_the_map_and_reach_below_their_neighbours():
    terrain = TerrainMap(terrain_cfg({"pit": 1.0, "flat": 1.0}, num_rows=2, num_cols=2))
    boxes = terrain.boxes
    # Row 1 has the pit of 0.5 m; all tiles touch it, so every box reaches half a metre below it.
    assert set(np.round(boxes[:, 2], 6)) == {-1.0}
    assert set(np.round(boxes[:, 5], 6)) == {0.0, -0.5}
    inside = boxes[:-4]
    area = (inside[:, 3] - inside[:, 0]) * (inside[:, 4] - inside[:, 1])
    assert area.sum() == pytest.approx(16.0 * 16.0)


def test_samples_for_isaac_gym_are_the_heights_in_units_with_the_border():
    terrain = TerrainMap(terrain_cfg({"stairs_down": 1.0, "slope_down": 1.0}, num_rows=10, num_cols=2, border_size=5.0))
    samples = terrain.samples
    assert samples.dtype == np.int16 and samples.shape == (800 + 100, 160 + 100)
    assert not samples[:50].any() and not samples[:, -50:].any()
    assert samples[50 + 9 * 80 + 40, 50 + 80 + 40] == round(9 * 0.21 / 0.005)  # on top of the stairs of level 9
    assert samples[50 + 9 * 80 + 10, 50 + 40] == round(0.36 * 1.0 / 0.005)  # 1 m up the slope of 0.36


# -- heights and normals
# ------------------------------------------------------------------------------------------------


def test_heights_next_to_an_edge_are_those_of_the_side_they_are_on():
    terrain = rough(terrain_cfg({"pit": 1.0}, num_rows=2, num_cols=1))
    edge = 8.0 + 2.0  # the pit of row 1, 0.5 m deep, begins here
    points = torch.tensor([[edge - 0.001, 4.0], [edge + 0.001, 4.0]])
    torch.testing.assert_close(terrain.heights(points), torch.tensor([0.0, -0.5]))
    torch.testing.assert_close(terrain.normals(points), torch.tensor([[0.0, 0.0, 1.0]] * 2))


def test_heights_and_normals_on_a_slope_by_hand():
    terrain = rough(terrain_cfg({"slope_down": 1.0}, num_rows=2, num_cols=1))
    terrain._flat_corners[:] = torch.tensor([0.0, 0.1, 0.0, 0.3])  # corners (0,0) (1,0) (0,1) (1,1) of every cell
    # Cells are cut along the diagonal. Below it (x > y): 1 along x, then 2 along y; above it: 0 along y, then 3 along
    # x.
    points = torch.tensor([[4.08, 4.02], [4.02, 4.08]])
    torch.testing.assert_close(terrain.heights(points), torch.tensor([0.08 + 0.04, 0.0 + 0.06]), atol=1e-5, rtol=0.0)
    normals = torch.tensor([[-1.0, -2.0, 1.0], [-3.0, 0.0, 1.0]])
    normals /= normals.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(terrain.normals(points), normals, atol=1e-4, rtol=0.0)


def test_ground_around_the_map_is_level():
    terrain = rough(all_kinds(num_rows=2))
    far = torch.tensor([[-0.01, 4.0], [-300.0, 4.0], [16.01, 4.0], [4.0, -1e-3], [4.0, 1e6], [1e4, 1e4]])
    assert not terrain.heights(far).any()
    assert (terrain.normals(far) == torch.tensor([0.0, 0.0, 1.0])).all()


# -- curriculum
# ---------------------------------------------------------------------------------------------------------


def test_robots_are_spread_evenly_over_columns_and_start_on_easy_levels():
    terrain = rough(terrain_cfg(max_init_terrain_level=3), num_envs=400)
    assert torch.equal(terrain.types.bincount(), torch.full((20,), 20))
    assert set(terrain.levels.tolist()) == {0, 1, 2, 3}
    expected = torch.tensor(terrain.map.origins, dtype=torch.float32)[terrain.levels, terrain.types]
    assert torch.equal(terrain.origins, expected)
    assert not rough(terrain_cfg(), num_envs=40).levels.any()


def test_promotion_demotion_and_the_lowest_level_by_hand():
    terrain = rough(terrain_cfg(), num_envs=6)
    terrain.place(torch.arange(6), torch.tensor([3, 3, 3, 3, 0, 3]))
    positions = terrain.origins[:, :2] + torch.tensor(
        [[4.01, 0.0], [4.0, -4.0], [1.9, 0.0], [0.0, -4.01], [0.0, 0.0], [float("nan"), 0.0]]
    )
    failed = torch.tensor([True, False, True, False, True, True])
    terrain.update_levels(torch.arange(6), positions, failed)
    # Left the tile, also in falling: up. On its edge and not failed: stays. Failed: down. Left it sideways: up. Level 0
    # stays. Physics that failed: down.
    assert terrain.levels.tolist() == [4, 3, 2, 4, 0, 2]
    assert torch.equal(terrain.origins[:, 0], 8.0 * terrain.levels + 4.0)


def test_only_the_robots_that_are_reset_move():
    terrain = rough(terrain_cfg(), num_envs=4)
    terrain.update_levels(torch.tensor([2]), terrain.origins[[2], :2] + 5.0, torch.tensor([False]))
    assert terrain.levels.tolist() == [0, 0, 1, 0]


def test_robots_past_the_last_level_spread_at_random():
    terrain = rough(terrain_cfg(), num_envs=1000)
    everyone = torch.arange(1000)
    terrain.place(everyone, torch.full((1000,), 9))
    terrain.update_levels(everyone, terrain.origins[:, :2] + 5.0, torch.zeros(1000, dtype=torch.bool))
    counts = terrain.levels.bincount(minlength=10)
    assert counts.min() > 60 and len(counts) == 10  # 100 each is expected, 9.5 is a standard deviation


def test_without_a_curriculum_robots_are_on_all_levels_and_stay():
    terrain = rough(terrain_cfg(curriculum=False), num_envs=400)
    before = terrain.levels.clone()
    assert torch.equal(before.bincount(), torch.full((10,), 40))
    terrain.update_levels(torch.arange(400), terrain.origins[:, :2] + 9.0, torch.zeros(400, dtype=torch.bool))
    assert torch.equal(terrain.levels, before)


def test_level_statistics_by_hand():
    terrain = rough(terrain_cfg({"pit": 1.0, "gap": 1.0}, num_cols=2), num_envs=4)
    terrain.place(torch.arange(4), torch.tensor([1, 2, 5, 6]))
    statistics = {name: float(value) for name, value in terrain.level_statistics().items()}
    # Kinds keep the order of the configuration: gap comes before pit.
    assert statistics == {"level": 3.5, "level_gap": 1.5, "level_pit": 5.5}


# -- bad input
# ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_rows": 0}, "num_rows and num_cols at least 1"),
        ({"horizontal_scale": 0.0}, "horizontal_scale and vertical_scale must be positive"),
        ({"terrain_length": 8.05}, "8.05 x 8.0 m are not whole cells of 0.1 m"),
        ({"horizontal_scale": 0.4}, "horizontal_scale=0.4: expected at most 0.25 m"),
        ({"terrain_width": 4.0}, "tiles of 8.0 x 4.0 m, expected at least 5.0 m"),
        ({"spawn_radius": 4.5}, "spawn_radius=4.5: expected at most 4.0 m, half a tile"),
        ({"max_init_terrain_level": 10}, r"max_init_terrain_level=10: expected a level from 0 to 9"),
        ({"proportions": {"stairs": 1.0}}, r"terrain.proportions.stairs: no such tile type.*known: flat, slope_up"),
        ({"proportions": {"pit": -1.0}}, r"terrain.proportions.pit=-1.0: expected a share of at least 0"),
        ({"proportions": {}}, "all are 0"),
    ],
)
def test_values_without_sense_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        rough(terrain_cfg(**fields))


def test_a_kind_that_returns_nonsense_is_named():
    @tile_type
    def broken(grid, difficulty, rng):
        return np.zeros((3, 3))

    try:
        with pytest.raises(
            ValueError, match=r"tile type 'broken' returned heights of shape \(3, 3\), expected finite cells \(80, 80\)"
        ):
            TerrainMap(terrain_cfg({"broken": 1.0}))
    finally:
        del TILE_TYPES["broken"]
