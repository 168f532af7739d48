"""The program that runs a policy on a Go2: mistakes, check list, and all of it over DDS with the SDK."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from legged_gym_ext.deploy.contract import Term
from legged_gym_ext.deploy.go2 import program, sdk2
from legged_gym_ext.deploy.go2.messages import GO2_MOTORS
from legged_gym_ext.deploy.go2.runtime import Options
from legged_gym_ext.deploy.go2.safety import Limits
from legged_gym_ext.utils.cli import parse
from legged_gym_ext.utils.errors import UserError
from tests.robot_doubles import FakeRobot, make_state
from tests.robot_policies import make_contract, write_policy

ROOT = Path(__file__).resolve().parents[3]
HAS_SDK = find_spec("unitree_sdk2py") is not None


def settings(*argv):
    return program.make_settings(parse(program.make_parser(), list(argv)), make_contract())


@pytest.fixture
def policy(tmp_path):
    return str(write_policy(tmp_path / "policy.onnx"))


def test_a_teacher_is_refused(tmp_path):
    teacher = make_contract(role="teacher")
    path = write_policy(tmp_path / "teacher.onnx", contract=teacher)
    with pytest.raises(UserError, match="is a teacher"):
        program.main(["--policy", str(path), "--interface", "lo"])


def test_the_policy_of_another_robot_is_refused(tmp_path):
    path = write_policy(tmp_path / "a1.onnx", contract=make_contract(robot="a1"))
    with pytest.raises(UserError, match="trained for the robot 'a1'; this program drives a 'go2'"):
        program.main(["--policy", str(path), "--interface", "lo"])


@pytest.mark.parametrize("order", [(), GO2_MOTORS[3:] + GO2_MOTORS[:3]])
def test_another_order_of_motors_is_refused(tmp_path, order):
    path = write_policy(tmp_path / "order.onnx", contract=make_contract(sdk_joint_order=order))
    with pytest.raises(UserError, match="a Go2's motors are FR_hip_joint"):
        program.main(["--policy", str(path), "--interface", "lo"])


def test_an_observation_that_no_sensor_measures_is_refused(tmp_path):
    terms = (Term("base_lin_vel", 0, 3, (1.0,) * 3),)
    path = write_policy(tmp_path / "lin.onnx", contract=make_contract(observations={"obs": terms}))
    with pytest.raises(UserError, match="'base_lin_vel'"):
        program.main(["--policy", str(path), "--interface", "lo"])


def test_a_missing_sdk_is_one_line_that_says_how_to_install_it(policy, monkeypatch):
    monkeypatch.setattr(sdk2, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package 'unitree_sdk2py'.*pip install") as error:
        program.main(["--policy", policy, "--interface", "lo"])
    assert "\n" not in str(error.value)


def test_a_wrong_interface_is_one_line_with_those_there_are(policy, monkeypatch):
    monkeypatch.setattr(program, "check_sdk", lambda: None)
    with pytest.raises(UserError, match=r"no network interface 'lol'; did you mean lo\?; this computer has .*lo"):
        program.main(["--policy", policy, "--interface", "lol"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="binds to a device of Linux")
def test_on_the_loopback_datagram_sockets_are_closed_to_the_network(tmp_path):
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
        (tmp_path / "file").open("wb"),
    ):
        before = len(os.listdir("/proc/self/fd"))
        sdk2._close_to_others()
        assert len(os.listdir("/proc/self/fd")) == before
        assert datagrams.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"lo\0"
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b""


def test_no_robot_is_one_line(monkeypatch):
    robot = FakeRobot()
    robot.state = None
    with pytest.raises(UserError, match=r"no robot answers on interface 'eth0' \(domain 0\) within 0.05 s"):
        program.first_state(robot, 0.05, "eth0", 0)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--command=1,2"], "expected three numbers"),
        (["--command=a,b,c"], "expected three numbers"),
        (["--command=nan,0,0"], "expected three numbers"),
        (["--command=1.5,0,0"], "lin_vel_x was trained from -1 to 1"),
        (["--command=0,-0.6,0"], "lin_vel_y was trained from -0.5 to 0.5"),
        (["--no_remote"], "--no_remote needs --command"),
        (["--max_tilt=170"], "expected 5 to 90"),
        (["--max_temperature=nan"], "expected 30 to 100"),
        (["--stale_ms=0"], "expected 5 to 1000"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(argv, message):
    with pytest.raises(UserError, match=message):
        settings(*argv)


def test_flags_reach_options_and_limits():
    options, limits = settings("--command=0.5,-0.25,1", "--max_tilt=45", "--stale_ms=25", "--no_remote")
    assert options.command == (0.5, -0.25, 1.0)
    assert not options.remote
    assert limits.tilt == pytest.approx(np.pi / 4)
    assert limits.state_age == 0.025


def test_the_check_list_shows_each_motor_beside_its_joint():
    state = make_state(q=np.arange(12) / 10 - 0.5)
    state.q[[2, 5, 8, 11]] = -1.5
    lines = program.check_list(make_contract(), state, 500.0, Options(), Limits())
    row = next(line for line in lines if "RR_thigh_joint" in line)
    # RR thigh is motor 7: 0.7 - 0.5; its default is 1.0
    assert row.split()[:4] == ["7", "RR_thigh_joint", "0.200", "1.000"]


@pytest.mark.parametrize(
    ("changes", "rate", "message"),
    [
        ({"quat": np.full(4, np.nan)}, 500.0, "cannot be driven"),
        ({"temperature": np.full(12, 90.0)}, 500.0, "90 degrees"),
        ({}, 45.0, "come at 45 Hz"),
        ({"remote": bytes(40)}, 500.0, "no wireless remote"),
    ],
)
def test_what_must_not_be_is_refused_before_anything_is_sent(changes, rate, message):
    with pytest.raises(UserError, match=message):
        program.check_list(make_contract(), make_state(**changes), rate, Options(), Limits())


@pytest.mark.parametrize("answer", ["no\n", "\n", ""])
def test_anything_but_yes_sends_nothing(answer, monkeypatch, capsys):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    with pytest.raises(UserError):
        program.confirm(parse(program.make_parser(), []))


def start(*words):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def read_until(process, text):
    """Lines up to the one with `text`; fails when the program ends without it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.skipif(not HAS_SDK, reason="needs unitree_sdk2py")
