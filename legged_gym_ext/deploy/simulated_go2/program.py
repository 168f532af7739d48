"""A simulated Go2 that exchanges the real one's messages over DDS, for rehearsing a deployment.

    python -m legged_gym_ext.deploy.simulated_go2

It publishes low states at 500 Hz, obeys low commands whose checksum is right, and, like the robot, ignores them until
the motion service has been released. Lines on standard input are the operator: start, stop, release (of those keys),
sticks LX LY RX, fault NAME, reset, status, quit. Lines of JSON on standard output say what happened, with times of this
computer's monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np

from legged_gym_ext.deploy.go2.messages import (
    GO2_MOTORS,
    HEADER,
    CommandCodec,
    LowCommand,
    StateCodec,
    damping_command,
)
from legged_gym_ext.deploy.go2.remote import Remote, encode
from legged_gym_ext.deploy.go2.sdk2 import COMMANDS, STATES, RawBytes, participant
from legged_gym_ext.utils.cli import Parser
from legged_gym_ext.utils.errors import UserError

PERIOD = 0.002
"""s between two states, as on the robot."""

LYING = (-0.0473, 1.2219, -2.4438, 0.0473, 1.2219, -2.4438) * 2
"""rad, in the motors' order: the pose in which the SDK lays the robot down."""

ROLLED = np.array([0.7071, 0.7071, 0.0, 0.0])
FAULTS = ("stale", "nan", "tilt", "joint", "speed", "temperature", "remote")
"""What can be made wrong in the states."""


