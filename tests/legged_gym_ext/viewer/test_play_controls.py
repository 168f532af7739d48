"""What users ask for while a robot is shown: keys and actions, and what players and agents make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import play
from legged_gym_ext.training.policies import load_policies
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer import player as players
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.controls import ACTIONS, KEYS, PAGE_KEYS, keys_help

pytest.importorskip("mujoco")
ROOT = Path(__file__).resolve().parents[3]


def make_env(task: str = "go2_flat", num_envs: int = 1):
    env_cfg, _ = task_registry.get_cfgs(task)
    players.nominal(env_cfg)
    env_cfg.env.num_envs = num_envs
    if not task.endswith("_flat"):
        env_cfg.terrain.num_rows, env_cfg.terrain.num_cols = 3, 4  # two columns of stairs at least
    return task_registry.make_env(task, env_cfg)[0]


def make_player(task: str = "go2_flat") -> players.Player:
    env = make_env(task)
    return players.Player(env, Agent("zero", env, task, None, None))


def do(player: players.Player, action: str, value=None) -> None:
    player.request(action, value)
    player.process_requests()


@pytest.fixture(scope="module")
def rough():
    return make_player("go2")


@pytest.fixture
def trained(tmp_path):
    """Environment, configuration and run folder of an untrained task."""
    pytest.importorskip("rsl_rl")

    def make(task: str = "go2_ts_flat", num_envs: int = 1):
        env = make_env(task, num_envs)
        _, train_cfg = task_registry.get_cfgs(task)
        train_cfg.runner.logger = "none"
        runner, _ = task_registry.make_alg_runner(env, task, train_cfg, tmp_path)
        run = Path(runner.logger.log_dir)
        runner.save(str(run / "model_0.pt"))
        return env, task, train_cfg, run

    return make


def test_keys_are_those_that_the_viewer_of_mujoco_does_not_use():
    import mujoco

    shortcuts = {row[2] for row in (*mujoco.mjVISSTRING, *mujoco.mjRNDSTRING)}
    taken = {key for text in shortcuts for key in text} | set("012345[]`")  # groups of geoms, cameras
    assert {key.name.upper() for key in KEYS if len(key.name) == 1}.isdisjoint(taken)
    assert len({key.name for key in KEYS}) == len(KEYS)
    assert {key.action for key in KEYS} <= set(ACTIONS)


def test_help_and_docs_have_every_key_with_its_meaning(capsys):
    with pytest.raises(SystemExit):
        play.main(["--help"])
    shown, docs = capsys.readouterr().out, (ROOT / "docs" / "play.md").read_text(encoding="utf-8")
    assert keys_help() in shown
    lines = [line for line in docs.splitlines() if line.startswith("| `")]
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]
    described = {name: meaning for name, meaning, *_ in rows}
    assert {key.name: key.meaning for key in KEYS}.items() <= described.items()
    on_page = {name: more[0].lower() for name, _, *more in rows if more}
    assert on_page == {name: key.lower() for name, key in PAGE_KEYS.items()}
    for name, key in PAGE_KEYS.items():
        assert any(line.split()[:2] == [name, key] for line in shown.splitlines())
    flags = {word for word in shown.split() if word.startswith("--")} & {
        "--agent",
        "--command",
        "--tile",
        "--level",
        "--web",
        "--follow",
        "--video",
        "--strip",
        "--video_length",
        "--width",
    }
    assert flags <= {name.split()[0] for name in described}
    assert len(flags) == 10


def test_keys_change_the_command_within_the_trained_range():
    player = make_player()
    for name in ("up", "up", "7", "left"):
        player.press(name)
    assert player.command == (0.0, 0.0, 0.0)  # until it is served: keys come from another thread
    player.process_requests()
    assert player.command == (0.2, 0.1, 0.1)
    for _ in range(20):
        player.press("up")
    player.process_requests()
    assert player.command == (1.0, 0.1, 0.1)  # go2 trains up to 1 m/s
    assert player.env.commands[0, :3].tolist() == pytest.approx([1.0, 0.1, 0.1])
    player.press("enter")
    player.press("x")  # the viewer's
    player.process_requests()
    assert player.command == (0.0, 0.0, 0.0)


def test_space_pauses_and_goes_on():
    player = make_player()
    player.press("space")
    player.process_requests()
    assert player.paused
    player.press("space")
    player.process_requests()
    assert not player.paused


def test_reset_puts_the_robot_back(rough):
    def distance() -> float:
        return float((rough.env.sim.root_pos[0, :2] - rough.env.terrain.origins[0, :2]).norm())

    rough.env.sim.set_root_lin_vel(torch.tensor([[3.0, 0.0, 0.0]]))
    for _ in range(5):
        rough.step()
    assert distance() > 0.1  # m
    do(rough, "reset")
    assert distance() < 0.02
    assert int(rough.env.episode_length_buf[0]) == 0


def test_kind_and_level_put_the_robot_on_that_tile(rough):
    kind = rough.kinds[-1]
    do(rough, "kind", kind)
    do(rough, "level", 2)
    assert rough.start_tile() == (kind, 2)
    assert rough.ground() == f"{kind}, level 2"  # of the tile under the robot
    rows = rough.env.terrain.map
    column = rows.kinds.index(kind)
    expected = torch.tensor([2.5 * 8.0, (column + 0.5) * 8.0])  # the middle of a tile of 8 m
    assert float((rough.env.sim.root_pos[0, :2] - expected).norm()) < 0.02
    do(rough, "harder", 5)
    assert rough.start_tile() == (kind, 2)  # there is nothing above
    do(rough, "harder", -1)
    assert rough.start_tile() == (kind, 1)


def test_the_key_for_kinds_goes_round_through_all(rough):
    do(rough, "kind", rough.kinds[0])
    seen = []
    for _ in rough.kinds:
        rough.press(".")
        rough.process_requests()
        seen.append(rough.start_tile()[0])
    assert seen == [*rough.kinds[1:], rough.kinds[0]]


@pytest.mark.parametrize(
    ("action", "value", "words"),
    [
        ("kind", "stairs_upp", "no tile of kind 'stairs_upp'; did you mean stairs_up"),
        ("kind", 3, "no tile of kind '3'"),
        ("level", 3, "no level 3: this map has 0 to 2"),
        ("level", -1, "no level -1"),
        ("level", "high", "expected a whole number"),
        ("level", True, "expected a whole number"),
        ("command", [1.0, 0.0], "three finite numbers"),
        ("command", [float("nan"), 0.0, 0.0], "three finite numbers"),
        ("command", "fast", "three finite numbers"),
        ("move", None, "three finite numbers"),
        ("agent", "teacher", "there is no teacher and student"),
        ("jump", None, "unknown action 'jump'"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once_and_changes_nothing(rough, action, value, words):
    before = rough.start_tile(), rough.command
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        rough.request(action, value)
    rough.process_requests()
    assert (rough.start_tile(), rough.command) == before


def test_flat_ground_has_no_kinds_to_choose_and_a_key_says_so(capsys):
    player = make_player()
    player.press(".")
    player.process_requests()
    assert player.start_tile() is None
    assert capsys.readouterr().out == "this task is on flat ground: there is no other\n"


def test_tracking_is_what_was_commanded_and_what_happened_newest_last():
    player = make_player()
    assert player.tracking().shape == (0, 6)
    player.set_command((0.5, -0.25, 0.125))
    player.step()
    player.set_command((0.0, 0.0, 0.0))
    player.step()
    samples = player.tracking()
    assert samples[:, :3].tolist() == [[0.5, -0.25, 0.125], [0.0, 0.0, 0.0]]
    env = player.env
    assert samples[-1, 3:].tolist() == [*env.base_lin_vel[0, :2].tolist(), float(env.base_ang_vel[0, 2])]
    for _ in range(600):
        player._samples.append(np.zeros((1, 6)))
    assert len(player.tracking()) == 500  # 10 s of 20 ms


def test_the_other_policy_takes_over_with_a_memory_of_the_episode(trained):
    env, task, train_cfg, run = trained()
    agent = Agent("teacher", env, task, train_cfg, run)
    _, alone, _ = load_policies(env, task, train_cfg, run)
    groups = agent._vec_env
    for _ in range(3):
        teacher, student = agent.act(), alone["student"](groups.get_observations())
        env.step(teacher)
    agent.active = agent.next_name()
    assert agent.label() == "student"
    expected = alone["student"](groups.get_observations())
    assert torch.allclose(agent.act(), expected, atol=1e-6)
    fresh = load_policies(env, task, train_cfg, run)[1]["student"](groups.get_observations())
    assert not torch.allclose(fresh, expected, atol=1e-6)  # what it would do without memory
    assert not torch.equal(student, teacher)


def test_the_key_for_agents_changes_who_acts_and_back(trained):
    env, task, train_cfg, run = trained()
    player = players.Player(env, Agent("teacher", env, task, train_cfg, run))
    labels = []
    for _ in range(2):
        player.press("6")
        player.process_requests()
        labels.append(player.agent.label())
    assert labels == ["student", "teacher"]
    with pytest.raises(UserError, match="no policy 'studnet'; did you mean student"):
        player.request("agent", "studnet")


def test_both_moves_robot_0_by_the_student_and_robot_1_by_the_teacher(trained):
    env, task, train_cfg, run = trained(num_envs=2)
    agent = Agent("both", env, task, train_cfg, run)
    policies = load_policies(env, task, train_cfg, run)[1]
    observations = agent._vec_env.get_observations()
    expected = torch.stack((policies["student"](observations)[0], policies["teacher"](observations)[1]))
    assert torch.equal(agent.act(), expected)
    assert [agent.label(robot) for robot in (0, 1)] == ["student", "teacher"]
    assert agent.names == ()


@pytest.mark.parametrize(
    ("kind", "words"), [("teacher", "no student and no teacher"), ("both", "no student and no teacher")]
)
def test_a_task_without_teacher_says_so(trained, kind, words):
    env, task, train_cfg, run = trained("go2_flat", 2)
    with pytest.raises(UserError, match=f"--agent={kind}: task 'go2_flat' has {words}; it has policy"):
        Agent(kind, env, task, train_cfg, run)
