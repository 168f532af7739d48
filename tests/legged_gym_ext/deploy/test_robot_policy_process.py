"""The policy's process: answers, errors, and who damps the robot when one of the two processes dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from legged_gym_ext.deploy.controller import Reading
from legged_gym_ext.deploy.go2.policy_process import Guard, PolicyProcess
from legged_gym_ext.utils.errors import UserError
from tests.policy_files import DEFAULT
from tests.robot_policies import write_policy

READING = Reading(np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3), np.asarray(DEFAULT), np.zeros(12))
SLOW, FAST = np.array([0.4, 0.0, 0.0]), np.array([0.6, 0.0, 0.0])


class FileRobot:
    """Appends (kp, kd) of motor 0 to a file at each write."""

    def __init__(self, path):
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115

    def write(self, command):
        self._file.write(struct.pack("<2d", command.kp[0], command.kd[0]))


def written(path):
    data = path.read_bytes() if path.exists() else b""
    return [struct.unpack_from("<2d", data, at) for at in range(0, len(data) - 15, 16)]


def wait_for(condition, seconds=60.0):
    """Wait until `condition()`; a slow machine waits longer, a broken program fails."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def ask(process, command, run=True):
    process.ask(READING, command, run)
    answers = []
    wait_for(lambda: (answer := process.answer()) is not None and answers.append(answer) is None)
    return answers[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    return {kind: write_policy(folder / f"{kind}.onnx", kind) for kind in ("hold", "nan")}


def test_it_answers_with_the_policys_targets_and_says_when_they_are_not_finite(files):
    with PolicyProcess(files["nan"], None, Guard()) as process:
        assert ask(process, FAST, run=False).targets is None
        assert ask(process, SLOW).targets == pytest.approx(DEFAULT)
        answer = ask(process, FAST)
        assert answer.targets is None
        assert "not finite" in answer.error
        assert ask(process, SLOW).targets == pytest.approx(DEFAULT)


def test_a_killed_process_answers_with_an_error(files):
    with PolicyProcess(files["hold"], None, Guard()) as process:
        ask(process, SLOW)
        os.kill(process.pid, signal.SIGKILL)
        answers = []
        wait_for(lambda: (answer := process.answer()) is not None and answers.append(answer) is None)
        assert "ended" in answers[0].error
        process.ask(READING, SLOW, True)  # must not raise


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "bad.onnx").write_text("no model", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read as an ONNX model"):
        PolicyProcess(tmp_path / "bad.onnx", None, Guard())


def test_it_damps_the_robot_when_it_is_no_longer_asked(files, tmp_path):
    log = tmp_path / "sent"
    guard = Guard(silence=0.05, damping_time=0.2, damping_kd=2.5)
    process = PolicyProcess(files["hold"], partial(FileRobot, log), guard)
    ask(process, SLOW)
    wait_for(lambda: len(written(log)) > 10)
    assert set(written(log)) == {(0.0, 2.5)}
    process.close()


def test_it_sends_nothing_before_the_first_question_nor_after_an_orderly_end(files, tmp_path):
    log = tmp_path / "sent"
    process = PolicyProcess(files["hold"], partial(FileRobot, log), Guard(silence=0.05))
    time.sleep(0.3)
    process.close()
    assert written(log) == []
    process = PolicyProcess(files["hold"], partial(FileRobot, log), Guard(silence=60.0))
    ask(process, SLOW)
    process.close()
    assert written(log) == []


def drive(policy, log, ready):
    """A robot's process that asks for ever."""
    process = PolicyProcess(policy, partial(FileRobot, log), Guard(silence=60.0, damping_time=0.2))
    ask(process, SLOW)
    ready.set()
    while True:
        ask(process, SLOW)
        time.sleep(0.01)


def test_it_damps_the_robot_when_the_robots_process_is_killed(files, tmp_path):
    log = tmp_path / "sent"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    parent = context.Process(target=drive, args=(Path(files["hold"]), log, ready))
    parent.start()
    assert ready.wait(60)
    assert written(log) == []
    os.kill(parent.pid, signal.SIGKILL)
    wait_for(lambda: len(written(log)) > 10)  # long before the 60 s of silence: the closed pipe is enough
    assert set(written(log)) == {(0.0, 3.0)}
    parent.join()
