"""A training with `--logger wandb`, offline: what wandb's own reader finds, and that training is not affected."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from legged_gym_ext.doctor import diagnosis
from legged_gym_ext.reports.events import event_files, read_events
from legged_gym_ext.utils.errors import installed
from tests.environments import write

pytestmark = pytest.mark.slow

pytest.importorskip("wandb")

ROOT = Path(__file__).resolve().parents[3]
TRAIN = ROOT / "legged_gym_ext" / "scripts" / "train.py"
SMALL = (
    "--task=go2_ts_flat",
    "--headless",
    "--num_envs=8",
    "--max_iterations=3",
    "--train.runner.num_steps_per_env=12",
)
SMALL += (
    "--env.env.episode_length_s=0.4",
    "--env.rewards.scales.trot=0.125",
)  # episodes end within the three iterations
VIDEO = (
    "--video",
    "--train.runner.video_interval=2",
    "--train.runner.video_length=0.2",
    "--train.runner.video_width=320",
)


def variables(**changes: str) -> dict[str, str]:
    """The environment's variables without those of W&B."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}, **changes}


def python(*arguments: Any, cwd: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `cwd`, this checkout in front."""
    environment = variables(PYTHONPATH=str(ROOT), **changes)
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def records(folder: Path) -> list[dict[str, Any]]:
    """Everything that the offline run in `folder` holds, read by `wandb leet inspect`."""
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    done = python("-m", "wandb", "leet", "inspect", "--json", log, cwd=folder, WANDB_ERROR_REPORTING="false")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def of_kind(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


class Trained(NamedTuple):
    """A training that is over: run folder, working directory, records of W&B, whether videos could be drawn."""

    run: Path
    cwd: Path
    records: list[dict[str, Any]]
    drawn: bool


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    """One training with W&B and, where something can draw, videos."""
    logs, cwd = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("cwd")
    command = (TRAIN, *SMALL, "--logger=wandb", f"--log_root={logs}")
    done = python(*command, *VIDEO, cwd=cwd)
    drawn = "OpenGL" not in done.stderr and "cannot draw here" not in done.stderr
    if not drawn:
        done = python(*command, cwd=cwd)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    (run,) = (logs / "go2_ts_flat").iterdir()
    return Trained(run, cwd, records(run), drawn)


def history(trained: Trained) -> dict[str, dict[int, Any]]:
    """Tag -> step -> value."""
    found: dict[str, dict[int, Any]] = {}
    for row in of_kind(trained.records, "history"):
        for tag, value in row["item"].items():
            found.setdefault(tag, {})[int(row["step"].get("num", 0))] = value
    return {tag: values for tag, values in found.items() if not tag.startswith("_")}


def test_every_scalar_of_the_event_file_is_in_the_run_at_the_same_iteration(trained):
    (events,) = event_files(trained.run)
    written = {tag: dict(points) for tag, points in read_events(events).items()}
    assert set(written["Perf/total_fps"]) == {0, 1, 2} and "Episode/rew_trot" in written
    scalars = {tag: values for tag, values in history(trained).items() if not tag.startswith("video.")}
    # Event files hold single precision.
    assert {tag: {it: float(np.float32(v)) for it, v in values.items()} for tag, values in scalars.items()} == written


def test_the_configuration_in_the_run_is_the_merged_one_of_the_run_folder(trained):
    merged = {
        name: json.loads((trained.run / "params" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("env", "train")
    }
    found: dict[str, Any] = {}
    for record in [of_kind(trained.records, "run")[0]["config"], *of_kind(trained.records, "config")]:
        found.update(record["update"])
    assert {name: found[name] for name in merged} == merged
    assert found["env"]["rewards"]["scales"]["trot"] == 0.125 and found["env"]["env"]["num_envs"] == 8
    assert found["train"]["algorithm"]["class_name"] == "rsl_rl_ult.algorithms:PPO_TS"


def test_the_run_is_named_like_its_folder_in_the_project_asked_for_and_ended_well(trained):
    (run,) = of_kind(trained.records, "run")
    assert (run["display_name"], run["project"]) == (trained.run.name, "legged_gym_ext")
    assert of_kind(trained.records, "exit")[-1].get("exit_code", 0) == 0


def test_code_diff_and_checkpoints_are_files_of_the_run(trained):
    files = {file["path"] for record in of_kind(trained.records, "files") for file in record["files"]}
    (folder,) = trained.run.glob("wandb/offline-run-*/files")
    diffs = [path.name for path in (trained.run / "git").iterdir()] if (ROOT / ".git").exists() else []
    assert {*diffs, "model_0.pt", "model_2.pt"} <= files
    for name in diffs:
        head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        assert (folder / name).read_text(encoding="utf-8").startswith(f"--- git commit ---\n{head.stdout.strip()}\n")
    assert (folder / "model_2.pt").read_bytes() == (trained.run / "model_2.pt").read_bytes()


def test_a_video_is_written_every_two_iterations_and_logged_once(trained):
    if not trained.drawn:
        pytest.skip("nothing can draw here")
    assert sorted(path.name for path in (trained.run / "videos").iterdir()) == ["model_0.mp4", "model_2.mp4"]
    videos = history(trained)["video.path"]
    # W&B's copy of the first lies below the run folder, too; iteration 1 must not take it for another.
    assert sorted(videos) == [0, 2]
    (folder,) = trained.run.glob("wandb/offline-run-*/files")
    for it, path in videos.items():
        assert (folder / path).read_bytes() == (trained.run / "videos" / f"model_{it}.mp4").read_bytes()


def test_the_video_shows_the_robot_for_the_length_asked_for(trained):
    if not trained.drawn:
        pytest.skip("nothing can draw here")
    imageio = pytest.importorskip("imageio.v3")
    frames = imageio.imread(trained.run / "videos" / "model_2.mp4")
    assert frames.shape == (5, 180, 320, 3)  # 0.2 s at 25 frames/s
    assert (frames.reshape(5, -1).std(axis=1) > 10.0).all()  # of 255; a picture of nothing has 0


def test_training_learns_the_same_weights_without_logger_and_video(trained, tmp_path):
    done = python(TRAIN, *SMALL, "--logger=none", f"--log_root={tmp_path}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (plain,) = (tmp_path / "go2_ts_flat").glob("*/model_2.pt")
    saved = [torch.load(path, weights_only=True) for path in (plain, trained.run / "model_2.pt")]
    ours, theirs = (checkpoint["model_state_dict"] for checkpoint in saved)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(*(checkpoint["infos"]["torch_rng"] for checkpoint in saved))
    assert torch.equal(*(checkpoint["infos"]["env"]["rng"] for checkpoint in saved))


def test_everything_is_written_inside_the_run_folder(trained):
    assert list(trained.cwd.iterdir()) == []
    assert {path.name for path in trained.run.parent.parent.iterdir()} == {"go2_ts_flat"}
    assert {path.name for path in trained.run.iterdir() if path.is_dir()} <= {"params", "git", "videos", "wandb"}


@pytest.mark.parametrize("folder", ["logs/go2/2026-01-31_12-00-00/wandb/offline-run-1", "wandb/offline-run-1"])
def test_git_ignores_the_folders_of_wandb(folder):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    assert subprocess.run(["git", "-C", str(ROOT), "check-ignore", "-q", f"{folder}/run-1.wandb"]).returncode == 0


TWO_RUNS = """
import sys
from pathlib import Path
from legged_gym_ext.training.wandb_writer import WandbWriter
for name, stopped in (("first", False), ("second", True)):  # the first breaks off
    folder = Path(name)
    folder.mkdir()
    writer = WandbWriter(str(folder), "test")
    writer.add_scalar(name, 1.0, 0)
    if stopped:
        writer.stop()
"""


def test_a_training_after_one_that_broke_off_in_the_same_process_has_its_own_run(tmp_path):
    done = python("-c", TWO_RUNS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, code in (("first", 1), ("second", 0)):
        found = records(tmp_path / name)
        tags = {tag for row in of_kind(found, "history") for tag in row["item"] if not tag.startswith("_")}
        assert tags == {name} and of_kind(found, "exit")[-1].get("exit_code", 0) == code


def test_wandb_that_does_not_start_is_one_line(tmp_path):
    done = python(TRAIN, *SMALL, "--logger=wandb", f"--log_root={tmp_path}", cwd=tmp_path, WANDB_MODE="sometimes")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("error: wandb does not start: ")
    assert "sometimes" in line and "WANDB_MODE=offline" in line


def test_the_doctor_starts_the_writer():
    row = diagnosis._wandb()
    assert row.level == "ok" and row.text.endswith(", an offline run starts"), row


def test_the_doctor_names_a_wandb_that_can_be_imported_but_does_not_start(monkeypatch, tmp_path):
    broken = "class Error(Exception): pass\nSettings = dict\ndef setup(_): raise OSError('no core')\n"
    write(tmp_path, {"wandb/__init__.py": broken})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert installed("wandb")
    row = diagnosis._wandb()
    assert row.level == "problem" and "no core" in row.text and "\n" not in row.text and row.advice and not row.needs
