"""Pictures of what was logged in training: learning curves, teacher against student, levels of the ground."""

from __future__ import annotations

from typing import Any

import numpy as np

from legged_gym_ext.reports import style
from legged_gym_ext.reports.records import Run
from legged_gym_ext.reports.statistics import curve_band, interquartile_mean
from legged_gym_ext.reports.style import Picture

POINTS = 200  # of a drawn curve
SMOOTHED = 0.02  # share of a curve that each point is the mean of
LEARNING = (
    ("Train/mean_reward", "return of an episode", "sum of rewards"),
    ("Metrics/linear_tracking", "linear velocity tracking", "mean kernel, 0 to 1"),
    ("Metrics/yaw_tracking", "yaw rate tracking", "mean kernel, 0 to 1"),
    ("Metrics/fall_rate", "falls", "share of episodes"),
    ("Train/mean_episode_length", "episode length", "control steps"),
    ("Terrain/level", "level of the ground", "mean level"),
    ("Metrics/success", "target reached", "share of episodes"),
    ("Metrics/lava", "ends in lava", "share of episodes"),
)
"""Tag, title and unit."""

CLONED = (
    ("Loss/cloning", "loss on the episodes learnt from", "loss, mean of the pass"),
    ("Loss/held_out", "error on the held-out episodes", "mean squared action error"),
)
"""Tag, title and unit, of cloned students."""

COMPARED = (
    ("return", "return of 5 s", "sum of rewards"),
    ("linear_tracking", "linear velocity tracking", "mean kernel, 0 to 1"),
    ("yaw_tracking", "yaw rate tracking", "mean kernel, 0 to 1"),
)
COMPARED_IN_MAZES = (
    ("return", "return", "sum of rewards"),
    ("success", "target reached", "share of mazes"),
    ("lava", "ends in lava", "share of mazes"),
)
ON_ROBOTS = "drive robots of their own for 5 s, deterministically, from the same start and under the same commands"
IN_MAZES = "run through mazes that they do not learn from, deterministically"
AXES = {"steps": "control steps [millions]", "hours": "wall time [h]", "passes": "passes over the data"}
ROLES = {"teacher": "--", "student": "-"}
BAND = (
    "Lines are interquartile means over seeds, bands 95 % bootstrap intervals of them; a method with one seed has no "
    "band."
)


def common_curve(
    runs: list[Run], tag: str, over: str = "steps", smoothed: float = SMOOTHED
) -> tuple[np.ndarray, np.ndarray] | None:
    """Curves of several runs at the same places: (P,) and (R, P), where all of them are; None without any."""
    found = [curve for run in runs if (curve := run.curve(tag, over)) is not None]
    if not found:
        return None
    first, last = max(x[0] for x, _ in found), min(x[-1] for x, _ in found)
    if last < first:
        return None
    places = np.linspace(first, last, POINTS if last > first else 1)
    return places, np.stack([np.interp(places, x, _smooth(y, smoothed)) for x, y in found])


def _smooth(values: np.ndarray, share: float) -> np.ndarray:
    """Mean of the values around each one; fewer at the ends."""
    half = round(0.5 * share * len(values))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def draw_curve(
    axes: Any, runs: list[Run], tag: str, over: str, colour: str, line: str, smoothed: float = SMOOTHED
) -> bool:
    """Interquartile mean and band of a tag; whether there was anything to draw."""
    curve = common_curve(runs, tag, over, smoothed)
    if curve is None:
        return False
    places, values = curve
    few = len(places) == 1
    axes.plot(places, interquartile_mean(values, axis=0), color=colour, linestyle=line, marker="o" if few else None)
    band = curve_band(values)
    if band is not None:
        axes.fill_between(places, *band, color=colour, alpha=0.18, linewidth=0)
    return True


def learning_curves(groups: dict[str, list[Run]], over: str) -> Picture | None:
    """What training logs, over control steps or ("hours") wall time; None where no episode ended yet."""
    all_runs = [run for runs in groups.values() for run in runs]
    shown = [row for row in LEARNING if any(row[0] in run.curves for run in all_runs)]
    if not shown:
        return None
    figure, axes = style.panels(len(shown), min(3, len(shown)), 2.7)
    marks = style.colours(groups)
    for panel, (tag, title, unit) in zip(axes, shown):
        for label, runs in groups.items():
            draw_curve(panel, runs, tag, over, *marks[label])
        panel.set(title=title, ylabel=unit, xlabel=AXES[over])
        panel.set_xlim(left=0.0)
    style.legend(figure, [style.line(*marks[label], _seeds(label, runs)) for label, runs in groups.items()])
    name = "wall time" if over == "hours" else "control steps"
    figure.suptitle(f"Learning over {name}")
    return Picture(
        f"curves_{over}",
        f"Learning over {name}",
        f"{', '.join(title for _, title, _ in shown)} over {name} for {', '.join(groups)}.",
        "Metrics of the episodes that ended in each iteration, as the policy acted in training: with exploration, "
        "noise, pushes and, where a method has "
        f"them, teacher and student mixed. {BAND} Each point is the mean of {SMOOTHED:.0%} of the curve around it. "
        "Curves end where the shortest seed does."
        + (" Wall time is collecting and learning, without start-up." if over == "hours" else ""),
        figure,
    )


