"""The heat map of the ladder, drawn from tables that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from matplotlib.patches import Rectangle

from benchmarks.ladder import HEADS, read_row, table
from legged_gym_ext.reports.ladder import ladder as draw
from legged_gym_ext.reports.ladder import ladder_table
from legged_gym_ext.reports.records import read_runs
from legged_gym_ext.utils.errors import UserError
from tests.report_runs import evaluate, figures, ladder, write_run


def run(**policies: dict[str, Any]) -> Any:
    return SimpleNamespace(policies=policies)


def drawn(picture: Any) -> dict[str, tuple[list[list[float]], list[float]]]:
    """Title of each panel -> its numbers and the widths of its frames, of the panels that show something."""
    panels = {}
    for axes in picture.figure.axes:
        if axes.axison and axes.images and axes.get_label() != "<colorbar>":
            frames = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
            panels[axes.get_title()] = (np.asarray(axes.images[0].get_array()).tolist(), frames)
    return panels


def test_teacher_and_student_stand_side_by_side_with_their_rates_in_percent_and_what_they_climb_framed():
    teacher, student = ladder([1.0, 0.75, 1.0], [1.0, 1.0, 0.5]), ladder([0.5, 0.0, 0.0], [0.875, 0.0, 0.25])
    picture = draw({"go2_ts": [run(teacher=teacher, student=student)]})
    # Climbed by the teacher: one of three levels and two of three, score 0.5; by the student none and one: 0.17.
    assert drawn(picture) == {
        "go2_ts: teacher, score 0.50": ([[100.0, 75.0, 100.0], [100.0, 100.0, 50.0]], [1.0, 2.0]),
        "go2_ts: student, score 0.17": ([[50.0, 0.0, 0.0], [87.5, 0.0, 25.0]], [1.0]),
    }
    rows = [label.get_text() for label in picture.figure.axes[0].get_yticklabels()]
    assert rows == ["stairs up", "discrete"]


def test_a_method_without_teacher_and_a_ladder_with_another_friction_have_rows_of_their_own():
    both = {"teacher": ladder([1.0], [1.0]), "student": ladder([0.5], [0.5])}
    single = run(policy={**ladder([0.25], [0.75]), "ladder_friction_0.4": ladder([0.0], [0.125])})
    panels = drawn(draw({"go2_ts": [run(**both)], "go2": [single]}))
    assert list(panels) == [
        "go2_ts: teacher, score 1.00",
        "go2_ts: student, score 0.00",
        "go2: policy, score 0.00",
        "go2, friction 0.4: policy, score 0.00",
    ]
    assert panels["go2, friction 0.4: policy, score 0.00"][0] == [[0.0], [12.5]]


def test_seeds_are_averaged_over_those_that_have_the_level():
    runs = [run(policy=ladder([1.0, 0.5], [0.0, 0.0])), run(policy=ladder([0.5], [1.0])), run(policy=figures(0.3))]
    kinds, rates, score = ladder_table(runs, "policy") or ([], np.array([]), 0.0)
    # Scores: (1/2 + 0)/2 = 0.25 and (0 + 1)/2 = 0.5.
    assert kinds == ["stairs_up", "discrete"] and score == pytest.approx(0.375)
    assert rates.tolist() == [[0.75, 0.5], [0.5, 0.0]]


def test_without_a_ladder_there_is_no_picture():
    assert draw({"go2": [run(policy=figures(0.5)), run()]}) is None


def test_the_table_of_runs_has_a_line_per_policy_and_its_seeds_beside_each_other(tmp_path):
    paths = [write_run(tmp_path, "go2_ts", f"2026-01-0{seed}_00-00-00", seed) for seed in (1, 2)]
    hard, easy = [1.0] * 6 + [0.0] * 4, [0.0] * 10
    # Levels 5 and -1 of stairs: 14 cm and nothing; -1 and 5 of obstacles: nothing and 15 cm. Half of (0.6 + 0) is 0.3.
    for path, rates, share in zip(paths, ((hard, easy), (easy, hard)), (0.9, 0.95)):
        slippery = {"ladder_friction_0.4": ladder(easy, easy)} if share == 0.9 else {}
        teacher, student = figures(1.0, **ladder(*rates)), figures(share, **ladder(*rates, effort=0.25), **slippery)
        evaluate(path, "go2_ts", teacher=teacher, student=student)
    lines = table([read_row(run) for run in read_runs(paths)]).splitlines()
    assert len(lines) == 4 and lines[0] == f"| {' | '.join(HEADS)} |"
    assert lines[3] == (
        "| `go2_ts` | student | 0.0 / 0.0 | 14 / - | - / - | - / 15 | 0.30 / 0.30 | 0.00 / - | 0 / 0 | 0.25 / 0.25 | "
        "25.0% / 25.0% | 25% / 25% | 90.0% / 95.0% |"
    )


def test_a_run_without_a_ladder_is_told_how_to_get_one(tmp_path):
    path = write_run(tmp_path, "go2")
    evaluate(path, "go2", policy=figures(0.5))
    with pytest.raises(UserError, match=r"no ladder: evaluate.py --task=go2 --load_run=\S+ --ladder --json"):
        read_row(read_runs([path])[0])
