"""The environment on a map: where robots start, what they observe of the ground, how they change levels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.envs.base.symmetry import mirror
from legged_gym_ext.envs.base.terminations import check_terminations
from legged_gym_ext.utils.math import quat_from_yaw
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from tests.ground import all_kinds


def make(num_envs: int, **terrain: Any) -> LeggedRobot:
    """`go2` on a small map with every kind of tile."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.env.num_envs, cfg.noise.add_noise = num_envs, False
    cfg.terrain = all_kinds(**{"num_rows": 5, **terrain})
    return task_registry.make_env("go2", cfg)[0]


def brute_height(env: LeggedRobot, x: float, y: float) -> float:
    """Height at a point from the tile's own heights, one triangle at a time."""
    ground = env.terrain.map
    row, column = math.floor(x / 8.0), math.floor(y / 8.0)
    if not (0 <= row < ground.rows and 0 <= column < ground.columns):
        return 0.0
    heights = ground.heights[row * ground.columns + column]
    i, j = int((x - 8.0 * row) / 0.1), int((y - 8.0 * column) / 0.1)
    if heights.shape == (80, 80):
        return float(heights[i, j])
    u, v = (x - 8.0 * row) / 0.1 - i, (y - 8.0 * column) / 0.1 - j
    a, b, c, d = heights[i, j], heights[i + 1, j], heights[i, j + 1], heights[i + 1, j + 1]
    return float(a + u * (b - a) + v * (d - b)) if u >= v else float(a + v * (c - a) + u * (d - c))


@pytest.fixture(scope="module")
def walked() -> LeggedRobot:
    """Robots of all kinds and levels after a few steps of random actions."""
    env = make(50, curriculum=False)
    torch.manual_seed(0)
    for _ in range(20):
        env.step(torch.randn(50, 12))
    return env


def term(env: LeggedRobot, group: str, name: str) -> torch.Tensor:
    """Values of one term of a group, before scaling."""
    buffers = {"privileged": env.privileged_obs_buf, "critic": env.critic_obs_buf}
    return buffers[group][:, env.observations.slices(group)[name]] / env.observations.terms[name].scale


def test_the_height_scan_is_the_ground_around_the_base_in_its_heading(walked):
    env = walked
    scan = term(env, "critic", "terrain_scan")
    for robot in range(0, 50, 7):
        x, y, z = env.sim.root_pos[robot].tolist()
        w, qx, qy, qz = env.sim.root_quat[robot].tolist()
        yaw = math.atan2(2 * (w * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))
        expected = []
        for dx in env.cfg.terrain.scan_points_x:
            for dy in env.cfg.terrain.scan_points_y:
                ground = brute_height(
                    env, x + math.cos(yaw) * dx - math.sin(yaw) * dy, y + math.sin(yaw) * dx + math.cos(yaw) * dy
                )
                expected.append(max(-1.0, min(1.0, z - ground - float(env.base_height_target))))
        differs = (scan[robot] - torch.tensor(expected)).abs() > 1e-3
        assert differs.sum() <= 1, "more than a point that float32 puts on the other side of an edge"


def test_foot_heights_are_the_ground_under_nine_points_around_each_foot(walked):
    env = walked
    found = term(env, "privileged", "foot_heights").view(50, 4, 9)
    for robot in range(0, 50, 7):
        cos, sin = float(env.cos_yaw[robot]), float(env.sin_yaw[robot])
        for foot in range(4):
            x, y, z = env.sim.foot_pos[robot, foot].tolist()
            expected = [
                max(-1.0, min(1.0, z - 0.022 - brute_height(env, x + cos * dx - sin * dy, y + sin * dx + cos * dy)))
                for dx in (-0.1, 0.0, 0.1)
                for dy in (-0.1, 0.0, 0.1)
            ]
            assert ((found[robot, foot] - torch.tensor(expected)).abs() > 1e-3).sum() <= 1


def test_foot_normals_are_those_of_the_ground_in_the_robots_heading(walked):
    env = walked
    found = term(env, "privileged", "foot_normals").view(50, 4, 3)
    assert torch.allclose(found.norm(dim=-1), torch.ones(50, 4), atol=1e-5)
    tilted = 0
    for robot in range(50):
        cos, sin = float(env.cos_yaw[robot]), float(env.sin_yaw[robot])
        for foot in range(4):
            x, y, _ = env.sim.foot_pos[robot, foot].tolist()
            step = 1e-4  # differences within a triangle are its slope
            here = brute_height(env, x, y)
            slope_x, slope_y = ((brute_height(env, *at) - here) / step for at in ((x + step, y), (x, y + step)))
            if max(abs(slope_x), abs(slope_y)) > 2.0:
                continue  # across an edge
            normal = torch.tensor([-(cos * slope_x + sin * slope_y), sin * slope_x - cos * slope_y, 1.0])
            tilted += bool(max(abs(slope_x), abs(slope_y)) > 0.05)
            assert torch.allclose(found[robot, foot], normal / normal.norm(), atol=0.02)
    assert tilted > 10


