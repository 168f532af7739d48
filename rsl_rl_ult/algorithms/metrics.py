"""What an update reports."""

from __future__ import annotations

import math
from typing import Mapping, Sequence

import torch

from rsl_rl_ult.algorithms.rollout_state import RolloutState


def mean_metrics(metrics: list) -> dict[str, float]:
    """Mean of each metric over the gradient steps; one transfer from the device."""
    result = {}
    for name in metrics[0]:
        values = torch.stack([step[name].float() for step in metrics]).tolist()
        result[name] = sum(values) / len(values)
        if not math.isfinite(result[name]):
            raise FloatingPointError(
                f"the loss '{name}' became {result[name]} in this update: the training has diverged; lower "
                "learning_rate or desired_kl, or look for non-finite observations and rewards"
            )
    return result


def gradient_cosines(
    policy_loss: torch.Tensor, auxiliary: Mapping[str, torch.Tensor], parameters: Sequence[torch.Tensor]
) -> dict[str, float]:
    """Cosine between the gradients of the policy loss and of each auxiliary loss on shared `parameters`."""

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


class GradientCosines(RolloutState):
    """Measures `gradient_cosines` in the first gradient step of every n-th update and shows them until the next."""

    def __init__(self, interval: int, parameters: Sequence[torch.Tensor]) -> None:
        """Every `interval` updates, 0 for never, on `parameters`."""
        self.interval, self.parameters = interval, parameters
        self._latest: dict[str, float] = {}

    def measure(self, update: int, step: int, policy_loss: torch.Tensor, auxiliary: Mapping[str, torch.Tensor]) -> None:
        """Measure, if it is time, in gradient step `step` of update `update`, both from 0."""
        if self.interval > 0 and update % self.interval == 0 and step == 0:
            self._latest = gradient_cosines(policy_loss, auxiliary, self.parameters)

    def metrics(self) -> dict[str, float]:
        """The latest cosines."""
        return dict(self._latest)
