"""Mirrored samples, with the options and the function signature of rsl-rl-lib's symmetry extension.

Mittal et al., "Symmetry considerations for learning task symmetric robot policies", ICRA 2024.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping

import torch


class Symmetry:
    """Mirrors observations and actions by the symmetries of a robot."""

    def __init__(
        self,
        env: Any,
        data_augmentation_func: Callable,
        use_data_augmentation: bool = False,
        use_mirror_loss: bool = False,
        mirror_loss_coeff: float = 0.0,
    ) -> None:
        """Take the host's options.

        Args:
            env: given to the function.
            data_augmentation_func: (env, obs, actions) -> both K times as long, the originals first.
            use_data_augmentation: learn from every mirrored sample.
            use_mirror_loss: add the squared difference between the action in a mirrored state and the mirrored action.
            mirror_loss_coeff: weight of that loss.
        """
        if not (use_data_augmentation or use_mirror_loss):
            raise ValueError(
                "symmetry_cfg sets neither use_data_augmentation nor use_mirror_loss: set one of them or remove "
                "symmetry_cfg"
            )
        if not (mirror_loss_coeff >= 0.0 and math.isfinite(mirror_loss_coeff)):
            raise ValueError(
                f"algorithm.symmetry_cfg.mirror_loss_coeff={mirror_loss_coeff}: expected a number of at least 0"
            )
        self.env, self._function = env, data_augmentation_func
        self.use_data_augmentation, self.use_mirror_loss = use_data_augmentation, use_mirror_loss
        self.mirror_loss_coeff = mirror_loss_coeff
        self._container: Any = dict

    def set_container(self, observations: Mapping[str, torch.Tensor]) -> None:
        """Say what the host keeps observations in (a TensorDict): the function expects the same."""
        self._container = type(observations)

    def observations(self, groups: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Groups (B, d) -> groups (K B, d): the originals, then the mirrored ones."""
        rows = len(next(iter(groups.values())))
        obs = dict(groups) if self._container is dict else self._container(dict(groups), batch_size=[rows])
        mirrored, _ = self._function(env=self.env, obs=obs, actions=None)
        return {group: mirrored[group] for group in groups}

    def actions(self, actions: torch.Tensor) -> torch.Tensor:
        """(B, A) -> (K B, A): the originals, then the mirrored ones."""
        _, mirrored = self._function(env=self.env, obs=None, actions=actions)
        return mirrored

    def loss(self, mean: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        """Mean squared difference between the actions in mirrored states and the mirrored actions.

        Args:
            mean: (B, A) mean actions in the original states.
            mirrored: ((K - 1) B, A) mean actions in the mirrored ones.
        """
        expected = self.actions(mean).detach()[len(mean) :]
        return (mirrored - expected).pow(2).mean()
