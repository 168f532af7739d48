"""What a model of MuJoCo says about its robot, as the protocol wants it."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from legged_gym_ext.simulators.base import Simulator
from legged_gym_ext.simulators.mujoco.model import ModelInfo


def set_figures(sim: Simulator, info: ModelInfo) -> None:
    """Set names, limits, masses and heights of `sim`, on its device."""
    model = info.model
    as_tensor = lambda values: torch.as_tensor(values, dtype=torch.float32, device=sim.device)  # noqa: E731
    sim.joint_names, sim.contact_names = info.joint_names, info.contact_names
    sim.legs, sim.contact_joints, sim.nominal = info.legs, info.contact_joints, info.nominal
    sim.mass = float(model.body_subtreemass[info.base_id])
    sim.base_mass = float(model.body_mass[info.base_id])
    sim.dof_pos_limits = as_tensor(model.jnt_range[joint_ids(info)])
    sim.torque_limits = as_tensor(info.torque_limits)
    sim.default_dof_pos = as_tensor(info.default_pos)
    data = mujoco.MjData(model)
    data.qpos[info.qpos_ids] = info.default_pos
    mujoco.mj_forward(model, data)
    sim.foot_radius = info.foot_radius
    base_z = data.xpos[info.base_id, 2]
    sim.standing_height = float(np.mean(base_z - data.site_xpos[info.foot_sites, 2]) + info.foot_radius)


def joint_ids(info: ModelInfo) -> list[int]:
    """Ids of the joints, in the order of `info.joint_names`."""
    return [info.model.joint(name).id for name in info.joint_names]


def has_dc_motors(model: mujoco.MjModel) -> bool:
    """Whether the motors have a torque-speed line, see `model.add_motor`."""
    return int(model.actuator_gaintype[0]) == int(mujoco.mjtGain.mjGAIN_DCMOTOR)


def idle_data(info: ModelInfo) -> mujoco.MjData:
    """State at time zero in the default pose, motors and their delay lines holding that pose."""
    model = info.model
    data = mujoco.MjData(model)
    data.qpos[info.qpos_ids] = info.default_pos
    data.ctrl[:] = info.default_pos
    for motor in range(model.nu):
        samples = int(model.actuator_history[motor, 0])
        if samples > 0:
            mujoco.mj_initCtrlHistory(model, data, motor, None, np.full((samples, 1), data.ctrl[motor]))
    return data


def longest_delay(model: mujoco.MjModel) -> int:
    """Physics steps by which targets can be late at most."""
    return max(0, int(model.actuator_history[:, 0].min()) - 1)
