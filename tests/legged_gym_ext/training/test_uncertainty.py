"""Standard errors of an evaluation's figures."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from legged_gym_ext.training.uncertainty import standard_errors  # noqa: E402


def test_that_of_a_mean_is_the_deviation_over_the_root_of_their_number() -> None:
    values = torch.tensor([1.0, 4.0, 2.0, 9.0, 4.0], dtype=torch.float64)
    found = standard_errors(lambda rows: {"mean": float(values[rows].mean())}, 5)
    # Mean 4; squares of differences 9 + 0 + 4 + 25 + 0 = 38; 38 / 4 / 5 = 1.9.
    assert found == {"mean": pytest.approx(math.sqrt(1.9), rel=1e-12)}


def test_that_of_a_ratio_counts_how_its_parts_vary_together() -> None:
    way, commanded = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([2.0, 4.0, 12.0])
    found = standard_errors(lambda rows: {"progress": float(way[rows].sum() / commanded[rows].sum())}, 3)
    assert found["progress"] == 0.0  # everyone walks half of the way, however long it is


def test_it_is_the_deviation_of_repeated_evaluations() -> None:
    draw = torch.Generator().manual_seed(0)
    squares = torch.randn(400, 200, generator=draw, dtype=torch.float64).square()
    rmse = squares.mean(1).sqrt()  # of 400 evaluations of 200 robots
    errors = [
        standard_errors(lambda rows, one=one: {"rmse": float(one[rows].mean().sqrt())}, 200) for one in squares[:20]
    ]
    mean = sum(error["rmse"] for error in errors) / len(errors)
    # The deviation of 400 evaluations is known to 3.5 %, the mean of 20 errors to about 2 %.
    assert mean == pytest.approx(float(rmse.std()), rel=0.12)


def test_a_single_episode_has_none() -> None:
    assert standard_errors(lambda rows: {"return": 1.0}, 1) == {}
