"""multi_task.py as a user runs it: from a trained run to students, their table, and one that is exported."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

pytest.importorskip("mujoco")
pytest.importorskip("rsl_rl")
pytest.importorskip("matplotlib")

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import export, multi_task, multi_task_steps, train
from legged_gym_ext.scripts.multi_task_steps import Pipeline
from legged_gym_ext.training.multi_task_scores import Exam, Standing
from legged_gym_ext.training.regimes import REGIMES, overrides
from legged_gym_ext.utils.config import apply_overrides
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

TINY = (
    *("--regimes=forward,turning", "--episodes=10", "--num_envs=10", "--teacher_updates=2", "--sizes=small"),
    *("--orders=novelty,uniform", "--seeds=1", "--rounds=2", "--round_updates=1", "--eval_envs=2"),
    *("--env.env.episode_length_s=2", "--env.sim.num_threads=1"),
)


@pytest.mark.parametrize("regime", REGIMES)
def test_regimes_are_settings_that_the_task_has(regime):
    env_cfg, _ = task_registry.get_cfgs("go2_rma")
    apply_overrides(env_cfg, overrides(regime), "env")
    assert env_cfg.commands.zero_fraction == 0.0
    assert (env_cfg.terrain.mesh_type == "rough") == (regime in ("slopes", "stairs"))
    if regime == "stairs":
        assert env_cfg.terrain.proportions.stairs_up == 0.5 and env_cfg.terrain.proportions.slope_up == 0.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--out is missing"),
        (["--out={tmp}/x", "--regimes=forwrd"], "unknown regime 'forwrd'; did you mean forward?"),
        (["--out={tmp}/x", "--orders=novel"], "--orders: 'novel' is none of novelty"),
        (["--out={tmp}/x", "--episodes=3"], "--episodes=3: expected at least 10"),
        (["--out={tmp}/x", "--quality=medium"], "--quality=medium needs --medium_checkpoint=IT"),
        (["--out={tmp}/x", "--rounds=0"], "--rounds=0: expected at least 1"),
        (["--out={tmp}/x", "--policy=studnt"], "--policy"),
        (
            ["--out={tmp}/x", "--pretrained", "--quality=medium", "--medium_checkpoint=9"],
            "--quality=medium needs checkpoints of a training: the package has one",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        multi_task.main(["--task=go2_rma", *(flag.format(tmp=tmp_path) for flag in flags)])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_the_student_is_not_trained_in_an_environment(tmp_path):
    with pytest.raises(UserError, match=r"not in a simulator; its command records one, too: .*multi_task\.py"):
        train.main(["--task=go2_multi_flat", "--num_envs=4", f"--log_root={tmp_path / 'logs'}", "--logger=none"])


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused_and_stays_as_it_was(tmp_path):
    found = json.dumps({"args": {"rounds": 200, "seeds": 3}})
    (tmp_path / "results.json").write_text(found, encoding="utf-8")
    with pytest.raises(UserError, match="was begun with --rounds=200, now it is 7: choose another --out"):
        Pipeline(argparse.Namespace(out=str(tmp_path), rounds=7, seeds=1))
    assert (tmp_path / "results.json").read_text(encoding="utf-8") == found
    Pipeline(argparse.Namespace(out=str(tmp_path), rounds=200, seeds=1))  # fewer or more seeds are no other setting
    (tmp_path / "results.json").write_text(
        json.dumps({"args": {"rounds": 7}, "teachers": {"forward": {}}}), encoding="utf-8"
    )
    with pytest.raises(UserError, match="was begun by an earlier version"):
        Pipeline(argparse.Namespace(out=str(tmp_path), rounds=7))


def test_from_a_run_to_an_exported_student_and_nothing_is_done_twice(tmp_path, capsys):
    logs, out = tmp_path / "logs", tmp_path / "out"
    command = ["--task=go2_rma", "--pretrained", f"--log_root={logs}", f"--out={out}", *TINY]
    assert multi_task.main(command) == 0
    shown = capsys.readouterr().out
    assert "recording student of" in shown and "teacher turning: update 2/2" in shown and "best student" in shown
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert set(results["students"]) == {"novelty/small/0", "uniform/small/0"}
    assert set(results["students"]["novelty/small/0"]["normalized"]) == {"forward", "turning"}
    assert sum(results["students"]["novelty/small/0"]["rounds"].values()) == 2
    assert (out / "scores.png").exists() and (out / "distances.png").exists()
    (out / "students" / "uniform-small-0.pt").unlink()
    assert multi_task.main(command) == 0
    again = capsys.readouterr().out
    assert "recording" not in again and "update" not in again and "uniform/small/0: round 2/2" in again
    assert "novelty/small/0: round" not in again
    assert export.main(["--task=go2_multi", f"--log_root={logs}", f"--out={tmp_path / 'policy'}"]) == 0
    assert (tmp_path / "policy" / "policy.onnx").exists()


def test_all_policies_meet_the_same_robots_on_the_same_levels():
    """Robots that fall or leave their tile move to another level: the next policy begins where this one did."""
    env_cfg, _ = task_registry.get_cfgs("go2_multi")
    apply_overrides(env_cfg, overrides("stairs"), "env")
    env_cfg.env.num_envs, env_cfg.sim.num_threads, env_cfg.env.episode_length_s = 4, 1, 1.0
    env, _ = task_registry.make_env("go2_multi", env_cfg)
    exam, levels, falling = Exam(RslRlVecEnv(env, ["policy"])), env.terrain.levels.clone(), Falling()
    first = exam.mean_return(falling)
    env.terrain.place(torch.arange(4), 3 - levels)  # what happened meanwhile does not matter
    assert exam.mean_return(falling) == first and exam.mean_return(Standing(12)) != first


class Falling:
    """Legs that are pulled in."""

    def __call__(self, observations):
        return torch.full((len(observations["policy"]), 12), 3.0)


def test_a_policy_that_stands_no_better_is_an_error_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr(multi_task_steps, "recorded_return", lambda *_: -1.0)
    command = ["--task=go2_rma", "--pretrained", f"--out={tmp_path}", *TINY, "--regimes=turning"]
    with pytest.raises(
        UserError, match=r"'turning': the recorded policy earns -1\.00, a robot that stands .*: train it"
    ):
        multi_task.main(command)
    assert not (tmp_path / "teachers").exists()
