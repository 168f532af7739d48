"""Data sets on disk: what is written is read, and whatever happens to a writer or a file, the rest stays."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from rsl_rl_ult.storage import files
from rsl_rl_ult.storage.dataset import (
    CARD,
    Dataset,
    ShardWriter,
    check_same_layout,
    held_out,
    make_card,
    privileged_path,
    read_card,
    segment_bounds,
    shard_paths,
)
from tests.shards import PRIVILEGED, STUDENT, card, record, segment


def write(folder, lengths=(5, 3, 4), rows=1, first=0):
    """A shard for each episode."""
    with ShardWriter(folder, card(), rows) as writer:
        for index, length in enumerate(lengths):
            writer.add(segment(first + index, length))
    return writer


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, (5, 3), rows=100)
    found = list(Dataset(tmp_path).segments({"student": None, "privileged": None}))
    assert len(found) == 2
    for episode, length in enumerate((5, 3)):
        expected = segment(episode, length)
        assert set(found[episode]) == set(expected)
        for name, values in expected.items():
            assert np.array_equal(found[episode][name], values), name


def test_a_shard_is_plain_numpy_and_needs_no_code_of_ours(tmp_path):
    write(tmp_path, (5,))
    with np.load(tmp_path / "shard-000000.npz", allow_pickle=False) as shard:
        taken = shard["transition"]
        assert shard["policy"][taken][:, 1].tolist() == [0, 1, 2, 3, 4]
        assert shard["policy"][1:][taken[:-1]][:, 1].tolist() == [1, 2, 3, 4, 5]  # the observation after each
    columns = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))["columns"]
    assert columns["student"]["policy"] == {"dtype": "float32", "shape": [3]}


def test_a_students_file_holds_no_privileged_column(tmp_path):
    write(tmp_path, (5,))
    with np.load(tmp_path / "shard-000000.npz") as student, np.load(tmp_path / "shard-000000.privileged.npz") as other:
        assert not set(student.files) & set(PRIVILEGED)
        assert set(other.files) == set(PRIVILEGED)


def test_a_column_is_in_one_stream():
    with pytest.raises(ValueError, match=r"columns \['policy'\] are in both streams"):
        make_card(STUDENT, {"policy": (3,)}, ["teacher"])
    with pytest.raises(ValueError, match=r"columns \['episode'\]: every shard has"):
        make_card({**STUDENT, "episode": ()}, {}, ["teacher"])


def test_asking_the_students_stream_for_what_is_privileged_is_an_error(tmp_path):
    write(tmp_path)
    dataset = Dataset(tmp_path)
    with pytest.raises(ValueError, match="'student' has no column 'privileged', it is in the stream 'privileged'"):
        dataset.read(dataset.shards[0], ["privileged"])


def test_a_writer_goes_on_where_the_last_one_stopped(tmp_path):
    first = write(tmp_path, (5, 3))
    assert (first.shards, first.episodes, first.transitions, first.next_episode) == (2, 2, 8, 2)
    second = write(tmp_path, (4,), first=2)
    assert (second.shards, second.episodes, second.transitions, second.next_episode) == (3, 3, 12, 3)
    assert [len(s["episode"]) for s in Dataset(tmp_path).segments()] == [6, 4, 5]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task": "run"}, "has task=walk, expected run"),
        ({"teacher": {"sha256": "b"}}, "has teacher=None"),
    ],
)
def test_data_of_another_task_or_teacher_are_refused_and_nothing_is_lost(tmp_path, fields, message):
    write(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    with pytest.raises(ValueError, match=message):
        ShardWriter(tmp_path, card(**fields))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def test_another_layout_is_named_by_its_column():
    other = make_card({**STUDENT, "policy": (4,)}, PRIVILEGED, ["teacher", "student"], {"level": "int16"}, task="walk")
    with pytest.raises(ValueError, match=r"has columns.student.policy.shape=\[4\], expected \[3\]"):
        check_same_layout(other, card(), "data")


def test_data_sets_of_different_tasks_are_not_read_together(tmp_path):
    write(tmp_path / "a")
    with ShardWriter(tmp_path / "b", card(task="run")) as writer:
        writer.add(segment(0, 3))
    with pytest.raises(ValueError, match="has task=run, expected walk"):
        Dataset(tmp_path / "a", tmp_path / "b")


def test_episodes_of_two_folders_stay_apart(tmp_path):
    write(tmp_path / "a", (5,))
    write(tmp_path / "b", (3,))
    numbers = [int(s["episode"][0]) for s in Dataset(tmp_path / "a", tmp_path / "b").segments()]
    assert len(set(numbers)) == 2


def test_only_one_program_writes(tmp_path):
    with ShardWriter(tmp_path, card()), pytest.raises(ValueError, match="another program is writing"):
        ShardWriter(tmp_path, card())
    ShardWriter(tmp_path, card()).close()


@pytest.mark.parametrize("damage", ["truncated", "empty", "missing", "foreign"])
def test_a_damaged_shard_is_left_out_with_one_line(tmp_path, capsys, damage):
    write(tmp_path)
    path = tmp_path / "shard-000001.npz"
    content = path.read_bytes()
    {
        "truncated": lambda: path.write_bytes(content[: len(content) // 2]),
        "empty": lambda: path.write_bytes(b""),
        "missing": path.unlink,
        "foreign": lambda: path.write_text("hello", encoding="utf-8"),
    }[damage]()
    dataset = Dataset(tmp_path)
    for _ in range(2):  # the second pass says nothing more
        assert [int(s["episode"][0]) for s in dataset.segments()] == [0, 2]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("data set: shard-000001.npz is left out: "), lines


def test_a_flipped_byte_is_noticed(tmp_path):
    write(tmp_path, (200,))
    path = tmp_path / "shard-000000.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert list(Dataset(tmp_path).segments()) == []


def test_a_missing_privileged_file_costs_students_nothing(tmp_path, capsys):
    write(tmp_path)
    privileged_path(tmp_path / "shard-000001.npz").unlink()
    dataset = Dataset(tmp_path)
    assert len(list(dataset.segments())) == 3 and capsys.readouterr().err == ""
    assert len(list(dataset.segments({"student": None, "privileged": None}))) == 2
    assert "shard-000001.privileged.npz is left out: the file is missing" in capsys.readouterr().err


def test_values_that_are_not_finite_are_never_written(tmp_path, capsys):
    bad = segment(1, 3)
    bad["policy"][1, 0] = np.nan
    with ShardWriter(tmp_path, card()) as writer:
        assert writer.add(segment(0, 3)) and not writer.add(bad) and writer.add(segment(2, 3))
    assert writer.dropped == 1 and [int(s["episode"][0]) for s in Dataset(tmp_path).segments()] == [0, 2]
    assert "a segment of 4 rows is dropped: column 'policy' has values that are not finite" in capsys.readouterr().err


def test_a_shard_with_values_that_are_not_finite_is_left_out(tmp_path, capsys):
    write(tmp_path, (3, 3))
    with np.load(tmp_path / "shard-000000.npz") as file:
        arrays = dict(file)
    arrays["actions"][0] = np.inf
    np.savez(tmp_path / "shard-000000.npz", **arrays)
    assert [int(s["episode"][0]) for s in Dataset(tmp_path).segments()] == [1]
    assert "column 'actions' has values that are not finite" in capsys.readouterr().err


def test_a_shard_of_another_layout_is_left_out(tmp_path, capsys):
    write(tmp_path, (3, 3))
    with np.load(tmp_path / "shard-000000.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "shard-000000.npz", **{**arrays, "actions": arrays["actions"][:, :1]})
    assert len(list(Dataset(tmp_path).segments())) == 1
    assert "column 'actions' is float32 (4, 1), the card says float32 (4, 2)" in capsys.readouterr().err


def test_pickles_are_never_loaded(tmp_path, capsys):
    write(tmp_path, (3,))
    with np.load(tmp_path / "shard-000000.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "shard-000000.npz", **{**arrays, "rewards": np.array([print] * 4, dtype=object)})
    assert list(Dataset(tmp_path).segments()) == []
    assert "is truncated or damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no data set in .*cannot read meta.json"),
        ("{", "is not the card of a data set"),
        ('{"schema": 99, "columns": {"student": {}, "privileged": {}}}', "has schema 99, this version reads 1"),
    ],
)
def test_a_folder_without_a_card_is_no_data_set(tmp_path, content, message):
    if content is not None:
        (tmp_path / CARD).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_card(tmp_path)


def test_an_empty_data_set_is_one_clear_error(tmp_path):
    ShardWriter(tmp_path, card()).close()
    with pytest.raises(ValueError, match="is empty: it has a card and no finished shard"):
        Dataset(tmp_path)


def test_shards_without_a_card_are_not_overwritten(tmp_path):
    write(tmp_path)
    (tmp_path / CARD).unlink()
    with pytest.raises(ValueError, match=r"has shards and no meta\.json"):
        ShardWriter(tmp_path, card())


def test_segments_end_where_the_episode_or_the_counting_does():
    episode = np.array([0, 0, 0, 1, 1, 1, 1])
    step = np.array([0, 1, 2, 0, 1, 7, 8])
    assert segment_bounds(episode, step).tolist() == [[0, 3], [3, 5], [5, 7]]
    assert segment_bounds(episode[:0], step[:0]).tolist() == []


def test_the_held_out_episodes_stay_the_same_when_others_are_added():
    few, many = held_out(np.arange(1000), 0.1, 3), held_out(np.arange(50000), 0.1, 3)
    assert np.array_equal(few, many[:1000])
    assert abs(many.mean() - 0.1) < 0.01  # deviation of 50 000 draws: 0.0013
    assert (held_out(np.arange(1000), 0.1, 4) != few).any()


def test_the_first_shards_can_be_taken(tmp_path):
    write(tmp_path, (5, 3, 4))
    dataset = Dataset(tmp_path)
    dataset.limit(6)
    assert dataset.transitions() == 8


# -- writers that die ------------------------------------------------------------------------------------------------


def endless(folder, seed):
    """Write shard after shard until killed; each is recognisable by its first episode's length."""
    with ShardWriter(folder, card(), rows_per_shard=40) as writer:
        while True:
            writer.add(segment(writer.next_episode + len(writer._pending), 12 + seed % 7))


