"""Networks."""

from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.actor_critic_cts import ActorCriticCTS
from rsl_rl_ult.modules.actor_critic_sitt import ActorCriticSITT
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.history_encoder import make_history_encoder
from rsl_rl_ult.modules.mlp import MLP, EmpiricalNormalization, GaussianStd

__all__ = [
    "MLP",
    "ActorCritic",
    "ActorCriticCTS",
    "ActorCriticSITT",
    "ActorCriticTS",
    "ActorCriticULT",
    "EmpiricalNormalization",
    "GaussianStd",
    "make_history_encoder",
]
