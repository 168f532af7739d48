"""The runtime and a simulated Go2, step by step without a clock: it stands up, holds, and sinks when damped."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from legged_gym_ext.deploy.go2.messages import GO2_MOTORS, LowCommand, damping_command
from legged_gym_ext.deploy.go2.runtime import Options, Runtime
from legged_gym_ext.deploy.sim2sim.servo import ServoRobot
from legged_gym_ext.deploy.simulated_go2.program import LYING
from tests.robot_doubles import FakeLink, is_damping, make_state
from tests.robot_policies import make_contract

FILE = "{ROOT}/resources/robots/go2/go2.xml"


class SteppedRobot:
    """A simulated robot that steps 2 ms at each command."""

    def __init__(self):
        self.robot = ServoRobot(FILE, GO2_MOTORS, (23.7, 23.7, 45.43) * 4, (30.1, 30.1, 15.7) * 4)
        self.robot.place(0.12, LYING)
        self.robot.step(damping_command(12, 3.0), 1.0)
        self.now, self.sent = 0.0, []

    def read(self):
        return make_state(self.now, quat=self.robot.quat, ang_vel=self.robot.ang_vel, q=self.robot.q, dq=self.robot.dq)

    def write(self, command):
        self.sent.append(command)
        self.robot.step(command, 0.002)


@pytest.fixture(scope="module")
def story():
    """Heights, tilts and speeds: lying, standing, holding the default pose with the policy's gains, damped."""
    robot, link = SteppedRobot(), FakeLink()
    runtime = Runtime(
        make_contract(),
        robot,
        link,
        robot.read(),
        Options(remote=False, command=(0.0, 0.0, 0.0)),
        log=lambda line: None,
    )
    found = {}

    def run(name, seconds):
        fastest = 0.0
        for _ in range(round(seconds / 0.002)):
            robot.now += 0.002
            runtime.tick(robot.now)
            fastest = max(fastest, float(np.abs(robot.robot.dq).max()))
        found[name] = (runtime.phase, robot.robot.position[2], 2 * np.arccos(abs(robot.robot.quat[0])), fastest)

    found["lying"] = ("", robot.robot.position[2], 0.0, 0.0)
    run("standing", 4.5)
    runtime.request_start()
    run("walking", 2.0)
    runtime.stop("operator", "test")
    run("damped", 2.0)
    assert runtime.supervisor.fault.name == "operator"
    assert is_damping(robot.sent[-1])
    return found


def test_it_stands_up_level_without_haste(story):
    phase, height, tilt, fastest = story["standing"]
    assert phase == "wait"
    assert story["lying"][1] < 0.1
    assert 0.27 < height < 0.34  # 0.32 without sag
    assert tilt < 0.05
    assert fastest < 4.0


def test_it_goes_on_standing_with_the_policys_gains(story):
    phase, height, tilt, _ = story["walking"]
    assert phase == "run"
    assert height > 0.22
    assert tilt < 0.1


def test_damping_lets_it_sink_slowly(story):
    phase, height, _, fastest = story["damped"]
    assert phase == "damping"
    assert height < 0.2
    assert fastest < 8.0


def test_the_motors_follow_the_low_levels_law_within_their_limits():
    robot = ServoRobot(FILE, GO2_MOTORS, (23.7,) * 12, (30.1,) * 12)
    robot.place(1.0, LYING)
    zero = np.zeros(12)
    command = LowCommand(np.asarray(LYING) + 0.1, zero, zero + 0.5, zero + 20.0, zero)
    robot.step(command, 0.001)
    assert robot.data.qfrc_applied[robot._dof] == pytest.approx(np.full(12, 2.5))  # 20 * 0.1 + 0.5
    robot.place(1.0, LYING)
    robot.step(LowCommand(np.asarray(LYING) + 5.0, zero, zero, zero + 20.0, zero), 0.001)
    assert robot.data.qfrc_applied[robot._dof] == pytest.approx(np.full(12, 23.7))
