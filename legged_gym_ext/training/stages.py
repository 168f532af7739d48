"""Where a training stands, in words, and when the next stage is near; what the figures on the screen mean."""

from __future__ import annotations

import math
import textwrap
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

LEGEND = {
    "steps": "control steps of all robots so far",
    "steps/s": "of them per second",
    "collect/learn": "seconds of an iteration spent with robots / with networks",
    "reward": "mean sum of rewards of the last 100 episodes",
    "ep_len": "their mean length in control steps",
    "lin_tracking": "how well the commanded velocity is followed, 0 to 1: the tracking reward before its weight",
    "yaw_tracking": "the same of the turning rate",
    "falls": "share of episodes that ended in a fall",
    "success": "share of episodes that reached the goal",
    "lava": "share of episodes that ended in lava",
    "level": "mean difficulty of the ground under the robots, 0 to 9",
    "nan_resets": "robots reset so far because their physics became non-finite",
    "return teacher/student": "mean returns of both, measured every eval_interval iterations",
    "now": "the stage, from means over 10 iterations: learning to stand (falls 0.5 or more), standing, stepping (mean "
    "of both trackings 0.5 or more), walking (0.7), climbing (level 0.5)",
    "next level": "earliest time, if the level goes on rising as it does",
    "elapsed": "time spent collecting and learning",
    "eta": "time until the last iteration",
}
"""Figure on the screen -> what it means."""

FALLING, STEPPING, WALKING, CLIMBING = 0.5, 0.5, 0.7, 0.5
"""Share of falls from which robots do not stand yet; mean of linear and yaw tracking from which they step and walk;
mean level from which they climb. Read off recorded trainings of the Go2 and Go1: untrained robots that stand have 0.3
to 0.5, since small commands are nearly followed by standing still."""

SMOOTHED, TREND = 10, 40  # iterations that figures are averaged over; that a trend is fitted to
CERTAIN = 4.0  # standard errors by which a trend must rise
REACH = 1.0  # times the duration that a trend was seen for: nothing later is predicted


def legend(names: Iterable[str], width: int = 118) -> str:
    """The figures `names` and what they mean, each on a line of its own of at most `width` columns."""
    shown = list(names)
    column = max(map(len, shown))
    lines = ["figures:"]
    for name in shown:
        lines += textwrap.wrap(
            f"{name:{column}}  {LEGEND[name]}", width, initial_indent="  ", subsequent_indent=" " * (column + 4)
        )
    return "\n".join(lines)


def figures_of(*, robots: bool, levels: bool, compared: bool) -> list[str]:
    """Names of the figures that a training shows.

    Args:
        robots: of robots, otherwise of a maze.
        levels: the robots' ground has levels.
        compared: teacher and student are compared.
    """
    absent = {"success", "lava"} if robots else {"lin_tracking", "yaw_tracking", "falls", "now"}
    absent |= set() if robots and levels else {"level", "next level"}
    absent |= set() if compared else {"return teacher/student"}
    return [name for name in LEGEND if name not in absent]


def stage(figures: Mapping[str, float]) -> str:
    """The stage of a training in words; "" where the robots' tracking is not known.

    Args:
        figures: "lin_tracking" and "yaw_tracking" (0 to 1), "falls" (share), and on levels of ground "level".
    """
    if not {"lin_tracking", "yaw_tracking"} <= set(figures):
        return ""
    tracking = 0.5 * (figures["lin_tracking"] + figures["yaw_tracking"])
    if tracking < STEPPING:
        return "learning to stand" if figures.get("falls", 0.0) >= FALLING else "standing"
    level = figures.get("level", 0.0)
    if level >= CLIMBING:
        return f"climbing to level {math.floor(level) + 1}"
    return "walking" if tracking >= WALKING else "stepping"


def seconds_until(times: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Seconds from the last of `times` until the straight line through `values` reaches `target`.

    Levels rise more slowly as they get harder: of 842 such times in recorded trainings, what followed took 1.4 times as
    long (median), in nine of ten at least 0.9 times. What is said is therefore called the earliest time.

    None where that would be a guess: fewer than `TREND` values, a rise that is not `CERTAIN` standard errors of the
    fitted slope, or a time more than `REACH` times as long as what was seen.
    """
    count = len(times)
    if count < TREND:
        return None
    mean_time, mean = sum(times) / count, sum(values) / count
    spread = sum((t - mean_time) ** 2 for t in times)
    if spread <= 0.0:
        return None
    slope = sum((t - mean_time) * (v - mean) for t, v in zip(times, values)) / spread
    residual = sum((v - mean - slope * (t - mean_time)) ** 2 for t, v in zip(times, values))
    error = math.sqrt(residual / (count - 2) / spread)
    if slope <= 0.0 or slope < CERTAIN * error:
        return None
    left = (target - mean - slope * (times[-1] - mean_time)) / slope
    return left if 0.0 < left <= REACH * (times[-1] - times[0]) else None


class Stages:
    """Follows the figures of a training, iteration by iteration."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._figures: deque[dict[str, float]] = deque(maxlen=SMOOTHED)
        self._levels: deque[tuple[float, float]] = deque(maxlen=TREND)

    def add(self, seconds: float, figures: Mapping[str, float]) -> tuple[str, float | None]:
        """Add an iteration; returns the stage in words and the seconds to the next one, None where unknown.

        Only the level rises evenly enough to be predicted; tracking does not.

        Args:
            seconds: of training so far.
            figures: see `stage`; an iteration in which no episode ended has none and changes nothing.
        """
        if {"lin_tracking", "yaw_tracking"} <= set(figures):
            self._figures.append(dict(figures))
            if "level" in figures:
                self._levels.append((seconds, figures["level"]))
        if not self._figures:
            return "", None
        means = {name: _mean(self._figures, name) for name in self._figures[-1]}
        words = stage(means)
        if not words.startswith("climbing"):
            return words, None
        times, levels = zip(*self._levels)
        return words, seconds_until(times, levels, math.floor(means["level"]) + 1.0)


def _mean(figures: Iterable[Mapping[str, float]], name: str) -> float:
    known = [each[name] for each in figures if name in each]
    return sum(known) / len(known)
