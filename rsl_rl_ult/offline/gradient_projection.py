"""Gradients that do not undo others: projection onto the normal plane of one, and PCGrad over several tasks.

A gradient is a list of tensors, one per parameter. With the scope `per_layer` each tensor is a vector by itself, with
`global` all of them together are one.
"""

from __future__ import annotations

from typing import Sequence

import torch

Gradient = Sequence[torch.Tensor]
SCOPES = ("global", "per_layer")


def inner(one: Gradient, other: Gradient) -> torch.Tensor:
    """Inner product () of two gradients, in double precision."""
    return torch.stack([(a.double() * b.double()).sum() for a, b in zip(one, other)]).sum()


def cosine(one: Gradient, other: Gradient) -> float:
    """Cosine of the angle between two gradients; 0 where one of them is zero."""
    lengths = (inner(one, one) * inner(other, other)).sqrt()
    return float(inner(one, other) / lengths) if lengths > 0 else 0.0


def project(gradient: Gradient, onto: Gradient, scope: str = "global") -> tuple[list[torch.Tensor], bool]:
    """Take out of a gradient what points against another one: g - <g, h> / |h|^2 h where <g, h> < 0.

    Args:
        gradient: g.
        onto: h.
        scope: global | per_layer.

    Returns:
        The result, and whether anything was taken out.
    """
    if scope == "per_layer":
        pairs = [project([g], [h]) for g, h in zip(gradient, onto)]
        return [pair[0][0] for pair in pairs], any(pair[1] for pair in pairs)
    if scope != "global":
        raise ValueError(f"scope '{scope}': expected one of {', '.join(SCOPES)}")
    product, square = inner(gradient, onto), inner(onto, onto)
    if not (product < 0 and square > 0):
        return list(gradient), False
    factor = product / square
    return [(g.double() - factor * h.double()).to(g.dtype) for g, h in zip(gradient, onto)], True


def pcgrad(
    gradients: Sequence[Gradient], orders: Sequence[Sequence[int]], scope: str = "global"
) -> tuple[list[torch.Tensor], int]:
    """Sum of the gradients of M tasks, each projected against the others (Yu et al. 2020, algorithm 1).

    Args:
        gradients: of each task.
        orders: for each task the order in which the others are looked at, a permutation of range(M).
        scope: as for `project`.

    Returns:
        The sum, and how many of the M (M - 1) pairs were in conflict.
    """
    total, conflicts = [torch.zeros_like(part) for part in gradients[0]], 0
    for index, gradient in enumerate(gradients):
        own = list(gradient)
        for other in orders[index]:
            if other != index:
                own, changed = project(own, gradients[other], scope)
                conflicts += changed
        total = [a + b for a, b in zip(total, own)]
    return total, conflicts
