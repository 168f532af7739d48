"""The two messages of the Go2's low level, `LowState_` and `LowCmd_`, as bytes.

The SDK's Python classes take milliseconds to encode and decode (measured: docs/robot.md), too long for 500
messages a second each way. Here the layout is computed once from the fields of the SDK's IDL files (package unitree_go,
as in unitree_sdk2_python) and messages are read and written in place. The encoding is CDR little endian, version 1:
every number is aligned to its own size, counted after the header of 4 bytes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

MOTORS = 20
"""Motor slots of a message; the Go2 uses the first 12."""

GO2_MOTORS = tuple(f"{leg}_{part}_joint" for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "thigh", "calf"))
"""Joints in the order of the Go2's motors 0 to 11."""

HEADER = b"\x00\x01\x00\x00"
"""Marks CDR, little endian."""

MODE_SERVO = 1
"""Motor mode of field-oriented control; 0 is off."""

POS_STOP, VEL_STOP = 2.146e9, 16000.0
"""What the SDK's examples write as position and velocity of a motor that has neither."""


def _fields(text: str, **structures: Any) -> tuple[tuple[str, Any, int], ...]:
    """Name, type and count of each field.

    Args:
        text: fields separated by commas: "sn 2I" is two numbers of struct's letter I, "motor_cmd 20motor" is 20 of
            `structures["motor"]`.
        **structures: fields of nested structures, by name.
    """
    found = []
    for field in text.split(","):
        name, kind = field.split()
        letter = kind.lstrip("0123456789")
        count = int(kind[: -len(letter)] or 1)
        found.append((name, structures.get(letter, letter), count))
    return tuple(found)


_HEAD = "head 2B, level_flag B, frame_reserve B, sn 2I, version 2I, bandwidth H, "
MOTOR_CMD = _fields("mode B, q f, dq f, tau f, kp f, kd f, reserve 3I")
BMS_CMD = _fields("off B, reserve 3B")
LOW_CMD = _fields(
    _HEAD + f"motor_cmd {MOTORS}motor, bms_cmd bms, wireless_remote 40B, led 12B, fan 2B, gpio B, reserve I, crc I",
    motor=MOTOR_CMD,
    bms=BMS_CMD,
)
IMU_STATE = _fields("quaternion 4f, gyroscope 3f, accelerometer 3f, rpy 3f, temperature B")
MOTOR_STATE = _fields(
    "mode B, q f, dq f, ddq f, tau_est f, q_raw f, dq_raw f, ddq_raw f, temperature B, lost I, reserve 2I"
)
BMS_STATE = _fields(
    "version_high B, version_low B, status B, soc B, current i, cycle H, bq_ntc 2B, mcu_ntc 2B, cell_vol 15H"
)
LOW_STATE = _fields(
    _HEAD + f"imu_state imu, motor_state {MOTORS}motor, bms_state bms, foot_force 4h, foot_force_est 4h, tick I, "
    "wireless_remote 40B, bit_flag B, adc_reel f, temperature_ntc1 B, temperature_ntc2 B, power_v f, power_a f, "
    "fan_frequency 4H, reserve I, crc I",
    imu=IMU_STATE,
    motor=MOTOR_STATE,
    bms=BMS_STATE,
)
"""Fields of the SDK's IDL: name, type (struct's letters, or the fields of a structure) and count."""

