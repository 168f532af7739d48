"""Sources of velocity commands: a fixed command, a timed script, or random commands as in an evaluation.

A command is vx, vy [m/s] and yaw rate [rad/s] in the base frame. Every source is a function of the time since the start
of an episode [s].
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Tuple

import numpy as np

from legged_gym_ext.utils.errors import UserError

Command = Tuple[float, float, float]

RANGES = ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")
SHOWN = 12  # commands of a script in its text form
RESAMPLING_TIME = 10.0  # s; this and the two below are the defaults of the tasks' `commands`
ZERO_FRACTION = 0.1
MIN_LIN_VEL = 0.1  # m/s
TOUR = (
    (2.0, (0.0, 0.0, 0.0)),
    (4.0, (0.6, 0.0, 0.0)),
    (3.0, (1.0, 0.0, 0.0)),
    (3.0, (0.0, 0.8, 0.0)),
    (3.0, (-0.5, 0.0, 0.0)),
    (3.0, (0.5, 0.0, 0.8)),
    (2.0, (0.0, 0.0, 0.0)),
)
"""The default script: duration [s], and the command as shares of the trained bounds."""


class Fixed:
    """A constant command.

    Attributes:
        command: vx, vy [m/s] and yaw rate [rad/s]; may be replaced at any time.
    """

    def __init__(self, command: Command) -> None:
        """Start with `command`."""
        self.command = command

    def __call__(self, seconds: float) -> Command:
        """The command, at any time."""
        return self.command

    def __str__(self) -> str:
        """Text for reports."""
        return in_numbers(self.command)


class Script:
    """Timed commands; the last one is kept.

    Attributes:
        duration: time until the last command ends [s].
    """

    def __init__(self, steps: list[tuple[float, Command]]) -> None:
        """Run `steps`, pairs of duration [s] and command, one after the other."""
        self._ends = np.cumsum([seconds for seconds, _ in steps])
        self._commands = [command for _, command in steps]
        self.duration = float(self._ends[-1])
        self._seconds = [seconds for seconds, _ in steps]

    def __call__(self, seconds: float) -> Command:
        """The command at this time; a command is valid from its first moment on."""
        # Times are sums of floats: the half millisecond only decides on which side of a boundary they fall.
        index = int(np.searchsorted(self._ends, seconds + 5e-4, side="right"))
        return self._commands[min(index, len(self._commands) - 1)]

    def __str__(self) -> str:
        """Text for reports."""
        steps = [
            f"{seconds:g} s {vx:g} {vy:g} {yaw:g}" for seconds, (vx, vy, yaw) in zip(self._seconds, self._commands)
        ]
        more = f", and {len(steps) - SHOWN} more" if len(steps) > SHOWN else ""
        return f"{', '.join(steps[:SHOWN])}{more} (vx, vy [m/s], yaw rate [rad/s])"


class Random:
    """Random commands with the distribution of the tasks.

    Uniform, a new one every 10 s; a tenth of them is zero, and slow ones have no translation.
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]], rng: np.random.Generator) -> None:
        """Draw from `ranges`, field of `commands.ranges` -> (lower, upper), with `rng`."""
        self._low, self._high = bounds(ranges)
        self._rng, self._drawn, self._command = rng, -1, (0.0, 0.0, 0.0)

    def __call__(self, seconds: float) -> Command:
        """The command at this time; time must not run backwards."""
        interval = int((seconds + 5e-4) / RESAMPLING_TIME)
        while self._drawn < interval:
            self._drawn += 1
            self._command = self._draw()
        return self._command

    def _draw(self) -> Command:
        vx, vy, yaw = self._rng.uniform(self._low, self._high).tolist()
        stand = self._rng.random() < ZERO_FRACTION
        if stand or np.hypot(vx, vy) < MIN_LIN_VEL:
            vx = vy = 0.0
        return (vx, vy, 0.0 if stand else yaw)


def bounds(ranges: Mapping[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (3,) of the trained commands.

    Raises:
        UserError: a range is missing or reversed.
    """
    for name in RANGES:
        if name not in ranges or ranges[name][0] > ranges[name][1]:
            raise UserError(f"policy contract: commands.{name} must be [lower, upper], found {ranges.get(name)}")
    low, high = np.array([ranges[name] for name in RANGES]).T
    return low, high


def clamp(command: Iterable[float], low: Iterable[float], high: Iterable[float]) -> Command:
    """`command` within its bounds, in steps of 0.001, so that repeated key presses add up to round numbers."""
    vx, vy, yaw = (round(min(max(float(part), least), most), 3) for part, least, most in zip(command, low, high))
    return vx, vy, yaw


def in_numbers(command: Iterable[float]) -> str:
    """A velocity as text of fixed width, e.g. "x +0.80  y +0.00 m/s   yaw -0.50 rad/s"."""
    vx, vy, yaw = command
    return f"x {vx:+.2f}  y {vy:+.2f} m/s   yaw {yaw:+.2f} rad/s"


def tour(ranges: Mapping[str, tuple[float, float]]) -> Script:
    """`TOUR` within the trained bounds."""
    low, high = bounds(ranges)
    steps = []
    for seconds, shares in TOUR:
        vx, vy, yaw = (
            float(share * top if share >= 0.0 else -share * bottom) for share, bottom, top in zip(shares, low, high)
        )
        steps.append((seconds, (vx, vy, yaw)))
    return Script(steps)


def read_script(path: Path) -> Script:
    """Read timed commands from a text file.

    A line has a duration [s], vx, vy and yaw rate, separated by blanks or commas; `#` starts a comment.

    Raises:
        UserError: the file cannot be read, or a line is invalid.
    """
    try:
        lines = Path(os.path.expanduser(path)).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--script={path}: {getattr(error, 'strerror', None) or 'no text file'}") from error
    steps = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            seconds, vx, vy, yaw = map(float, words)
        except ValueError:
            seconds = vx = vy = yaw = float("nan")
        if not (np.isfinite([seconds, vx, vy, yaw]).all() and seconds > 0.0):
            raise UserError(f"{path}:{number}: expected SECONDS VX VY YAW, found '{line.strip()}'")
        steps.append((seconds, (vx, vy, yaw)))
    if not steps:
        raise UserError(f"{path}: no commands; a line is SECONDS VX VY YAW")
    return Script(steps)


def outside(command: Command, ranges: Mapping[str, tuple[float, float]]) -> str:
    """Text that names the parts of `command` outside the trained `ranges`; empty if there are none."""
    low, high = bounds(ranges)
    found = [
        f"{name} {value:g} (trained {bottom:g} to {top:g})"
        for name, value, bottom, top in zip(RANGES, command, low, high)
        if not bottom - 1e-9 <= value <= top + 1e-9
    ]
    return ", ".join(found)
