"""Unitree Go2: the robot of the tasks `go2`, `go2_flat`, `go2_ult`, ... Sources: SOURCE.md beside its model."""

from __future__ import annotations

from legged_gym_ext.envs.base.velocity_config import VelocityCfg
from legged_gym_ext.envs.methods import BLIND, FLAT, PPO, ROUGH, PPOCfg
from legged_gym_ext.task_registry import Robot


class Go2Cfg(VelocityCfg):
    """The Go2 on rough ground."""

    class init_state:
        pos = [0.0, 0.0, 0.34]  # [m]
        default_joint_angles = {  # [rad], joint order of the whole package: FL FR RL RR, each hip thigh calf
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
        file = "{ROOT}/resources/robots/go2/go2.xml"
        name = "go2"
        torque_limits = {"hip": 23.7, "thigh": 23.7, "calf": 45.43}  # [N m]
        velocity_limits = {"hip": 30.1, "thigh": 30.1, "calf": 15.70}  # [rad/s]
        sdk_joint_order = [
            f"{leg}_{part}_joint" for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "thigh", "calf")
        ]


GO2 = Robot("go2", Go2Cfg, mirror="legged_gym_ext.envs.go2.symmetry:mirror")

# What the registry composes, by names to subclass; those of the other methods are in go2_methods.py.
Go2FlatCfg: type[Go2Cfg] = GO2.env_cfg(PPO, FLAT)
Go2CfgPPO: type[PPOCfg] = GO2.train_cfg(PPO, ROUGH)
Go2FlatCfgPPO: type[PPOCfg] = GO2.train_cfg(PPO, FLAT)
Go2BlindCfgPPO: type[PPOCfg] = GO2.train_cfg(BLIND, ROUGH)
Go2BlindFlatCfgPPO: type[PPOCfg] = GO2.train_cfg(BLIND, FLAT)
