r"""Table and curves of finished runs, one row per task: teacher and student of every seed.

Each run folder needs the figures of `evaluate.py --load_run=RUN --json RUN/evaluation.json`. Curves are what the run
logged while it learnt (`Comparison/return_teacher`, `Comparison/return_student`); of tasks with a single policy, the
same comparison of every checkpoint. Seconds are those of collecting and learning, as logged.

    python benchmarks/teacher_student.py logs/go2_ts/* logs/go2_cts/* \
        --json table.json --png curves.png --both_png steps_and_time.png
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.training.runs import find_checkpoint, load_checkpoint, load_run_configs
from legged_gym_ext.utils.errors import run_main

SHOWN = ("return", "linear_tracking", "yaw_tracking", "fall_rate")
COMPARED = 64  # robots of a comparison, as in the tasks


def read_run(run: Path) -> dict[str, Any]:
    """Figures, steps, wall time and curve of one run folder."""
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    checkpoint = load_checkpoint(find_checkpoint(run, -1), "cpu")
    steps, seconds = checkpoint["infos"]["total"]
    _, train_cfg = load_run_configs(run)
    row = {
        "task": evaluation["task"],
        "run": run.name,
        "seed": train_cfg["seed"],
        "steps": steps,
        "seconds": seconds,
        "policies": {
            name: {key: round(figures[key], 4) for key in SHOWN} for name, figures in evaluation["policies"].items()
        },
        "curve": read_curve(run, steps // (checkpoint["iter"] + 1)),
    }
    if "student" in row["policies"]:
        row["student_share"] = row["policies"]["student"]["return"] / row["policies"]["teacher"]["return"]
    return row


def read_curve(run: Path, steps_per_iteration: int) -> dict[str, list[tuple[int, float, float]]]:
    """Policy -> (environment steps, seconds, return of a comparison)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    spent, seconds = {}, 0.0
    times = (events.Scalars(f"Perf/{part}_time") for part in ("collection", "learning"))
    for collected, learnt in zip(*times):
        seconds += collected.value + learnt.value
        spent[collected.step] = seconds
    found = {}
    for name in ("teacher", "student"):
        tag = f"Comparison/return_{name}"
        if tag in events.Tags()["scalars"]:
            found[name] = [(point.step, point.value) for point in events.Scalars(tag)]
    return {
        name: [((it + 1) * steps_per_iteration, round(spent[it], 1), round(value, 3)) for it, value in points]
        for name, points in (found or compare_checkpoints(run)).items()
    }


def compare_checkpoints(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Policy -> (iteration, return): what teacher-student runs compare and log, made afterwards for each checkpoint."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.comparison import Comparison
    from legged_gym_ext.training.policies import WEIGHTS_ONLY, Policy
    from legged_gym_ext.utils.config import update_from_dict

    env_cfg, train_cfg = task_registry.get_cfgs(
        task := json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["task"]
    )
    for cfg, saved in zip((env_cfg, train_cfg), load_run_configs(run)):
        update_from_dict(cfg, saved)
    env_cfg.env.num_envs, train_cfg.runner.logger, train_cfg.runner.resume = 1, "none", False
    env, _ = task_registry.make_env(task, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    comparison, points = Comparison(env, runner.env.groups, COMPARED), []
    for iteration in sorted(int(path.stem.split("_")[1]) for path in run.glob("model_*.pt")):
        runner.load(str(run / f"model_{iteration}.pt"), load_cfg=dict(WEIGHTS_ONLY))
        policy = Policy(runner.get_inference_policy(runner.device), runner.device)
        points.append((iteration, comparison.run({"policy": policy})["policy"]["return"]))
    return {"policy": points}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one line per task and policy; several seeds are separated by slashes."""
    lines = [
        "| task | policy | return | linear tracking | yaw tracking | falls | student / teacher return |",
        "|" + "---|" * 7,
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        seeds = sorted((row for row in rows if row["task"] == task), key=lambda row: row["seed"])
        for name in seeds[0]["policies"]:
            cells = [" / ".join(_format(row["policies"][name][key], key) for row in seeds) for key in SHOWN]
            share = " / ".join(f"{100 * row['student_share']:.1f} %" for row in seeds) if name == "student" else ""
            lines.append(f"| `{task}` | {name} | {' | '.join(cells)} | {share} |")
    return "\n".join(lines)


def _format(value: float, key: str) -> str:
    if key == "fall_rate":
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if key == "return" else f"{value:.3f}"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """One panel per task with teacher and student, a line per seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = [
        task
        for task in dict.fromkeys(row["task"] for row in rows)
        if any("student" in r["curve"] for r in rows if r["task"] == task)
    ]
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.4), sharey=True, squeeze=False)
    for axis, task in zip(axes[0], tasks):
        for row in (row for row in rows if row["task"] == task):
            for name, color in (("teacher", "tab:blue"), ("student", "tab:orange")):
                points = row["curve"].get(name, [])
                label = name if row is next(r for r in rows if r["task"] == task) else None
                axis.plot(
                    [x / 1e6 for x, _, _ in points], [y for _, _, y in points], color=color, alpha=0.8, label=label
                )
        axis.set(title=task, xlabel="environment steps [million]")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("return of 5 s")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def plot_both(rows: list[dict[str, Any]], path: Path) -> None:
    """What is deployed of every task, against environment steps and against time: median and range of the seeds.

    Deployed is the student, or the only policy.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for index, task in enumerate(dict.fromkeys(row["task"] for row in rows)):
        found = [c.get("student") or c.get("policy") for c in (row["curve"] for row in rows if row["task"] == task)]
        curves = [{point[0]: point for point in curve} for curve in found if curve]
        points = [[curve[steps] for curve in curves] for steps in curves[0] if all(steps in curve for curve in curves)]
        for axis, column, unit in ((axes[0], 0, 1e6), (axes[1], 1, 60.0)):
            x = [statistics.median(point[column] for point in group) / unit for group in points]
            values = [sorted(point[2] for point in group) for group in points]
            axis.plot(x, [statistics.median(group) for group in values], color=f"C{index}", label=task)
            low, high = [group[0] for group in values], [group[-1] for group in values]
            axis.fill_between(x, low, high, color=f"C{index}", alpha=0.15)
    axes[0].set(xlabel="environment steps [million]", ylabel="return of 5 s, what is deployed")
    axes[1].set(xlabel="collecting and learning [minutes]")
    for axis in axes:
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    """Parse flags, read the runs, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--png", type=Path, help="teacher and student of every seed, one panel per task")
    parser.add_argument("--both_png", type=Path, help="all tasks in one, against steps and against time")
    args = parser.parse_args(argv)
    rows = [read_run(run) for run in args.runs]
    args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    for task in dict.fromkeys(row["task"] for row in rows):
        chosen = [row for row in rows if row["task"] == task]
        minutes = [row["seconds"] / 60 for row in chosen]
        print(
            f"{task}: {chosen[0]['steps'] / 1e6:.2f} M steps, "
            f"median {statistics.median(minutes):.1f} min of collecting and learning"
        )
    if args.png:
        plot(rows, args.png)
    if args.both_png:
        plot_both(rows, args.both_png)


if __name__ == "__main__":
    run_main(main)
