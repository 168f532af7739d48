"""Data sets: edited cards, shards with flipped bits, cut, or with other arrays, pickles of strangers."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.inputs import byte_edits, fuzz, json_edits, value_edits
from tests.fuzz.test_checkpoints import Malicious
from tests.fuzz.worker import Outcome, Worker

NUMBERS = st.integers(0, 15)  # which shard, and which program


@pytest.fixture(scope="module")
def worker(material) -> Iterator[Worker]:
    worker = Worker("data_sets")
    yield worker
    worker.close()


@pytest.mark.parametrize("number", range(16))
def test_the_whole_data_set_is_read(worker, number):
    assert worker.call("with_damage", number, []) == Outcome("ran")
    assert worker.call("with_columns", number, []) == Outcome("ran")


@given(number=NUMBERS, edit=json_edits)
@fuzz(0.4)
def test_an_edited_card_is_understood_or_refused_in_one_line(worker, number, edit):
    worker.check("with_card", number, edit)


@given(number=NUMBERS, edits=byte_edits)
@fuzz(0.25)
def test_a_damaged_shard_is_left_out_or_refused_in_one_line(worker, number, edits):
    worker.check("with_damage", number, edits)


@given(number=NUMBERS, edits=value_edits)
@fuzz(0.25)
def test_a_shard_of_other_arrays_is_left_out_or_refused_in_one_line(worker, number, edits):
    worker.check("with_columns", number, edits)


@given(name=st.sampled_from(["other.npz", "other.hdf5"]), edits=byte_edits)
@fuzz(0.1)
def test_a_damaged_file_of_another_format_is_imported_or_refused_in_one_line(worker, name, edits):
    worker.check("imported", name, edits)


@pytest.mark.parametrize("plain", [True, False])
def test_no_shard_runs_code(worker, tmp_path, plain):
    evil = Malicious(tmp_path / "mark")
    buffer = io.BytesIO()
    np.save(buffer, np.array([evil], dtype=object), allow_pickle=True)
    data = pickle.dumps(evil) if plain else buffer.getvalue()
    assert worker.call("archive", "episode.npy", data).fine
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("label_mean.npy", data)
    assert worker.call("labels", packed.getvalue()).kind == "refused"
    assert worker.call("labels", data).kind == "refused"
    assert not (tmp_path / "mark").exists()
