"""The stage of a training in words, the time to the next level, and the legend of the figures."""

from __future__ import annotations

import pytest

from legged_gym_ext.training.logger import KEY_METRICS
from legged_gym_ext.training.stages import LEGEND, TREND, Stages, figures_of, legend, seconds_until, stage


@pytest.mark.parametrize(
    ("linear", "yaw", "falls", "level", "words"),
    [
        (0.05, 0.03, 0.93, 0.0, "learning to stand"),
        (0.49, 0.49, 0.5, 0.0, "learning to stand"),
        (0.49, 0.49, 0.49, 0.0, "standing"),
        (0.3, 0.3, 0.2, 5.2, "standing"),  # on hard ground only because the map begins there
        (0.4, 0.6, 0.9, 0.0, "stepping"),
        (0.8, 0.6, 0.1, 0.49, "walking"),
        (0.8, 0.58, 0.1, 0.49, "stepping"),
        (0.6, 0.6, 0.1, 0.5, "climbing to level 1"),
        (0.8, 0.8, 0.2, 2.0, "climbing to level 3"),
        (0.8, 0.8, 0.2, None, "walking"),
    ],
)
def test_figures_in_words(linear, yaw, falls, level, words):
    figures = {"lin_tracking": linear, "yaw_tracking": yaw, "falls": falls}
    assert stage(figures if level is None else {**figures, "level": level}) == words


def test_without_tracking_nothing_is_said():
    assert stage({"falls": 0.1}) == "" and Stages().add(1.0, {"success": 0.5}) == ("", None)


def test_a_straight_rise_reaches_the_target_when_its_line_does():
    times = [2.0 * i for i in range(TREND)]
    # 0.01 per second, 0.78 at the last time, 78 s: 1.0 is 0.22 / 0.01 = 22 s away.
    assert seconds_until(times, [0.01 * t for t in times], 1.0) == pytest.approx(22.0)


@pytest.mark.parametrize(
    "values",
    [
        [0.5] * TREND,
        [0.5 - 0.001 * i for i in range(TREND)],
        [0.5 + 0.2 * (i % 2) + 0.0005 * i for i in range(TREND)],  # the rise is lost in the scatter
        [0.0001 * i for i in range(TREND)],  # further away than it was seen
        [0.1 * i for i in range(TREND - 1)],
        [0.1 * i for i in range(TREND)],  # past the target
    ],
    ids=["level", "falling", "scatter", "too far", "too few", "reached"],
)
def test_where_it_would_be_a_guess_no_time_is_named(values):
    assert seconds_until([float(i) for i in range(len(values))], values, 1.0) is None


def test_stages_follow_means_over_ten_iterations_and_predict_levels_only():
    followed, walking = Stages(), {"lin_tracking": 0.8, "yaw_tracking": 0.8, "falls": 0.1}
    for i in range(TREND):
        words, seconds = followed.add(10.0 * i, {**walking, "level": 1.0 + 0.02 * i})
    # Levels of the last ten iterations, 1.60 to 1.78, have a mean of 1.69; 2 is 0.22 / 0.002 = 110 s after 1.78.
    assert words == "climbing to level 2" and seconds == pytest.approx(110.0)
    assert followed.add(400.0, {}) == (words, seconds)  # no episode ended
    assert followed.add(410.0, {**walking, "lin_tracking": 0.0, "level": 1.8})[0] == "climbing to level 2"
    flat = Stages()
    assert {flat.add(i, {**walking, "lin_tracking": 0.01 * i}) for i in range(TREND)} >= {("stepping", None)}


def test_every_figure_of_the_screen_is_explained():
    assert set(KEY_METRICS.values()) <= set(LEGEND)
    flat, rough = (figures_of(robots=True, levels=levels, compared=False) for levels in (False, True))
    assert set(rough) - set(flat) == {"level", "next level"} and "lava" not in rough
    assert {"success", "lava"} <= set(figures_of(robots=False, levels=False, compared=False))
    both = figures_of(robots=True, levels=True, compared=True)
    assert set(both) - set(rough) == {"return teacher/student"}
    title, *lines = legend(rough).splitlines()
    assert title == "figures:" and max(map(len, lines)) <= 120
    starts = [line.strip() for line in lines if not line.startswith("   ")]
    assert all(line.startswith(f"{name}  ") for line, name in zip(starts, rough, strict=True))
