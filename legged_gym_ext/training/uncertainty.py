"""How far figures of an evaluation may lie from those of infinitely many robots."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch


def standard_errors(metrics: Callable[[torch.Tensor], Mapping[str, float]], count: int) -> dict[str, float]:
    """Standard error of every metric over `count` independent episodes, by the jackknife (Tukey 1958).

    Also right for ratios and roots of means. It is 0 where all episodes agree: if none of N robots fell, their share is
    below 3 / N with 95 % probability.

    Args:
        metrics: (N,) mask of the episodes that count -> metrics.
        count: N; a single episode says nothing about others, so that none is returned.
    """
    if count < 2:
        return {}
    without = [metrics(torch.arange(count) != left_out) for left_out in range(count)]
    found = {name: torch.tensor([one[name] for one in without], dtype=torch.float64) for name in without[0]}
    return {name: float(((count - 1) * values.var(correction=0)).sqrt()) for name, values in found.items()}