def _seeds(label: str, runs: list[Run]) -> str:
    return f"{label} ({len(runs)} seed{'s' if len(runs) > 1 else ''})"


def teacher_and_student(groups: dict[str, list[Run]]) -> Picture | None:
    """The comparisons logged under `Comparison/`; None where there are none."""
    mazes = any("Comparison/success_student" in run.curves for runs in groups.values() for run in runs)
    rows = COMPARED_IN_MAZES if mazes else COMPARED
    tags = [f"Comparison/{metric}_{role}" for metric, _, _ in rows for role in ROLES]
    shown = {label: runs for label, runs in groups.items() if any(tag in run.curves for run in runs for tag in tags)}
    if not shown:
        return None
    figure, axes = style.panels(len(rows), len(rows), 3.4)
    marks = style.colours(groups)
    for panel, (metric, title, unit) in zip(axes, rows):
        for label, runs in shown.items():
            for role, line in ROLES.items():
                draw_curve(panel, runs, f"Comparison/{metric}_{role}", "steps", marks[label][0], line, 0.0)
        panel.set(title=title, ylabel=unit, xlabel=AXES["steps"])
        panel.set_xlim(left=0.0)
    handles = [style.line(marks[label][0], "-", _seeds(label, runs)) for label, runs in shown.items()]
    style.legend(figure, handles + [style.line(style.GREY, line, role) for role, line in ROLES.items()])
    figure.suptitle("Teacher and student while they learn")
    return Picture(
        "teacher_student",
        "Teacher and student while they learn",
        f"{'Success' if mazes else 'Return and tracking'} of teacher (dashed) and student (solid) over control steps "
        f"for {', '.join(shown)}.",
        f"Every few iterations teacher and student {IN_MAZES if mazes else ON_ROBOTS}. {BAND}",
        figure,
    )


def cloning(groups: dict[str, list[Run]]) -> Picture | None:
    """Errors of students that were cloned from data sets, over passes; None without any."""
    shown = {label: cloned for label, runs in groups.items() if (cloned := [run for run in runs if run.cloned])}
    if not shown:
        return None
    figure, axes = style.panels(len(CLONED), len(CLONED), 3.4)
    marks = style.colours(groups)
    for panel, (tag, title, unit) in zip(axes, CLONED):
        for label, runs in shown.items():
            draw_curve(panel, runs, tag, "passes", *marks[label], 0.0)
        panel.set(title=title, ylabel=unit, xlabel=AXES["passes"], yscale="log")
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    style.legend(figure, [style.line(*marks[label], _seeds(label, runs)) for label, runs in shown.items()])
    figure.suptitle("Learning from a data set")
    return Picture(
        "cloning",
        "Learning from a data set",
        f"Loss and held-out error over passes over the data for {', '.join(shown)}.",
        "These students learnt from recorded episodes, without an environment: there are passes over the data and no "
        f"control steps. The pass with the smallest held-out error is the checkpoint. {BAND}",
        figure,
    )


def levels(groups: dict[str, list[Run]]) -> Picture | None:
    """Mean level on each kind of ground over training; None on flat ground."""
    tags = list(dict.fromkeys(tag for runs in groups.values() for run in runs for tag in run.curves))
    kinds = [tag for tag in tags if tag.startswith("Terrain/level_")]
    if not kinds:
        return None
    shown = {label: runs for label, runs in groups.items() if any(kind in run.curves for run in runs for kind in kinds)}
    figure, axes = style.panels(len(kinds), min(3, len(kinds)), 2.6, sharex=True, sharey=True)
    marks = style.colours(groups)
    for panel, kind in zip(axes, kinds):
        for label, runs in shown.items():
            draw_curve(panel, runs, kind, "steps", *marks[label])
        panel.set(title=kind.partition("level_")[2].replace("_", " "), xlabel=AXES["steps"], ylabel="mean level")
        panel.set_xlim(left=0.0)
        panel.label_outer()
    style.legend(figure, [style.line(*marks[label], _seeds(label, runs)) for label, runs in shown.items()])
    figure.suptitle("Level of the ground by kind")
    return Picture(
        "levels",
        "Level of the ground by kind",
        f"Mean terrain level over control steps on {', '.join(k.partition('level_')[2] for k in kinds)} for "
        f"{', '.join(shown)}.",
        "Robots go up a level when they leave their tile and down when they walk less than half of the commanded "
        f"way. {BAND}",
        figure,
    )
