"""Compares exported files with the policy they were made from: the same observations, step by step, through resets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from legged_gym_ext.deploy.contract import Contract, Term
from legged_gym_ext.deploy.export.run_contract import INPUTS
from legged_gym_ext.deploy.policy_file import open_session
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from tensordict import TensorDict

    from legged_gym_ext.training.policies import Policy

STEPS, TOLERANCE, SEED = 1000, 1e-4, 7
"""Length of a comparison, largest allowed difference of actions and of targets [rad], seed of the observations."""

SPREAD = {"commands": 0.7, "projected_gravity": 0.15, "base_ang_vel": 0.8, "dof_pos": 0.3, "dof_vel": 5.0}
"""Standard deviation of an observation term in its unit; others have `SPREAD_OF_OTHERS`."""
SPREAD_OF_OTHERS = 0.5
CORRELATION = 0.95  # of a walk's values in consecutive steps: they decorrelate within some 20 steps


def reset_steps(history_length: int) -> tuple[int, ...]:
    """Four steps before which an episode ends; the second one ends while the window is half full."""
    return 200, 200 + max(2, history_length // 2), 500, 777


class ObservationWalk:
    """Random walks that look like a robot's observations; the same for the same contract."""

    def __init__(self, contract: Contract) -> None:
        """Walks of all terms of the contract's observations."""
        self.contract, self._rng = contract, np.random.default_rng(SEED)
        self._state = {
            (group, term.name): np.zeros(term.stop - term.start)
            for group, terms in contract.observations.items()
            for term in terms
        }

    def __call__(self, last_action: np.ndarray) -> dict[str, np.ndarray]:
        """Group -> (D,) scaled and clipped, with `last_action` (A,) where it is observed."""
        clip, found = self.contract.clip_observations, {}
        for group, terms in self.contract.observations.items():
            values = [self._value(group, term, last_action) * np.asarray(term.scale) for term in terms]
            found[group] = np.clip(np.concatenate(values), -clip, clip).astype(np.float32)
        return found

    def _value(self, group: str, term: Term, last_action: np.ndarray) -> np.ndarray:
        """The next value of a term in its unit."""
        if term.name == "last_action":
            return last_action
        walk = self._state[group, term.name]
        noise = self._rng.normal(size=len(walk)) * SPREAD.get(term.name, SPREAD_OF_OTHERS)
        walk += (CORRELATION - 1.0) * walk + math.sqrt(1.0 - CORRELATION**2) * noise
        if term.name == "projected_gravity":
            gravity = walk - np.array([0.0, 0.0, 1.0])
            return gravity / np.linalg.norm(gravity)
        return walk


class Runnable(Protocol):
    """What is compared: a policy in a file, or the trained one, one control step per call."""

    def reset(self) -> None:
        """Start a new episode."""
        ...

    def __call__(self, **observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One control step: observations by group, (D,) each -> actions (A,), targets (J,) [rad]."""
        ...


class TorchScriptFile:
    """A TorchScript file."""

    def __init__(self, path: Path) -> None:
        """Read the file with nothing but torch."""
        self._policy = torch.jit.load(str(path))

    def reset(self) -> None:
        """See `Runnable`."""
        self._policy.reset()

    def __call__(self, **observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Runnable`."""
        groups = [torch.from_numpy(observations[name])[None] for name in ("obs", "privileged") if name in observations]
        with torch.inference_mode():
            actions = self._policy(*groups)
            return actions[0].numpy(), self._policy.targets(actions)[0].numpy()


class UnitreeFile:
    """The file for Unitree's controllers, with the window that they keep."""

    def __init__(self, path: Path, contract: Contract) -> None:
        """Read the file; `contract` is that of the policy it was made from."""
        self._session = open_session(path)
        self._frames, self._window = contract.history_length, np.zeros((0, 0), np.float32)
        self._offset = np.asarray(contract.default_joint_pos, np.float32)
        self._scale = np.float32(contract.action_scale)

    def reset(self) -> None:
        """See `Runnable`."""
        self._window = self._window[:0]

    def __call__(self, **observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Runnable`."""
        frame = observations["obs"][None]
        if len(self._window) == 0:  # controllers fill the window with the first frame after a reset
            self._window = np.repeat(frame, self._frames, axis=0)
        self._window = np.concatenate((self._window[1:], frame))
        (actions,) = self._session.run(["actions"], {"obs": self._window.reshape(1, -1)})
        return actions[0], self._offset + self._scale * actions[0]


class Reference:
    """The policy as the training has it."""

    def __init__(self, policy: Policy, contract: Contract, template: TensorDict) -> None:
        """Wrap a policy of `load_policies`.

        Args:
            policy: to run.
            contract: of its exported file.
            template: observation groups (1, ...) of its environment; those that the policy does not read are ignored.
        """
        self._policy, self._contract, self._groups = policy, contract, template.clone().zero_()
        self._has_history = "history" in set(template.keys())

    def reset(self) -> None:
        """See `Runnable`."""
        self._policy.reset(torch.ones(1))
        self._groups.zero_()

    def __call__(self, **observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Runnable`."""
        groups, contract = self._groups, self._contract
        for name, values in observations.items():
            groups[INPUTS[name]] = torch.from_numpy(values)[None]
        if self._has_history:
            groups["history"] = torch.cat((groups["history"][:, 1:], groups["policy"][:, None]), dim=1)
        actions = self._policy(groups)[0].cpu().numpy()
        actions = np.clip(actions, -contract.clip_actions, contract.clip_actions)
        return actions, np.asarray(contract.default_joint_pos, np.float32) + contract.action_scale * actions


def largest_differences(
    trained: Runnable, files: Mapping[str, Runnable], contract: Contract, steps: int = STEPS
) -> dict:
    """Largest absolute difference of actions and targets [rad] between each file and the trained policy, by name.

    A value that is not finite counts as an infinite difference.
    """
    worst = dict.fromkeys(files, 0.0)
    walk, resets = ObservationWalk(contract), reset_steps(contract.history_length)
    last_action = np.zeros(len(contract.joint_names), np.float32)
    for step in range(steps):
        if step == 0 or step in resets:
            last_action = np.zeros_like(last_action)
            for each in (trained, *files.values()):
                each.reset()
        observations = walk(last_action)
        expected = trained(**observations)
        for name, file in files.items():
            difference = max(float(np.abs(a - b).max()) for a, b in zip(file(**observations), expected))
            worst[name] = max(worst[name], difference if math.isfinite(difference) else math.inf)
        last_action = expected[0]
    return worst


def check(worst: Mapping[str, float], contract: Contract, steps: int = STEPS) -> list[str]:
    """A statement for each form; a difference above `TOLERANCE` is a `UserError`."""
    resets = sum(step < steps for step in reset_steps(contract.history_length))
    for name, difference in worst.items():
        if not difference <= TOLERANCE:
            raise UserError(
                f"{name} does not act like the policy it was made from: largest difference {difference:.1e} in "
                f"{steps} steps, allowed is "
                f"{TOLERANCE:.0e}; nothing was written"
            )
    return [
        f"{name}: {steps} steps, {resets} resets: largest difference {difference:.1e}"
        for name, difference in worst.items()
    ]
