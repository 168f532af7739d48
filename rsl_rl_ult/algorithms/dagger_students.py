"""What acts and learns in `DAgger`: a student that reads windows of frames, or the student of a ULT."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

import torch
from torch import nn

from rsl_rl_ult.algorithms.rollout_state import RolloutState
from rsl_rl_ult.algorithms.student import ActingWindows
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.algorithms.ult_rollout import ActingCache, mirror_actions, mirror_frames
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.policies.policy import Policy, StudentPolicy, join
from rsl_rl_ult.policies.policy_ult import CachedPolicy
from rsl_rl_ult.storage import RolloutStorage
from rsl_rl_ult.storage.aggregate import Aggregate


class Fit(NamedTuple):
    """A minibatch of M samples: what the student makes of it, and what the teacher does there."""

    mean: torch.Tensor
    """(M, A) the student's mean actions."""
    label: torch.Tensor
    """(M, A) the teacher's."""
    latent: torch.Tensor | None = None
    """(M, L) the student's latent, where it has one."""
    target: torch.Tensor | None = None
    """(M, L) the teacher's latent, where it is learnt."""


class WindowStudent:
    """E_hist and policy head of an `ActorCriticTS`."""

    def __init__(self, network: ActorCriticTS, storage: RolloutStorage, sets: Mapping[str, list], device: str) -> None:
        """Act with and train `network`, on frames of the set `actor`."""
        self.network, self.sets = network, sets
        self.widths: dict[str, int] = {}  # columns of each group of the frames
        self.windows = ActingWindows(network.history_length, sets, device)
        self.state: RolloutState = self.windows

    @staticmethod
    def policy(network: ActorCriticTS, sets: Mapping[str, Sequence[str]]) -> Policy:
        """What is deployed."""
        return StudentPolicy(network, sets)

    def act(self, obs: Tensors, inputs: Tensors) -> torch.Tensor:
        """Mean actions (N, A) in the next step."""
        window = self.network.normalizers["actor"](self.windows.append(obs))
        return self.network.head(inputs, self.network.student_latent(window))

    def stored(self) -> dict[str, torch.Tensor]:
        """What the rollout keeps of a step besides the observations."""
        return {}

    @staticmethod
    def parameters(network: ActorCriticTS, latent: bool) -> list[nn.Parameter]:
        """What is trained: E_hist alone where it learns the teacher's `latent`, whose head it acts with."""
        return [*network.student_parameters(), *([] if latent else network.actor.parameters())]

    def values(self, storage: RolloutStorage, latents: bool, symmetry: Symmetry | None) -> dict[str, torch.Tensor]:
        """What the aggregate keeps of a rollout, (S, N, ...): frames, labels and, where they are learnt, latents."""
        self.widths, frames = _frames(storage, self.sets["actor"])
        found = {"label": storage["label"], "frame": frames}
        if latents:
            raw = {group: storage.flat(group) for group in self.sets["privileged"]}
            raw = raw if symmetry is None else symmetry.observations(raw)
            inputs = {"privileged": self.network.normalizers["privileged"](join(raw, self.sets["privileged"]))}
            with torch.no_grad():
                latent = self.network.teacher_latent(inputs)  # (K S N, L)
            latent = latent.unflatten(0, (-1, storage.num_steps, storage.num_envs))
            found["latent"] = latent.permute(1, 2, 0, 3).flatten(2)
        return found

    def fit(self, aggregate: Aggregate, count: int, generator: torch.Generator, symmetry: Symmetry | None) -> Fit:
        """The student on `count` samples, their mirror images included."""
        originals = _originals(count, symmetry, self.network.num_actions)
        return self.fit_rows(aggregate, aggregate.draw(originals, generator), symmetry)

    def fit_rows(self, aggregate: Aggregate, rows: torch.Tensor, symmetry: Symmetry | None) -> Fit:
        """The student on `rows` (B,) and their mirror images."""
        window = aggregate.windows("frame", rows, self.network.history_length)
        label, latents = aggregate.at("label", rows), None
        if symmetry is not None:
            window, label = mirror_frames(window, self.widths, symmetry), symmetry.actions(label)
        if "latent" in aggregate:
            latents = aggregate.at("latent", rows).unflatten(1, (-1, self.network.latent_dim))
            latents = latents.transpose(0, 1).flatten(0, 1)
        window = self.network.normalizers["actor"](window)
        latent = self.network.student_latent(window)
        return Fit(self.network.head({"actor": window[:, -1]}, latent), label, latent, latents)


