"""The ladder as heat maps: which share of the robots gets 4 m away, by kind and level of the ground."""

from __future__ import annotations

from typing import Any

import numpy as np

from legged_gym_ext.reports import style
from legged_gym_ext.reports.records import Run
from legged_gym_ext.reports.style import Picture
from legged_gym_ext.training.ladder import FRICTION, PASS_RATE, ladder_level


def ladder(groups: dict[str, list[Run]]) -> Picture | None:
    """Success by kind and level, teacher and student side by side, a row per method and friction; None without."""
    found = [
        (f"{label}, friction {key[len(FRICTION) :]}" if key else label, tables)
        for label, runs in groups.items()
        for key in _conditions(runs)
        if (tables := {side: table for side in _names(runs) if (table := ladder_table(runs, side, key)) is not None})
    ]
    if not found:
        return None
    columns = max(len(tables) for _, tables in found)
    tallest = max(len(kinds) for _, tables in found for kinds, _, _ in tables.values())
    figure, axes = style.panels(columns * len(found), columns, 1.3 + 0.3 * tallest)
    for row, (label, tables) in enumerate(found):
        for panel in axes[columns * row + len(tables) : columns * (row + 1)]:
            panel.set_axis_off()
        for panel, (side, (kinds, rates, score)) in zip(axes[columns * row :], tables.items()):
            image = _draw(panel, kinds, rates)
            panel.set(title=f"{label}: {side}, score {score:.2f}", xlabel="level of the ground")
            figure.colorbar(image, ax=panel, label="% that get 4 m away", shrink=1.0)
    figure.suptitle("The ladder: robots that get 4 m away")
    return Picture(
        "ladder",
        "The ladder",
        "Heat maps of the share of robots that get half a tile (4 m) away, kind of ground by level, for "
        f"{', '.join(label for label, _ in found)}.",
        "Robots start in the middle of a tile, are commanded to walk straight on at 0.6 m/s (0.4 m/s on obstacles), "
        "and succeed when they are 4 m away within 20 s and without a fall; mean over seeds. Frames end at the "
        f"climbed level, the last that, like all below it, at least {PASS_RATE:.0%} pass. The score is the "
        "mean over kinds of the share of levels climbed, mean over seeds.",
        figure,
    )


def _names(runs: list[Run]) -> list[str]:
    """Of all their policies, a teacher before a student."""
    return sorted({name for run in runs for name in run.policies}, reverse=True)


def _conditions(runs: list[Run]) -> list[str]:
    """Names of the ladders that runs have: "" with the friction of training, then those with another one."""
    keys = {key for run in runs for metrics in run.policies.values() for key in metrics if key.startswith(FRICTION)}
    return ["", *sorted(keys, key=lambda key: float(key[len(FRICTION) :]))]


def ladder_table(runs: list[Run], policy: str, key: str = "") -> tuple[list[str], np.ndarray, float] | None:
    """Success of a policy on the ladder, means over seeds.

    Args:
        runs: of one method.
        policy: its name in evaluation.json.
        key: of the ladder with another friction; "" for that of training.

    Returns:
        Kinds, success rates (kinds, levels), nan where a run has no such level, and score; None without a ladder.
    """
    found = [run.policies[policy] for run in runs if policy in run.policies]
    measured = [each for each in (metrics.get(key, {}) if key else metrics for metrics in found) if "ladder" in each]
    if not measured:
        return None
    kinds = list(dict.fromkeys(kind for each in measured for kind in each["ladder"]))
    levels = max(len(rates) for each in measured for rates in each["ladder"].values())
    tables = np.full((len(measured), len(kinds), levels), np.nan)
    for table, each in zip(tables, measured):
        for row, kind in enumerate(kinds):
            rates = each["ladder"].get(kind, [])
            table[row, : len(rates)] = rates
    counts = np.isfinite(tables).sum(0)
    means = np.where(counts > 0, np.nansum(tables, axis=0) / np.maximum(counts, 1), np.nan)
    return kinds, means, float(np.mean([each["ladder_score"] for each in measured]))


def _draw(panel: Any, kinds: list[str], rates: np.ndarray) -> Any:
    from matplotlib.patches import Rectangle

    rows, columns = [kind.replace("_", " ") for kind in kinds], [str(level) for level in range(rates.shape[1])]
    image = style.heat(panel, 100.0 * rates, rows, columns, ".0f", cmap="viridis", vmin=0.0, vmax=100.0)
    for row, each in enumerate(rates):
        climbed = ladder_level(np.nan_to_num(each).tolist()) + 1
        if climbed:
            frame = Rectangle((-0.5, row - 0.5), climbed, 1.0, fill=False, edgecolor=style.COLOURS[1], linewidth=2.0)
            panel.add_patch(frame)
    return image
