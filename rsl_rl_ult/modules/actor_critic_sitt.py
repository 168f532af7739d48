"""The networks of student-informed teacher training: those of TS, and a proxy that guesses the student's latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic import Evaluation, Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.mlp import MLP, make_activation
from rsl_rl_ult.storage import Batch


@dataclass
class SITTBatch(Batch):
    """A minibatch that knows what the teacher is compared with."""

    imitated: torch.Tensor | None
    """(K B, L) latents of the proxy, or of the student; they do not change in an update. None where nothing asks."""


@dataclass
class SITTEvaluation(Evaluation):
    """Also the latent that the means were computed from."""

    latent: torch.Tensor
    """(K B, L) of the teacher."""


class ActorCriticSITT(ActorCriticTS):
    """One action decoder D on three latents (arXiv 2412.09149): E_priv, E_hist, and the proxy of the student's.

    The proxy E_proxy(o_t, p_t) learns to give the latent of E_hist from what the teacher reads, so that the teacher
    can be compared with the student where the student's own input is expensive.
    """

    def __init__(
        self,
        num_actor_obs: int,
        num_critic_obs: int,
        num_actions: int,
        num_privileged_obs: int,
        proxy_hidden_dims: Sequence[int] = (128, 64),
        proxy_activation: str | None = None,
        latent_activation: str | None = None,
        head_reads_frame: bool = True,
        **options: Any,
    ) -> None:
        """Build the networks; what is not listed is as in `ActorCriticTS`.

        Args:
            num_actor_obs: D, columns of one frame.
            num_critic_obs: columns of the observation set `critic`.
            num_actions: A.
            num_privileged_obs: P, columns of the observation set `privileged`.
            proxy_hidden_dims: hidden layers of E_proxy, which reads D + P columns.
            proxy_activation: of E_proxy, that of the other networks by default.
            latent_activation: also after the last layer of all three encoders; none by default.
            head_reads_frame: False: D reads the latent alone.
            options: options of `ActorCriticTS`.
        """
        self.head_reads_frame = head_reads_frame
        super().__init__(num_actor_obs, num_critic_obs, num_actions, num_privileged_obs, **options)
        activation = proxy_activation or options.get("activation", "elu")
        with torch.random.fork_rng(devices=[]):  # rollouts go on with the random numbers that TS would have
            self.proxy_encoder: nn.Module = MLP(
                num_actor_obs + num_privileged_obs, self.latent_dim, proxy_hidden_dims, activation
            )
        if latent_activation is not None:
            for name in ("privilege_encoder", "history_encoder", "proxy_encoder"):
                setattr(self, name, nn.Sequential(getattr(self, name), make_activation(latent_activation)))

    def _head_inputs(self, num_actor_obs: int) -> int:
        return super()._head_inputs(num_actor_obs) if self.head_reads_frame else self.latent_dim

    def head(self, inputs: Tensors, latent: torch.Tensor) -> torch.Tensor:
        """Mean actions (B, A) from the normalised current frame, unless D reads the latent alone, and a latent."""
        return super().head(inputs, latent) if self.head_reads_frame else self.actor(latent)

    def proxy_latent(self, inputs: Tensors) -> torch.Tensor:
        """(B, L), the student's latent as guessed from the normalised sets `actor` and `privileged`."""
        return self._on_sphere(self.proxy_encoder(torch.cat((inputs["actor"], inputs["privileged"]), dim=-1)))

    def policy_kl(self, mean: torch.Tensor, other_mean: torch.Tensor, std: torch.Tensor | None = None) -> torch.Tensor:
        """KL(first || second) (B,) of two policies.

        Gaussian ones share their deviation: the student acts without noise once it is deployed, for the comparison it
        has the teacher's. What is left is half the squared distance, in deviations.

        Args:
            mean: (B, A) mean actions of the first policy; logits of a categorical one.
            other_mean: (B, A) of the second.
            std: (B, A) or (A,), the learnt deviation by default.
        """
        std = (self.std() if std is None else std).expand_as(mean)
        return self.distribution.kl(mean, std, other_mean, std)

    def evaluate(self, batch: Any) -> SITTEvaluation:
        """The teacher's policy, values and latents for a minibatch."""
        latent = self.teacher_latent(batch.inputs)
        mean = self.head(batch.inputs, latent)
        return SITTEvaluation(mean, self.std().expand_as(mean), self.value(batch.inputs), latent)

    def proxy_parameters(self) -> list[nn.Parameter]:
        """E_proxy."""
        return list(self.proxy_encoder.parameters())