def test_the_whole_chain_over_dds_releases_the_service_stands_walks_and_damps(policy, tmp_path):
    domain, report = str(100 + os.getpid() % 100), tmp_path / "report.json"
    robot = start("legged_gym_ext.deploy.simulated_go2", f"--domain={domain}")
    read_until(robot, "ready")
    # The limits are wide because machines that run tests are busy; what is tested here is the chain, not its speed.
    words = [
        "--interface=lo",
        f"--domain={domain}",
        "--yes",
        "--stale_ms=1000",
        "--policy_ms=1000",
        f"--report={report}",
    ]
    program = start("legged_gym_ext.deploy.go2", f"--policy={policy}", *words)
    try:
        read_until(program, "standing; press START")
        robot.stdin.write("start\n")
        robot.stdin.flush()
        read_until(program, "the policy runs")
        robot.stdin.write("status\nstop\n")
        robot.stdin.flush()
        status = json.loads(read_until(robot, '"status"')[-1])
        read_until(program, "DAMPING (operator): stop keys")
        read_until(robot, '"damping"')
        assert program.wait(60) == 0
        assert status["service"] == ""
        assert status["crc_errors"] == 0
        assert status["position"][2] > 0.25
        assert json.loads(report.read_text(encoding="utf-8"))["stopped_by"]["name"] == "operator"
    finally:
        for process in (program, robot):
            process.kill()
            process.communicate()
