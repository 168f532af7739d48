"""What an engine must offer to `LeggedRobot`.

All tensors are float32 on `device`, world frame x forward, y left, z up, quaternions w x y z, joints in the order of
`joint_names`. State tensors are live: they change in place (or are replaced) at `step` and `reset`, so read them
through the attribute and clone what must survive a step. N environments, J joints, F feet, K named bodies.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from legged_gym_ext.simulators.legs import Leg
from legged_gym_ext.utils.errors import UserError


@dataclass
class RobotState:
    """Start state of M robots: position (M, 3) m, quaternion (M, 4), velocities and joints (M, J)."""

    root_pos: torch.Tensor
    root_quat: torch.Tensor
    root_lin_vel: torch.Tensor  # world, m/s
    root_ang_vel: torch.Tensor  # base, rad/s
    dof_pos: torch.Tensor  # rad
    dof_vel: torch.Tensor  # rad/s


PER_JOINT = 0
"""`Parameter.columns` of what differs between the joints."""


@dataclass(frozen=True)
class Parameter:
    """A physics parameter that may differ between environments.

    Attributes:
        unit: of its values.
        columns: values per environment: 1 has the shape (N,), 3 has (N, 3), `PER_JOINT` has (N, J).
        meaning: what it does in the engine.
    """

    unit: str
    columns: int
    meaning: str


PARAMETERS: dict[str, Parameter] = {
    "friction": Parameter("-", 1, "sliding friction coefficient of the robot's geoms"),
    "added_mass": Parameter("kg", 1, "added to the base"),
    "com_shift": Parameter("m", 3, "by which the base's centre of mass is moved in the base frame"),
    "kp": Parameter("N m/rad", PER_JOINT, "gain of each motor's position loop"),
    "kd": Parameter("N m s/rad", PER_JOINT, "damping of each motor's position loop"),
    "armature_scale": Parameter("-", 1, "factor on the reflected rotor inertia of all joints"),
    "joint_friction_scale": Parameter("-", 1, "factor on the Coulomb friction of all joints"),
    "joint_damping": Parameter("N m s/rad", 1, "viscous friction of all joints"),
    "joint_stiffness": Parameter("N m/rad", 1, "passive spring of all joints towards the default pose"),
    "delay": Parameter("s", 1, "between a target and the motor acting on it, whole physics steps"),
}
"""What `set_parameter` understands. What is drawn for them: envs/base/randomization.py."""

NOMINAL: dict[str, str] = {
    "friction": "-",
    "armature": "kg m^2",
    "joint_friction": "N m",
    "joint_damping": "N m s/rad",
    "joint_stiffness": "N m/rad",
}
"""Values of feet and joints that a robot's file gives: name -> unit."""


def check_added_mass(base_mass: float, added: float) -> None:
    """Refuse to take more off the base than it has [kg]; a `UserError` that names the field."""
    if base_mass + added <= 0.0:
        raise UserError(f"added mass {added:.3f} kg: the base has {base_mass:.3f} kg; see domain_rand.added_mass_range")


def delay_steps(seconds: torch.Tensor, dt: float, longest: int) -> torch.Tensor:
    """Delays (M,) [s] in physics steps of `dt` s.

    Raises:
        ValueError: negative, more than `longest` steps, or between two steps.
    """
    steps = (seconds.double() / dt).round()
    if len(steps) == 0:
        return steps.long()
    off = (seconds.double() - steps * dt).abs() > 1e-3 * dt  # float32 rounds by less
    least, most, any_off = torch.stack((steps.min(), steps.max(), off.any().double())).tolist()
    if least < 0.0 or most > longest:
        found = f"[{float(seconds.min())}, {float(seconds.max())}]"
        raise ValueError(f"delays must be in [0, {longest * dt:g}] s for this configuration, found {found}")
    if any_off:
        raise ValueError(f"delays must be whole physics steps of {dt:g} s, found {float(seconds[off][0]):g} s")
    return steps.long()


class Simulator(ABC):
    """N copies of one robot on one terrain."""

    description: str  # printed at start-up, e.g. "MuJoCo 3.14.0, 2 CPU threads"
    device: torch.device
    num_envs: int
    dt: float  # s, physics step

    joint_names: list[str]
    contact_names: list[str]  # the K bodies (and feet) whose contact forces are reported
    dof_pos_limits: torch.Tensor  # (J, 2) rad
    torque_limits: torch.Tensor  # (J,) N m
    default_dof_pos: torch.Tensor  # (J,) rad
    foot_radius: float  # m, mean
    standing_height: float  # m from ground to base origin in the default pose, mean over the feet
    legs: list[Leg]  # F, in the order of the feet
    contact_joints: list[int]  # (K,) joint that carries each of `contact_names`, -1: the base
    mass: float  # kg, of the whole robot
    base_mass: float  # kg, of the base alone
    nominal: dict[str, tuple[float, float]]  # smallest and largest value of the robot's file, see `NOMINAL`

    root_pos: torch.Tensor  # (N, 3) m
    root_quat: torch.Tensor  # (N, 4)
    root_lin_vel: torch.Tensor  # (N, 3) m/s, world
    root_ang_vel: torch.Tensor  # (N, 3) rad/s, base
    dof_pos: torch.Tensor  # (N, J) rad
    dof_vel: torch.Tensor  # (N, J) rad/s
    torques: torch.Tensor  # (N, J) N m
    foot_pos: torch.Tensor  # (N, F, 3) m, centre of each foot; may be one physics step old
    contact_forces: torch.Tensor  # (N, K, 3) N, world; may be one physics step old

    @abstractmethod
    def step(self, targets: torch.Tensor, num_steps: int) -> None:
        """Advance all environments by `num_steps` physics steps with joint targets (N, J) in rad."""

    def let_sleep(self, asleep: torch.Tensor | None) -> None:  # noqa: B027
        """Leave environments (N,) bool out of `step`, until further notice; None: step all.

        Engines that cannot leave any out step all.
        """

    @abstractmethod
    def reset(self, env_ids: torch.Tensor, state: RobotState) -> None:
        """Put environments `env_ids` (M,), ascending, into `state` at time zero, motors holding the default pose."""

    @abstractmethod
    def set_root_lin_vel(self, velocity: torch.Tensor) -> None:
        """Replace the base velocities of all robots, (N, 3) m/s in the world frame (a push)."""

    @abstractmethod
    def set_parameter(self, name: str, values: torch.Tensor, env_ids: torch.Tensor | None = None) -> None:
        """Set one of `PARAMETERS` for `env_ids` (all by default); mass-like ones need `commit` afterwards."""

    @abstractmethod
    def commit(self) -> None:
        """Recompute what follows from masses, inertias and armatures. Expensive: once, at start-up."""

    @abstractmethod
    def faults(self) -> torch.Tensor:
        """(N,) bool: environments whose physics became non-finite since the last `step`; reset them."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue bit-identically, without the parameters."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict()` of an engine of the same model and size."""
