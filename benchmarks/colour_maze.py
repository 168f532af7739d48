"""SITT in the colour maze: who arrives, by seed, with each part of the method left out or turned round.

Every training is one process on one thread. After it teacher and student act, without exploration, for the first
episode in 100 mazes that they were not trained on; success is the target reached in it. Trainings that the file has
already are not repeated, so that the script can be stopped and started again.

    python benchmarks/colour_maze.py --json benchmarks/results/colour_maze.json           # train what is missing
    python benchmarks/colour_maze.py --json benchmarks/results/colour_maze.json --show    # only tables and pictures
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.maze_evaluation import Outcome, prepare, run_mazes
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.utils.config import apply_overrides
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

MAZES, SEED = 100, 12345
EVERY = 20  # iterations between evaluations
ALIGNED_AFTERWARDS = 20
"""Rollouts in which student and proxy are aligned with the teacher of a training that had no alignment."""

SHOWN = 5
"""Seeds, from 1, whose visits are kept and drawn."""

CONDITIONS: dict[str, tuple[str, dict[str, str]]] = {
    "teacher alone": ("colour_maze_teacher", {}),
    "penalty": ("colour_maze_sitt", {}),
    "bonus": ("colour_maze_sitt", {"train.algorithm.kl_sign": "bonus"}),
    "no reward term": ("colour_maze_sitt", {"train.algorithm.kl_weight": "0"}),
    "no alignment": ("colour_maze_sitt", {}),
    "penalty, clip of 1 nat": ("colour_maze_sitt", {"train.algorithm.kl_clip": "1"}),
    "penalty, published quirks": ("colour_maze_sitt", {"env.maze.quirks": "published"}),
}
"""Name -> task, overrides."""


def train(condition: str, seed: int) -> dict[str, Any]:
    """One training and its evaluation."""
    task, overrides = CONDITIONS[condition]
    env_cfg: Any
    train_cfg: Any
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.seed = train_cfg.seed = seed
    train_cfg.runner.eval_interval = 0
    for group, cfg in (("env", env_cfg), ("train", train_cfg)):
        own = {name.partition(".")[2]: value for name, value in overrides.items() if name.startswith(f"{group}.")}
        apply_overrides(cfg, own, group)
    set_seed(seed)
    env, _ = task_registry.make_env(task, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, None)
    started, used = time.time(), time.process_time()
    aligned = condition != "no alignment"
    if not aligned:
        rates = set_rates(runner.alg, [0.0, 0.0])
    vec_env = held_out(task, env_cfg, runner.env.groups)
    curve = []
    for done in range(0, train_cfg.runner.max_iterations, EVERY):
        runner.learn(EVERY, init_at_random_ep_len=done == 0)
        curve.append(point(runner.alg, vec_env, done + EVERY))
    if not aligned:
        set_rates(runner.alg, rates)
        runner.alg.frozen_teacher = True
        runner.learn(ALIGNED_AFTERWARDS)
    steps = env.num_envs * train_cfg.runner.num_steps_per_env * train_cfg.runner.max_iterations
    row: dict[str, Any] = {"condition": condition, "seed": seed, "steps": steps, "curve": curve}
    row.update(wall_s=round(time.time() - started), cpu_s=round(time.process_time() - used))
    for name, policy in runner.alg.inference_policies().items():
        row[name] = summary(run_mazes(vec_env, Policy(policy, "cpu")), seed <= SHOWN)
    return row


def held_out(task: str, env_cfg: Any, groups: tuple) -> RslRlVecEnv:
    """Mazes that a training with `env_cfg` does not have."""
    cfg = copy.deepcopy(env_cfg)
    prepare(cfg)
    cfg.seed, cfg.env.num_envs = SEED, MAZES
    return RslRlVecEnv(task_registry.make_env(task, cfg)[0], groups)


def point(alg: Any, vec_env: RslRlVecEnv, iteration: int) -> list:
    """Iteration, success of teacher and of student, and cells of the path that the teacher visits."""
    found = [run_mazes(vec_env, Policy(policy, "cpu")).metrics() for policy in alg.inference_policies().values()]
    line = [iteration, *(metrics["success"] for metrics in found), round(found[0]["path_cells"], 1)]
    print("  iteration {}: teacher {:.2f}, student {:.2f}, path {}".format(*line), flush=True)
    return line


def set_rates(alg: Any, rates: list[float]) -> list[float]:
    """Set the learning rates of student and proxy, the last two groups of the optimizer; returns the former ones."""
    groups = alg.optimizer.param_groups[-2:]
    before = [group["lr"] for group in groups]
    for group, rate in zip(groups, rates):
        group["lr"] = rate
    return before


def summary(outcome: Outcome, with_visits: bool) -> dict[str, Any]:
    """Metrics and, if asked for, how many of the mazes each cell was visited in: [x, y, count]."""
    found: dict[str, Any] = {name: round(value, 4) for name, value in outcome.metrics().items()}
    if with_visits:
        counts = outcome.visits.sum(0)
        found["visits"] = [[*cell, int(counts[tuple(cell)])] for cell in counts.nonzero().tolist()]
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: success of every seed in percent, and how many seeds arrive in more than half of the mazes."""
    lines = [
        "| training | policy | success by seed, % of mazes | seeds that arrive | in lava, mean % |",
        "|" + "---|" * 5,
    ]
    for condition in CONDITIONS:
        found = sorted((row for row in rows if row["condition"] == condition), key=lambda row: row["seed"])
        for role in ("teacher", "student") if found else ():
            rates = [row[role]["success"] for row in found]
            each = " ".join(f"{100 * rate:.0f}" for rate in rates)
            lava = 100 * sum(row[role]["lava"] for row in found) / len(found)
            arrive = sum(rate > 0.5 for rate in rates)
            lines.append(f"| {condition} | {role} | {each} | {arrive} of {len(rates)} | {lava:.0f} |")
    return "\n".join(lines)


