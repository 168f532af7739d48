"""Counts of runs add up, also of several at a time, and the pages show those of the committed file."""

from __future__ import annotations

import json
import os

from tests.reliability import record


def test_counts_of_one_day_add_up_and_another_days_stay(tmp_path):
    path = tmp_path / "counts.json"
    old = {"date": "2020-01-01", "versions": "x", "counts": {"killed": 3, "wrong": 1}}
    path.write_text(json.dumps({"kills": {"train": [old]}}), encoding="utf-8")
    record.add(path, "kills", "train", {"killed": 2})
    record.add(path, "kills", "train", {"killed": 5, "early": 1})
    found = json.loads(path.read_text(encoding="utf-8"))["kills"]["train"]
    assert found[0] == old and found[1]["counts"] == {"killed": 7, "early": 1} and len(found) == 2
    assert record.total(found) == {"killed": 10, "wrong": 1, "early": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["counts.json"]


def test_counts_that_many_add_at_once_are_all_there(tmp_path):
    path = tmp_path / "counts.json"
    for name in ("a", "b", "a", "b"):
        if os.fork() == 0:
            try:
                for _ in range(25):
                    record.add(path, "fuzzing", name, {"ran": 1})
            finally:
                os._exit(0)
    for _ in range(4):
        assert os.wait()[1] == 0
    found = json.loads(path.read_text(encoding="utf-8"))["fuzzing"]
    assert {name: record.total(runs) for name, runs in found.items()} == {"a": {"ran": 50}, "b": {"ran": 50}}


def test_the_pages_show_the_counts_of_the_file():
    """If not: python -m tests.reliability.record."""
    found = json.loads(record.FILE.read_text(encoding="utf-8"))
    shown = [page.read_text(encoding="utf-8") for page in record.PAGES]
    assert [record.write_tables(text, found) for text in shown] == shown
    assert all(any(table in text for text in shown) for table in record.tables(found).values())


def test_a_table_is_replaced_and_the_rest_of_a_page_is_not():
    found = {"kills": {"train": [{"counts": {"killed": 1200, "next commands that worked": 7}}]}}
    page = "a\n<!-- kills -->\n\nold\n\n<!-- end -->\nb <!-- end -->\n"
    row = "| `train.py` | 1 200 | 7 | 0 |"
    new = record.write_tables(page, found)
    assert new.startswith("a\n<!-- kills -->\n\n| program |") and row in new
    assert new.endswith("|\n\n<!-- end -->\nb <!-- end -->\n") and "old" not in new
