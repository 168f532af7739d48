"""Draw docs/images/rough_curves.png from the curves kept in results/: `python benchmarks/rough_curves.py`."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

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
                c="black" if name.startswith("go2,") else None,  # the eleventh: colours repeat after ten
                ls="--" if name.startswith("go2_ts") else "-",  # lies on go2_rma's stage 1
                label=name.split(",")[0].replace("as shipped before", "with the wide kernel"),
            )
        axis.axvline(STAGE_2, ls=":", c="grey")
        axis.set(title=title, xlabel="million control steps")
    axes[0].text(STAGE_2 + 0.3, 3.4, "stage 2 of\ngo2_rma", fontsize=8)


def draw_continued(axes: list) -> None:
    """Returns and distances of teacher and student of TS, SITT and CTS, continued from go2_rma, three seeds each."""
    found = json.loads((RESULTS / "sitt_go2.json").read_text(encoding="utf-8"))
    arms = ["go2_ts", "go2_sitt", "go2_cts"]
    for row in found["rows"]:
        place, colour = arms.index(row["arm"]), f"C{arms.index(row['arm'])}"
        shift = 0.12 * (row["seed"] - 2)
        for role, marker in (("teacher", "^"), ("student", "o")):
            axes[0].plot(place + shift, row["policies"][role]["return"], marker, c=colour)
        iterations, errors = row["curves"]["Loss/student_action"]
        label = row["arm"] if row["seed"] == 1 else None
        axes[1].plot([STEPS * iteration / 1e6 for iteration in iterations], errors, c=colour, label=label)
    for role, style in (("teacher", ":"), ("student", "--")):
        axes[0].axhline(found["start"][role]["return"], ls=style, c="grey", label=f"{role} before")
    axes[0].set(title="return of 20 s: teachers (triangles), students (dots)", xticks=range(3), xticklabels=arms)
    axes[1].set(
        title="squared difference of mean actions", xlabel="million steps after go2_rma", yscale="log", ylim=(1e-3, 0.2)
    )


def main() -> None:
    """Draw and save."""
    figure, grid = plt.subplots(2, 2, figsize=(11, 7.4))
    axes = list(grid.flat)
    draw_levels(axes[:2])
    draw_continued(axes[2:])
    for axis in axes[2:]:
        axis.legend(fontsize=8, loc="best")
    axes[0].set_ylim(bottom=-5.0)  # room for eleven names
    axes[0].legend(fontsize=7, loc="lower right")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=80)


if __name__ == "__main__":
    main()
