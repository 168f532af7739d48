"""Checkpoints: edited contents, flipped bits, half a file, pickles of strangers."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, value_edits
from tests.fuzz.worker import Outcome, Worker

TASKS = ("go2_flat", "go2_cts_flat", "go2_ult_flat")


@pytest.fixture(scope="module")
def worker(material) -> Iterator[Worker]:
    worker = Worker("checkpoints")
    yield worker
    worker.close()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("target", ["resume_edited", "resume_damaged", "evaluate_edited"])
def test_the_whole_files_are_loaded(worker, target, task):
    assert worker.call(target, task, []) == Outcome("ran")


@pytest.mark.parametrize("target", ["teach_edited", "clone_edited", "clone_damaged"])
def test_whole_files_teach_and_are_resumed(worker, target):
    assert worker.call(target, []) == Outcome("ran")


@given(target=st.sampled_from(["resume_edited", "evaluate_edited"]), task=st.sampled_from(TASKS), edits=value_edits)
@fuzz(0.4)
def test_an_edited_checkpoint_is_loaded_or_refused_in_one_line(worker, target, task, edits):
    worker.check(target, task, edits)


@given(task=st.sampled_from(TASKS), edits=byte_edits)
@fuzz(0.3)
def test_a_damaged_checkpoint_is_loaded_or_refused_in_one_line(worker, task, edits):
    worker.check("resume_damaged", task, edits)


@given(target=st.sampled_from(["teach_edited", "clone_edited"]), edits=value_edits)
@fuzz(0.2)
def test_an_edited_teacher_or_cloning_is_loaded_or_refused_in_one_line(worker, target, edits):
    worker.check(target, edits)


@given(data=st.one_of(st.binary(max_size=200), st.recursive(st.integers() | st.text() | st.binary() | st.none(),
       lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9).map(pickle.dumps)))  # fmt: skip
@fuzz(0.1)
def test_a_foreign_file_is_refused_in_one_line(worker, data):
    assert worker.check("load", data).kind != "ran"


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_no_checkpoint_runs_code(worker, tmp_path, protocol, zipped):
    data = pickle.dumps({"iter": 1, "x": Malicious(tmp_path / "mark")}, protocol)
    pickle.loads(data)  # it would
    (tmp_path / "mark").rmdir()
    if zipped:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("archive/data.pkl", data)
            file.writestr("archive/version", "3")
            file.writestr("archive/byteorder", "little")
        data = buffer.getvalue()
    assert worker.call("load", data).kind == "refused"
    assert not (tmp_path / "mark").exists()