def test_a_mirrored_world_gives_the_mirrored_observation():
    """Ground that rises to the robot's left is, mirrored, ground that rises to its right."""
    images = []
    for sign in (1.0, -1.0):
        cfg, _ = task_registry.get_cfgs("go2")
        cfg.env.num_envs, cfg.noise.add_noise, cfg.init_state.velocity_range = 1, False, 0.0
        cfg.init_state.random_yaw, cfg.init_state.joint_range = False, [1.0, 1.0]
        cfg.terrain = all_kinds(num_rows=1, spawn_radius=0.0)
        for name in vars(cfg.domain_rand):
            if name.startswith("randomize"):
                setattr(cfg.domain_rand, name, False)
        env, _ = task_registry.make_env("go2", cfg)
        ground = 0.1 * sign
        env.terrain.heights = lambda points, slope=ground: slope * (points[..., 1] - 4.0)
        normal = torch.tensor([0.0, -ground, 1.0]) / math.hypot(1.0, ground)
        env.terrain.normals = lambda points, normal=normal: normal.expand(*points.shape[:-1], 3)
        env.commands[:] = 0.0
        env._read_state()
        env._compute_observations()
        images.append(RslRlVecEnv(env, ("privileged", "critic")))
    left, right = (view.get_observations() for view in images)
    both, _ = mirror(images[0], left, None)
    for group in ("privileged", "critic"):
        assert torch.allclose(both[group][1], right[group][0], atol=1e-5), group
        assert not torch.allclose(left[group], right[group], atol=1e-2)


def test_robots_start_above_the_ground_on_their_own_tiles():
    env = make(200, curriculum=False)
    way = env.sim.root_pos[:, :2] - env.terrain.origins[:, :2]
    assert way.abs().max() <= 1.0 and way.abs().max() > 0.9
    assert (env.foot_height - env.foot_radius).min() > -1e-4
    # The base starts at least its height above everything that it may stand over.
    points = env.sim.root_pos[:, None, :2] + env.measured_points
    clearance = env.sim.root_pos[:, 2] - env.terrain.heights(points).amax(dim=-1)
    assert clearance.min() >= env.cfg.init_state.pos[2] - 1e-4


