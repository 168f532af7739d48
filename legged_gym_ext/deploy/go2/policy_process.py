"""The policy in a process of its own, and what each process does when the other one dies.

The robot's process (runtime.py) asks for targets over a pipe, which closes when the policy's process dies. The policy's
process in turn notices when it is no longer asked, because the robot's process was killed or hangs, and then sends
damping itself through a publisher that was opened for this case.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from legged_gym_ext.deploy.controller import Reading
from legged_gym_ext.deploy.go2.messages import LowCommand, damping_command
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.deploy.controller import Controller

START_TIMEOUT = 60.0
"""Seconds that onnxruntime may take to load."""


@dataclass
class Answer:
    """Reply of the policy's process.

    Attributes:
        targets: (J,) rad, in the contract's order; None when it was only asked whether it is alive.
        error: why there are no targets; empty without an error.
    """

    targets: np.ndarray | None = None
    error: str = ""


class Link(Protocol):
    """How the runtime talks to a policy."""

    def ask(self, reading: Reading, command: np.ndarray, run: bool) -> None:
        """Send a question and return at once.

        Args:
            reading: of the robot's sensors.
            command: (3,) vx, vy [m/s], yaw rate [rad/s].
            run: False only asks whether the policy is alive, and resets its state.
        """
        ...

    def answer(self) -> Answer | None:
        """The answer, None while there is none; an `Answer` with an error when the process is gone."""
        ...


class CommandSink(Protocol):
    """Sends commands to a robot."""

    def write(self, command: LowCommand) -> None:
        """Send `command`."""
        ...


@dataclass(frozen=True)
class Guard:
    """When and how the policy's process takes over.

    Attributes:
        silence: s without a question after which the robot's process counts as hung.
        damping_kd: N m s / rad.
        damping_time: s for which damping is sent.
        period: s between two commands.
    """

    silence: float = 0.2
    damping_kd: float = 3.0
    damping_time: float = 5.0
    period: float = 0.002


class PolicyProcess:
    """Starts the policy's process and talks to it; use as a context manager."""

    def __init__(self, path: Path, make_standby: Callable[[], CommandSink] | None, guard: Guard) -> None:
        """Start the process and wait until the policy is loaded.

        Args:
            path: policy.onnx.
            make_standby: called in the new process; what it returns sends damping when this process falls silent. None:
                nothing is sent (dry run).
            guard: when and how the new process takes over.

        Raises:
            UserError: the process did not start within `START_TIMEOUT`, or the policy cannot be loaded.
        """
        context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of DDS in an unknown state
        self._pipe, other_end = context.Pipe()
        arguments = (str(path), other_end, make_standby, guard)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        other_end.close()
        if not self._pipe.poll(START_TIMEOUT):
            self.close()
            raise UserError(f"the policy's process did not start within {START_TIMEOUT:.0f} s")
        try:
            problem = self._pipe.recv()
        except EOFError:
            problem = "it ended before it was ready"
        if problem:
            self.close()
            raise UserError(f"the policy's process did not start: {problem}")

    @property
    def pid(self) -> int | None:
        """Process id."""
        return self._process.pid

    def ask(self, reading: Reading, command: np.ndarray, run: bool) -> None:
        """See `Link`; `answer` reports a process that is gone."""
        try:
            self._pipe.send((reading, command, run))
        except OSError:
            pass

    def answer(self) -> Answer | None:
        """See `Link`."""
        try:
            if self._pipe.poll():
                return self._pipe.recv()
        except (EOFError, OSError):
            return self._ended()
        return None

    def _ended(self) -> Answer:
        self._process.join(0.001)
        code = self._process.exitcode
        return Answer(error="the policy's process ended" + ("" if code is None else f" (exit code {code})"))

    def close(self) -> None:
        """End the process, without damping."""
        try:
            self._pipe.send(None)
        except OSError:
            pass
        self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def __enter__(self) -> PolicyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(path: str, pipe: Connection, make_standby: Callable[[], CommandSink] | None, guard: Guard) -> None:
    """Answer questions until told to end; damp the robot when the robot's process falls silent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches both; the robot's process handles it
    try:
        from legged_gym_ext.deploy.controller import Controller
        from legged_gym_ext.deploy.policy_file import ExportedPolicy

        controller = Controller(ExportedPolicy(path))
        standby = make_standby() if make_standby else None
    except Exception as error:
        pipe.send(str(error) or type(error).__name__)
        return
    pipe.send("")
    armed = False  # until the first question nothing moves the robot, and checks may take minutes
    while True:
        try:
            if not pipe.poll(guard.silence if armed else None):
                break
            question = pipe.recv()
        except (EOFError, OSError):
            break
        if question is None:
            return
        armed = True
        try:
            pipe.send(_answer(controller, *question))
        except OSError:
            break
    if armed and standby is not None:
        _damp(standby, guard, len(controller.contract.joint_names))


def _answer(controller: Controller, reading: Reading, command: np.ndarray, run: bool) -> Answer:
    if not run:
        controller.reset()
        return Answer()
    try:
        return Answer(np.asarray(controller.step(reading, command), np.float64))
    except Exception as error:  # whatever it is, the robot must not wait for an answer
        return Answer(error=str(error) or type(error).__name__)


def _damp(standby: CommandSink, guard: Guard, joints: int) -> None:
    """Send damping for `guard.damping_time`."""
    os.write(2, b"the robot's process is silent: the policy's process sends damping\n")
    end = time.monotonic() + guard.damping_time
    command = damping_command(joints, guard.damping_kd)
    while time.monotonic() < end:
        standby.write(command)
        time.sleep(guard.period)
