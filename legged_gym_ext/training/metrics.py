"""Metrics of one simulated robot: tracking, falls, distance, energy, latency."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

TRACKING_SIGMA = 0.25  # m^2/s^2 and rad^2/s^2, fixed, so that metrics are comparable between trainings
GRAVITY = 9.81  # m/s^2

UNITS = {
    "linear_tracking": "mean of exp(-|v_xy error|^2 / 0.25), 0 to 1",
    "yaw_tracking": "mean of exp(-(yaw rate error)^2 / 0.25), 0 to 1",
    "linear_rmse": "m/s",
    "yaw_rmse": "rad/s",
    "fall_rate": "share of episodes with a fall",
    "duration": "s simulated in all",
    "distance": "m walked in all",
    "speed": "m/s, mean",
    "energy": "W, mean of the summed absolute joint powers",
    "cost_of_transport": "energy / (weight x speed); none where the robot hardly moved",
    "saturation": "share of motor time at 99 % or more of the torque limit",
    "latency_median": "ms per policy step",
    "latency_p99": "ms per policy step, 99th percentile",
    "latency_share": "p99 as a share of the control period",
}
"""Metric -> unit."""


@dataclass(frozen=True)
class Fall:
    """A fall: number of the episode, time since its start [s], position [m], and how it was detected."""

    episode: int
    time: float
    x: float
    y: float
    reason: str


@dataclass
class Metrics:
    """Sums over control steps, see `compute`.

    Attributes:
        control_dt: s.
        mass: kg of the robot.
        falls: in order.
        episodes: number of episodes that began.
        latencies: s per policy step.
    """

    control_dt: float
    mass: float
    falls: list[Fall] = field(default_factory=list)
    episodes: int = 0
    latencies: list[float] = field(default_factory=list)
    _steps: int = 0
    _samples: int = 0
    _distance: float = 0.0
    _saturation: float = 0.0
    _sums: np.ndarray = field(default_factory=lambda: np.zeros(5))

    def add(self, robot: Any, command: tuple[float, float, float], moved: float, seconds: float, *, fell: bool) -> None:
        """Add a control step.

        Args:
            robot: after the step: `read()`, `lin_vel`, `torques`, `saturation`.
            command: what the policy observed before the step.
            moved: horizontal distance [m].
            seconds: computing time of the policy [s].
            fell: whether the step ended in a fall; the errors of such a step are left out, as in an evaluation.
        """
        self._steps += 1
        self._distance += moved
        self._saturation += robot.saturation
        self.latencies.append(seconds)
        if fell:
            return
        self._samples += 1
        reading, velocity = robot.read(), robot.lin_vel
        linear = (command[0] - velocity[0]) ** 2 + (command[1] - velocity[1]) ** 2
        yaw = (command[2] - reading.ang_vel[2]) ** 2
        power = float(np.abs(robot.torques * reading.dof_vel).sum())
        self._sums += (math.exp(-linear / TRACKING_SIGMA), math.exp(-yaw / TRACKING_SIGMA), linear, yaw, power)

    def compute(self) -> dict[str, float | None]:
        """The metrics of `UNITS`."""
        samples, seconds = max(1, self._samples), self._steps * self.control_dt
        linear_tracking, yaw_tracking, linear, yaw, power = (self._sums / samples).tolist()
        fallen = len({fall.episode for fall in self.falls})
        speed = self._distance / seconds if seconds else 0.0
        median, slow = np.percentile(self.latencies, [50, 99]).tolist() if self.latencies else (0.0, 0.0)
        return {
            "linear_tracking": linear_tracking,
            "yaw_tracking": yaw_tracking,
            "linear_rmse": math.sqrt(linear),
            "yaw_rmse": math.sqrt(yaw),
            "fall_rate": fallen / max(1, self.episodes),
            "duration": seconds,
            "distance": self._distance,
            "speed": speed,
            "energy": power,
            "cost_of_transport": power / (self.mass * GRAVITY * speed) if speed > 0.05 else None,
            "saturation": self._saturation / max(1, self._steps),
            "latency_median": 1e3 * median,
            "latency_p99": 1e3 * slow,
            "latency_share": slow / self.control_dt,
        }

    def report(self) -> dict[str, Any]:
        """Metrics and falls, ready for JSON."""
        return {**self.compute(), "episodes": self.episodes, "falls": [asdict(fall) for fall in self.falls]}


def table(metrics: dict[str, Any]) -> str:
    """The metrics of `UNITS` with their units, a line each."""
    rows = []
    for name, unit in UNITS.items():
        value = metrics[name]
        rows.append(f"{name:<18}{'-' if value is None else f'{value:.3f}':>10}   {unit}")
    return "\n".join(rows)
