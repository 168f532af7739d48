"""play.py: what it writes, what it refuses, and how it finds configuration and policy of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import play
from legged_gym_ext.simulators.mujoco import gl
from legged_gym_ext.training.policies import hold_command, load_policies, run_cfgs
from legged_gym_ext.training.runs import save_run_configs
from legged_gym_ext.utils.cli import make_parser, parse
from legged_gym_ext.utils.errors import UserError, run_main
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.controls import AGENTS
from legged_gym_ext.viewer.frontends import scripted_command
from legged_gym_ext.viewer.player import Player, nominal
from legged_gym_ext.viewer.video import video_file, write_strip

mujoco = pytest.importorskip("mujoco")


@pytest.fixture
def failing_play(monkeypatch, capsys):
    """Run play.py, which must end with code 2 and one line on standard error; returns that line."""

    def run(*argv: str) -> str:
        monkeypatch.setattr(sys, "argv", ["play.py", *argv])
        with pytest.raises(SystemExit) as stop:
            run_main(play.main)
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2
        assert len(lines) == 1
        return lines[0]

    return run


def play_env(num_envs: int = 1):
    env_cfg, _ = task_registry.get_cfgs("go2_flat")
    nominal(env_cfg)
    env_cfg.env.num_envs = num_envs
    return task_registry.make_env("go2_flat", env_cfg)[0]


def play_args(*argv: str):
    return parse(make_parser("test"), list(argv))


def test_zero_agent_writes_video_and_strip_of_the_length_asked_for(tmp_path):
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    video, strip = tmp_path / "out.mp4", tmp_path / "out.png"
    flags = [
        "--task=go2_flat",
        "--agent=zero",
        f"--video={video}",
        f"--strip={strip}",
        "--video_length=0.4",
        "--width=320",
    ]
    result = subprocess.run([sys.executable, play.__file__, *flags], capture_output=True, text=True, cwd=tmp_path)
    if result.returncode == 2 and ("OpenGL" in result.stderr or "cannot draw here" in result.stderr):
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    frames = imageio.imread(video)
    assert frames.shape == (10, 180, 320, 3)  # 0.4 s at 25 frames/s: every second control step of 20 ms
    spread = frames.reshape(10, -1, 3).std(axis=1)
    assert (spread > 10.0).all()  # of 255; a black or single-coloured picture has 0
    panels = imageio.imread(strip)
    assert panels.shape[1] > 5 * panels.shape[0]  # six squares side by side
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "out.png"]


def test_no_display_is_one_line_that_names_the_way_out(monkeypatch, failing_play):
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems always have a display")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    line = failing_play("--task=go2_flat", "--agent=zero")
    assert "--video out.mp4" in line
    assert "--web" in line


def test_missing_checkpoint_says_how_to_train(tmp_path, failing_play):
    line = failing_play("--task=go2_flat", f"--log_root={tmp_path}", f"--video={tmp_path / 'out.mp4'}")
    assert "train.py --task=go2_flat" in line
    assert list(tmp_path.iterdir()) == []


def test_unknown_agent_names_the_choices(failing_play):
    line = failing_play("--task=go2_flat", "--agent=bogus")
    assert all(agent in line for agent in AGENTS)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--video=out.avi"], ".mp4"),
        (["--strip=out.mp4"], ".png"),
        (["--video=missing/out.mp4"], "missing"),
        (["--video=folder.mp4"], "folder"),
        (["--video=out.mp4", "--video_length=0"], "--video_length"),
        (["--headless"], "--video"),
    ],
)
def test_impossible_outputs_are_refused_and_leave_nothing(tmp_path, monkeypatch, failing_play, flags, word):
    pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "folder.mp4").mkdir()
    monkeypatch.chdir(tmp_path)
    assert word in failing_play("--task=go2_flat", "--agent=zero", *flags)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder.mp4"]


def test_a_recording_that_fails_keeps_the_old_video(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "out.mp4"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(RuntimeError), video_file(path, 25.0) as append:
        append(np.zeros((32, 32, 3), dtype=np.uint8))
        raise RuntimeError("physics failed")
    assert [(p.name, p.read_text(encoding="utf-8")) for p in tmp_path.iterdir()] == [("out.mp4", "old")]


def test_strip_has_one_square_per_panel(tmp_path):
    image = pytest.importorskip("PIL.Image")
    colours = [(200, 0, 0), (0, 200, 0)]
    frames = [np.broadcast_to(np.array(c, dtype=np.uint8), (90, 160, 3)) for c in colours]
    write_strip(tmp_path / "s.png", [(frame, "label") for frame in frames])
    picture = image.open(tmp_path / "s.png")
    # Panels are 320 px wide with 6 px between them: centres at x = 160 and 320 + 6 + 160 = 486.
    assert picture.width == 646
    assert [picture.getpixel((x, 160)) for x in (160, 486)] == colours


def test_no_opengl_names_the_packages(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has a choice")
    tried = []
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def probe(library: str, program: str = gl.PROBE) -> str | None:
        tried.append(library)
        return "ImportError: none" if program == gl.PROBE else None

    monkeypatch.setattr(gl, "_probe", probe)
    with pytest.raises(UserError, match=r"libosmesa6.*libegl1"):
        gl.choose_offscreen()
    assert tried == ["egl", "osmesa", "disabled"]
    assert "MUJOCO_GL" not in os.environ


def test_a_mujoco_that_cannot_be_imported_is_not_taken_for_a_lack_of_opengl(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has a choice")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_probe", lambda *_: "ImportError: broken")
    with pytest.raises(UserError, match=r"'mujoco' cannot be imported \(ImportError: broken\): pip install mujoco==3"):
        gl.choose_offscreen()


def test_opengl_that_was_chosen_too_late_is_one_line(monkeypatch, tmp_path):
    def renderer(*_):
        raise mujoco.FatalError("an OpenGL platform library has not been loaded")

    monkeypatch.setattr(gl, "choose_offscreen", lambda: None)
    monkeypatch.setattr(mujoco, "Renderer", renderer)
    with pytest.raises(UserError, match=r"has not been loaded\); set MUJOCO_GL=egl or osmesa before Python starts"):
        play.main(["--task=go2_flat", "--agent=zero", f"--strip={tmp_path / 'x.png'}", "--video_length=0.1"])


def test_users_choice_of_opengl_is_not_replaced(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux has a choice")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(gl, "_probe", lambda library: None)
    gl.choose_offscreen()
    assert os.environ["MUJOCO_GL"] == "osmesa"


def test_run_configuration_then_play_changes_then_overrides(tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    env_cfg.control.action_scale, env_cfg.noise.noise_level, env_cfg.env.num_envs = 0.5, 0.3, 4096
    train_cfg.actor.hidden_dims, train_cfg.runner.device, train_cfg.runner.resume = [16], "cuda:3", True
    run = tmp_path / "go2_flat" / "2026-01-01_00-00-00"
    run.mkdir(parents=True)
    save_run_configs(run, env_cfg, train_cfg)
    (run / "model_7.pt").touch()
    args = play_args(
        "--task=go2_flat", f"--log_root={tmp_path}", "--env.noise.add_noise=true", "--env.noise.noise_level=0.2"
    )
    shown, trained, found = run_cfgs("go2_flat", args, nominal)
    assert found == run
    assert shown.control.action_scale == 0.5  # from the run
    assert trained.actor.hidden_dims == [16]
    assert shown.env.num_envs == 1  # changed for playing
    assert not shown.domain_rand.push_robots
    assert shown.noise.add_noise is True  # the user's word is the last
    assert shown.noise.noise_level == 0.2
    assert trained.runner.device == "cpu"  # of this machine, not of the one that trained
    assert trained.runner.resume is False


def test_policy_of_a_run_with_other_network_sizes_acts_as_it_did(tmp_path):
    pytest.importorskip("rsl_rl")
    env = play_env(num_envs=2)
    _, train_cfg = task_registry.get_cfgs("go2_flat")
    train_cfg.actor.hidden_dims, train_cfg.runner.logger = [16, 8], "none"
    runner, _ = task_registry.make_alg_runner(env, "go2_flat", train_cfg, tmp_path)
    run = Path(runner.logger.log_dir)
    runner.save(str(run / "model_3.pt"))
    observations = runner.env.get_observations()
    with torch.inference_mode():
        expected = runner.get_inference_policy("cpu")(observations)
    _, loaded_cfg, found = run_cfgs("go2_flat", play_args("--task=go2_flat", f"--log_root={tmp_path}"), nominal)
    _, policies, path = load_policies(env, "go2_flat", loaded_cfg, found)
    assert path == run / "model_3.pt"
    assert list(policies) == ["policy"]
    assert torch.equal(policies["policy"](observations), expected)


def test_student_or_teacher_of_a_run_plays_alone(tmp_path):
    pytest.importorskip("rsl_rl")
    env = play_env()
    _, train_cfg = task_registry.get_cfgs("go2_cts_flat")
    train_cfg.runner.logger = "none"
    runner, _ = task_registry.make_alg_runner(env, "go2_cts_flat", train_cfg, tmp_path)
    run = Path(runner.logger.log_dir)
    runner.save(str(run / "model_0.pt"))
    student = Agent("policy", env, "go2_cts_flat", train_cfg, run)
    teacher = Agent("teacher", env, "go2_cts_flat", train_cfg, run)
    first, same = student.act(), teacher.act()
    env.privileged_obs_buf = env.privileged_obs_buf + 1.0
    student.reset(torch.ones(1))
    assert torch.equal(student.act(), first)  # reads the robot's own sensors only
    assert not torch.equal(teacher.act(), same)


def test_held_command_survives_resets_and_resampling():
    env = play_env(num_envs=3)
    hold_command(env, (0.5, -0.25, 0.0))
    env.reset()
    env.episode_length_buf.fill_(env.command_sampler.interval - 1)  # resampling is due in the next step
    env.step(torch.zeros(3, env.num_actions))
    assert env.commands[:, :3].tolist() == [[0.5, -0.25, 0.0]] * 3


def test_player_reports_a_fall_and_goes_on(capsys):
    env = play_env()
    env.cfg.init_state.rot = [0.0, 1.0, 0.0, 0.0]  # on its back
    player = Player(env, Agent("zero", env, "go2_flat", None, None))
    player.step()
    player.step()
    assert player.falls == 2
    # 0.02 s per control step.
    said = capsys.readouterr().out.splitlines()
    assert said == ["0.02 s: robot fell and starts again", "0.04 s: robot fell and starts again"]


def test_script_shows_forward_sideways_turning_and_stop():
    env = play_env()
    commands = [scripted_command(env, (i + 0.5) / 100) for i in range(100)]
    # Shares of the upper bounds 1.0 m/s, 0.5 m/s and 1.0 rad/s.
    assert list(dict.fromkeys(commands)) == [(0.8, 0.0, 0.0), (0.0, 0.4, 0.0), (0.4, 0.0, 0.8), (0.0, 0.0, 0.0)]


def test_scene_shows_the_pose_of_the_physics():
    from legged_gym_ext.simulators.mujoco.scene import Scene

    env = play_env()
    scene = Scene(env)
    scene.pose(scene.data, 0)
    feet = np.stack([scene.data.geom(f"{leg}_foot").xpos for leg in ("FL", "FR", "RL", "RR")])
    assert np.abs(feet - env.sim.foot_pos[0].numpy()).max() < 1e-5  # m; the environment's numbers are float32
    assert np.linalg.norm(feet[0] - feet[3]) > 0.3  # m, a diagonal of the robot: the comparison is not of zeros


def test_pictures_of_both_show_one_robot_each():
    from legged_gym_ext.simulators.mujoco.scene import Scene

    env = play_env(num_envs=2)
    env.sim.root_pos[1, 0] += 0.5
    second = Scene(env, robot=1, alone=True)
    second.update()
    assert np.allclose(second.data.qpos[:3], env.sim.root_pos[1].numpy(), atol=1e-6)
    assert second._others == []
    assert Scene(env)._others == [1]


def test_curves_run_from_left_to_right_with_the_newest_at_the_right_edge():
    from legged_gym_ext.viewer.overlay import curve

    # A box 100 wide and 40 high for 5 samples, 25 px apart; +-2 at its edges.
    points = curve(np.array([0.0, 2.0, -1.0, 9.0]), 5, 2.0, (10.0, 20.0, 110.0, 60.0))
    assert points.tolist() == [[35.0, 40.0], [60.0, 20.0], [85.0, 50.0], [110.0, 20.0]]


def test_an_overlay_shows_contacts_and_both_curves():
    pytest.importorskip("PIL")
    from legged_gym_ext.viewer.overlay import Telemetry, draw_overlay

    def drawn(contacts):
        tracking = np.repeat([[1.0, 0.0, 0.0, -1.0, 0.0, 0.0]], 500, axis=0)
        texts, colours = ("x +1.00", "x -1.00"), ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        said = Telemetry("student", texts, colours, tracking, 500, 10.0, [1.5] * 3, contacts)
        return draw_overlay(np.full((360, 640, 3), 90, dtype=np.uint8), said).astype(int)

    some, none = drawn([True, False, False, False]), drawn([False] * 4)
    changed = np.argwhere((some != none).any(-1))
    assert (changed[:, 0].min() > 180) and (changed[:, 1].max() < 160)  # one dot in the lower left corner
    plots = some[180:, 320:]
    rows = [np.argwhere((plots == colour).all(-1))[:, 0] for colour in ((0, 255, 0), (0, 0, 255))]
    assert 0 < rows[0].min() < rows[1].max()  # the command is above what happened
    assert all(len(row) > 100 for row in rows)
