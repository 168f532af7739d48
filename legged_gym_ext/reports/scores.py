"""Pictures of evaluations: interquartile means with intervals, and results by kind and level of the ground."""

from __future__ import annotations

from typing import Any

import numpy as np

from legged_gym_ext.reports import style
from legged_gym_ext.reports.records import Run
from legged_gym_ext.reports.statistics import interquartile_mean, stratified_interval
from legged_gym_ext.reports.style import Picture

METRICS = (
    ("return", "return", "sum of rewards of an episode"),
    ("linear_tracking", "linear tracking", "mean kernel, 0 to 1"),
    ("yaw_tracking", "yaw tracking", "mean kernel, 0 to 1"),
    ("progress", "progress", "share of the commanded way"),
    ("fall_rate", "falls", "share of episodes"),
    ("energy", "power", "W"),
    ("success", "target reached", "share of mazes"),
    ("lava", "ends in lava", "share of mazes"),
)
"""Metric, title and unit."""


def score(runs: list[Run], metric: str, policy: str | None = None) -> tuple[float, tuple[float, float] | None] | None:
    """Interquartile mean and bootstrap interval over seeds of a metric.

    A run counts with its mean over all robots. Kinds of ground are not pooled as strata: cutting a quarter at either
    end would then leave out the hardest kinds, and with them most falls.

    Args:
        runs: of one method.
        metric: of evaluation.json.
        policy: whose; None for what would be deployed.

    Returns:
        Mean and interval (None with one seed), or None where no run has the figure.
    """
    found = [run.deployed if policy is None else run.policies.get(policy) for run in runs]
    measured = [metrics for metrics in found if metrics is not None and metric in metrics]
    if not measured:
        return None
    values = [metrics[metric] for metrics in measured]
    return float(interquartile_mean(values)), stratified_interval([values])


def shown(mean_and_interval: tuple[float, tuple[float, float] | None] | None, form: str = ".3f") -> str:
    """`0.921 [0.909, 0.930]` in words of a table; without an interval only the mean."""
    if mean_and_interval is None:
        return "-"
    mean, interval = mean_and_interval
    if interval is None:
        return format(mean, form)
    return f"{mean:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


def interquartile_means(groups: dict[str, list[Run]]) -> Picture | None:
    """Every metric of the evaluations, a row per method, teachers beside students; None without evaluations."""
    labels = [label for label, runs in groups.items() if any(run.deployed for run in runs)]
    rows = [row for row in METRICS if any(score(groups[label], row[0]) for label in labels)]
    if not rows:
        return None
    figure, axes = style.panels(len(rows), min(3, len(rows)), 1.1 + 0.36 * len(labels), sharey=True)
    marks = style.colours(groups)
    for panel, (metric, title, unit) in zip(axes, rows):
        for height, label in enumerate(labels):
            for policy, marker, offset in ((None, "o", 0.0), ("teacher", "D", 0.28)):
                found = score(groups[label], metric, policy)
                if found is not None:
                    _draw_score(panel, found, height + offset, marks[label][0], marker)
        panel.set(title=title, xlabel=unit)
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(len(labels) - 0.4, -0.6)
        panel.margins(x=0.12)
    handles = [style.line(style.GREY, "", "policy to deploy (student)", marker="o")]
    if any("teacher" in run.policies for label in labels for run in groups[label]):
        handles.append(style.line(style.GREY, "", "teacher", marker="D", markerfacecolor="white"))
    style.legend(figure, handles)
    figure.suptitle("Evaluation: interquartile mean over seeds")
    single = [label for label in labels if len(groups[label]) < 2]
    return Picture(
        "scores",
        "Evaluation",
        f"Interquartile means with intervals of {', '.join(title for _, title, _ in rows)} for {', '.join(labels)}.",
        "Points are interquartile means of what evaluate.py measured, bars 95 % bootstrap intervals over seeds "
        "(Agarwal et al. 2021). With fewer than four "
        "values the interquartile mean is their mean, and with three seeds an interval is hardly more than their "
        "spread." + (f" One seed only, so no interval: {', '.join(single)}." if single else ""),
        figure,
    )


