"""A robot, a policy and a clock that tests hold in their hands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from legged_gym_ext.deploy.controller import Reading
from legged_gym_ext.deploy.go2.messages import LowCommand, LowState
from legged_gym_ext.deploy.go2.policy_process import Answer
from legged_gym_ext.deploy.go2.remote import Remote, encode
from legged_gym_ext.deploy.go2.runtime import Options, Runtime
from legged_gym_ext.deploy.go2.safety import Limits
from tests.robot_policies import make_contract

ON = encode(Remote(connected=True))
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
DEFAULT_SDK = np.array([-0.1, 0.8, -1.5, 0.1, 0.8, -1.5, -0.1, 1.0, -1.5, 0.1, 1.0, -1.5])  # FR FL RR RL


def make_state(received: float = 0.0, **changes: Any) -> LowState:
    """A level robot at rest in the default pose."""
    state = LowState(
        quat=LEVEL,
        ang_vel=np.zeros(3),
        q=DEFAULT_SDK.copy(),
        dq=np.zeros(12),
        temperature=np.full(12, 40.0),
        lost=np.zeros(12, int),
        remote=ON,
        tick=0,
        battery=80,
        voltage=29.4,
        received=received,
    )
    return replace(state, **changes)


class FakeRobot:
    """Gives `state` (stamped with the clock) at each read and keeps what is written."""

    def __init__(self) -> None:
        self.now = 0.0
        self.state: LowState | None = make_state()
        self.sent: list[LowCommand] = []
        self.on_write: Callable[[LowCommand], None] = lambda command: None

    def read(self) -> LowState | None:
        return None if self.state is None else replace(self.state, received=self.now)

    def write(self, command: LowCommand) -> None:
        self.sent.append(command)
        self.on_write(command)


class FakeLink:
    """Answers at the next tick with `targets` (in the contract's order) unless `silent`; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Reading, np.ndarray, bool]] = []
        self.targets = np.asarray(make_contract().default_joint_pos)
        self.silent, self.error = False, ""
        self._open = False

    def ask(self, reading: Reading, command: np.ndarray, run: bool) -> None:
        self.asked.append((reading, command, run))
        self._open = True

    def answer(self) -> Answer | None:
        if self.error:
            return Answer(error=self.error)
        if self.silent or not self._open:
            return None
        self._open = False
        return Answer(self.targets if self.asked[-1][2] else None)


class Bench:
    """A runtime on a fake robot, policy and clock."""

    def __init__(self, options: Options | None = None, limits: Limits | None = None, **contract: Any) -> None:
        self.robot, self.link, self.lines = FakeRobot(), FakeLink(), []
        self.contract = make_contract(**contract)
        assert self.robot.state is not None
        self.runtime = Runtime(
            self.contract, self.robot, self.link, self.robot.state, options, limits, log=self.lines.append
        )

    def run(self, seconds: float, period: float = 0.002) -> LowCommand | None:
        """Tick for a while; the last command."""
        for _ in range(round(seconds / period)):
            self.robot.now += period
            self.runtime.tick(self.robot.now)
        return self.robot.sent[-1] if self.robot.sent else None

    def walk(self) -> None:
        """Until the policy runs and its gains are in force."""
        self.run(3.1)
        self.runtime.request_start()
        self.run(1.0)
        assert self.runtime.phase == "run"


def is_damping(command: LowCommand | None) -> bool:
    """No stiffness, no torque, velocity zero, and every motor brakes."""
    assert command is not None
    return not command.kp.any() and not command.tau.any() and not command.dq.any() and bool((command.kd > 0).all())
