"""Table and pictures of a distillation from many teachers (multi_task.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from legged_gym_ext.reports.style import Picture, colours, legend, line, panels


def groups(results: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(size, order) -> entries of its students, one per seed, those that were evaluated."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for key, entry in results["students"].items():
        order, size, _ = key.split("/")
        if "normalized" in entry:
            found.setdefault((size, order), []).append(entry)
    return found


def table(results: dict[str, Any], regimes: Sequence[str]) -> str:
    """Normalised returns [% of the behaviour policy] of teachers and students, mean +- deviation over seeds."""
    lines = [
        "",
        f"{'':<28}" + "".join(f"{name:>10}" for name in regimes) + f"{'mean':>15}{'worst':>15}{'projected':>11}",
    ]
    teachers = [results["teachers"][name]["normalized"] for name in regimes]
    row = "".join(f"{value:>10.1f}" for value in teachers)
    lines.append(f"{'teachers':<28}{row}{np.mean(teachers):>15.1f}{min(teachers):>15.1f}")
    for (size, order), entries in groups(results).items():
        scores = np.array([[entry["normalized"][name] for name in regimes] for entry in entries])
        row = "".join(f"{value:>10.1f}" for value in scores.mean(0))
        parts = [scores.mean(1), scores.min(1)]
        row += "".join(f"{f'{part.mean():.1f} +- {part.std():.1f}':>15}" for part in parts)
        share = np.mean([entry["projected"] + entry["conflicts"] for entry in entries])
        lines.append(f"{f'{order}, {size}':<28}{row}{share:>11.2f}")
    return "\n".join(lines)


def pictures(results: dict[str, Any], regimes: Sequence[str]) -> list[Picture]:
    """Scores by order, and distances to the teachers over rounds."""
    return [_scores(results, regimes), _curves(results, regimes)]


def _scores(results: dict[str, Any], regimes: Sequence[str]) -> Picture:
    found = groups(results)
    figure, axes = panels(2, 1, 2.4, sharey=True)
    labels = [f"{order}\n{size}" for size, order in found]
    for axis, reduce, title in zip(axes, (np.mean, np.min), ("mean of the regimes", "worst regime")):
        for column, entries in enumerate(found.values()):
            values = [reduce([entry["normalized"][name] for name in regimes]) for entry in entries]
            axis.plot([column] * len(values), values, "o", color="#0072B2", alpha=0.6)
            axis.plot([column - 0.2, column + 0.2], [np.mean(values)] * 2, color="#222222")
        axis.set_xticks(range(len(labels)), labels, fontsize=8)
        axis.set_title(title)
        axis.set_ylabel("% of the behaviour policy")
    caption = (
        "Each point is a student of one seed, lines are means; 0 is a robot that stands, 100 whoever was recorded."
    )
    return Picture("scores", "Students by order", "Normalised returns of students by order and size", caption, figure)


def _curves(results: dict[str, Any], regimes: Sequence[str]) -> Picture:
    found = groups(results)
    figure, axes = panels(len(regimes), 3, 2.6)
    signs = colours(f"{order}, {size}" for size, order in found)
    for axis, name in zip(axes, regimes):
        for (size, order), entries in found.items():
            colour, style = signs[f"{order}, {size}"]
            curves = [entry["curves"][name] for entry in entries]
            shortest = min(len(curve) for curve in curves)
            axis.plot(np.mean([curve[:shortest] for curve in curves], axis=0), color=colour, linestyle=style)
        axis.set_yscale("log")
        axis.set_title(name)
        axis.set_xlabel("round")
    axes[0].set_ylabel("KL to the teacher [nats]")
    legend(figure, [line(*sign, label) for label, sign in signs.items()])
    caption = "Mean KL between teacher and student on held-out episodes before each round, mean over seeds."
    return Picture("distances", "Distance to each teacher", "KL to each teacher over rounds", caption, figure)
