"""When an episode ends: falls, faults of the physics, and time-outs, told apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot


def check_terminations(env: LeggedRobot) -> None:
    """Fill `fall_buf`, `fault_buf`, `time_out_buf` and their union `reset_buf`, each (N,) bool.

    A fall is a contact of the base or a tilt beyond `termination.max_tilt`. A time-out is the end of an episode that
    did not fall in the same step, because its time is over or, with `terrain.end_at_edge`, because the robot has left
    its tile and is promoted; learners bootstrap there.
    """
    cfg = env.cfg.termination
    torch.logical_or(env.fault_buf, env.sim.faults(), out=env.fault_buf)
    touching = env.sim.contact_forces[:, env.termination_contacts].square().sum(-1) > cfg.contact_force**2
    tilted = env.projected_gravity[:, 2] > -math.cos(cfg.max_tilt)
    torch.logical_or(touching.any(-1), tilted, out=env.fall_buf)
    env.fall_buf &= ~env.fault_buf
    stopped = env.fall_buf | env.fault_buf
    over = env.episode_length_buf >= env.max_episode_length
    if env.cfg.terrain.end_at_edge and env.cfg.terrain.curriculum:
        over |= env.terrain.beyond_edge(env.sim.root_pos[:, :2])
    torch.logical_and(over, ~stopped, out=env.time_out_buf)
    torch.logical_or(stopped, env.time_out_buf, out=env.reset_buf)