def _draw_score(axes: Any, found: tuple[float, Any], height: float, colour: str, marker: str) -> None:
    mean, interval = found
    if interval is not None:
        axes.plot(interval, (height, height), color=colour, linewidth=3.5, alpha=0.35, solid_capstyle="butt")
    hollow = marker == "D"
    axes.plot(
        mean, height, marker, color=colour, markersize=6 if hollow else 7, markerfacecolor="white" if hollow else colour
    )


def ground(groups: dict[str, list[Run]]) -> Picture | None:
    """Progress and falls by kind and level of the ground; None on flat ground.

    Each method has a row of two heat maps, kind by level. Evaluations that were written without the metrics of single
    tiles show kinds and levels as two blocks.
    """
    tables = {label: table for label, runs in groups.items() if (table := ground_table(runs)) is not None}
    if not tables:
        return None
    height = max(1.3 + 0.3 * len(rows) for rows, _, _ in tables.values())
    figure, axes = style.panels(2 * len(tables), 2, height)
    looks = (
        ("progress", "progress", "% of the commanded way", "viridis"),
        ("fall_rate", "falls", "% of episodes", "magma_r"),
    )
    for index, (label, (rows, columns, values)) in enumerate(tables.items()):
        for side, (metric, title, unit, colours) in enumerate(looks):
            panel = axes[2 * index + side]
            image = style.heat(panel, 100.0 * values[metric], rows, columns, ".0f", cmap=colours, vmin=0.0, vmax=100.0)
            panel.set(title=f"{label}: {title}", xlabel="level of the ground")
            figure.colorbar(image, ax=panel, label=unit, shrink=1.0)
    figure.suptitle("Progress and falls by kind and level of the ground")
    return Picture(
        "ground",
        "Progress and falls by kind and level",
        f"Heat maps of progress and falls on each kind of ground at each level for {', '.join(tables)}.",
        "Of what evaluate.py measured with robots spread evenly over all tiles, mean over seeds: progress is the way "
        "along the commanded direction as a share "
        'of the commanded way, falls are the share of 20 s episodes that end in one. The row and column "all" pool '
        "robots. Few robots share one cell "
        "(about nine of 512), so single cells are coarse.",
        figure,
    )


def ground_table(runs: list[Run]) -> tuple[list[str], list[str], dict[str, np.ndarray]] | None:
    """Results by kind and level of the ground.

    Returns:
        Rows (kinds), columns (levels) and, by metric, their values: mean over seeds, nan where nothing was measured.
        None on flat ground.
    """
    measured = [run.deployed for run in runs if run.deployed and "kinds" in run.deployed]
    if not measured:
        return None
    kinds = list(dict.fromkeys(kind for metrics in measured for kind in metrics["kinds"]))
    levels = sorted({level for metrics in measured for level in metrics.get("levels", {})}, key=int)
    found = {}
    for metric in ("progress", "fall_rate"):
        tables = np.full((len(measured), len(kinds) + 1, len(levels) + 1), np.nan)
        for table, metrics in zip(tables, measured):
            table[-1, -1] = metrics.get(metric, np.nan)
            for column, level in enumerate(levels):
                table[-1, column] = metrics["levels"].get(level, {}).get(metric, np.nan)
            for row, kind in enumerate(kinds):
                table[row, -1] = metrics["kinds"].get(kind, {}).get(metric, np.nan)
                tiles = metrics.get("tiles", {}).get(kind, {})
                table[row, :-1] = [tiles.get(level, {}).get(metric, np.nan) for level in levels]
        counts = np.isfinite(tables).sum(0)
        found[metric] = np.where(counts > 0, np.nansum(tables, axis=0) / np.maximum(counts, 1), np.nan)
    return [kind.replace("_", " ") for kind in kinds] + ["all"], [*levels, "all"], found
