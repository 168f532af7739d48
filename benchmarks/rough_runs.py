"""Table and curves of finished runs on rough ground: levels reached, and how every policy does on all kinds and levels.

Each run folder needs the figures of `evaluate.py --load_run=RUN --json RUN/evaluation.json`, and those of the same policies on level ground,
`--env.terrain.mesh_type=plane --json RUN/plane.json`. A training that was resumed is named by its
last folder. Rows are added to the table that is there; a run that is in it already is read again. Seconds are those of collecting and learning, as
logged; levels at the end are means of the last 20 iterations.

    python benchmarks/rough_runs.py logs/go2_ts/RUN [RUN ...] --json benchmarks/results/rough.json --levels_png levels.png --kinds_png kinds.png
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.reports.records import Run, read_runs
from legged_gym_ext.utils.errors import UserError, run_main

SHOWN = ("return", "linear_tracking", "yaw_tracking", "progress", "fall_rate")
LAST = 20  # iterations whose levels are averaged
POINTS = 100  # of a curve in the table


def read_row(run: Run) -> dict[str, Any]:
    """Figures, steps, wall time, levels and curve of one training."""
    curve = run.curve("Terrain/level")
    if curve is None:
        raise UserError(f"{run.path} was trained on a plane: expected runs on rough ground")
    if run.evaluation is None:
        raise UserError(f"{run.path} has no evaluation.json: evaluate.py --load_run={run.path.name} --json writes it")
    if not all("levels" in figures for figures in run.policies.values()):
        raise UserError(
            f"{run.path / 'evaluation.json'} is of a plane: expected figures of evaluate.py on rough ground"
        )
    levels = {tag: values for tag, (_, values) in sorted(run.curves.items()) if tag.startswith("Terrain/")}
    steps, level = curve
    thin = slice(None, None, max(1, len(steps) // POINTS))
    row = {
        "task": run.task,
        "run": run.path.name,
        "seed": run.seed,
        "commit": run.commit,
        "steps": run.steps,
        "seconds": round(float(run.seconds[-1]), 1),
        "levels": {
            tag.removeprefix("Terrain/"): round(float(np.mean(values[-LAST:])), 3) for tag, values in levels.items()
        },
        "policies": {name: _rounded(_kept(figures)) for name, figures in run.policies.items()},
        "plane": _rounded(_on_a_plane(run)),
        "curve": [(round(float(x), 3), round(float(y), 3)) for x, y in zip(steps[thin], level[thin])],
    }
    if "student" in row["policies"]:
        share = row["policies"]["student"]["return"] / row["policies"]["teacher"]["return"]
        row["student_share"] = round(share, 4)
    return row


def _on_a_plane(run: Run) -> dict[str, Any]:
    path = run.path / "plane.json"
    try:
        return {
            name: _shown(figures) for name, figures in json.loads(path.read_text(encoding="utf-8"))["policies"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"no figures in {path}: evaluate.py --load_run={run.path.name} --env.terrain.mesh_type=plane --json writes them"
        ) from None


def _kept(figures: dict[str, Any]) -> dict[str, Any]:
    """All figures of a policy, those shown of each kind and level; a kind on one level ("tiles") is a handful of robots."""
    parts = {name: {key: _shown(part) for key, part in figures[name].items()} for name in ("kinds", "levels")}
    return {**{key: value for key, value in figures.items() if not isinstance(value, dict)}, **parts}


def _shown(figures: dict[str, Any]) -> dict[str, float]:
    return {key: figures[key] for key in SHOWN}


def _rounded(figures: Any) -> Any:
    if isinstance(figures, dict):
        return {key: _rounded(value) for key, value in figures.items()}
    return round(figures, 4)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: what was reached in training, then every policy on all levels alike; several seeds are separated by slashes."""
    kinds = [key.removeprefix("level_") for key in rows[0]["levels"] if key != "level"]
    lines = [
        "| task | steps | minutes | level | " + " | ".join(f"`{kind}`" for kind in kinds) + " |",
        "|" + "---|" * (4 + len(kinds)),
    ]
    for task, seeds in _by_task(rows):
        cells = [
            " / ".join(f"{row['steps'] / 1e6:.1f}" for row in seeds) + " M",
            " / ".join(f"{row['seconds'] / 60:.0f}" for row in seeds),
        ]
        for name in ("level", *(f"level_{kind}" for kind in kinds)):
            cells.append(" / ".join(f"{row['levels'][name]:.1f}" for row in seeds))
        lines.append(f"| `{task}` | {' | '.join(cells)} |")
    lines += [
        "",
        "| task | policy | return | linear | yaw | progress | falls | student / teacher | on a plane: linear | yaw | falls |",
    ]
    lines.append("|" + "---|" * 11)
    for task, seeds in _by_task(rows):
        for name in seeds[0]["policies"]:
            cells = [" / ".join(_format(row["policies"][name][key], key) for row in seeds) for key in SHOWN]
            cells.append(
                " / ".join(f"{100 * row['student_share']:.1f} %" for row in seeds) if name == "student" else ""
            )
            for key in ("linear_tracking", "yaw_tracking", "fall_rate"):
                cells.append(" / ".join(_format(row["plane"][name][key], key) for row in seeds))
            lines.append(f"| `{task}` | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_task(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    tasks = dict.fromkeys(row["task"] for row in rows)
    return [(task, sorted((r for r in rows if r["task"] == task), key=lambda r: r["seed"])) for task in tasks]


def _format(value: float, key: str) -> str:
    if key == "fall_rate":
        return f"{100 * value:.0f} %"
    return f"{value:.1f}" if key == "return" else f"{value:.2f}"


def plot_levels(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean level of every run against control steps, and the levels at the end on each kind of tile, means of the seeds."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), gridspec_kw={"width_ratios": (1, 1.3)})
    tasks = _by_task(rows)
    kinds = [key for key in rows[0]["levels"] if key != "level"]
    for index, (task, seeds) in enumerate(tasks):
        for row in seeds:
            label = task if row is seeds[0] else None
            axes[0].plot(*zip(*row["curve"]), color=f"C{index}", alpha=0.8, label=label)
        heights = [statistics.mean(row["levels"][kind] for row in seeds) for kind in kinds]
        places = np.arange(len(kinds)) + 0.8 * (index + 0.5) / len(tasks) - 0.4
        axes[1].bar(places, heights, 0.8 / len(tasks), color=f"C{index}")
    axes[0].set(xlabel="control steps of all robots [millions]", ylabel="mean level in training (0 to 9)")
    axes[1].set(xlabel="kind of tile", ylabel="mean level at the end of training (0 to 9)")
    axes[1].set_xticks(range(len(kinds)), [kind.removeprefix("level_").replace("_", "\n") for kind in kinds])
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    axes[0].legend()
    _save(figure, path)


def plot_kinds(rows: list[dict[str, Any]], path: Path) -> None:
    """Progress and falls of what is deployed, by level; mean of the seeds."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for index, (task, seeds) in enumerate(_by_task(rows)):
        found = [row["policies"].get("student") or row["policies"]["policy"] for row in seeds]
        levels = list(found[0]["levels"])
        for axis, key, factor in ((axes[0], "progress", 1.0), (axes[1], "fall_rate", 100.0)):
            means = [factor * statistics.mean(figures["levels"][level][key] for figures in found) for level in levels]
            axis.plot([int(level) for level in levels], means, "o-", color=f"C{index}", label=task)
    axes[0].set(xlabel="level, all kinds of tiles", ylabel="share of the commanded way")
    axes[1].set(xlabel="level, all kinds of tiles", ylabel="episodes of 20 s with a fall [%]")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set_ylim(bottom=0.0)
    axes[0].legend()
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> None:
    """Parse flags, read the runs, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--json", type=Path, required=True, help="the table; rows that are there are kept")
    parser.add_argument("--levels_png", type=Path, help="mean level against control steps, and by kind of tile")
    parser.add_argument("--kinds_png", type=Path, help="progress and falls of what is deployed, by level")
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
    if args.levels_png:
        plot_levels(rows, args.levels_png)
    if args.kinds_png:
        plot_kinds(rows, args.kinds_png)


if __name__ == "__main__":
    run_main(main)
