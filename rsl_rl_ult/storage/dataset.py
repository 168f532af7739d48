"""Trajectories on disk: append-only shards of plain numpy arrays beside a card that says what they mean.

A data set is a folder with

- `meta.json`, the card: schema, task, columns of both streams, names of the terms in them, action scale, control step,
  statistics of the normalisers, the teacher's run with the hash of its checkpoint, versions;
- `shard-000000.npz`, ...: the stream `student`, what a student may learn from;
- `shard-000000.privileged.npz`, ...: the stream `privileged`, in files of its own, so that no loader reads it by
  accident.

A shard holds segments one after the other. A segment is a part of one episode in order of time: rows of context (of
former shards, there to cut histories from), transitions, and one row more with the observation after the last of them.
`transition` tells the rows apart. So the observation that followed a transition always stands in the next row; that of
an ended episode is the last one before the reset. Rows that are no transition have zeros but for observations,
`episode` and `step`. An episode may go on in a later shard, where its `step` goes on.

Files appear complete or not at all: they are written under a temporary name and renamed, the student's last.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from rsl_rl_ult.storage.card import CARD, OF_A_TEACHER, STREAMS, check_same_layout, read_card
from rsl_rl_ult.storage.card import make_card as make_card
from rsl_rl_ult.storage.files import whole_file

SHARD = re.compile(r"shard-(\d{6,})\.npz")


class ShardError(ValueError):
    """A shard cannot be read: the message is the reason, without the file's name."""


def note(line: str) -> None:
    """Print one line about a data set to standard error."""
    print(f"data set: {line}", file=sys.stderr, flush=True)


def privileged_path(path: Path) -> Path:
    """The file with the privileged stream of a shard."""
    return path.with_name(f"{path.stem}.privileged.npz")


def shard_paths(folder: Path) -> dict[int, Path]:
    """Number -> file of the finished shards of a folder, in order."""
    found = {int(m[1]): path for path in Path(folder).iterdir() if (m := SHARD.fullmatch(path.name)) is not None}
    return dict(sorted(found.items()))


