"""Teacher and student with one policy head: one's latent comes from privileged data, the other's from history."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic import ActorCritic, Tensors
from rsl_rl_ult.modules.history_encoder import make_history_encoder
from rsl_rl_ult.modules.mlp import MLP

LATENT_NORMS = ("none", "l2")


class ActorCriticTS(ActorCritic):
    """Policy head on (o_t, latent): latent = E_priv(p_t) for the teacher, E_hist(o_{t-T+1..t}) for the student.

    Reads the observation sets `actor`, `privileged` and `critic`; the student reads windows of `actor` frames (B, T,
    D), oldest first, where frames from before the episode are zero (before normalisation). Two-stage and one-stage
    methods share it: Kumar et al. 2021 (RMA), Lee et al. 2020.
    """

    student_acts_on_history = True

    head_reads_frame = True
    """Whether the policy head reads the current frame besides the latent."""

    @property
    def context(self) -> int:
        """The T - 1 frames before the current one."""
        return self.history_length - 1

    def __init__(
        self,
        num_actor_obs: int,
        num_critic_obs: int,
        num_actions: int,
        num_privileged_obs: int,
        latent_dim: int = 32,
        latent_norm: str = "none",
        actor_hidden_dims: Sequence[int] = (128, 128, 64),
        critic_hidden_dims: Sequence[int] = (128, 128, 64),
        actor_obs_normalization: bool = True,
        critic_obs_normalization: bool = True,
        privilege_hidden_dims: Sequence[int] = (128, 64),
        privileged_obs_normalization: bool | None = None,
        history_encoder: str = "MLP",
        history_length: int = 20,
        history_hidden_dims: Sequence[int] = (128, 64),
        tcn_channels: Sequence[int] = (32, 32, 32),
        tcn_kernel_sizes: Sequence[int] = (4, 3, 3),
        tcn_strides: Sequence[int] = (2, 1, 1),
        tcn_dilations: Sequence[int] = (1, 1, 2),
        gru_hidden_dim: int = 128,
        gru_num_layers: int = 1,
        **actor_critic: Any,
    ) -> None:
        """Build the networks; the defaults are those of the Go2 tasks.

        Args:
            num_actor_obs: D, columns of one frame.
            num_critic_obs: columns of the observation set `critic`.
            num_actions: A.
            num_privileged_obs: columns of the observation set `privileged`.
            latent_dim: L.
            latent_norm: "none", or "l2" to put both latents on the unit sphere.
            actor_hidden_dims: hidden layers of the policy head.
            critic_hidden_dims: hidden layers of the critic.
            actor_obs_normalization: normalise frames by running statistics.
            critic_obs_normalization: the same for what the critic reads.
            privilege_hidden_dims: hidden layers of E_priv.
            privileged_obs_normalization: as for the actor by default.
            history_encoder: MLP, TCN or GRU.
            history_length: T, frames in the student's window.
            history_hidden_dims: hidden layers of the MLP encoder.
            tcn_channels: output channels of each convolution.
            tcn_kernel_sizes: frames under each kernel.
            tcn_strides: step of each convolution.
            tcn_dilations: spacing of the frames under each kernel.
            gru_hidden_dim: width of the GRU.
            gru_num_layers: layers of the GRU.
            actor_critic: options of `ActorCritic`.
        """
        if latent_norm not in LATENT_NORMS:
            raise ValueError(f"latent_norm '{latent_norm}': expected one of {', '.join(LATENT_NORMS)}")
        if latent_dim < 1:
            raise ValueError(f"latent_dim={latent_dim}: expected at least 1")
        self.latent_dim = latent_dim
        super().__init__(
            num_actor_obs,
            num_critic_obs,
            num_actions,
            actor_hidden_dims=actor_hidden_dims,
            critic_hidden_dims=critic_hidden_dims,
            actor_obs_normalization=actor_obs_normalization,
            critic_obs_normalization=critic_obs_normalization,
            **actor_critic,
        )
        self.latent_norm, self.history_length = latent_norm, history_length
        activation = actor_critic.get("activation", "elu")
        self.dims["privileged"] = num_privileged_obs
        normalize = actor_obs_normalization if privileged_obs_normalization is None else privileged_obs_normalization
        self._add_normalizer("privileged", normalize)
        self.privilege_encoder = MLP(num_privileged_obs, latent_dim, privilege_hidden_dims, activation)
        self.history_encoder = make_history_encoder(
            history_encoder,
            history_length,
            num_actor_obs,
            latent_dim,
            activation,
            history_hidden_dims,
            tcn_channels,
            tcn_kernel_sizes,
            tcn_strides,
            tcn_dilations,
            gru_hidden_dim,
            gru_num_layers,
        )

    def _head_inputs(self, num_actor_obs: int) -> int:
        return num_actor_obs + self.latent_dim

    def _on_sphere(self, latent: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(latent, dim=-1) if self.latent_norm == "l2" else latent

    def teacher_latent(self, inputs: Tensors) -> torch.Tensor:
        """(B, L) from the normalised set `privileged`."""
        return self._on_sphere(self.privilege_encoder(inputs["privileged"]))

    def student_latent(self, window: torch.Tensor) -> torch.Tensor:
        """(B, L) from normalised windows (B, T, D), the newest frame last."""
        return self._on_sphere(self.history_encoder(window))

    def head(self, inputs: Tensors, latent: torch.Tensor) -> torch.Tensor:
        """Mean actions (B, A) from the normalised current frame and a latent (B, L)."""
        return self.actor(torch.cat((inputs["actor"], latent), dim=-1))

    def policy_mean(self, inputs: Tensors) -> torch.Tensor:
        """Mean actions (B, A) of the teacher."""
        return self.head(inputs, self.teacher_latent(inputs))

    def actor_parameters(self) -> list[nn.Parameter]:
        """Policy head, standard deviation and E_priv."""
        return [*super().actor_parameters(), *self.privilege_encoder.parameters()]

    def student_parameters(self) -> list[nn.Parameter]:
        """E_hist."""
        return list(self.history_encoder.parameters())
