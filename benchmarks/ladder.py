r"""Table and picture of how hard the ground may be that finished runs get over.

The ladder of every policy, what it costs, and on slippery ground.

Each run folder needs the figures of `evaluate.py --load_run=RUN --ladder --json RUN/evaluation.json`; what the table
says of friction 0.4 and of returns is there after the same with `--friction=0.4` and without `--ladder`. A training
that was resumed is named by its last folder. Rows are added to the table that is there; a run that is in it already is
read again.

    python benchmarks/ladder.py logs/go2_ts/RUN [RUN ...] \
        --json benchmarks/results/ladder.json --png docs/images/go2_ladder.png
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.reports import style
from legged_gym_ext.reports.records import Run, read_runs
from legged_gym_ext.training.ladder import FRICTION, HEIGHTS, PASS_RATE
from legged_gym_ext.utils.errors import UserError, run_main

SLIPPERY = f"{FRICTION}0.4"
NOTHING = "-"
UNITS: dict[str, Callable[[float], str]] = {
    "step_height": lambda height: f"{100 * height:.0f}",
    "slope": lambda slope: f"{slope:.2f}",
    "obstacle_height": lambda height: f"{100 * height:.0f}",
}
HEADS = (
    "task", "policy", "million steps", "steps up [cm]", "slope up", "obstacles [cm]", "score", "score at friction 0.4",
    "power [W]", "torque change [N m]", "at a joint stop", "falls", "student / teacher return",
)  # fmt: skip


def read_row(run: Run) -> dict[str, Any]:
    """What is kept of one training; without a ladder a `UserError` that says how to measure it."""
    if not run.policies or not all("ladder" in figures for figures in run.policies.values()):
        raise UserError(
            f"{run.path} has no ladder: evaluate.py --task={run.task} --load_run={run.path.name} "
            f"--ladder --json {run.path / 'evaluation.json'}"
        )
    policies = {name: _kept(figures) for name, figures in run.policies.items()}
    own = {"task": run.task, "run": run.path.name, "seed": run.seed, "commit": run.commit, "steps": run.steps}
    return {**own, "seconds": round(float(run.seconds[-1]), 1), "policies": policies}


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    """Ladders and plain numbers; what an evaluation says of single kinds and levels is another matter."""
    return _rounded({k: v for k, v in figures.items() if k.startswith("ladder") or not isinstance(v, dict)})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else round(value, 4)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line per policy; several seeds are separated by slashes."""
    lines = [HEADS, ("---",) * len(HEADS)]
    for task, seeds in _by_task(rows):
        for name in seeds[0]["policies"]:
            cells = zip(*(_cells(row, name) for row in seeds))
            lines.append((f"`{task}`", name, *(" / ".join(each) for each in cells)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_task(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    tasks = dict.fromkeys(row["task"] for row in rows)
    return [(task, sorted((r for r in rows if r["task"] == task), key=lambda r: r["seed"])) for task in tasks]


def _cells(row: dict[str, Any], name: str) -> list[str]:
    """Of one policy of one run, in the order of `HEADS` after the first two."""
    figures, teacher = row["policies"][name], row["policies"].get("teacher", {})
    heights, levels, effort = (figures[f"ladder_{part}"] for part in ("heights", "level", "effort"))
    climbed = [UNITS[key](heights[key]) if levels.get(kind, -1) >= 0 else NOTHING for key, kind in HEIGHTS.items()]
    slippery = f"{figures[SLIPPERY]['ladder_score']:.2f}" if SLIPPERY in figures else NOTHING
    share = NOTHING
    if name == "student" and "return" in figures and teacher.get("return", 0.0) > 0.0:
        share = f"{figures['return'] / teacher['return']:.1%}"
    return [
        f"{row['steps'] / 1e6:.1f}",
        *climbed,
        f"{figures['ladder_score']:.2f}",
        slippery,
        f"{effort['power']:.0f}",
        f"{effort['torque_change']:.2f}",
        f"{effort['limit_share']:.1%}",
        f"{effort['fall_rate']:.0%}",
        share,
    ]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Success by level of what is deployed, a panel per kind, a line per task; means of the seeds."""
    tasks = _by_task(rows)
    kinds = list(dict.fromkeys(kind for row in rows for kind in _deployed(row)["ladder"]))
    figure, axes = style.panels(len(kinds), min(3, len(kinds)), 2.6, sharex=True, sharey=True)
    marks = style.colours(task for task, _ in tasks)
    for panel, kind in zip(axes, kinds):
        for task, seeds in tasks:
            rates = np.mean([_deployed(row)["ladder"][kind] for row in seeds], axis=0)
            panel.plot(100.0 * rates, color=marks[task][0], linestyle=marks[task][1], marker=".")
        panel.axhline(100.0 * PASS_RATE, color=style.GREY, linewidth=0.8)
        panel.set(
            title=kind.replace("_", " "), xlabel="level of the ground", ylabel="% that get 4 m away", ylim=(-3.0, 103.0)
        )
        panel.label_outer()
    style.legend(figure, [style.line(*marks[task], task) for task, _ in tasks])
    figure.suptitle("The ladder of what is deployed")
    figure.savefig(path, dpi=110, facecolor="white")


def _deployed(row: dict[str, Any]) -> dict[str, Any]:
    return row["policies"].get("student") or next(iter(row["policies"].values()))


def main(argv: list[str] | None = None) -> None:
    """Parse flags, read the runs, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, required=True, help="the table; rows that are there are kept")
    parser.add_argument("--png", type=Path, help="success by level, a panel per kind of tile")
    args = parser.parse_args(argv)
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    added = [read_row(run) for run in read_runs(args.runs)]
    again = {(row["task"], row["run"]) for row in added}
    rows = [row for row in rows if (row["task"], row["run"]) not in again] + added
    if not rows:
        parser.error(f"{args.json} has no runs yet: name run folders")
    rows.sort(key=lambda row: (row["task"], row["seed"]))
    args.json.write_text(
        "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8"
    )  # a run per line
    print(table(rows))
    if args.png:
        draw(rows, args.png)


if __name__ == "__main__":
    run_main(main)
