"""When a robot must stop: every limit in one place.

No clock, no messages and no processes in here: times and states are arguments, so that tests can make any of them. The
first fault is latched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.controller import projected_gravity
from legged_gym_ext.deploy.go2.messages import LowState
from legged_gym_ext.deploy.go2.remote import Remote


@dataclass(frozen=True)
class Limits:
    """Limits of safe operation.

    Attributes:
        state_age: s since the newest state arrived. Two control steps: one late message in twenty is no fault, a policy
            that acts twice on the same state is.
        policy_age: s that an answer of the policy may take. Two control steps as well: the targets of the step before
            are held meanwhile.
        loop_gap: s between two passes of the command loop. Half of what the policy's process waits before it takes over
            (policy_process.Guard): a loop that hung must not go on driving beside it.
        remote_age: s without a remote.
        tilt: rad between the base's and the world's vertical.
        joint_tolerance: rad that a measured angle may be beyond its limit: links rest on their stops, and stops give.
        speed_factor: times a motor's no-load speed.
        speed_states: states in a row above that speed; a single one is a spike of an impact.
        temperature: degrees Celsius of a motor; our choice, Unitree publishes none.
        target_margin: rad that commanded angles keep from the joint limits.
        target_steps: control steps in a row in which the policy may ask one joint for more than its limits; targets are
            clipped all the while.
        quat_norm: allowed difference of the orientation's norm from 1.
    """

    state_age: float = 0.04
    policy_age: float = 0.04
    loop_gap: float = 0.1
    remote_age: float = 0.2
    tilt: float = 1.0
    joint_tolerance: float = 0.1
    speed_factor: float = 1.0
    speed_states: int = 3
    temperature: float = 80.0
    target_margin: float = 0.02
    target_steps: int = 50
    quat_norm: float = 0.1


@dataclass(frozen=True)
class Fault:
    """Why the robot was stopped: a short name for programs, and a line of text."""

    name: str
    reason: str


class Supervisor:
    """Checks states, targets, remote and policy; `fault` is None until the first fault, then never changes."""

    def __init__(self, contract: Contract, limits: Limits) -> None:
        """`contract.sdk_joint_order` is the order in which states and targets come."""
        order = [contract.joint_names.index(name) for name in contract.sdk_joint_order]
        self.names = contract.sdk_joint_order
        self.limits = limits
        self.low, self.high = np.asarray(contract.joint_pos_limits)[order].T
        self._max_speed = np.asarray(contract.velocity_limits)[order] * limits.speed_factor
        self.fault: Fault | None = None
        self._too_fast = np.zeros(len(order), int)
        self._beyond = np.zeros(len(order), int)
        self._remote_seen: float | None = None

    def raise_fault(self, name: str, reason: str) -> None:
        """Latch a fault; later ones change nothing."""
        if self.fault is None:
            self.fault = Fault(name, reason)

    def check_gap(self, last: float, now: float) -> None:
        """Did the loop come round in time since its pass at `last`?"""
        if now - last > self.limits.loop_gap:
            self.raise_fault(
                "loop late",
                f"the command loop stood still for {1e3 * (now - last):.0f} ms (limit "
                f"{1e3 * self.limits.loop_gap:.0f})",
            )

    def check_age(self, received: float, now: float) -> None:
        """Is the newest state, which arrived at `received`, new enough?"""
        age = now - received
        if age > self.limits.state_age:
            self.raise_fault(
                "stale state",
                f"no state from the robot for {1e3 * age:.0f} ms (limit {1e3 * self.limits.state_age:.0f})",
            )

    def check_state(self, state: LowState) -> None:
        """Is a new state one in which a robot may be driven?"""
        for what, values in (
            ("orientation", state.quat),
            ("angular velocity", state.ang_vel),
            ("joint positions", state.q),
            ("joint velocities", state.dq),
        ):
            if not np.isfinite(values).all():
                return self.raise_fault(
                    "bad state", f"the robot's state is not finite: {what} {np.asarray(values).tolist()}"
                )
        norm = float(np.linalg.norm(state.quat))
        if abs(norm - 1.0) > self.limits.quat_norm:
            return self.raise_fault("bad state", f"the orientation is no unit quaternion: its norm is {norm:.3f}")
        tilt = float(np.arccos(np.clip(-projected_gravity(state.quat)[2], -1.0, 1.0)))
        if tilt > self.limits.tilt:
            self.raise_fault(
                "tilt",
                f"the base is tilted by {np.degrees(tilt):.0f} degrees (limit {np.degrees(self.limits.tilt):.0f})",
            )
        beyond = np.maximum(self.low - state.q, state.q - self.high)
        joint = int(beyond.argmax())
        if beyond[joint] > self.limits.joint_tolerance:
            self.raise_fault(
                "joint limit",
                f"{self.names[joint]} is at {state.q[joint]:.3f} rad, allowed are {self.low[joint]:.3f} to "
                f"{self.high[joint]:.3f}",
            )
        self._too_fast = np.where(np.abs(state.dq) > self._max_speed, self._too_fast + 1, 0)
        if self._too_fast.max() >= self.limits.speed_states:
            joint = int(self._too_fast.argmax())
            self.raise_fault(
                "joint speed",
                f"{self.names[joint]} turns at {state.dq[joint]:.1f} rad/s (limit {self._max_speed[joint]:.1f})",
            )
        if state.temperature.max() > self.limits.temperature:
            joint = int(state.temperature.argmax())
            self.raise_fault(
                "temperature",
                f"the motor of {self.names[joint]} has {state.temperature[joint]:.0f} degrees (limit "
                f"{self.limits.temperature:.0f})",
            )
        return None

    def check_remote(self, remote: Remote, now: float, required: bool = True) -> None:
        """Did the operator press stop, or, where a remote is `required`, has there been none for too long?"""
        if remote.connected or self._remote_seen is None:
            self._remote_seen = now
        if remote.stop:
            self.raise_fault("operator", "stop keys of the remote (L2 + B)")
        if required and now - self._remote_seen > self.limits.remote_age:
            self.raise_fault("remote lost", f"no wireless remote for {1e3 * (now - self._remote_seen):.0f} ms")

    def check_policy(self, asked: float | None, now: float) -> None:
        """Has the question that the policy was `asked` (None: none is open) been open for too long?"""
        if asked is not None and now - asked > self.limits.policy_age:
            self.raise_fault(
                "policy late",
                f"the policy has not answered for {1e3 * (now - asked):.0f} ms (limit "
                f"{1e3 * self.limits.policy_age:.0f})",
            )

    def check_targets(self, targets: np.ndarray) -> np.ndarray:
        """The policy's (J,) targets [rad], kept within the joint limits.

        Targets that are not finite are a fault, and so is one joint whose targets are beyond its limits for
        `target_steps` control steps in a row. Once in a while that is normal: a target beyond the limit is how a policy
        asks for more torque near it.
        """
        if not np.isfinite(targets).all():
            self.raise_fault("bad targets", f"the policy's targets are not finite: {np.asarray(targets).tolist()}")
            return np.clip(np.nan_to_num(targets), self.low, self.high)
        self._beyond = np.where((targets < self.low) | (targets > self.high), self._beyond + 1, 0)
        if self._beyond.max() >= self.limits.target_steps:
            joint = int(self._beyond.argmax())
            self.raise_fault(
                "target limit",
                f"for {self._beyond[joint]} steps the policy has asked {self.names[joint]} for {targets[joint]:.2f} "
                "rad or so, "
                f"allowed are {self.low[joint]:.2f} to {self.high[joint]:.2f}",
            )
        return self.clip(targets)

    def clip(self, targets: np.ndarray) -> np.ndarray:
        """Targets within the joint limits less the margin."""
        margin = self.limits.target_margin
        return np.clip(targets, self.low + margin, self.high - margin)
