"""The task that the robots of this package share: walk as commanded. A robot adds its body and its default pose."""

from __future__ import annotations

from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg


class VelocityCfg(LeggedRobotCfg):
    """Walk as commanded over slopes, stairs and obstacles that get harder with success, with full randomisation."""

    class env:
        num_envs = 512

    class terrain:
        mesh_type = "rough"

    class commands:
        heading_command = True  # straight ways, so that robots get off their tile

    class rewards:
        tracking_sigma = 0.25  # as evaluate.py reports; a wider one pays robots that stand before an edge
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


class OnPlane:
    """Sections that put a robot on level ground, with the same rewards and randomisation."""

    class terrain:
        mesh_type = "plane"

    class commands:
        heading_command = False

    class rewards:
        tracking_sigma = 0.5  # faster here: the reward is felt from standing still
