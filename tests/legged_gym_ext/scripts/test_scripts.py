"""The programs as a user runs them: what they print, and what a mistake looks like."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from legged_gym_ext.scripts import train
from legged_gym_ext.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "legged_gym_ext" / "scripts"


def run(script: str, *args: str, cwd: Path, module: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a script as a file (or as a module) in `cwd`, without a display."""
    program = ["-m", f"legged_gym_ext.scripts.{script}"] if module else [str(SCRIPTS / f"{script}.py")]
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        [sys.executable, *program, *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


METHODS = ("", "_bc", "_bc_ult", "_blind", "_cts", "_dagger", "_multi", "_rma", "_sitt", "_ts", "_ult")
PRODUCTS = (*METHODS, *(f"{method}_flat" for method in METHODS), "_ult_faithful")
MAZES = [f"colour_maze_{name}" for name in ("published", "sitt", "teacher")]
TASKS = sorted([*MAZES, *(f"{robot}{product}" for robot in ("go1", "go2") for product in PRODUCTS)])
MISTAKES = [
    (("--task=go3",), "unknown task 'go3'; did you mean go1, go2?"),
    ((), "no task given; use --task=NAME"),
    (("--task=go2_flat", "--num_env=4"), "unknown flag --num_env; did you mean --num_envs"),
    (("--task=go2_flat", "--num_envs=four"), "--num_envs"),
    (("--task=go2_flat", "--num_envs=0"), "--num_envs=0: expected"),
    (("--task=go2_flat", "--env.rewards.scales.feet_airtime=1"), "did you mean rewards.scales.feet_air_time"),
    (("--task=go2_flat", "--env.sim.dt=fast"), "expected float"),
    (("--task=go2_flat", "--train.algorithm.num_learning_epochs=1.5"), "expected int"),
    (("--task=go2_flat", "--logger=tensorbord"), "--logger"),
    (("--task=go2_flat", "--sim=isaac"), "unknown simulator 'isaac'"),
    (("--task=go2_flat", "--rl_device=gpu"), "rl_device"),
    (("--task=go2_flat", "--resume"), "train"),
    (("--task=go2_dagger_flat",), "learns from a trained teacher: add --teacher=RUN"),
    (("--task=go2_flat", "--resume", "--load_run=nothing"), "nothing"),
    (("--task=go2_flat", "--env.asset.file=robot.xml"), "robot model not found"),
    (("--task=go2_flat", "--train.obs_groups.actor=polcy"), "polcy"),
    (("--task=go2_flat", "stray"), "stray"),
    (("--task=go2_flat", "--sim_device=cuda"), "--sim_device=cpu"),
    (("--task=go2_flat", "--train.runner.save_interval=0"), "save_interval=0: expected at least 1"),
    (("--task=go2_flat", "--train.algorithm.num_mini_batches=100"), "expected 1 to 48"),
    (("--task=go2_flat", "--train.algorithm.schedule=foo"), "expected adaptive or fixed"),
    (("--task=go2_flat", "--env.env.critic_frames=0"), "env.critic_frames=0: expected at least 1"),
    (("--task=go2_flat", "--env.sim.dt=inf"), "sim.dt=inf: expected 0.0001 to 1"),
]


@pytest.mark.parametrize(("args", "message"), MISTAKES, ids=[" ".join(args) or "nothing" for args, _ in MISTAKES])
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(tmp_path, args, message):
    logs = tmp_path / "logs"
    with pytest.raises(UserError) as error:
        train.main(["--headless", "--num_envs=2", "--max_iterations=0", f"--log_root={logs}", *args])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not logs.exists()


@pytest.mark.parametrize(("args", "message"), [MISTAKES[0], MISTAKES[5], MISTAKES[13]])
def test_a_mistake_ends_the_program_with_code_2_and_one_line(tmp_path, args, message):
    result = run("train", "--headless", f"--log_root={tmp_path / 'logs'}", *args, cwd=tmp_path)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2 and result.stdout == ""
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0], result.stderr


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_a_mistake_is_the_same_one_line_when_run_as_a_module(tmp_path, script):
    result = run(script, "--task=go3", f"--log_root={tmp_path / 'logs'}", cwd=ROOT, module=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr == "error: unknown task 'go3'; did you mean go1, go2?; `describe.py --list` names all tasks\n"
    assert not (tmp_path / "logs").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Log folder of a training of one iteration, run from somewhere else."""
    folder = tmp_path_factory.mktemp("trained")
    result = run(
        "train", "--task=go2_flat", "--headless", "--num_envs=16", "--max_iterations=1", "--log_root=logs", cwd=folder
    )
    assert result.returncode == 0, result.stderr
    assert "it 1/1" in result.stdout and "run folder" in result.stdout
    assert list(folder.glob("*")) == [folder / "logs"]
    return folder / "logs"


def test_training_leaves_a_checkpoint_and_the_merged_configuration(trained):
    (folder,) = (trained / "go2_flat").iterdir()
    assert (folder / "model_0.pt").is_file()
    assert json.loads((folder / "params/env.json").read_text(encoding="utf-8"))["env"]["num_envs"] == 16
    assert json.loads((folder / "params/train.json").read_text(encoding="utf-8"))["runner"]["max_iterations"] == 1


def test_evaluate_writes_the_documented_figures(trained, tmp_path):
    target = tmp_path / "result.json"
    args = (
        "--task=go2_flat",
        "--num_envs=8",
        "--env.env.episode_length_s=0.5",
        f"--json={target}",
        f"--log_root={trained}",
    )
    result = run("evaluate", *args, cwd=ROOT, module=True)
    assert result.returncode == 0, result.stderr
    (name, figures), *others = json.loads(target.read_text(encoding="utf-8"))["policies"].items()
    assert name == "policy" and not others
    errors = figures.pop("standard_error")
    assert set(figures) == set(errors) == {
        "return", "linear_tracking", "yaw_tracking", "linear_rmse", "yaw_rmse", "progress", "fall_rate",
        "episode_length", "energy",
    }  # fmt: skip
    assert all(math.isfinite(value) for value in (*figures.values(), *errors.values()))
    assert f"{figures['return']:.3f} +-{errors['return']:.3f}" in result.stdout
    assert 0.0 <= figures["linear_tracking"] <= 1.0 and 0.0 <= figures["yaw_tracking"] <= 1.0
    assert figures["episode_length"] <= 0.5


@pytest.mark.slow
def test_a_ladder_of_a_task_on_a_plane_is_on_the_map_of_tiles_and_joins_the_evaluation(trained, tmp_path):
    target = tmp_path / "result.json"
    short = ("--task=go2_flat", "--env.env.episode_length_s=0.2", f"--json={target}", f"--log_root={trained}")
    assert run("evaluate", "--num_envs=2", *short, cwd=tmp_path).returncode == 0
    small = ("--ladder", "--robots_per_level=1", "--env.terrain.num_rows=3")
    result = run("evaluate", *small, *short, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "'go2_flat' is trained on a plane; its ladder is on the map of tiles" in result.stdout
    assert "policy  round 1/1  0 s walked, 0 of 18 robots undecided" in result.stdout
    assert run("evaluate", *small, "--friction=0.4", *short, cwd=tmp_path).returncode == 0
    found = json.loads(target.read_text(encoding="utf-8"))
    figures = found["policies"]["policy"]
    kinds = ["slope_up", "slope_down", "rough_slope", "stairs_up", "stairs_down", "discrete"]
    for ladder in (figures, figures["ladder_friction_0.4"]):
        assert ladder["ladder"] == {kind: [0.0] * 3 for kind in kinds}, "nobody walks 4 m in 0.2 s"
        assert ladder["ladder_level"] == dict.fromkeys(kinds, -1) and ladder["ladder_score"] == 0.0
        assert ladder["ladder_heights"] == {"step_height": 0.0, "slope": 0.0, "obstacle_height": 0.0}
        assert ladder["ladder_setup"] == {"robots_per_level": 1, "seed": 12345, "distance": 4.0}
        assert set(ladder["ladder_effort"]) == {"power", "torque_change", "limit_share", "fall_rate"}
        assert all(math.isfinite(value) for value in ladder["ladder_effort"].values())
    assert "return" in figures and found["num_envs"] == 2


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--task=go2_blind_flat",), "train"),
        (("--task=go2_flat", "--ladder", "--env.terrain.mesh_type=plane"), "the ladder needs tiles"),
        (("--task=go2_flat", "--ladder", "--env.terrain.curriculum=true"), "robots stay on their levels"),
        (("--task=go2_flat", "--checkpoint=7"), "no checkpoint 7"),
        (("--task=go2_flat", "--json=/nowhere/x.json"), "there is no folder /nowhere"),
        (("--task=go2_flat", "--json=/tmp"), "expected the name of a file"),
        (("--task=go2_blind_flat", "--experiment_name=go2_flat"), "task 'go2_flat'"),
    ],
)
def test_evaluating_what_is_not_there_is_one_clear_line(trained, tmp_path, args, message):
    result = run("evaluate", f"--log_root={trained}", *args, cwd=tmp_path)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2 and len(lines) == 1 and message in lines[0], result.stderr


def test_describe_prints_the_layout_as_json(tmp_path):
    result = run("describe", "--task=go2_flat", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    description = json.loads(result.stdout)
    assert {name: group["dim"] for name, group in description["groups"].items()} == {
        "policy": 45,
        "privileged": 174,
        "critic": 171,
    }
    assert description["groups"]["policy"]["terms"][3] | {"noise": 0} == {
        "name": "dof_pos", "dim": 12, "slice": [9, 21], "scale": 1.0, "noise": 0, "unit": "rad",
    }  # fmt: skip
    assert description["randomization"]["friction"]["range"] == {"domain_rand.friction_range": [0.3, 1.25]}
    assert description["networks"]["actor"]["layers"][0] == [128, 45]


def test_describe_lists_the_tasks(tmp_path):
    assert run("describe", "--list", cwd=tmp_path).stdout.split() == TASKS


@pytest.mark.parametrize("script", ["train", "play", "evaluate", "describe"])
def test_help_does_not_wait_for_torch(script):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({str(SCRIPTS / script) + '.py'!r}, run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "False" and "--task" in result.stdout


def test_the_former_name_of_sweep_still_runs_it_and_names_the_new_one(tmp_path):
    result = run("benchmark", "--tasks", "go2_flat", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "note: benchmark.py is called sweep.py now\nerror: give the folder of the table as --log_root=DIR\n"
    )
