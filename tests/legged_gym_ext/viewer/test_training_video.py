"""Videos of a training: when they are made, of what, and that training is not affected; test_wandb.py renders some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.scripts import train
from legged_gym_ext.utils.errors import UserError, install_command
from legged_gym_ext.viewer import training_video, video
from tests.legged_gym_ext.training.test_training import build

FILM = {"video": True, "video_interval": 2, "video_length": 0.2, "video_width": 320}


class Camera:
    """Takes the place of `shows.record`: lets the player play and remembers."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.players: list[Any] = []

    def __call__(self, player: Any, path: Path, *_: Any) -> None:
        self.paths.append(path)
        self.players.append(player)
        for _ in range(12):
            player.step()


@pytest.fixture
def camera(monkeypatch) -> Camera:
    """What films instead of OpenGL and ffmpeg."""
    camera = Camera()
    monkeypatch.setattr(training_video, "record", camera)
    return camera


def tensors(state: Any) -> Iterator[torch.Tensor]:
    """All tensors of nested dictionaries and lists, in order."""
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, (dict, list, tuple)):
        for item in state.values() if isinstance(state, dict) else state:
            yield from tensors(item)


def recurrent(monkeypatch) -> None:
    """Give go2_flat upstream's recurrent networks, whose memory of the rollout is the policy's own."""
    from legged_gym_ext.envs import task_registry

    get_cfgs = task_registry.get_cfgs

    def changed(name: str) -> tuple[Any, Any]:
        env_cfg, train_cfg = get_cfgs(name)
        for network in (train_cfg.actor, train_cfg.critic):
            network.class_name, network.rnn_type = "RNNModel", "gru"
            network.rnn_hidden_dim, network.rnn_num_layers = 16, 1
        train_cfg.algorithm.symmetry_cfg = None  # upstream mirrors no recurrent networks
        return env_cfg, train_cfg

    monkeypatch.setattr(task_registry, "get_cfgs", changed)


@pytest.mark.parametrize("task", ["go2_flat", "go2_flat recurrent", "go2_ts_flat", "go2_ult_flat"])
def test_weights_moments_and_random_numbers_are_bit_identical_with_and_without_videos(
    tmp_path, monkeypatch, camera, task
):
    if task.endswith("recurrent"):
        recurrent(monkeypatch)
    states = []
    for film in ({}, FILM):
        runner = build(tmp_path, task=task.split()[0], num_envs=8, **film)
        runner.learn(3, init_at_random_ep_len=True)
        env = runner.env.env
        states.append([*tensors(runner.alg.save()), torch.get_rng_state(), env.rng.get_state(), env.sim.root_pos])
    assert len(camera.paths) == 2 and len(states[0]) > 20
    assert all(torch.equal(*pair) for pair in zip(*states, strict=True))


@pytest.mark.parametrize(("interval", "filmed"), [(2, [0, 2, 4]), (3, [0, 3, 4]), (50, [0, 4])])
def test_videos_come_every_interval_and_at_the_end_and_are_named_like_checkpoints(tmp_path, camera, interval, filmed):
    runner = build(tmp_path, num_envs=8, **{**FILM, "video_interval": interval})
    runner.learn(5)
    folder = Path(runner.logger.log_dir)
    assert camera.paths == [folder / "videos" / f"model_{it}.mp4" for it in filmed]
    # Every iteration is saved here, so that each video has its checkpoint.
    assert all((folder / f"{path.stem}.pt").is_file() for path in camera.paths)


def test_without_the_flag_nothing_is_filmed(tmp_path, camera):
    build(tmp_path, num_envs=8).learn(1)
    assert camera.paths == []


def test_the_student_is_filmed_undisturbed_and_alone(tmp_path, camera):
    build(tmp_path, task="go2_ts_flat", num_envs=8, **FILM).learn(1)
    (player,) = camera.players
    assert player.agent.active == "student" and player.env.num_envs == 1
    assert not player.env.cfg.noise.add_noise and not player.env.cfg.domain_rand.push_robots


def test_on_rough_ground_the_robot_is_put_on_the_mean_level_of_the_robots_that_learn(tmp_path, camera):
    runner = build(tmp_path, task="go2", num_envs=8, **FILM)
    levels = runner.env.env.terrain.levels
    levels.copy_(torch.tensor([0, 0, 1, 1, 4, 4, 3, 4]))  # 17 / 8 = 2.1
    runner.logger.log_dir = str(tmp_path)
    runner.logger.record_video(0, 1)
    (player,) = camera.players
    assert player.start_tile() == (player.kinds[0], 2)


def test_a_video_that_fails_is_said_once_and_training_goes_on(tmp_path, monkeypatch, capsys):
    calls = []

    def fail(*_: Any) -> None:
        calls.append(1)
        raise OSError("no space\nleft")

    monkeypatch.setattr(training_video, "record", fail)
    runner = build(tmp_path, num_envs=8, **{**FILM, "video_interval": 1})
    runner.learn(3)
    out = capsys.readouterr().out
    assert len(calls) == 1 and out.count("no more videos: no space left\n") == 1
    assert runner.current_learning_iteration == 2 and runner.alg.actor.training


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train.runner.video_interval=0"], "--train.runner.video_interval=0: expected at least 1"),
        (["--train.runner.video_length=0"], "--train.runner.video_length=0.0: expected more than 0 seconds"),
        (
            ["--train.runner.video_width=100"],
            "--train.runner.video_width=100: expected a multiple of 32 from 320 to 3840",
        ),
    ],
)
def test_a_number_without_sense_is_refused_before_anything_is_built(tmp_path, flags, message):
    with pytest.raises(UserError) as caught:
        train.main(["--task=go2_flat", "--headless", f"--log_root={tmp_path}", "--video", *flags])
    assert str(caught.value) == message and list(tmp_path.iterdir()) == []


def test_an_engine_that_can_run_only_once_in_a_process_is_refused():
    with pytest.raises(UserError, match=r"'isaac_gym' cannot be filmed while it trains; use play\.py --video"):
        training_video.prepare_recording("isaac_gym", None)


@pytest.mark.parametrize("package", ["imageio", "imageio_ffmpeg"])
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, package):
    monkeypatch.setattr(video, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(UserError) as caught:
        train.main(["--task=go2_flat", "--headless", f"--log_root={tmp_path}", "--video"])
    assert str(caught.value) == f"--video needs the package '{package}': {install_command('video')}"
    assert list(tmp_path.iterdir()) == []
