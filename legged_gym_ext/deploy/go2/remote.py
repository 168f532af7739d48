"""The wireless remote: 40 bytes of the robot's state as sticks and buttons, and sticks as a velocity command."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Mapping

import numpy as np

KEYS = ("R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left")
"""Buttons by bit, lowest first, of the 16-bit number at byte 2 (Unitree's remote control documentation)."""

STICKS = {"lx": 4, "rx": 8, "ry": 12, "ly": 20}
"""Byte at which each stick's float is; right and up are positive, in -1 to 1."""

STOP_KEYS = frozenset({"L2", "B"})
"""Held together they stop: the combination with which Unitree's own controllers go into damping."""

START_KEYS = frozenset({"start"})


@dataclass(frozen=True)
class Remote:
    """Sticks (-1 to 1) and pressed buttons; `connected` is False without a remote that is switched on."""

    lx: float = 0.0
    ly: float = 0.0
    rx: float = 0.0
    ry: float = 0.0
    keys: frozenset[str] = frozenset()
    connected: bool = False

    @property
    def stop(self) -> bool:
        """The operator wants the robot to stop."""
        return self.keys >= STOP_KEYS

    @property
    def start(self) -> bool:
        """The operator lets the policy begin."""
        return self.keys >= START_KEYS


def decode(data: bytes) -> Remote:
    """Read the 40 bytes `wireless_remote`.

    Nothing but zeros, and sticks that are not numbers within 1.1, count as no remote. A robot that repeats the last
    bytes of a remote that went out of range looks like one that is held still.
    """
    if len(data) != 40 or not any(data):
        return Remote()
    sticks = {name: struct.unpack_from("<f", data, at)[0] for name, at in STICKS.items()}
    if not all(abs(value) <= 1.1 for value in sticks.values()):  # also false for NaN
        return Remote()
    held = int.from_bytes(data[2:4], "little")
    keys = frozenset(key for bit, key in enumerate(KEYS) if held >> bit & 1)
    return Remote(**sticks, keys=keys, connected=True)


def encode(remote: Remote) -> bytes:
    """The bytes of `remote`; the simulated robot sends them."""
    if not remote.connected:
        return bytes(40)
    data = bytearray(40)
    data[:2] = b"\x55\x51"
    data[2:4] = sum(1 << KEYS.index(key) for key in remote.keys).to_bytes(2, "little")
    for name, at in STICKS.items():
        struct.pack_into("<f", data, at, getattr(remote, name))
    return bytes(data)


def stick_command(remote: Remote, ranges: Mapping[str, tuple[float, float]], dead_zone: float = 0.05) -> np.ndarray:
    """(vx, vy [m/s], yaw rate [rad/s]) of the sticks: full deflection is the end of the trained range.

    Left stick: forward and sideways. Right stick, sideways: turning. Stick to the left is positive y and positive yaw
    rate.
    """
    command = []
    for name, stick in (("lin_vel_x", remote.ly), ("lin_vel_y", -remote.lx), ("ang_vel_yaw", -remote.rx)):
        low, high = ranges[name]
        size = max(0.0, min(abs(stick), 1.0) - dead_zone) / (1.0 - dead_zone)
        command.append(size * (max(high, 0.0) if stick > 0 else min(low, 0.0)))
    return np.array(command)


class RateLimit:
    """A command that follows a wanted one, each component by at most `rates` per second."""

    def __init__(self, rates: tuple[float, float, float]) -> None:
        self._rates = np.asarray(rates)
        self.value = np.zeros(3)

    def step(self, wanted: np.ndarray, dt: float) -> np.ndarray:
        """The command `dt` seconds later."""
        limit = self._rates * dt
        self.value = self.value + np.clip(wanted - self.value, -limit, limit)
        return self.value
