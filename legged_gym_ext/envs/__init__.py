"""Registers the tasks: every method on rough ground, and on flat ground as `<name>_flat`."""

from legged_gym_ext.envs.go2 import go2_config, go2_methods
from legged_gym_ext.task_registry import task_registry

LEGGED_ROBOT = "legged_gym_ext.envs.base.legged_robot:LeggedRobot"

ROUGH = {
    "go2": go2_config.Go2CfgPPO,
    "go2_blind": go2_config.Go2BlindCfgPPO,
    "go2_ts": go2_methods.Go2TSCfgPPO,
    "go2_cts": go2_methods.Go2CTSCfgPPO,
    "go2_rma": go2_methods.Go2RMACfgPPO,
    "go2_ult": go2_methods.Go2ULTCfgPPO,
    "go2_ult_faithful": go2_methods.Go2ULTFaithfulCfgPPO,
}
FLAT = {
    "go2_flat": go2_config.Go2FlatCfgPPO,
    "go2_blind_flat": go2_config.Go2BlindFlatCfgPPO,
    "go2_ts_flat": go2_methods.Go2TSFlatCfgPPO,
    "go2_cts_flat": go2_methods.Go2CTSFlatCfgPPO,
    "go2_rma_flat": go2_methods.Go2RMAFlatCfgPPO,
    "go2_ult_flat": go2_methods.Go2ULTFlatCfgPPO,
}

for env_cfg, tasks in ((go2_config.Go2Cfg, ROUGH), (go2_config.Go2FlatCfg, FLAT)):
    for name, train_cfg in tasks.items():
        task_registry.register(name, LEGGED_ROBOT, env_cfg, train_cfg)

__all__ = ["task_registry"]
