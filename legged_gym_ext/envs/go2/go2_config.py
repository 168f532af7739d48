"""Unitree Go2: robot, ground, rewards and PPO settings of the tasks `go2` and `go2_blind` and their twins on flat ground.

Robot figures: resources/robots/go2/SOURCE.md.
"""

from __future__ import annotations

from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO


class Go2Cfg(LeggedRobotCfg):
    """Walk as commanded over slopes, stairs and obstacles that get harder with success, with full domain randomisation."""

    class env:
        num_envs = 512

    class terrain:
        mesh_type = "rough"

    class commands:
        heading_command = True  # straight ways, so that robots get off their tile

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

    class rewards:
        # Wider than the kernel that evaluate.py reports (0.25): the reward must be felt from standing still.
        tracking_sigma = 0.5
        air_time_target = 0.1  # [s]

        class scales:
            tracking_lin_vel = 2.0
            tracking_ang_vel = 1.0
            lin_vel_z = -1.0
            ang_vel_xy = -0.02
            orientation = -1.0
            base_height = -10.0
            dof_acc = -2.5e-7
            dof_power = -2e-4
            torques = -1e-5
            action_rate = -0.005
            action_smoothness = -0.0005
            dof_pos_limits = -2.0
            collision = -1.0
            feet_air_time = 1.0
            foot_clearance = -0.5
            trot = 0.5
            stand_still = -0.1
            hip_pos = -0.5


class Go2FlatCfg(Go2Cfg):
    """The same robot, rewards and randomisation on a plane."""

    class terrain:
        mesh_type = "plane"

    class commands:
        heading_command = False


class Go2CfgPPO(LeggedRobotCfgPPO):
    """PPO of rsl-rl-lib with an asymmetric critic, sized for a few CPU cores.

    Many small updates: 512 robots x 24 steps, small networks, twice the usual KL step, and every sample learnt from twice through its
    mirror image. benchmarks/results/tuning.md has the runs behind these choices.
    """

    class actor:
        hidden_dims = [128, 128, 64]

    class critic:
        hidden_dims = [128, 128, 64]

    class algorithm:
        num_learning_epochs = 4
        desired_kl = 0.02
        symmetry_cfg: dict | None = {
            "data_augmentation_func": "legged_gym_ext.envs.go2.symmetry:mirror",
            "use_data_augmentation": True,
        }

    class runner:
        experiment_name = "go2"
        max_iterations = 1200  # on rough ground, here and for the other methods: an hour on two cores


class Go2FlatCfgPPO(Go2CfgPPO):
    """`go2` on flat ground."""

    class runner:
        experiment_name = "go2_flat"
        max_iterations = 300


class Go2BlindCfgPPO(Go2CfgPPO):
    """No privileged information anywhere: the lower baseline."""

    class obs_groups:
        critic = ["policy"]

    class runner:
        experiment_name = "go2_blind"


class Go2BlindFlatCfgPPO(Go2BlindCfgPPO):
    """`go2_blind` on flat ground."""

    class runner:
        experiment_name = "go2_blind_flat"
        max_iterations = 300
