"""Unitree's SDK2: the Go2's low level over DDS, and the service that must let go of the motors first.

The SDK is imported when a robot is opened. Topics, message types, network set-up and service calls are the SDK's; only
the bytes of the two messages are read and written by messages.py, through the two places where CycloneDDS asks a type
to encode itself.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from importlib.util import find_spec
from typing import Any

from legged_gym_ext.deploy.go2.messages import CommandCodec, LowCommand, LowState, StateCodec
from legged_gym_ext.utils.errors import UserError, did_you_mean

COMMANDS, STATES = "rt/lowcmd", "rt/lowstate"
LOOPBACK = "lo"
INSTALL = (
    "install Unitree's SDK: git clone https://github.com/unitreerobotics/unitree_sdk2_python "
    "&& pip install -e unitree_sdk2_python (for Python 3.11 and newer: docs/robot.md)"
)


class CommunicationError(Exception):
    """DDS refused a message."""


class RawBytes:
    """Stands in for a message type when CycloneDDS decodes: keeps the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def deserialize(cls, data: bytes, **_: Any) -> RawBytes:
        """What CycloneDDS calls with the bytes of a message."""
        return cls(data)

    @classmethod
    def deserialize_key(cls, data: bytes, **_: Any) -> RawBytes:
        """What CycloneDDS calls for a notice without a message, e.g. that a sender is gone."""
        return cls(data)


def check_interface(interface: str) -> None:
    """Refuse a network interface that this computer does not have."""
    names = [name for _, name in socket.if_nameindex()]
    if interface not in names:
        raise UserError(
            f"no network interface '{interface}'{did_you_mean(interface, names)}; this computer has "
            f"{', '.join(names)} (see: ip -br addr)"
        )


def check_sdk() -> None:
    """Refuse when the SDK is not installed."""
    if find_spec("unitree_sdk2py") is None or find_spec("cyclonedds") is None:
        raise UserError(f"a robot needs the package 'unitree_sdk2py': {INSTALL}")


_initialized: list[tuple[str, int]] = []


def _close_to_others() -> None:
    """Let this process's datagram sockets receive from the loopback only.

    CycloneDDS sends through its interface only, but receives at every address of the computer.
    """
    try:
        for name in os.listdir("/proc/self/fd"):
            if not os.path.realpath(f"/proc/self/fd/{name}").rpartition("/")[2].startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(name))) as channel:
                if channel.type == socket.SOCK_DGRAM:
                    channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LOOPBACK.encode())
    except OSError as error:  # before Linux 5.7 it takes a right that users do not have
        print(f"note: DDS can be reached from the network, too ({error})", file=sys.stderr)


def participant(interface: str, domain: int) -> Any:
    """A DDS participant on `interface`, in the domain that the SDK set up (once per process)."""
    check_sdk()
    check_interface(interface)
    try:
        from cyclonedds.domain import DomainParticipant
        from unitree_sdk2py.core import channel

        if (interface, domain) not in _initialized:
            # Its trace, /tmp/cdds.LOG, cannot be opened when it is another user's, and grows with malformed packets.
            settings: Any = channel.ChannelConfigHasInterface
            channel.ChannelConfigHasInterface = re.sub("<Tracing>.*</Tracing>", "", settings, flags=re.DOTALL)
            channel.ChannelFactoryInitialize(domain, interface)
            _initialized.append((interface, domain))
            if interface == LOOPBACK:
                _close_to_others()
        return DomainParticipant(domain)
    except Exception as error:  # the SDK raises plain `Exception`, its native libraries OSError
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"DDS cannot be started on interface '{interface}' ({reason}); is it up, and is this the SDK's CycloneDDS?"
        ) from error


class Publisher:
    """Sends commands; made ahead of time it is known to the robot when it is needed."""

    def __init__(self, interface: str, domain: int, joints: int) -> None:
        """Raises `UserError` for a missing SDK or interface."""
        member = participant(interface, domain)
        from cyclonedds.pub import DataWriter
        from cyclonedds.topic import Topic
        from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowCmd_
        from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowCmd_

        self._codec = CommandCodec(joints)
        self._writer = DataWriter(member, Topic(member, COMMANDS, LowCmd_))
        self._message: Any = unitree_go_msg_dds__LowCmd_()

    def write(self, command: LowCommand) -> None:
        """Send `command`; raises `CommunicationError`."""
        data = self._codec.write(command)
        self._message.serialize = lambda **_: data
        try:
            self._writer.write(self._message)
        except Exception as error:
            raise CommunicationError(f"a command could not be sent: {' '.join(str(error).split())}") from error


class Go2:
    """A robot: newest state in, commands out; see `runtime.Robot`."""

    def __init__(self, interface: str, domain: int, joints: int, sends: bool = True) -> None:
        """Without `sends` (dry run) no publisher exists, so that nothing can be sent.

        Raises:
            UserError: missing SDK or interface.
        """
        member = participant(interface, domain)
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic
        from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowState_

        self._codec = StateCodec(joints)
        topic: Any = Topic(member, STATES, LowState_)
        self._reader: Any = DataReader(member, topic)
        topic.data_type = RawBytes
        self._publisher = Publisher(interface, domain, joints) if sends else None
        self._motion: Any = None

    def read(self) -> LowState | None:
        """The newest state, None where none has arrived since the last call; raises `CommunicationError`."""
        try:
            samples = [sample for sample in self._reader.take(8) if isinstance(sample, RawBytes)]
            return self._codec.read(samples[-1].data, time.monotonic()) if samples else None
        except Exception as error:
            raise CommunicationError(f"a state could not be read: {' '.join(str(error).split())}") from error

    def write(self, command: LowCommand) -> None:
        """Send a command; raises `CommunicationError`."""
        if self._publisher is None:
            raise CommunicationError("a dry run sends nothing")
        self._publisher.write(command)

    def motion_service(self) -> str:
        """Name of the robot's own controller that has the motors, "" for none.

        Raises:
            UserError: the robot does not answer.
        """
        if self._motion is None:
            from unitree_sdk2py.comm.motion_switcher.motion_switcher_client import MotionSwitcherClient

            self._motion = MotionSwitcherClient()
            self._motion.SetTimeout(3.0)
            self._motion.Init()
        code, result = self._motion.CheckMode()
        if code != 0 or not isinstance(result, dict):
            raise UserError(
                f"the robot's motion switcher does not answer (code {code}); switch the sport service off in the app "
                "and use --keep_service"
            )
        return str(result.get("name") or "")

    def release_motors(self, patience: float = 15.0) -> None:
        """Lie down and switch the robot's own controller off.

        Raises:
            UserError: it is still on after `patience` seconds.
        """
        from unitree_sdk2py.go2.sport.sport_client import SportClient

        end = time.monotonic() + patience
        while name := self.motion_service():
            if time.monotonic() > end:
                raise UserError(
                    f"the robot's service '{name}' still has the motors after {patience:.0f} s; switch it off in the "
                    "app"
                )
            sport = SportClient()
            sport.SetTimeout(3.0)
            sport.Init()
            sport.StandDown()
            time.sleep(2.0)
            self._motion.ReleaseMode()
            time.sleep(0.5)
