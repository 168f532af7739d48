"""The tasks of TS, CTS, RMA, SITT and ULT: exact resume, policies compared while they learn, both stages of RMA."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.training.comparison import _PolicyPerRobot
from legged_gym_ext.training.evaluation import run_episodes
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.utils.errors import UserError
from tests.legged_gym_ext.training.test_evaluation import FALLER, WALKER, FakeVecEnv
from tests.legged_gym_ext.training.test_training import build

TASKS = ("go2_ts_flat", "go2_cts_flat", "go2_rma_flat", "go2_sitt_flat", "go2_ult_flat")
QUIET = {"eval_interval": 0}


def weights(runner: Any) -> torch.Tensor:
    return torch.cat([value.double().flatten() for value in runner.alg.network.state_dict().values()])


@pytest.mark.parametrize("task", TASKS)
def test_resumed_training_equals_one_that_was_never_stopped(task, tmp_path):
    # Windows of 20 frames reach over rollouts of 12 steps, and RMA changes its stage after the resume.
    options = {**QUIET, **({"max_iterations": 3, "stage2_iterations": 2} if task == "go2_rma_flat" else {})}
    whole = build(tmp_path / "whole", task, **options)
    whole.learn(5, init_at_random_ep_len=True)
    first = build(tmp_path / "parts", task, **options)
    first.learn(2, init_at_random_ep_len=True)
    second = build(tmp_path / "parts", task, seed=77, resume=True, **options)
    second.learn(3)
    assert torch.equal(weights(second), weights(whole))
    assert second.alg.learning_rate == whole.alg.learning_rate
    if task == "go2_rma_flat":
        assert second.alg.stage == whole.alg.stage == 2


def test_rma_trains_what_is_missing_of_both_stages(tmp_path):
    options = {**QUIET, "max_iterations": 3, "stage2_iterations": 2}
    first = build(tmp_path, "go2_rma_flat", **options)
    assert first.iterations_to_do() == 5
    first.learn(4)
    assert build(tmp_path, "go2_rma_flat", resume=True, **options).iterations_to_do() == 1
    # The second of two commands: stage 1 is done, stage 2 is asked for afterwards.
    alone = build(tmp_path / "alone", "go2_rma_flat", **{**options, "stage2_iterations": 0})
    assert alone.iterations_to_do() == 3
    alone.learn(3)
    assert alone.alg.stage == 1
    second = build(tmp_path / "alone", "go2_rma_flat", resume=True, **options)
    assert second.iterations_to_do() == 2
    assert second.alg.stage == 2


def test_watching_teacher_and_student_does_not_change_what_is_learnt(tmp_path, capsys):
    silent = build(tmp_path, "go2_cts_flat", **QUIET)
    silent.learn(4, init_at_random_ep_len=True)
    assert "teacher/student" not in capsys.readouterr().out
    watched = build(tmp_path, "go2_cts_flat", eval_interval=2, eval_envs=4)
    watched.learn(4, init_at_random_ep_len=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("it ")]
    shown = [bool(re.search(r"return teacher/student -?\d+\.\d\d/-?\d+\.\d\d", line)) for line in lines]
    assert shown == [False, True, False, True]
    assert torch.equal(weights(watched), weights(silent))


def test_a_comparison_repeats_exactly_and_tells_policies_apart(tmp_path):
    runner = build(tmp_path, "go2_ts_flat", eval_interval=1, eval_envs=6)
    first, second = runner.compare(0), runner.compare(0)
    assert first == second
    assert list(first) == ["teacher", "student"]
    assert first["teacher"] != first["student"]


OWN_LOSSES = {
    "go2_ts_flat": {"student_latent", "student_action"},
    "go2_sitt_flat": {
        *("student_latent", "student_action", "proxy_latent", "proxy_action", "action_kl"),
        *("raw_reward", "kl", "kl_weight", "shaped_share", "sigma"),
    },
    "go2_ult_flat": {
        *("prediction", "imitation", "teacher_share", "cosine_prediction", "cosine_imitation"),
        *(
            f"{role}_{name}"
            for role in ("teacher", "student")
            for name in ("reward", "linear_tracking", "yaw_tracking")
        ),
    },
}


@pytest.mark.parametrize("task", OWN_LOSSES)
def test_comparisons_and_losses_are_written_in_every_iteration(task, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runner = build(tmp_path, task, eval_interval=1, eval_envs=2, logger="tensorboard")
    runner.learn(2)
    events = EventAccumulator(runner.logger.log_dir)
    events.Reload()
    tags = set(events.Tags()["scalars"])
    for policy in ("teacher", "student"):
        for metric in ("return", "linear_tracking", "yaw_tracking"):
            assert len(events.Scalars(f"Comparison/{metric}_{policy}")) == 2
    for name in {"surrogate", "value", "symmetry"} | OWN_LOSSES[task]:
        assert f"Loss/{name}" in tags and len(events.Scalars(f"Loss/{name}")) == 2, name


class Constant:
    """A policy that always does `value` and remembers when it was told to forget."""

    def __init__(self, value: float) -> None:
        self.value, self.forgotten = value, []

    def __call__(self, observations: Any) -> torch.Tensor:
        return torch.full((len(observations), 2), self.value)

    def reset(self, dones: torch.Tensor) -> None:
        self.forgotten.append(dones.bool().tolist())


def test_each_policy_drives_its_own_rows():
    split = _PolicyPerRobot({"teacher": Constant(1.0), "student": Constant(2.0)}, 5, torch.device("cpu"))
    assert split(torch.zeros(5, 1))[:, 0].tolist() == [1.0, 2.0, 1.0, 2.0, 1.0]
    assert split.rows["student"].tolist() == [False, True, False, True, False]


def test_policies_forget_at_the_start_and_after_every_reset():
    policy = Constant(0.0)
    run_episodes(FakeVecEnv(FALLER, WALKER), policy)
    assert policy.forgotten == [[True, True], [False, False], [True, False], [False, False], [True, True]]


def test_figures_of_some_rows_are_those_of_these_robots():
    # The walker alone: returns 0.5 + 0.25 + 0.25 + 4.
    episodes = run_episodes(FakeVecEnv(FALLER, WALKER), Constant(0.0))
    assert episodes.metrics(torch.tensor([False, True]))["return"] == pytest.approx(5.0)
    assert episodes.metrics(torch.tensor([True, False]))["fall_rate"] == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_teacher_and_student_are_loaded_for_evaluation(task, tmp_path):
    from tests.legged_gym_ext.training.test_training import task_registry

    runner = build(tmp_path, task, **QUIET)
    runner.learn(1)
    again = build(tmp_path / "again", task, **QUIET)
    again.load(str(Path(runner.logger.log_dir, "model_0.pt")), {"actor": True, "critic": True})
    policies = again.alg.inference_policies()
    assert list(policies) == ["teacher", "student"]
    observations = again.env.get_observations()
    for name, network in runner.alg.inference_policies().items():
        network.reset()
        assert torch.equal(Policy(policies[name], "cpu")(observations), Policy(network, "cpu")(observations))
    assert task in task_registry.names


@pytest.mark.parametrize(
    ("task", "section", "field", "value", "message"),
    [
        ("go2_ts_flat", "runner", "eval_envs", 1, "eval_envs=1: expected at least 2"),
        ("go2_rma_flat", "runner", "stage2_iterations", -1, "stage2_iterations=-1"),
        ("go2_cts_flat", "algorithm", "teacher_fraction", 1.5, r"teacher_fraction=1\.5: expected a number in \(0, 1\]"),
        ("go2_ts_flat", "actor", "history_encoder", "LSTM", "history_encoder 'LSTM': expected MLP, TCN or GRU"),
        ("go2_ts_flat", "actor", "history_length", 0, "history_length=0"),
        ("go2_ts_flat", "algorithm", "student_loss", "both", "student_loss 'both'"),
        ("go2_ts_flat", "obs_groups", "privileged", [], "observation set 'privileged' is missing"),
        ("go2_ult_flat", "algorithm", "mix_ratio", 1.5, r"mix_ratio=1\.5: .*expected in \[0, 1\]"),
        ("go2_ult_flat", "actor", "num_heads", 5, "width=64, .*that the number of heads divides"),
    ],
)
def test_a_mistake_is_one_clear_error(task, section, field, value, message, tmp_path):
    from tests.legged_gym_ext.training.test_training import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.env.num_envs = 4
    setattr(getattr(train_cfg, section), field, value)
    env, _ = task_registry.make_env(task, env_cfg)
    with pytest.raises(UserError, match=message):
        task_registry.make_alg_runner(env, task, train_cfg, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_schedule_that_never_ends_and_too_few_robots_are_clear_errors(tmp_path):
    from tests.legged_gym_ext.training.test_training import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs("go2_ult_flat")
    train_cfg.algorithm.mix_schedule, train_cfg.algorithm.mix_iterations = "linear", 1000
    env_cfg.env.num_envs = 4
    env, _ = task_registry.make_env("go2_ult_flat", env_cfg)
    message = rf"mix_iterations=1000: the schedule never ends, the training has {train_cfg.runner.max_iterations} "
    with pytest.raises(UserError, match=message):
        task_registry.make_alg_runner(env, "go2_ult_flat", train_cfg, tmp_path)
    few = build(tmp_path, "go2_ult_flat", num_envs=2, **QUIET)
    with pytest.raises(UserError, match="num_mini_batches=4: minibatches hold whole environments"):
        few.learn(1)


@pytest.mark.slow
def test_torchrun_trains_on_cpus_and_writes_one_run(tmp_path):
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
        str(ROOT_DIR / "legged_gym_ext/scripts/train.py"),
        *("--task=go2_cts_flat", "--headless", "--num_envs=8", "--max_iterations=2", "--logger=none"),
        *(f"--log_root={tmp_path}", "--train.runner.num_steps_per_env=4", "--train.runner.eval_interval=0"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("training go2_cts_flat: 8 environments in each of 2 processes") == 1
    assert done.stdout.count("it 2/2  steps 0.00M") == 1
    (run,) = (tmp_path / "go2_cts_flat").iterdir()
    saved = torch.load(run / "model_1.pt", weights_only=False)
    # Both processes' frames are in the statistics: 2 updates x 4 steps x 8 robots x 2 processes.
    assert saved["model_state_dict"]["normalizers.actor.count"].item() == 2 * 4 * 8 * 2
