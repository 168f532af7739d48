"""Registers the tasks."""

from legged_gym_ext.envs.go2.go2_config import Go2BlindCfgPPO, Go2Cfg, Go2CfgPPO
from legged_gym_ext.envs.go2.go2_methods import Go2CTSCfgPPO, Go2RMACfgPPO, Go2TSCfgPPO, Go2ULTCfgPPO
from legged_gym_ext.utils.task_registry import task_registry

LEGGED_ROBOT = "legged_gym_ext.envs.base.legged_robot:LeggedRobot"

task_registry.register("go2", LEGGED_ROBOT, Go2Cfg, Go2CfgPPO)
task_registry.register("go2_blind", LEGGED_ROBOT, Go2Cfg, Go2BlindCfgPPO)
task_registry.register("go2_ts", LEGGED_ROBOT, Go2Cfg, Go2TSCfgPPO)
task_registry.register("go2_cts", LEGGED_ROBOT, Go2Cfg, Go2CTSCfgPPO)
task_registry.register("go2_rma", LEGGED_ROBOT, Go2Cfg, Go2RMACfgPPO)
task_registry.register("go2_ult", LEGGED_ROBOT, Go2Cfg, Go2ULTCfgPPO)

__all__ = ["task_registry"]
