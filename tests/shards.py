"""A world whose observations say where they are from, and data sets recorded in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsl_rl_ult.storage.dataset import ShardWriter, make_card
from rsl_rl_ult.storage.recorder import Recorder

NUM_ENVS = 4
STUDENT = {"policy": (3,), "actions": (2,), "teacher_actions": (2,)}
PRIVILEGED = {"privileged": (2,), "level": ()}


def card(**fields: Any) -> dict[str, Any]:
    return make_card(STUDENT, PRIVILEGED, ["teacher", "student"], {"level": "int16"}, **{"task": "walk", **fields})


class World:
    """N environments; `policy` is (episode, step, 1000 episode + step), so that every row can be recognised."""

    def __init__(self, seed: int = 0, end: float = 0.05, first_episode: int = 0) -> None:
        self.step, self.end = torch.zeros(NUM_ENVS), end
        self.episode = torch.arange(first_episode, first_episode + NUM_ENVS).float()
        self.next = first_episode + NUM_ENVS
        self.generator = torch.Generator().manual_seed(seed)

    def observe(self, step: torch.Tensor) -> dict[str, torch.Tensor]:
        policy = torch.stack((self.episode, step, 1000.0 * self.episode + step), dim=1)
        return {"policy": policy, "privileged": -policy[:, :2]}

    def advance(self, recorder: Recorder) -> dict[str, torch.Tensor]:
        """One step into the recorder; returns the observation after it, of the episode that was."""
        before, after = self.observe(self.step), self.observe(self.step + 1)
        drawn = torch.rand(NUM_ENVS, generator=self.generator)
        ended = drawn < self.end
        recorder.add(
            {
                **before,
                "actions": before["policy"][:, :2] + 0.5,
                "teacher_actions": before["policy"][:, :2],
                "level": self.episode.to(torch.int16) % 10,
                "rewards": self.step,
                "terminations": ended & (drawn < 0.5 * self.end),
                "truncations": ended & (drawn >= 0.5 * self.end),
                "driver": (self.episode % 2).to(torch.uint8),
            },
            after,
        )
        self.step = torch.where(ended, torch.zeros_like(self.step), self.step + 1)
        for env in ended.nonzero().flatten().tolist():
            self.episode[env], self.next = float(self.next), self.next + 1
        return after


def record(
    folder: Path, steps: int = 100, rows: int = 60, cut_every: int = 0, context: int = 0, seed: int = 0, **fields: Any
) -> ShardWriter:
    """A data set of `steps` of the world; what has not ended is cut at the end."""
    with ShardWriter(folder, card(**fields), rows) as writer:
        world = World(seed, first_episode=writer.next_episode)
        recorder = Recorder(writer, NUM_ENVS, 200, context)
        for step in range(steps):
            after = world.advance(recorder)
            if cut_every and (step + 1) % cut_every == 0:
                recorder.cut(after)
        recorder.cut(after)
    return writer


def segment(episode: int, length: int, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """A whole episode."""
    rows, step = length + 1, np.arange(length + 1)
    policy = np.stack((np.full(rows, episode), step, 1000 * episode + step), axis=1).astype(np.float32)
    ends = step == length - 1
    return {
        "policy": policy,
        "actions": policy[:, :2] * (step < length)[:, None],
        "teacher_actions": policy[:, :2] * (step < length)[:, None],
        "privileged": -policy[:, :2],
        "level": np.zeros(rows, dtype=np.int16),
        "rewards": (step * (step < length)).astype(np.float32),
        "terminations": ends,
        "truncations": np.zeros(rows, dtype=bool),
        "transition": step < length,
        "driver": np.zeros(rows, dtype=np.uint8),
        "episode": np.full(rows, episode),
        "step": step,
        **changed,
    }
