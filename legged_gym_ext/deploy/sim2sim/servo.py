"""One Go2 in plain MuJoCo whose motors obey q, dq, tau, kp and kd, like those of the robot's low level.

For rehearsing deployment: no environment, no batch, the robot file's own friction and armature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from legged_gym_ext.simulators.mujoco.ground import COLLISION
from legged_gym_ext.simulators.mujoco.model import load_robot

if TYPE_CHECKING:
    from legged_gym_ext.deploy.go2.messages import LowCommand

DT = 0.001
"""Physics step [s]."""


class ServoRobot:
    """A robot on a plane; joints in the order that it is made with."""

    def __init__(
        self, file: str, joint_names: Sequence[str], torque_limits: Sequence[float], max_speeds: Sequence[float]
    ) -> None:
        """Build the model.

        Args:
            file: MJCF of the robot.
            joint_names: in the order of commands and states.
            torque_limits: N m; a driving motor's falls linearly to zero at `max_speeds`, as that of a DC motor.
            max_speeds: rad/s.
        """
        spec = load_robot(file)
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], **COLLISION)
        spec.option.timestep = DT
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        joints = [self.model.joint(name) for name in joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._torque, self._speed = np.asarray(torque_limits), np.asarray(max_speeds)

    def place(self, height: float, joint_pos: Sequence[float]) -> None:
        """Put the robot level and at rest, its base `height` metres above the ground."""
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:7] = (0.0, 0.0, height, 1.0, 0.0, 0.0, 0.0)
        self.data.qpos[self._qpos] = joint_pos
        mujoco.mj_forward(self.model, self.data)

    def step(self, command: LowCommand, seconds: float) -> None:
        """Let time pass with the motors following `command` (q, dq, tau, kp, kd)."""
        for _ in range(round(seconds / DT)):
            dq = self.dq
            torque = command.kp * (command.q - self.q) + command.kd * (command.dq - dq) + command.tau
            share = np.clip(dq / self._speed, -1.0, 1.0)
            high, low = self._torque * np.minimum(1.0, 1.0 - share), -self._torque * np.minimum(1.0, 1.0 + share)
            self.data.qfrc_applied[self._dof] = np.clip(torque, low, high)
            mujoco.mj_step(self.model, self.data)

    @property
    def q(self) -> np.ndarray:
        """(J,) rad."""
        return self.data.qpos[self._qpos]

    @property
    def dq(self) -> np.ndarray:
        """(J,) rad/s."""
        return self.data.qvel[self._dof]

    @property
    def position(self) -> np.ndarray:
        """(3,) m, of the base in the world."""
        return self.data.qpos[:3].copy()

    @property
    def quat(self) -> np.ndarray:
        """(4,) w x y z."""
        return self.data.qpos[3:7].copy()

    @property
    def ang_vel(self) -> np.ndarray:
        """(3,) rad/s in the base frame."""
        return self.data.qvel[3:6].copy()
