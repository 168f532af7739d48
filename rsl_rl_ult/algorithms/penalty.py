"""The price that a teacher pays in its rewards for acting unlike what its student can imitate."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms.rollout_state import RolloutState, Step

SIGNS = {"penalty": -1.0, "bonus": 1.0}

PLATEAU_UPDATES, PLATEAU_FALL = 20, 0.05
"""The alignment has levelled off when its mean loss of so many updates is less than this share below that of as many
updates before."""


class Penalty(RolloutState):
    """Changes rewards by the stored `kl` of each step; its weight may wait, and then rises linearly.

    Attributes:
        weight: of a nat, in the present update.
    """

    def __init__(self, weight: float, sign: str, clip: float | None, delay: int | None, warmup: int) -> None:
        """Settings as in `PPO_SITT`, where they are called kl_*."""
        self.full, self.sign, self.clip = weight, SIGNS[sign], clip
        self.delay, self.warmup, self.weight = delay, warmup, 0.0
        self._began: int | None = delay  # update in which the weight begins to rise
        self._losses: list[float] = []
        self._sums: Any = None

    def begin(self, update: int) -> None:
        """Update `update`, from 0, is the present one."""
        passed = -1 if self._began is None else update - self._began
        self.weight = 0.0 if passed < 0 else self.full * min(1.0, (passed + 1) / max(self.warmup, 1))

    def shape(self, rewards: torch.Tensor, kl: torch.Tensor) -> torch.Tensor:
        """Rewards (N,) with the price of `kl` (N,)."""
        charged = self.weight * self._clipped(kl)
        return rewards + self.sign * charged if self.weight > 0.0 else rewards

    def _clipped(self, kl: torch.Tensor) -> torch.Tensor:
        return kl if self.clip is None else kl.clamp(max=self.clip)

    def follow(self, alignment_loss: float, update: int) -> None:
        """Hear how well the student is aligned after update `update`: without a delay in updates the weight waits."""
        if self._began is not None:
            return
        self._losses = [*self._losses, alignment_loss][-2 * PLATEAU_UPDATES :]
        if len(self._losses) == 2 * PLATEAU_UPDATES:
            before, now = sum(self._losses[:PLATEAU_UPDATES]), sum(self._losses[PLATEAU_UPDATES:])
            if now > (1.0 - PLATEAU_FALL) * before:
                self._began = update + 1

    def on_step(self, step: Step, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping[str, Any]) -> None:
        """Add up what is logged: rewards (N,) are those of the environment."""
        kl = step.decision.stored["kl"]
        rewards = rewards.to(kl.device)
        rows = torch.stack((rewards, rewards.abs(), kl, self._clipped(kl), torch.ones_like(kl)))
        self._sums = rows.sum(-1) if self._sums is None else self._sums + rows.sum(-1)

    def metrics(self) -> dict[str, float]:
        """Means of this rollout per step; `shaped_share` is the price as a share of the rewards' absolute values."""
        if self._sums is None:
            return {}
        (reward, size, kl, clipped, count), self._sums = self._sums.tolist(), None
        return {
            "raw_reward": reward / count,
            "kl": kl / count,
            "kl_weight": self.weight,
            "shaped_share": self.weight * clipped / max(size, 1e-12),
        }

    def state_dict(self) -> dict[str, Any]:
        """Since when the weight rises, or what that is decided from."""
        return {"penalty": {"began": self._began, "losses": list(self._losses)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on waiting, or rising; a delay that is a number is what the settings say."""
        if self.delay is None:
            self._began, self._losses = state["penalty"]["began"], list(state["penalty"]["losses"])
