"""multi_task.py as a user runs it: from a trained run to students, their table, and one that is exported."""

from __future__ import annotations

import argparse
import json

import pytest

pytest.importorskip("mujoco")
pytest.importorskip("rsl_rl")
pytest.importorskip("matplotlib")

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import export, multi_task, train
from legged_gym_ext.scripts.multi_task_steps import Pipeline
from legged_gym_ext.training.regimes import REGIMES, overrides
from legged_gym_ext.utils.config import apply_overrides
from legged_gym_ext.utils.errors import UserError

TINY = (
    *("--regimes=forward,turning", "--episodes=10", "--num_envs=10", "--teacher_updates=2", "--sizes=small"),
    *("--orders=novelty,uniform", "--seeds=1", "--rounds=2", "--round_updates=1", "--eval_envs=2"),
    *("--env.env.episode_length_s=0.6", "--env.sim.num_threads=1"),
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
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        multi_task.main(["--task=go2_rma", *(flag.format(tmp=tmp_path) for flag in flags)])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_the_student_is_not_trained_in_an_environment(tmp_path):
    with pytest.raises(UserError, match=r"learns from a data set, not in a simulator; .*multi_task\.py"):
        train.main(["--task=go2_multi_flat", "--num_envs=4", f"--log_root={tmp_path / 'logs'}", "--logger=none"])


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused_and_stays_as_it_was(tmp_path):
    found = json.dumps({"args": {"rounds": 200, "seeds": 3}})
    (tmp_path / "results.json").write_text(found, encoding="utf-8")
    with pytest.raises(UserError, match="was begun with --rounds=200, now it is 7: choose another --out"):
        Pipeline(argparse.Namespace(out=str(tmp_path), rounds=7, seeds=1))
    assert (tmp_path / "results.json").read_text(encoding="utf-8") == found
    Pipeline(argparse.Namespace(out=str(tmp_path), rounds=200, seeds=1))  # fewer or more seeds are no other setting


def test_from_a_run_to_an_exported_student_and_nothing_is_done_twice(tmp_path, capsys):
    logs, out = tmp_path / "logs", tmp_path / "out"
    flags = ["--task=go2_rma_flat", "--num_envs=8", "--max_iterations=1", "--logger=none", "--env.sim.num_threads=1"]
    off = ["--train.runner.stage2_iterations=0", "--train.runner.eval_interval=0"]
    train.main([*flags, f"--log_root={logs}", "--train.runner.num_steps_per_env=8", *off])
    command = ["--task=go2_rma_flat", f"--log_root={logs}", f"--out={out}", *TINY]
    assert multi_task.main(command) == 0
    shown = capsys.readouterr().out
    assert "recording" in shown and "teacher turning: update 2/2" in shown and "best student" in shown
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
    assert export.main(["--task=go2_multi_flat", f"--log_root={logs}", f"--out={tmp_path / 'policy'}"]) == 0
    assert (tmp_path / "policy" / "policy.onnx").exists()
