"""The robot's loop and the simulated robot, with messages that nobody should send."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.fuzz.inputs import damaged

simulated: Any = None
inbox: list[Any] = []
whole: dict[str, bytes] = {}


def prepare() -> None:
    """A simulated robot without a network, and whole messages."""
    global simulated
    from legged_gym_ext.deploy.go2.messages import CommandCodec, LowCommand
    from legged_gym_ext.deploy.simulated_go2 import program

    def open_nothing(self: Any, interface: str, domain: int) -> None:
        self._reader = SimpleNamespace(take=lambda count: [inbox.pop(0) for _ in inbox[:count]])
        self._writer = SimpleNamespace(write=lambda message: sent.append(bytes(self._buffer)))
        self._message = None

    sent: list[bytes] = []
    program.SimulatedGo2._open = open_nothing  # type: ignore[method-assign]
    simulated = program.SimulatedGo2("lo", 1, "")
    simulated.sent = sent
    simulated._publish()
    ones = np.ones(12)
    whole["state"] = sent[-1]
    whole["command"] = CommandCodec().write(LowCommand(0.1 * ones, 0 * ones, 0 * ones, 20.0 * ones, 0.5 * ones))


def with_checksum(data: bytes) -> bytes:
    """A command whose checksum is right, whatever else it says."""
    from legged_gym_ext.deploy.go2.messages import CommandCodec

    codec = CommandCodec()
    return codec.write(codec.read(data)[0]) if len(data) >= codec.length and data[:2] == b"\x00\x01" else data


def obey(events: list[tuple[str, Any]]) -> None:
    """The simulated robot gets commands and lines of its operator, and goes on."""
    from legged_gym_ext.deploy.go2.sdk2 import RawBytes

    simulated._lines.put("reset")
    for kind, content in events:
        if kind == "line":
            simulated._lines.put(content)
        elif kind == "notice":
            inbox.append(content)
        else:
            data = damaged(whole["command"], content) if kind != "bytes" else content
            inbox.append(RawBytes(with_checksum(data) if kind == "signed" else data))
        simulated._operate()
        simulated._obey()
        simulated.robot.step(simulated.command, 0.002)
        simulated.sent.clear()
        simulated._publish()
        for state in simulated.sent:
            assert len(state) == len(whole["state"])
    while not simulated._lines.empty():
        simulated._operate()
    inbox.clear()
    assert np.isfinite(simulated.robot.q).all() and np.isfinite(simulated.robot.position).all()
    assert not any(warning.number for warning in simulated.robot.data.warning)


class Robot:
    """Gives the state in the newest message, as the SDK's side does; keeps what is sent."""

    def __init__(self) -> None:
        from legged_gym_ext.deploy.go2.messages import StateCodec

        self.codec, self.data, self.now, self.sent = StateCodec(), b"", 0.0, []

    def read(self) -> Any:
        """The newest state; None without one."""
        data, self.data = self.data, b""
        return self.codec.read(data, self.now) if data else None

    def write(self, command: Any) -> None:
        """Keep the command."""
        self.sent.append(command)


def drive(events: list[tuple[str, float, Any]]) -> None:
    """The robot's loop gets states, answers of a policy and pauses: each pass sends one command that is safe."""
    from legged_gym_ext.deploy.go2.policy_process import Answer
    from legged_gym_ext.deploy.go2.runtime import DAMP, Options, Runtime
    from legged_gym_ext.deploy.go2.safety import Limits
    from tests.robot_doubles import FakeLink, is_damping, make_state
    from tests.robot_policies import make_contract

    robot, link = Robot(), FakeLink()
    runtime = Runtime(make_contract(), robot, link, make_state(), Options(remote=False, command=(0.3, 0.0, 0.0)),
                      Limits(state_age=0.5), log=lambda line: None)  # fmt: skip
    runtime.phase = "run"
    low, high = runtime.supervisor.low, runtime.supervisor.high
    for kind, pause, content in events:
        if kind == "answer":
            link.answer = lambda content=content: Answer(content)  # type: ignore[method-assign]
        else:
            robot.data = damaged(_level_state(), content) if kind == "state" else content
        robot.now += pause
        runtime.tick(robot.now)
        command = robot.sent.pop()
        assert not robot.sent
        for values in (command.q, command.dq, command.tau, command.kp, command.kd):
            assert np.isfinite(values).all() and values.shape == (12,)
        assert runtime.phase != DAMP or is_damping(command)
        assert not command.kp.any() or ((low <= command.q) & (command.q <= high)).all()
        assert (runtime.phase == DAMP) == (runtime.supervisor.fault is not None)


def _level_state() -> bytes:
    """A message of a robot that stands in the default pose."""
    from legged_gym_ext.deploy.go2.messages import StateCodec
    from tests.robot_doubles import DEFAULT_SDK, ON

    codec, data = StateCodec(), bytearray(whole["state"])
    view = codec.views(data)
    view["q"][:], view["dq"][:], view["gyroscope"][:] = DEFAULT_SDK, 0.0, 0.0
    view["quaternion"][:] = (1.0, 0.0, 0.0, 0.0)
    view["wireless_remote"][:] = np.frombuffer(ON, np.uint8)
    return bytes(data)


def steer(data: bytes) -> None:
    """Bytes of a remote become a command within its range."""
    from legged_gym_ext.deploy.go2.remote import decode, stick_command

    ranges = {"lin_vel_x": (-1.0, 1.0), "lin_vel_y": (-0.5, 0.5), "ang_vel_yaw": (-1.0, 1.0)}
    command = stick_command(decode(data), ranges)
    assert (np.abs(command) <= (1.0, 0.5, 1.0)).all()
