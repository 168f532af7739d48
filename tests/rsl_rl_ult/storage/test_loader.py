"""Minibatches of histories: nothing twice, nothing across episodes, nothing privileged, memory bounded."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch

from rsl_rl_ult.storage.dataset import Dataset, ShardWriter, held_out, make_card
from rsl_rl_ult.storage.loader import SegmentLoader
from tests.shards import NUM_ENVS, card, record, segment

ALL = ("teacher_actions", "episode", "step")


def loader(folder, batch_size=24, context=4, steps=1, **options):
    return SegmentLoader(Dataset(folder), batch_size, context, steps, columns=ALL, last_actions=True, **options)


def samples(batches):
    """(episode, step) of every sample."""
    found = []
    for batch in batches:
        episode, step = (batch.columns[name][batch.valid].tolist() for name in ("episode", "step"))
        found += zip(episode, step)
    return found


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(("cut_every", "recorded"), [(0, 0), (7, 5)])
def test_a_pass_has_every_transition_once(tmp_path, prefetch, steps, cut_every, recorded):
    record(tmp_path, 100, cut_every=cut_every, context=recorded)
    one = loader(tmp_path, steps=steps, prefetch=prefetch, buffer_rows=100)
    found = samples(one.epoch(3))
    assert len(found) == len(set(found)) == one.samples == 100 * NUM_ENVS and one.skipped == 0


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(("cut_every", "recorded"), [(0, 0), (7, 5)])
def test_no_history_reaches_into_another_episode(tmp_path, steps, cut_every, recorded):
    record(tmp_path, 100, cut_every=cut_every, context=recorded)
    for batch in loader(tmp_path, steps=steps).epoch():
        for row, s in batch.valid.nonzero().tolist():
            episode, now = (int(batch.columns[name][row, s]) for name in ("episode", "step"))
            frames, actions = batch.frames[row, s : s + 5], batch.last_actions[row, s : s + 5]
            for back, frame, action in zip(range(4, -1, -1), frames, actions):
                then = now - back
                expected = [episode, then, 1000 * episode + then] if then >= 0 else [0, 0, 0]
                assert frame.tolist() == expected
                # Executed: the policy's first two columns of the frame before, plus a half; none before the first.
                assert action.tolist() == ([episode + 0.5, then - 0.5] if then >= 1 else [0, 0])
                age = int(batch.age[row, s + 4 - back])
                assert (age > 0) == (then >= 0) or cut_every


def test_what_is_not_a_sample_is_marked(tmp_path):
    with ShardWriter(tmp_path, card()) as writer:
        writer.add(segment(0, 5))
    (batch,) = loader(tmp_path, batch_size=64, steps=16).epoch()
    assert len(batch) == 5 and batch.valid.shape[1] == 16
    assert not batch.frames[:, 4:][~batch.valid][:, 1].gt(5).any()


def test_cut_segments_without_their_history_are_skipped_and_counted(tmp_path):
    record(tmp_path, 40, cut_every=10, context=0)
    one = loader(tmp_path)
    found = samples(one.epoch())
    assert one.skipped > 0 and len(found) + one.skipped == 40 * NUM_ENVS
    assert all(s % 10 >= 5 or s < 10 for e, s in found if e < NUM_ENVS)  # episodes that began with the recording


def test_a_seed_and_a_number_give_one_order(tmp_path):
    record(tmp_path, 60)
    orders = [samples(loader(tmp_path, seed=seed).epoch(number)) for seed, number in ((0, 1), (0, 1), (0, 2), (1, 1))]
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3]
    assert sorted(orders[0]) == sorted(orders[2])


def test_samples_are_shuffled(tmp_path):
    record(tmp_path, 100, rows=10000)
    found = samples(loader(tmp_path).epoch())
    neighbours = sum(a[0] == b[0] and abs(a[1] - b[1]) == 1 for a, b in pairwise(found))
    assert neighbours < 20  # of 399: by chance about 2 x 399 / 400 = 2


def test_learning_begins_after_one_shard_and_later_buffers_are_full(tmp_path):
    with ShardWriter(tmp_path, card(), 100) as writer:
        for episode in range(9):
            writer.add(segment(episode, 99))
    order = [episode for episode, _ in samples(loader(tmp_path, buffer_rows=400, prefetch=0).epoch())]
    assert len(set(order)) == 9
    buffers = [set(order[first:last]) for first, last in ((0, 99), (99, 495), (495, 891))]
    assert [len(episodes) for episodes in buffers] == [1, 4, 4]


def test_episodes_to_keep_are_kept_and_no_others(tmp_path):
    record(tmp_path, 100)
    rest = {e for e, _ in samples(loader(tmp_path, keep=lambda e: ~held_out(e, 0.3)).epoch())}
    spared = {e for e, _ in samples(loader(tmp_path, keep=lambda e: held_out(e, 0.3)).epoch())}
    assert rest and spared and not rest & spared


def test_a_privileged_column_in_a_students_batch_is_impossible(tmp_path):
    record(tmp_path, 20)
    for options in ({"columns": ["privileged"]}, {"groups": ["privileged"]}, {"columns": ["level"]}):
        with pytest.raises(ValueError, match="is privileged: a student's minibatch cannot have it"):
            SegmentLoader(Dataset(tmp_path), 8, 2, **options)
    for path in tmp_path.glob("*.privileged.npz"):  # and no student's batch needs what is in them
        path.unlink()
    assert len(samples(loader(tmp_path).epoch())) == 20 * NUM_ENVS


@pytest.mark.parametrize("name", ["batch_size", "context", "steps", "buffer_rows", "prefetch"])
def test_numbers_out_of_range_are_refused(tmp_path, name):
    record(tmp_path, 5)
    with pytest.raises(ValueError, match=f"{name}=-1: expected at least"):
        SegmentLoader(Dataset(tmp_path), **{"batch_size": 8, "context": 2, name: -1})


def test_a_damaged_shard_costs_its_samples_only(tmp_path, capsys):
    record(tmp_path, 100)
    path = tmp_path / "shard-000001.npz"
    with np.load(path) as file:
        lost = int(file["transition"].sum())
    path.write_bytes(path.read_bytes()[:-100])
    assert len(samples(loader(tmp_path).epoch())) == 100 * NUM_ENVS - lost
    assert capsys.readouterr().err.count("shard-000001.npz is left out") == 1


def test_an_error_in_the_background_is_raised_in_front(tmp_path):
    record(tmp_path, 20)

    def broken(episodes):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(loader(tmp_path, keep=broken).epoch())


def test_a_pass_that_is_left_early_ends_its_thread(tmp_path):
    import threading

    record(tmp_path, 100)
    batches = loader(tmp_path, batch_size=1).epoch()
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name == "dataset-loader"]


def test_memory_is_bounded_for_a_data_set_larger_than_the_limit(tmp_path):
    wide = 256
    layout = make_card({"policy": (wide,), "actions": (1,), "teacher_actions": (1,)}, {}, ["teacher"])
    rows, count, limit = 500, 40, 1000
    with ShardWriter(tmp_path, layout, rows) as writer:
        for episode in range(count):
            plain = segment(episode, rows - 1)
            plain["policy"] = np.ones((rows, wide), dtype=np.float32)
            writer.add({**plain, "actions": np.zeros((rows, 1)), "teacher_actions": np.zeros((rows, 1))})
    whole = rows * count * wide * 4
    one = SegmentLoader(Dataset(tmp_path), 100, 0, buffer_rows=limit, prefetch=2)
    tracemalloc.start()  # numpy's arrays; torch's are views of them, and minibatches
    seen = sum(len(batch) for batch in one.epoch())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == (rows - 1) * count and one.most_rows <= 2 * limit
    # Two buffers, of which one is joined from its shards at the time: three times the limit, a fifth of all.
    assert peak < 3.5 * limit * wide * 4 < 0.2 * whole
    assert torch.is_tensor(next(one.epoch()).frames)
