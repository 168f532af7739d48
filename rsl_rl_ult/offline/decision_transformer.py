"""Training of Decision Transformers (Chen et al. 2021) from data sets, and what their returns are worth.

Values are those of kzl/decision-transformer (gym/) unless a comment says otherwise; the Gaussian head and its loss are
those of Online Decision Transformers (Zheng et al. 2022).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Iterator, Mapping

import numpy as np
import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.modules.decision_transformer import HEADS, DecisionTransformer
from rsl_rl_ult.modules.mlp import EmpiricalNormalization
from rsl_rl_ult.offline.behaviour_cloning import TARGETS
from rsl_rl_ult.offline.gradients import clip_finite
from rsl_rl_ult.storage.dataset import Dataset, held_out, too_few_episodes
from rsl_rl_ult.storage.loader import SegmentLoader, Segments
from rsl_rl_ult.storage.returns import RETURNS, ReturnsDataset
from rsl_rl_ult.storage.stream import BatchStream

SCALE_QUANTILE = 0.999
"""Quantile of |action| that becomes 1 before the tanh; larger actions are learnt as the bound."""


@dataclass
class DecisionSettings:
    """How a Decision Transformer is built and trained."""

    width: int = 128
    num_layers: int = 3
    num_heads: int = 1
    context_steps: int = 20
    """K."""
    max_steps: int = 1000
    """Entries of the embedding of time; 0: none."""
    returns: bool = True
    """False: cloning by a transformer without return to go, for data that are all expert."""
    actions: bool = True
    """False: no tokens of the actions before, for frames that show the last action anyway."""
    teacher_head: str = "gaussian"
    """gaussian | mse."""
    dropout: float = 0.1
    return_scale: float = 60.0
    """Returns are divided by it; the published 1000 is for gymnasium's tasks."""
    piece_steps: int = 40
    """Steps of the pieces that are learnt from: 2 K, so that tokens are trained with the past that a cache has."""
    batch_size: int = 1280
    """Steps per gradient step; published: 64 pieces of 20."""
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    warmup_updates: int = 10000
    """The learning rate rises linearly until then."""
    decay_updates: int = 0
    """After the warm-up it falls on a cosine, to 0 at this update; 0: it stays, as published."""
    target: str = "executed"
    """executed | teacher: learn what was done, or the labels of the data set, for data recorded with noise."""
    max_grad_norm: float = 0.25
    init_temperature: float = 0.1
    """Weight of the entropy at the start; it is learnt, towards an entropy of -A."""
    temperature_rate: float = 1e-4
    """Learning rate of that."""
    held_out: float = 0.1
    """Share of the episodes that is never learnt from."""
    buffer_rows: int = 262144
    """Rows of the data set that are shuffled together; twice as many are in memory."""

    def check(self) -> None:
        """Refuse values that cannot be meant (`ValueError`)."""
        for name in ("width", "num_layers", "num_heads", "context_steps", "piece_steps", "batch_size", "buffer_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in ("return_scale", "learning_rate", "max_grad_norm", "init_temperature", "temperature_rate"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive number")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out={self.held_out}: a share of the episodes, expected in (0, 1)")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}: expected in [0, 1)")
        if self.decay_updates and self.decay_updates <= self.warmup_updates:
            raise ValueError(
                f"decay_updates={self.decay_updates}: expected 0, or more than warmup_updates={self.warmup_updates}"
            )
        if self.target not in TARGETS:
            raise ValueError(f"target '{self.target}': expected one of {', '.join(TARGETS)}")
        if self.teacher_head not in HEADS:
            raise ValueError(f"teacher_head '{self.teacher_head}': expected one of {', '.join(HEADS)}")

    def rate(self, update: int) -> float:
        """Learning rate of a gradient step, counted from 0."""
        if update < self.warmup_updates or not self.decay_updates:
            return self.learning_rate * min(1.0, (update + 1) / max(1, self.warmup_updates))
        done = (update - self.warmup_updates) / (self.decay_updates - self.warmup_updates)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def make_decision_transformer(num_obs: int, num_actions: int, settings: DecisionSettings) -> DecisionTransformer:
    """The network of `settings`."""
    network = DecisionTransformer(
        num_obs,
        num_actions,
        settings.width,
        settings.num_layers,
        settings.num_heads,
        settings.context_steps,
        settings.max_steps,
        returns=settings.returns,
        actions=settings.actions,
        head=settings.teacher_head,
        dropout=settings.dropout,
    )
    network.return_scale.fill_(settings.return_scale)
    return network


def normalized_return(value: float, low: float, high: float) -> float:
    """`value` in percent of the way from `low` (a reference that knows nothing) to `high` (the behaviour policy)."""
    if not high > low:
        raise ValueError(f"reference returns {low} and {high}: expected the second to be larger")
    return 100.0 * (value - low) / (high - low)


