"""What report.py reads from run folders: curves, seconds, resumed trainings, seeds that belong together, scores."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from legged_gym_ext.reports import curves, records, scores  # noqa: E402
from legged_gym_ext.reports.events import merge_curves, processes_of, read_events, seconds_of  # noqa: E402
from tests.report_runs import ROBOTS, STEPS, evaluate, figures, tiles, write_run  # noqa: E402


def test_redone_iterations_are_those_of_the_later_file():
    first = {"a": [(0, 1.0), (1, 2.0), (2, 3.0)], "b": [(2, 9.0)], "a/time": [(7, 1.0)]}
    second = {"a": [(2, 30.0), (3, 40.0)]}
    merged = merge_curves([first, second])
    assert set(merged) == {"a"}  # b at iteration 2 was undone, and not done again
    assert merged["a"][0].tolist() == [0, 1, 2, 3] and merged["a"][1].tolist() == [1.0, 2.0, 30.0, 40.0]


def test_values_that_are_not_finite_are_left_out():
    assert merge_curves([{"a": [(0, math.nan), (1, 2.0), (2, math.inf)]}])["a"][1].tolist() == [2.0]


def test_seconds_add_up_and_iterations_that_are_not_logged_count_like_the_median_one():
    iterations = np.array([2, 3, 4])
    times = {
        "Perf/learning_time": (iterations, np.array([1.0, 1.0, 5.0])),
        "Perf/collection_time": (iterations, np.array([2.0, 2.0, 2.0])),
    }
    assert seconds_of(times).tolist() == [3.0, 6.0, 9.0, 12.0, 19.0]  # 3, 3 (median), 1 + 2, 1 + 2, 5 + 2


def test_robots_of_several_processes_are_told_by_the_logged_speed():
    one = np.ones(3)
    speed = {
        "Perf/total_fps": (one, 2400.0 * 2 / 3.0 * one),
        "Perf/collection_time": (one, 2.0 * one),
        "Perf/learning_time": (one, one),
    }
    assert processes_of(speed, 2400) == 2
    assert processes_of({}, 2400) == 1


def test_an_event_file_that_ends_in_the_middle_of_an_event_is_read_up_to_there(tmp_path):
    (path,) = write_run(tmp_path).glob("events.*")
    whole = len(read_events(path)["Train/mean_reward"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])
    part = read_events(path)["Train/mean_reward"]
    assert whole == 10 and 3 <= len(part) <= 6 and part[2] == (2, 2.0)


def test_a_record_counts_steps_seconds_and_knows_task_and_seed(tmp_path):
    (run,) = records.read_runs([write_run(tmp_path, seed=7)])
    assert (run.task, run.seed, run.flat, run.iterations) == ("go2_flat", 7, True, 10)
    assert run.steps == 10 * ROBOTS * STEPS and run.seconds[-1] == 30.0
    places, values = run.curve("Train/mean_reward") or (None, None)
    assert places[:2] == pytest.approx([0.0024, 0.0048]) and values[:2].tolist() == [0.0, 1.0]
    hours, _ = run.curve("Train/mean_reward", "hours") or (None, None)
    assert hours[-1] == pytest.approx(30.0 / 3600.0)


@pytest.mark.parametrize("load_run", ["2026-01-01_00-00-00_seed1", "-1"])
def test_a_resumed_training_is_one_record_of_both_folders(tmp_path, load_run):
    first = write_run(tmp_path, iterations=range(8))
    torch.save({"iter": 5, "infos": {"task": "go2_flat"}}, first / "model_5.pt")
    write_run(tmp_path, name="2026-01-01_02-00-00_other", iterations=range(3))  # without a checkpoint nobody resumes it
    last = write_run(
        tmp_path,
        name="2026-01-01_03-00-00_seed1",
        iterations=range(6, 12),
        offset=100.0,
        resume=True,
        load_run=load_run,
    )
    (last / "params" / "env.json").write_text(
        (first / "params" / "env.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (run,) = records.read_runs([first.resolve(), last.resolve()])
    assert [folder.name for folder in run.folders] == [first.name, last.name]
    assert run.curves["Train/mean_reward"][1].tolist() == [0, 1, 2, 3, 4, 5, 106, 107, 108, 109, 110, 111]
    assert run.notes == []


def test_a_record_without_its_beginning_says_so(tmp_path):
    (run,) = records.read_runs([write_run(tmp_path, iterations=range(6, 9), resume=True, load_run="gone")])
    assert run.notes == ["what came before iteration 6 is not in its folders; wall time before it is an estimate"]


def test_a_checkpoint_that_cannot_be_read_is_noted_and_the_experiment_names_the_task(tmp_path):
    path = write_run(tmp_path)
    (path / "model_9.pt").touch()
    (run,) = records.read_runs([path])
    assert run.task == "go2_flat" and [note.partition(";")[0] for note in run.notes] == [
        f"checkpoint {path}/model_9.pt is empty"
    ]


def test_an_evaluation_of_another_checkpoint_is_noted(tmp_path):
    path = write_run(tmp_path)
    evaluate(path, "go2_flat", policy=figures(0.5))
    (path / "model_11.pt").touch()
    (run,) = records.read_runs([path])
    assert run.notes == ["evaluation.json is of model_9.pt, the newest one is model_11.pt"]


def test_runs_of_one_task_are_seeds_unless_their_configurations_differ(tmp_path):
    paths = [write_run(tmp_path, name=f"run{seed}", seed=seed, save_interval=seed) for seed in (2, 1)]
    groups = records.group_runs(records.read_runs(paths))
    assert {label: [run.seed for run in runs] for label, runs in groups.items()} == {"go2_flat": [1, 2]}
    assert records.differences(groups["go2_flat"]) == []
    groups["go2_flat"][0].train_cfg["algorithm"]["gamma"] = 0.5
    assert records.differences(groups["go2_flat"]) == ["train.algorithm.gamma"]


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_curves_of_seeds_are_compared_where_all_of_them_are(tmp_path):
    runs = records.read_runs(
        [write_run(tmp_path, name="a"), write_run(tmp_path, name="b", iterations=range(2, 6), offset=4.0)]
    )
    places, values = curves.common_curve(runs, "Train/mean_reward", smoothed=0.0) or (None, None)
    assert places[[0, -1]] == pytest.approx([3 * 0.0024, 6 * 0.0024])  # iterations 2 to 5
    assert values[:, 0].tolist() == [2.0, 6.0] and values[:, -1].tolist() == [5.0, 9.0]
    assert curves.common_curve(runs, "Terrain/level") is None


def test_a_score_is_that_of_the_deployed_policy_over_all_robots():
    def run(**policies: dict[str, Any]) -> Any:
        return SimpleNamespace(policies=policies, deployed=policies.get("student", next(iter(policies.values()), None)))

    # On rough ground too: with its kinds as strata the falls on the hard ones would be left out.
    hard = {"a": figures(0.0), "b": figures(0.0), "c": figures(0.0), "d": figures(9.0)}
    runs = [run(teacher=figures(9.0), student=figures(value, kinds=hard)) for value in (1.0, 6.0)]
    assert scores.score(runs, "progress") == (3.5, (1.0, 6.0))
    assert scores.score(runs, "progress", "teacher") == (9.0, (9.0, 9.0))
    assert scores.score(runs[:1], "progress") == (1.0, None)
    assert scores.score([run()], "progress") is None


def test_the_table_of_the_ground_is_the_mean_over_seeds(tmp_path):
    runs = [SimpleNamespace(deployed=figures(value, **tiles(value))) for value in (0.2, 0.4)]
    rows, columns, values = scores.ground_table(runs) or ([], [], {})  # pyright: ignore
    assert rows == ["stairs up", "discrete", "all"] and columns == ["0", "1", "all"]
    # Means of 0.2 and 0.4, of half of them on level 1.
    assert values["progress"] == pytest.approx(np.array([[0.3, 0.15, 0.3], [0.3, 0.15, 0.3], [0.3, 0.15, 0.3]]))
    assert scores.ground_table([SimpleNamespace(deployed=figures(0.2))]) is None  # pyright: ignore


def test_a_cloned_run_counts_passes_and_no_control_steps(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    path = write_run(tmp_path, "go2_bc_flat", iterations=range(3), rewards=False)
    with SummaryWriter(str(path)) as writer:
        for it in range(3):
            writer.add_scalar("Loss/cloning", 0.1 / (it + 1), it)
            writer.add_scalar("Loss/held_out", 0.2 / (it + 1), it)
            writer.add_scalar("Perf/learning_time", 1.0, it)
            writer.add_scalar("Perf/collection_time", 0.0, it)
    (run,) = records.read_runs([path])
    assert run.cloned and run.steps == 0 and run.iterations == 3
    places, _ = run.curve("Loss/held_out", "passes") or (np.zeros(0), None)
    assert places.tolist() == [1.0, 2.0, 3.0]
    picture = curves.cloning({"go2_bc_flat": [run]})
    assert picture is not None and [axes.get_xlabel() for axes in picture.figure.axes] == ["passes over the data"] * 2
    (other,) = records.read_runs([write_run(tmp_path)])
    assert not other.cloned and curves.cloning({"go2_flat": [other]}) is None
