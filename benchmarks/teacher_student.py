"""Table and curves of finished runs, one row per task: teacher and student of every seed.

Each run folder needs the figures of `evaluate.py --load_run=RUN --json RUN/evaluation.json`; curves are what the run logged while it
learnt (`Comparison/return_teacher`, `Comparison/return_student`), wall times come from its last checkpoint.

    python benchmarks/teacher_student.py logs/go2_ts/* logs/go2_cts/* --json table.json --png curves.png
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.utils.runs import find_checkpoint, load_checkpoint, load_run_configs

SHOWN = ("return", "linear_tracking", "yaw_tracking", "fall_rate")


def read_run(run: Path) -> dict[str, Any]:
    """Figures, steps, wall time and curve of one run folder."""
    evaluation = json.loads((run / "evaluation.json").read_text())
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
        "curve": read_curve(run, steps // checkpoint["iter"] if checkpoint["iter"] else steps),
    }
    if "student" in row["policies"]:
        row["student_share"] = row["policies"]["student"]["return"] / row["policies"]["teacher"]["return"]
    return row


def read_curve(run: Path, steps_per_iteration: int) -> dict[str, list[tuple[int, float]]]:
    """Policy -> (environment steps, return of a comparison) as logged during training."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run))
    events.Reload()
    curve = {}
    for name in ("teacher", "student"):
        tag = f"Comparison/return_{name}"
        if tag in events.Tags()["scalars"]:
            points = events.Scalars(tag)
            curve[name] = [((point.step + 1) * steps_per_iteration, round(point.value, 3)) for point in points]
    return curve


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
        if any(r["curve"] for r in rows if r["task"] == task)
    ]
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.4), sharey=True, squeeze=False)
    for axis, task in zip(axes[0], tasks):
        for row in (row for row in rows if row["task"] == task):
            for name, color in (("teacher", "tab:blue"), ("student", "tab:orange")):
                points = row["curve"].get(name, [])
                label = name if row is next(r for r in rows if r["task"] == task) else None
                axis.plot([x / 1e6 for x, _ in points], [y for _, y in points], color=color, alpha=0.8, label=label)
        axis.set(title=task, xlabel="environment steps [million]")
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("return of 5 s")
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Parse flags, read the runs, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    rows = [read_run(run) for run in args.runs]
    args.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    for task in dict.fromkeys(row["task"] for row in rows):
        chosen = [row for row in rows if row["task"] == task]
        minutes = [row["seconds"] / 60 for row in chosen]
        print(
            f"{task}: {chosen[0]['steps'] / 1e6:.2f} M steps, median {statistics.median(minutes):.1f} min of collecting and learning"
        )
    if args.png:
        plot(rows, args.png)


if __name__ == "__main__":
    main()