def test_levels_change_at_resets_with_the_way_from_the_start_against_the_commanded_one():
    env = make(4, max_init_terrain_level=0)
    env.terrain.place(torch.arange(4), torch.tensor([2, 2, 2, 2]))
    env.reset()
    assert env.terrain.levels.tolist() == [2, 2, 2, 2], "the first reset is no verdict"
    moved = env.start_pos.clone()
    moved[0] = env.terrain.origins[0, :2] + torch.tensor([4.1, 0.0])
    # Robot 0 left its tile; 1 made 0.9 m of 2 m, which is less than half; 2 made 1.1 m of 2 m; 3 is not reset.
    moved[1:, 0] += torch.tensor([0.9, 1.1, 9.0])
    env.sim.root_pos[:, :2] = moved
    env.commanded_way[:] = torch.tensor([[20.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [1.0, 0.0]])
    env._update_levels(torch.tensor([0, 1, 2]))
    assert env.terrain.levels.tolist() == [3, 1, 2, 2]
    env.fall_buf[2] = True
    env._update_levels(torch.tensor([2]))
    assert env.terrain.levels.tolist() == [3, 1, 1, 2], "a fall is a failure however far it got"
    env.reset_idx(torch.tensor([0]))
    assert abs(float(env.sim.root_pos[0, 0]) - (3 * 8.0 + 4.0)) <= 1.0


def test_the_commanded_way_is_integrated_in_the_world_over_all_commands_of_an_episode():
    env = make(2, max_init_terrain_level=0)
    env.commanded_way.zero_()
    env.cfg.commands.heading_command = False
    for yaw, command in ((0.0, [1.0, 0.0]), (torch.pi / 2, [0.0, -0.5])):
        env.sim.root_quat[:] = quat_from_yaw(torch.full((2,), yaw))
        env.commands[:, :2] = torch.tensor(command)
        env.cos_yaw, env.sin_yaw = torch.full((2,), math.cos(yaw)), torch.full((2,), math.sin(yaw))
        for _ in range(50):
            env._add_commanded_way()
    # 50 steps of 20 ms: 1 m forward along x, then 0.5 m to the right of a robot that looks along y, which is x again.
    assert torch.allclose(env.commanded_way, torch.tensor([[1.5, 0.0]]).expand(2, 2), atol=1e-5)


def test_an_obedient_robot_is_never_demoted_whatever_it_is_told():
    env = make(200, max_init_terrain_level=4)
    before = torch.full((200,), 2)
    env.terrain.place(torch.arange(200), before)
    env.reset()
    position = env.start_pos.clone()
    env.commanded_way.zero_()
    for _ in range(3):  # new commands in the middle of the episode, also opposite ones
        env.command_sampler.resample(torch.arange(200))
        for _ in range(100):
            former = env.commanded_way.clone()
            env._add_commanded_way()
            position += env.commanded_way - former
    env.sim.root_pos[:, :2] = position
    env._update_levels(torch.arange(200))
    assert (env.terrain.levels >= before).all()


def test_at_the_edge_of_its_tile_a_robot_times_out_and_is_promoted_at_once():
    env = make(3, max_init_terrain_level=0)
    env.sim.root_pos[0, 0] = env.terrain.origins[0, 0] + 4.2
    *_, extras = env.step(torch.zeros(3, 12))
    assert extras["time_outs"].tolist() == [True, False, False] and not env.fall_buf.any()
    assert env.terrain.levels.tolist() == [1, 0, 0]
    away = (env.sim.root_pos[0, :2] - env.terrain.origins[0, :2]).abs().max()
    assert float(away) <= env.cfg.terrain.spawn_radius + 1e-5, "it starts on its new tile"


def test_the_edge_ends_nothing_where_that_is_switched_off():
    env = make(3, max_init_terrain_level=0, end_at_edge=False)
    env.sim.root_pos[0, 0] = env.terrain.origins[0, 0] + 4.2
    check_terminations(env)
    assert not env.time_out_buf.any()


def test_robots_of_a_snapshot_of_another_size_start_on_the_tiles_of_its_levels():
    small, large = make(5, max_init_terrain_level=0), make(10, max_init_terrain_level=0)
    small.terrain.place(torch.arange(5), torch.tensor([4, 3, 2, 1, 0]))
    restore_snapshot(large, take_snapshot(small))
    levels = large.terrain.levels.clone()
    large.step(torch.zeros(10, 12))
    assert not large.time_out_buf.any() and torch.equal(large.terrain.levels, levels)


def test_without_a_curriculum_the_edge_ends_nothing():
    env = make(2, curriculum=False)
    env.sim.root_pos[:, 0] += 6.0
    check_terminations(env)
    assert not env.time_out_buf.any()


def test_headings_are_square_to_the_steps_where_asked_for():
    env = make(40, max_init_terrain_level=0)
    env.cfg.commands.straight_on = ["stairs_up"]
    env.command_sampler.resample(torch.arange(40))
    quarter = env.commands[:, 3] / (torch.pi / 2)
    off = (quarter - quarter.round()).abs()
    on_stairs = env.terrain.on_kinds(["stairs_up"])
    assert bool(on_stairs.any()) and bool((~on_stairs).any())
    assert (off[on_stairs] < 1e-5).all() and (off[~on_stairs] > 1e-3).any()


def test_a_step_that_ends_episodes_reports_the_levels():
    env = make(10, max_init_terrain_level=0)
    env.episode_length_buf[:] = env.max_episode_length
    *_, extras = env.step(torch.zeros(10, 12))
    assert {"Terrain/level", "Terrain/level_pit", "Terrain/level_stairs_up"} <= set(extras["episode"])
    assert float(extras["episode"]["Terrain/level"]) == 0.0  # nobody moved, nobody can go below 0


def test_a_snapshot_restores_levels_and_where_robots_start():
    env, other = make(6, max_init_terrain_level=4), make(6, max_init_terrain_level=0)
    env.terrain.place(torch.arange(6), torch.tensor([4, 3, 2, 1, 0, 4]))
    env.reset()
    snapshot = take_snapshot(env)
    assert restore_snapshot(other, snapshot) is None
    assert torch.equal(other.terrain.levels, env.terrain.levels)
    assert torch.equal(other.terrain.origins, env.terrain.origins)
    torch.manual_seed(0)
    actions = torch.randn(30, 6, 12)
    for action in actions:
        env.step(action)
        other.step(action)
    assert torch.equal(env.sim.root_pos, other.sim.root_pos) and torch.equal(env.obs_buf, other.obs_buf)


def test_with_more_robots_a_snapshot_still_hands_the_levels_on():
    env, more = make(5, max_init_terrain_level=0), make(10, max_init_terrain_level=0)
    env.terrain.place(torch.arange(5), torch.tensor([4, 3, 2, 1, 0]))
    assert "another number of environments" in (restore_snapshot(more, take_snapshot(env)) or "")
    assert more.terrain.levels.tolist() == [4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
