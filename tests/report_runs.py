"""Run folders as a training and evaluate.py leave them, without either: shared by the tests of report.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from legged_gym_ext.envs import task_registry
from legged_gym_ext.training.ladder import ladder_metrics
from legged_gym_ext.training.runs import save_run_configs

ROBOTS, STEPS = 100, 24
KINDS = ("stairs_up", "discrete")


def figures(value: float, **more: Any) -> dict[str, Any]:
    """What evaluate.py says of a policy."""
    names = ("linear_tracking", "yaw_tracking", "progress", "fall_rate")
    return {"return": 10.0 * value, "energy": 50.0, **dict.fromkeys(names, value), **more}


def write_run(
    root: Path,
    task: str = "go2_flat",
    name: str = "2026-01-01_00-00-00_seed1",
    seed: int = 1,
    iterations: range = range(10),
    offset: float = 0.0,
    rewards: bool = True,
    **runner: Any,
) -> Path:
    """A run folder with configurations and curves: rewards grow by 1 (without `rewards` no episode ended), 3 s each."""
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.env.num_envs, train_cfg.seed = ROBOTS, seed
    train_cfg.runner.num_steps_per_env = STEPS
    for field, value in runner.items():
        setattr(train_cfg.runner, field, value)
    path = root / task / name
    path.mkdir(parents=True)
    save_run_configs(path, env_cfg, train_cfg)
    with SummaryWriter(str(path)) as writer:
        for it in iterations:
            row = {"Train/mean_reward": it + offset, "Metrics/fall_rate": 0.5, "Metrics/linear_tracking": 0.8}
            row = row if rewards else {}
            row.update({"Perf/collection_time": 2.0, "Perf/learning_time": 1.0, "Perf/total_fps": ROBOTS * STEPS / 3.0})
            if not task.endswith("_flat"):
                row.update({"Terrain/level": it / 5, **{f"Terrain/level_{kind}": it / 5 for kind in KINDS}})
            if "_ts" in task and it % 5 == 4:
                row.update({f"Comparison/return_{role}": it + offset for role in ("teacher", "student")})
            for tag, value in row.items():
                writer.add_scalar(tag, value, it)
    return path


def evaluate(path: Path, task: str, **policies: dict[str, Any]) -> None:
    (path / "evaluation.json").write_text(
        json.dumps({"task": task, "checkpoint": "x/model_9.pt", "policies": policies}), encoding="utf-8"
    )


def tiles(value: float) -> dict[str, Any]:
    """Figures by kind, by level and both, two levels."""
    each = {"0": figures(value), "1": figures(value / 2)}
    return {"kinds": {kind: figures(value) for kind in KINDS}, "levels": each, "tiles": dict.fromkeys(KINDS, each)}


def ladder(*rates: list[float], effort: float = 1.0) -> dict[str, Any]:
    """What `evaluate.py --ladder` says of a policy: success rates of each of `KINDS`."""
    names = ("power", "torque_change", "limit_share", "fall_rate")
    return {**ladder_metrics(dict(zip(KINDS, rates))), "ladder_effort": dict.fromkeys(names, effort)}
