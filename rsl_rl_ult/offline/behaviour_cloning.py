"""Behaviour cloning: a student learns the actions of a data set from what it would have seen.

The students are those of the online methods: a policy head with a history encoder (`ActorCriticTS`), or the student
half of `ActorCriticULT`. `BC` and `BC_ULT` are what a runner builds to load and deploy them; `Cloning` trains.
"""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS
from rsl_rl_ult.algorithms.ppo_ult import PPO_ULT
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.mlp import EmpiricalNormalization
from rsl_rl_ult.offline.gradients import clip_finite
from rsl_rl_ult.policies.policy import Policy, StudentPolicy
from rsl_rl_ult.policies.policy_ult import CachedPolicy
from rsl_rl_ult.storage.dataset import Dataset, held_out, too_few_episodes
from rsl_rl_ult.storage.loader import SegmentLoader, Segments

TARGETS = {"teacher": "teacher_actions", "executed": "actions"}
"""Option `target` -> column of the data set."""

LOSSES = ("mse", "huber")


@dataclass
class CloningSettings:
    """How a student is cloned."""

    batch_size: int = 4096
    """Transitions per gradient step."""
    cloning_rate: float = 1e-3
    """Learning rate of Adam; halved after every pass without a better held-out error."""
    cloning_grad_norm: float = 1.0
    """The gradient is clipped to it."""
    cloning_loss: str = "mse"
    """mse | huber, of the actions."""
    target: str = "teacher"
    """teacher: the teacher's mean actions, whoever acted. executed: what was done, for data without a teacher."""
    held_out: float = 0.1
    """Share of the episodes that is never learnt from; it decides when to stop."""
    patience: int = 5
    """Passes without a better held-out error until the end."""
    segment_steps: int = 24
    """Steps of a piece of an episode, for students that read whole pieces in one pass (ULT)."""
    buffer_rows: int = 262144
    """Rows of the data set that are shuffled together; twice as many are in memory."""

    def check(self) -> None:
        """Refuse values that cannot be meant (`ValueError`)."""
        least = {"batch_size": 1, "patience": 1, "segment_steps": 1, "buffer_rows": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"algorithm.{name}={getattr(self, name)}: expected at least {value}")
        for name in ("cloning_rate", "cloning_grad_norm"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"algorithm.{name}={getattr(self, name)}: expected a positive number")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"algorithm.held_out={self.held_out}: a share of the episodes, expected in (0, 1)")
        for name, known in (("cloning_loss", LOSSES), ("target", tuple(TARGETS))):
            if getattr(self, name) not in known:
                raise ValueError(f"algorithm.{name} '{getattr(self, name)}': expected one of {', '.join(known)}")


class _Offline:
    """A method whose runs are written by `distill.py`: a runner loads and deploys them, and cannot train them."""

    def __init__(
        self,
        *args: Any,
        batch_size: int = CloningSettings.batch_size,
        cloning_rate: float = CloningSettings.cloning_rate,
        cloning_grad_norm: float = CloningSettings.cloning_grad_norm,
        cloning_loss: str = CloningSettings.cloning_loss,
        target: str = CloningSettings.target,
        held_out: float = CloningSettings.held_out,
        patience: int = CloningSettings.patience,
        segment_steps: int = CloningSettings.segment_steps,
        buffer_rows: int = CloningSettings.buffer_rows,
        **method: Any,
    ) -> None:
        """Options as in `CloningSettings`; the others are those of the method whose student it is."""
        super().__init__(*args, **method)

    def train_mode(self) -> None:
        """Refuse to learn from an environment."""
        raise ValueError("this method learns from a data set: record one with collect.py, and give it to distill.py")


class BC(_Offline, PPO_TS):
    """A cloned student with a history encoder."""

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """The student alone: the teacher is in another run."""
        return {"student": StudentPolicy(network, sets)}


class BC_ULT(_Offline, PPO_ULT):  # noqa: N801
    """A cloned student that is a transformer."""

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """The student alone: the teacher is in another run."""
        return {"student": CachedPolicy(network, sets, "student")}


