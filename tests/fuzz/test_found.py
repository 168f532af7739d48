"""The smallest input of every kind of fault that was found: refused in one line that says what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fuzz.inputs import DEEP
from tests.fuzz.worker import Worker

workers: dict[str, Worker] = {}


@pytest.fixture(scope="module", autouse=True)
def processes(material) -> Iterator[None]:
    yield
    for worker in workers.values():
        worker.close()
    workers.clear()


def outcome(module: str, target: str, *inputs: Any) -> Any:
    return workers.setdefault(module, Worker(module)).call(target, *inputs)


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("dataset", ["--dataset=data", "7" * 5000], "stray argument"),
        ("report", ["x" * 300], "File name too long"),
        ("train", ["--task=go2_flat", "--run_name=a\nb"], ""),
        ("export", ["--task=go2_cts", "--log_root=~nobody"], "no runs"),
    ],
)
def test_command_lines(program, words, said):
    found = outcome("programs", "run", program, words)
    assert found.fine and said in found.text


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("env", b"[" * DEEP, "nested too deeply"),
        ("train", b'{"actor": 1}', "'actor' is a section"),
        ("train", b'{"algorithm": {"class_name": "antigravity:x"}}', "names code of the module 'antigravity'"),
        ("teacher's train", b'{"obs_groups": {"actor": false}}', "--teacher=go2_cts_flat"),
        ("teacher's train", b'{"algorithm": {"class_name": "antigravity:x"}}', "names code of the module"),
        ("data", b"null", "cannot be read"),
        ("data", b'{"folders": [1.0], "transitions": null}', "cannot be read"),
        ("table", b'{"settings": {"tasks": 1, "seeds": [1]}, "cells": {}}', "settings.tasks"),
        ("table", b'{"settings": {"tasks": [], "seeds": []}, "cells": {"x": [1]}}', "cells.x"),
        ("multi", b"\xff", "results.json is damaged"),
        ("multi", b'{"seconds": {"record": {}}}', "results.json is damaged"),
        ("card", b"{}", "card.json is damaged"),
    ],
)
def test_run_folders(kind, text, said):
    for number in range(2):
        found = outcome("run_folders", "read", kind, number, ("text", text))
        assert found.kind == "refused" and said in found.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("replace", 0, {}), "policy contract has format None"),
        (("replace", 6, float("nan")), "control_dt is 'nan'"),
    ],
)
def test_policies(change, said):
    found = outcome("policies", "with_metadata", ("values", [change]))
    assert found.kind == "refused" and said in found.text


def test_metadata_that_are_no_text_are_refused():
    found = outcome("policies", "with_bytes", "hold", [("write", 4662, b"\xff\xff\xff\xff")])
    assert found.kind == "refused" and "no text" in found.text


def test_a_graph_that_can_be_read_and_not_run_is_refused():
    found = outcome("policies", "with_index", "shipped", 99)
    assert found.kind == "refused" and "cannot be run" in found.text


def test_names_in_a_robots_file_that_are_no_text_are_refused():
    found = outcome("robots", "simulate_damaged", [("insert", 54887869, b"\x9e")])
    assert found.kind == "refused" and "cannot be read by MuJoCo" in found.text


@pytest.mark.parametrize("value", [True, -1, None, "x", float("inf"), [1]])
def test_checkpoints_of_another_form(value):
    for place in range(12):  # weights, optimizer, numbers
        assert outcome("checkpoints", "resume_edited", "go2_cts_flat", [("replace", place, value)]).fine


def test_the_iteration_of_a_checkpoint_is_a_number():
    found = outcome("checkpoints", "load", b"")
    assert found.kind == "refused" and "is empty" in found.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * DEEP, "is not the card"),
        (b"{}", "is not the card"),
        (b'{"schema": 1, "columns": []}', "is not the card"),
        (b'{"schema": "a\\u001cb", "columns": {}}', "is not the card"),
        (b'{"schema": [' + b"0, " * 5000 + b'0], "columns": {}}', "is not the card"),
    ],
)
def test_cards(text, said):
    for number in range(4):
        found = outcome("data_sets", "with_card", number, ("text", text))
        assert found.kind == "refused" and said in found.text


@pytest.mark.parametrize(
    "event",
    [
        ("bytes", b""),
        ("line", "sticks a b c"),
        ("line", "sticks 1e39 0 0"),
        ("signed", [("write", 24, b"\x00\x00\xc0\x7f")]),  # a joint target that is NaN, with the right checksum
    ],
)
def test_the_simulated_robot_goes_on(event):
    assert outcome("messages", "obey", [event] * 3).kind == "ran"
