"""Velocity commands: sampling, heading mode and curriculum.

`env.commands` (N, 4): vx, vy [m/s] and yaw rate [rad/s] in the base frame, heading [rad] in the world.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from legged_gym_ext.utils.math import wrap_to_pi, yaw_of

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

RANGES = ("lin_vel_x", "lin_vel_y", "ang_vel_yaw", "heading")
GOOD_TRACKING = 0.8  # share of the best possible tracking reward that widens the range, as in legged_gym


class Commands:
    """Draws and steers the commands of an environment.

    Attributes:
        ranges: (4, 2) current lower and upper bounds, rows as `RANGES`.
    """

    def __init__(self, env: LeggedRobot) -> None:
        """Read the ranges."""
        self.env, self.cfg = env, env.cfg.commands
        ranges = [getattr(self.cfg.ranges, name) for name in RANGES]
        self.ranges = torch.tensor(ranges, device=env.device)
        env.terrain.on_kinds(self.cfg.straight_on)  # unknown kinds are an error now, not at the first command
        self.interval = max(1, round(self.cfg.resampling_time / env.dt))

    def resample(self, ids: torch.Tensor) -> None:
        """New commands for environments `ids` (M,)."""
        env, cfg = self.env, self.cfg
        low, high = self.ranges[:, 0], self.ranges[:, 1]
        draw = torch.rand(len(ids), 5, generator=env.rng, device=env.device)
        command = low + (high - low) * draw[:, :4]
        slow = command[:, :2].norm(dim=-1) < cfg.min_lin_vel
        stand = draw[:, 4] < cfg.zero_fraction
        command[:, :2] *= (~(slow | stand))[:, None]
        command[:, 2] *= ~stand
        if cfg.heading_command and cfg.straight_on:
            square = torch.pi / 2 * torch.round(command[:, 3] / (torch.pi / 2))
            command[:, 3] = torch.where(env.terrain.on_kinds(cfg.straight_on)[ids], square, command[:, 3])
        env.commands[ids] = command
        env.standing[ids] = stand

    def update(self) -> None:
        """Resample what is due and, in heading mode, steer the yaw rate."""
        env = self.env
        due = (env.episode_length_buf % self.interval == 0) & (env.episode_length_buf > 0)
        ids = due.nonzero().flatten()
        if len(ids):
            self.resample(ids)
        if self.cfg.heading_command:
            error = wrap_to_pi(env.commands[:, 3] - yaw_of(env.sim.root_quat))
            low, high = self.ranges[2]
            env.commands[:, 2] = (self.cfg.heading_gain * error).clamp(low, high) * ~env.standing

    def widen(self, ids: torch.Tensor) -> None:
        """Curriculum at reset: widen the forward range where the finished episodes `ids` tracked well."""
        if not self.cfg.curriculum or "tracking_lin_vel" not in self.env.rewards.names:
            return
        row = self.env.rewards.names.index("tracking_lin_vel")
        best = float(self.env.rewards.weights[row]) * self.env.max_episode_length
        if float(self.env.rewards.episode_sums[row, ids].mean()) > GOOD_TRACKING * best:
            limit, step = self.cfg.max_curriculum, self.cfg.curriculum_step
            low, high = self.ranges[0].tolist()
            # A range that starts beyond the limit stays as it is: a curriculum never narrows.
            self.ranges[0, 0] = min(low, max(low - step, -limit))
            self.ranges[0, 1] = max(high, min(high + step, limit))
