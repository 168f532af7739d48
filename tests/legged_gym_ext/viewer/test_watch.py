"""The newest policy of a training on a page: which weights are the newest, and that the page changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from legged_gym_ext.viewer import watch


def test_the_newest_weights_are_those_that_were_written_last(tmp_path):
    assert watch.newest_weights(tmp_path) is None
    for name, time in (("model_9.pt", 3.0), ("model_10.pt", 5.0), (watch.WEIGHTS, 4.0)):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (time, time))
    assert watch.newest_weights(tmp_path) == tmp_path / "model_10.pt"
    os.utime(tmp_path / watch.WEIGHTS, (6.0, 6.0))
    assert watch.newest_weights(tmp_path) == tmp_path / watch.WEIGHTS


class FakeAgent:
    """Remembers what it loaded."""

    def __init__(self) -> None:
        self.loaded: list = []

    def load(self, path):
        self.loaded.append(path.name)
        return {"iteration": 7, "level": 1.6}


def make_page(level: int) -> SimpleNamespace:
    player = SimpleNamespace(num_levels=4, level=level)
    player.start_tile = lambda: ("stairs_up", player.level)
    player.request = lambda action, value: setattr(player, "level", value)
    return SimpleNamespace(player=player, notice="")


def test_a_file_is_loaded_once_and_again_when_it_is_newer(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "LOOK_INTERVAL", 0.0)
    monkeypatch.delenv(watch.PARENT, raising=False)
    agent, page = FakeAgent(), make_page(3)
    follower = watch.Follower(agent, tmp_path)
    follower.check(page)
    assert agent.loaded == []
    (tmp_path / watch.WEIGHTS).write_bytes(b"")
    for time in (1.0, 1.0, 2.0):
        os.utime(tmp_path / watch.WEIGHTS, (time, time))
        follower.check(page)
    assert agent.loaded == [watch.WEIGHTS] * 2
    assert page.notice == "newest policy: iteration 7"
    assert page.player.level == 2  # 1.6, rounded


def test_a_level_that_somebody_chose_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(watch.PARENT, raising=False)
    page = make_page(3)
    follower = watch.Follower(FakeAgent(), tmp_path)
    follower._move(page, 0.0)
    assert page.player.level == 0
    page.player.level = 3  # on the page
    follower._move(page, 1.0)
    assert page.player.level == 3


def test_a_page_whose_training_is_gone_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "LOOK_INTERVAL", 0.0)
    monkeypatch.setenv(watch.PARENT, str(os.getppid() + 1))
    with pytest.raises(KeyboardInterrupt):
        watch.Follower(FakeAgent(), tmp_path).check(make_page(0))


def test_weights_are_written_without_the_optimizer_and_a_dead_page_is_reported_once(tmp_path, monkeypatch, capsys):
    pytest.importorskip("viser")
    monkeypatch.setattr(watch.WatchPage, "_start", lambda self: None)
    page = watch.WatchPage("127.0.0.1", 0)
    saved = {"weights": torch.ones(2), "optimizer_state_dict": {}}
    terrain = SimpleNamespace(level_statistics=lambda: {"level": torch.tensor(2.25)})
    runner = SimpleNamespace(
        task="go2",
        logger=SimpleNamespace(log_dir=str(tmp_path)),
        alg=SimpleNamespace(save=lambda: saved),
        env=SimpleNamespace(env=SimpleNamespace(terrain=terrain)),
    )
    page.attach(runner, [])
    runner.after_iteration(4)
    written = torch.load(tmp_path / watch.WEIGHTS, weights_only=True)
    assert set(written) == {"weights", "iter", "infos"}
    assert written["infos"] == {"task": "go2", "iteration": 4, "level": 2.25}
    page._process = subprocess.Popen([sys.executable, "-c", ""])
    page._process.wait()
    runner.after_iteration(5)
    runner.after_iteration(6)
    assert capsys.readouterr().err.count("no page any more") == 1
    page.close()
    assert not (tmp_path / watch.WEIGHTS).exists()
