"""Plain MuJoCo moves a policy as the training's environment does: same sensors at the same instants, same motors, same steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from legged_gym_ext.deploy.controller import Controller
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.scripts.play import nominal
from legged_gym_ext.simulators.mujoco_plain import Physics, PlainRobot
from legged_gym_ext.utils.policies import hold_command
from tests import exported
from tests.robots import set_fields

TRAINING = Physics(solver="pgs", iterations=4)  # as sim.mujoco of the configuration
COMMAND = np.array([0.5, -0.2, 0.3])
STEPS = 50
TOLERANCE = 1e-5  # rad; found are 3e-7: float32 roundings of states, which contacts amplify


def undisturbed(**changes: Any) -> Any:
    """An environment with one robot that nothing happens to, at the origin under `COMMAND`."""
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg

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


@pytest.mark.parametrize("seed", [0, 1])
def test_an_exported_policy_moves_the_joints_as_in_the_environment(tmp_path, seed):
    weights = exported.network(seed)
    path = exported.write(tmp_path / "policy.onnx", exported.contract(), weights=weights)
    env = undisturbed()
    robot = at_the_same_height(env, PlainRobot(exported.contract(), physics=TRAINING))
    expected, found = trained(weights, env, STEPS), deployed(path, robot, STEPS)
    assert np.ptp(expected, axis=0).min() > 0.05  # every joint moves
    assert np.abs(found - expected).max() < TOLERANCE
