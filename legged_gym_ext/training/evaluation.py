"""Measures a policy on a task: one full episode in every environment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.training.metrics import TRACKING_SIGMA
from legged_gym_ext.training.uncertainty import standard_errors
from legged_gym_ext.utils.errors import pluralize

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

UNITS = {
    "return": "sum of rewards of an episode",
    "linear_tracking": "mean of exp(-|v_xy error|^2 / 0.25), 0 to 1",
    "yaw_tracking": "mean of exp(-(yaw rate error)^2 / 0.25), 0 to 1",
    "linear_rmse": "m/s",
    "yaw_rmse": "rad/s",
    "progress": "distance along the command / commanded distance, 0: stuck, 1: as fast as commanded",
    "fall_rate": "share of episodes that end in a fall",
    "episode_length": "s",
    "energy": "W, mean of the summed absolute joint powers",
}
"""Metric -> unit."""


def prepare(env_cfg: LeggedRobotCfg) -> None:
    """Distribute the robots evenly over all levels, where they stay."""
    env_cfg.terrain.curriculum = False


def describe_episodes(env: LeggedRobot) -> str:
    """What an evaluation runs, in words."""
    return f"with {pluralize(env.num_envs, 'robot')} for {env.cfg.env.episode_length_s:.0f} s each"


def use_full_command_range(env: LeggedRobot) -> None:
    """Sample commands from the whole training range, wherever a curriculum of commands starts."""
    cfg, ranges = env.cfg.commands, env.command_sampler.ranges
    if cfg.curriculum:
        ranges[0, 0].clamp_(max=-cfg.max_curriculum)
        ranges[0, 1].clamp_(min=cfg.max_curriculum)


@dataclass
class Episodes:
    """Measurements of the first episode of every environment.

    Attributes:
        returns: (N,) sums of rewards.
        lengths: (N,) control steps.
        sums: (7, N) summed over steps: linear kernel, yaw kernel, squared linear error, squared yaw error, power,
            speed along the commanded direction, commanded speed.
        samples: (N,) steps in these sums.
        fell: (N,) whether the episode ended in a fall.
        dt: control step [s].
    """

    returns: torch.Tensor
    lengths: torch.Tensor
    sums: torch.Tensor
    samples: torch.Tensor
    fell: torch.Tensor
    dt: float

    def metrics(self, rows: torch.Tensor | slice = slice(None)) -> dict[str, float]:
        """The metrics of `UNITS` over the environments `rows` (mask or slice)."""
        samples = max(1.0, float(self.samples[rows].sum()))
        means = (self.sums[:, rows].sum(-1) / samples).tolist()
        linear_tracking, yaw_tracking, linear, yaw, power, speed, commanded = means
        return {
            "return": float(self.returns[rows].mean()),
            "linear_tracking": linear_tracking,
            "yaw_tracking": yaw_tracking,
            "linear_rmse": math.sqrt(linear),
            "yaw_rmse": math.sqrt(yaw),
            "progress": speed / commanded if commanded > 0.0 else 1.0,
            "fall_rate": float(self.fell[rows].float().mean()),
            "episode_length": float(self.lengths[rows].mean()) * self.dt,
            "energy": power,
        }


@torch.inference_mode()
def run_episodes(
    vec_env: RslRlVecEnv,
    policy: Any,
    on_step: Callable[[int, int], None] | None = None,
    max_steps: int | None = None,
) -> Episodes:
    """Run `policy` for the first episode of every environment.

    Args:
        vec_env: it is reset first.
        policy: observations -> actions (N, A), deterministic; its `reset(dones)`, if any, is called after every step.
        on_step: called after each control step with the steps done and their total.
        max_steps: longest episode [control steps]; None: until they end.
    """
    env = vec_env.env
    use_full_command_range(env)
    env.episode_length_buf.zero_()
    env.reset()
    reset_policy = getattr(policy, "reset", lambda dones: None)
    alive = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    reset_policy(alive)
    zeros = torch.zeros(env.num_envs, device=env.device)
    result = Episodes(zeros, zeros.clone(), zeros.double().repeat(7, 1), zeros.clone(), ~alive, env.dt)
    observations = vec_env.get_observations()
    steps = env.max_episode_length if max_steps is None else min(max_steps, env.max_episode_length)
    for step in range(steps):
        command = env.commands.clone()
        observations, rewards, dones, _ = vec_env.step(policy(observations).to(env.device))
        reset_policy(dones)
        _add_step(result, env, command, rewards, alive)
        alive &= ~env.reset_buf
        if on_step is not None:
            on_step(step + 1, steps)
        if not bool(alive.any()):
            break
    return result


def _add_step(
    result: Episodes, env: LeggedRobot, command: torch.Tensor, rewards: torch.Tensor, alive: torch.Tensor
) -> None:
    """Add one step of the robots that are in their first episode."""
    result.returns += rewards * alive
    result.lengths += alive
    # The state of a robot that was just reset is the new one: its last step does not count in the errors.
    running = alive & ~env.reset_buf
    linear = (command[:, :2] - env.base_lin_vel[:, :2]).square().sum(-1)
    yaw = (command[:, 2] - env.base_ang_vel[:, 2]).square()
    power = (env.torques * env.dof_vel).abs().sum(-1)
    commanded = command[:, :2].norm(dim=-1)
    speed = (command[:, :2] * env.base_lin_vel[:, :2]).sum(-1) / commanded.clamp(min=1e-6)
    kernels = torch.exp(-linear / TRACKING_SIGMA), torch.exp(-yaw / TRACKING_SIGMA)
    values = torch.stack((*kernels, linear, yaw, power, speed, commanded))
    result.sums += torch.where(running, values, torch.zeros_like(values))
    result.samples += running
    # An environment whose physics failed counts as fallen.
    result.fell |= alive & (env.fall_buf | env.fault_buf)


def evaluate_policy(
    vec_env: RslRlVecEnv, policy: Any, on_step: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """The metrics of `UNITS` for `policy`, over the first episode of every environment, and their "standard_error".

    On a map of tiles also "kinds", "levels" and "tiles": the same metrics for each kind of tile, for each level, and
    for each level of each kind.
    """
    episodes = run_episodes(vec_env, policy, on_step)
    terrain = vec_env.env.terrain
    metrics: dict[str, Any] = dict(episodes.metrics())
    metrics["standard_error"] = standard_errors(episodes.metrics, len(episodes.fell))
    if isinstance(terrain, RoughTerrain):
        groups = terrain.robots_by_kind()
        metrics["kinds"] = {kind: episodes.metrics(rows) for kind, rows in groups.items()}
        levels = {str(level): terrain.levels == level for level in terrain.levels.unique().tolist()}
        metrics["levels"] = {level: episodes.metrics(rows) for level, rows in levels.items()}
        metrics["tiles"] = {
            kind: {level: episodes.metrics(on & at) for level, at in levels.items() if bool((on & at).any())}
            for kind, on in groups.items()
        }
    return metrics
