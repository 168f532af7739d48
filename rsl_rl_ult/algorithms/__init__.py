"""The learning methods; each file is one method's difference from PPO."""

from rsl_rl_ult.algorithms.ppo import PPO
from rsl_rl_ult.algorithms.ppo_cts import PPO_CTS
from rsl_rl_ult.algorithms.ppo_rma import PPO_RMA
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS
from rsl_rl_ult.algorithms.ppo_ult import PPO_ULT

__all__ = ["PPO", "PPO_CTS", "PPO_RMA", "PPO_TS", "PPO_ULT"]
