"""sim2sim.py as a user runs it: what it needs, prints, writes and refuses; commands, falls and figures by hand."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from legged_gym_ext.deploy.contract import Term
from legged_gym_ext.deploy.controller import Controller, Reading, projected_gravity
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.deploy.sim2sim import loop
from legged_gym_ext.deploy.sim2sim.simulated import Start
from legged_gym_ext.scripts import sim2sim as script
from legged_gym_ext.training.metrics import UNITS, Metrics
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer import commands
from tests import policy_files as exported

ROOT = Path(__file__).resolve().parents[3]
RANGES = exported.contract().commands
LEVEL = np.array([1.0, 0.0, 0.0, 0.0])


class Puppet:
    """A robot that goes where it is told to: position and velocities are set by the test."""

    mass = 10.0

    def __init__(self) -> None:
        self.time, self.fall_at, self.pushes, self.starts = 0.0, math.inf, [], []
        self.velocity, self.yaw_rate, self.quat = np.zeros(3), 0.0, LEVEL
        self.place, self.faulty, self.saturation = np.zeros(3), False, 0.25
        self.torques = np.full(12, 2.0)

    def reset(self, start: Start | None = None) -> None:
        self.starts.append(start)
        self.place, self.time = np.zeros(3), 0.0

    def read(self) -> Reading:
        return Reading(self.quat, np.array([0.0, 0.0, self.yaw_rate]), np.array(exported.DEFAULT), np.full(12, -0.5))

    def step(self, targets: np.ndarray) -> None:
        self.time += 0.02
        self.place = self.place + 0.02 * self.velocity

    def push(self, velocity: tuple[float, float]) -> None:
        self.pushes.append((self.time, velocity))

    @property
    def position(self) -> np.ndarray:
        return self.place

    @property
    def lin_vel(self) -> np.ndarray:
        return self.velocity + 5.0 if self.base_force else self.velocity  # whatever falling does to it

    @property
    def base_force(self) -> float:
        return 5.0 if self.time > self.fall_at else 0.0


@pytest.fixture
def hold(tmp_path) -> Path:
    """A policy that holds the default pose."""
    return exported.write(tmp_path / "hold.onnx", exported.contract())


@pytest.fixture
def puppet_trial(hold) -> loop.Trial:
    return loop.Trial(Controller(ExportedPolicy(hold)), Puppet(), loop.Disturbances(push=0.5))


# -- commands -------------------------------------------------------------------------------------------------------


def test_a_script_switches_at_its_times_and_holds_its_last_command():
    timed = commands.Script([(1.0, (0.1, 0.0, 0.0)), (0.02, (0.2, 0.0, 0.0)), (5.0, (0.3, 0.0, 0.0))])
    seen = [timed(step * 0.02)[0] for step in (0, 49, 50, 51, 300, 9999)]
    assert seen == [0.1, 0.1, 0.2, 0.3, 0.3, 0.3] and timed.duration == pytest.approx(6.02)


def test_random_commands_are_the_tasks_mixture():
    source = [commands.Random(RANGES, np.random.default_rng(seed)) for seed in range(4000)]
    drawn = np.array([one(0.0) for one in source])
    standing = (drawn == 0.0).all(axis=1)
    slow = (drawn[:, :2] == 0.0).all(axis=1) & ~standing
    assert standing.mean() == pytest.approx(0.1, abs=0.015)  # three standard deviations of 4000 draws
    # A disc of radius 0.1 in the 2 m/s x 1 m/s of the ranges: pi 0.01 / 2 = 1.6 % of the 90 % that move.
    assert slow.mean() == pytest.approx(0.9 * math.pi * 0.01 / 2.0, abs=0.006)
    moving = drawn[~standing & ~slow]
    assert np.hypot(moving[:, 0], moving[:, 1]).min() >= 0.1
    assert np.abs(moving).max(axis=0) == pytest.approx([1.0, 0.5, 1.0], abs=0.01)
    assert np.abs(moving.mean(axis=0)).max() < 0.04


def test_random_commands_change_every_ten_seconds_and_not_between():
    source = commands.Random(RANGES, np.random.default_rng(0))
    told = [source(step * 0.02) for step in range(1001)]
    assert [step for step in range(1, 1001) if told[step] != told[step - 1]] == [500, 1000]


def test_a_command_file_is_read_and_a_broken_line_is_named(tmp_path):
    path = tmp_path / "walk.txt"
    path.write_text("# forward, then turn\n2 0.5 0 0\n\n1.5, 0, -0.1, 0.4  # turn\n", encoding="utf-8")
    timed = commands.read_script(path)
    assert timed(0.0) == (0.5, 0.0, 0.0) and timed(2.0) == (0.0, -0.1, 0.4) and timed.duration == 3.5
    path.write_text("2 0.5 0 0\n1 0 0\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"walk\.txt:2: expected SECONDS VX VY YAW, found '1 0 0'"):
        commands.read_script(path)


def test_the_default_script_stays_within_the_trained_ranges():
    narrow = {"lin_vel_x": (-0.2, 0.4), "lin_vel_y": (0.0, 0.0), "ang_vel_yaw": (-0.3, 0.3)}
    timed = commands.tour(narrow)
    told = [timed(0.1 * step) for step in range(round(10.0 * timed.duration))]
    assert not any(commands.outside(command, narrow) for command in told)
    assert (0.4, 0.0, 0.0) in told and (-0.1, 0.0, 0.0) in told
    assert "lin_vel_x 0.5 (trained -0.2 to 0.4)" in commands.outside((0.5, 0.0, 0.0), narrow)


def test_keys_change_the_command_within_the_trained_ranges():
    told = commands.Fixed((0.0, 0.0, 0.0))
    for key in ("up", "up", "left", "9", "x"):
        script.press(told, key, RANGES)
    assert told.command == (0.2, -0.1, 0.1)
    for _ in range(20):
        script.press(told, "up", RANGES)
    assert told.command[0] == 1.0
    script.press(told, "enter", RANGES)
    assert told.command == (0.0, 0.0, 0.0)


# -- figures and falls ----------------------------------------------------------------------------------------------


def test_figures_are_those_of_a_hand_calculation():
    metrics, robot = Metrics(control_dt=0.02, mass=10.0, episodes=1), Puppet()
    robot.velocity, robot.yaw_rate = np.array([0.3, 0.4, 0.0]), 0.5
    for seconds in (0.001, 0.003):
        metrics.add(robot, (0.0, 0.0, 0.0), 0.01, seconds, fell=False)
    figures = metrics.compute()
    # |v error|^2 = 0.25, (yaw error)^2 = 0.25: both kernels are exp(-1). Power 12 x |2 x -0.5| = 12 W, speed 0.02 m /
    # 0.04 s.
    assert figures["linear_tracking"] == figures["yaw_tracking"] == pytest.approx(math.exp(-1.0))
    assert figures["linear_rmse"] == figures["yaw_rmse"] == pytest.approx(0.5)
    assert figures["energy"] == pytest.approx(12.0) and figures["speed"] == pytest.approx(0.5)
    assert figures["cost_of_transport"] == pytest.approx(12.0 / (10.0 * 9.81 * 0.5))
    assert figures["saturation"] == 0.25 and figures["latency_median"] == pytest.approx(2.0)
    assert figures["latency_share"] == pytest.approx(0.00298 / 0.02)
    assert set(figures) == set(UNITS)


def test_a_fall_is_counted_where_it_happened_and_the_robot_starts_again(puppet_trial):
    robot = puppet_trial.robot
    robot.velocity, robot.fall_at = np.array([0.5, 0.0, 0.0]), 0.99
    falls = [moment.fall for moment in puppet_trial.run(commands.Fixed((0.5, 0.0, 0.0)), 2.5) if moment.fall]
    assert [fall.time for fall in falls] == pytest.approx([1.0, 2.0])
    assert [fall.x for fall in falls] == pytest.approx([0.5, 0.5]) and falls[0].reason == "base touched something"
    figures = puppet_trial.metrics.compute()
    # 125 steps, two of them falls that have no part in the errors, which are zero otherwise.
    assert figures["fall_rate"] == 1.0 and figures["distance"] == pytest.approx(1.25)
    assert figures["linear_tracking"] == pytest.approx(1.0)


def test_an_episode_of_an_evaluation_ends_with_its_fall(puppet_trial):
    puppet_trial.robot.fall_at = 0.99
    assert list(loop.run_episodes(puppet_trial, 3, seed=0, duration=4.0)) == [1, 2, 3]
    assert puppet_trial.metrics.compute()["duration"] == pytest.approx(3.0)
    assert [fall.episode for fall in puppet_trial.metrics.falls] == [1, 2, 3]


@pytest.mark.parametrize(("angle", "fell"), [(0.98, False), (1.02, True)])
def test_more_than_a_radian_of_tilt_is_a_fall(angle, fell):
    robot = Puppet()
    robot.quat = np.array([math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0])
    assert (loop.fall_reason(robot) == "tipped over") == fell


def test_pushes_come_every_ten_seconds_within_their_bounds(puppet_trial):
    for _ in puppet_trial.run(commands.Fixed((0.0, 0.0, 0.0)), 30.5):
        pass
    assert [when for when, _ in puppet_trial.robot.pushes] == pytest.approx([10.0, 20.0, 30.0])
    assert 0.0 < np.abs([velocity for _, velocity in puppet_trial.robot.pushes]).max() <= 0.5


def test_noise_stays_within_its_half_widths_and_fills_them(hold):
    trial = loop.Trial(Controller(ExportedPolicy(hold)), Puppet(), loop.Disturbances(noise=2.0))
    true = trial.robot.read()
    noisy = [trial._noisy(true) for _ in range(500)]
    for name, width in (("ang_vel", 0.4), ("dof_pos", 0.02), ("dof_vel", 3.0)):
        found = np.abs([getattr(reading, name) - getattr(true, name) for reading in noisy]).max()
        assert 0.95 * width < found <= width
    tilt = np.abs([projected_gravity(reading.quat)[:2] for reading in noisy]).max(axis=0)
    assert (tilt > 0.095).all() and (tilt <= 0.1).all()


def test_random_starts_are_within_the_joint_limits_and_differ():
    contract, rng = exported.contract(), np.random.default_rng(0)
    starts = [loop.random_start(contract, rng) for _ in range(200)]
    joints = np.array([start.joint_pos for start in starts])
    low, high = np.asarray(contract.joint_pos_limits).T
    assert (joints >= low).all() and (joints <= high).all() and np.ptp(joints, axis=0).min() > 0.09
    assert np.abs(np.array([start.lin_vel for start in starts])).max() == pytest.approx(0.5, abs=0.02)


# -- the program ----------------------------------------------------------------------------------------------------


def run(*args: object, cwd: Path, program: str | None = None) -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, without a display."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    start = ["-c", program] if program else [str(ROOT / "legged_gym_ext" / "scripts" / "sim2sim.py")]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, *start, *map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


WITHOUT_TRAINING = """
import sys
from legged_gym_ext.scripts.sim2sim import main
assert main(sys.argv[1:]) == 0
heavy = {"torch", "mjbatch", "rsl_rl", "rsl_rl_ult", "tensordict"} & {name.split(".")[0] for name in sys.modules}
training = [name for name in sys.modules if name.startswith(("legged_gym_ext.envs", "legged_gym_ext.wrappers"))]
assert not heavy and not training and "mujoco" in sys.modules, (heavy, training)
"""


def test_nothing_of_the_training_is_imported_and_the_figures_are_written(tmp_path, hold):
    out = tmp_path / "figures.json"
    flags = ("--policy", hold, "--headless", "--terrain", "stairs_down", "--duration", "0.4", "--noise", "--json", out)
    result = run(*flags, cwd=tmp_path, program=WITHOUT_TRAINING)
    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert all(f"{name} " in result.stdout for name in UNITS) and set(UNITS) <= set(figures)
    assert figures["duration"] == pytest.approx(0.4) and figures["settings"]["noise"] == 1.0
    assert figures["linear_tracking"] > 0.9  # the script begins with standing still


def test_without_a_display_the_window_names_the_other_ways(tmp_path, hold):
    result = run("--policy", hold, cwd=tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--video" in result.stderr and "--headless" in result.stderr


def written(folder: Path, what: str) -> Path:
    path = folder / "policy.onnx"
    if what == "rubbish":
        path.write_bytes(b"no model")
    elif what == "folder":
        path.mkdir()
    elif what == "no metadata":
        exported.write(path, exported.contract(), metadata="")
    elif what == "teacher":
        privileged = {"obs": exported.terms(), "privileged": (Term("friction", 0, 1, (1.0,)),)}
        exported.write(path, exported.contract(role="teacher", observations=privileged))
    elif what == "other robot":
        names = tuple(name.replace("calf", "knee") for name in exported.JOINTS)
        exported.write(path, exported.contract(joint_names=names))
    elif what == "hold":
        exported.write(path, exported.contract())
    return path


MISTAKES = [
    ("missing", (), "policy not found"),
    ("folder", (), "policy is a folder"),
    ("rubbish", (), "cannot be read as an ONNX model"),
    ("no metadata", (), "has no metadata"),
    ("teacher", (), "is a teacher"),
    (
        "other robot",
        (),
        "lacks FL_knee_joint, FR_knee_joint, RL_knee_joint, RR_knee_joint; its other hinges are FL_calf_joint",
    ),
    ("hold", ("--terrain", "stairs"), "no tile of kind 'stairs'; did you mean stairs_up"),
    ("hold", ("--terrain", "stairs_up", "--level", "10"), "levels 0 to 9"),
    ("hold", ("--level", "3"), "has no levels"),
    ("hold", ("--noise", "-1"), "--noise=-1.0: expected at least 0"),
    ("hold", ("--duration", "0"), "--duration=0.0: expected more than 0"),
    ("hold", ("--command", "1", "0", "nan"), "expected three numbers"),
    ("hold", ("--script", "nothing.txt"), "--script=nothing.txt: No such file"),
    ("hold", ("--joint_map", "FL_hip_joint"), "expected POLICY=MODEL"),
    ("hold", ("--video", "out.gif"), "the name must end in .mp4"),
    ("hold", ("--json", "nowhere/x.json"), "a folder that exists"),
    ("hold", ("--episodes", "2", "--command", "1", "0", "0"), "not allowed with"),
    ("hold", ("--polcy", "x"), "unknown flag --polcy; did you mean --policy"),
    ("hold", ("--env.sim.dt=1",), "no configuration to override"),
]


@pytest.mark.parametrize(("what", "flags", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_a_mistake_is_one_clear_line(tmp_path, what, flags, message):
    policy = written(tmp_path, what)
    headless = () if "--video" in flags else ("--headless",)
    with pytest.raises(UserError) as error:
        script.main(["--policy", str(policy), *headless, *flags])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_video_without_an_encoder_says_what_to_install(hold, tmp_path, monkeypatch):
    from legged_gym_ext.viewer import video

    monkeypatch.setattr(video, "find_spec", lambda name: None if name == "imageio_ffmpeg" else SimpleNamespace())
    with pytest.raises(UserError, match=r"needs the package 'imageio_ffmpeg': .*pip install"):
        script.main(["--policy", str(hold), "--video", str(tmp_path / "out.mp4")])


def test_help_imports_nothing_slow(tmp_path):
    program = (
        "import sys\nfrom legged_gym_ext.scripts.sim2sim import main\ntry:\n    main(['--help'])\nexcept "
        "SystemExit:\n    pass\n"
        "assert not {'numpy', 'torch', 'mujoco', 'onnxruntime'} & set(sys.modules), sorted(sys.modules)"
    )
    result = run(cwd=tmp_path, program=program)
    assert result.returncode == 0 and "--joint_map" in result.stdout, result.stderr


def test_a_video_is_as_long_as_asked_for_and_drawing_changes_nothing(tmp_path, hold):
    imageio = pytest.importorskip("imageio.v3")
    pytest.importorskip("imageio_ffmpeg")
    video, drawn, plain = (tmp_path / name for name in ("out.mp4", "drawn.json", "plain.json"))
    flags = ("--policy", hold, "--duration", "0.16", "--command", "0.5", "0", "0")
    result = run(*flags, "--video", video, "--json", drawn, cwd=tmp_path)
    if result.returncode == 2 and ("OpenGL" in result.stderr or "cannot draw here" in result.stderr):
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stderr
    frames = imageio.imread(video)
    assert frames.shape == (4, 720, 1280, 3) and frames.std() > 10.0  # 25 frames per second
    assert script.main([*map(str, flags), "--headless", "--json", str(plain)]) == 0
    figures = [json.loads(path.read_text(encoding="utf-8")) for path in (drawn, plain)]
    same = [name for name in UNITS if not name.startswith("latency")]
    assert [figures[0][name] for name in same] == [figures[1][name] for name in same]
