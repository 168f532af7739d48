"""benchmarks/seeds.py: intervals by hand, and what is compared with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from legged_gym_ext.utils.errors import UserError


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import seeds

    return seeds


def _row(task: str, seed: int, deployed: str, **policies: float) -> dict[str, Any]:
    return {
        "task": task,
        "seed": seed,
        "deployed": deployed,
        "policies": {name: {"return": value} for name, value in policies.items()},
    }


def test_interval_of_equal_variances_is_that_of_students_t(seeds: Any) -> None:
    """Three values each of variance 1: four degrees of freedom, t = 2.776, standard error sqrt(2 / 3)."""
    difference, low, high = seeds.welch([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert difference == -3.0
    assert (low, high) == pytest.approx((-3.0 - 2.776 * 0.8165, -3.0 + 2.776 * 0.8165), abs=0.02)


def test_interval_of_unequal_variances_has_fewer_degrees_of_freedom(seeds: Any) -> None:
    """Variance 4 against 0: all of it is one sample's, two degrees of freedom, t = 4.303, error sqrt(4 / 3)."""
    _, low, high = seeds.welch([4.0, 6.0, 8.0], [1.0, 1.0, 1.0])
    assert (low, high) == pytest.approx((5.0 - 4.303 * 1.1547, 5.0 + 4.303 * 1.1547), abs=0.05)


def test_the_deployed_policies_are_compared(seeds: Any) -> None:
    """A student stands for its method, however good its teacher is; a task with one seed is not compared."""
    rows = [_row("blind", seed, "policy", policy=10.0 + seed) for seed in (1, 2, 3)]
    rows += [_row("cts", seed, "student", teacher=99.0, student=20.0 + seed) for seed in (1, 2, 3)]
    rows += [_row("ult", 1, "student", teacher=99.0, student=50.0)]
    (found,) = seeds.differences(rows)
    assert (found["task"], found["than"], found["figure"], found["difference"]) == ("cts", "blind", "return", 10.0)
    assert "**+10.0 [" in seeds.difference_table([found])
    found["interval"] = [-1.0, 21.0]
    assert "**" not in seeds.difference_table([found])


def test_stairs_are_the_mean_of_their_levels(seeds: Any) -> None:
    """Half of the levels passed by everyone is one half; figures that were not measured are left out."""
    metrics = {"return": 1.23456, "ladder": {"stairs_up": [1.0] * 5 + [0.0] * 5}, "energy": 3.0}
    assert seeds.figures(metrics) == {"return": 1.2346, "stairs_up": 0.5}


def test_a_run_without_an_evaluation_says_how_to_make_one(seeds: Any, tmp_path: Path) -> None:
    """One line with the command."""
    with pytest.raises(UserError, match=r"evaluation.json does not exist; evaluate.py --task=TASK --load_run="):
        seeds.read_run(tmp_path)
