"""How the Unified Locomotion Transformer acts in rollouts, and what its update reads of them."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult.algorithms.rollout_state import RolloutState, Step
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT, Readouts, ULTBatch
from rsl_rl_ult.modules.transformer import KeyValueCache
from rsl_rl_ult.policies.policy import join
from rsl_rl_ult.storage import Batch, RolloutStorage, by_minibatch


class ActingCache(RolloutState):
    """Keys and values of the past and the last actions of every environment, for a network that acts step by step.

    The cache holds what the present networks make of the past: after an update it is filled anew from the stored
    frames.
    """

    def __init__(self, network: ActorCriticULT, storage: RolloutStorage, sets: Mapping[str, Sequence[str]]) -> None:
        """Empty; the storage keeps frames and "last_actions" for as long as actions depend on them."""
        self.network, self.storage, self.sets = network, storage, sets
        self.last_actions = torch.zeros(storage.num_envs, network.num_actions, device=storage.device)
        self.cache: KeyValueCache | None = None  # None: the networks have changed since it was filled

    def step(self, obs: Tensors, inputs: Tensors) -> Readouts:
        """Teacher and student in the present state; the frame is added to the cache.

        Args:
            obs: observation groups (N, ...).
            inputs: normalised observation sets (N, d).
        """
        if self.cache is None:
            self.cache = self._primed()
        frame_actions = self.network.frame_actions(join(obs, self.sets["actor"]), self.last_actions)
        return self.network.step(frame_actions, inputs["privileged"], self.cache)

    def _primed(self) -> KeyValueCache:
        """What a cache would hold had the present networks seen the stored context."""
        transformer, storage = self.network.transformer, self.storage
        if "last_actions" not in storage:  # nothing was ever stored
            return transformer.make_cache(storage.num_envs)
        tokens = self.network.frame_tokenizer(self.network.frame_actions(*self.segments(0)))
        return transformer.prime(tokens, storage.ages(transformer.context, 0))

    def segments(self, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Raw frames (N, C + S, d) and the actions before them (N, C + S, A), up to step S = `steps`."""
        groups = (*self.sets["actor"], "last_actions")
        found = {group: self.storage.segments(group, self.network.transformer.context, steps) for group in groups}
        return join(found, self.sets["actor"]), found["last_actions"]

    def on_step(self, step: Step, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping[str, Any]) -> None:
        """Keep the actions; drop what finished episodes have left."""
        self.last_actions = torch.where(dones[:, None], torch.zeros_like(step.actions), step.actions)
        assert self.cache is not None
        self.cache.reset(dones)

    def on_update(self) -> None:
        """The cache was filled by the former networks."""
        self.cache = None

    def state_dict(self) -> dict[str, Any]:
        """The last actions; the cache is filled from the storage."""
        return {"last_actions": self.last_actions.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the last actions of as many environments."""
        self.last_actions.copy_(state["last_actions"])
        self.cache = None


def trajectories(
    batch: Batch,
    acting: ActingCache,
    rows: torch.Tensor,
    next_frames: torch.Tensor | None,
    symmetry: Symmetry | None,
    parts: int,
) -> ULTBatch:
    """`batch` with what a pass over the segments reads.

    Args:
        batch: all samples of the rollout.
        acting: what acted.
        rows: (M,) rows of the rollout, whole trajectories after one another.
        next_frames: (N, D) raw frames after the rollout; None where the host does not show them.
        symmetry: mirrors the segments where `batch` holds mirrored samples.
        parts: number of minibatches.
    """
    network, storage, copies = acting.network, acting.storage, batch.copies
    steps = storage.num_steps
    envs = rows[::steps]
    frames, last_actions = (x[envs] for x in acting.segments(steps))
    ongoing = (storage["dones"][:, envs] == 0).transpose(0, 1)
    if next_frames is None:
        following, ongoing[:, -1] = torch.zeros_like(frames[:, -1]), False
    else:
        following = next_frames[envs]
    if copies > 1:
        assert symmetry is not None
        groups = {group: storage[group].shape[-1] for group in acting.sets["actor"]}
        frames, last_actions = mirror_frames(frames, groups, symmetry), mirror_actions(last_actions, symmetry)
        following = mirror_frames(following[:, None], groups, symmetry)[:, 0]
    frame_actions = network.frame_actions(frames, last_actions)
    within = frame_actions[:, frame_actions.shape[1] - steps + 1 :, : frames.shape[-1]]
    after = torch.cat((within, network.normalizers["actor"](following)[:, None]), dim=1)
    found = {
        "frame_actions": frame_actions,
        "next_frames": after,
        "age": storage.ages(network.transformer.context, steps)[envs].repeat(copies, 1),
        "ongoing": ongoing.repeat(copies, 1),
        "teacher": storage.flat("teacher")[rows].repeat(copies),
    }
    other = storage.flat("other_log_prob")[rows] if "other_log_prob" in storage else None
    cut: dict[str, Any] = {name: by_minibatch(value, copies, parts) for name, value in found.items()}
    probability = storage.flat("teacher_probability")[rows]
    return ULTBatch(**vars(batch), **cut, teacher_probability=probability, other_log_prob=other)


def mirror_frames(frames: torch.Tensor, groups: Mapping[str, int], symmetry: Symmetry) -> torch.Tensor:
    """(B, F, d) -> (K B, F, d): the originals, then the mirrored ones; `groups`: name -> columns of d, in order."""
    parts = frames.flatten(0, 1).split(list(groups.values()), dim=-1)
    mirrored = symmetry.observations(dict(zip(groups, parts)))
    return join(mirrored, list(groups)).unflatten(0, (-1, frames.shape[1]))


def mirror_actions(actions: torch.Tensor, symmetry: Symmetry) -> torch.Tensor:
    """(B, F, A) -> (K B, F, A): the originals, then the mirrored ones."""
    return symmetry.actions(actions.flatten(0, 1)).unflatten(0, (-1, actions.shape[1]))
