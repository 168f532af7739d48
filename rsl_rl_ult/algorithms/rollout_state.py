"""What passes between a method and its rollout: a decision, the step that follows, and state that is carried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

import torch


@dataclass
class Decision:
    """What a method decides in N environments before an action is drawn."""

    mean: torch.Tensor
    """(N, A) mean actions of the policy that acts in each environment; logits of a categorical one."""
    value: torch.Tensor
    """(N, 1) state values."""
    stored: dict[str, torch.Tensor] = field(default_factory=dict)
    """Further values (N, ...) that the update needs, by the names under which the rollout keeps them."""
    other_mean: torch.Tensor | None = None
    """(N, A) mean actions of the policy that did not act, where a method learns from one policy's actions for another:
    their log-probability under it is kept as `other_log_prob`."""


@dataclass
class Step:
    """One step of the rollout, from the decision on."""

    observations: Mapping[str, torch.Tensor]
    """Observation groups (N, ...) that were decided on."""
    decision: Decision
    actions: torch.Tensor
    """(N, A) as drawn."""
    std: torch.Tensor
    """(N, A) standard deviation that they were drawn with."""
    log_prob: torch.Tensor
    """(N,) their log-probability."""
    other_log_prob: torch.Tensor | None = None
    """(N,) that under `decision.other_mean`, where there is one."""


class RolloutState:
    """State that a method carries from step to step and from rollout to rollout.

    The algorithm tells every one in its list `states` about steps and updates, collects its metrics, and saves it with
    the training. `state_dict` keys must be unique within an algorithm; `storage` is taken.
    """

    def on_step(self, step: Step, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping[str, Any]) -> None:
        """A step was made: rewards (N,), dones (N,) bool, and the host's `extras`."""
        self.on_reset(dones)

    def on_reset(self, dones: torch.Tensor) -> None:
        """Episodes ended where `dones` (N,) is true."""

    def on_update(self) -> None:
        """The networks have changed: drop what was computed with the former ones."""

    def metrics(self) -> dict[str, float]:
        """What is to be logged with the update that ends this rollout."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same number of environments."""
