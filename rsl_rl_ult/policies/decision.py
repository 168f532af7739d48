"""A Decision Transformer that acts in N environments towards a given return."""

from __future__ import annotations

from typing import Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.decision_transformer import DecisionTransformer
from rsl_rl_ult.modules.transformer import KeyValueCache
from rsl_rl_ult.policies.policy import join


class DecisionPolicy(nn.Module):
    """Deterministic actions of a Decision Transformer; keeps its cache, the steps and what return is left.

    After each step it must be told the rewards (`observe`) and then which episodes ended (`reset`).
    """

    def __init__(self, network: DecisionTransformer, target: float = 0.0, sets: Sequence[str] = ("policy",)) -> None:
        """Act towards the return `target` in every episode, on the observation groups `sets`."""
        super().__init__()
        self.network, self.target, self.sets = network.eval(), target, list(sets)
        self._cache: KeyValueCache | None = None

    @torch.no_grad()
    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Observation groups (N, ...) of the next step -> actions (N, A)."""
        frames = join(observations, self.sets)
        cache = self._cache
        if cache is None or len(self._time) != len(frames):
            cache = self._begin(frames)
        mean, _ = self.network.step(frames, self._actions, self._left, self._time, cache)
        self._actions, self._time = self.network.act(mean), self._time + 1
        return self._actions

    def _begin(self, frames: torch.Tensor) -> KeyValueCache:
        count = len(frames)
        self._cache = cache = self.network.make_cache(count)
        self._time = torch.zeros(count, dtype=torch.long, device=frames.device)
        self._left = torch.full((count,), self.target, device=frames.device)
        self._actions = torch.zeros(count, self.network.num_actions, device=frames.device)
        return cache

    def on_acted(self, actions: torch.Tensor) -> None:
        """Other actions (N, A) than its last ones were executed."""
        self._actions = actions

    def observe(self, rewards: torch.Tensor) -> None:
        """Take rewards (N,) of the last step off what is left to earn."""
        if self._cache is not None:
            self._left = self._left - rewards

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Begin a new episode where `dones` (N,) says so, everywhere without it."""
        if dones is None:
            self._cache = None
        elif self._cache is not None:
            ended = dones.bool()
            self._cache.reset(ended)
            self._time = self._time.masked_fill(ended, 0)
            self._left = self._left.masked_fill(ended, self.target)
            self._actions = self._actions.masked_fill(ended[:, None], 0.0)
