r"""What methods differ by, beyond their seeds: every pair of tasks, with 95 % intervals of the difference.

Each run folder needs the figures of `evaluate.py --task=TASK --load_run=RUN --json RUN/evaluation.json`, and of the
same with `--ladder`. Compared is what is deployed: the student, or the only policy. Intervals are those of Welch's
test: seeds are the sample, and robots of one evaluation are not. Of tasks with one seed nothing is said.

    python benchmarks/seeds.py logs/go2_blind/* logs/go2_cts/* logs/go2_ult/* --json seeds.json --png levels.png
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.training.runs import find_checkpoint, load_checkpoint, load_run_configs
from legged_gym_ext.utils.errors import UserError, run_main

FIGURES = {
    "return": ("return", "{:.1f}"),
    "progress": ("progress", "{:.3f}"),
    "fall_rate": ("falls", "{:.3f}"),
    "linear_tracking": ("linear tracking", "{:.3f}"),
    "ladder_score": ("ladder", "{:.3f}"),
    "stairs_up": ("stairs up, mean of the ten levels", "{:.3f}"),
}
CURVES = {"Terrain/level": "mean level", "Terrain/level_stairs_up": "level of stairs up"}
CHUNK = 10  # iterations of which a point of a curve is the mean
DRAWS = 1_000_000  # for a quantile of Student's t: the third digit is right


def main(argv: list[str] | None = None) -> None:
    """Parse flags, read the runs, print both tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--png", type=Path, help="levels over steps, a line per run")
    args = parser.parse_args(argv)
    rows = [read_run(run) for run in args.runs]
    found = {"runs": rows, "differences": differences(rows)}
    args.json.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")
    print(table(rows), difference_table(found["differences"]), sep="\n\n")
    if args.png:
        plot(rows, args.png)


def read_run(run: Path) -> dict[str, Any]:
    """Task, seed, steps, seconds, figures of every policy and curves of one run folder.

    Raises:
        UserError: nothing was evaluated.
    """
    path = run / "evaluation.json"
    if not path.is_file():
        raise UserError(f"{path} does not exist; evaluate.py --task=TASK --load_run={run.name} --json={path} writes it")
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    checkpoint = load_checkpoint(find_checkpoint(run, -1), "cpu")
    steps, seconds = checkpoint["infos"]["total"]
    policies = {name: figures(metrics) for name, metrics in evaluation["policies"].items()}
    return {
        "task": evaluation["task"],
        "seed": load_run_configs(run)[1]["seed"],
        "steps": steps,
        "seconds": round(seconds),
        "robots": evaluation["num_envs"],
        "deployed": "student" if "student" in policies else next(iter(policies)),
        "policies": policies,
        "curves": read_curves(run, steps / (checkpoint["iter"] + 1)),
    }


def figures(metrics: dict[str, Any]) -> dict[str, float]:
    """Those of `FIGURES` that an evaluation has."""
    values = dict(metrics, **{kind: float(np.mean(rates)) for kind, rates in metrics.get("ladder", {}).items()})
    return {name: round(values[name], 4) for name in FIGURES if name in values}


def read_curves(run: Path, steps_per_iteration: float) -> dict[str, list[float]]:
    """Million steps, and means of `CHUNK` iterations of what `CURVES` names."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    found: dict[str, list[float]] = {}
    for tag in CURVES:
        values = [point.value for point in events.Scalars(tag)]
        chunks = [values[first : first + CHUNK] for first in range(0, len(values), CHUNK)]
        ends = np.cumsum([len(chunk) for chunk in chunks])
        found["million steps"] = [round(float(end) * steps_per_iteration / 1e6, 3) for end in ends]
        found[tag] = [round(float(np.mean(chunk)), 3) for chunk in chunks]
    return found


def welch(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Difference of the means of `first` and `second`, and the ends of its 95 % interval (Welch 1947).

    Args:
        first: two values or more, one of each seed.
        second: the same of what it is compared with.
    """
    means, parts = [], []
    for values in (first, second):
        means.append(float(np.mean(values)))
        parts.append(float(np.var(values, ddof=1)) / len(values))
    difference, variance = means[0] - means[1], sum(parts)
    if variance == 0.0:
        return difference, difference, difference
    freedom = variance**2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second)))
    drawn = np.abs(np.random.default_rng(0).standard_t(freedom, DRAWS))
    reach = float(np.quantile(drawn, 0.95)) * variance**0.5
    return difference, difference - reach, difference + reach


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every pair of tasks with several seeds and every figure that all of their runs have."""
    by_task: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row["policies"][row["deployed"]])
    several = {task: found for task, found in by_task.items() if len(found) > 1}
    result = []
    for first, second in itertools.combinations(several, 2):
        for figure in FIGURES:
            if any(figure not in found for task in (first, second) for found in several[task]):
                continue
            values = {task: [found[figure] for found in several[task]] for task in (first, second)}
            difference, low, high = welch(values[second], values[first])
            result.append(
                {"task": second, "than": first, "figure": figure, "difference": difference, "interval": [low, high]}
            )
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one line per task and policy; seeds are separated by slashes."""
    lines = ["| task | policy | " + " | ".join(title for title, _ in FIGURES.values()) + " |", "|---" * 8 + "|"]
    for task in dict.fromkeys(row["task"] for row in rows):
        seeds = sorted((row for row in rows if row["task"] == task), key=lambda row: row["seed"])
        for name in seeds[0]["policies"]:
            found = [row["policies"][name] for row in seeds]
            cells = [
                " / ".join(form.format(one[figure]) if figure in one else "-" for one in found)
                for figure, (_, form) in FIGURES.items()
            ]
            lines.append(f"| `{task}` | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def difference_table(found: list[dict[str, Any]]) -> str:
    """Markdown: what the first task has more than the second; bold where the interval does not hold zero."""
    lines = ["| " + " | ".join(["", *(title for title, _ in FIGURES.values())]) + " |", "|---" * 7 + "|"]
    for first, second in dict.fromkeys((row["task"], row["than"]) for row in found):
        cells = {}
        for row in found:
            if (row["task"], row["than"]) == (first, second):
                form, (low, high) = FIGURES[row["figure"]][1].replace(":", ":+"), row["interval"]
                text = f"{form.format(row['difference'])} [{form.format(low)}, {form.format(high)}]"
                cells[row["figure"]] = f"**{text}**" if low * high > 0 else text
        lines.append(f"| `{first}` - `{second}` | {' | '.join(cells.get(name, '') for name in FIGURES)} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Levels over steps, a colour per task, a line per run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, axes = plt.subplots(1, len(CURVES), figsize=(11, 4), sharex=True)
    for axis, (tag, title) in zip(axes, CURVES.items()):
        for row in rows:
            label = row["task"] if row is next(one for one in rows if one["task"] == row["task"]) else None
            curves = row["curves"]
            axis.plot(curves["million steps"], curves[tag], color=f"C{tasks.index(row['task'])}", label=label, lw=1.2)
        axis.set(title=title, xlabel="million control steps")
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_main(main)