SIZES = {"B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "f": 4}


def cdr_layout(fields: Any, start: int = 0) -> tuple[dict[str, int], int]:
    """Offset of every field, "motor_cmd[3].kp" and the like, and the length; counted from the end of the header."""
    offsets: dict[str, int] = {}
    for name, kind, count in fields:
        for index in range(count if not isinstance(kind, str) else 1):
            if isinstance(kind, str):
                start += -start % SIZES[kind]
                offsets[name] = start
                start += SIZES[kind] * count
                continue
            inner, start = cdr_layout(kind, start)
            path = f"{name}[{index}]" if count > 1 else name
            offsets.update({f"{path}.{key}": offset for key, offset in inner.items()})
    return offsets, start


def c_layout(fields: Any, start: int = 0) -> tuple[dict[str, int], int]:
    """The same for C structures, over which the checksum is taken.

    A structure is aligned to, and padded to, its largest number.
    """
    offsets: dict[str, int] = {}
    first = start
    for name, kind, count in fields:
        largest = _largest(kind)
        start += -start % largest
        if isinstance(kind, str):
            offsets[name] = start
            start += SIZES[kind] * count
            continue
        for index in range(count):
            inner, start = c_layout(kind, start)
            path = f"{name}[{index}]" if count > 1 else name
            offsets.update({f"{path}.{key}": offset for key, offset in inner.items()})
    return offsets, start + (first - start) % max(_largest(kind) for _, kind, _ in fields)


def _largest(kind: Any) -> int:
    return SIZES[kind] if isinstance(kind, str) else max(_largest(inner) for _, inner, _ in kind)


_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def crc32_words(data: bytes) -> int:
    """Checksum of a message over 32-bit words, high byte first.

    CRC-32/MPEG-2: polynomial 04C11DB7, start FFFFFFFF, nothing reflected.
    zlib's CRC-32 reflects bits and inverts the result, so bits are reversed before and after.
    """
    words = np.frombuffer(data, "<u4").byteswap().tobytes()
    return int(f"{zlib.crc32(words.translate(_REVERSED_BITS)) ^ 0xFFFFFFFF:032b}"[::-1], 2)


@dataclass
class LowState:
    """The contents of a `LowState_`, joints in the order of the robot's motors.

    Attributes:
        quat: (4,) orientation of the base, w x y z.
        ang_vel: (3,) rad/s in the base frame.
        q: (12,) rad.
        dq: (12,) rad/s.
        temperature: (12,) degrees Celsius of the motors.
        lost: (12,) messages that the robot lost on the way to each motor.
        remote: 40 bytes of the wireless remote.
        tick: the robot's own clock [ms].
        battery: charge [%].
        voltage: of the battery [V].
        received: when it arrived, on this computer's monotonic clock [s].
    """

    quat: np.ndarray
    ang_vel: np.ndarray
    q: np.ndarray
    dq: np.ndarray
    temperature: np.ndarray
    lost: np.ndarray
    remote: bytes
    tick: int
    battery: int
    voltage: float
    received: float


@dataclass
class LowCommand:
    """Torque of a motor is kp (q - measured) + kd (dq - measured) + tau; all (12,), in the motors' order."""

    q: np.ndarray
    dq: np.ndarray
    tau: np.ndarray
    kp: np.ndarray
    kd: np.ndarray


def damping_command(joints: int, kd: float) -> LowCommand:
    """Every motor brakes: no stiffness, no torque, velocity zero."""
    zero = np.zeros(joints)
    return LowCommand(zero, zero, zero, zero, np.full(joints, kd))


def _column(buffer: Any, dtype: str, first: int, stride: int, rows: int, columns: int = 1) -> np.ndarray:
    """(rows, columns) numbers in `buffer`, `stride` bytes from row to row, without copying."""
    itemsize = np.dtype(dtype).itemsize
    array = np.ndarray((rows, columns), dtype, buffer, first + len(HEADER), (stride, itemsize))
    return array[:, 0] if columns == 1 else array


class StateCodec:
    """Reads `LowState_`; the simulated robot writes it."""

    def __init__(self, joints: int = 12) -> None:
        self.offsets, length = cdr_layout(LOW_STATE)
        self.length = length + len(HEADER)
        self._joints = joints
        self._stride = self.offsets["motor_state[2].q"] - self.offsets["motor_state[1].q"]
        self._buffer = bytearray(self.length)
        self._view = self.views(self._buffer)

    def views(self, buffer: Any) -> dict[str, np.ndarray]:
        """Arrays of the numbers of a message that is in `buffer`, writable if it is."""
        at, joints = self.offsets, self._joints
        imu = {
            name: _column(buffer, "<f4", at[f"imu_state.{name}"], 4, count)
            for name, count in (("quaternion", 4), ("gyroscope", 3), ("accelerometer", 3))
        }
        motors = {
            name: _column(buffer, kind, at[f"motor_state[0].{name}"], self._stride, joints)
            for name, kind in (("q", "<f4"), ("dq", "<f4"), ("tau_est", "<f4"), ("temperature", "u1"), ("lost", "<u4"))
        }
        single = {
            name: _column(buffer, kind, at[name], 4, 1)
            for name, kind in (("tick", "<u4"), ("power_v", "<f4"), ("bms_state.soc", "u1"), ("crc", "<u4"))
        }
        return {**imu, **motors, **single, "wireless_remote": _column(buffer, "u1", at["wireless_remote"], 1, 40)}

    def read(self, data: bytes, received: float) -> LowState:
        """The message in `data`.

        Raises:
            ValueError: another length or encoding than `LowState_` has.
        """
        if len(data) < self.length or data[:2] != HEADER[:2]:
            raise ValueError(f"a message of {len(data)} bytes, starting with {data[:4].hex()}, is no LowState_")
        self._buffer[:] = data[: self.length]
        view = self._view
        wide = {name: view[name].astype(np.float64) for name in ("quaternion", "gyroscope", "q", "dq", "temperature")}
        return LowState(
            quat=wide["quaternion"],
            ang_vel=wide["gyroscope"],
            q=wide["q"],
            dq=wide["dq"],
            temperature=wide["temperature"],
            lost=view["lost"].copy(),
            remote=view["wireless_remote"].tobytes(),
            tick=int(view["tick"][0]),
            battery=int(view["bms_state.soc"][0]),
            voltage=float(view["power_v"][0]),
            received=received,
        )


class CommandCodec:
    """Writes `LowCmd_` with its checksum; the simulated robot reads it."""

    def __init__(self, joints: int = 12) -> None:
        self.offsets, length = cdr_layout(LOW_CMD)
        c_offsets, c_length = c_layout(LOW_CMD)
        self.length, self._joints = length + len(HEADER), joints
        # The C structure gets a header of zeros so that both buffers are addressed alike.
        self._cdr, self._c = bytearray(HEADER + bytes(length)), bytearray(len(HEADER) + c_length)
        for buffer, at in ((self._cdr, self.offsets), (self._c, c_offsets)):
            first = len(HEADER)
            buffer[first + at["head"] : first + at["head"] + 2] = b"\xfe\xef"
            buffer[first + at["level_flag"]] = 0xFF  # low-level control
            for motor in range(MOTORS):
                buffer[first + at[f"motor_cmd[{motor}].mode"]] = MODE_SERVO
        self._targets = [
            self._motors(buffer, at, MOTORS) for buffer, at in ((self._cdr, self.offsets), (self._c, c_offsets))
        ]
        for target in self._targets:
            target[:, :2] = POS_STOP, VEL_STOP
        self._crc = _column(self._cdr, "<u4", self.offsets["crc"], 4, 1)

    @staticmethod
    def _motors(buffer: Any, at: dict[str, int], rows: int) -> np.ndarray:
        """(rows, 5) q, dq, tau, kp, kd."""
        stride = at["motor_cmd[2].q"] - at["motor_cmd[1].q"]
        return _column(buffer, "<f4", at["motor_cmd[0].q"], stride, rows, 5)

    def write(self, command: LowCommand) -> bytes:
        """The message of `command`."""
        values = np.stack((command.q, command.dq, command.tau, command.kp, command.kd), axis=1)
        for target in self._targets:
            target[: self._joints] = values
        self._crc[0] = crc32_words(bytes(self._c[len(HEADER) : -4]))
        return bytes(self._cdr)

    def read(self, data: bytes) -> tuple[LowCommand, int]:
        """The command and the checksum in `data`; ValueError where it is no `LowCmd_`."""
        if len(data) < self.length or data[:2] != HEADER[:2]:
            raise ValueError(f"a message of {len(data)} bytes, starting with {data[:4].hex()}, is no LowCmd_")
        values = self._motors(data, self.offsets, self._joints).astype(np.float64)
        return LowCommand(*values.T), int(_column(data, "<u4", self.offsets["crc"], 4, 1)[0])
