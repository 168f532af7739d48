"""The card of a data set: what its columns mean, and all that a reader needs to know besides."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Mapping, Sequence

SCHEMA = 1
CARD = "meta.json"
STREAMS = ("student", "privileged")
DTYPE = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
VOLATILE = ("created", "versions", "notes")
"""Fields of a card in which two parts of one data set may differ."""
OF_A_TEACHER = ("teacher", "normalizers")
"""Fields that say which teacher acted."""

ROW_COLUMNS: dict[str, tuple[str, tuple[int, ...]]] = {
    "transition": ("bool", ()),
    "episode": ("int64", ()),
    "step": ("int32", ()),
    "rewards": ("float32", ()),
    "terminations": ("bool", ()),
    "truncations": ("bool", ()),
    "driver": ("uint8", ()),
}
"""Columns that every shard has: name -> type and shape of a row.

`transition`: an action was taken in this row. `episode`: number, unique in the data set. `step`: in the episode, from
0. `terminations`: the episode ended in a state without a future. `truncations`: it ended for another reason, such as
its time. `driver`: who acted, an index into the card's `drivers`.
"""


def make_card(
    student: Mapping[str, Sequence[int]],
    privileged: Mapping[str, Sequence[int]],
    drivers: Sequence[str],
    dtypes: Mapping[str, str] | None = None,
    observations: Sequence[str] = ("policy", "privileged"),
    **fields: Any,
) -> dict[str, Any]:
    """The card of a new data set.

    Args:
        student: column -> shape of a row, of what a student may learn from; the columns of every shard are added.
        privileged: the same of what only a teacher, a critic or a reader of results sees.
        drivers: names of those who act, in the order of the column `driver`.
        dtypes: column -> type where it is not float32.
        observations: columns that are observations, those that are there: they have a value in a segment's last row.
        fields: everything else that a reader needs.

    Raises:
        ValueError: a column stands in both streams, or has the name of one that every shard has.
    """
    twice = sorted(set(student) & set(privileged))
    if twice:
        raise ValueError(f"columns {twice} are in both streams: what is privileged must not be in a student's file")
    taken = sorted(set(ROW_COLUMNS) & {*student, *privileged})
    if taken:
        raise ValueError(f"columns {taken}: every shard has columns of these names; rename yours")
    types = dict(dtypes or {})

    def column(name: str, shape: Sequence[int]) -> dict[str, Any]:
        return {"dtype": types.get(name, "float32"), "shape": [int(size) for size in shape]}

    own = {name: {"dtype": dtype, "shape": list(shape)} for name, (dtype, shape) in ROW_COLUMNS.items()}
    columns = {
        "student": {**{name: column(name, shape) for name, shape in student.items()}, **own},
        "privileged": {name: column(name, shape) for name, shape in privileged.items()},
    }
    seen = [name for name in observations if name in student or name in privileged]
    return {"schema": SCHEMA, "drivers": list(drivers), **fields, "observations": seen, "columns": columns}


def _check_columns(columns: Mapping[str, Any]) -> None:
    """Refuse columns of another form than `make_card`'s, or without those of every shard (`TypeError`, `KeyError`)."""
    for stream in STREAMS:
        for name, column in columns[stream].items():
            sizes = column["shape"]
            if DTYPE.fullmatch(column["dtype"]) is None or not isinstance(sizes, list):
                raise TypeError(name)
            if not all(type(size) is int and 0 <= size < 2**31 for size in sizes):
                raise TypeError(name)
    for name, (dtype, shape) in ROW_COLUMNS.items():
        if columns["student"][name] != {"dtype": dtype, "shape": list(shape)}:
            raise TypeError(name)


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a data set.

    Raises:
        ValueError: there is no data set in the folder, or one of another schema.
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        schema = card["schema"]
        if type(schema) is not int:  # anything else would be repeated below, however long
            raise TypeError("schema")
        if schema == SCHEMA:
            _check_columns(card["columns"])
            if not all(isinstance(name, str) for name in [*card["drivers"], *card["observations"]]):
                raise TypeError("drivers")
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(
            f"no data set in {folder}: cannot read {CARD} ({reason}); record one with collect.py"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{path} is not the card of a data set: expected JSON with schema and columns") from None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}: read it with the version it names")
    return card


def check_same_layout(found: Mapping[str, Any], expected: Mapping[str, Any], where: Any) -> None:
    """Refuse a card that differs from another in anything but when and with what it was written (`ValueError`)."""
    for name in dict.fromkeys([*expected, *found]):
        if name not in VOLATILE and found.get(name) != expected.get(name):
            field, before, now = _first_difference(name, found.get(name), expected.get(name))
            raise ValueError(
                f"the data set {where} has {field}={before}, expected {now}: data of another task, layout or teacher "
                "goes to another folder"
            )


def _first_difference(name: str, found: Any, expected: Any) -> tuple[str, str, str]:
    """Dotted name and both values, shortened, of the first difference in nested mappings."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in dict.fromkeys([*expected, *found]):
            if found.get(key) != expected.get(key):
                return _first_difference(f"{name}.{key}", found.get(key), expected.get(key))
    return name, str(found)[:60], str(expected)[:60]
