"""Timing of a control loop: jitter of its steps, latency of the policy, deadlines missed."""

from __future__ import annotations

import numpy as np


class Timing:
    """Collects times [s] of the control steps for `summary`."""

    def __init__(self, control_dt: float) -> None:
        self._dt = control_dt
        self._late: list[float] = []
        self._latency: list[float] = []
        self._previous: float | None = None
        self._intervals: list[float] = []
        self._skipped = 0

    def asked(self, due: float, now: float) -> None:
        """The policy was asked at `now`; it should have been at `due`."""
        self._late.append(now - due)
        if self._previous is not None:
            self._intervals.append(now - self._previous)
        self._previous = now

    def answered(self, latency: float) -> None:
        """Its targets were there `latency` seconds after the question."""
        self._latency.append(latency)

    def skipped(self, steps: int) -> None:
        """Count steps that were due and not taken: the loop was late, or the previous answer was not there yet."""
        self._skipped += steps

    def summary(self) -> dict[str, float]:
        """Milliseconds and counts.

        A deadline is missed when a step is not taken, or its targets come later than one control step after it was due
        (from two control steps on the step after it is not taken, and that one is counted). Jitter is the difference
        between two steps' distance in time and the control step.
        """
        late = [start + took for start, took in zip(self._late, self._latency)]
        return {
            "control_steps": len(self._late),
            "deadline_misses": self._skipped + sum(self._dt < total < 2 * self._dt for total in late),
            **_spread("jitter_ms", np.abs(np.asarray(self._intervals) - self._dt)),
            **_spread("policy_latency_ms", np.asarray(self._latency)),
        }


def _spread(name: str, seconds: np.ndarray) -> dict[str, float]:
    if len(seconds) == 0:
        return {}
    median, high = np.percentile(seconds, (50, 99))
    values = {"median": median, "p99": high, "max": seconds.max()}
    return {f"{name}_{key}": round(1e3 * float(value), 3) for key, value in values.items()}
