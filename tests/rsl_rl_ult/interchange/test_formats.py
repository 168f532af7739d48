"""Round trips through the formats of others, and the packages that own them read what is exported."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rsl_rl_ult.interchange import d4rl_format, minari_format
from rsl_rl_ult.storage.dataset import CARD, Dataset
from tests.shards import NUM_ENVS, record


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    record(folder, 100, cut_every=40)
    return folder


def rows(folder, privileged):
    streams = {"student": None, **({"privileged": None} if privileged else {})}
    return list(Dataset(folder).segments(streams))


def assert_same(found, expected):
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected):
        assert set(one) == set(other)
        for name, values in one.items():
            assert values.dtype == other[name].dtype and np.array_equal(values, other[name]), name


@pytest.mark.parametrize("privileged", [False, True])
def test_shards_to_minari_and_back_are_equal(data, tmp_path, privileged):
    pytest.importorskip("minari")
    minari_format.export_minari(Dataset(data), "world/walk-v0", tmp_path / "minari", privileged)
    found = minari_format.import_minari("world/walk-v0", tmp_path / "back", tmp_path / "minari")
    assert found["transitions"] == 100 * NUM_ENVS
    assert_same(rows(tmp_path / "back", privileged), rows(data, privileged))
    cards = [json.loads((folder / CARD).read_text(encoding="utf-8")) for folder in (data, tmp_path / "back")]
    assert cards[0]["task"] == cards[1]["task"] and cards[0]["columns"]["student"] == cards[1]["columns"]["student"]
    assert bool(cards[1]["columns"]["privileged"]) == privileged


@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("suffix", [".npz", ".hdf5"])
def test_shards_to_the_keys_of_d4rl_and_back_are_equal(data, tmp_path, suffix, privileged):
    if suffix == ".hdf5":
        pytest.importorskip("h5py")
    file = d4rl_format.export_d4rl(Dataset(data), tmp_path / f"walk{suffix}", privileged)
    d4rl_format.import_d4rl(file, tmp_path / "back")
    assert_same(rows(tmp_path / "back", privileged), rows(data, privileged))


def test_what_is_exported_for_students_has_nothing_privileged(data, tmp_path):
    file = d4rl_format.export_d4rl(Dataset(data), tmp_path / "walk.npz")
    with np.load(file, allow_pickle=False) as arrays:
        assert not [name for name in arrays.files if "privileged" in name or "level" in name]
        assert arrays["observations"].shape == arrays["next_observations"].shape == (100 * NUM_ENVS, 3)


def test_d4rls_readers_cut_where_we_do(data, tmp_path):
    file = d4rl_format.export_d4rl(Dataset(data), tmp_path / "walk.npz")
    with np.load(file) as arrays:
        stops = np.flatnonzero(arrays["terminals"] | arrays["timeouts"])
        following = arrays["observations"][1:] == arrays["next_observations"][:-1]
        assert stops[-1] == len(arrays["rewards"]) - 1
        assert following.all(1)[np.setdiff1d(np.arange(len(following)), stops)].all()


def test_a_data_set_that_minari_does_not_have_here_is_one_line_with_the_command_that_gets_it(tmp_path):
    pytest.importorskip("minari")
    with pytest.raises(ValueError, match=r'not on this machine.* get it by "minari download world/walk-v0"') as error:
        minari_format.import_minari("world/walk-v0", tmp_path / "back", tmp_path / "minari")
    assert "\n" not in str(error.value) and not (tmp_path / "back").exists()


def test_minaris_own_reader_sees_our_episodes(data, tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    minari_format.export_minari(Dataset(data), "world/walk-v0", tmp_path / "minari")
    loaded = minari.load_dataset("world/walk-v0")
    assert loaded.total_steps == 100 * NUM_ENVS and loaded.total_episodes == len(rows(data, False))
    for episode, ours in zip(loaded.iterate_episodes(), rows(data, False)):
        length = int(ours["transition"].sum())
        assert episode.observations.shape == (length + 1, 3) and len(episode.actions) == length
        assert episode.terminations[-1] or episode.truncations[-1]
        assert np.array_equal(episode.observations, ours["policy"])


def test_d3rlpy_reads_the_keys_of_d4rl(data, tmp_path):
    """It finds the episodes by their ends, and leaves out those of a single transition."""
    d3rlpy = pytest.importorskip("d3rlpy")
    file = d4rl_format.export_d4rl(Dataset(data), tmp_path / "walk.npz")
    with np.load(file) as arrays:
        found = d3rlpy.dataset.MDPDataset(
            observations=arrays["observations"],
            actions=arrays["actions"],
            rewards=arrays["rewards"],
            terminals=arrays["terminals"].astype(np.float32),
            timeouts=arrays["timeouts"].astype(np.float32),
        )
    ours = [one for one in rows(data, False) if one["transition"].sum() > 1]
    assert len(found.episodes) == len(ours) > 10
    assert [len(e.rewards) for e in found.episodes] == [int(one["transition"].sum()) for one in ours]
    returns = [float(np.sum(episode.rewards)) for episode in found.episodes]
    assert returns == pytest.approx([float(one["rewards"].sum()) for one in ours])
    assert [bool(e.terminated) for e in found.episodes] == [bool(one["terminations"].any()) for one in ours]


def test_data_without_a_card_can_be_imported(tmp_path):
    length = 10
    arrays = {
        "observations": np.arange(2 * length, dtype=np.float64)[:, None],
        "actions": np.zeros((2 * length, 1)),
        "rewards": np.ones(2 * length),
        "terminals": np.arange(2 * length) == length - 1,
    }
    np.savez(tmp_path / "foreign.npz", **arrays)
    found = d4rl_format.import_d4rl(tmp_path / "foreign.npz", tmp_path / "data")
    # Without next_observations the last transition of each episode leads nowhere.
    assert found == {"episodes": 2, "transitions": 2 * (length - 1)}
    dataset = Dataset(tmp_path / "data")
    assert dataset.card["task"] is None and dataset.card["source"] == "foreign.npz"
    assert [s["policy"][:, 0].tolist() for s in dataset.segments()] == [[*range(10)], [*range(10, 20)]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "a.npz cannot be read"),
        ("a.hdf5", b"x" * 100, "a.hdf5 cannot be read"),
        ("b.npz", None, "there is no such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path, name, content, message):
    if name.endswith("hdf5"):
        pytest.importorskip("h5py")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        d4rl_format.import_d4rl(tmp_path / name, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_file_of_other_keys_says_what_is_missing(tmp_path):
    np.savez(tmp_path / "a.npz", observations=np.zeros((3, 1)), actions=np.zeros((3, 1)), rewards=np.zeros(3))
    with pytest.raises(ValueError, match="has no 'terminals': expected the keys of D4RL, found actions, observations"):
        d4rl_format.import_d4rl(tmp_path / "a.npz", tmp_path / "data")


def test_nothing_is_overwritten(data, tmp_path):
    file = d4rl_format.export_d4rl(Dataset(data), tmp_path / "walk.npz")
    with pytest.raises(ValueError, match="exists: choose another name"):
        d4rl_format.export_d4rl(Dataset(data), file)
    with pytest.raises(ValueError, match=r"there is a data set in .* already"):
        d4rl_format.import_d4rl(file, data)
    with pytest.raises(ValueError, match="expected a file that ends in"):
        d4rl_format.export_d4rl(Dataset(data), tmp_path / "walk.csv")
