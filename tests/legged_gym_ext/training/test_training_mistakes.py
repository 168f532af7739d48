"""Mistakes that show before the first iteration is done are one line; missing git and lost readers are none at all."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from legged_gym_ext.scripts import train
from legged_gym_ext.training import logger
from legged_gym_ext.training import runner as runners
from legged_gym_ext.training.output import tolerate_broken_stdout
from legged_gym_ext.training.runs import checkpoints
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import at_iteration, newest, start

ROOT = Path(__file__).resolve().parents[3]

# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "flags", "message"),
    [
        (
            "go2_flat",
            ("--num_envs=1", "--train.runner.num_steps_per_env=1", "--train.algorithm.num_mini_batches=1"),
            "one sample",
        ),
        ("go2_cts_flat", ("--num_envs=1", "--train.runner.eval_interval=0"), "needs at least 2 environments"),
        ("go2_flat", ("--train.actor.activation=elo",), "elo"),
        ("go2_flat", ("--train.algorithm.learning_rate=-1",), "learning rate"),
        ("go2_ts_flat", ("--train.actor.distribution_cfg.std_type=foo",), "foo"),
    ],
)
def test_a_mistake_that_shows_in_the_first_iteration_or_before_is_one_line_and_leaves_nothing(
    tmp_path, task, flags, message
):
    with pytest.raises(UserError) as error:
        train.main([*start(tmp_path / "logs", "--max_iterations=2", task=task), *flags])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "logs").exists()


def test_any_error_of_the_first_iteration_is_one_line_and_a_later_one_keeps_its_traceback(tmp_path, monkeypatch):
    def fail() -> None:
        raise RuntimeError("out of memory")

    for iteration, expected in ((0, UserError), (1, RuntimeError)):
        with monkeypatch.context() as patch:
            at_iteration(patch, iteration, fail)
            with pytest.raises(expected, match="out of memory"):
                train.main(start(tmp_path, "--max_iterations=3"))
    assert [list(checkpoints(run)) for run in (tmp_path / "go2_flat").iterdir()] == [[0]]  # of the second one


def test_an_environment_that_cannot_be_built_is_one_line(monkeypatch):
    from legged_gym_ext.envs import task_registry

    env_cfg, _ = task_registry.get_cfgs("go2_flat")
    del env_cfg.control.decimation
    with pytest.raises(
        UserError, match=r"task 'go2_flat': the environment cannot be built: AttributeError: .*decimation"
    ):
        task_registry.make_env("go2_flat", env_cfg)


@pytest.mark.parametrize("asked", [True, False])
def test_the_traceback_behind_an_error_is_there_for_who_asks(asked):
    program = (
        "from legged_gym_ext.utils.errors import run_main, user_errors\n"
        "def main(argv):\n"
        "    with user_errors('it cannot start'):\n"
        "        {}['nothing']\n"
        "run_main(main)"
    )
    environment = {**os.environ, **({"LEGGED_GYM_TRACEBACK": "1"} if asked else {})}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1]
        == "error: it cannot start: KeyError: 'nothing' (LEGGED_GYM_TRACEBACK=1 shows where)"
    )
    assert ("KeyError: 'nothing'" in done.stderr.splitlines()[:-1]) == asked


# -- machines and readers ----------------------------------------------------------------------------------------------


def test_a_machine_without_git_trains_and_says_what_is_not_recorded(tmp_path):
    flags = [word for word in start(tmp_path / "logs", "--max_iterations=1") if "--logger" not in word]
    program = "from legged_gym_ext.scripts import train; train.main(__import__('sys').argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert ("there is no git on this machine" in done.stdout) == (ROOT / ".git").exists()
    assert list(checkpoints(newest(tmp_path / "logs"))) == [0]


def test_a_repository_that_git_refuses_trains_and_leaves_no_empty_file(tmp_path, monkeypatch, capsys):
    from rsl_rl.utils.logger import Logger

    def refused(self: Any) -> list[str]:
        (Path(self.log_dir) / "git").mkdir()
        (Path(self.log_dir) / "git" / "x.diff").touch()
        raise RuntimeError("fatal: detected dubious ownership")

    monkeypatch.setattr(Logger, "_store_code_state", refused)
    monkeypatch.setattr(logger.shutil, "which", lambda name: "/usr/bin/git")
    before = runners.TrainRunner.learn

    def learn(self: Any, *args: Any, **kwargs: Any) -> None:
        self.logger.git_status_repos = ["setup.py"]
        before(self, *args, **kwargs)

    monkeypatch.setattr(runners.TrainRunner, "learn", learn)
    train.main(start(tmp_path, "--max_iterations=1"))
    assert "git says fatal: detected dubious ownership" in capsys.readouterr().out
    assert list((newest(tmp_path) / "git").iterdir()) == []


def test_a_training_outlives_the_reader_of_its_output_and_says_so_once(tmp_path):
    program = (
        "from legged_gym_ext.scripts import train\n"
        "from legged_gym_ext.utils.errors import run_main\n"
        "run_main(train.main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *start(tmp_path, "--max_iterations=2")],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()  # head -1
    assert process.stderr.read() == "note: standard output can no longer be written; the training goes on without it\n"
    assert process.wait(timeout=300) == 0
    assert list(checkpoints(newest(tmp_path))) == [0, 1]


def test_a_full_disk_behind_standard_output_loses_lines_until_there_is_room(monkeypatch, capsys):
    class Full:
        def __init__(self) -> None:
            self.lines: list[str] = []
            self.full = True

        def write(self, text: str) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "full")
            self.lines.append(text)

    stream = Full()
    monkeypatch.setattr(sys, "stdout", stream)
    with tolerate_broken_stdout("it"):
        print("lost")
        stream.full = False
        print("kept", end="")
    assert "".join(stream.lines) == "kept"
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("number", "shown"), [(1, "1 environment "), (2, "2 environments ")])
def test_one_environment_is_not_several(tmp_path, capsys, number, shown):
    train.main([*start(tmp_path, "--max_iterations=0"), f"--num_envs={number}"])
    assert f"training go2_flat: {shown}" in capsys.readouterr().out


def test_the_file_of_an_evaluation_is_there_before_anybody_reads_the_table(tmp_path, monkeypatch):
    from legged_gym_ext.scripts import evaluate
    from legged_gym_ext.training import policies

    def gone(*printed: Any) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(policies, "run_cfgs", lambda *args: (None, None, None))
    figures = {"checkpoint": "model_1.pt", "policies": {"policy": {"return": 1.0}}}
    monkeypatch.setattr(evaluate, "evaluate", lambda *args: figures)
    monkeypatch.setattr(evaluate, "_show", gone)
    with pytest.raises(BrokenPipeError):
        evaluate.main(["--task=go2_flat", f"--json={tmp_path / 'result.json'}"])
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == figures