class SimulatedGo2:
    """The robot: physics, messages and operator; `serve` runs it in real time."""

    def __init__(self, interface: str, domain: int, service: str = "normal") -> None:
        """`service` is the motion service that has the motors at first, "" for none."""
        from legged_gym_ext.simulators import require

        require("mujoco")
        from legged_gym_ext.deploy.sim2sim.servo import ServoRobot

        torques, speeds = (23.7, 23.7, 45.43) * 4, (30.1, 30.1, 15.7) * 4
        self.robot = ServoRobot("{ROOT}/resources/robots/go2/go2.xml", GO2_MOTORS, torques, speeds)
        self.robot.place(0.12, LYING)
        self.service, self.remote, self.fault = service, Remote(connected=True), ""
        self.command = damping_command(len(GO2_MOTORS), 3.0)
        self.counts = {"states": 0, "commands": 0, "ignored": 0, "crc_errors": 0}
        self._damped, self._obeyed = True, False
        self._states, self._commands = StateCodec(), CommandCodec()
        self._buffer = bytearray(HEADER + bytes(self._states.length - len(HEADER)))
        self._view = self._states.views(self._buffer)
        self._begin = time.monotonic()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self._open(interface, domain)
        if service:
            self._services = [self._make_service(name) for name in ("motion_switcher", "sport")]

    def _open(self, interface: str, domain: int) -> None:
        member = participant(interface, domain)
        from cyclonedds.core import Policy, Qos
        from cyclonedds.pub import DataWriter
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic
        from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowState_
        from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowCmd_, LowState_

        self._message: Any = unitree_go_msg_dds__LowState_()
        self._message.serialize = lambda **_: bytes(self._buffer)
        self._writer: Any = DataWriter(member, Topic(member, STATES, LowState_))
        topic: Any = Topic(member, COMMANDS, LowCmd_)
        # Commands of two senders may arrive in one period; none may hide another.
        self._reader: Any = DataReader(member, topic, Qos(Policy.History.KeepLast(16)))
        topic.data_type = RawBytes

    def _make_service(self, name: str) -> Any:
        """The part of the robot's services that a deployment calls."""
        from unitree_sdk2py.rpc.server import Server

        def check(_: str) -> tuple[int, str]:
            return 0, json.dumps({"form": "0", "name": self.service})

        def release(_: str) -> tuple[int, str]:
            self.service = ""
            return 0, ""

        server: Any = Server(name)
        handlers = {1001: check, 1003: release} if name == "motion_switcher" else {1005: lambda _: (0, "")}
        for api, handler in handlers.items():
            server._RegistHandler(api, handler, False)
        server.Start()
        return server

    def serve(self) -> None:
        """Run until the operator quits or standard input closes."""
        due = time.monotonic()
        while self._operate():
            self._obey()
            self.robot.step(self.command, PERIOD)
            self._publish()
            due = max(due + PERIOD, time.monotonic() - 10 * PERIOD)
            if (pause := due - time.monotonic()) > 0:
                time.sleep(pause)

    def _obey(self) -> None:
        for sample in self._reader.take(16):
            if not isinstance(sample, RawBytes):
                continue
            now = time.monotonic()
            try:
                command = self._commands.read(sample.data)[0]
            except ValueError:  # no command at all
                self.counts["crc_errors"] += 1
                continue
            if self._commands.write(command) != sample.data:  # header, level and checksum must be right too
                self.counts["crc_errors"] += 1
            elif self.service or not all(np.isfinite(values).all() for values in vars(command).values()):
                self.counts["ignored"] += 1
            else:
                self._take(command, now)

    def _take(self, command: LowCommand, now: float) -> None:
        self.command, self.counts["commands"] = command, self.counts["commands"] + 1
        damped = bool(not command.kp.any() and not command.tau.any() and command.kd.all() and not command.dq.any())
        if damped != self._damped or not self._obeyed:
            emit("damping" if damped else "driven", now)
        self._damped, self._obeyed = damped, True

    def _publish(self) -> None:
        if self.fault == "stale":
            return
        view, robot = self._view, self.robot
        view["q"][:], view["dq"][:], view["temperature"][:] = robot.q, robot.dq, 40
        view["quaternion"][:], view["gyroscope"][:] = robot.quat, robot.ang_vel
        view["wireless_remote"][:] = np.frombuffer(encode(self.remote), np.uint8)
        view["tick"][:] = int(1e3 * (time.monotonic() - self._begin))
        view["power_v"][:], view["bms_state.soc"][:] = 29.4, 80
        if self.fault == "nan":
            view["quaternion"][:] = np.nan
        elif self.fault == "tilt":
            view["quaternion"][:] = ROLLED
        elif self.fault == "joint":
            view["q"][2] = 0.0
        elif self.fault == "speed":
            view["dq"][2] = 40.0
        elif self.fault == "temperature":
            view["temperature"][5] = 110
        elif self.fault == "remote":
            view["wireless_remote"][:] = 0
        self._writer.write(self._message)
        self.counts["states"] += 1

    def _operate(self) -> bool:
        """Carry out the operator's commands; False to end."""
        while not self._lines.empty():
            line = self._lines.get()
            if not line or line.strip() == "quit":
                return False
            self._order(line.split())
        return True

    def _listen(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        self._lines.put("")

    def _order(self, words: list[str]) -> None:
        if not words:
            return
        order, *values = words
        sticks = _sticks(values) if order == "sticks" else None
        if order in ("start", "stop"):
            keys = frozenset({"start"} if order == "start" else {"L2", "B"})
            self.remote = replace(self.remote, keys=keys)
        elif order == "release":
            self.remote = replace(self.remote, keys=frozenset())
        elif sticks is not None:
            self.remote = replace(self.remote, **sticks)
        elif order == "fault" and values and values[0] in FAULTS:
            self.fault = values[0]
        elif order == "reset":
            self.fault, self.remote, self.command = "", Remote(connected=True), damping_command(len(GO2_MOTORS), 3.0)
            self.robot.place(0.12, LYING)
        elif order != "status":
            emit("not understood", time.monotonic(), line=" ".join(words))
        status = {
            "service": self.service,
            "position": self.robot.position.tolist(),
            "quat": self.robot.quat.tolist(),
            **self.counts,
        }
        emit(order, time.monotonic(), **(status if order == "status" else {}))


def _sticks(words: list[str]) -> dict[str, float] | None:
    """Deflections of the sticks from -1 to 1; None for other words."""
    try:
        values = [float(word) for word in words]
    except ValueError:
        return None
    inside = len(values) == 3 and all(-1.0 <= value <= 1.0 for value in values)
    return dict(zip(("lx", "ly", "rx"), values)) if inside else None


def emit(event: str, when: float, **values: Any) -> None:
    """Print an event as a line of JSON."""
    print(json.dumps({"event": event, "time": when, **values}), flush=True)


def main(argv: list[str] | None = None) -> None:
    """Parse flags and run."""
    parser = Parser(
        prog="python -m legged_gym_ext.deploy.simulated_go2",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--interface", default="lo", metavar="NAME", help="network interface (default: lo, this computer only)"
    )
    parser.add_argument("--domain", type=int, default=1, metavar="N", help="DDS domain (default: 1; robots use 0)")
    parser.add_argument("--no_service", action="store_true", help="start with the motion service switched off")
    args = parser.parse_args(argv)
    if args.domain == 0 and args.interface != "lo":
        raise UserError("a simulated robot in domain 0 of a real network would be taken for a real one; use --domain=1")
    robot = SimulatedGo2(args.interface, args.domain, "" if args.no_service else "normal")
    emit("ready", time.monotonic())
    robot.serve()
