"""Small data sets of whole episodes, as a recorder would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rsl_rl_ult.storage.dataset import ShardWriter, make_card
from rsl_rl_ult.storage.returns import ReturnsDataset

D, A = 3, 2


def linear_teacher(frames: np.ndarray) -> np.ndarray:
    """Actions (T, A) in (-1, 1), functions of the present frame."""
    return np.tanh(0.5 * frames[:, :A] - 0.3 * frames[:, 1 : 1 + A]).astype(np.float32)


def write_episodes(
    folder: Path,
    episodes: int = 30,
    length: int = 24,
    seed: int = 0,
    teacher: Callable[[np.ndarray], np.ndarray] = linear_teacher,
    offset: float = 0.0,
    name: str = "one",
) -> ReturnsDataset:
    """Episodes of random frames, and a reward of 1 at each step."""
    rng = np.random.default_rng(seed)
    card = make_card({"policy": (D,), "actions": (A,), "teacher_actions": (A,)}, {}, ["teacher"], teacher=name)
    with ShardWriter(folder, card, 300) as writer:
        for episode in range(episodes):
            rows, step = length + 1, np.arange(length + 1)
            frames = rng.normal(offset, 1.0, (rows, D)).astype(np.float32)
            there = step < length
            actions = teacher(frames) * there[:, None]
            writer.add(
                {
                    "policy": frames,
                    "teacher_actions": actions,
                    "actions": actions,
                    "rewards": there.astype(np.float32),
                    "terminations": step == length - 1,
                    "truncations": np.zeros(rows, dtype=bool),
                    "transition": there,
                    "driver": np.zeros(rows),
                    "episode": np.full(rows, episode),
                    "step": step,
                }
            )
    return ReturnsDataset(folder)
