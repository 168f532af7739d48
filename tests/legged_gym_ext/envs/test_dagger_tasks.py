"""The tasks `..._dagger`: a teacher of any method by one flag, watched beside its student, killed and resumed."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext import user_tasks
from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import evaluate, train
from legged_gym_ext.utils.errors import UserError
from rsl_rl_ult.storage.aggregate import ROUND
from tests.legged_gym_ext.training.test_training import build
from tests.small_trainings import newest, resume, start

TASK = "go2_dagger_flat"
TEACHERS = ("go2_ts_flat", "go2_cts_flat", "go2_ult_flat")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> Path:
    """Log folder with a run of one iteration of every kind of teacher of ours."""
    root = tmp_path_factory.mktemp("teachers")
    for task in TEACHERS:
        train.main(start(root, "--max_iterations=1", task=task))
    return root


def dagger(root: Path, teacher: str | Path, *flags: str, task: str = TASK) -> list[str]:
    """Flags of a small training; `SMALL` names minibatches, which DAgger does not have."""
    flags = (f"--teacher={teacher}", "--train.algorithm.batch_size=16", "--train.algorithm.updates_per_round=2", *flags)
    return [flag for flag in start(root, *flags, task=task) if "num_mini_batches" not in flag]


@pytest.mark.parametrize("source", TEACHERS)
def test_a_teacher_of_any_method_is_followed_watched_and_evaluated(teachers, tmp_path, capsys, source):
    watch = ("--train.runner.eval_interval=1", "--train.runner.eval_envs=4", "--max_iterations=2")
    train.main(dagger(tmp_path, newest(teachers, source), *watch))
    out = capsys.readouterr().out
    assert f"teacher: {newest(teachers, source) / 'model_0.pt'}, frozen" in out
    assert re.search(
        r"rsl_rl_ult: the teacher \(PPO_\w+\) took 1\.6e-05 M steps; the aggregate takes .* 16 labels", out
    )
    assert len(re.findall(r"return teacher/student -?\d+\.\d\d/-?\d+\.\d\d", out)) == 2
    run = newest(tmp_path, TASK)
    assert {path.name for path in (run / "aggregate").iterdir()} == {ROUND.format(0), ROUND.format(1)}
    folder = teachers / source
    folder.rename(tmp_path / "away")  # a checkpoint has its teacher in it
    evaluate.main([f"--task={TASK}", f"--log_root={tmp_path}", "--num_envs=4", "--env.env.episode_length_s=0.2"])
    (tmp_path / "away").rename(folder)
    assert re.search(r"teacher +student", capsys.readouterr().out)


@pytest.fixture
def own_registrations(monkeypatch) -> None:
    """What a test registers and imports is forgotten after it."""
    for name in ("_tasks", "_robots", "_methods", "_grounds"):
        monkeypatch.setattr(task_registry, name, copy.copy(getattr(task_registry, name)))
    monkeypatch.setattr(user_tasks, "imported", dict(user_tasks.imported))


@pytest.mark.usefixtures("own_registrations")
def test_a_student_of_ult_learns_from_a_teacher_of_ts(teachers, tmp_path):
    cfg = tmp_path / "ult_student.py"
    cfg.write_text(
        "from legged_gym_ext.envs import task_registry\n"
        "from legged_gym_ext.envs.methods import DAggerCfg, ULTCfg\n"
        "from legged_gym_ext.task_registry import Method\n"
        "class Cfg(DAggerCfg):\n    actor = None\n"
        "class DAggerULTCfg(Cfg):\n    class actor(ULTCfg.actor):\n        activation = 'elu'\n"
        "        obs_normalization = True\n        class distribution_cfg:\n"
        "            class_name = 'GaussianDistribution'\n            init_std = 1.0\n            std_type = 'scalar'\n"
        "task_registry.register_method(Method('dagger_u', DAggerULTCfg))\n",
        encoding="utf-8",
    )
    flags = dagger(tmp_path / "logs", newest(teachers, "go2_ts_flat"), "--max_iterations=2", task="go2_dagger_u_flat")
    train.main([f"--import={cfg}", *flags])
    run = newest(tmp_path / "logs", "go2_dagger_u_flat")
    saved = torch.load(run / "model_1.pt", weights_only=True)
    assert saved["teacher"]["method"] == "PPO_TS"
    assert "frame_tokenizer.0.weight" in saved["network_state_dict"]


def weights(runner: Any) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in runner.alg.network.state_dict().values()])


@pytest.mark.parametrize("keep", ["all", "window", "none"])
def test_killed_between_two_rounds_it_equals_one_that_was_never_stopped(teachers, tmp_path, keep, monkeypatch):
    original = task_registry.get_cfgs

    def cfgs(name: str) -> Any:
        env_cfg, train_cfg = original(name)
        options = {"aggregate": keep, "window_rollouts": 2, "updates_per_round": 3, "batch_size": 64, "beta_rounds": 4}
        for option, value in options.items():
            setattr(train_cfg.algorithm, option, value)
        return env_cfg, train_cfg

    monkeypatch.setattr(task_registry, "get_cfgs", cfgs)
    options = {"eval_interval": 0, "teacher": str(newest(teachers, "go2_ult_flat"))}
    whole = build(tmp_path / "whole", TASK, **options)
    whole.learn(5, init_at_random_ep_len=True)
    first = build(tmp_path / "parts", TASK, **options)
    first.learn(2, init_at_random_ep_len=True)
    # Rounds that were collected after the checkpoint do not count.
    stray = Path(first.logger.log_dir) / "aggregate" / ROUND.format(2)
    if keep != "none":
        shutil.copy(stray.with_name(ROUND.format(0)), stray)
    second = build(tmp_path / "parts", TASK, seed=77, resume=True, eval_interval=0)
    second.learn(3)
    assert torch.equal(weights(second), weights(whole))
    assert second.alg.labels == whole.alg.labels == 5 * 12 * 32
    third = build(tmp_path / "parts", TASK, seed=78, resume=True, eval_interval=0)
    assert third.alg.aggregate.rounds == 5


def test_a_lost_round_is_one_line_and_leaves_nothing_behind(teachers, tmp_path):
    train.main(dagger(tmp_path, newest(teachers, "go2_ts_flat"), "--max_iterations=2"))
    run = newest(tmp_path, TASK)
    (run / "aggregate" / ROUND.format(0)).unlink()
    with pytest.raises(UserError, match=r"cannot resume: .*round-000000\.pt is missing: to go on after 2 rounds"):
        train.main(resume(tmp_path, "--max_iterations=3", task=TASK))
    assert [path.name for path in (tmp_path / TASK).iterdir()] == [run.name]


def refused(root: Path, *flags: str, task: str = TASK) -> str:
    """The one line of the error, after which there is no run."""
    with pytest.raises(UserError) as error:
        train.main([flag for flag in dagger(root, "", task=task) if "teacher" not in flag] + list(flags))
    assert not list(root.glob("*/*")) and "\n" not in str(error.value)
    return str(error.value)


def test_mistakes_are_one_line_each(teachers, tmp_path):
    run = newest(teachers, "go2_ts_flat")
    message = refused(tmp_path)
    assert "task 'go2_dagger_flat' learns from a trained teacher: add --teacher=RUN, a run folder" in message
    teacher = f"--teacher={run}"
    assert "has env.observations.layout='full', this training 'tutorial'" in refused(
        tmp_path, teacher, "--env.observations.layout=tutorial"
    )
    assert "beta_schedule 'cosine': expected one of linear" in refused(
        tmp_path, teacher, "--train.algorithm.beta_schedule=cosine"
    )
    assert "beta_start=-1.0: a probability" in refused(tmp_path, teacher, "--train.algorithm.beta_start=-1.0")
    assert "is of robot 'go2', task 'go1_dagger_flat' trains 'go1'" in refused(
        tmp_path, teacher, task="go1_dagger_flat"
    )


def test_a_teacher_of_rsl_rl_lib_is_refused(tmp_path):
    root = tmp_path / "teachers"
    train.main(start(root, "--max_iterations=1", task="go2_flat"))
    with pytest.raises(UserError, match="was not written by one of our methods"):
        train.main(dagger(tmp_path / "logs", newest(root, "go2_flat"), "--max_iterations=1"))


def test_every_robot_has_the_tasks():
    for robot in ("go1", "go2"):
        for ground in ("", "_flat"):
            cfg: Any = task_registry.get_cfgs(f"{robot}_dagger{ground}")[1]
            assert cfg.algorithm.class_name.endswith(":DAgger") and cfg.runner.eval_interval > 0
            assert json.dumps(cfg.algorithm.symmetry_cfg).count(robot) == 1
