"""Position motors and joint forces in torch, for engines that want a torque in every physics step.

The same laws as in the MuJoCo model: PD torque within a torque-speed line, targets that arrive late by whole physics
steps, and, besides the motor, viscous and Coulomb friction and a spring. Isaac Gym has no place for the last three: its
joint drives belong to its own motors, and its joint friction is a share of the load and not a torque.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from legged_gym_ext.simulators.base import delay_steps
from legged_gym_ext.simulators.isaac_gym.assets import Robot
from legged_gym_ext.utils.config import match_joint
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

STICK_SPEED = 0.25
"""rad/s below which Coulomb friction falls linearly to 0.

A jump would be overshot within a step: 0.5 N m for 5 ms take 0.15 rad/s from a rotor of 0.0165 kg m^2.
"""


class Motors:
    """Motors and joints of N robots.

    Attributes:
        default_pos, torque_limits: (J,) rad, N m.
        kp, kd: (N, J) N m / rad, N m s / rad.
        damping: (N, J) N m s / rad.
        friction: (N, J) N m.
        stiffness: (N, 1) N m / rad towards the default pose.
        waiting: (1 + longest delay in steps, N, J) rad, targets of this and earlier physics steps.
    """

    def __init__(self, cfg: LeggedRobotCfg, robot: Robot, num_envs: int, device: torch.device) -> None:
        """Motors of `cfg` (a `LeggedRobotCfg`) for the joints of `robot`, holding the default pose."""
        control, asset, names = cfg.control, cfg.asset, robot.joint_names
        if control.control_type != "P":
            raise UserError(
                f"control.control_type is '{control.control_type}'; this engine knows 'P' (position targets)"
            )
        if control.motor not in ("dc", "ideal"):
            near = did_you_mean(control.motor, ("dc", "ideal"))
            raise UserError(f"unknown control.motor '{control.motor}'{near}; known: dc, ideal")
        tensor = lambda values: torch.tensor(values, dtype=torch.float32, device=device)  # noqa: E731
        rows = lambda values: tensor(values).repeat(num_envs, 1)  # noqa: E731
        match = lambda values, what: [match_joint(values, name, what) for name in names]  # noqa: E731
        self.default_pos = tensor([cfg.init_state.default_joint_angles[name] for name in names])
        self.kp, self.kd = (
            rows(match(control.stiffness, "control.stiffness")),
            rows(match(control.damping, "control.damping")),
        )
        self.torque_limits = tensor(match(asset.torque_limits, "asset.torque_limits"))
        speeds = match(asset.velocity_limits, "asset.velocity_limits")
        self._no_load_speed = tensor([speed if control.motor == "dc" else math.inf for speed in speeds])
        self.damping, self.friction = rows(robot.damping), rows(robot.friction)
        self._nominal_friction = tensor(robot.friction)
        self.stiffness = torch.zeros(num_envs, 1, device=device)
        self._dt, self._robots = float(cfg.sim.dt), torch.arange(num_envs, device=device)
        longest = max(cfg.domain_rand.delay_range) if cfg.domain_rand.randomize_delay else 0.0
        steps = math.ceil(longest / self._dt - 1e-9)
        self._delay = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.waiting = self.default_pos.repeat(1 + steps, num_envs, 1)

    def torques(self, targets: torch.Tensor, pos: torch.Tensor, vel: torch.Tensor) -> torch.Tensor:
        """Torques (N, J) [N m] of the motors in this physics step, to be called once in each.

        Args:
            targets: (N, J) rad, handed over now; each robot's motors act on those of its delay ago.
            pos: (N, J) rad.
            vel: (N, J) rad/s.
        """
        self.waiting.copy_(torch.cat((targets[None], self.waiting[:-1])))
        arrived = self.waiting[self._delay, self._robots]
        pd = self.kp * (arrived - pos) - self.kd * vel
        # The line tau_max (+-1 - v / v_max); what it would allow beyond tau_max while braking is cut.
        limit = self.torque_limits
        slope = vel / self._no_load_speed
        within_line = torch.minimum(torch.maximum(pd, limit * (-1.0 - slope)), limit * (1.0 - slope))
        return torch.minimum(torch.maximum(within_line, -limit), limit)

    def joint_forces(self, pos: torch.Tensor, vel: torch.Tensor) -> torch.Tensor:
        """Torques (N, J) [N m] that act on the joints besides the motors'."""
        spring = self.stiffness * (self.default_pos - pos)
        return spring - self.damping * vel - self.friction * (vel / STICK_SPEED).clamp(-1.0, 1.0)

    def hold(self, ids: torch.Tensor) -> None:
        """Clear the delay lines of robots `ids` (M,): their motors hold the default pose."""
        self.waiting[:, ids] = self.default_pos

    def scale_friction(self, ids: torch.Tensor, factors: torch.Tensor) -> None:
        """Set the Coulomb friction of robots `ids` (M,) to `factors` (M,) times that of the robot's file."""
        self.friction[ids] = factors[:, None] * self._nominal_friction

    def set_delay(self, ids: torch.Tensor, seconds: torch.Tensor) -> None:
        """Set the delays of robots `ids` (M,) to `seconds` (M,), whole physics steps.

        Raises:
            ValueError: negative, between two steps, or longer than the configuration provides for.
        """
        self._delay[ids] = delay_steps(seconds, self._dt, len(self.waiting) - 1)
