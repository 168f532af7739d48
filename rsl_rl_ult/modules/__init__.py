"""Networks."""

from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.actor_critic_cts import ActorCriticCTS
from rsl_rl_ult.modules.actor_critic_sitt import ActorCriticSITT
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.history_encoder import make_history_encoder
from rsl_rl_ult.modules.mlp import MLP, EmpiricalNormalization, GaussianStd
from rsl_rl_ult.modules.multi_task_student import ActorCriticMulti

__all__ = [
    "MLP",
    "ActorCritic",
    "ActorCriticCTS",
    "ActorCriticMulti",
    "ActorCriticSITT",
    "ActorCriticTS",
    "ActorCriticULT",
    "EmpiricalNormalization",
    "GaussianStd",
    "make_history_encoder",
]
