"""What the scores of multi_task.py are measured against: a robot that stands, and the policy that was recorded."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.training.evaluation import run_episodes
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.policies import load_policies, run_cfgs
from legged_gym_ext.utils.config import update_from_dict
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

SEED = 12345  # of evaluations


class Standing:
    """Zero actions: the robot holds its default pose."""

    def __init__(self, num_actions: int) -> None:
        """Of so many joints."""
        self.num_actions = num_actions

    def __call__(self, observations: Any) -> torch.Tensor:
        """Zeros (N, A)."""
        return torch.zeros(len(observations["policy"]), self.num_actions)


class _Telling:
    """An environment that tells a policy what it earned."""

    def __init__(self, vec_env: RslRlVecEnv, policy: Any) -> None:
        self.env, self._vec_env, self._policy = vec_env.env, vec_env, policy

    def get_observations(self) -> Any:
        return self._vec_env.get_observations()

    def step(self, actions: torch.Tensor) -> tuple:
        result = self._vec_env.step(actions)
        if hasattr(self._policy, "observe"):
            self._policy.observe(result[1])
        return result


class Exam:
    """One episode of every robot; all policies meet the same starts, levels of the ground, commands and noise."""

    def __init__(self, vec_env: RslRlVecEnv) -> None:
        """Robots that were just made."""
        self._vec_env, self._start = vec_env, take_snapshot(vec_env.env)

    def mean_return(self, policy: Any) -> float:
        """Mean return of a policy."""
        restore_snapshot(self._vec_env.env, self._start)
        return run_episodes(_Telling(self._vec_env, policy), policy).metrics()["return"]  # pyright: ignore


def recorded_return(args: argparse.Namespace, card: dict[str, Any]) -> float:
    """Mean return of the policy that was recorded, with its mean actions, in the environment of a data set.

    Data are recorded with noise on the actions; a score of 100 is what the policy earns without.

    Args:
        args: flags of multi_task.py.
        card: of the data set.

    Raises:
        UserError: the run has another checkpoint than the data set.
    """
    env_cfg, train_cfg, run = run_cfgs(args.task, argparse.Namespace(**vars(args)))
    update_from_dict(env_cfg, card["env"])
    env_cfg.env.num_envs, env_cfg.seed = args.eval_envs, SEED
    set_seed(SEED)
    env, _ = task_registry.make_env(args.task, env_cfg)
    vec_env, policies, path = load_policies(env, args.task, train_cfg, run)
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["teacher"]["sha256"]:
        raise UserError(
            f"the data are of {card['teacher']['run']}/{card['teacher']['checkpoint']}, not of {path}: name that run "
            "with --load_run=RUN --checkpoint=IT"
        )
    deployed = args.policy == "deployed"  # the last one; the teacher is the first
    return Exam(vec_env).mean_return(list(policies.values())[-1 if deployed else 0])