class Cloning:
    """Trains the student of a network on a data set, pass by pass, and keeps the best one.

    Attributes:
        passes: done so far.
        steps: gradient steps done so far.
        best_error: smallest held-out error so far; inf before the first pass.
        best_pass: number of that pass.
        done: the held-out error has not become better for `patience` passes.
        waited: share of the latest pass in which the training waited for minibatches.
    """

    def __init__(
        self,
        network: ActorCriticTS | ActorCriticULT,
        dataset: Dataset,
        settings: CloningSettings,
        groups: Sequence[str] = ("policy",),
        seed: int = 0,
    ) -> None:
        """Count the episodes, and compute the statistics that normalise frames from those to learn from.

        Args:
            network: its student learns; nothing else in it changes.
            dataset: what to learn from.
            settings: see there.
            groups: columns that make a frame.
            seed: of the order of the samples, and of which episodes are held out.

        Raises:
            ValueError: a setting is wrong, or the data set does not fit the network or is too small.
        """
        settings.check()
        self.network, self.dataset, self.settings, self.seed = network, dataset, settings, seed
        self.groups, self._target = list(groups), TARGETS[settings.target]
        self._check_layout()
        self.passes = self.steps = self.best_pass = 0
        self.best_error, self.waited = math.inf, 0.0
        self.transitions = self._fit_normalizer()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=settings.cloning_rate)
        self._best = self._weights()
        self.device = next(network.parameters()).device

    def _check_layout(self) -> None:
        columns, network = self.dataset.card["columns"]["student"], self.network
        for name in (*self.groups, self._target):
            if name not in columns:
                raise ValueError(f"the data set has no column '{name}' for students; it has {', '.join(columns)}")
        found = sum(columns[group]["shape"][0] for group in self.groups), columns[self._target]["shape"][0]
        expected = network.dims["actor"], network.num_actions
        if found != expected:
            raise ValueError(
                f"the data set has frames of {found[0]} columns and {found[1]} actions, the student {expected[0]} and "
                f"{expected[1]}: it is of another robot or layout"
            )

    def _learnt(self, episodes: np.ndarray) -> np.ndarray:
        return ~held_out(episodes, self.settings.held_out, self.seed)

    def _held_out(self, episodes: np.ndarray) -> np.ndarray:
        return held_out(episodes, self.settings.held_out, self.seed)

    def _fit_normalizer(self) -> int:
        """Statistics of the frames to learn from; returns the number of transitions to learn from."""
        normalizer = self.network.normalizers["actor"]
        learnt = spared = 0
        for path in self.dataset.shards:
            arrays = self.dataset.read(path, [*self.groups, "transition", "episode"])
            if arrays is None:
                continue
            chosen = self._learnt(arrays["episode"])
            rows = arrays["transition"] & chosen
            learnt, spared = learnt + int(rows.sum()), spared + int((arrays["transition"] & ~chosen).sum())
            if isinstance(normalizer, EmpiricalNormalization) and rows.any():
                frames = np.concatenate([arrays[group][rows] for group in self.groups], axis=1)
                normalizer.update(torch.from_numpy(frames).to(normalizer.mean.device))  # pyright: ignore
        if not learnt and not spared:
            raise ValueError("the data set has no shard with transitions that can be read")
        if not learnt or not spared:
            raise ValueError(too_few_episodes(self.dataset, self.settings.held_out, self.seed))
        return learnt

    # -- the student -------------------------------------------------------------------------------------------------

    def parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        network = self.network
        if isinstance(network, ActorCriticULT):
            return [*network.actor.parameters(), *network.trunk_parameters()]
        return [*network.actor.parameters(), *network.student_parameters()]

    def mean_actions(self, batch: Segments) -> torch.Tensor:
        """(B, S, A) of the student, as it would act in deployment."""
        network, steps = self.network, batch.valid.shape[1]
        if isinstance(network, ActorCriticULT):
            frame_actions = network.frame_actions(batch.frames, batch.last_actions)
            outputs, _ = network.transformer(network.frame_tokenizer(frame_actions), None, batch.age, steps)
            return network.act_student(outputs, frame_actions[:, -steps:])
        window = network.normalizers["actor"](batch.frames)
        return network.head({"actor": window[:, -1]}, network.student_latent(window))[:, None]

    def loader(self, learnt: bool) -> SegmentLoader:
        """Minibatches of the episodes to learn from, or of those held out."""
        sequences = isinstance(self.network, ActorCriticULT)
        steps = self.settings.segment_steps if sequences else 1
        assert self.network.context is not None
        return SegmentLoader(
            self.dataset,
            max(self.settings.batch_size, steps),
            self.network.context,
            steps,
            columns=[self._target],
            groups=self.groups,
            last_actions=sequences,
            keep=self._learnt if learnt else self._held_out,
            buffer_rows=self.settings.buffer_rows,
            seed=self.seed,
        )

    # -- training ----------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """See above."""
        return self.passes - self.best_pass >= self.settings.patience

    def train_pass(self) -> Iterator[float]:
        """One pass over the episodes to learn from; yields the loss of each gradient step.

        Raises:
            ValueError: a gradient is not finite; nothing was learnt from it.
        """
        loader = self.loader(learnt=True)
        begin = time.perf_counter()
        for batch in loader.epoch(self.passes):
            loss = self._loss(*self._valid(batch))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_finite(
                self.parameters(),
                self.settings.cloning_grad_norm,
                f"pass {self.passes + 1}, step {self.steps + 1}, loss {float(loss.detach()):g}",
                f"algorithm.cloning_rate than {self.settings.cloning_rate:g}",
            )
            self.optimizer.step()
            self.steps += 1
            yield float(loss.detach())
        self.waited = loader.waited / max(time.perf_counter() - begin, 1e-9)

    def _valid(self, batch: Segments) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean actions and targets (M, A) of the samples of a minibatch."""
        device = self.device
        batch = Segments(
            batch.frames.to(device),
            batch.last_actions.to(device),
            batch.age.to(device),
            batch.valid.to(device),
            batch.columns,
        )
        target = batch.columns[self._target].to(self.device)
        return self.mean_actions(batch)[batch.valid], target[batch.valid]

    def _loss(self, mean: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if self.settings.cloning_loss == "huber":
            return nn.functional.smooth_l1_loss(mean, target)
        return losses.regression_loss(mean, target)

    @torch.no_grad()
    def end_pass(self) -> float:
        """Mean squared action error on the held-out episodes; keeps the student if it is the best so far."""
        squares, count = torch.zeros(self.network.num_actions, device=self.device), 0
        for batch in self.loader(learnt=False).epoch():
            mean, target = self._valid(batch)
            squares, count = squares + (mean - target).square().sum(0), count + len(mean)
        per_action = squares / count
        error = float(per_action.mean())
        self.passes += 1
        if error < self.best_error:
            self.best_error, self.best_pass = error, self.passes
            self._set_deviation(per_action.sqrt())
            self._best = self._weights()
        else:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5
        return error

    def _set_deviation(self, rms: torch.Tensor) -> None:
        """The student's deviation is its held-out error: how far a drawn action would be from the teacher's."""
        std = self.network.std
        value = rms.clamp(std.low, std.high)
        std.param.data.copy_(value if std.std_type == "scalar" else value.log())

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def checkpoint(self, method: str) -> dict[str, Any]:
        """The best student so far, as a runner's algorithm `method` saves it."""
        return {
            "method": method,
            "model_state_dict": self._best,
            "network_state_dict": self._best,
            "optimizer_state_dict": {},
            "updates": self.steps,
            "frozen_teacher": False,
        }

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly after a pass."""
        names = ("passes", "steps", "best_error", "best_pass")
        return {
            **{name: getattr(self, name) for name in names},
            "transitions": self.transitions,
            "network": self._weights(),
            "best": self._best,
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same data set.

        Raises:
            ValueError: the data set has changed since.
        """
        if state["transitions"] != self.transitions:
            raise ValueError(
                f"the data set has {self.transitions} transitions to learn from, the run began with "
                f"{state['transitions']}: begin a new run"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._best = dict(state["best"])
        for name in ("passes", "steps", "best_error", "best_pass"):
            setattr(self, name, state[name])
