"""What an update reports."""

from __future__ import annotations

import math
from typing import Mapping, Sequence

import torch


def mean_figures(figures: list) -> dict[str, float]:
    """Mean of each figure over the gradient steps; one transfer from the device."""
    result = {}
    for name in figures[0]:
        values = torch.stack([figure[name].float() for figure in figures]).tolist()
        result[name] = sum(values) / len(values)
        if not math.isfinite(result[name]):
            raise FloatingPointError(
                f"the loss '{name}' became {result[name]} in this update: the training has diverged; lower learning_rate or desired_kl, or "
                "look for non-finite observations and rewards"
            )
    return result


def gradient_cosines(
    policy_loss: torch.Tensor, auxiliary: Mapping[str, torch.Tensor], parameters: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Cosine between the gradient of the policy loss and that of each auxiliary loss on `parameters`, which they share."""

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        return torch.cat(
            [torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in zip(parameters, parts)]
        )

    policy = gradient(policy_loss)
    return {
        f"cosine_{name}": float(torch.nn.functional.cosine_similarity(policy, gradient(loss), dim=0))
        for name, loss in auxiliary.items()
    }
