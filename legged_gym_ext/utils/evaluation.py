"""Measures a policy on a task: one full episode in every environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

TRACKING_SIGMA = 0.25  # m^2/s^2 and rad^2/s^2, fixed so that figures stay comparable whatever a training used

UNITS = {
    "return": "sum of rewards of an episode",
    "linear_tracking": "mean of exp(-|v_xy error|^2 / 0.25), 0 to 1",
    "yaw_tracking": "mean of exp(-(yaw rate error)^2 / 0.25), 0 to 1",
    "linear_rmse": "m/s",
    "yaw_rmse": "rad/s",
    "fall_rate": "share of episodes (20 s) that end in a fall",
    "episode_length": "s",
    "energy": "W, mean of the summed absolute joint powers",
}
"""Metric -> unit."""


def widest_commands(env: Any) -> None:
    """Sample commands over the whole training range, whatever a curriculum started with."""
    cfg, ranges = env.cfg.commands, env.command_sampler.ranges
    if cfg.curriculum:
        ranges[0, 0].clamp_(max=-cfg.max_curriculum)
        ranges[0, 1].clamp_(min=cfg.max_curriculum)


@torch.inference_mode()
def evaluate_policy(
    vec_env: Any, policy: Callable[[Any], torch.Tensor], on_step: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Mean figures of `policy` over the first episode of every environment.

    Args:
        vec_env: a `RslRlVecEnv`; it is reset first.
        policy: observations -> actions (N, A), deterministic.
        on_step: called with the control steps done and to do.

    Returns:
        The metrics of `UNITS`. An environment whose physics failed counts as fallen.
    """
    env = vec_env.env
    widest_commands(env)
    env.episode_length_buf.zero_()
    env.reset()
    count = env.num_envs
    alive = torch.ones(count, dtype=torch.bool, device=env.device)
    fell = torch.zeros_like(alive)
    returns, lengths = torch.zeros(count, device=env.device), torch.zeros(count, device=env.device)
    sums = torch.zeros(5, dtype=torch.float64, device=env.device)
    observations = vec_env.get_observations()
    for step in range(env.max_episode_length):
        command = env.commands.clone()
        observations, rewards, _, _ = vec_env.step(policy(observations).to(env.device))
        returns += rewards * alive
        lengths += alive
        # Robots that were just reset show their new state; their last step is left out of the errors.
        running = alive & ~env.reset_buf
        linear = (command[:, :2] - env.base_lin_vel[:, :2]).square().sum(-1)
        yaw = (command[:, 2] - env.base_ang_vel[:, 2]).square()
        power = (env.torques * env.dof_vel).abs().sum(-1)
        figures = torch.stack(
            (torch.exp(-linear / TRACKING_SIGMA), torch.exp(-yaw / TRACKING_SIGMA), linear, yaw, power)
        )
        sums += figures[:, running].sum(-1).double()
        fell |= alive & (env.fall_buf | env.fault_buf)
        alive &= ~env.reset_buf
        if on_step is not None:
            on_step(step + 1, env.max_episode_length)
        if not bool(alive.any()):
            break
    samples = max(1.0, float(lengths.sum()) - count)
    linear_tracking, yaw_tracking, linear, yaw, power = (float(value) / samples for value in sums)
    return {
        "return": float(returns.mean()),
        "linear_tracking": linear_tracking,
        "yaw_tracking": yaw_tracking,
        "linear_rmse": math.sqrt(linear),
        "yaw_rmse": math.sqrt(yaw),
        "fall_rate": float(fell.float().mean()),
        "episode_length": float(lengths.mean()) * env.dt,
        "energy": power,
    }
