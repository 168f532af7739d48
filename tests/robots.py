"""Environments with a few robots, and ways to put them somewhere: shared by the tests of the environment."""

from __future__ import annotations

import math
from typing import Any

import torch

from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators.base import RobotState


def set_fields(cfg: Any, **changes: Any) -> Any:
    """`cfg` with its fields "section__name" replaced."""
    for path, value in changes.items():
        *sections, name = path.split("__")
        owner = cfg
        for section in sections:
            owner = getattr(owner, section)
        setattr(owner, name, value)
    return cfg


def make(num_envs: int = 4, **changes: Any) -> LeggedRobot:
    """An environment whose configuration fields "section__name" are replaced."""
    cfg = Go2FlatCfg()
    cfg.env.num_envs = num_envs
    return LeggedRobot(set_fields(cfg, **changes))


def calm(num_envs: int = 4, **changes: Any) -> LeggedRobot:
    """Robots that start standing still and are not pushed."""
    quiet = {
        "domain_rand__push_robots": False,
        "init_state__velocity_range": 0.0,
        "init_state__joint_range": [1.0, 1.0],
    }
    return make(num_envs, **{**quiet, **changes})


def stand(env: LeggedRobot) -> Any:
    return env.step(torch.zeros(env.num_envs, env.num_actions))


def place(env: LeggedRobot, height: float, quat: list[list[float]] | None = None) -> None:
    """All robots at `height` in the default pose at rest, level unless `quat` (N, 4) says otherwise."""
    n = env.num_envs
    state = RobotState(
        root_pos=torch.tensor([[0.0, 0.0, height]]).repeat(n, 1),
        root_quat=torch.tensor(quat or [[1.0, 0.0, 0.0, 0.0]] * n),
        root_lin_vel=torch.zeros(n, 3),
        root_ang_vel=torch.zeros(n, 3),
        dof_pos=env.default_dof_pos.repeat(n, 1),
        dof_vel=torch.zeros(n, 12),
    )
    env.sim.reset(torch.arange(n), state)


def turn_over(env: LeggedRobot, robot: int, height: float = 2.0) -> None:
    """Put one robot on its back, `height` m above the ground."""
    one = torch.tensor([robot])
    state = RobotState(
        root_pos=torch.tensor([[0.0, 0.0, height]]),
        root_quat=torch.tensor([[0.0, 1.0, 0.0, 0.0]]),  # half a turn about x
        root_lin_vel=torch.zeros(1, 3),
        root_ang_vel=torch.zeros(1, 3),
        dof_pos=env.default_dof_pos[None],
        dof_vel=torch.zeros(1, 12),
    )
    env.sim.reset(one, state)


def turned(angle: float, axis: int) -> list[float]:
    """Quaternion of a rotation by `angle` about base axis 0, 1 or 2."""
    quat = [math.cos(angle / 2), 0.0, 0.0, 0.0]
    quat[1 + axis] = math.sin(angle / 2)
    return quat