@dataclass
class Scales:
    """What normalises observations and actions, from the episodes to learn from."""

    obs_mean: torch.Tensor
    """(D,)"""
    obs_std: torch.Tensor
    """(D,)"""
    action_scale: torch.Tensor
    """(A,) `SCALE_QUANTILE` of |action|."""
    transitions: int
    """To learn from."""

    def apply(self, normalizer: EmpiricalNormalization) -> None:
        """Set the statistics of a normaliser."""
        for name, value in (("mean", self.obs_mean), ("std", self.obs_std), ("var", self.obs_std.square())):
            getattr(normalizer, name).copy_(value)
        normalizer.count.fill_(self.transitions)  # pyright: ignore


def fit_scales(dataset: Dataset, share: float, seed: int = 0) -> Scales:
    """Read a data set once for its scales.

    Args:
        dataset: with the columns `policy` and `actions`.
        share: of the episodes that are held out.
        seed: which ones.

    Raises:
        ValueError: too few episodes.
    """
    sizes, spared, normalizer = [], 0, EmpiricalNormalization(dataset.card["columns"]["student"]["policy"]["shape"][0])
    for path in dataset.shards:
        arrays = dataset.read(path, ["policy", "actions", "transition", "episode"])
        if arrays is None:
            continue
        chosen = ~held_out(arrays["episode"], share, seed)
        rows = arrays["transition"] & chosen
        spared += int((arrays["transition"] & ~chosen).sum())
        if rows.any():
            normalizer.update(torch.from_numpy(arrays["policy"][rows]))
            sizes.append(np.abs(arrays["actions"][rows]))
    if not sizes or not spared:
        raise ValueError(too_few_episodes(dataset, share, seed))
    joined = np.concatenate(sizes)
    scale = torch.from_numpy(np.quantile(joined, SCALE_QUANTILE, axis=0).astype(np.float32)).clamp(min=1e-6)
    return Scales(normalizer.mean[0].clone(), normalizer.std[0].clone(), scale, len(joined))  # pyright: ignore


def check_layout(network: Any, dataset: Dataset, target: str = "actions") -> None:
    """Refuse a data set whose observations or actions have other sizes than the network's (`ValueError`)."""
    columns = dataset.card["columns"]["student"]
    for name in ("policy", "actions", target):
        if name not in columns:
            raise ValueError(f"the data set has no column '{name}'; it has {', '.join(columns)}")
    found = columns["policy"]["shape"][0], columns["actions"]["shape"][0]
    if found != (network.num_obs, network.num_actions):
        raise ValueError(
            f"the data set has frames of {found[0]} columns and {found[1]} actions, the network {network.num_obs} and "
            f"{network.num_actions}: it is of another robot or layout"
        )


