"""The networks of concurrent teacher-student training."""

from __future__ import annotations

from typing import Any

import torch

from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS


class ActorCriticCTS(ActorCriticTS):
    """`ActorCriticTS` whose rows are driven by teacher or student (arXiv 2405.10830); latents on the unit sphere by default."""

    def __init__(
        self, num_actor_obs: int, num_critic_obs: int, num_actions: int, num_privileged_obs: int, **options: Any
    ) -> None:
        """As `ActorCriticTS`, with `latent_norm` "l2" by default."""
        options.setdefault("latent_norm", "l2")
        super().__init__(num_actor_obs, num_critic_obs, num_actions, num_privileged_obs, **options)

    def mixed_mean(self, inputs: Tensors, teacher: torch.Tensor, student_latent: torch.Tensor) -> torch.Tensor:
        """Mean actions (B, A): rows with `teacher` (B,) use E_priv, the others their `student_latent` (B, L)."""
        latent = torch.where(teacher[:, None], self.teacher_latent(inputs), student_latent)
        return self.head(inputs, latent)
