"""A map in MuJoCo: rays against heights, what each environment has near its robot, and robots that stand on it."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest
import torch
from mjbatch import Batch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.simulators.base import RobotState
from legged_gym_ext.simulators.mujoco.ground import AWAY, TRAVEL, add_map
from legged_gym_ext.simulators.mujoco.model import build_model, reach
from legged_gym_ext.terrain import PlaneTerrain
from legged_gym_ext.terrain.tiles import TILE_TYPES, tile_type
from tests.ground import all_kinds, rough, terrain_cfg

CELL = 0.1


def drop(batch: Batch, points: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """(N, P) heights at which rays straight down hit geoms of `groups` at points (N, P, 2)."""
    start = np.concatenate((points, np.full((*points.shape[:2], 1), 5.0)), axis=-1)
    down = np.broadcast_to([0.0, 0.0, -1.0], start.shape).copy()
    distance = np.zeros(points.shape[:2])
    batch.rays(start, down, distance, geomgroup=groups)
    return np.where(distance < 0.0, -np.inf, 5.0 - distance)


def make_env(num_envs: int) -> LeggedRobot:
    """`go2` on a map with every kind, robots on all levels, without pushes or noise."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.env.num_envs, cfg.domain_rand.push_robots, cfg.noise.add_noise = num_envs, False, False
    cfg.terrain = all_kinds(curriculum=False)
    return task_registry.make_env("go2", cfg)[0]


def robot_reach() -> float:
    """Of the Go2."""
    cfg, _ = task_registry.get_cfgs("go2_flat")
    return reach(build_model(cfg, PlaneTerrain(1, torch.device("cpu"))).model)


@pytest.mark.parametrize("kind", list(TILE_TYPES))
def test_rays_hit_the_heights_of_the_map_everywhere(kind):
    """Every level, on the 0.1 m grid (between the edges of cells), outside of the map as well."""
    terrain = rough(terrain_cfg({kind: 1.0}, num_cols=1))
    spec = mujoco.MjSpec()
    add_map(spec, terrain.map)
    batch = Batch(spec.compile(), 1, num_threads=1)
    batch.forward()
    x, y = np.arange(-5, 805) * CELL + 0.03, np.arange(-5, 85) * CELL + 0.06
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(1, -1, 2)
    expected = terrain.heights(torch.tensor(points, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(drop(batch, points), expected, atol=1e-4)


def test_risers_are_vertical():
    """A millimetre on either side of every edge of the stairs the ground has the height of that step."""
    terrain = rough(terrain_cfg({"stairs_up": 1.0, "stairs_down": 1.0}, num_cols=2))
    spec = mujoco.MjSpec()
    add_map(spec, terrain.map)
    batch = Batch(spec.compile(), 1, num_threads=1)
    batch.forward()
    edges = 9 * 8.0 + 0.3 * np.arange(1, 10)  # of the hardest level, on the way to the middle
    for column, step in enumerate((-0.21, 0.21)):
        for side, first in ((-1e-3, 0), (1e-3, 1)):
            points = np.stack((edges + side, np.full(9, 8.0 * column + 4.0)), axis=-1)[None]
            np.testing.assert_allclose(drop(batch, points)[0], step * (np.arange(9) + first), atol=1e-6)


def test_every_environment_has_the_map_within_reach_of_its_robot():
    """Wherever robots are, beyond the edge of the map as well, rays through their slots hit the heights of the map."""
    env = make_env(60)
    rng = np.random.default_rng(0)
    margin = robot_reach() + TRAVEL
    ground_only = np.zeros(6, dtype=np.uint8)
    ground_only[env.sim.model.geom("ground_box_0").group[0]] = 1
    for _ in range(5):
        places = rng.uniform([-3.0, -3.0], np.add(env.terrain.map.size, 3.0), (env.num_envs, 2))
        env.sim._near_ground.follow(places)
        env.sim.batch.forward()
        points = places[:, None] + rng.uniform(-margin, margin, (env.num_envs, 50, 2))
        near_edge = (np.abs(points / CELL - np.round(points / CELL)) < 1e-3).any(axis=-1)
        expected = env.terrain.heights(torch.tensor(points, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(
            drop(env.sim.batch, points, ground_only)[~near_edge], expected[~near_edge], atol=1e-4
        )


def test_slots_follow_a_robot_and_what_is_not_needed_is_parked():
    env = make_env(2)
    near, boxes = env.sim._near_ground, env.sim._near_ground._box_ids
    far = np.array([[-100.0, -100.0], [-100.0, -100.0]])
    near.follow(far)
    used = near._pos[0, boxes, 2] > AWAY / 2
    assert used.sum() == 1  # level ground all around: one box
    x_range = near._pos[0, boxes][used][0, 0] + np.array([-1, 1]) * near._size[0, boxes][used][0, 0]
    assert x_range[0] < -100.0 - robot_reach() and x_range[1] > -100.0 + robot_reach()
    before = near._pos.copy()
    near.follow(far + 0.1)  # the same bucket
    np.testing.assert_array_equal(near._pos, before)
    near.follow(np.array([[20.0, 20.0]]), np.array([1]))
    np.testing.assert_array_equal(near._pos[0], before[0])
    assert (near._pos[1] != before[1]).any()


def test_the_reach_of_a_robot_by_hand():
    spec = mujoco.MjSpec()
    base = spec.worldbody.add_body(pos=[5.0, 0.0, 1.0])
    base.add_freejoint()
    base.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.1, 0, 0], pos=[0.2, 0, 0])
    leg = base.add_body(pos=[0.3, 0.0, 0.4])
    leg.add_joint(pos=[0.0, 0.0, 0.05])
    leg.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.02, 0, 0], pos=[0.0, 0.0, -0.6])
    # To the leg's frame 0.5, which a joint 0.05 beside it swings by up to 0.1, along the leg 0.6, radius 0.02.
    assert reach(spec.compile()) == pytest.approx(0.5 + 0.1 + 0.6 + 0.02)


