"""Runs to export, made without training: random networks whose every part matters, saved where a training saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import export
from legged_gym_ext.training.policies import run_cfgs
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser

TASKS = (
    *("go2_flat", "go2_ts_flat", "go2_cts_flat", "go2_rma_flat", "go2_sitt_flat", "go2_ult_flat"),
    "go2_dagger_flat",
)
STEPS = 240  # of the comparison that every export makes: 2 resets, the second in a window that is half known


def make_run(root: Path, task: str, **fields: Any) -> Path:
    """A run folder under `root` with one checkpoint; `fields` of the configuration are named section__field."""
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.env.num_envs, env_cfg.terrain.mesh_type = 8, "plane"
    for name, value in fields.items():
        section, field = name.split("__")
        setattr(getattr(env_cfg, section), field, value)
    train_cfg.runner.logger = "none"
    if "dagger" in task:
        train_cfg.runner.teacher = str(make_run(root, "go2_ts_flat", **fields))
    torch.manual_seed(3)
    env, _ = task_registry.make_env(task, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, root)
    network = getattr(runner.alg, "network", None) or runner.alg.actor
    with torch.no_grad():
        for value in network.parameters():  # what starts at zero, attention for one, must not stay there
            value += 0.05 * torch.randn_like(value)
        for name, value in network.named_buffers():
            if name.endswith(("mean", "std")):
                value += 0.5 * torch.rand_like(value)
    run = Path(runner.logger.log_dir)
    runner.current_learning_iteration = 7
    runner.save(str(run / "model_7.pt"))
    return run


def sources(run: Path, task: str) -> list:
    """What export.py would export of a run."""
    args = parse(make_parser("test"), [f"--task={task}", f"--load_run={run}", "--num_envs=8"])
    env_cfg, train_cfg, run_dir = run_cfgs(task, args, export.level_ground)
    assert run_dir == run
    return export.make_sources(task, env_cfg, train_cfg, run)[0]
