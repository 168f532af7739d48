"""Peers of a simulated robot over DDS: `python tests/dds_peer.py KIND DOMAIN`; prints what it did as JSON.

crowd: 25 participants, each with a reliable reader of states and a writer of commands, for 10 s.
silent: 10 reliable readers of states that take none, and a writer of commands; prints when it has them.
nonsense: commands, requests of the services and packets in the name of a known writer that nobody should send.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from cyclonedds.core import DDSException, Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration
from unitree_sdk2py.idl.default import unitree_go_msg_dds__LowCmd_
from unitree_sdk2py.idl.unitree_api.msg import dds_ as api
from unitree_sdk2py.idl.unitree_go.msg.dds_ import LowCmd_, LowState_

from legged_gym_ext.deploy.go2.messages import HEADER, CommandCodec, damping_command
from legged_gym_ext.deploy.go2.sdk2 import COMMANDS, STATES, RawBytes, participant

RELIABLE = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(4))
CODEC, MESSAGE = CommandCodec(), unitree_go_msg_dds__LowCmd_()
GOOD = CODEC.write(damping_command(12, 3.0))


def join(domain: int) -> tuple[Any, Any]:
    """A participant's reader of states and writer of commands."""
    member = DomainParticipant(domain)
    topic: Any = Topic(member, STATES, LowState_)
    reader = DataReader(member, topic, RELIABLE)
    topic.data_type = RawBytes
    return reader, DataWriter(member, Topic(member, COMMANDS, LowCmd_))


def send(writer: Any, message: Any, data: bytes) -> bool:
    """Write `data` as the encoding of `message`; False where CycloneDDS refuses to."""
    message.serialize = lambda **_: data
    try:
        writer.write(message)
    except DDSException:
        return False
    return True


def crowd(domain: int) -> dict[str, Any]:
    """Read and command like 25 users; states that the least lucky one got, and commands of all."""
    members = [join(domain) for _ in range(25)]
    states, sent, end = np.zeros(25, int), 0, time.monotonic() + 10.0
    while time.monotonic() < end:
        for index, (reader, writer) in enumerate(members):
            states[index] += len(reader.take(8))
            sent += send(writer, MESSAGE, GOOD)
            time.sleep(0.01)
    return {"least_states": int(states.min()), "sent": sent}


def broken(rng: np.random.Generator) -> bytes:
    """A command that is malformed, not finite, or has a wrong checksum, header or level."""
    kind, damping = rng.integers(6), damping_command(12, 3.0)
    if kind == 0:
        return HEADER + rng.bytes(int(rng.integers(0, 2000)))
    if kind == 1:
        return GOOD[:-4] + rng.bytes(4)
    if kind == 2:
        return GOOD[: int(rng.integers(4, len(GOOD)))]
    if kind == 3:
        return GOOD + bytes(int(rng.integers(4, 50_000)))
    if kind == 4:
        name = str(rng.choice(("q", "dq", "kp", "kd", "tau")))
        getattr(damping, name)[rng.integers(12)] = rng.choice((np.nan, np.inf, -np.inf))
        return CODEC.write(damping)
    data = bytearray(GOOD)
    data[rng.integers(4, 7)] ^= 1 << rng.integers(8)
    return bytes(data)


def packet(writer: Any, sequence: int, data: bytes) -> bytes:
    """An RTPS packet with `data` as a message of `writer`, for all readers of its topic; see DDSI-RTPS 2.5, 9.4."""
    guid = writer.guid.bytes
    head = b"RTPS\x02\x05\x01\x10" + guid[:12]
    body = struct.pack("<HHI", 0, 16, 0) + guid[12:] + struct.pack("<iI", sequence >> 32, sequence & 0xFFFFFFFF) + data
    return head + b"\x15\x05" + struct.pack("<H", len(body)) + body


def nonsense(domain: int) -> dict[str, Any]:
    """Release the motors, send nonsense and five good commands; counts, also of what CycloneDDS refused to send."""
    rng, counts = np.random.default_rng(0), {"commands": 0, "packets": 0, "requests": 0, "refused": 0}
    member = DomainParticipant(domain)
    _, writer = join(domain)
    names = [f"rt/api/{name}/request" for name in ("motion_switcher", "sport")]
    services: Any = [DataWriter(member, Topic(member, name, api.Request_)) for name in names]
    time.sleep(2.0)
    release = api.RequestHeader_(api.RequestIdentity_(1, 1003), api.RequestLease_(0), api.RequestPolicy_(0, False))
    services[0].write(api.Request_(release, "", []))
    time.sleep(1.0)
    for _ in range(400):
        counts["commands" if send(writer, MESSAGE, broken(rng)) else "refused"] += 1
        identity = api.RequestIdentity_(1, int(rng.choice((1001, 1002, 1005, -5))))
        header = api.RequestHeader_(identity, api.RequestLease_(0), api.RequestPolicy_(0, False))
        text = str(rng.choice(("", "{", "x" * 100_000, '{"a":' * 5000)))
        data = bytearray(api.Request_(header, text, []).serialize())
        if rng.random() < 0.5:
            data[rng.integers(4, 40)] = rng.integers(256)
        counts[
            "requests" if send(rng.choice(services), api.Request_(header, text, []), bytes(data)) else "refused"
        ] += 1
        time.sleep(0.004)
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ports = [int(word) for word in sys.argv[3:]]
    for index in range(2000):
        # Whole commands with numbers that are long past, and broken ones with new numbers.
        sequence = int(rng.integers(1, 100)) if index % 4 == 0 else 10_000 + index
        data = GOOD if index % 4 == 0 else broken(rng)
        own.sendto(packet(writer, sequence, data), ("127.0.0.1", int(rng.choice(ports))))
        counts["packets"] += 1
        if index % 4 == 0:
            time.sleep(0.004)
    _, writer = join(domain)
    time.sleep(2.0)
    counts["good"] = sum(send(writer, MESSAGE, GOOD) for _ in range(5))
    time.sleep(1.0)
    return counts


def main() -> None:
    """Do it."""
    kind, domain = sys.argv[1], int(sys.argv[2])
    participant("lo", domain)
    if kind == "silent":
        members = [join(domain) for _ in range(10)]
        time.sleep(2.0)
        print(json.dumps({"sent": send(members[0][1], MESSAGE, GOOD)}), flush=True)
        time.sleep(60.0)
    else:
        print(json.dumps({"crowd": crowd, "nonsense": nonsense}[kind](domain)), flush=True)


if __name__ == "__main__":
    main()