class TransformerStudent:
    """The student of an `ActorCriticULT`: its frame tokens, transformer and policy head."""

    def __init__(self, network: ActorCriticULT, storage: RolloutStorage, sets: Mapping[str, list], device: str) -> None:
        """Act with and train `network`; the storage keeps frames and actions as far back as it looks."""
        self.network, self.sets = network, sets
        self.widths: dict[str, int] = {}  # columns of each group of the frames
        self.cache = ActingCache(network, storage, sets)
        self.state: RolloutState = self.cache

    @staticmethod
    def policy(network: ActorCriticULT, sets: Mapping[str, Sequence[str]]) -> Policy:
        """What is deployed."""
        return CachedPolicy(network, sets, "student")

    def act(self, obs: Tensors, inputs: Tensors) -> torch.Tensor:
        """Mean actions (N, A) in the next step."""
        return self.cache.step(obs, inputs).student

    def stored(self) -> dict[str, torch.Tensor]:
        """The actions before each step, which are a part of its token."""
        return {"last_actions": self.cache.last_actions}

    @staticmethod
    def parameters(network: ActorCriticULT, latent: bool) -> list[nn.Parameter]:
        """What is trained: all that the student acts with."""
        return [*network.trunk_parameters(), *network.actor.parameters()]

    def values(self, storage: RolloutStorage, latents: bool, symmetry: Symmetry | None) -> dict[str, torch.Tensor]:
        """What the aggregate keeps of a rollout, (S, N, ...): frames, the actions before them, and labels."""
        self.widths, frames = _frames(storage, self.sets["actor"])
        return {"label": storage["label"], "frame": frames, "last_actions": storage["last_actions"]}

    def fit(self, aggregate: Aggregate, count: int, generator: torch.Generator, symmetry: Symmetry | None) -> Fit:
        """The student on whole rollouts of some environments, about `count` samples with their mirror images."""
        network, steps = self.network, aggregate.num_steps
        drawn = max(1, _originals(count, symmetry, self.network.num_actions) // steps)
        starts, envs = aggregate.draw_rollouts(drawn, generator)
        frames, actions = (aggregate.segments(name, starts, envs) for name in ("frame", "last_actions"))
        label = aggregate.segments("label", starts, envs)[:, -steps:]
        ages = aggregate.ages(starts, envs)
        if symmetry is not None:
            frames = mirror_frames(frames, self.widths, symmetry)
            actions, label = mirror_actions(actions, symmetry), mirror_actions(label, symmetry)
            ages = ages.repeat(len(frames) // len(ages), 1)
        tokens = network.frame_actions(frames, actions)
        outputs, _ = network.transformer(network.frame_tokenizer(tokens), None, ages, steps)
        mean = network.act_student(outputs.flatten(0, 1), tokens[:, -steps:].flatten(0, 1))
        return Fit(mean, label.flatten(0, 1))


def _frames(storage: RolloutStorage, groups: Sequence[str]) -> tuple[dict[str, int], torch.Tensor]:
    """Columns of each group, and frames (S, N, D)."""
    found = {group: storage[group] for group in groups}
    return {group: values.shape[-1] for group, values in found.items()}, join(found, groups)


def _originals(count: int, symmetry: Symmetry | None, num_actions: int) -> int:
    """How many of `count` samples are no mirror images."""
    copies = 1 if symmetry is None else len(symmetry.actions(torch.zeros(1, num_actions)))
    return max(1, count // copies)


STUDENTS: dict[type, Any] = {ActorCriticTS: WindowStudent, ActorCriticULT: TransformerStudent}
"""Network -> how it acts and learns."""


def student_class(network: Any) -> Any:
    """How the student of `network` acts and learns; another network is a `ValueError`."""
    for known, student in STUDENTS.items():
        if isinstance(network, known):
            return student
    names = " or ".join(known.__name__ for known in STUDENTS)
    raise ValueError(f"actor.class_name '{type(network).__name__}': DAgger needs {names}")
