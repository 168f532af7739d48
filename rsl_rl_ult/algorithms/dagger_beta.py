"""Who acts in `DAgger`: the teacher with a probability that falls from round to round."""

from __future__ import annotations

import torch

from rsl_rl_ult.algorithms.mixing import Mixing

SCHEDULES = ("linear", "exponential", "indicator", "constant")
LEFT = 0.01
"""What an exponential schedule leaves of `beta_start` after `beta_rounds`."""


class Beta(Mixing):
    """Draws who acts: the teacher with probability beta, which falls from round to round."""

    def __init__(
        self, num_envs: int, schedule: str, start: float, rounds: int, mode: str, seed: int, device: torch.device | str
    ) -> None:
        """Settings as in `DAgger`, where they are called beta_* and mix_mode."""
        if schedule not in SCHEDULES:
            raise ValueError(f"algorithm.beta_schedule '{schedule}': expected one of {', '.join(SCHEDULES)}")
        if not 0.0 <= start <= 1.0:
            raise ValueError(f"algorithm.beta_start={start}: a probability that the teacher acts, expected in [0, 1]")
        if rounds < 1:
            raise ValueError(f"algorithm.beta_rounds={rounds}: expected at least 1")
        super().__init__(num_envs, start, mode, seed=seed, device=device)
        self.beta_schedule, self.rounds = schedule, rounds

    @property
    def ratio(self) -> float:
        """Beta in the present round; `updates` of them are done."""
        if self.beta_schedule == "linear":
            return self.start * max(0.0, 1.0 - self.updates / self.rounds)
        if self.beta_schedule == "exponential":
            return self.start * LEFT ** (self.updates / self.rounds)
        return self.start if self.beta_schedule == "constant" or self.updates < self.rounds else 0.0
