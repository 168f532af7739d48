"""Messages of a robot and to a simulated one: malformed, huge, late, and signed nonsense."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, places
from tests.fuzz.worker import Outcome, Worker

NUMBERS = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e-40, 40.0]).map(lambda x: struct.pack("<f", x))
numbers = st.lists(st.tuples(st.just("write"), places.map(lambda place: place // 4 * 4), NUMBERS), max_size=6)
edits = st.one_of(st.just([]), byte_edits, numbers, numbers)
raw = st.one_of(st.binary(max_size=2000), st.just(b"\x00\x01\x00\x00" * 100_000), st.just(b""))
lines = st.one_of(
    st.text(max_size=40),
    st.builds("sticks {} {} {}".format, *[st.floats() | st.text(max_size=5) | st.integers()] * 3),
    st.sampled_from(["start", "stop", "release", "fault nan", "fault x", "fault", "status", "sticks 1e39 0 0"]),
)
events = st.one_of(
    st.tuples(st.just("line"), lines),
    st.tuples(st.sampled_from(["command", "signed", "signed"]), edits),
    st.tuples(st.just("bytes"), raw),
    st.tuples(st.just("notice"), st.none() | st.integers() | st.text(max_size=3)),
)
pauses = st.sampled_from([0.0, 0.002, 0.002, 0.002, 0.01, 0.05, 0.3, 1e9, -1.0])
targets = st.one_of(
    st.none(),
    st.lists(st.floats(-3, 3), min_size=12, max_size=12).map(np.array),
    st.lists(st.floats(), min_size=12, max_size=12).map(np.array),
    st.lists(st.floats(), max_size=14).map(np.array),
    st.just("text"),
)
happenings = st.one_of(
    st.tuples(st.just("state"), pauses, st.just([])),
    st.tuples(st.just("state"), pauses, edits),
    st.tuples(st.just("bytes"), pauses, raw),
    st.tuples(st.just("answer"), pauses, targets),
)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker("messages")
    yield worker
    worker.close()


def test_whole_messages_are_taken(worker):
    assert worker.call("obey", [("command", []), ("line", "start"), ("signed", [])] * 3) == Outcome("ran")
    assert worker.call("drive", [("state", 0.002, [])] * 9) == Outcome("ran")


@given(events=st.lists(events, min_size=1, max_size=12))
@fuzz(0.4)
def test_the_simulated_robot_goes_on(worker, events):
    worker.check("obey", events)


@given(happenings=st.lists(happenings, min_size=1, max_size=25))
@fuzz(0.4)
def test_the_robots_loop_sends_a_safe_command_in_each_pass(worker, happenings):
    worker.check("drive", happenings)


@given(data=st.one_of(st.binary(max_size=60), st.binary(min_size=40, max_size=40)))
@fuzz(0.2)
def test_bytes_of_a_remote_are_a_command_in_range(worker, data):
    worker.check("steer", data)
