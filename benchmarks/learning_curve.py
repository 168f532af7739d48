"""Learning curves as `evaluate.py` would report them: every checkpoint of the given runs is evaluated.

python benchmarks/learning_curve.py --task go2_flat logs/go2_flat/RUN [RUN ...] --json curve.json --png curve.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.utils.errors import run_main

METRICS = ("linear_tracking", "yaw_tracking", "fall_rate")
TARGET = 0.85  # of both trackings


def main(argv: list[str] | None = None) -> None:
    """Parse flags, evaluate, write the figures and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders, one per seed")
    parser.add_argument("--task", default="go2_flat")
    parser.add_argument("--num_envs", type=int, default=128)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args(argv)
    curves = {run.name: curve(args.task, run, args.num_envs) for run in args.runs}
    args.json.write_text(
        json.dumps({"task": args.task, "num_envs": args.num_envs, "runs": curves}, indent=2) + "\n", encoding="utf-8"
    )
    if args.png:
        plot(curves, args.png)


def curve(task: str, run: Path, num_envs: int) -> list[dict[str, Any]]:
    """Environment steps and figures of each checkpoint of one run."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.scripts.evaluate import SEED, evaluate
    from legged_gym_ext.training.runs import checkpoints, load_run_configs
    from legged_gym_ext.utils.config import update_from_dict

    rows = []
    for iteration in checkpoints(run):
        env_cfg, train_cfg = task_registry.get_cfgs(task)
        saved_env, saved_train = load_run_configs(run)
        update_from_dict(env_cfg, saved_env)
        update_from_dict(train_cfg, saved_train)
        steps = (iteration + 1) * env_cfg.env.num_envs * train_cfg.runner.num_steps_per_env
        env_cfg.env.num_envs, env_cfg.seed, train_cfg.runner.checkpoint = num_envs, SEED, iteration
        policies = evaluate(task, env_cfg, train_cfg, run)["policies"]
        figures = policies["student" if "student" in policies else "policy"]
        rows.append({"iteration": iteration, "env_steps": steps, **figures})
        print(run.name, rows[-1], flush=True)
    return rows


def plot(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel per metric, one line per run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(METRICS), figsize=(12, 3.6), layout="constrained")
    for axis, metric in zip(axes, METRICS):
        for number, rows in enumerate(curves.values(), start=1):
            steps = [row["env_steps"] / 1e6 for row in rows]
            axis.plot(steps, [row[metric] for row in rows], marker="o", markersize=3, label=f"seed {number}")
        if metric != "fall_rate":
            axis.axhline(TARGET, color="grey", linestyle="--", linewidth=1, label=f"target {TARGET}")
        axis.set_xlabel("environment steps [million]")
        axis.set_ylabel(
            metric.replace("_", " ") + (" (kernel, 0 to 1)" if metric != "fall_rate" else " per 20 s episode")
        )
        axis.set_ylim(0.0, 1.0)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    run_main(main)
