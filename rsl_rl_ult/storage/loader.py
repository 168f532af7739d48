"""Minibatches of histories from a data set: streamed, shuffled in a bounded buffer, read ahead in the background."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Generator, Iterator, Sequence

import numpy as np
import torch

from rsl_rl_ult.storage.dataset import Dataset, segment_bounds


@dataclass
class Segments:
    """B pieces of S steps of an episode each, with the C frames before them; all from the stream `student`."""

    frames: torch.Tensor
    """(B, C + S, D) raw frames, oldest first; zero where there is none: before the episode, and after its end."""
    last_actions: torch.Tensor
    """(B, C + S, A) executed action before each frame, zero at the start of an episode; (B, C + S, 0) unless asked."""
    age: torch.Tensor
    """(B, C + S) frames of its episode up to and including each, as far as histories reach; below 1 before it."""
    valid: torch.Tensor
    """(B, S) bool, the steps that are samples."""
    columns: dict[str, torch.Tensor]
    """(B, S, ...) columns of these steps that were asked for."""

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.valid.sum())


@dataclass
class _Chunk:
    """Some shards in memory."""

    frames: torch.Tensor  # (R + 1, D), the last row is zero
    actions: torch.Tensor | None  # (R + 1, A), likewise
    columns: dict[str, torch.Tensor]  # (R, ...)
    first: torch.Tensor  # (R,) first row of the segment of each row
    last: torch.Tensor  # (R,) and its last
    usable: torch.Tensor  # (R,) bool: a sample whose history is whole
    skipped: int  # transitions that are none, because their history is in no file


class SegmentLoader:
    """Passes over a data set, each transition once per pass; no piece reaches into another episode.

    Shards are read in a new order in each pass, the first one alone and then as many at once as `buffer_rows` allow;
    samples are shuffled among those. At most two such buffers are in memory, the present one and the one that is read ahead, and `prefetch`
    minibatches; a buffer holds at least one shard, however large.

    Only the stream `student` is read. Privileged columns are in other files, and asking for one is an error.

    Attributes:
        samples: of the last full pass.
        waited: seconds that the consumer waited for minibatches so far.
        most_rows: most rows that were in memory at once, minibatches apart.
        skipped: transitions of the last full pass without their whole history, at the start of a cut segment.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        context: int,
        steps: int = 1,
        columns: Sequence[str] = ("teacher_actions",),
        groups: Sequence[str] = ("policy",),
        last_actions: bool = False,
        keep: Callable[[np.ndarray], np.ndarray] | None = None,
        buffer_rows: int = 262144,
        prefetch: int = 4,
        seed: int = 0,
    ) -> None:
        """Prepare to read.

        Args:
            dataset: with at least one finished shard.
            batch_size: steps per minibatch; B is `batch_size / steps`.
            context: C, frames before each piece.
            steps: S of each piece; 1 gives windows of C + 1 frames.
            columns: of the stream `student`, besides the frames.
            groups: columns that make a frame, side by side.
            last_actions: also give the action before each frame.
            keep: (R,) numbers of episodes -> (R,) bool, those to read; None: all.
            buffer_rows: rows that a buffer may hold.
            prefetch: minibatches made ahead; 0 makes each when it is asked for.
            seed: of the shuffling; pass e of a seed is always the same.

        Raises:
            ValueError: a number is out of range, or the stream has no such column.
        """
        for name, value, least in (
            *(("batch_size", batch_size, steps), ("steps", steps, 1), ("context", context, 0)),
            *(("buffer_rows", buffer_rows, 1), ("prefetch", prefetch, 0)),
        ):
            if value < least:
                raise ValueError(f"{name}={value}: expected at least {least}")
        known = dataset.card["columns"]["student"]
        for name in (*columns, *groups, *(["actions"] if last_actions else [])):
            if name not in known:
                where = (
                    "is privileged: a student's minibatch cannot have it"
                    if (name in dataset.card["columns"]["privileged"])
                    else f"is not in the data set; known: {', '.join(known)}"
                )
                raise ValueError(f"column '{name}' {where}")
        self.dataset, self.batch_size, self.context, self.steps = dataset, batch_size, context, steps
        self.columns, self.groups, self.last_actions = list(columns), list(groups), last_actions
        self.keep, self.buffer_rows, self.prefetch, self.seed = keep, buffer_rows, prefetch, seed
        self.samples, self.skipped, self.most_rows, self.waited = 0, 0, 0, 0.0
        self._rows = [0, 0]  # in the present buffer, and in the one that is read ahead

    # -- passes --------------------------------------------------------------------------------------------------------

    def epoch(self, number: int = 0) -> Iterator[Segments]:
        """The minibatches of pass `number`, in an order that depends on it and the seed only."""
        source = self._make(np.random.default_rng([self.seed, number]))
        batches = source if self.prefetch == 0 else _ahead(source, self.prefetch)
        try:
            while True:
                begin = time.perf_counter()
                batch = next(batches, None)
                self.waited += time.perf_counter() - begin
                if batch is None:
                    return
                yield batch
        finally:
            batches.close()

    def _make(self, rng: np.random.Generator) -> Generator[Segments, None, None]:
        order = [self.dataset.shards[index] for index in rng.permutation(len(self.dataset.shards))]
        samples = skipped = 0
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self._read, order, 1)  # one shard: nobody waits until a whole buffer is read
            while True:
                chunk = coming.result()
                if chunk is None:
                    break
                self._rows = [self._rows[1], 0]
                coming = reader.submit(self._read, order, self.buffer_rows)
                for batch in self._cut(chunk, rng):
                    samples += len(batch)
                    yield batch
                skipped += chunk.skipped
                del chunk
        self.samples, self.skipped = samples, skipped

    def _read(self, order: list[Path], most: int) -> _Chunk | None:
        """Take shards off `order`, at least one, until there are `most` rows; None at its end."""
        names: list[str] = list(
            dict.fromkeys([*self.groups, *self.columns, *(["actions"] if self.last_actions else [])])
        )
        parts: list[dict[str, np.ndarray]] = []
        rows = 0
        while order and (not parts or rows + len(parts[-1]["episode"]) <= most):
            arrays = self.dataset.read(order.pop(0), [*names, "transition", "episode", "step"])
            if arrays is not None:
                parts.append(arrays)
                rows += len(arrays["episode"])
                self._rows[1] = rows
                self.most_rows = max(self.most_rows, sum(self._rows))
        return self._chunk(parts, rows) if parts else None

    def _chunk(self, parts: list[dict[str, np.ndarray]], rows: int) -> _Chunk:
        joined = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
        episode, step = joined["episode"], joined["step"]
        bounds = segment_bounds(episode, step)
        lengths = bounds[:, 1] - bounds[:, 0]
        first, last = np.repeat(bounds[:, 0], lengths), np.repeat(bounds[:, 1] - 1, lengths)
        begins = step[bounds[:, 0]] == 0  # with its episode: whatever is before is zero
        needed = self.context + self.last_actions  # the action before the first frame is in the row before that
        whole = np.repeat(begins, lengths) | (np.arange(rows) - first >= needed)
        wanted = joined["transition"] if self.keep is None else joined["transition"] & self.keep(episode)
        frames = [joined[group] for group in self.groups]
        return _Chunk(
            frames=_with_zero_row(frames[0] if len(frames) == 1 else np.concatenate(frames, axis=1)),
            actions=_with_zero_row(joined["actions"]) if self.last_actions else None,
            columns={name: torch.from_numpy(joined[name]) for name in self.columns},
            first=torch.from_numpy(first),
            last=torch.from_numpy(last),
            usable=torch.from_numpy(wanted & whole),
            skipped=int((wanted & ~whole).sum()),
        )

    # -- minibatches ---------------------------------------------------------------------------------------------------

    def _cut(self, chunk: _Chunk, rng: np.random.Generator) -> Iterator[Segments]:
        """Every usable row is in exactly one piece; where an episode is cut into pieces changes from pass to pass."""
        shift = int(rng.integers(self.steps))
        rows = torch.arange(len(chunk.first))
        starts = torch.maximum(rows - (rows - chunk.first + shift) % self.steps, chunk.first)
        anchors = torch.unique(starts[chunk.usable])  # first rows of the pieces that lie in their segments
        anchors = anchors[torch.from_numpy(rng.permutation(len(anchors)))]
        for part in anchors.split(self.batch_size // self.steps):
            yield self._batch(chunk, part, shift)

    def _batch(self, chunk: _Chunk, anchors: torch.Tensor, shift: int) -> Segments:
        rows, first, last = len(chunk.first), chunk.first[anchors][:, None], chunk.last[anchors][:, None]
        starts = anchors[:, None] - (anchors[:, None] - first + shift) % self.steps
        index = starts + torch.arange(-self.context, self.steps)
        inside = (index >= first) & (index <= last)
        own = index[:, self.context :].clamp(0, rows - 1)
        valid = inside[:, self.context :] & chunk.usable[own]
        if chunk.actions is None:
            last_actions = torch.zeros(*index.shape, 0)
        else:
            last_actions = chunk.actions[torch.where(inside & (index > first), index - 1, rows)]
        columns = {name: values[own] for name, values in chunk.columns.items()}
        frames = chunk.frames[torch.where(inside, index, rows)]
        return Segments(frames, last_actions, index - first + 1, valid, columns)


def _with_zero_row(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.concatenate((values, np.zeros_like(values[:1]))))


def _ahead(source: Generator[Any, None, None], count: int) -> Generator[Any, None, None]:
    """The items of `source`, up to `count` of them made ahead by a thread; its error is raised here."""
    made: queue.Queue = queue.Queue(count)
    stopped = threading.Event()

    def put(item: tuple) -> bool:
        while not stopped.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in source:
                if not put((item, None)):
                    source.close()
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=run, daemon=True, name="dataset-loader")
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
