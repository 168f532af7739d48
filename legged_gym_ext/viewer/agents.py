"""What drives a robot that is shown: a trained policy, teacher and student side by side, or no policy at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.viewer.controls import TRAINED

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO
    from legged_gym_ext.training.policies import Policy
    from legged_gym_ext.training.runner import TrainRunner
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

PAIR = ("student", "teacher")
"""The policies of robot 0 and robot 1 of "both"."""


class Agent:
    """Computes the actions of all robots.

    Attributes:
        names: policies one can switch to while it runs; empty if there is only one.
        active: name of the policy that acts, for "both" that of robot 0.
    """

    def __init__(
        self,
        kind: str,
        env: LeggedRobot,
        task: str,
        train_cfg: LeggedRobotCfgPPO | None = None,
        run_dir: Path | None = None,
        weights: Path | None = None,
    ) -> None:
        """Act in `env`.

        Args:
            kind: one of `controls.AGENTS`; the trained ones are loaded from `run_dir`.
            env: the robots.
            task: name of the task.
            train_cfg: configuration of the training, for trained agents.
            run_dir: folder of the run, for trained agents.
            weights: file to load instead of the run's checkpoint.

        Raises:
            UserError: the run has no such policy.
        """
        self.kind, self.env, self.active = kind, env, kind
        self._vec_env: RslRlVecEnv | None = None
        self._runner: TrainRunner | None = None
        self._policies: dict[str, Policy] = {}
        self._actions = torch.zeros(env.num_envs, env.num_actions, device=env.device)
        if kind in TRAINED:
            from legged_gym_ext.training.policies import load_networks
            from legged_gym_ext.training.runs import find_checkpoint

            assert train_cfg is not None and run_dir is not None
            path = weights or find_checkpoint(run_dir, train_cfg.runner.checkpoint)
            self._runner, self._policies = load_networks(env, task, train_cfg, path)
            self._vec_env = self._runner.env
            self.active = self._first(kind, task)
            print(f"{' and '.join(PAIR) if kind == 'both' else self.active}: {path}")
        self.names = tuple(self._policies) if len(self._policies) > 1 and kind != "both" else ()

    def _first(self, kind: str, task: str) -> str:
        """The policy that acts first: the one to deploy, unless the teacher was asked for."""
        names = list(self._policies)
        missing = [name for name in PAIR if name not in names]
        if kind != "policy" and missing:
            raise UserError(
                f"--agent={kind}: task '{task}' has no {' and no '.join(missing)}; it has {', '.join(names)}"
            )
        if kind == "teacher":
            return kind
        return "student" if "student" in names else names[0]

    def label(self, robot: int = 0) -> str:
        """Name of the policy that acts for a robot."""
        return PAIR[robot] if self.kind == "both" else self.active

    def check(self, name: Any) -> None:
        """Raise a `UserError` if one cannot switch to policy `name`."""
        if not self.names:
            raise UserError(f"there is no teacher and student to choose from: {self.label()} acts")
        if name not in self.names:
            near = did_you_mean(str(name), self.names)
            raise UserError(f"no policy '{name}'{near}; there are {', '.join(self.names)}")

    def next_name(self) -> str:
        """The policy after the active one, in turn."""
        self.check(self.active)
        return self.names[(self.names.index(self.active) + 1) % len(self.names)]

    def act(self) -> torch.Tensor:
        """Actions (N, A) for the current observations."""
        if self._vec_env is not None:
            observations = self._vec_env.get_observations()
            # All of them: a policy that takes over needs the history of the episode.
            actions = {name: policy(observations) for name, policy in self._policies.items()}
            if self.kind == "both":
                return torch.stack([actions[name][robot] for robot, name in enumerate(PAIR)])
            return actions[self.active]
        return self._actions.normal_() if self.kind == "random" else self._actions

    def load(self, path: Path) -> dict[str, Any]:
        """Go on with the networks of another file of the same training; returns its `infos`.

        Raises:
            UserError: the file is damaged or of another task, or the agent is not a trained one.
        """
        if self._runner is None:
            raise UserError(f"agent {self.kind} has no networks to load {path} into")
        from legged_gym_ext.training.policies import WEIGHTS_ONLY

        return self._runner.load(str(path), load_cfg=dict(WEIGHTS_ONLY))

    def reset(self, dones: torch.Tensor) -> None:
        """Reset the policies' state of robots with `dones` (N,)."""
        for policy in self._policies.values():
            policy.reset(dones)
