"""The learning methods, one file each. A method is known everywhere by the line that imports it here."""

from rsl_rl_ult.algorithms.dagger import DAgger as DAgger
from rsl_rl_ult.algorithms.on_policy import OnPolicyAlgorithm
from rsl_rl_ult.algorithms.ppo import PPO as PPO
from rsl_rl_ult.algorithms.ppo_cts import PPO_CTS as PPO_CTS
from rsl_rl_ult.algorithms.ppo_rma import PPO_RMA as PPO_RMA
from rsl_rl_ult.algorithms.ppo_sitt import PPO_SITT as PPO_SITT
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS as PPO_TS
from rsl_rl_ult.algorithms.ppo_ult import PPO_ULT as PPO_ULT

METHODS = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, type) and issubclass(value, OnPolicyAlgorithm) and value is not OnPolicyAlgorithm
}
"""Name -> class of every method; hosts, `register()` and configurations find them here."""
