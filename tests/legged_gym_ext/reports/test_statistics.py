"""Interquartile means and bootstrap intervals: hand-computed values, and properties that any correct bootstrap has."""

from __future__ import annotations

import numpy as np
import pytest

from legged_gym_ext.reports.statistics import curve_band, interquartile_mean, stratified_interval


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # a quarter of three is less than one value: nothing is cut
        ([0.0, 1.0, 3.0, 100.0], 2.0),  # (1 + 3) / 2
        ([100.0, 1.0, 0.0, 3.0, 8.0], 4.0),  # (1 + 3 + 8) / 3
        ([-50.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 99.0], 3.5),  # two are cut at either end: (2 + 3 + 4 + 5) / 4
    ],
)
def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end(values, mean):
    assert interquartile_mean(values) == mean


def test_along_an_axis_every_column_has_its_own_quarters():
    table = np.array([[0.0, 8.0], [1.0, 2.0], [3.0, 4.0], [100.0, -9.0]])
    assert interquartile_mean(table, axis=0).tolist() == [2.0, 3.0]
    assert interquartile_mean(table) == 2.5  # 0, 1, 2, 3, 4, 8 without the outer two of eight: (1 + 2 + 3 + 4) / 4


def test_two_runs_have_an_interval_from_the_one_to_the_other():
    # Resamples of {0, 1} are (0, 0), (0, 1), (1, 0), (1, 1): means 0, 0.5, 1 with chances 1/4, 1/2, 1/4, more than 2.5
    # % each.
    assert stratified_interval([[0.0, 1.0]]) == (0.0, 1.0)
    # 60 % around the middle leave out 20 % at either end, less than the quarter that the ends have.
    assert stratified_interval([[0.0, 1.0]], confidence=0.6) == (0.0, 1.0)
    # 40 % leave out 30 %.
    assert stratified_interval([[0.0, 1.0]], confidence=0.4) == (0.5, 0.5)


def test_equal_runs_have_an_interval_without_width():
    assert stratified_interval([[3.0, 3.0, 3.0], [3.0, 3.0]]) == (3.0, 3.0)


def test_strata_are_drawn_by_themselves():
    # Runs differ between strata and not within: drawn in each stratum, nothing varies. Drawn from all, the mean would
    # vary from 0 to 10.
    assert stratified_interval([[0.0, 0.0], [10.0, 10.0]]) == (5.0, 5.0)


def test_with_one_run_in_any_stratum_there_is_no_interval():
    assert stratified_interval([[1.0]]) is None
    assert stratified_interval([[1.0, 2.0], [3.0]]) is None
    assert stratified_interval([]) is None


def test_the_interval_of_normal_scores_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for repetition in range(200):
        low, high = stratified_interval([rng.normal(size=40)], repetitions=300, seed=repetition) or (0.0, 0.0)
        covered += low <= 0.0 <= high
    assert (
        175 <= covered <= 199
    )  # 190 expected, five standard deviations of 3.1 below; percentile intervals are a little short


def test_a_band_draws_whole_runs():
    # Two runs that cross: of every drawn pair the sum over the points is that of one of them or of their mean.
    low, high = curve_band([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]) or (None, None)
    assert low.tolist() == [0.0, 1.0, 0.0] and high.tolist() == [2.0, 1.0, 2.0]
    assert curve_band([[0.0, 1.0]]) is None