def kill_writers(folder, kills):
    """Kill a writer at `kills` random moments, and check the folder after each.

    Returns:
        Shards in the end, and how many kills left a file that was being written.
    """
    moments = random.Random(1)
    seen: dict[str, bytes] = {}
    torn = 0
    for kill in range(kills):
        process = multiprocessing.get_context("fork").Process(target=endless, args=(folder, kill), daemon=True)
        process.start()
        time.sleep(moments.uniform(0.0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        torn += bool(list(folder.glob(".*.tmp")))
        found = {path.name: path.read_bytes() for path in shard_paths(folder).values()} if folder.is_dir() else {}
        assert seen.items() <= found.items(), "a finished shard has changed"
        seen = found
        if found:
            dataset = Dataset(folder)
            segments = list(dataset.segments({"student": None, "privileged": None}))
            assert dataset.skipped == {}
            numbers = [int(one["episode"][0]) for one in segments]
            assert len(numbers) == len(set(numbers)), "an episode stands in two shards"
            assert all(np.array_equal(one["policy"][:, 1], np.arange(len(one["policy"]))) for one in segments)
    with ShardWriter(folder, card()) as writer:
        writer.add(segment(writer.next_episode, 3))
    assert not list(folder.glob(".*.tmp"))
    return len(seen), torn


def test_a_killed_writer_leaves_whole_shards_and_the_next_goes_on(tmp_path):
    shards, _ = kill_writers(tmp_path / "data", 6)
    assert shards >= 2


@pytest.mark.slow
def test_a_hundred_killed_writers_leave_whole_shards(tmp_path):
    shards, torn = kill_writers(tmp_path / "data", 100)
    # Otherwise the kills missed what they were for; how many of them hit a write depends on the disk and on its users.
    assert shards >= 20 and torn >= 5


def test_a_full_disk_loses_nothing_that_was_finished_and_the_writer_goes_on(tmp_path, monkeypatch):
    write(tmp_path, (5, 6))
    with ShardWriter(tmp_path, card()) as writer:
        before = sorted(path.name for path in tmp_path.iterdir())
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full_disk)
            writer.add(segment(2, 7))
            with pytest.raises(OSError, match="No space left"):
                writer.flush()
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert [int(s["episode"][0]) for s in Dataset(tmp_path).segments()] == [0, 1, 2]  # written when there was room


def full_disk(_):
    raise OSError(28, "No space left on device")


def test_two_runs_into_one_folder_give_one_data_set(tmp_path):
    first = record(tmp_path, seed=1)
    second = record(tmp_path, seed=2)
    assert second.transitions == 2 * first.transitions == Dataset(tmp_path).transitions()
