"""LeRobot's layout v3.0 (Hugging Face), written with pyarrow alone.

One row per transition: `observation.state` (the student's frame), `action` (executed), `next.reward`, `next.done`, and
every other column under its own name. `meta/` says what they are; the card is `meta/rsl_rl_ult.json`. The layout has no
place for the observation after the last transition of an episode, so nothing is imported from it.

Source of the layout: github.com/huggingface/lerobot, src/lerobot/datasets/utils.py, version 0.4.4.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from rsl_rl_ult.interchange.episodes import episodes, observation_columns
from rsl_rl_ult.storage.dataset import Dataset

CARD = "meta/rsl_rl_ult.json"
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK, FILE_BYTES = 1000, 100 * 2**20
"""Files in a folder, and the size at which a file ends, before compression."""

INDICES: dict[str, str] = dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
OURS = ("transition", "episode", "step", "rewards", "actions", "terminations")
"""Columns that have another name there, or follow from others."""


def export_lerobot(dataset: Dataset, folder: Path | str, privileged: bool = False) -> Path:
    """Write a data set as a new folder in LeRobot's layout; one episode is in memory at a time, and one file of theirs.

    Args:
        dataset: to export; its card has the control step `dt`.
        folder: which does not exist; `LeRobotDataset(name, root=folder)` reads it.
        privileged: also the privileged columns, under their own names.

    Returns:
        The folder.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the folder exists, the card has no control step, or there is nothing to write.
        OSError: it cannot be written; then there is no folder.
    """
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another folder")
    if not dataset.card.get("dt"):
        raise ValueError(f"the card of {dataset.folders[0]} has no control step dt: LeRobot's layout needs times")
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of an export that was killed
    try:
        _Writer(temporary, dataset.card).write(dataset, privileged)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


class _Writer:
    """Writes episodes to a folder."""

    def __init__(self, folder: Path, card: Mapping[str, Any]) -> None:
        import pyarrow  # fails before anything is written

        self.folder, self.card, self.pa = folder, card, pyarrow
        rate = 1.0 / card["dt"]
        self.fps = round(rate) if abs(rate - round(rate)) < 1e-6 * rate else rate
        self.features: dict[str, dict[str, Any]] = {}
        self.records: list[dict[str, Any]] = []  # of the episodes
        self.pending: list[Any] = []  # tables of the next file
        self.files = self.frames = self.bytes = 0

    def write(self, dataset: Dataset, privileged: bool) -> None:
        """All episodes, then what is known after them."""
        for episode in episodes(dataset, privileged):
            self._add(self._columns(episode))
        if not self.records:
            raise ValueError("the data set has no transition to export")
        self._end_file()
        pa = self.pa
        count = len(self.records)
        self._save("meta/episodes/" + FILE.format(chunk_index=0, file_index=0), pa.Table.from_pylist(self.records))
        task = str(self.card.get("task"))
        self._save("meta/tasks.parquet", _indexed(pa.table({"task_index": pa.array([0]), "task": pa.array([task])})))
        self._save_json("meta/stats.json", _total(self.records, self.features))
        self._save_json(CARD, self.card)
        info = {
            "codebase_version": "v3.0",
            "robot_type": self.card.get("robot"),
            "total_episodes": count,
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": FILE_BYTES // 2**20,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{count}"},
            "data_path": f"data/{FILE}",
            "video_path": None,
            "features": self.features,
        }
        self._save_json("meta/info.json", info)

    def _columns(self, episode: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Column -> (T, ...) rows under their names there."""
        rows = {name: values[:-1] for name, values in episode.items()}
        frame, count = observation_columns(self.card, False)[0], len(rows["rewards"])
        steps = np.arange(count)
        return {
            "observation.state": rows[frame],
            "action": rows["actions"],
            "next.reward": rows["rewards"],
            "next.done": rows["terminations"] | rows["truncations"],
            **{name: values for name, values in rows.items() if name not in (*OURS, frame)},
            "timestamp": (steps / self.fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(count, len(self.records)),
            "index": self.frames + steps,
            "task_index": np.zeros(count, dtype=np.int64),
        }

    def _add(self, columns: Mapping[str, np.ndarray]) -> None:
        count = len(columns["index"])
        table = self.pa.table({name: self._array(values) for name, values in columns.items()})
        if self.pending and self.bytes + table.nbytes > FILE_BYTES:
            self._end_file()
        self.features = self.features or {name: self._feature(name, values) for name, values in columns.items()}
        chunk, file = divmod(self.files, FILES_PER_CHUNK)
        record = {"episode_index": len(self.records), "tasks": [str(self.card.get("task"))], "length": count}
        record.update({"data/chunk_index": chunk, "data/file_index": file})
        record.update({"dataset_from_index": self.frames, "dataset_to_index": self.frames + count})
        record.update({"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        for name, values in columns.items():
            record.update({f"stats/{name}/{key}": value for key, value in _statistics(values).items()})
        self.records.append(record)
        self.pending.append(table)
        self.frames, self.bytes = self.frames + count, self.bytes + table.nbytes

    def _array(self, values: np.ndarray) -> Any:
        flat = self.pa.array(np.ascontiguousarray(values).reshape(-1))
        return flat if values.ndim == 1 else self.pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    def _feature(self, name: str, values: np.ndarray) -> dict[str, Any]:
        shape, names = list(values.shape[1:]) or [1], None
        frame = observation_columns(self.card, False)[0]
        terms = self.card.get("terms", {}).get(frame if name == "observation.state" else name)
        if terms is not None:
            names = [f"{term}_{i}" for term, (first, last) in terms.items() for i in range(last - first)]
        elif name in ("action", "teacher_actions"):
            names = self.card.get("joint_names")
        names = names if names is not None and len(names) == shape[0] else None
        return {"dtype": INDICES.get(name, str(values.dtype)), "shape": shape, "names": names}

    def _end_file(self) -> None:
        chunk, file = divmod(self.files, FILES_PER_CHUNK)
        self._save("data/" + FILE.format(chunk_index=chunk, file_index=file), self.pa.concat_tables(self.pending))
        self.pending, self.bytes, self.files = [], 0, self.files + 1

    def _save(self, name: str, table: Any) -> None:
        import pyarrow.parquet as parquet

        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, self.folder / name)

    def _save_json(self, name: str, content: Any) -> None:
        (self.folder / name).write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")


def _statistics(values: np.ndarray) -> dict[str, list]:
    """Of the rows of an episode (T, ...), each value a list of one number per column; `count` has one."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    return {**{key: value.tolist() for key, value in found.items()}, "count": [len(rows)]}


def _total(records: list[dict[str, Any]], names: Any) -> dict[str, dict[str, list]]:
    """Statistics of all rows from those of the episodes."""
    total = {}
    for name in names:
        low, high, mean, std, count = (
            np.array([record[f"stats/{name}/{key}"] for record in records], dtype=np.float64)
            for key in ("min", "max", "mean", "std", "count")
        )
        middle = (count * mean).sum(0) / count.sum()
        spread = np.sqrt((count * (std**2 + (mean - middle) ** 2)).sum(0) / count.sum())
        values = {"min": low.min(0), "max": high.max(0), "mean": middle, "std": spread}
        total[name] = {**{key: value.tolist() for key, value in values.items()}, "count": [int(count.sum())]}
    return total


def _indexed(table: Any) -> Any:
    """The table with pandas' remark that the column `task` is the index of the rows, by which LeRobot finds tasks."""
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in kinds.items()
    ]
    remark = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0"}
    return table.replace_schema_metadata({b"pandas": json.dumps(remark).encode()})
