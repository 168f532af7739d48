"""What all formats share: segments as episodes with T + 1 observations and T of everything else, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping

import numpy as np

from rsl_rl_ult.storage.dataset import Dataset, ShardWriter, make_card

SHARED = ("actions", "rewards", "terminations", "truncations")
"""Columns that every format has a place for."""


def episodes(dataset: Dataset, privileged: bool) -> Iterator[dict[str, Any]]:
    """The segments of a data set from their first transition on: column -> (T + 1, ...) rows, context left out.

    Args:
        dataset: to read.
        privileged: also the columns of the stream `privileged`.
    """
    streams: dict[str, Any] = {"student": None, **({"privileged": None} if privileged else {})}
    for segment in dataset.segments(streams):
        chosen = np.flatnonzero(segment["transition"])
        if len(chosen):
            yield {name: values[chosen[0] : chosen[-1] + 2] for name, values in segment.items()}


def observation_columns(card: Mapping[str, Any], privileged: bool) -> list[str]:
    """Columns that are observations, the student's first."""
    streams = ("student", "privileged") if privileged else ("student",)
    return [name for stream in streams for name in card["observations"] if name in card["columns"][stream]]


def import_episodes(folder: Path | str, card: Mapping[str, Any], rows: Iterable[Mapping[str, np.ndarray]]) -> dict:
    """Write episodes to a new data set.

    Args:
        folder: of the data set; it may not have one yet.
        card: of the data set; episodes without a column that it names have zeros there.
        rows: of each episode: column -> (T + 1, ...), and (T, ...) of those that have no last row.

    Returns:
        Numbers of `episodes` and `transitions`.

    Raises:
        ValueError: there is a data set already, or an episode does not fit the card.
    """
    if any(Path(folder).glob("shard-*.npz")):
        raise ValueError(f"there is a data set in {folder} already: choose another folder")
    columns = {**card["columns"]["student"], **card["columns"]["privileged"]}
    count = 0
    with ShardWriter(folder, card) as writer:
        for number, episode in enumerate(rows):
            length = len(episode["rewards"][: len(episode["actions"])])
            length = min(length, len(episode[card["observations"][0]]) - 1)
            segment = {}
            for name, column in columns.items():
                values = np.zeros((length + 1, *column["shape"]), dtype=column["dtype"])
                given = episode.get(name)
                if given is not None:
                    values[: len(given[: length + 1])] = given[: length + 1]
                segment[name] = values
            segment["transition"][:length] = True
            if "episode" not in episode:
                segment["episode"][:], segment["step"][:] = number, np.arange(length + 1)
            count += writer.add(segment)
    return {"episodes": count, "transitions": writer.transitions}


def foreign_card(source: str, observations: int, actions: int) -> dict[str, Any]:
    """Card of data without one: `policy` and `actions`, with sizes, and where they are from."""
    return make_card({"policy": (observations,), "actions": (actions,)}, {}, ["unknown"], task=None, source=source)


def streams_of(card: Mapping[str, Any], found: Iterable[str]) -> dict[str, Any]:
    """The card of an import: without privileged columns, where the file has none of them."""
    names = set(found)
    columns = card["columns"]
    if set(columns["privileged"]) <= names:
        return dict(card)
    kept = [name for name in card["observations"] if name in columns["student"]]
    return {**card, "columns": {**columns, "privileged": {}}, "observations": kept}
