"""Which GPU a process of a torchrun uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import train


@pytest.mark.parametrize(
    ("world", "given", "expected"), [("2", "cuda", "cuda:1"), ("2", "cpu", "cpu"), ("1", "cuda:0", "cuda:0")]
)
def test_physics_and_learning_of_a_process_are_on_its_own_gpu(monkeypatch, world, given, expected):
    for name, value in (("WORLD_SIZE", world), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    env_cfg.sim.device = train_cfg.runner.device = given
    made = []

    def stop(task, cfg):
        made.append(cfg.sim.device)
        raise InterruptedError

    monkeypatch.setattr(task_registry, "make_env", stop)
    with pytest.raises(InterruptedError):
        train._make_runner("go2_flat", env_cfg, train_cfg, Path(), ())
    assert (made, train_cfg.runner.device) == ([expected], expected)
