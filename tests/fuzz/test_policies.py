"""ONNX files with edited metadata, and with flipped bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, json_edits
from tests.fuzz.worker import Outcome, Worker

FILES = ("hold", "layers", "shipped")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker("policies")
    yield worker
    worker.close()


@pytest.mark.parametrize("which", FILES)
def test_the_whole_files_run(worker, which):
    assert worker.call("with_bytes", which, []) == Outcome("ran")


@given(edit=json_edits)
@fuzz(0.5)
def test_an_edited_contract_is_understood_or_refused_in_one_line(worker, edit):
    worker.check("with_metadata", edit)


@given(which=st.sampled_from(FILES[:2]), edits=byte_edits)
@fuzz(0.4)
def test_a_damaged_policy_runs_or_is_refused_in_one_line(worker, which, edits):
    worker.check("with_bytes", which, edits)


@given(edits=byte_edits)
@fuzz(0.1)
def test_a_damaged_policy_with_a_memory_runs_or_is_refused_in_one_line(worker, edits):
    worker.check("with_bytes", "shipped", edits)