def draw(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """A picture for each training condition: where teacher and student of the first seeds go."""
    from legged_gym_ext.reports import style
    from legged_gym_ext.reports.maze import draw_visits

    paths = []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        found = [row for row in rows if row["condition"] == condition and row["seed"] <= SHOWN]
        found.sort(key=lambda row: row["seed"])
        figure, axes = style.plotting().subplots(2, len(found), figsize=(1.5 * len(found), 3.7), squeeze=False)
        for column, row in enumerate(found):
            for line, role in enumerate(("teacher", "student")):
                values = np.zeros((21, 21))
                for x, y, count in row[role]["visits"]:
                    values[x, y] = count / MAZES
                draw_visits(axes[line, column], values, f"{role} {row['seed']}: {row[role]['success']:.0%}")
        paths.append(folder / f"colour_maze_{condition.replace(',', '').replace(' ', '_')}.png")
        figure.savefig(paths[-1], dpi=100, facecolor="white")
        style.plotting().close(figure)
    return paths


def main() -> None:
    """Parse flags, train what is missing, print the table and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="results, read and added to")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(1, 11)))
    parser.add_argument("--only", nargs="*", choices=[*CONDITIONS], default=[*CONDITIONS])
    parser.add_argument("--show", action="store_true", help="train nothing")
    parser.add_argument("--pictures", type=Path, help="folder of the pictures; default: none are drawn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else []
    for condition in args.only if not args.show else ():
        for seed in args.seeds:
            if any((row["condition"], row["seed"]) == (condition, seed) for row in rows):
                continue
            rows.append(train(condition, seed))
            found = rows[-1]
            rates = ", ".join(f"{role} {found[role]['success']:.2f}" for role in ("teacher", "student"))
            print(f"{condition}, seed {seed}: {rates}; {found['cpu_s']} s of one core", flush=True)
            args.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    print(table(rows))
    for path in draw(rows, args.pictures) if args.pictures else ():
        print(path)


if __name__ == "__main__":
    main()
