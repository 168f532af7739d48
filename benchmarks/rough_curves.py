"""Draw docs/images/rough_curves.png from the curves kept in results/: `python benchmarks/rough_curves.py`."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PICTURE = ROOT / "benchmarks/results", ROOT / "docs/images/rough_curves.png"
STEPS = 512 * 24
"""Control steps of an iteration."""
STAGE_2 = 1901 * STEPS / 1e6
"""Million steps at which stage 2 of go2_rma began."""


def draw_levels(axes: list) -> None:
    """Mean level, and level of stairs up, over steps."""
    runs = json.loads((RESULTS / "rough_levels.json").read_text(encoding="utf-8"))
    for axis, (tag, title) in zip(
        axes, (("Terrain/level", "mean level"), ("Terrain/level_stairs_up", "level of stairs up"))
    ):
        for name, run in runs.items():
            axis.plot(
                run["million steps"],
                run[tag],
                label=name.split(",")[0].replace("as shipped before", "with the wide kernel"),
            )
        axis.axvline(STAGE_2, ls=":", c="grey")
        axis.set(title=title, xlabel="million control steps")
    axes[0].text(STAGE_2 + 0.3, 3.4, "stage 2 of\ngo2_rma", fontsize=8)


def draw_returns(axis: Axes) -> None:
    """Returns of teacher and student of TS and SITT, continued from go2_rma."""
    curves = json.loads((RESULTS / "sitt_go2.json").read_text(encoding="utf-8"))["curves"]
    for colour, (task, found) in zip(("C0", "C3"), curves.items()):
        for role, style in (("teacher", "-"), ("student", "--")):
            iterations, returns = found[f"Comparison/return_{role}"]
            steps = [STEPS * iteration / 1e6 for iteration in iterations]
            axis.plot(steps, returns, style, c=colour, label=f"{task} {role}")
    axis.set(title="return of 5 s, 64 robots, own levels", xlabel="million steps after go2_rma")


def main() -> None:
    """Draw and save."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
    draw_levels(list(axes[:2]))
    draw_returns(axes[2])
    for axis in (axes[0], axes[2]):
        axis.legend(fontsize=8, loc="lower right")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    main()
