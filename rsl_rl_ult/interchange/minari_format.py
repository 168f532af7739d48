"""Minari's format (Farama Foundation), written and read by the package `minari` itself.

An episode has T + 1 observations and T actions, rewards and ends. Everything else that is recorded is in its `infos`,
with T + 1 rows, of which the last one holds zeros; the card is in the metadata.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, Iterator

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

CARD = "rsl_rl_ult_card"
ROOT = "MINARI_DATASETS_PATH"
"""Environment variable with the folder of Minari's data sets."""

NAME = re.compile(r"[\w.-]+(/[\w.-]+)*-v\d+")
TOGETHER = 200  # episodes that are handed to minari at once


def export_minari(dataset: Dataset, name: str, root: Path | str | None = None, privileged: bool = False) -> Path:
    """Write a data set as Minari's `name`, such as "go2/expert-v0".

    Args:
        dataset: to export.
        name: (namespace/)name-v<number>.
        root: folder of Minari's data sets; None: Minari's own.
        privileged: the observations are a dictionary of all groups; without, an array of what students read.

    Returns:
        Folder of the written data set.

    Raises:
        ImportError: minari is not installed.
        ValueError: the name is none of Minari's, or taken.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f"'{name}' is no name of Minari's: expected (namespace/)name-v<number>, as in go2/expert-v0")
    _set_root(root)
    import minari
    from gymnasium.spaces import Box
    from gymnasium.spaces import Dict as DictSpace
    from minari.data_collector import EpisodeBuffer

    card = dataset.card
    groups = observation_columns(card, privileged)
    columns = {**card["columns"]["student"], **card["columns"]["privileged"]}
    boxes = {g: Box(-np.inf, np.inf, tuple(columns[g]["shape"]), np.float32) for g in (*groups, "actions")}

    def buffers() -> Iterator[Any]:
        for episode in episodes(dataset, privileged):
            observations = {group: episode[group] for group in groups}
            ends = episode["truncations"][:-1].copy()
            ends[-1] |= not episode["terminations"][-2]  # of a segment whose episode goes on elsewhere
            yield EpisodeBuffer(
                observations=observations if len(groups) > 1 else observations[groups[0]],
                actions=episode["actions"][:-1],
                rewards=episode["rewards"][:-1],  # pyright: ignore
                terminations=episode["terminations"][:-1],  # pyright: ignore
                truncations=ends,  # pyright: ignore
                infos={n: v for n, v in episode.items() if n not in (*groups, *SHARED[:3], "transition")},
            )

    written, pending = None, []
    source = buffers()
    while True:
        pending = [buffer for _, buffer in zip(range(TOGETHER), source)]
        if not pending:
            break
        if written is None:
            space = DictSpace({g: boxes[g] for g in groups}) if len(groups) > 1 else boxes[groups[0]]
            with warnings.catch_warnings():  # that there is no author, and no environment of gymnasium's
                warnings.simplefilter("ignore", UserWarning)
                written = minari.create_dataset_from_buffers(
                    name,
                    pending,
                    observation_space=space,
                    action_space=boxes["actions"],
                    algorithm_name=str(card.get("teacher", {}).get("policy", "unknown")),
                    description=f"task {card.get('task')}, control step {card.get('dt')} s",
                )
            written.storage.update_metadata({CARD: json.dumps(card)})
        else:
            written.update_dataset_from_buffer(pending)
    if written is None:
        raise ValueError("the data set has no transition to export")
    return Path(written.storage.data_path).parent


def import_minari(name: str, folder: Path | str, root: Path | str | None = None) -> dict:
    """Write Minari's data set `name` as a new one in `folder`; returns numbers of `episodes` and `transitions`.

    Raises:
        ImportError: minari is not installed.
        ValueError: there is no such data set, or its observations or actions are no arrays of numbers.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f"'{name}' is no name of Minari's: expected (namespace/)name-v<number>, as in go2/expert-v0")
    _set_root(root)
    import minari
    from gymnasium.spaces import Box

    try:
        source = minari.load_dataset(name)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ValueError(
            f"cannot load Minari's data set '{name}': not on this machine, or damaged; get it by \"minari download "
            f'{name}" if it is one of theirs ({" ".join(str(error).split())[:120]})'
        ) from error
    text = source.storage.metadata.get(CARD)
    if text is None:
        spaces = source.observation_space, source.action_space
        if not all(isinstance(space, Box) and len(space.shape) == 1 for space in spaces):
            raise ValueError(f"Minari's data set '{name}' has observations or actions that are no vectors")
        card = foreign_card(f"minari:{name}", *(space.shape[0] for space in spaces))  # pyright: ignore
    else:
        groups = getattr(source.observation_space, "spaces", None)
        card = streams_of(json.loads(text), [] if groups is None else [*groups, *_infos(source)])

    def rows() -> Iterator[dict[str, Any]]:
        for episode in source.iterate_episodes():
            seen = (
                episode.observations
                if isinstance(episode.observations, dict)
                else {card["observations"][0]: episode.observations}
            )
            infos = episode.infos if text is not None and episode.infos else {}
            yield {**{name: getattr(episode, name) for name in SHARED}, **seen, **infos}

    return import_episodes(folder, card, rows())


def _infos(source: Any) -> list[str]:
    first = next(iter(source.iterate_episodes([0])), None)
    return [] if first is None or not first.infos else list(first.infos)


def _set_root(root: Path | str | None) -> None:
    if root is not None:
        Path(root).mkdir(parents=True, exist_ok=True)
        os.environ[ROOT] = str(Path(root).resolve())
