"""Encoders of observation histories: (B, T, D) -> (B, L).

`MLP` flattens the window, `TCN` convolves over time (as in Lee et al. 2020 and RMA), `GRU` reads it frame by frame. The
newest frame is the last.

The TCN of the tutorial that these tasks follow is another network: it convolves the flattened window as one channel,
without activations between the convolutions. Times and losses of the two cannot be compared.
"""

from __future__ import annotations

from typing import Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.mlp import MLP, make_activation


class MLPHistoryEncoder(nn.Module):
    """All T frames at once into an MLP."""

    def __init__(
        self,
        length: int,
        frame_dim: int,
        latent_dim: int,
        hidden_dims: Sequence[int] = (256, 128),
        activation: str = "elu",
    ) -> None:
        """Window of `length` frames with `frame_dim` columns -> `latent_dim`."""
        super().__init__()
        self.mlp = MLP(length * frame_dim, latent_dim, hidden_dims, activation)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, L)."""
        return self.mlp(window.flatten(1))


class TCNHistoryEncoder(nn.Module):
    """1-D convolutions over time without padding, then a linear layer."""

    def __init__(
        self,
        length: int,
        frame_dim: int,
        latent_dim: int,
        channels: Sequence[int] = (32, 32, 32),
        kernel_sizes: Sequence[int] = (4, 3, 3),
        strides: Sequence[int] = (2, 1, 1),
        dilations: Sequence[int] = (1, 1, 2),
        activation: str = "elu",
    ) -> None:
        """One convolution per entry of the four lists; a window too short for them is a `ValueError`."""
        super().__init__()
        if not 0 < len(channels) == len(kernel_sizes) == len(strides) == len(dilations):
            raise ValueError(
                "tcn_channels, tcn_kernel_sizes, tcn_strides and tcn_dilations need one entry per convolution, found "
                f"{len(channels)}, {len(kernel_sizes)}, {len(strides)} and {len(dilations)}"
            )
        layers: list = []
        width, frames = frame_dim, length
        for channel, kernel, stride, dilation in zip(channels, kernel_sizes, strides, dilations):
            layers += [nn.Conv1d(width, channel, kernel, stride, dilation=dilation), make_activation(activation)]
            width, frames = channel, (frames - dilation * (kernel - 1) - 1) // stride + 1
            if frames < 1:
                raise ValueError(
                    f"a history of {length} frames is too short for TCN kernels {list(kernel_sizes)}, strides "
                    f"{list(strides)}, dilations {list(dilations)}: use a longer history_length or smaller kernels"
                )
        self.convolutions = nn.Sequential(*layers)
        self.out = nn.Linear(width * frames, latent_dim)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, L)."""
        features = self.convolutions(window.transpose(1, 2))  # (B, channels, frames)
        return self.out(features.flatten(1))


class GRUHistoryEncoder(nn.Module):
    """A GRU over the window from a zero state; its last output goes through a linear layer."""

    def __init__(self, frame_dim: int, latent_dim: int, hidden_dim: int = 128, num_layers: int = 1) -> None:
        """Frames with `frame_dim` columns -> `latent_dim`; any window length."""
        super().__init__()
        self.gru = nn.GRU(frame_dim, hidden_dim, num_layers, batch_first=True)
        self.out = nn.Linear(hidden_dim, latent_dim)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, L)."""
        outputs, _ = self.gru(window)  # (B, T, hidden)
        return self.out(outputs[:, -1])


def make_history_encoder(
    kind: str,
    length: int,
    frame_dim: int,
    latent_dim: int,
    activation: str = "elu",
    hidden_dims: Sequence[int] = (256, 128),
    tcn_channels: Sequence[int] = (32, 32, 32),
    tcn_kernel_sizes: Sequence[int] = (4, 3, 3),
    tcn_strides: Sequence[int] = (2, 1, 1),
    tcn_dilations: Sequence[int] = (1, 1, 2),
    gru_hidden_dim: int = 128,
    gru_num_layers: int = 1,
) -> nn.Module:
    """The encoder called `kind` (MLP, TCN or GRU) for windows (B, length, frame_dim) -> (B, latent_dim)."""
    if length < 1:
        raise ValueError(f"history_length={length}: expected at least 1")
    if kind == "MLP":
        return MLPHistoryEncoder(length, frame_dim, latent_dim, hidden_dims, activation)
    if kind == "TCN":
        return TCNHistoryEncoder(
            length, frame_dim, latent_dim, tcn_channels, tcn_kernel_sizes, tcn_strides, tcn_dilations, activation
        )
    if kind == "GRU":
        return GRUHistoryEncoder(frame_dim, latent_dim, gru_hidden_dim, gru_num_layers)
    raise ValueError(f"history_encoder '{kind}': expected MLP, TCN or GRU")
