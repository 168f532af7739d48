"""Registers the tasks."""

from legged_gym_ext.envs.go2.go2_config import Go2BlindCfgPPO, Go2Cfg, Go2CfgPPO
from legged_gym_ext.utils.task_registry import task_registry

LEGGED_ROBOT = "legged_gym_ext.envs.base.legged_robot:LeggedRobot"

task_registry.register("go2", LEGGED_ROBOT, Go2Cfg, Go2CfgPPO)
task_registry.register("go2_blind", LEGGED_ROBOT, Go2Cfg, Go2BlindCfgPPO)

__all__ = ["task_registry"]
