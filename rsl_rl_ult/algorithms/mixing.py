"""The mask M of mixed rollouts: whether teacher or student acts, environment by environment and step by step."""

from __future__ import annotations

import math
from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms.rollout_state import RolloutState, Step

MODES = ("per_step", "per_episode", "per_env")
SCHEDULES = ("constant", "linear", "cosine")


def spread(num_envs: int, count: int) -> torch.Tensor:
    """(N,) mask with `count` environments, fixed by index and spread evenly."""
    index = torch.arange(num_envs)
    return (index + 1) * count // num_envs > index * count // num_envs


def schedule_iterations(wanted: int | None, total: int, resumes: bool) -> int:
    """Updates that a schedule takes in a training of `total`: `wanted`, or all.

    Longer ones would never end, unless the training is the resumed part of a longer one.
    """
    if wanted is not None and wanted > total and not resumes:
        raise ValueError(
            f"algorithm.mix_iterations={wanted}: the schedule never ends, the training has {total} iterations; "
            "expected at most as many"
        )
    return total if wanted is None else wanted


class Mixing(RolloutState):
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
        student_share: float = 0.0,
    ) -> None:
        """Settings as in `PPO_ULT`, where they are called mix_*; `iterations` is how many updates a schedule takes."""
        if mode not in MODES:
            raise ValueError(f"algorithm.mix_mode '{mode}': expected one of {', '.join(MODES)}")
        if schedule not in SCHEDULES:
            raise ValueError(f"algorithm.mix_schedule '{schedule}': expected one of {', '.join(SCHEDULES)}")
        for name, value in (("mix_ratio", ratio), ("mix_ratio_end", ratio_end)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"algorithm.{name}={value}: a probability that the teacher acts, expected in [0, 1]")
        if not 0.0 <= student_share < 1.0:
            raise ValueError(
                f"algorithm.student_share={student_share}: share of the environments that the student drives alone, "
                "expected in [0, 1)"
            )
        if schedule != "constant" and not (iterations is not None and 0 < iterations < math.inf):
            raise ValueError(
                f"algorithm.mix_schedule '{schedule}' never ends with mix_iterations={iterations}: expected the number "
                "of updates until mix_ratio has become mix_ratio_end"
            )
        self.start, self.end, self.mode, self.schedule = ratio, ratio_end, mode, schedule
        self.iterations, self.num_envs, self.updates = iterations, num_envs, 0
        self.generator = torch.Generator(device=device).manual_seed(seed)
        self._mixed = ~spread(num_envs, round(student_share * num_envs)).to(device)  # not the student's alone
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

    def probability(self) -> torch.Tensor:
        """(N,) float: probability that the teacher acts in the coming step, before anything is drawn."""
        return self.ratio * self._mixed.float()

    def draw(self) -> torch.Tensor:
        """(N,) bool: the teacher acts in the coming step."""
        if self.mode == "per_env":
            mixed = int(self._mixed.sum())
            chosen = spread(mixed, round(self.ratio * mixed)).to(self._drivers.device)
            return torch.zeros_like(self._mixed).masked_scatter(self._mixed, chosen)
        drawn = torch.rand(self.num_envs, generator=self.generator, device=self._drivers.device) < self.ratio
        drawn = drawn & self._mixed
        if self.mode == "per_step":
            return drawn
        self._drivers = torch.where(self._starts, drawn, self._drivers)
        self._starts = torch.zeros_like(self._starts)
        return self._drivers

    def on_reset(self, dones: torch.Tensor) -> None:
        """Episodes that ended (N,): their environments are drawn anew."""
        self._starts = self._starts | dones.bool()

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly."""
        starts, drivers = self._starts.clone(), self._drivers.clone()
        return {"mixing": {"generator": self.generator.get_state(), "starts": starts, "drivers": drivers}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the state of as many environments."""
        saved = state["mixing"]
        self.generator.set_state(saved["generator"].cpu())
        self._starts, self._drivers = (saved[name].clone().to(self._starts.device) for name in ("starts", "drivers"))


class MetricsByActor(RolloutState):
    """The teacher's share of the steps; means of rewards and of the host's `step_metrics` by who acted."""

    def __init__(self) -> None:
        """Nothing is summed up yet."""
        self._names: list = []
        self._sums: Any = None  # (2, metrics + 1) of this rollout: teacher and student, the last column counts steps

    def on_step(self, step: Step, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping[str, Any]) -> None:
        """Add up metrics (N,) by who acted, which `step.decision.stored["teacher"]` (N,) says."""
        teacher, metrics = step.decision.stored["teacher"], {"reward": rewards, **extras.get("step_metrics", {})}
        values = [value.to(teacher.device) for value in metrics.values()]
        rows = torch.stack([*values, torch.ones_like(values[0])])
        sums = torch.stack(((rows * teacher).sum(-1), (rows * ~teacher).sum(-1)))
        self._names = list(metrics)
        self._sums = sums if self._sums is None else self._sums + sums

    def metrics(self) -> dict[str, float]:
        """Means of this rollout, by name; the next one starts anew."""
        (teacher, student), self._sums = self._sums.tolist(), None
        result = {"teacher_share": teacher[-1] / (teacher[-1] + student[-1])}
        for role, sums in (("teacher", teacher), ("student", student)):
            if sums[-1] > 0:
                result.update({f"{role}_{name}": value / sums[-1] for name, value in zip(self._names, sums)})
        return result
