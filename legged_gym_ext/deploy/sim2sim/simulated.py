"""The interface between the run loop and a simulated robot, such as `PlainRobot`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from legged_gym_ext.deploy.controller import Reading


@dataclass
class Start:
    """How an episode begins.

    Attributes:
        yaw: rad, heading.
        joint_pos: (J,) rad; None: the default pose.
        lin_vel: (3,) m/s of the base, world frame.
        ang_vel: (3,) rad/s of the base, base frame.
    """

    yaw: float = 0.0
    joint_pos: np.ndarray | None = None
    lin_vel: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)
    ang_vel: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)


class SimulatedRobot(Protocol):
    """A robot that holds joint targets; joints in the contract's order.

    Attributes:
        mass: kg.
    """

    mass: float

    def reset(self, start: Start | None = None) -> None:
        """Stand at the origin, motors holding the default pose."""
        ...

    def read(self) -> Reading:
        """The sensors' present readings."""
        ...

    def step(self, targets: np.ndarray) -> None:
        """Hold targets (J,) [rad] for one control step."""
        ...

    def push(self, velocity: tuple[float, float]) -> None:
        """Replace the horizontal velocity of the base [m/s], world frame."""
        ...

    @property
    def position(self) -> np.ndarray:
        """(3,) m, origin of the base."""
        ...

    @property
    def lin_vel(self) -> np.ndarray:
        """(3,) m/s of the base, base frame."""
        ...

    @property
    def torques(self) -> np.ndarray:
        """(J,) N m of the motors, in the last physics step."""
        ...

    @property
    def saturation(self) -> float:
        """Share of motor time at the torque limit in the last control step."""
        ...

    @property
    def base_force(self) -> float:
        """N, size of the net contact force on the base."""
        ...

    @property
    def faulty(self) -> bool:
        """Whether the physics became non-finite since the last reset."""
        ...
