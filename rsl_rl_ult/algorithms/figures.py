"""What an update reports."""

from __future__ import annotations

import math

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