def read_arrays(
    path: Path, columns: Mapping[str, Mapping[str, Any]], names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Columns of one file, checked against the card's.

    Raises:
        ShardError: the file is missing, truncated, of another layout, or has values that are not finite.
    """
    wanted = list(columns) if names is None else list(names)
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in wanted if name not in file.files]
            if missing:
                raise ShardError(f"it has no column '{missing[0]}'")
            arrays = {name: file[name] for name in wanted}
    except ShardError:
        raise
    except FileNotFoundError:
        raise ShardError("the file is missing") from None
    except Exception as error:  # what is damaged raises whatever its reader raises
        raise ShardError(f"it is truncated or damaged ({' '.join(str(error).split())[:80]})") from None
    rows = len(arrays[wanted[0]]) if wanted and arrays[wanted[0]].ndim else 0
    for name, array in arrays.items():
        _check_array(name, array, columns[name], rows)
    return arrays


def _check_array(name: str, array: np.ndarray, column: Mapping[str, Any], rows: int) -> None:
    expected = (rows, *column["shape"])
    if array.shape != expected or array.dtype != np.dtype(column["dtype"]):
        raise ShardError(f"column '{name}' is {array.dtype} {array.shape}, the card says {column['dtype']} {expected}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ShardError(f"column '{name}' has values that are not finite")


class Dataset:
    """The finished shards of one or more folders.

    A shard that cannot be read is left out, with one line; the others stay as they are.

    Attributes:
        card: of the first folder.
        shards: files of the student's stream, in order of folders and numbers.
        skipped: file -> why it was left out.
    """

    def __init__(self, *folders: Path | str, several_teachers: bool = False) -> None:
        """Read the cards, and note gaps in the numbers of the shards.

        Args:
            folders: of the parts.
            several_teachers: parts may come from different teachers.

        Raises:
            ValueError: no data set, none with a shard, or data sets of different tasks, layouts or teachers.
        """
        if not folders:
            raise ValueError("no data set given: expected at least one folder")
        self.folders = [Path(folder) for folder in folders]
        self.card = read_card(self.folders[0])
        self.shards: list[Path] = []
        self.skipped: dict[Path, str] = {}
        self._offsets: dict[Path, int] = {}  # of the episodes' numbers, which each folder counts from 0
        for index, folder in enumerate(self.folders):
            card = read_card(folder)
            of_one = {name: self.card[name] for name in OF_A_TEACHER if several_teachers and name in self.card}
            check_same_layout({**card, **of_one}, self.card, folder)
            found = shard_paths(folder)
            for number in sorted(set(range(max(found, default=-1) + 1)) - set(found)):
                self._skip(folder / f"shard-{number:06d}.npz", "the file is missing")
            self.shards += found.values()
            self._offsets[folder] = index << 40
        if not self.shards:
            raise ValueError(f"the data set {self.folders[0]} is empty: it has a card and no finished shard")

    def _skip(self, path: Path, reason: str) -> None:
        if path not in self.skipped:
            self.skipped[path] = reason
            note(f"{path.name} is left out: {reason}")

    def read(
        self, path: Path, names: Sequence[str] | None = None, stream: str = "student"
    ) -> dict[str, np.ndarray] | None:
        """Columns of a shard, all of the stream by default; None, and one line, where it cannot be read.

        Raises:
            ValueError: the stream has no such column.
        """
        columns = self.card["columns"][stream]
        for name in names or ():
            if name not in columns:
                other = STREAMS[1 - STREAMS.index(stream)]
                hint = f", it is in the stream '{other}'" if name in self.card["columns"][other] else ""
                raise ValueError(f"the stream '{stream}' has no column '{name}'{hint}; known: {', '.join(columns)}")
        file = path if stream == "student" else privileged_path(path)
        try:
            arrays = read_arrays(file, columns, names)
        except ShardError as error:
            self._skip(file, str(error))
            return None
        if "episode" in arrays:
            arrays["episode"] = arrays["episode"] + self._offsets[path.parent]
        return arrays

    def transitions(self) -> int:
        """Number of transitions in all shards that can be read."""
        counts = (self.read(path, ["transition"]) for path in self.shards)
        return sum(int(found["transition"].sum()) for found in counts if found is not None)

    def limit(self, transitions: int) -> None:
        """Keep the first shards only, until they hold this many transitions."""
        kept: list[Path] = []
        for path in self.shards:
            if transitions <= 0:
                break
            kept.append(path)
            found = self.read(path, ["transition"])
            transitions -= 0 if found is None else int(found["transition"].sum())
        self.shards = kept

    def segments(self, stream_names: Mapping[str, Sequence[str] | None] | None = None) -> Iterator[dict[str, Any]]:
        """The segments one after the other: column -> rows; views of one shard at a time.

        Args:
            stream_names: stream -> its columns to read, None for all; the whole stream `student` by default. `episode`,
                `step` and `transition` are always there.
        """
        wanted = dict(stream_names or {"student": None})
        own = wanted.get("student", ())
        names = None if own is None else list(dict.fromkeys([*own, "episode", "step", "transition"]))
        for path in self.shards:
            arrays = self.read(path, names)
            if arrays is None:
                continue
            if "privileged" in wanted:
                more = self.read(path, wanted["privileged"], "privileged")
                if more is None:
                    continue
                if any(len(values) != len(arrays["episode"]) for values in more.values()):
                    self._skip(privileged_path(path), "it has another number of rows than the student's file")
                    continue
                arrays.update(more)
            for start, stop in segment_bounds(arrays["episode"], arrays["step"]):
                yield {name: values[start:stop] for name, values in arrays.items()}


def segment_bounds(episode: np.ndarray, step: np.ndarray) -> np.ndarray:
    """(G, 2) first row of each segment and the row after its last, for the rows of a shard: episode and step (R,)."""
    breaks = np.flatnonzero((np.diff(episode) != 0) | (np.diff(step) != 1)) + 1
    edges = np.concatenate(([0], breaks, [len(episode)]))
    return np.stack((edges[:-1], edges[1:]), axis=1) if len(episode) else np.zeros((0, 2), dtype=np.int64)


def held_out(episodes: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    """Which `episodes` (E,) are held out, (E,) bool: a share of them by a hash, however many others there are."""
    mixed = episodes.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64((seed * 0xD1B54A32D192ED03) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(11)) < np.uint64(share * 2**53)


def too_few_episodes(dataset: Dataset, share: float, seed: int = 0) -> str:
    """What to say of a data set that has no episode to learn from, or none held out: how many it has, and what helps.

    What helps is the number of episodes with which both kinds are there in 99 of 100 data sets.
    """
    read = (dataset.read(path, ["episode"]) for path in dataset.shards)
    episodes = np.unique(np.concatenate([arrays["episode"] for arrays in read if arrays is not None]))
    spared, rarer = int(held_out(episodes, share, seed).sum()), min(share, 1.0 - share)
    advice = f"record about {math.ceil(math.log(0.01) / math.log1p(-rarer))}" if rarer > 0.0 else "hold out a share"
    return (
        f"too few episodes: the data set has {len(episodes) - spared} to learn from and {spared} held out "
        f"(held_out={share}), expected one of each; {advice}"
    )


class ShardWriter:
    """Adds shards to a data set, a new one or one that is there already, whose card has to be the same.

    Attributes:
        next_episode: number that no episode has yet.
        episodes: episodes in finished shards that ended.
        transitions: in finished shards.
        recorded: transitions in finished shards and of segments that wait for theirs.
        shards: number of the next one.
        dropped: segments that were refused.
    """

    def __init__(self, folder: Path | str, card: Mapping[str, Any], rows_per_shard: int = 65536) -> None:
        """Open or create the folder.

        Args:
            folder: of the data set.
            card: from `make_card`.
            rows_per_shard: a shard is written once this many rows are there.

        Raises:
            ValueError: the folder has other data, or another program is writing to it.
            OSError: it cannot be written.
        """
        if rows_per_shard < 1:
            raise ValueError(f"rows_per_shard={rows_per_shard}: expected at least 1")
        self.folder, self.rows_per_shard = Path(folder), rows_per_shard
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder)
        self._pending: list[dict[str, np.ndarray]] = []
        self._rows = self.next_episode = self.episodes = self.transitions = self.shards = self.dropped = 0
        try:
            self._open(json.loads(json.dumps(card)))
        except BaseException:
            self._lock.close()
            raise

    def _open(self, card: dict[str, Any]) -> None:
        for path in self.folder.glob(".*.tmp"):  # of a writer that was killed
            path.unlink()
        if (self.folder / CARD).exists():
            check_same_layout(read_card(self.folder), card, self.folder)
        elif shard_paths(self.folder):
            raise ValueError(f"{self.folder} has shards and no {CARD}: restore the card, or choose another folder")
        else:
            text = json.dumps(card, indent=1) + "\n"
            with whole_file(self.folder / CARD) as temporary:
                temporary.write_bytes(text.encode("utf-8"))
        self.card = card
        found = shard_paths(self.folder)
        self.shards = max(found, default=-1) + 1
        for path in found.values():
            names = ["episode", "transition", "terminations", "truncations"]
            try:
                arrays = read_arrays(path, card["columns"]["student"], names)
            except ShardError as error:
                note(f"{path.name} is left out: {error}")
                continue
            self.next_episode = max(self.next_episode, int(arrays["episode"].max(initial=-1)) + 1)
            self.episodes += int((arrays["terminations"] | arrays["truncations"]).sum())
            self.transitions += int(arrays["transition"].sum())

    @property
    def recorded(self) -> int:
        """See above."""
        return self.transitions + sum(int(segment["transition"].sum()) for segment in self._pending)

    def add(self, segment: Mapping[str, np.ndarray]) -> bool:
        """Add the rows of a segment, all columns of both streams.

        Returns:
            Whether it was taken; one with values that are not finite is dropped, with one line.

        Raises:
            ValueError: a column is missing or of another shape.
        """
        rows, taken = len(segment["episode"]), {}
        for name, column in {**self.card["columns"]["student"], **self.card["columns"]["privileged"]}.items():
            if name not in segment:
                raise ValueError(f"the segment has no column '{name}', which the card names")
            taken[name] = np.ascontiguousarray(segment[name], dtype=column["dtype"])
            try:
                _check_array(name, taken[name], column, rows)
            except ShardError as error:
                if taken[name].shape != (rows, *column["shape"]):
                    raise ValueError(str(error)) from None
                self.dropped += 1
                note(f"a segment of {rows} rows is dropped: {error}")
                return False
        self._pending.append(taken)
        self._rows += rows
        if self._rows >= self.rows_per_shard:
            self.flush()
        return True

    def flush(self) -> None:
        """Write what was added as one shard, if there is anything."""
        if not self._pending:
            return
        arrays = {name: np.concatenate([segment[name] for segment in self._pending]) for name in self._pending[0]}
        path = self.folder / f"shard-{self.shards:06d}.npz"
        # The student's file last: it makes the shard a finished one.
        for stream, target in (("privileged", privileged_path(path)), ("student", path)):
            chosen = {name: arrays[name] for name in self.card["columns"][stream]}
            with whole_file(target) as temporary, open(temporary, "wb") as file:
                np.savez(file, **chosen)  # pyright: ignore
        self._pending, self._rows, self.shards = [], 0, self.shards + 1
        self.next_episode = max(self.next_episode, int(arrays["episode"].max()) + 1)
        self.episodes += int((arrays["terminations"] | arrays["truncations"]).sum())
        self.transitions += int(arrays["transition"].sum())

    def close(self) -> None:
        """Write what is left and let others write to the folder."""
        try:
            self.flush()
        finally:
            self._lock.close()

    def __enter__(self) -> ShardWriter:
        """Nothing but itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """As `close`."""
        self.close()


def _lock(folder: Path) -> Any:
    """An open file that is locked until it is closed, or its process ends in whatever way.

    Raises:
        ValueError: another program holds the lock.
    """
    file = open(folder / ".lock", "ab")  # noqa: SIM115
    try:
        import fcntl
    except ImportError:  # not on Windows: nothing is locked there
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ValueError(
            f"another program is writing to the data set {folder}: wait for it, or choose a folder"
        ) from None
    return file
