"""Compares teacher and student while they learn; the gap between them shows how well the student imitates."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from legged_gym_ext.training.evaluation import run_episodes
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

if TYPE_CHECKING:
    from tensordict import TensorDict

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.training.policies import Policy

SECONDS = 5.0  # length of a comparison; commands change every few seconds, so this shows tracking and recovery
SEED = 54321
SHOWN = ("return", "linear_tracking", "yaw_tracking", "action_error", "success", "lava")
"""Metrics that are logged, of those that an environment's comparison has."""

TEACHER, STUDENT = "teacher", "student"


class Comparison:
    """A separate small environment in which the policies of a method are compared; training is not affected."""

    def __init__(self, env: LeggedRobot, groups: tuple[str, ...], num_envs: int) -> None:
        """Build a second environment like `env` with `num_envs` robots."""
        cfg = copy.deepcopy(env.cfg)
        cfg.env.num_envs, cfg.seed = num_envs, SEED
        cfg.terrain.end_at_edge = False  # fast robots finish their episodes too
        self._trained = env
        self._env = RslRlVecEnv(type(env)(cfg), groups)

    def run(self, policies: dict[str, Policy]) -> dict[str, dict[str, float]]:
        """Metrics of each policy; policy i modulo their number drives robot i, always from the same start."""
        env = self._env.env
        env.rng.manual_seed(SEED)
        self._copy_levels(len(policies))
        combined = _PolicyPerRobot(policies, env.num_envs, env.device)
        episodes = run_episodes(self._env, combined, max_steps=round(SECONDS / env.dt))
        errors = combined.errors()
        return {name: {**episodes.metrics(rows), **errors.get(name, {})} for name, rows in combined.rows.items()}

    def _copy_levels(self, num_policies: int) -> None:
        """Use the levels of training robots on the same kind of tile, the same ones for all policies."""
        env, trained = self._env.env, self._trained
        if env.terrain.is_flat:
            return
        robots = torch.arange(env.num_envs, device=env.device)
        like = robots // num_policies * num_policies * trained.num_envs // env.num_envs
        env.terrain.place(robots, trained.terrain.levels[like])


class _PolicyPerRobot:
    """Several policies as one: each drives its own robots.

    Attributes:
        rows: name -> (N,) bool, the robots that this policy drives.
    """

    def __init__(self, policies: dict[str, Policy], num_envs: int, device: torch.device) -> None:
        self.policies = policies
        index = torch.arange(num_envs, device=device) % len(policies)
        self.rows = {name: index == number for number, name in enumerate(policies)}
        self._gaps = torch.zeros(num_envs, dtype=torch.float64, device=device)  # summed over steps
        self._steps = 0

    def __call__(self, observations: TensorDict) -> torch.Tensor:
        own = {name: policy(observations) for name, policy in self.policies.items()}
        actions = next(iter(own.values()))
        for name, each in own.items():
            actions = torch.where(self.rows[name][:, None], each, actions)
        for policy in self.policies.values():
            getattr(policy, "on_acted", lambda taken: None)(actions)
        if TEACHER in own and STUDENT in own:
            self._gaps += (own[STUDENT] - own[TEACHER]).square().mean(-1)
            self._steps += 1
        return actions

    def errors(self) -> dict[str, dict[str, float]]:
        """Teacher and student: mean squared difference of their actions in the states that each visits."""
        if not self._steps:
            return {}
        means = self._gaps / self._steps
        return {name: {"action_error": float(means[self.rows[name]].mean())} for name in (TEACHER, STUDENT)}

    def reset(self, dones: torch.Tensor) -> None:
        for policy in self.policies.values():
            policy.reset(dones)
