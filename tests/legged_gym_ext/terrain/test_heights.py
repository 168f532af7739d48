"""Heights of any map against rays cast on the geometry that the engine collides with."""

from __future__ import annotations

import mujoco
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from legged_gym_ext.simulators.mujoco.ground import add_map
from legged_gym_ext.terrain.tiles import TILE_TYPES
from tests.ground import rough, terrain_cfg

CELL = 0.1  # m


@given(
    kinds=st.lists(st.sampled_from(sorted(TILE_TYPES)), min_size=1, max_size=2, unique=True),
    rows=st.integers(1, 2),
    seed=st.integers(0, 2**16),
    spots=st.lists(st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), min_size=1, max_size=20),
)
@settings(max_examples=25, deadline=None)
def test_heights_are_where_rays_from_above_hit(kinds, rows, seed, spots):
    terrain = rough(terrain_cfg(dict.fromkeys(kinds, 1.0), num_rows=rows, num_cols=len(kinds)), seed=seed)
    spec = mujoco.MjSpec()
    add_map(spec, terrain.map)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    points = np.array(spots) * terrain.map.size
    # On an edge a ray may fall to either side: half a cell away from all of them.
    points = (np.floor(points / CELL) + 0.5) * CELL
    expected = terrain.heights(torch.tensor(points, dtype=torch.float32)).numpy()
    hit = np.zeros(1, dtype=np.int32)
    for (x, y), height in zip(points, expected):
        distance = mujoco.mj_ray(model, data, [x, y, 10.0], [0.0, 0.0, -1.0], None, 1, -1, hit)
        assert abs(10.0 - distance - height) < 1e-4, (kinds, x, y)


def test_points_that_are_no_numbers_have_no_height_and_disturb_no_other():
    terrain = rough(terrain_cfg({"stairs_up": 1.0}, num_rows=1, num_cols=1))
    points = torch.tensor([[1.0, 1.0], [float("nan"), 1.0], [1.0, float("inf")], [-float("inf"), float("nan")]])
    found = terrain.heights(points)
    assert torch.equal(found[:1], terrain.heights(points[:1])) and found[1].isnan() and found[3].isnan()
    assert len(terrain.normals(points)) == 4
