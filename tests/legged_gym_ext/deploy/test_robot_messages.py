"""The robot's messages as bytes: offsets and checksums counted by hand, the SDK's own encoding, the remote."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from legged_gym_ext.deploy.go2.messages import (
    LOW_CMD,
    LOW_STATE,
    CommandCodec,
    LowCommand,
    StateCodec,
    c_layout,
    cdr_layout,
    crc32_words,
    damping_command,
)
from legged_gym_ext.deploy.go2.remote import RateLimit, Remote, decode, encode, stick_command

RANGES = {"lin_vel_x": (-0.5, 2.0), "lin_vel_y": (-0.4, 0.6), "ang_vel_yaw": (-1.0, 3.0)}


def bitwise_crc(words):
    """CRC-32/MPEG-2 one bit at a time, as the definition has it."""
    crc = 0xFFFFFFFF
    for word in words:
        for bit in range(31, -1, -1):
            feedback = (crc >> 31) ^ (word >> bit & 1)
            crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if feedback else 0)
    return crc


def make_command(seed=0):
    rng = np.random.default_rng(seed)
    return LowCommand(*(rng.normal(size=12).astype(np.float32) for _ in range(5)))


def test_offsets_of_a_command_in_cdr():
    # head 2 + flag 1 + reserve 1 + sn 8 + version 8 + bandwidth 2 = 22: mode at 22, floats from 24; a motor is 1 + 3 +
    # 20 + 12 = 36
    offsets, length = cdr_layout(LOW_CMD)
    assert offsets["motor_cmd[0].mode"] == 22
    assert offsets["motor_cmd[0].q"] == 24
    assert offsets["motor_cmd[1].mode"] == 56
    assert offsets["motor_cmd[11].kd"] == 24 + 11 * 36 + 16
    # motors end at 22 + 34 + 19 * 36 = 740; bms 4, remote 40, led 12, fan 2, gpio 1 = 799; padded to 800: reserve, crc
    assert offsets["bms_cmd.off"] == 740
    assert offsets["gpio"] == 798
    assert offsets["crc"] == 804
    assert length == 808


def test_offsets_of_a_command_in_c():
    # A motor is aligned to 4, so the first starts at 24: 24 + 20 * 36 = 744; 4 + 40 + 12 + 2 + 1 = 803, padded to 804;
    # 2 words: 812
    offsets, length = c_layout(LOW_CMD)
    assert offsets["motor_cmd[0].mode"] == 24
    assert offsets["motor_cmd[0].q"] == 28
    assert offsets["bms_cmd.off"] == 744
    assert offsets["crc"] == 808
    assert length == 812


def test_offsets_of_a_state_in_cdr():
    # imu from 24: 13 floats to 76, temperature 76; motor mode 77, floats from 80, temperature 108, lost 112, reserve
    # 116 to 124: 48 each
    offsets, length = cdr_layout(LOW_STATE)
    assert offsets["imu_state.quaternion"] == 24
    assert offsets["imu_state.gyroscope"] == 40
    assert offsets["motor_state[0].q"] == 80
    assert offsets["motor_state[0].temperature"] == 108
    assert offsets["motor_state[11].dq"] == 80 + 11 * 48 + 4
    # motors end at 124 + 19 * 48 = 1036; bms 4 + 4 + 2 + 2 + 2 + 30 = 44: 1080; feet 16: tick 1096, remote 1100
    assert offsets["bms_state.soc"] == 1039
    assert offsets["tick"] == 1096
    assert offsets["wireless_remote"] == 1100
    assert offsets["power_v"] == 1152
    assert length == 1176


def test_c_structures_are_padded_at_their_end():
    assert c_layout((("a", (("x", "I", 1), ("y", "B", 1)), 2), ("z", "B", 1))) == (
        {"a[0].x": 0, "a[0].y": 4, "a[1].x": 8, "a[1].y": 12, "z": 16},
        20,
    )


def test_the_checksum_is_crc_32_mpeg_2():
    # Published check value of the ASCII digits 1 to 9 is 0376E6E7; here 12 digits, for whole words, against the
    # definition.
    assert bitwise_crc([0x31323334, 0x35363738]) == crc32_words(struct.pack("<2I", 0x31323334, 0x35363738))
    rng = np.random.default_rng(3)
    words = rng.integers(0, 2**32, 202, dtype=np.uint32)
    assert crc32_words(words.astype("<u4").tobytes()) == bitwise_crc([int(word) for word in words])


def test_the_bitwise_definition_has_the_published_check_value():
    # One byte at a time for the nine digits: the definition must not depend on the word size.
    crc = 0xFFFFFFFF
    for byte in b"123456789":
        for bit in range(7, -1, -1):
            feedback = (crc >> 31) ^ (byte >> bit & 1)
            crc = (crc << 1) & 0xFFFFFFFF ^ (0x04C11DB7 if feedback else 0)
    assert crc == 0x0376E6E7


def test_a_command_carries_the_checksum_of_its_c_structure():
    command = make_command()
    data = CommandCodec().write(command)
    c = bytearray(812)
    c[0:3] = b"\xfe\xef\xff"
    for motor in range(20):
        c[24 + 36 * motor] = 1
        values = (
            [getattr(command, name)[motor] for name in ("q", "dq", "tau", "kp", "kd")]
            if motor < 12
            else [2.146e9, 16000.0, 0, 0, 0]
        )
        struct.pack_into("<5f", c, 28 + 36 * motor, *values)
    assert struct.unpack_from("<I", data, 4 + 804)[0] == bitwise_crc(struct.unpack("<202I", c[:808]))


def test_a_command_is_read_as_it_was_written_and_the_codec_keeps_nothing_of_the_one_before():
    codec = CommandCodec()
    codec.write(make_command(1))
    command = make_command(2)
    again, crc = codec.read(codec.write(command))
    for name in ("q", "dq", "tau", "kp", "kd"):
        assert np.array_equal(getattr(again, name), getattr(command, name).astype(np.float64))
    assert crc == CommandCodec().read(CommandCodec().write(command))[1]


def test_damping_brakes_every_motor():
    data = CommandCodec().write(damping_command(12, 3.0))
    for motor in range(12):
        _, dq, tau, kp, kd = struct.unpack_from("<5f", data, 4 + 24 + 36 * motor)
        assert (dq, tau, kp, kd) == (0.0, 0.0, 0.0, 3.0)


@pytest.mark.parametrize("data", [b"", bytes(1179), b"\x00\x00" + bytes(1178)])
def test_what_is_no_state_is_refused(data):
    with pytest.raises(ValueError, match="no LowState_"):
        StateCodec().read(data, 0.0)


def test_commands_are_byte_for_byte_what_the_sdk_sends():
    pytest.importorskip("unitree_sdk2py")
    from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowCmd_
    from unitree_sdk2py.utils.crc import CRC

    command, message = make_command(), unitree_go_msg_dds__LowCmd_()
    message.head, message.level_flag = [0xFE, 0xEF], 0xFF
    for index, motor in enumerate(message.motor_cmd):
        motor.mode, motor.q, motor.dq = 1, 2.146e9, 16000.0
        if index < 12:
            for name in ("q", "dq", "tau", "kp", "kd"):
                setattr(motor, name, float(getattr(command, name)[index]))
    message.crc = CRC().Crc(message)
    assert CommandCodec().write(command) == message.serialize()


def test_states_of_the_sdk_are_read():
    pytest.importorskip("unitree_sdk2py")
    from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowState_

    message = unitree_go_msg_dds__LowState_()
    message.imu_state.quaternion, message.imu_state.gyroscope = [0.5, -0.5, 0.25, 1.0], [1.0, 2.0, 3.0]
    for index, motor in enumerate(message.motor_state):
        motor.q, motor.dq, motor.temperature, motor.lost = 0.5 * index, -index, 30 + index, 100 + index
    message.tick, message.power_v, message.bms_state.soc = 123456, 28.5, 77
    message.wireless_remote = list(range(40))
    state = StateCodec().read(message.serialize(), 7.0)
    assert state.quat.tolist() == [0.5, -0.5, 0.25, 1.0]
    assert state.ang_vel.tolist() == [1.0, 2.0, 3.0]
    assert state.q.tolist() == [0.5 * index for index in range(12)]
    assert state.dq.tolist() == [-index for index in range(12)]
    assert state.temperature.tolist() == [30 + index for index in range(12)]
    assert state.lost.tolist() == [100 + index for index in range(12)]
    assert (state.tick, state.voltage, state.battery, state.received) == (123456, 28.5, 77, 7.0)
    assert state.remote == bytes(range(40))


def test_the_remote_of_hand_made_bytes():
    data = bytearray(40)
    data[2] = 0b00100100  # start is bit 2, L2 bit 5
    data[3] = 0b00000010  # B is bit 9
    struct.pack_into("<f", data, 4, -0.5)  # lx
    struct.pack_into("<f", data, 8, 0.25)  # rx
    struct.pack_into("<f", data, 12, 0.125)  # ry
    struct.pack_into("<f", data, 20, 1.0)  # ly
    remote = decode(bytes(data))
    assert (remote.lx, remote.rx, remote.ry, remote.ly) == (-0.5, 0.25, 0.125, 1.0)
    assert remote.keys == {"start", "L2", "B"}
    assert remote.stop and remote.start and remote.connected


def test_one_of_the_two_stop_keys_does_not_stop():
    for key in ("L2", "B"):
        assert not decode(encode(Remote(keys=frozenset({key}), connected=True))).stop


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.2])
def test_sticks_that_no_remote_sends_count_as_none(value):
    data = bytearray(encode(Remote(connected=True)))
    struct.pack_into("<f", data, 20, value)
    assert not decode(bytes(data)).connected


def test_nothing_but_zeros_is_no_remote():
    assert not decode(bytes(40)).connected
    assert encode(Remote()) == bytes(40)


def test_full_sticks_are_the_ends_of_the_trained_ranges():
    assert stick_command(Remote(ly=1.0, lx=-1.0, rx=-1.0), RANGES) == pytest.approx([2.0, 0.6, 3.0])
    assert stick_command(Remote(ly=-1.0, lx=1.0, rx=1.0), RANGES) == pytest.approx([-0.5, -0.4, -1.0])


def test_sticks_within_the_dead_zone_are_zero_and_begin_at_zero_beyond_it():
    assert not stick_command(Remote(ly=0.05, lx=-0.04, rx=0.03), RANGES).any()
    assert stick_command(Remote(ly=0.525), RANGES)[0] == pytest.approx(1.0)  # (0.525 - 0.05) / 0.95 = 0.5


def test_the_rate_limit_counts_per_second_and_stops_at_the_wanted_value():
    limit = RateLimit((1.0, 1.0, 2.0))
    assert limit.step(np.array([1.0, -1.0, 0.02]), 0.02) == pytest.approx([0.02, -0.02, 0.02])
    assert limit.step(np.zeros(3), 0.01) == pytest.approx([0.01, -0.01, 0.0])
