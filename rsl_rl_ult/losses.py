"""Every formula of the learning methods once, as pure functions of tensors.

Letters: S steps, N environments, B rows, A actions, L latent.
"""

from __future__ import annotations

import math
from typing import Sequence

import torch

HALF_LOG_2PI = math.log(math.sqrt(2 * math.pi))


def gaussian_log_prob(mean: torch.Tensor, std: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Log-probability (B,) of actions (B, A) under a diagonal Gaussian with mean and std (B, A)."""
    var = std**2
    log_std = std.log()
    return (-((actions - mean) ** 2) / (2 * var) - log_std - HALF_LOG_2PI).sum(dim=-1)


def squashed_log_prob(mean: torch.Tensor, std: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Log-probability (B,) of actions (B, A) in (-1, 1) that are tanh(u), u normal with mean and std (B, A).

    Actions at the bounds count as 1e-6 inside of them.
    """
    inside = actions.clamp(-1.0 + 1e-6, 1.0 - 1e-6)
    latent = torch.atanh(inside)
    return gaussian_log_prob(mean, std, latent) - torch.log1p(-inside.square()).sum(dim=-1)


def gaussian_entropy(std: torch.Tensor) -> torch.Tensor:
    """Entropy (B,) of a diagonal Gaussian with std (B, A): sum of 1/2 + 1/2 log(2 pi) + log std."""
    return (0.5 + 0.5 * math.log(2 * math.pi) + torch.log(std)).sum(dim=-1)


def gaussian_kl(
    mean: torch.Tensor, std: torch.Tensor, other_mean: torch.Tensor, other_std: torch.Tensor, eps: float = 0.0
) -> torch.Tensor:
    """KL(first || other) (B,) of diagonal Gaussians, all arguments (B, A).

    `eps` is added to other_std / std in the logarithm; rsl_rl 1.0.2 adds 1e-5, which makes the KL of equal policies
    A * 1e-5 instead of 0.
    """
    var_ratio = (std / other_std).pow(2)
    distance = ((mean - other_mean) / other_std).pow(2)
    if eps > 0.0:
        return (torch.log(other_std / std + eps) + 0.5 * (var_ratio + distance) - 0.5).sum(dim=-1)
    return (0.5 * (var_ratio + distance - 1 - var_ratio.log())).sum(dim=-1)


def categorical_log_prob(logits: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Log-probability (B,) of one-hot actions (B, A) under softmax(logits), logits (B, A)."""
    return (torch.log_softmax(logits, dim=-1) * actions).sum(dim=-1)


def categorical_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy (B,) of softmax(logits), logits (B, A): - sum p log p."""
    log_probs = torch.log_softmax(logits, dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def categorical_kl(logits: torch.Tensor, other_logits: torch.Tensor) -> torch.Tensor:
    """KL(first || other) (B,) of softmax(logits) and softmax(other_logits), both (B, A): sum p (log p - log q)."""
    log_probs = torch.log_softmax(logits, dim=-1)
    return (log_probs.exp() * (log_probs - torch.log_softmax(other_logits, dim=-1))).sum(dim=-1)


def generalized_advantages(
    rewards: torch.Tensor,
    dones: torch.Tensor,
    values: torch.Tensor,
    last_values: torch.Tensor,
    gamma: float,
    lam: float,
) -> torch.Tensor:
    """Returns (S, N, 1), that is values plus generalised advantages (Schulman et al. 2016).

    Args:
        rewards: (S, N, 1); at a time-out they already hold gamma * V of the state that was cut off.
        dones: (S, N, 1), 1 where the episode ended with that step.
        values: (S, N, 1), V(s_t).
        last_values: (N, 1), V of the state after the last step.
        gamma: discount factor.
        lam: weight of longer returns; 0 is one-step TD, 1 Monte Carlo.
    """
    returns = torch.empty_like(values)
    alive = 1.0 - dones.float()
    advantage = torch.zeros_like(last_values)
    next_values = last_values
    for step in reversed(range(len(rewards))):
        delta = rewards[step] + alive[step] * gamma * next_values - values[step]
        advantage = delta + alive[step] * gamma * lam * advantage
        torch.add(advantage, values[step], out=returns[step])
        next_values = values[step]
    return returns


def surrogate_losses(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantages: torch.Tensor, clip: float
) -> torch.Tensor:
    """PPO's clipped surrogate per sample (B,), to be minimised; all arguments (B,)."""
    ratio = torch.exp(log_prob - old_log_prob)
    clipped = torch.clamp(ratio, 1.0 - clip, 1.0 + clip)
    return torch.max(-advantages * ratio, -advantages * clipped)


def weighted_surrogate_losses(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantages: torch.Tensor, clip: float, log_weight: torch.Tensor
) -> torch.Tensor:
    """`surrogate_losses` (B,) times weights given as logarithms (B,), -inf for none.

    A policy that comes from far away towards an action has a ratio too large for a float, of which a weight as small as
    its former probability leaves an ordinary number: the two meet before the exponential, in loss and gradient. A
    function of its own, because the plain one has the bits of rsl-rl-lib's.
    """
    log_ratio = log_prob - old_log_prob
    lowest = math.log(1.0 - clip) if clip < 1.0 else -math.inf
    weighted = torch.exp(log_weight + log_ratio)
    clipped = torch.exp(log_weight + log_ratio.clamp(lowest, math.log(1.0 + clip)))
    return torch.max(-advantages * weighted, -advantages * clipped)


def log_responsibility(log_prob: torch.Tensor, other_log_prob: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Logarithm (B,) of the probability that the first of two policies drew each given action.

    The probability is w p / (w p + (1 - w) p_other). As a weight on actions of the mixture it is, up to the factor w,
    the first policy's importance weight under the balance heuristic (Veach and Guibas 1995): never above 1, and what it
    weighs has exactly the mean that the first policy's own actions give.

    Args:
        log_prob: (B,) log p of the actions under the first policy.
        other_log_prob: (B,) under the other.
        prior: (B,), w, probability in [0, 1] that the first one acts.
    """
    # Not logsigmoid, which is nan at -inf in torch 1.10.
    return -torch.nn.functional.softplus(other_log_prob - log_prob - torch.logit(prior))


def value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float | None
) -> torch.Tensor:
    """Mean squared value error; with `clip`, the larger of it and that of the value kept within clip of the old one.

    Args:
        values: (B, 1), of the network that learns.
        old_values: (B, 1), at acting time.
        returns: (B, 1).
        clip: half width of the trust interval, None for the plain loss.
    """
    if clip is None:
        return (returns - values).pow(2).mean()
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return torch.max((values - returns).pow(2), (clipped - returns).pow(2)).mean()


def regression_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of latents (B, L) or actions (B, A); the teacher's are targets and get no gradient."""
    return (student - teacher.detach()).pow(2).mean()


def absolute_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference; arguments as in `regression_loss`."""
    return (student - teacher.detach()).abs().mean()


def gradient_through(loss: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """`loss` () whose gradient reaches what `tensors` were computed from, and nothing that was used after them."""
    slopes = torch.autograd.grad(loss, list(tensors), retain_graph=True)
    result = loss.detach()
    for tensor, slope in zip(tensors, slopes):
        result = result + ((tensor - tensor.detach()) * slope).sum()  # plus 0
    return result
