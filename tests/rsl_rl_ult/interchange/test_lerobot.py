"""LeRobot's layout v3.0: what its reader asks for, read back with pyarrow, and with lerobot where it is installed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rsl_rl_ult.interchange import d4rl_format, lerobot_format
from rsl_rl_ult.interchange.episodes import episodes
from rsl_rl_ult.storage.dataset import Dataset
from tests.shards import NUM_ENVS, card, record

parquet = pytest.importorskip("pyarrow.parquet")
TOTAL = 100 * NUM_ENVS


@pytest.fixture
def data(tmp_path):
    record(tmp_path / "data", 100, cut_every=40)
    path = tmp_path / "data" / "meta.json"  # this world has no control step
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "dt": 0.02}), encoding="utf-8")
    return tmp_path / "data"


@pytest.fixture
def exported(data, tmp_path):
    return lerobot_format.export_lerobot(Dataset(data), tmp_path / "out")


def columns_of(path):
    table = parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def test_rows_are_the_transitions_of_the_episodes(data, exported):
    found = columns_of(exported / "data/chunk-000/file-000.parquet")
    ours = list(episodes(Dataset(data), False))
    assert np.array_equal(found["observation.state"], np.concatenate([one["policy"][:-1] for one in ours]))
    assert np.array_equal(found["action"], np.concatenate([one["actions"][:-1] for one in ours]).astype(np.float64))
    assert found["index"].tolist() == list(range(TOTAL)) and not [name for name in found if "privileged" in name]
    assert np.allclose(found["timestamp"], 0.02 * found["frame_index"])
    starts = np.flatnonzero(found["frame_index"] == 0)
    assert len(starts) == len(ours) == found["episode_index"][-1] + 1


def test_the_tables_of_episodes_tasks_and_statistics_agree_with_the_rows(exported):
    rows = columns_of(exported / "data/chunk-000/file-000.parquet")
    table = columns_of(exported / "meta/episodes/chunk-000/file-000.parquet")
    info, stats = (
        json.loads((exported / f"meta/{name}.json").read_text(encoding="utf-8")) for name in ("info", "stats")
    )
    assert info["codebase_version"] == "v3.0" and info["fps"] == 50 and info["total_frames"] == TOTAL
    assert set(info["features"]) == set(rows) == set(stats) and info["total_episodes"] == len(table["length"])
    assert (
        table["dataset_to_index"][-1] == TOTAL and (np.diff(table["dataset_from_index"]) == table["length"][:-1]).all()
    )
    assert np.allclose(stats["observation.state"]["mean"], rows["observation.state"].mean(0))
    assert np.allclose(stats["observation.state"]["std"], rows["observation.state"].std(0))
    assert stats["action"]["count"] == [TOTAL]
    tasks = parquet.read_schema(exported / "meta/tasks.parquet")
    assert json.loads(tasks.metadata[b"pandas"])["index_columns"] == ["task"]


def test_files_end_at_episodes_when_they_are_full(data, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot_format, "FILE_BYTES", 5000)
    monkeypatch.setattr(lerobot_format, "FILES_PER_CHUNK", 3)
    folder = lerobot_format.export_lerobot(Dataset(data), tmp_path / "out")
    files = sorted(folder.glob("data/*/*.parquet"))
    assert len(files) > 3 and len(list(folder.glob("data/chunk-000/*"))) == 3
    table = columns_of(folder / "meta/episodes/chunk-000/file-000.parquet")
    for episode, chunk, file in zip(*(table[n] for n in ("episode_index", "data/chunk_index", "data/file_index"))):
        path = folder / f"data/chunk-{chunk:03d}/file-{file:03d}.parquet"
        assert episode in columns_of(path)["episode_index"]
    assert sum(len(columns_of(path)["index"]) for path in files) == TOTAL


def test_lerobots_own_reader_opens_it(data, exported):
    reader = pytest.importorskip("lerobot.datasets.lerobot_dataset")
    found = reader.LeRobotDataset("world/walk", root=exported)
    assert len(found) == TOTAL and found.num_episodes == len(list(episodes(Dataset(data), False)))
    assert found[0]["task"] == "walk" and found[0]["observation.state"].shape == (3,)


def test_nothing_is_overwritten_and_times_are_needed(data, exported, tmp_path):
    with pytest.raises(ValueError, match="exists: choose another folder"):
        lerobot_format.export_lerobot(Dataset(data), exported)
    record(tmp_path / "timeless", 20)
    with pytest.raises(ValueError, match="no control step dt"):
        lerobot_format.export_lerobot(Dataset(tmp_path / "timeless"), tmp_path / "none")
    assert "dt" not in card() and not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["walk.npz", "walk"])
def test_a_full_disk_leaves_nothing_of_an_export(data, tmp_path, monkeypatch, name):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    if name == "walk":
        monkeypatch.setattr("pyarrow.parquet.write_table", full)
    else:
        monkeypatch.setattr(np, "savez", full)
    export = lerobot_format.export_lerobot if name == "walk" else d4rl_format.export_d4rl
    with pytest.raises(OSError, match="No space left"):
        export(Dataset(data), tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
