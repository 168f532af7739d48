"""From steps of N environments to segments of one episode each, for a `ShardWriter`."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
import torch

from rsl_rl_ult.storage.dataset import ShardWriter


class Recorder:
    """Keeps the present episodes of N environments, and hands each to a writer when it ends.

    Whole episodes go to disk by default. `cut` writes what there is of episodes that go on, as a round of DAgger needs
    it; the next segment begins with their last frames as context.
    """

    def __init__(
        self,
        writer: ShardWriter,
        num_envs: int,
        max_steps: int,
        context: int = 0,
        episodes_per_env: Any = None,
    ) -> None:
        """Record into `writer`.

        Args:
            writer: of a data set.
            num_envs: N.
            max_steps: transitions after which a segment is cut even though its episode goes on.
            context: frames from before a cut that the next segment begins with.
            episodes_per_env: an environment is ignored after so many, a number or one for each (N,): as many as all
                together end first would be short ones; None: never.
        """
        if num_envs < 1 or max_steps < 1 or context < 0:
            raise ValueError(
                f"num_envs={num_envs}, max_steps={max_steps}, context={context}: expected at least 1, 1, 0"
            )
        self.writer, self.num_envs, self.max_steps, self.context = writer, num_envs, max_steps, context
        columns = writer.card["columns"]
        self._columns = {**columns["student"], **columns["privileged"]}
        self._values = [name for name in self._columns if name not in ("transition", "episode", "step")]
        rows = context + max_steps + 1
        self._buffers = {
            name: np.zeros((num_envs, rows, *self._columns[name]["shape"]), dtype=self._columns[name]["dtype"])
            for name in self._values
        }
        self._rows = np.zeros(num_envs, dtype=np.int64)  # filled in the buffers, context included
        self._before = np.zeros(num_envs, dtype=np.int64)  # of them context
        self._first = np.zeros(num_envs, dtype=np.int64)  # step in the episode of the first row
        self._episode = self._new_episodes(num_envs)
        self._left = np.full(num_envs, -1) if episodes_per_env is None else np.zeros(num_envs, int) + episodes_per_env
        self._index = np.arange(num_envs)

    def _new_episodes(self, count: int) -> np.ndarray:
        first = getattr(self, "_next_episode", self.writer.next_episode)
        self._next_episode = first + count
        return np.arange(first, first + count)

    @property
    def unfinished(self) -> int:
        """Episodes still wanted of all environments, with `episodes_per_env`."""
        return int(self._left.clip(min=0).sum())

    def add(self, values: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> None:
        """Add one step of every environment, and write the episodes that it ended.

        Args:
            values: column -> (N, ...): observations before the step, and everything else of it, with `rewards`,
                `terminations`, `truncations` and `driver`.
            after: columns of `values` that the observation after the step has, (N, ...): those of episodes that ended
                are the last ones before the reset.
        """
        for name in self._values:
            self._buffers[name][self._index, self._rows] = values[name].numpy()
        self._rows += 1
        ended = np.flatnonzero((values["terminations"] | values["truncations"]).numpy())
        full = np.flatnonzero(self._rows == self.context + self.max_steps)
        if len(ended):
            self._finish(ended, after)
        self._cut(np.setdiff1d(full, ended), after)

    def _finish(self, ended: np.ndarray, after: Mapping[str, torch.Tensor]) -> None:
        for env in ended:
            if self._left[env] != 0:
                self.writer.add(self._segment(env, after))
                self._left[env] -= self._left[env] > 0
        self._rows[ended] = self._before[ended] = self._first[ended] = 0
        self._episode[ended] = self._new_episodes(len(ended))

    def cut(self, after: Mapping[str, torch.Tensor]) -> None:
        """Write what there is of all present episodes; `after` as in `add`."""
        self._cut(self._index, after)

    def _cut(self, envs: np.ndarray, after: Mapping[str, torch.Tensor]) -> None:
        for env in envs:
            if self._rows[env] == self._before[env]:
                continue
            if self._left[env] != 0:
                self.writer.add(self._segment(env, after))
            kept = min(self.context, int(self._rows[env]))
            dropped = int(self._rows[env]) - kept
            for buffer in self._buffers.values():
                buffer[env, :kept] = buffer[env, dropped : dropped + kept].copy()
            self._first[env] += dropped
            self._rows[env] = self._before[env] = kept

    def _segment(self, env: int, after: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
        """The rows of an environment, and one more with the observation after them."""
        rows, before = int(self._rows[env]), int(self._before[env])
        segment = {name: buffer[env, : rows + 1].copy() for name, buffer in self._buffers.items()}
        for name, values in segment.items():
            values[rows] = after[name][env].numpy() if name in after else 0
        transition = np.zeros(rows + 1, dtype=bool)
        transition[before:rows] = True
        step = np.arange(self._first[env], self._first[env] + rows + 1)
        return {**segment, "transition": transition, "episode": np.full(rows + 1, self._episode[env]), "step": step}
