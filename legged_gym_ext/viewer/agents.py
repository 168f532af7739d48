"""Who moves a robot that is shown: a trained policy, teacher and student beside each other, or nobody trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.viewer.controls import TRAINED

PAIR = ("student", "teacher")
"""Who acts for robot 0 and for robot 1 of "both"."""


class Agent:
    """Chooses actions.

    Attributes:
        names: policies that can take over while it runs; empty where there is one choice only.
        active: name of who acts, for "both" of robot 0.
    """

    def __init__(self, kind: str, env: Any, task: str, train_cfg: Any, run_dir: Path | None) -> None:
        """Act in `env` (a `LeggedRobot`); a `kind` among `TRAINED` is loaded from `run_dir`."""
        self.kind, self.env, self.active = kind, env, kind
        self._policies: dict[str, Any] = {}
        self._actions = torch.zeros(env.num_envs, env.num_actions, device=env.device)
        if kind in TRAINED:
            from legged_gym_ext.training.policies import load_policies

            self._groups, self._policies, path = load_policies(env, task, train_cfg, run_dir)
            self.active = self._first(kind, task)
            print(f"{' and '.join(PAIR) if kind == 'both' else self.active}: {path}")
        self.names = tuple(self._policies) if len(self._policies) > 1 and kind != "both" else ()

    def _first(self, kind: str, task: str) -> str:
        """Who acts at the start: what a real robot could run, unless the teacher is asked for."""
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
        """Who acts for a robot."""
        return PAIR[robot] if self.kind == "both" else self.active

    def check(self, name: Any) -> None:
        """Raise a `UserError` where `name` cannot take over."""
        if not self.names:
            raise UserError(f"there is no teacher and student to choose from: {self.label()} acts")
        if name not in self.names:
            near = did_you_mean(str(name), self.names)
            raise UserError(f"no policy '{name}'{near}; there are {', '.join(self.names)}")

    def next_name(self) -> str:
        """Whose turn it is when the user wants somebody else."""
        self.check(self.active)
        return self.names[(self.names.index(self.active) + 1) % len(self.names)]

    def act(self) -> torch.Tensor:
        """Actions (N, A) for the environment as it is now."""
        if self._policies:
            observations = self._groups.get_observations()
            # All of them, because whoever takes over must remember the episode.
            actions = {name: policy(observations) for name, policy in self._policies.items()}
            if self.kind == "both":
                return torch.stack([actions[name][robot] for robot, name in enumerate(PAIR)])
            return actions[self.active]
        return self._actions.normal_() if self.kind == "random" else self._actions

    def reset(self, dones: torch.Tensor) -> None:
        """Forget what robots with `dones` (N,) remember."""
        for policy in self._policies.values():
            policy.reset(dones)
