"""A training that is asked to end does so after an iteration, with a checkpoint that resumes exactly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.scripts import train
from legged_gym_ext.training import stopping
from legged_gym_ext.training.runs import checkpoints
from legged_gym_ext.training.stopping import GracefulStop
from legged_gym_ext.utils.errors import Terminated
from tests.small_trainings import at_iteration, newest, resume, start

ROOT = Path(__file__).resolve().parents[3]


def send(number: int) -> Any:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_ends_after_the_iteration_with_a_checkpoint_that_resumes_exactly(
    tmp_path, monkeypatch, capsys, number, raised
):
    monkeypatch.setattr(stopping, "GRACE_PERIOD", 600.0)  # an iteration may take long on a busy machine
    whole = tmp_path / "whole"
    train.main(start(whole, "--max_iterations=5"))
    with monkeypatch.context() as patch:
        at_iteration(patch, 2, send(number))
        with pytest.raises(raised):
            train.main(start(tmp_path, "--max_iterations=5"))
    first = newest(tmp_path)
    assert list(checkpoints(first)) == [0, 2]  # the iteration in which the signal came was finished
    assert f"saved {first / 'model_2.pt'}" in capsys.readouterr().out
    train.main(resume(tmp_path))
    ours, theirs = (torch.load(newest(root) / "model_4.pt", weights_only=True) for root in (tmp_path, whole))
    for part in ("actor_state_dict", "critic_state_dict"):
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())


def test_a_training_that_a_script_put_into_the_background_hears_ctrl_c(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell hands down
    try:
        at_iteration(monkeypatch, 1, send(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            train.main(start(tmp_path, "--max_iterations=5"))
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN  # and it is given back
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(checkpoints(newest(tmp_path))) == [0, 1]


def test_a_signal_before_the_first_iteration_is_done_leaves_no_folder(tmp_path, monkeypatch):
    def twice() -> None:  # at once, not after the iteration
        monkeypatch.setattr(stopping, "REPEAT_INTERVAL", -1.0)
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    at_iteration(monkeypatch, 0, twice)
    with pytest.raises(KeyboardInterrupt):
        train.main(start(tmp_path / "logs", "--max_iterations=5"))
    assert not (tmp_path / "logs").exists()


def test_a_second_request_ends_at_once_and_a_signal_that_arrives_twice_is_one(monkeypatch):
    with GracefulStop() as stop:
        stop.defer()
        send(signal.SIGINT)()
        send(signal.SIGINT)()
        assert isinstance(stop.request, KeyboardInterrupt)
        monkeypatch.setattr(stopping, "REPEAT_INTERVAL", -1.0)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)()


def test_before_training_a_signal_is_an_exception_at_once_and_saving_is_not_interrupted():
    with GracefulStop() as stop:
        with pytest.raises(Terminated) as ended:
            send(signal.SIGTERM)()
        assert ended.value.exit_code == 143
        stop.begin_saving()
        send(signal.SIGTERM)()


def test_an_iteration_that_takes_longer_than_a_scheduler_waits_is_interrupted(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE_PERIOD", 0.05)
    with GracefulStop() as stop:
        stop.defer()
        send(signal.SIGTERM)()
        with pytest.raises(Terminated):
            time.sleep(30.0)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_nohup_stays_what_it_is():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop() as stop:
            stop.defer()
            send(signal.SIGHUP)()
            assert stop.request is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_a_thread_where_signals_cannot_be_heard_training_works_all_the_same():
    seen: list[Any] = []

    def enter() -> None:
        with GracefulStop() as stop:
            seen.append(stop.request)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]


@pytest.mark.slow
def test_under_torchrun_sigterm_ends_all_processes_with_a_checkpoint(tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = str(ROOT / "legged_gym_ext/scripts/train.py")
    process = subprocess.Popen(
        [sys.executable, *launch, script, *start(tmp_path, "--max_iterations=100000")],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("it 2/"):
            process.send_signal(signal.SIGTERM)
            break
    rest = process.stdout.read()
    process.wait(timeout=60)
    last = list(checkpoints(newest(tmp_path)))[-1]
    assert last >= 1 and f"model_{last}.pt\n" in rest, rest
    assert rest.count("terminated") == 2, rest  # both processes ended by themselves
