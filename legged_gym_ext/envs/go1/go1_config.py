"""Unitree Go1: the robot of the tasks `go1`, `go1_flat`, `go1_ult`, ... Sources: SOURCE.md beside its model."""

from __future__ import annotations

from legged_gym_ext.envs.base.velocity_config import VelocityCfg
from legged_gym_ext.task_registry import Robot


class Go1Cfg(VelocityCfg):
    """The Go1 on rough ground."""

    class init_state:
        pos = [0.0, 0.0, 0.34]  # [m]
        default_joint_angles = {  # [rad]
            "FL_hip_joint": 0.1,
            "FL_thigh_joint": 0.8,
            "FL_calf_joint": -1.5,
            "FR_hip_joint": -0.1,
            "FR_thigh_joint": 0.8,
            "FR_calf_joint": -1.5,
            "RL_hip_joint": 0.1,
            "RL_thigh_joint": 1.0,
            "RL_calf_joint": -1.5,
            "RR_hip_joint": -0.1,
            "RR_thigh_joint": 1.0,
            "RR_calf_joint": -1.5,
        }

    class asset:
        file = "{ROOT}/resources/robots/go1/go1.xml"
        name = "go1"
        base_name = "trunk"
        terminate_after_contacts_on = ["trunk"]
        torque_limits = {"hip": 23.7, "thigh": 23.7, "calf": 35.55}  # [N m]
        velocity_limits = {"hip": 30.1, "thigh": 30.1, "calf": 20.06}  # [rad/s]
        sdk_joint_order = [
            f"{leg}_{part}_joint" for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "thigh", "calf")
        ]


GO1 = Robot("go1", Go1Cfg)
