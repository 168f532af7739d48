"""A data set with columns that are computed while it is read: returns to go, and what a teacher makes of each row."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from rsl_rl_ult.storage.dataset import Dataset, ShardError, read_arrays, segment_bounds

RETURNS = "returns_to_go"
"""Column (R, 1): undiscounted sum of rewards from each transition to the end of its episode."""

LABELS = ("label_mean", "label_std")
"""Columns (R, A): distribution of a teacher's action in each row, see `offline/labels.py`."""


def returns_to_go(rewards: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Sum (R,) of `rewards` (R,) from each row to the end of its segment; `bounds` (G, 2) as `segment_bounds`."""
    total = np.concatenate(([0.0], np.cumsum(rewards, dtype=np.float64)))
    ends = np.repeat(total[bounds[:, 1]], bounds[:, 1] - bounds[:, 0])
    return (ends - total[:-1]).astype(np.float32)


class ReturnsDataset(Dataset):
    """A data set of whole episodes with the column `RETURNS` and, after `add_labels`, `LABELS`.

    Folders of several teachers may stand together: what they share is task and layout.
    """

    def __init__(self, *folders: Path | str) -> None:
        """As `Dataset`."""
        super().__init__(*folders, several_teachers=True)
        self.card = copy.deepcopy(self.card)
        self.card["columns"]["student"][RETURNS] = {"dtype": "float32", "shape": [1]}
        self._labels: Path | None = None

    def add_labels(self, folder: Path) -> None:
        """Also give the columns `LABELS`, from the files that `write_labels` wrote to `folder`."""
        self._labels = Path(folder)
        actions = self.card["columns"]["student"]["actions"]
        for name in LABELS:
            self.card["columns"]["student"][name] = actions

    def label_path(self, folder: Path, shard: Path) -> Path:
        """The file in `folder` with the labels of a shard."""
        return Path(folder) / f"{self.folders.index(shard.parent):02d}-{shard.name}"

    def _read_labels(self, path: Path, names: list[str], rows: int) -> dict[str, np.ndarray]:
        assert self._labels is not None
        file = self.label_path(self._labels, path)
        try:
            found = read_arrays(file, self.card["columns"]["student"], names)
        except ShardError as error:
            raise ValueError(f"{file}: {error}; delete it, and let the labels be written again") from None
        if any(len(values) != rows for values in found.values()):
            raise ValueError(f"{file} has labels of another shard: delete it, and let the labels be written again")
        return found

    def read(
        self, path: Path, names: Sequence[str] | None = None, stream: str = "student"
    ) -> dict[str, np.ndarray] | None:
        """As `Dataset.read`.

        Raises:
            ValueError: returns are asked for, and an episode is not whole.
        """
        derived = {RETURNS, *LABELS}
        if stream == "student" and names is None:
            names = list(self.card["columns"]["student"])
        if stream != "student" or names is None or not derived & set(names):
            return super().read(path, names, stream)
        stored = [name for name in names if name not in derived]
        arrays = super().read(path, list(dict.fromkeys([*stored, "rewards", "episode", "step"])))
        if arrays is None:
            return None
        found: dict[str, Any] = {name: arrays[name] for name in stored}
        if RETURNS in names:
            bounds = segment_bounds(arrays["episode"], arrays["step"])
            if (arrays["step"][bounds[:, 0]] != 0).any():
                raise ValueError(f"{path} has parts of episodes, whose returns nobody knows: record whole episodes")
            found[RETURNS] = returns_to_go(arrays["rewards"], bounds)[:, None]
        if set(LABELS) & set(names):
            assert self._labels is not None, "add_labels comes first"
            found.update(self._read_labels(path, [name for name in LABELS if name in names], len(arrays["episode"])))
        return found
