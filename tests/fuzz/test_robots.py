"""MJCF files of a robot with edited elements, and with flipped bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, places
from tests.fuzz.worker import Outcome, Worker

WORDS = """name class childclass type size pos quat axis range mass diaginertia inertia fromto mesh file limited
armature damping frictionloss stiffness ref springref margin gap solref solimp condim contype conaffinity priority
group friction euler gravcomp mocap density body joint freejoint geom site inertial default option compiler include
mujoco worldbody plugin tendon equality replicate frame attach composite flexcomp numeric actuator sensor timestep
count offset sep prefix meshdir autolimits integrator memory njmax nstack"""
SINGLE = """0 1 -1 1e308 -1e308 1e-320 nan inf -inf 0,0,0 FL_hip_joint base world free ball slide hinge plane hfield
mesh sphere box ellipsoid sdf true auto robot.xml policy.onnx ../x 2147483648 99999999999999999999 100000 0x1 1e5"""
SEVERAL = ["", "0 0 0", "1 0 0 0", "0 0 0 0 0 0 0", "nan nan nan", "1e300 1e300 1e300"]
NAMES = st.sampled_from(WORDS.split())
VALUES = st.one_of(
    st.sampled_from(SINGLE.split()),
    st.sampled_from(SEVERAL),
    st.lists(st.floats(-2, 2).map(repr), min_size=1, max_size=4).map(" ".join),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12),
)
ACTIONS = st.sampled_from(("change", "change", "change", "remove", "delete", "double", "move", "rename", "set"))
element_edits = st.lists(st.tuples(ACTIONS, places, NAMES, VALUES), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker("robots")
    yield worker
    worker.close()


@pytest.mark.parametrize("target", ["simulate", "simulate_damaged", "train"])
def test_the_whole_file_runs(worker, target):
    assert worker.call(target, []) == Outcome("ran")


@given(edits=element_edits)
@fuzz(0.6)
def test_an_edited_robot_is_simulated_or_refused_in_one_line(worker, edits):
    worker.check("simulate", edits)


@given(edits=byte_edits)
@fuzz(0.3)
def test_a_damaged_file_is_simulated_or_refused_in_one_line(worker, edits):
    worker.check("simulate_damaged", edits)


@given(edits=element_edits)
@fuzz(0.1)
def test_an_edited_robot_is_trained_or_refused_in_one_line(worker, edits):
    worker.check("train", edits)
