"""`train.py --teacher`: which run is meant, what fits, and that only the student learns."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
from legged_gym_ext.scripts import train
from legged_gym_ext.training import pretrained
from legged_gym_ext.training.runs import checkpoints, find_checkpoint
from legged_gym_ext.training.teacher import check_meaning, load_teacher, set_stages
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import newest, resume, start

TASK = "go2_ts_flat"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Log folder with a run of `go2_ts_flat` of one iteration."""
    root = tmp_path_factory.mktemp("teacher")
    train.main(start(root, "--max_iterations=1", task=TASK))
    return root


def weights(run: Path) -> dict:
    """Network of the newest checkpoint of a run."""
    path = list(checkpoints(run).values())[-1]
    return torch.load(path, weights_only=True)["network_state_dict"]


def learnt(run: Path, teacher: Path) -> set[str]:
    """Parts of a teacher's network that a run holds changed."""
    found, expected = weights(run), weights(teacher)
    return {name.split(".")[0] for name in expected if not torch.equal(found[name], expected[name])}


@pytest.mark.parametrize(("task", "named"), [("go2_ts_flat", "folder"), ("go2_rma_flat", "checkpoint")])
def test_only_the_student_learns_and_a_resumed_run_keeps_its_teacher(trained, tmp_path, capsys, task, named):
    run = newest(trained, TASK)
    wanted = run if named == "folder" else run / "model_0.pt"
    train.main(start(tmp_path, "--max_iterations=2", f"--teacher={wanted}", task=task))
    assert f"teacher: {run / 'model_0.pt'}, frozen" in capsys.readouterr().out
    followed = newest(tmp_path, task)
    assert list(checkpoints(followed))[-1] == 1
    assert learnt(followed, run) == {"history_encoder"}
    capsys.readouterr()
    train.main(resume(tmp_path, task=task))
    nothing = capsys.readouterr().out
    assert "nothing left to do: 2 of 2 iterations are done; " in nothing and "--max_iterations=102\n" in nothing
    train.main(resume(tmp_path, "--max_iterations=3", task=task))
    assert newest(tmp_path, task) != followed
    assert list(checkpoints(newest(tmp_path, task))) == [2]
    assert learnt(newest(tmp_path, task), run) == {"history_encoder"}


def test_an_experiment_below_the_log_folder_names_its_newest_run(trained, capsys):
    train.main(start(trained, "--max_iterations=1", f"--teacher={TASK}", task="go2_rma_flat"))
    assert f"teacher: {newest(trained, TASK) / 'model_0.pt'}, frozen" in capsys.readouterr().out


def test_the_policy_of_the_package_can_be_the_teacher(tmp_path, capsys):
    train.main(start(tmp_path, "--max_iterations=1", "--teacher=pretrained:go2_rma", task="go2_rma"))
    checkpoint = find_checkpoint(pretrained.find("go2_rma"))
    assert f"teacher: {checkpoint}, frozen" in capsys.readouterr().out


@pytest.mark.parametrize("task", pretrained.teachers())
def test_a_teacher_of_the_package_says_its_steps(task):
    folder = pretrained.find(task)
    saved = load_teacher(find_checkpoint(folder), "cpu")
    assert saved["infos"]["total"][0] == pretrained.read_card(folder)["steps"] > 0


def refused(root: Path, teacher: str | Path, *flags: str, task: str = TASK) -> str:
    """The one line of the error, after which there is no run."""
    with pytest.raises(UserError) as error:
        train.main(start(root, f"--teacher={teacher}", "--max_iterations=1", *flags, task=task))
    assert not list(root.glob("*/*")) and "\n" not in str(error.value)
    return str(error.value)


def test_a_teacher_that_is_not_there_or_does_not_fit_is_one_line(trained, tmp_path):
    run = newest(trained, TASK)
    missing = refused(tmp_path, "nothing")
    assert "--teacher=nothing: no such run or checkpoint" in missing
    assert "go2_rma" in missing and "go2_flat" not in missing  # the latter is of rsl-rl-lib's PPO: refused as a teacher
    assert "no policy of task 'go2_rna' is part of this package; did you mean go2_rma" in refused(
        tmp_path, "pretrained:go2_rna"
    )
    assert "holds no checkpoint" in refused(tmp_path, run / "params")
    assert "is no checkpoint: expected model_<iteration>.pt" in refused(tmp_path, run / "params" / "env.json")
    other_layout = refused(tmp_path, run, "--env.observations.layout=tutorial")
    assert f"(task {TASK}) has env.observations.layout='full', this training 'tutorial'" in other_layout
    assert "env.control.action_scale=0.25, this training 0.5" in refused(
        tmp_path, run, "--env.control.action_scale=0.5"
    )
    assert "tensors differ: " in refused(tmp_path, run, "--train.actor.latent_dim=8")
    assert "the method of task 'go2_flat' has no use for a teacher" in refused(tmp_path, run, task="go2_flat")
    assert "PPO_ULT has no use for a loaded teacher" in refused(tmp_path, run, task="go2_ult_flat")


