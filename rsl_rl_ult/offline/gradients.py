"""Gradients of what learns from recorded data."""

from __future__ import annotations

from typing import Iterable

from torch import nn


def clip_finite(parameters: Iterable[nn.Parameter], max_norm: float, step: str, rate: str) -> None:
    """Scale gradients down to a norm of at most `max_norm`, before the optimizer steps.

    Args:
        parameters: with their gradients.
        max_norm: of all of them together.
        step: of the training, in the error's words.
        rate: name and value of the learning rate, in the error's words.

    Raises:
        ValueError: the gradient is not finite: nothing should be learnt from it.
    """
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    if not norm.isfinite():
        raise ValueError(f"{step}: the gradient is not finite; try a lower {rate}")
