"""The distributions that actions are drawn from; their formulas are in losses.py.

Both are described by two tensors (B, A), which rollouts and minibatches call `mean` and `std`:

- gaussian: A independent numbers; `mean` and `std` are what they say. The deterministic action is the mean.
- categorical: one of A choices, as a one-hot row; `mean` holds logits, unnormalised log-probabilities, and `std` zeros,
  which nothing reads. The deterministic action is the likeliest choice.

One-hot actions have the shape of continuous ones, so that storage, hosts and exports are the same for both; an
environment finds the choice by `actions.argmax(-1)`.
"""

from __future__ import annotations

import copy
from typing import Sequence

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.modules.mlp import MLP, GaussianStd


class DiagonalGaussian:
    """Independent normal distributions of A numbers."""

    @staticmethod
    def make_std(num_actions: int, init_std: float, std_type: str, learn_std: bool, std_range: Sequence) -> nn.Module:
        """What holds the standard deviations (A,); arguments as in `GaussianStd`."""
        return GaussianStd(num_actions, init_std, std_type, learn_std, std_range)

    @staticmethod
    def sample(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        """Actions (B, A)."""
        return torch.normal(mean, std)

    @staticmethod
    def mode(mean: torch.Tensor) -> torch.Tensor:
        """Deterministic actions (B, A)."""
        return mean

    @staticmethod
    def log_prob(mean: torch.Tensor, std: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Log-probability (B,) of actions (B, A)."""
        return losses.gaussian_log_prob(mean, std, actions)

    @staticmethod
    def entropy(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        """Entropy (B,)."""
        return losses.gaussian_entropy(std)

    @staticmethod
    def kl(
        mean: torch.Tensor, std: torch.Tensor, other_mean: torch.Tensor, other_std: torch.Tensor, eps: float = 0.0
    ) -> torch.Tensor:
        """KL(first || other) (B,); `eps` as in `losses.gaussian_kl`."""
        return losses.gaussian_kl(mean, std, other_mean, other_std, eps)

    @staticmethod
    def deterministic(head: MLP) -> MLP:
        """A copy of a policy head that gives deterministic actions, for exports."""
        return copy.deepcopy(head)


class Categorical:
    """One of A choices, as one-hot rows."""

    @staticmethod
    def make_std(num_actions: int, init_std: float, std_type: str, learn_std: bool, std_range: Sequence) -> nn.Module:
        """Zeros (A,): there is no deviation, and nothing of it to learn."""
        return _NoStd(num_actions)

    @staticmethod
    def sample(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        """Actions (B, A)."""
        choice = torch.multinomial(torch.softmax(mean, dim=-1), 1)
        return torch.zeros_like(mean).scatter_(-1, choice, 1.0)

    @staticmethod
    def mode(mean: torch.Tensor) -> torch.Tensor:
        """Deterministic actions (B, A); the first of equally likely choices."""
        return _one_hot_argmax(mean)

    @staticmethod
    def log_prob(mean: torch.Tensor, std: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Log-probability (B,) of actions (B, A)."""
        return losses.categorical_log_prob(mean, actions)

    @staticmethod
    def entropy(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
        """Entropy (B,)."""
        return losses.categorical_entropy(mean)

    @staticmethod
    def kl(
        mean: torch.Tensor, std: torch.Tensor, other_mean: torch.Tensor, other_std: torch.Tensor, eps: float = 0.0
    ) -> torch.Tensor:
        """KL(first || other) (B,); `eps` means nothing here."""
        return losses.categorical_kl(mean, other_mean)

    @staticmethod
    def deterministic(head: MLP) -> MLP:
        """A copy of a policy head that gives deterministic actions, for exports."""
        return copy.deepcopy(head).append(_Likeliest())  # pyright: ignore


DISTRIBUTIONS = {"gaussian": DiagonalGaussian, "categorical": Categorical}
"""Names of the option `distribution` of the networks."""


def _one_hot_argmax(logits: torch.Tensor) -> torch.Tensor:
    choice = torch.argmax(logits, dim=-1, keepdim=True)
    return torch.zeros_like(logits).scatter(-1, choice, 1.0)


class _Likeliest(nn.Module):
    """Logits (B, A) -> one-hot rows of the likeliest choices."""

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return _one_hot_argmax(logits)


class _NoStd(nn.Module):
    """Zeros (A,) in place of standard deviations."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(num_actions), persistent=False)

    def forward(self) -> torch.Tensor:
        return self.zeros  # pyright: ignore
