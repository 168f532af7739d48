"""Teacher and student side by side while they learn: the gap between them is what users watch."""

from __future__ import annotations

import copy
from typing import Any

import torch

from legged_gym_ext.training.evaluation import run_episodes
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

SECONDS = 5.0  # length of a comparison; commands change every few seconds, so this shows tracking and recovery
SEED = 54321
SHOWN = ("return", "linear_tracking", "yaw_tracking")


class Comparison:
    """A few robots of their own, shared between the policies of a method; training never notices."""

    def __init__(self, env: Any, groups: tuple[str, ...], num_envs: int) -> None:
        """Build a second environment like `env` (a `LeggedRobot`) with `num_envs` robots."""
        cfg = copy.deepcopy(env.cfg)
        cfg.env.num_envs, cfg.seed = num_envs, SEED
        cfg.terrain.end_at_edge = False  # a return is that of whole episodes, of fast robots too
        self._trained = env
        self._env = RslRlVecEnv(type(env)(cfg), groups)

    def run(self, policies: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Figures of each policy; robot i is driven by policy i modulo their number, always from the same start."""
        env = self._env.env
        env.rng.manual_seed(SEED)
        self._copy_levels(len(policies))
        split = _Split(policies, env.num_envs, env.device)
        episodes = run_episodes(self._env, split, max_steps=round(SECONDS / env.dt))
        return {name: episodes.figures(rows) for name, rows in split.rows.items()}

    def _copy_levels(self, policies: int) -> None:
        """Put the robots on levels of the robots in training that are on the same kind of tile; all policies on the same ones."""
        env, trained = self._env.env, self._trained
        if env.terrain.is_flat:
            return
        robots = torch.arange(env.num_envs, device=env.device)
        like = robots // policies * policies * trained.num_envs // env.num_envs
        env.terrain.place(robots, trained.terrain.levels[like])


class _Split:
    """Several policies as one, each for its own rows."""

    def __init__(self, policies: dict[str, Any], num_envs: int, device: torch.device) -> None:
        self.policies = policies
        turn = torch.arange(num_envs, device=device) % len(policies)
        self.rows = {name: turn == index for index, name in enumerate(policies)}

    def __call__(self, observations: Any) -> torch.Tensor:
        actions: torch.Tensor | None = None
        for name, policy in self.policies.items():
            found = policy(observations)
            actions = found if actions is None else torch.where(self.rows[name][:, None], found, actions)
        assert actions is not None
        return actions

    def reset(self, dones: torch.Tensor) -> None:
        for policy in self.policies.values():
            policy.reset(dones)
