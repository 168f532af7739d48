"""Alignment of student-informed teacher training: student and proxy follow the teacher through a frozen decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.student import RolloutWindows, StudentRegression
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.storage import take_rows

DISTANCES = {"mse": losses.regression_loss, "l1": losses.absolute_loss}


class Alignment(StudentRegression):
    """Trains E_hist to give the teacher's latent, and E_proxy to give E_hist's; nothing else changes.

    The distance of the mean actions that the latents lead to counts as well, unless `student_loss` is "latent".
    """

    algorithm: Any
    """A `PPO_SITT`."""

    def trained(self) -> list[list[nn.Parameter]]:
        """E_proxy too, where the teacher is compared with it."""
        proxy = [self.network.proxy_parameters()] if self._trains_proxy else []
        return [*super().trained(), *proxy]

    @property
    def _trains_proxy(self) -> bool:
        return self.algorithm.kl_policy == "proxy"

    def train(self, rows: torch.Tensor) -> dict[str, float]:
        """Align on the stored frames and, with symmetry, the mirrored ones.

        Args:
            rows: (M,) rows of the rollout to learn from.

        Returns:
            Mean losses by name.
        """
        if self.num_steps == 0:
            return {}
        windows, targets = RolloutWindows(self.algorithm, mirrored=True), self.targets()
        found: dict[str, list] = {}
        for chosen in self.minibatches(rows, len(targets["latent"]) // self._samples):
            inputs = {name: take_rows(values, chosen) for name, values in targets.items()}
            with self.algorithm.autocast():
                parts = self.losses(inputs, windows.cut(chosen))
                total = torch.stack(list(parts.values())).sum()
            self.step(total)
            for name, part in parts.items():
                found.setdefault(name, []).append(part.detach())
        return {name: float(torch.stack(values).mean()) for name, values in found.items()}

    def losses(self, inputs: Tensors, window: torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses () by name, all of weight 1.

        Args:
            inputs: normalised sets `actor` and `privileged` (B, d), and of the teacher the `latent` (B, L) and the mean
                `action` (B, A).
            window: (B, T, D) normalised frames.
        """
        distance = DISTANCES[self.algorithm.alignment_loss]
        student = self.network.student_latent(window)
        found = {"student_latent": distance(student, inputs["latent"])}
        proxy = self.network.proxy_latent(inputs) if self._trains_proxy else None
        if proxy is not None:
            found["proxy_latent"] = distance(proxy, student)
        if self.loss == "action_latent":
            action = self.network.head(inputs, student)
            found["student_action"] = distance(action, inputs["action"])
            if proxy is not None:
                found["proxy_action"] = distance(self.network.head(inputs, proxy), action)
        return found

    @torch.no_grad()
    def targets(self) -> dict[str, torch.Tensor]:
        """Also the teacher's mean actions (K S N, A)."""
        found = super().targets()
        return {**found, "action": self.network.head(found, found["latent"])}
