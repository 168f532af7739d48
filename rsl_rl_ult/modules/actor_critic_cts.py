"""The networks of concurrent teacher-student training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rsl_rl_ult.modules.actor_critic import Evaluation, Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.storage import Batch

PRESETS: dict[str, dict[str, Any]] = {
    "joint": {"latent_norm": "l2", "critic_reads_latent": True},
    "per_group": {"latent_norm": "none", "critic_reads_latent": False},
}
"""What each preset means for the networks; what it means for the training stands in algorithms/ppo_cts.py."""


@dataclass
class CTSBatch(Batch):
    """A minibatch of teacher's and student's samples."""

    teacher: torch.Tensor
    """(K B,) bool, the rows that the teacher drove; a mirrored sample has the driver of its original."""
    student_latent: torch.Tensor | None
    """(K B, L) latents of the rows that the student drove, anything in the others; None where they need a gradient."""
    rows: torch.Tensor
    """(B,) rows of the rollout."""
    windows: Any
    """Windows of the rollout's frames (`algorithms.student.RolloutWindows`) where latents need a gradient."""


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
            preset: how the two groups are told apart; sets what is left None here and in `PPO_CTS`. "joint": one critic
                that also reads the latent of whoever drives, advantages standardised together, as go2_rl_gym does.
                "per_group": a critic without it, advantages standardised in each group, as the author of the CTS
                tutorial does with rsl-rl 5.x.
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

    def mixed_latent(
        self, inputs: Tensors, teacher: torch.Tensor | None, student_latent: torch.Tensor | None
    ) -> torch.Tensor:
        """Latents (B, L) of the drivers.

        Args:
            inputs: normalised observation sets (B, d).
            teacher: (B,) bool, rows whose latent E_priv gives; None for all.
            student_latent: (B, L), those of the other rows.
        """
        if teacher is None or student_latent is None:
            return self.teacher_latent(inputs)
        return torch.where(teacher[:, None], self.teacher_latent(inputs), student_latent)

    def value(self, inputs: Tensors, latent: torch.Tensor | None = None) -> torch.Tensor:
        """State values (B, 1) from the set `critic` and, with `critic_reads_latent`, the driver's `latent` (B, L)."""
        if not self.critic_reads_latent:
            return super().value(inputs)
        assert latent is not None
        return self.critic(torch.cat((inputs["critic"], latent.detach()), dim=-1))

    def evaluate_drivers(
        self, inputs: Tensors, teacher: torch.Tensor | None, student_latent: torch.Tensor | None
    ) -> Evaluation:
        """Policy and values of whoever drives each row; arguments as in `mixed_latent`."""
        latent = self.mixed_latent(inputs, teacher, student_latent)
        mean = self.head(inputs, latent)
        return Evaluation(mean, self.std().expand_as(mean), self.value(inputs, latent))

    def evaluate(self, batch: Batch) -> Evaluation:
        """Policy and values for a minibatch; in a plain `Batch` the teacher drove all rows."""
        if isinstance(batch, CTSBatch):
            return self.evaluate_drivers(batch.inputs, batch.teacher, batch.student_latent)
        return self.evaluate_drivers(batch.inputs, None, None)