def test_a_teacher_of_another_robot_is_refused(trained, tmp_path):
    run = tmp_path / "run"
    (run / "params").mkdir(parents=True)
    source = newest(trained, TASK)
    for name in ("model_0.pt", "params/train.json", "params/run.json"):
        (run / name).write_bytes((source / name).read_bytes())
    env = json.loads((source / "params/env.json").read_text(encoding="utf-8"))
    env["asset"]["name"] = "go9"
    (run / "params/env.json").write_text(json.dumps(env), encoding="utf-8")
    message = refused(tmp_path / "logs", run)
    assert "is of robot 'go9', task 'go2_ts_flat' trains 'go2': name a run of the same robot" in message


@pytest.mark.parametrize(
    ("field", "before", "now"),
    [
        ("terrain.foot_points", [-0.1, 0.0, 0.1], [-0.2, 0.0, 0.2]),
        ("rewards.base_height_target", None, 0.3),
        ("asset.penalize_contacts_on", ["thigh", "calf"], ["calf", "thigh"]),
        ("control.stiffness.joint", 20.0, 30.0),
        ("control.stiffness.hip", None, 30.0),
        ("control.damping.joint", 0.5, 0.6),
        ("control.decimation", 4, 5),
        ("sim.dt", 0.005, 0.004),
        ("env.critic_frames", 1, 2),
    ],
)
def test_what_observations_and_actions_mean_is_compared(field, before, now):
    saved, cfg = to_dict(LeggedRobotCfg()), LeggedRobotCfg()
    check_meaning(Path("run"), saved, cfg, TASK)
    section, name, *joint = field.split(".")
    setattr(getattr(cfg, section), name, {**saved[section][name], joint[0]: now} if joint else now)
    with pytest.raises(UserError, match=re.escape(f"has env.{field}={before!r}, this training {now!r}: ")):
        check_meaning(Path("run"), saved, cfg, TASK)


def test_terms_of_the_critic_count_only_where_a_policy_reads_them(trained, tmp_path):
    terms = '--env.observations.critic=["base_lin_vel"]'
    run = newest(trained, TASK)
    assert "tensors differ: " in refused(tmp_path, run, terms)
    read = refused(tmp_path, run, terms, '--train.obs_groups.privileged=["critic"]')
    assert "has env.observations.critic=[], this training ['base_lin_vel']" in read


@pytest.mark.parametrize("flag", ["--teacher", "--train.runner.teacher"])
def test_a_resumed_training_is_given_no_teacher(trained, flag):
    with pytest.raises(UserError, match=f"^{flag}={TASK} with --resume: a training keeps the teacher that it began"):
        train.main(resume(trained, f"{flag}={TASK}", task=TASK))


def test_from_python_too_a_teacher_means_stage_2_and_leaves_no_groups_behind(trained, tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_rma_flat")
    env_cfg.env.num_envs, train_cfg.runner.num_steps_per_env, train_cfg.runner.logger = 4, 4, "none"
    train_cfg.runner.teacher, train_cfg.obs_groups.critic = str(newest(trained, TASK)), ["policy"]
    env, _ = task_registry.make_env("go2_rma_flat", env_cfg)
    runner, _ = task_registry.make_alg_runner(env, "go2_rma_flat", train_cfg, tmp_path)
    assert runner.alg.stage == 2 and runner.iterations_to_do() == runner.cfg["stage2_iterations"] > 0
    assert runner.env.groups == ("policy", "privileged")  # not `critic`, which the teacher's run read


@pytest.mark.parametrize(("fewer", "chosen", "stage2"), [(2, {}, 2), (400, {}, 60), (2, {"stage2_iterations": 7}, 7)])
def test_a_short_first_stage_has_no_longer_second_one_unless_it_is_asked_for(fewer, chosen, stage2):
    _, train_cfg = task_registry.get_cfgs("go2_rma_flat")  # 300 and 60
    given = ["runner.max_iterations", *(f"runner.{name}" for name in chosen)]
    for name, value in {"max_iterations": fewer, **chosen}.items():
        setattr(train_cfg.runner, name, value)
    set_stages(train_cfg.runner, given)
    assert (train_cfg.runner.max_iterations, train_cfg.runner.stage2_iterations) == (fewer, stage2)


def test_settings_of_a_task_and_of_methods_with_one_stage_stay():
    for task in ("go2_rma_flat", "go2_ts_flat"):
        before, now = task_registry.get_cfgs(task)[1].runner, task_registry.get_cfgs(task)[1].runner
        set_stages(now, [] if task == "go2_rma_flat" else ["runner.max_iterations"])
        assert to_dict(now) == to_dict(before)


def test_upstreams_distillation_with_a_wrong_teacher_ends_with_one_line(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "benchmarks")
    benchmark = import_module("upstream_distillation")
    with pytest.raises(UserError, match="nowhere") as error:
        benchmark.main(["--teacher=nowhere"])
    assert "\n" not in str(error.value)
