"""The networks of concurrent teacher-student training."""

from __future__ import annotations

from typing import Any

import torch

from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS

PRESETS: dict[str, dict[str, Any]] = {
    "joint": {"latent_norm": "l2", "critic_reads_latent": True},
    "per_group": {"latent_norm": "none", "critic_reads_latent": False},
}
"""What each preset means for the networks; what it means for the training stands in algorithms/ppo_cts.py."""


class ActorCriticCTS(ActorCriticTS):
    """`ActorCriticTS` whose rows are driven by teacher or student (arXiv 2405.10830)."""

    def __init__(
        self,
        num_actor_obs: int,
        num_critic_obs: int,
        num_actions: int,
        num_privileged_obs: int,
        preset: str = "joint",
        critic_reads_latent: bool | None = None,
        latent_norm: str | None = None,
        **options: Any,
    ) -> None:
        """Build the networks; what is not listed is as in `ActorCriticTS`.

        Args:
            num_actor_obs: D, columns of one frame.
            num_critic_obs: columns of the observation set `critic`.
            num_actions: A.
            num_privileged_obs: columns of the observation set `privileged`.
            preset: how the two groups are told apart; sets what is left None here and in `PPO_CTS`. "joint": one critic that also reads the
                latent of whoever drives, advantages standardised together, as go2_rl_gym does. "per_group": a critic without it, advantages
                standardised in each group, as the author of the CTS tutorial does with rsl-rl 5.x.
            critic_reads_latent: the critic also reads the latent of the row's driver, which gets no gradient from it.
            latent_norm: "none", or "l2" to put both latents on the unit sphere.
            options: options of `ActorCriticTS`.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset '{preset}': expected {' or '.join(PRESETS)}")
        chosen = PRESETS[preset]
        reads = chosen["critic_reads_latent"] if critic_reads_latent is None else critic_reads_latent
        self.preset, self.critic_reads_latent = preset, reads
        super().__init__(
            num_actor_obs,
            num_critic_obs,
            num_actions,
            num_privileged_obs,
            latent_norm=latent_norm or chosen["latent_norm"],
            **options,
        )

    def _critic_inputs(self, num_critic_obs: int) -> int:
        return num_critic_obs + (self.latent_dim if self.critic_reads_latent else 0)

    def mixed_latent(self, inputs: Tensors, teacher: torch.Tensor, student_latent: torch.Tensor) -> torch.Tensor:
        """(B, L): of rows with `teacher` (B,) from E_priv, of the others their `student_latent` (B, L)."""
        return torch.where(teacher[:, None], self.teacher_latent(inputs), student_latent)

    def value(self, inputs: Tensors) -> torch.Tensor:
        """State values (B, 1) from the set `critic` and, with `critic_reads_latent`, from `latent` (B, L), that of the driver."""
        if not self.critic_reads_latent:
            return super().value(inputs)
        return self.critic(torch.cat((inputs["critic"], inputs["latent"].detach()), dim=-1))
