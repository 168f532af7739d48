"""One control step of a policy on a robot: sensors in, joint targets out. Simulation and robot run this very code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legged_gym_ext.deploy.contract import Contract, Term
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.utils.errors import UserError, did_you_mean

SENSED = ("commands", "projected_gravity", "base_ang_vel", "dof_pos", "dof_vel", "last_action")
"""Observation terms that a robot can fill from its own sensors and its last action."""


@dataclass
class Reading:
    """Readings of a robot's sensors; joints in the contract's order.

    Attributes:
        quat: (4,) orientation of the base, w x y z.
        ang_vel: (3,) rad/s in the base frame.
        dof_pos: (J,) rad.
        dof_vel: (J,) rad/s.
    """

    quat: np.ndarray
    ang_vel: np.ndarray
    dof_pos: np.ndarray
    dof_vel: np.ndarray


def projected_gravity(quat: np.ndarray) -> np.ndarray:
    """(3,) unit vector of gravity in the base frame: minus the last row of the rotation matrix of `quat` (w x y z)."""
    w, x, y, z = quat / np.linalg.norm(quat)
    return -np.array([2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)])


class Controller:
    """A policy and the last action it took."""

    def __init__(self, policy: ExportedPolicy) -> None:
        """Check that the robot's sensors can fill the policy's observation.

        Raises:
            UserError: a teacher, or terms that no sensor of a robot measures.
        """
        self.policy, self.contract = policy, policy.contract
        self._default = np.asarray(self.contract.default_joint_pos)
        if self.contract.role == "teacher" or set(self.contract.observations) != {"obs"}:
            raise UserError(
                f"{policy.path} is a teacher: it reads privileged data that a robot does not have; use the student"
            )
        self._terms = self.contract.observations["obs"]
        joints = len(self.contract.joint_names)
        dims: dict[str, int] = dict(zip(SENSED, (3, 3, 3, joints, joints, joints)))
        for term in self._terms:
            _check(term, dims, self.contract)
        self.reset()

    def reset(self) -> None:
        """Start a new episode: clear the policy's state and the last action."""
        self.policy.reset()
        self.last_action = np.zeros(len(self.contract.joint_names), np.float32)

    def observe(self, reading: Reading, command: np.ndarray) -> np.ndarray:
        """(D,) scaled and clipped frame for `reading` under `command` (vx, vy [m/s], yaw rate [rad/s])."""
        values = {
            "commands": command,
            "projected_gravity": projected_gravity(reading.quat),
            "base_ang_vel": reading.ang_vel,
            "dof_pos": reading.dof_pos - self._default,
            "dof_vel": reading.dof_vel,
            "last_action": self.last_action,
        }
        frame = np.concatenate([np.asarray(values[term.name]) * np.asarray(term.scale) for term in self._terms])
        clip = self.contract.clip_observations
        return np.clip(frame, -clip, clip).astype(np.float32)

    def step(self, reading: Reading, command: np.ndarray) -> np.ndarray:
        """(J,) joint targets [rad]; raises `PolicyError` when anything is not finite."""
        self.last_action, targets = self.policy(obs=self.observe(reading, command))
        return targets


def _check(term: Term, dims: dict[str, int], contract: Contract) -> None:
    if term.name not in dims:
        raise UserError(
            f"observation term '{term.name}' of task '{contract.task}' is not measured by a robot's "
            f"sensors{did_you_mean(term.name, dims)}; "
            f"known: {', '.join(dims)}"
        )
    if term.stop - term.start != dims[term.name]:
        raise UserError(
            f"observation term '{term.name}' has {term.stop - term.start} columns, a robot with "
            f"{len(contract.joint_names)} joints fills {dims[term.name]}"
        )
