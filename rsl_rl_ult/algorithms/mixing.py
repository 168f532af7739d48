"""The mask M of mixed rollouts: whether teacher or student acts, environment by environment and step by step."""

from __future__ import annotations

import math

import torch

MODES = ("per_step", "per_episode", "per_env")
SCHEDULES = ("constant", "linear", "cosine")


def spread(num_envs: int, count: int) -> torch.Tensor:
    """(N,) mask with `count` environments, fixed by index and spread evenly."""
    index = torch.arange(num_envs)
    return (index + 1) * count // num_envs > index * count // num_envs


def schedule_iterations(wanted: int | None, total: int, resumes: bool) -> int:
    """Updates that a schedule takes in a training of `total`: `wanted`, or all; longer ones would never end, but in a resumed part."""
    if wanted is not None and wanted > total and not resumes:
        raise ValueError(
            f"algorithm.mix_iterations={wanted}: the schedule never ends, the training has {total} iterations; expected at most as many"
        )
    return total if wanted is None else wanted


class Mixing:
    """Draws M with the probability that a schedule gives to the teacher; has random numbers of its own."""

    def __init__(
        self,
        num_envs: int,
        ratio: float,
        mode: str = "per_step",
        schedule: str = "constant",
        ratio_end: float = 0.0,
        iterations: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Settings as in `PPO_ULT`, where they are called mix_*; `iterations` is how many updates a schedule takes."""
        if mode not in MODES:
            raise ValueError(f"algorithm.mix_mode '{mode}': expected one of {', '.join(MODES)}")
        if schedule not in SCHEDULES:
            raise ValueError(f"algorithm.mix_schedule '{schedule}': expected one of {', '.join(SCHEDULES)}")
        for name, value in (("mix_ratio", ratio), ("mix_ratio_end", ratio_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"algorithm.{name}={value}: a probability that the teacher acts, expected in [0, 1]")
        if schedule != "constant" and not (iterations is not None and 0 < iterations < math.inf):
            raise ValueError(
                f"algorithm.mix_schedule '{schedule}' never ends with mix_iterations={iterations}: expected the number of updates until mix_ratio "
                "has become mix_ratio_end"
            )
        self.start, self.end, self.mode, self.schedule = ratio, ratio_end, mode, schedule
        self.iterations, self.num_envs, self.updates = iterations, num_envs, 0
        self.generator = torch.Generator(device=device).manual_seed(seed)
        # Whether the environment is at the start of an episode, and who drives the present one.
        self._starts = torch.ones(num_envs, dtype=torch.bool, device=device)
        self._drivers = torch.zeros(num_envs, dtype=torch.bool, device=device)

    @property
    def ratio(self) -> float:
        """Probability that the teacher acts, after the updates so far."""
        if self.schedule == "constant":
            return self.start
        progress = min(1.0, self.updates / (self.iterations or 1))
        if self.schedule == "cosine":
            progress = 0.5 - 0.5 * math.cos(math.pi * progress)
        return self.start + (self.end - self.start) * progress

    def draw(self) -> torch.Tensor:
        """(N,) bool: the teacher acts in the coming step."""
        if self.mode == "per_env":
            return spread(self.num_envs, round(self.ratio * self.num_envs)).to(self._drivers.device)
        drawn = torch.rand(self.num_envs, generator=self.generator, device=self._drivers.device) < self.ratio
        if self.mode == "per_step":
            return drawn
        self._drivers = torch.where(self._starts, drawn, self._drivers)
        self._starts = torch.zeros_like(self._starts)
        return self._drivers

    def see(self, dones: torch.Tensor) -> None:
        """Episodes that ended (N,): their environments are drawn anew."""
        self._starts = self._starts | dones.bool()

    def state_dict(self) -> dict:
        """What is needed to continue exactly."""
        return {
            "generator": self.generator.get_state(),
            "starts": self._starts.clone(),
            "drivers": self._drivers.clone(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over the state of as many environments."""
        self.generator.set_state(state["generator"].cpu())
        self._starts, self._drivers = (state[name].clone().to(self._starts.device) for name in ("starts", "drivers"))
