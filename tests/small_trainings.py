"""Trainings of a few robots and steps, in this process: shared by the tests of training, resuming and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SMALL = ("--train.runner.num_steps_per_env=4", "--train.algorithm.num_mini_batches=2", "--logger=none", "--num_envs=4")


def start(root: Path, *flags: str, task: str = "go2_flat") -> list[str]:
    """Flags of a new training."""
    return [f"--task={task}", f"--log_root={root}", *SMALL, *flags]


def resume(root: Path, *flags: str, task: str = "go2_flat") -> list[str]:
    """Flags of a training that goes on."""
    return [f"--task={task}", f"--log_root={root}", "--resume", *flags]


def newest(root: Path, task: str = "go2_flat") -> Path:
    """The newest run folder."""
    return sorted((root / task).iterdir())[-1]


def at_iteration(monkeypatch: pytest.MonkeyPatch, number: int, action: Any) -> None:
    """Do something in the middle of an iteration (counted from 0), where its first robot step is."""
    from legged_gym_ext.training import runner as runners

    count = [-1]
    before = runners.CompactLogger.process_env_step

    def process(self: Any, *args: Any, **kwargs: Any) -> None:
        count[0] += 1
        if count[0] == number * self.cfg["num_steps_per_env"]:
            action()
        before(self, *args, **kwargs)

    monkeypatch.setattr(runners.CompactLogger, "process_env_step", process)
