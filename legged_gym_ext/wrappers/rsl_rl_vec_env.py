"""The environment as rsl-rl-lib 3.x to 5.x want it: observations are a TensorDict of groups."""

from __future__ import annotations

from typing import Any

import torch
from rsl_rl.env import VecEnv
from tensordict import TensorDict

from legged_gym_ext.envs.base.legged_robot import LeggedRobot


class RslRlVecEnv(VecEnv):
    """Wraps a `LeggedRobot`.

    Groups: `policy` (N, 45), `privileged` (N, 94), `critic` (N, 172 * frames) and, when the configuration asks for
    it, `history` (N, T, 45).
    """

    def __init__(self, env: LeggedRobot) -> None:
        """Keep `env`; nothing is reset."""
        self.env = env
        self.num_envs, self.num_actions = env.num_envs, env.num_actions
        self.max_episode_length = env.max_episode_length
        self.device, self.cfg = env.device, env.cfg

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """(N,) control steps since each reset; the runner may randomise it at the start."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        self.env.episode_length_buf.copy_(value)

    def get_observations(self) -> TensorDict:
        """Current groups."""
        env = self.env
        groups = {"policy": env.obs_buf, "privileged": env.privileged_obs_buf, "critic": env.critic_obs_buf}
        if env.obs_history is not None:
            groups["history"] = env.obs_history.clone()
        return TensorDict(groups, batch_size=[self.num_envs], device=self.device)

    def step(self, actions: torch.Tensor) -> tuple[TensorDict, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Observations, rewards (N,), dones (N,) and extras after one control step."""
        _, _, rewards, dones, extras = self.env.step(actions)
        return self.get_observations(), rewards.clone(), dones.long(), extras