def test_robots_stand_on_every_kind_of_ground():
    """Nobody starts in the ground, falls through it or is pushed out of it; random joints and headings."""
    env = make_env(100)
    assert (env.foot_height - env.foot_radius).min() > -1e-4
    # A foot against a riser may be a millimetre in it; the ground next to it is what it must not sink into.
    around = env.foot_radius * torch.cartesian_prod(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))
    for _ in range(50):
        env.step(torch.zeros(env.num_envs, 12))
        foot = env.sim.foot_pos
        ground = env.terrain.heights(foot[:, :, None, :2] + around).amin(dim=-1)
        assert (foot[..., 2] - ground).min() > 0.0
        assert env.measured_clearance.amax(dim=-1).min() > 0.0
    assert env.nan_resets == 0
    standing = (env.episode_length_buf == 50).float().mean()
    assert standing > 0.8, f"only {standing:.0%} stood"


def test_ground_is_not_part_of_the_robot():
    cfg, _ = task_registry.get_cfgs("go2")
    info = build_model(cfg, rough(cfg.terrain))
    names = [info.model.geom(i).name for i in info.robot_geoms]
    assert len(names) == 23 and not any(name.startswith("ground") for name in names)


def test_a_robot_slides_where_the_slope_is_steeper_than_its_friction_coefficient():
    """On a ramp of 0.2 a robot with mu = 0.15 slides with g (sin a - mu cos a), one with 0.25 stands."""

    @tile_type
    def ramp(grid, difficulty, rng):
        heights = np.zeros((grid.nx + 1, grid.ny + 1))
        heights[:] = 0.2 * grid.cell * np.arange(grid.nx + 1)[:, None]
        return heights

    try:
        cfg, _ = task_registry.get_cfgs("go2")
        cfg.sim.mujoco.solver, cfg.sim.mujoco.iterations, cfg.sim.mujoco.cone = "newton", 50, "elliptic"
        cfg.domain_rand.randomize_delay = False
        sim = make_simulator(cfg, rough(terrain_cfg({"ramp": 1.0}, num_rows=1, num_cols=1, vertical_scale=0.001), 2), 2)
    finally:
        del TILE_TYPES["ramp"]
    sim.set_parameter("friction", torch.tensor([0.15, 0.25]))
    # Stiff legs: the soft ones of the task give way down the slope, and what is asked here is what the feet do.
    sim.set_parameter("kp", torch.full((2, 12), 300.0))
    sim.set_parameter("kd", torch.full((2, 12), 10.0))
    angle = math.atan(0.2)
    # Nose up the ramp: rotated by -angle about y, feet just above it.
    height = 0.2 * 4.0 + sim.standing_height / math.cos(angle) + 0.002
    state = RobotState(
        root_pos=torch.tensor([[4.0, 4.0, height]] * 2),
        root_quat=torch.tensor([[math.cos(angle / 2), 0.0, -math.sin(angle / 2), 0.0]] * 2),
        root_lin_vel=torch.zeros(2, 3),
        root_ang_vel=torch.zeros(2, 3),
        dof_pos=sim.default_dof_pos.repeat(2, 1),
        dof_vel=torch.zeros(2, 12),
    )
    sim.reset(torch.arange(2), state)
    targets = sim.default_dof_pos.repeat(2, 1)
    places = []
    for _ in range(3):  # 0.2 s to settle, then twice 0.2 s
        sim.step(targets, 40)
        places.append(sim.foot_pos[:, :, 0].mean(dim=-1) / math.cos(angle))
    first, second = places[0] - places[1], places[1] - places[2]
    # Under constant acceleration a, the way in the second of two equal times t is longer by a t^2; a = g (sin - mu
    # cos).
    acceleration = float(second[0] - first[0]) / 0.2**2
    assert math.tan(angle) - acceleration / (9.81 * math.cos(angle)) == pytest.approx(0.15, rel=0.06)
    assert abs(float(second[1])) < 0.05 * float(second[0])  # it stands, but for the creep of soft contacts
