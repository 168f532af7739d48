"""Files of run folders, tables and shipped policies: settings, evaluations, curves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, json_edits
from tests.fuzz.run_folders import PROGRAMS
from tests.fuzz.worker import Outcome, Worker

SLOW = [kind for kind, (_, commands) in PROGRAMS.items() if commands[0][0] == "report"]


@pytest.fixture(scope="module")
def worker(material) -> Iterator[Worker]:
    worker = Worker("run_folders")
    yield worker
    worker.close()


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_whole_files_are_read(worker, kind):
    for number in range(len(PROGRAMS[kind][1])):
        assert worker.call("read", kind, number, ("bytes", [])) == Outcome("ran")


@given(kind=st.sampled_from([kind for kind in PROGRAMS if kind not in SLOW]), number=st.integers(0, 1), edit=json_edits)
@fuzz(0.9)
def test_an_edited_file_is_read_or_refused_in_one_line(worker, kind, number, edit):
    worker.check("read", kind, number, edit)


@given(kind=st.sampled_from(SLOW), edit=json_edits)
@fuzz(0.05)
def test_a_report_of_edited_files_is_made_or_refused_in_one_line(worker, kind, edit):
    worker.check("read", kind, 0, edit)


@given(edits=byte_edits)
@fuzz(0.05)
def test_damaged_curves_are_read_or_refused_in_one_line(worker, edits):
    worker.check("read_curves", edits)