def distribution_of(network: DecisionTransformer, batch: Segments) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (B, S, A) of the steps of a minibatch with last actions and the column `RETURNS`."""
    return network(batch.frames, batch.last_actions, batch.columns[RETURNS][..., 0], batch.age)


class DecisionTraining:
    """Trains a Decision Transformer, gradient step by gradient step.

    Attributes:
        updates: gradient steps so far.
        transitions: to learn from.
        temperature: weight of the entropy.
    """

    def __init__(
        self,
        network: DecisionTransformer,
        dataset: ReturnsDataset,
        settings: DecisionSettings,
        seed: int = 0,
        action_scale: torch.Tensor | None = None,
    ) -> None:
        """Set the scales of the network.

        Args:
            network: of `make_decision_transformer`.
            dataset: of whole episodes.
            settings: see there.
            seed: of the order of the pieces, and of which episodes are held out.
            action_scale: (A,) instead of the data set's own, for teachers of one student.

        Raises:
            ValueError: a setting is wrong, or the data set does not fit.
        """
        settings.check()
        self.network, self.dataset, self.settings, self.seed = network, dataset, settings, seed
        self._target = TARGETS[settings.target]
        check_layout(network, dataset, self._target)
        scales = fit_scales(dataset, settings.held_out, seed)
        self.transitions = scales.transitions
        scales.apply(network.normalizer)
        network.action_scale.copy_(scales.action_scale if action_scale is None else action_scale)
        self.updates = 0
        self.stream = BatchStream(self.loader(learnt=True))
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.log_temperature = nn.Parameter(torch.tensor(math.log(settings.init_temperature)))
        self.temperature_optimizer = torch.optim.Adam([self.log_temperature], lr=settings.temperature_rate)

    def loader(self, learnt: bool) -> SegmentLoader:
        """Pieces of the episodes to learn from, or of those held out."""
        share, seed = self.settings.held_out, self.seed
        return SegmentLoader(
            self.dataset,
            max(self.settings.batch_size, self.settings.piece_steps),
            0,
            self.settings.piece_steps,
            columns=[self._target, RETURNS],
            last_actions=True,
            keep=lambda episodes: held_out(episodes, share, seed) != learnt,
            buffer_rows=self.settings.buffer_rows,
            prefetch=0,
            seed=seed,
        )

    @property
    def temperature(self) -> float:
        """See above."""
        return float(self.log_temperature.detach().exp())

    def _outputs(self, batch: Segments) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean, deviation and target (M, A) of the samples of a minibatch; targets are divided by the scale."""
        mean, std = distribution_of(self.network, batch)
        target = (batch.columns[self._target] / self.network.action_scale).clamp(-1.0, 1.0)
        return mean[batch.valid], std[batch.valid], target[batch.valid]

    def loss(self, batch: Segments) -> tuple[torch.Tensor, torch.Tensor]:
        """What is minimised, and the entropy of the action (sampled, with gradient), over the samples of a minibatch.

        The head "mse" has no entropy: 0.
        """
        mean, std, target = self._outputs(batch)
        if self.settings.teacher_head == "mse":
            return losses.regression_loss(mean, target), torch.zeros(())
        sample = mean + std * torch.randn_like(mean)
        # Entropy of tanh(u), from one sample: -log p(u) + sum log(1 - tanh(u)^2), in a form without overflow.
        squash = 2.0 * (math.log(2.0) - sample - nn.functional.softplus(-2.0 * sample)).sum(-1)
        entropy = (squash - losses.gaussian_log_prob(mean, std, sample)).mean()
        nll = -losses.squashed_log_prob(mean, std, target).mean()
        return nll - self.temperature * entropy, entropy

    def train(self, updates: int) -> Iterator[float]:
        """Gradient steps; yields the loss of each.

        Raises:
            ValueError: a gradient is not finite; nothing was learnt from it.
        """
        settings = self.settings
        for _ in range(updates):
            self.network.train()
            for group in self.optimizer.param_groups:
                group["lr"] = settings.rate(self.updates)
            loss, entropy = self.loss(self.stream.next())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_finite(
                self.network.parameters(),
                settings.max_grad_norm,
                f"update {self.updates + 1}, loss {float(loss.detach()):g}",
                f"learning rate than {settings.learning_rate:g}",
            )
            self.optimizer.step()
            if settings.teacher_head == "gaussian":
                surplus = float(entropy.detach()) + self.network.num_actions
                self.temperature_optimizer.zero_grad()
                (self.log_temperature.exp() * surplus).backward()
                self.temperature_optimizer.step()
            self.updates += 1
            yield float(loss.detach())

    @torch.no_grad()
    def evaluate(self, batches: int | None = None) -> float:
        """Mean squared error of the deterministic action on held-out episodes, in actions divided by their scale.

        Sets the network's `residual`. `batches`: at most so many minibatches.
        """
        self.network.eval()
        squares, count = torch.zeros(self.network.num_actions), 0
        for index, batch in enumerate(self.loader(learnt=False).epoch()):
            if index == batches:
                break
            mean, _, target = self._outputs(batch)
            action = self.network.act(mean) / self.network.action_scale
            squares, count = squares + (action - target).square().sum(0), count + len(target)
        per_action = squares / count
        self.network.residual.copy_(per_action.sqrt().clamp(min=1e-6))  # pyright: ignore
        return float(per_action.mean())

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly."""
        return {
            "updates": self.updates,
            "transitions": self.transitions,
            "network": {name: value.detach().clone() for name, value in self.network.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "log_temperature": self.log_temperature.detach().clone(),
            "temperature_optimizer": copy.deepcopy(self.temperature_optimizer.state_dict()),
            "stream": self.stream.state_dict(),
            "generator": torch.get_rng_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same data set.

        Raises:
            ValueError: the data set has changed since.
        """
        if state["transitions"] != self.transitions:
            raise ValueError(
                f"the data set has {self.transitions} transitions to learn from, the training began with "
                f"{state['transitions']}: begin anew"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.log_temperature.data.copy_(state["log_temperature"])
        self.temperature_optimizer.load_state_dict(state["temperature_optimizer"])
        self.stream.load_state_dict(state["stream"])
        self.updates = state["updates"]
        torch.set_rng_state(state["generator"])


def mean_return(dataset: ReturnsDataset, quantile: float | None = None) -> float:
    """Mean return of the episodes of a data set, or a quantile of their returns."""
    found: list[float] = []
    for path in dataset.shards:
        arrays = dataset.read(path, [RETURNS, "step"])
        if arrays is not None:
            found += arrays[RETURNS][arrays["step"] == 0, 0].tolist()
    return float(np.mean(found) if quantile is None else np.quantile(found, quantile))
