"""Plain MuJoCo moves a policy as the training's environment does: same sensors, instants, motors and steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.deploy.controller import Controller
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.deploy.sim2sim import loop
from legged_gym_ext.deploy.sim2sim.robot import Physics, PlainRobot
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.training import evaluation
from legged_gym_ext.training.policies import hold_command
from legged_gym_ext.viewer import commands
from legged_gym_ext.viewer.player import nominal
from tests import policy_files as exported
from tests.robots import set_fields

TRAINING = Physics(solver="pgs", iterations=4)  # as sim.mujoco of the configuration
COMMAND = np.array([0.5, -0.2, 0.3])
STEPS, OVERRIDDEN_STEPS = 50, 40
TOLERANCE = 1e-5  # rad; found are 3e-7: float32 roundings of states, which contacts amplify the longer it takes


def undisturbed(**changes: Any) -> Any:
    """An environment with one robot that nothing happens to, at the origin under `COMMAND`."""
    cfg = Go2FlatCfg()
    nominal(cfg)
    cfg.terrain.spawn_radius = 0.0
    env = LeggedRobot(set_fields(cfg, **changes))
    hold_command(env, tuple(COMMAND))
    env.reset()
    return env


def trained(weights: tuple[np.ndarray, np.ndarray], env: Any, steps: int) -> np.ndarray:
    """(steps, 12) joint angles of the environment under the random network."""
    first, second = map(torch.from_numpy, weights)
    rows = []
    for _ in range(steps):
        env.step(torch.tanh(env.obs_buf @ first) @ second)
        assert not env.reset_buf.any()
        rows.append(env.dof_pos[0].numpy().copy())
    return np.array(rows)


def deployed(path: Path, robot: PlainRobot, steps: int) -> np.ndarray:
    """(steps, 12) joint angles of the plain robot under the exported policy."""
    controller = Controller(ExportedPolicy(path))
    rows = []
    for _ in range(steps):
        robot.step(controller.step(robot.read(), COMMAND))
        rows.append(robot.read().dof_pos)
    return np.array(rows)


def at_the_same_height(env: Any, robot: PlainRobot) -> PlainRobot:
    """Training starts a little higher than sim-to-sim."""
    robot.data.qpos[:3] = env.sim.root_pos[0].numpy()
    return robot


@pytest.mark.parametrize("seed", [0, 2])
def test_an_exported_policy_moves_the_joints_as_in_the_environment(tmp_path, seed):
    weights = exported.network(seed)
    path = exported.write(tmp_path / "policy.onnx", exported.contract(), weights=weights)
    env = undisturbed()
    robot = at_the_same_height(env, PlainRobot(exported.contract(), physics=TRAINING))
    expected, found = trained(weights, env, STEPS), deployed(path, robot, STEPS)
    assert np.ptp(expected, axis=0).min() > 0.05  # every joint moves
    assert np.abs(found - expected).max() < TOLERANCE


CHANGES = {
    "mass": (Physics(added_mass=2.0), {"randomize_base_mass": True, "added_mass_range": [2.0, 2.0]}),
    "friction": (Physics(friction=0.4), {"randomize_friction": True, "friction_range": [0.4, 0.4]}),
    "delay": (Physics(delay=0.02), {"randomize_delay": True, "delay_range": [0.02, 0.02]}),
    "gains": (
        Physics(kp_scale=0.8, kd_scale=1.2),
        {"randomize_gains": True, "kp_range": [0.8, 0.8], "kd_range": [1.2, 1.2]},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_overrides_mean_what_the_randomisation_of_the_training_means(tmp_path, name):
    physics, randomisation = CHANGES[name]
    physics = replace(physics, solver="pgs", iterations=4)
    weights = exported.network()
    path = exported.write(tmp_path / "policy.onnx", exported.contract(), weights=weights)
    env = undisturbed(**{f"domain_rand__{key}": value for key, value in randomisation.items()})
    robot = at_the_same_height(env, PlainRobot(exported.contract(), physics=physics))
    expected, found = trained(weights, env, OVERRIDDEN_STEPS), deployed(path, robot, OVERRIDDEN_STEPS)
    assert np.abs(found - expected).max() < TOLERANCE
    unchanged = at_the_same_height(undisturbed(), PlainRobot(exported.contract(), physics=TRAINING))
    assert np.abs(deployed(path, unchanged, OVERRIDDEN_STEPS) - expected).max() > 100 * TOLERANCE


def test_constants_of_sim_to_sim_are_those_of_the_tasks():
    cfg = Go2FlatCfg()
    assert (cfg.termination.max_tilt, cfg.termination.contact_force) == (loop.MAX_TILT, loop.CONTACT_FORCE)
    noise = cfg.noise.noise_scales
    assert {name: getattr(noise, name) for name in loop.NOISE} == loop.NOISE
    assert cfg.env.episode_length_s == loop.EPISODE and cfg.domain_rand.push_interval_s == loop.PUSH_INTERVAL
    assert tuple(cfg.init_state.joint_range) == loop.JOINT_RANGE
    assert cfg.init_state.velocity_range == loop.START_SPEED
    told = cfg.commands
    assert (told.resampling_time, told.zero_fraction, told.min_lin_vel) == (
        commands.RESAMPLING_TIME,
        commands.ZERO_FRACTION,
        commands.MIN_LIN_VEL,
    )


def test_a_start_is_as_high_as_in_training():
    robot = PlainRobot(exported.contract())
    assert robot.position[2] == pytest.approx(Go2FlatCfg().init_state.pos[2], abs=2e-3)


def test_tracking_is_that_of_evaluate(tmp_path):
    env = undisturbed(env__episode_length_s=2.0)
    weights = exported.network()
    path = exported.write(tmp_path / "policy.onnx", exported.contract(), weights=weights)
    first, second = map(torch.from_numpy, weights)
    episodes = evaluation.run_episodes(
        SimpleNamespace(
            env=env,
            get_observations=lambda: env.obs_buf,
            step=lambda actions: (env.step(actions)[0], env.rew_buf, env.reset_buf, env.extras),
        ),
        lambda observations: torch.tanh(observations @ first) @ second,
    )
    height = Go2FlatCfg().init_state.pos[2] - PlainRobot(exported.contract()).position[2]
    robot = PlainRobot(exported.contract(), physics=TRAINING, origin=(0.0, 0.0, height))
    trial = loop.Trial(Controller(ExportedPolicy(path)), robot)
    # An evaluation leaves the last of 100 steps out, because robots that time out show their next start.
    for _ in trial.run(commands.Fixed(tuple(COMMAND)), 99 * 0.02):
        pass
    expected, found = episodes.metrics(), trial.metrics.compute()
    assert expected["fall_rate"] == 0.0 == found["fall_rate"]
    for name in ("linear_tracking", "yaw_tracking", "linear_rmse", "yaw_rmse", "energy"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3), name
