"""The ground of the Isaac Gym engine, and whole environments on it, over its double (isaac_double.py)."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.simulators.isaac_gym.ground import ground_mesh
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from tests.engines import hold
from tests.ground import all_kinds, rough, terrain_cfg
from tests.isaac import engine

# -- ground ----------------------------------------------------------------------------------------------------------


def mesh_of(**fields: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Terrain, triangles' corners (T, 3, 3) and area vectors (T, 3) of a map with one column of each kind of tile."""
    terrain = rough(all_kinds(num_rows=3, **fields))
    vertices, triangles = ground_mesh(terrain.map)
    corners = vertices.astype(float)[triangles]
    return terrain, corners, 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def test_the_mesh_is_as_high_as_the_terrain_says():
    terrain, corners, areas = mesh_of(border_size=2.0)
    tops = corners[areas[:, 2] > 1e-9]
    generator = np.random.default_rng(0)
    # A random place in each triangle, a millimetre or more from its edges, where the next height may begin.
    weights = 0.02 + 0.94 * generator.dirichlet([1.0, 1.0, 1.0], size=len(tops))
    places = torch.from_numpy(np.einsum("tc,tcx->tx", weights, tops)).float()
    assert torch.allclose(terrain.heights(places[:, :2]), places[:, 2], atol=1e-4)
    assert len(tops) > 100_000 and len(np.unique(tops[..., 2])) > 100


def test_tops_cover_the_map_and_its_border_once_and_risers_are_exactly_vertical():
    terrain, corners, areas = mesh_of(border_size=2.0)
    size_x, size_y = terrain.map.size
    up = areas[:, 2] > 1e-9
    assert areas[up, 2].sum() == pytest.approx((size_x + 4.0) * (size_y + 4.0), rel=1e-6)
    assert corners[..., :2].min() == -2.0 and corners[..., 0].max() == pytest.approx(size_x + 2.0)
    risers = corners[~up]
    level = (risers[..., 0] == risers[:, :1, 0]).all(axis=1) | (risers[..., 1] == risers[:, :1, 1]).all(axis=1)
    assert len(risers) > 1000 and level.all()  # all three corners at the very same x, or y
    assert (np.linalg.norm(areas, axis=1) > 1e-9).all()  # no triangle without area


def test_risers_close_the_ground_and_face_the_open_side():
    """The volume over z = 0 is the flux of x, and of y, through the ground.

    Only if nothing is missing, doubled or inside out.
    """
    terrain, corners, areas = mesh_of(border_size=2.0)
    cells = terrain.map.corners.astype(float)
    # Each half of a cell, split from corner (0, 0) to (1, 1), holds its mean height.
    halves = cells[..., [0, 1, 3]].mean(-1) + cells[..., [0, 2, 3]].mean(-1)
    volume = 0.5 * terrain.map.cell**2 * halves.sum()
    for axis in (0, 1):
        assert areas[:, axis].sum() == pytest.approx(0.0, abs=1e-4)
        flux = (corners[..., axis].mean(axis=1) * areas[:, axis]).sum()
        assert flux == pytest.approx(volume, rel=1e-4)
    assert abs(volume) > 10.0


def test_edges_that_cross_each_other_have_two_risers_and_no_fin():
    """Beside each other: a cell that falls from 1 to 0 m along the common edge, and one that rises from 0 to 1 m."""
    terrain = rough(terrain_cfg({"flat": 1.0}, num_rows=1, num_cols=1, border_size=0.0))
    ground = terrain.map
    ground.corners[10, 10] = (0.0, 1.0, 0.0, 0.0)
    ground.corners[11, 10] = (0.0, 0.0, 1.0, 0.0)
    vertices, triangles = ground_mesh(ground)
    corners = vertices.astype(float)[triangles]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    riser = corners[(area[:, 2] == 0.0) & (corners[..., 0] == np.float32(1.1)).all(axis=1)]
    signed = area[(area[:, 2] == 0.0) & (corners[..., 0] == np.float32(1.1)).all(axis=1), 0]
    # The edges cross in the middle at half a metre; each triangle has 0.5 * 1 m * 0.05 m.
    assert len(riser) == 2 and np.allclose(sorted(signed), [-0.025, 0.025], atol=1e-6)
    assert np.isclose(riser, (1.1, 1.05, 0.5), atol=1e-6).all(axis=-1).any(axis=-1).all()


def test_ground_is_a_plane_or_the_map_with_its_border(plain):
    engine(1)
    (plane,) = plain.sim.ground
    assert plane.distance == 0.0 and plane.restitution == 0.0
    terrain = rough(terrain_cfg(num_rows=2, num_cols=4), num_envs=3)
    sim = engine(3, terrain=terrain)
    ((vertices, triangles, params),) = plain.sim.ground
    assert params.static_friction == params.dynamic_friction == plane.static_friction and params.restitution == 0.0
    assert vertices[:, :2].min() == -25.0 and vertices[:, 1].max() == 4 * 8.0 + 25.0
    # On a map, places are those of the map, in both worlds.
    start = terrain.origins + torch.tensor([0.0, 0.0, 0.34])
    assert torch.equal(sim.root_pos, start)
    hold(sim)
    assert torch.allclose(plain.sim.root[:, :3], start)
    assert len(triangles) == params.nb_triangles


# -- environments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["go2_flat", "go2"])
def test_tasks_run_on_isaac_gym(gym, task):
    args = parse(
        make_parser(""),
        [
            f"--task={task}",
            "--sim",
            "isaac_gym",
            "--num_envs=6",
            "--env.terrain.num_rows=2",
            "--env.terrain.num_cols=5",
        ],
    )
    dims = {}
    for name in ("isaac_gym", "mujoco"):
        env_cfg, train_cfg = task_registry.get_cfgs(args.task)
        apply_args_to_cfgs(argparse.Namespace(**{**vars(args), "sim": name}), env_cfg, train_cfg)
        env_cfg.domain_rand.push_interval_s = 0.04  # every second step
        env, _ = task_registry.make_env(args.task, env_cfg)
        dims[name] = env.group_dims
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for _ in range(3):
                results = env.step(torch.randn(6, 12, generator=generator))
                assert all(torch.isfinite(tensor).all() for tensor in results[:3])
                assert torch.isfinite(env.critic_obs_buf).all()
            env.reset()
            env.step(torch.zeros(6, 12))
    assert dims["isaac_gym"] == dims["mujoco"] == {"policy": 45, "privileged": 174, "critic": 171}
    assert gym.calls.count("simulate") == 4 * 4  # four control steps of four physics steps
    assert gym.calls.count("prepare_sim") == 1


def test_no_foot_starts_in_the_ground(plain):
    """What a reset on rough ground does about feet relies on where they are right after it."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.sim.engine, cfg.env.num_envs = "isaac_gym", 40
    cfg.terrain.num_rows, cfg.terrain.num_cols = 4, 5
    cfg.terrain.max_init_terrain_level = 3
    env, _ = task_registry.make_env("go2", cfg)
    clear = env.sim.foot_pos[..., 2] - env.terrain.heights(env.sim.foot_pos[..., :2])
    assert (clear > env.foot_radius - 1e-4).all()
