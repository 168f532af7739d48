"""Clocks that jump: a training learns the same, names its folder, and says its times without nonsense."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest

from legged_gym_ext.scripts import train
from legged_gym_ext.training import runs
from tests.reliability.programs import all_checkpoints, same, training

YEAR = 3.2e7  # s
pytestmark = pytest.mark.slow
JUMPS = {
    "back": [0.0, -3600.0],
    "far back": [0.0, -40 * YEAR],
    "ahead": [0.0, 20 * YEAR],
    "to and fro": [0.0, 9.0, -9.0],
}
"""What is added to the system's clock from one look to the next, in turn."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    train.main(training(root, 3))
    return all_checkpoints(root)[-1]


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS)
def test_a_training_under_a_jumping_clock_learns_the_same(tmp_path, monkeypatch, capsys, whole, jumps):
    offsets, now = itertools.cycle(jumps), time.time

    def jumping() -> float:
        return now() + next(offsets)

    monkeypatch.setattr(time, "time", jumping)  # `time.monotonic` does not jump, on any system
    train.main(training(tmp_path, 3))
    monkeypatch.setattr(time, "time", now)
    shown = capsys.readouterr().out
    assert same(all_checkpoints(tmp_path)[-1], whole)
    lines = [line for line in shown.splitlines() if line.startswith("it ")]
    assert len(lines) == 3
    for line in lines:
        assert re.search(r"elapsed \d[\d:]*  eta \d[\d:]*$", line), line
        assert re.search(r"steps/s \d+ ", line) and "-" not in line, line


def test_a_clock_that_went_back_gives_folders_that_resume_from_the_named_run(tmp_path, monkeypatch, capsys):
    """Names sort by age as the clock has it: the run of the "future" is the newest one, and the line says which."""

    class Clock(runs.datetime):
        stamps = iter([runs.datetime(2031, 1, 1), runs.datetime(1999, 1, 1), runs.datetime(1999, 1, 1)])

        @classmethod
        def now(cls, *args: object) -> runs.datetime:
            return next(cls.stamps)

    monkeypatch.setattr(runs, "datetime", Clock)
    train.main(training(tmp_path, 2))
    train.main(training(tmp_path, 2))
    names = sorted(path.name for path in (tmp_path / "go2_flat").iterdir())
    assert names == ["1999-01-01_00-00-00", "2031-01-01_00-00-00"]
    capsys.readouterr()
    train.main([*training(tmp_path, 3), "--resume", "--load_run=1999-01-01_00-00-00"])
    assert "resumed from" in (out := capsys.readouterr().out) and "1999-01-01_00-00-00/model_1.pt" in out
    assert (tmp_path / "go2_flat/1999-01-01_00-00-00-1/model_2.pt").is_file()
