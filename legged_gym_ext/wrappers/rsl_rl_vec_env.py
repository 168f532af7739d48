"""The environment for rsl-rl-lib 3.x to 5.x: observations are a TensorDict of groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.utils.errors import UserError, did_you_mean

GROUPS = {
    "policy": "obs_buf",
    "privileged": "privileged_obs_buf",
    "critic": "critic_obs_buf",
    "history": "obs_history",
}
"""Group -> buffer of the environment."""


class RslRlVecEnv(VecEnv):
    """A `LeggedRobot` as a `VecEnv` of rsl-rl-lib.

    Groups: `policy`, `privileged` and `critic` (N, D), see `LeggedRobot.group_dims`, and, with `env.num_history` in the
    configuration, `history` (N, T, D) of the policy's frames.

    Attributes:
        on_step: called with observations and rewards (N,) of every step; None: nobody looks.
    """

    on_step: Callable[[TensorDict, torch.Tensor], None] | None = None

    def __init__(self, env: LeggedRobot, groups: Iterable[str] | None = None) -> None:
        """Wrap `env`, with the named groups of observations, all by default; others are not stored by the learner."""
        self.env = env
        self.groups = tuple(GROUPS) if groups is None else tuple(dict.fromkeys(groups))
        for group in self.groups:
            if group not in GROUPS:
                raise UserError(
                    f"unknown observation group '{group}'{did_you_mean(group, GROUPS)}; known: {list(GROUPS)}"
                )
        if "history" in self.groups and env.obs_history is None and groups is not None:
            raise UserError("observation group 'history' needs env.num_history > 0")
        self.num_envs, self.num_actions = env.num_envs, env.num_actions
        self.max_episode_length = env.max_episode_length
        self.device, self.cfg = env.device, env.cfg

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """(N,) control steps since each reset; the runner may randomise them at the start."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        """Set values (N,)."""
        self.env.episode_length_buf.copy_(value)

    def get_observations(self) -> TensorDict:
        """The current observation groups."""
        buffers = {name: getattr(self.env, buffer) for name, buffer in GROUPS.items() if name in self.groups}
        # The history is shifted in place; the others are new tensors in every step.
        groups = {name: b.clone() if name == "history" else b for name, b in buffers.items() if b is not None}
        return TensorDict(groups, batch_size=[self.num_envs], device=self.device)

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Make one control step with `actions` (N, A); returns observations, rewards (N,), dones (N,) and extras."""
        _, _, rewards, dones, extras = self.env.step(actions)
        observations = self.get_observations()
        if self.on_step is not None:
            self.on_step(observations, rewards)
        return observations, rewards.clone(), dones.long(), extras
