"""Counts of all runs of faults and fuzzing, in one committed file that each run adds to; tables of the docs from it.

`python -m tests.reliability.record` writes the tables into docs/reliability.md and docs/fuzzing.md.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "benchmarks/results/reliability.json"
PACKAGES = ("torch", "numpy", "mujoco", "rsl-rl-lib")
NAMES = {"dagger": "train.py --task=go2_dagger_flat", "disks train": "train.py --task=go2_flat"}
KINDS = {
    "programs": "command lines",
    "run_folders": "run folders",
    "checkpoints": "checkpoints",
    "policies": "policies",
    "robots": "robots",
    "data_sets": "data sets",
    "messages": "messages",
}
"""Module of tests/fuzz -> what the page calls its inputs."""

Counts = dict[str, int]


def add(path: Path, section: str, name: str, counts: Counts) -> None:
    """Add counts to those of today with the same versions; other runs at the same time may do so, too."""
    today = {"date": datetime.date.today().isoformat(), "versions": versions()}
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        runs = found.setdefault(section, {}).setdefault(name, [])
        entry = next((run for run in runs if {key: run.get(key) for key in today} == today), None)
        if entry is None:
            entry = {**today, "counts": {}}
            runs.append(entry)
        for what, number in counts.items():
            entry["counts"][what] = entry["counts"].get(what, 0) + number
        new = path.with_name(f".{path.name}.new")
        new.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        new.replace(path)
    finally:
        os.close(folder)  # and the lock with it


def versions() -> str:
    """Versions of what the counts depend on."""
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def total(runs: list[dict[str, Any]]) -> Counts:
    """Counts of all runs together."""
    found: Counts = {}
    for run in runs:
        for what, number in run["counts"].items():
            found[what] = found.get(what, 0) + number
    return found


# -- tables ------------------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Name of a table -> its Markdown."""
    return {
        "kills": _table(
            ("program", "kills", "next commands that worked", "wrong"),
            [(f"`{name}.py`", _kills(c), _number(c, "next commands that worked"), _number(c, "wrong"))
             for name, c in _counts(found, "kills")],
        ),
        "disks": _table(
            ("program", "calls", "tried", "runs", "goes on", "one line", "wrong"),
            [(f"`{NAMES.get(name, NAMES.get('disks ' + name, name + '.py'))}`", _number(c, "calls"),
              _number(c, "tried"), *(_number(c, what) for what in ("runs", "goes on", "one line", "wrong")))
             for name, c in _counts(found, "disks")],
        ),
        "fuzzing": _table(
            ("kind", "inputs", "ran", "refused in one line", "faults"),
            [(KINDS[name], *map(_grouped, (sum(c.values()), c.get("ran", 0), c.get("refused", 0), _faults(c))))
             for name, c in sorted(_counts(found, "fuzzing"), key=lambda pair: list(KINDS).index(pair[0]))],
        ),
    }  # fmt: skip


def _counts(found: dict[str, Any], section: str) -> list[tuple[str, Counts]]:
    return [(name, total(runs)) for name, runs in found.get(section, {}).items()]


def _faults(counts: Counts) -> int:
    return sum(number for what, number in counts.items() if what not in ("ran", "refused"))


def _kills(counts: Counts) -> str:
    """The number of kills, and how many of them were early, where that was counted."""
    early = counts.get("killed before the first checkpoint", counts.get("killed before the first shard"))
    what = "checkpoint" if "killed before the first checkpoint" in counts else "finished shard"
    return _number(counts, "killed") + (f" ({early} before the first {what})" if early is not None else "")


def _number(counts: Counts, what: str) -> str:
    return _grouped(counts.get(what, 0))


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_tables(text: str, found: dict[str, Any]) -> str:
    """A page with its tables, each between `<!-- NAME -->` and `<!-- end -->`, as the counts have them."""
    for name, table in tables(found).items():
        begin, place, rest = text.partition(f"<!-- {name} -->\n")
        if place:
            text = begin + place + "\n" + table + "\n\n" + rest[rest.index("<!-- end -->") :]
    return text


PAGES = [ROOT / "docs" / name for name in ("reliability.md", "fuzzing.md")]


def main() -> None:
    """Write the tables."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    for page in PAGES:
        page.write_text(write_tables(page.read_text(encoding="utf-8"), found), encoding="utf-8")


if __name__ == "__main__":
    main()
