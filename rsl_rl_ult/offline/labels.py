"""What a teacher would do in every row of a data set, computed once: the targets of a distillation."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from rsl_rl_ult.modules.decision_transformer import DecisionTransformer
from rsl_rl_ult.storage.dataset import segment_bounds
from rsl_rl_ult.storage.returns import LABELS, RETURNS, ReturnsDataset

EPISODES = 4  # that are labelled side by side: the mask of 1000 steps of three tokens is 36 MB for each


@torch.no_grad()
def write_labels(
    network: DecisionTransformer, dataset: ReturnsDataset, folder: Path, target: float | None = None
) -> None:
    """Write the teacher's mean and deviation in every row to files that `ReturnsDataset.add_labels` reads.

    Files that are there already are kept: an interrupted call is repeated.

    Args:
        network: the teacher.
        dataset: of whole episodes.
        folder: of the files.
        target: return at the start of each episode that the teacher is asked for; None: what was earned.
    """
    network.eval()
    Path(folder).mkdir(parents=True, exist_ok=True)
    for shard in dataset.shards:
        path = dataset.label_path(folder, shard)
        if path.exists():
            continue
        arrays = dataset.read(shard, ["policy", "actions", RETURNS, "rewards", "episode", "step"])
        if arrays is None:
            continue
        found = {name: np.zeros_like(arrays["actions"]) for name in LABELS}
        bounds = segment_bounds(arrays["episode"], arrays["step"])
        for start in range(0, len(bounds), EPISODES):
            _label(network, arrays, bounds[start : start + EPISODES], target, found)
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            np.savez(file, **found)  # pyright: ignore
        os.replace(temporary, path)


def _label(network: DecisionTransformer, arrays: dict, bounds: np.ndarray, target: float | None, found: dict) -> None:
    """Fill the rows of some segments; they lie side by side, padded behind, where nobody looks."""
    longest = int((bounds[:, 1] - bounds[:, 0]).max())
    frames = torch.zeros(len(bounds), longest, network.num_obs)
    actions, returns = torch.zeros(len(bounds), longest, network.num_actions), torch.zeros(len(bounds), longest)
    for row, (start, stop) in enumerate(bounds):
        frames[row, : stop - start] = torch.from_numpy(arrays["policy"][start:stop])
        actions[row, 1 : stop - start] = torch.from_numpy(arrays["actions"][start : stop - 1])
        to_go = torch.from_numpy(arrays[RETURNS][start:stop, 0])
        returns[row, : stop - start] = to_go if target is None else to_go - to_go[0] + target
    age = torch.arange(1, longest + 1).expand(len(bounds), -1)
    mean, std = network(frames, actions, returns, age)
    for row, (start, stop) in enumerate(bounds):
        for name, values in zip(LABELS, (mean, std)):
            found[name][start:stop] = values[row, : stop - start].numpy()
