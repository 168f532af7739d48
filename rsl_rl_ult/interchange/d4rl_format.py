"""One npz or hdf5 file with the keys of D4RL: what Decision Transformers, CORL and d3rlpy's examples read.

`observations`, `actions`, `rewards`, `terminals`, `timeouts` and `next_observations`, one row per transition, episodes
one after the other. Everything else that is recorded is under `infos/`; the card is `metadata/card`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np

from rsl_rl_ult.interchange.episodes import (
    SHARED,
    episodes,
    foreign_card,
    import_episodes,
    observation_columns,
    streams_of,
)
from rsl_rl_ult.storage.dataset import Dataset
from rsl_rl_ult.storage.files import whole_file

NAMES = {"actions": "actions", "rewards": "rewards", "terminations": "terminals", "truncations": "timeouts"}
"""Our column -> key."""

CARD = "metadata/card"
SUFFIXES = (".npz", ".hdf5", ".h5")


def export_d4rl(dataset: Dataset, path: Path | str, privileged: bool = False) -> Path:
    """Write a data set to one file; an npz is put together in memory, an hdf5 episode by episode.

    Args:
        dataset: to export.
        path: ends in .npz, .hdf5 or .h5.
        privileged: privileged columns are under `infos/`, and observations after them under `next_infos/`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file has another ending, exists, or there is nothing to write.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if path.exists():
        raise ValueError(f"{path} exists: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        (_write_npz if path.suffix == ".npz" else _write_hdf5)(temporary, dataset, privileged)
    return path


def _flat_rows(dataset: Dataset, privileged: bool) -> Iterator[dict[str, np.ndarray]]:
    """Rows of each episode under D4RL's keys."""
    frames = observation_columns(dataset.card, privileged)
    for episode in episodes(dataset, privileged):
        rows = {key: episode[name][:-1] for name, key in NAMES.items()}
        rows["observations"], rows["next_observations"] = episode[frames[0]][:-1], episode[frames[0]][1:]
        for name, values in episode.items():
            if name not in (*SHARED, frames[0], "transition"):
                rows[f"infos/{name}"] = values[:-1]
                if name in frames:
                    rows[f"next_infos/{name}"] = values[1:]
        # The last step that is here of an episode that goes on elsewhere: readers that cut at ends cut there as well.
        cut = np.zeros(len(rows["rewards"]), dtype=bool)
        cut[-1] = not (rows["terminals"][-1] or rows["timeouts"][-1])
        yield {**rows, "timeouts": rows["timeouts"] | cut, "infos/cut": cut}


def _write_npz(path: Path, dataset: Dataset, privileged: bool) -> None:
    parts = list(_flat_rows(dataset, privileged))
    if not parts:
        raise ValueError("the data set has no transition to export")
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    with open(path, "wb") as file:
        np.savez(file, **arrays, **{CARD: np.array(json.dumps(dataset.card))})  # pyright: ignore


def _write_hdf5(path: Path, dataset: Dataset, privileged: bool) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file[CARD] = json.dumps(dataset.card)
        for part in _flat_rows(dataset, privileged):
            for name, values in part.items():
                if name not in file:
                    size = (None, *values.shape[1:])
                    file.create_dataset(name, data=values, maxshape=size, chunks=True)
                else:
                    target: Any = file[name]
                    target.resize(len(target) + len(values), axis=0)
                    target[-len(values) :] = values
        if "rewards" not in file:
            raise ValueError("the data set has no transition to export")


def import_d4rl(path: Path | str, folder: Path | str) -> dict:
    """Write a file with D4RL's keys as a new data set; returns numbers of `episodes` and `transitions`.

    Without `next_observations` the last transition of every episode is left out: nobody knows where it led.

    Raises:
        ImportError: h5py is not installed.
        ValueError: the file cannot be read, or lacks a key.
    """
    path = Path(path)
    arrays = _read(path)
    missing = [key for key in ("observations", "actions", "rewards", "terminals") if key not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no '{missing[0]}': expected the keys of D4RL, found {', '.join(sorted(arrays)[:8])}"
        )
    text = arrays.pop(CARD, None)
    if text is None:
        card = foreign_card(str(path.name), arrays["observations"].shape[1], arrays["actions"].shape[1])
    else:
        card = streams_of(json.loads(str(text)), [key.partition("/")[2] for key in arrays if "infos/" in key])
    return import_episodes(folder, card, _cut(arrays, card))


def _cut(arrays: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    """The episodes in flat arrays: column -> rows."""
    terminals = arrays["terminals"].astype(bool)
    timeouts = arrays.get("timeouts", np.zeros_like(terminals)).astype(bool)
    stops = np.flatnonzero(terminals | timeouts) + 1
    if not len(stops) or stops[-1] != len(terminals):
        stops = np.append(stops, len(terminals))
    cut = arrays.get("infos/cut", np.zeros_like(terminals))
    first = card["observations"][0]
    start = 0
    for stop in stops:
        rows = slice(start, stop)
        episode = {key.partition("/")[2]: values[rows] for key, values in arrays.items() if key.startswith("infos/")}
        episode.update({name: arrays[key][rows] for name, key in NAMES.items() if key in arrays})
        episode["truncations"] = timeouts[rows] & ~cut[rows]
        episode[first] = arrays["observations"][rows]
        following = {first: "next_observations", **{n: f"next_infos/{n}" for n in card["observations"][1:]}}
        for name, key in following.items():
            if key in arrays:
                episode[name] = np.concatenate((episode[name], arrays[key][stop - 1 : stop]))
        for name in ("episode", "step"):  # their last row goes on counting
            if name in episode:
                last = episode[name][-1:] + (name == "step")
                episode[name] = np.concatenate((episode[name], last))
        start = stop
        if len(episode[first]) > 1:
            yield episode


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        import h5py

        found: dict[str, Any] = {}
        with h5py.File(path, "r") as file:
            file.visititems(lambda name, item: found.update({name: item[()]}) if hasattr(item, "shape") else None)
        if CARD in found:
            found[CARD] = found[CARD].decode("utf-8")
        return found
    except ImportError:
        raise
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())[:120]}") from error
