"""The tasks of the colour maze through the programs: train, resume, evaluate, describe; what needs a robot refuses."""

from __future__ import annotations

import json

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.colour_maze.mazes import among
from legged_gym_ext.scripts import describe, distill, evaluate, export, play, train
from legged_gym_ext.training import maze_evaluation
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.runs import load_checkpoint
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from tests.small_trainings import newest

TASKS = ("colour_maze_sitt", "colour_maze_teacher")
FEW = ("--num_envs=8", "--train.runner.num_steps_per_env=6", "--train.algorithm.num_mini_batches=2", "--logger=none")


def flags(root, task: str, *more: str) -> list[str]:
    return [f"--task={task}", f"--log_root={root}", *more]


def moves(*names: str) -> torch.Tensor:
    return torch.tensor([["right", "down", "left", "up"].index(name) for name in names])


class Scripted:
    """Makes the given moves in every maze, then stays at the lower border."""

    def __init__(self, sequence: torch.Tensor) -> None:
        self.sequence, self.step = sequence, 0

    def __call__(self, observations) -> torch.Tensor:
        move = self.sequence[self.step] if self.step < len(self.sequence) else torch.tensor(1)
        self.step += 1
        return torch.nn.functional.one_hot(move.expand(len(observations["policy"])), 4).float()


def run(sequence: torch.Tensor, num_envs: int = 5) -> maze_evaluation.Outcome:
    cfg, _ = task_registry.get_cfgs("colour_maze_sitt")
    cfg.env.num_envs, cfg.maze.exploring_starts = num_envs, 0.0
    env, _ = task_registry.make_env("colour_maze_sitt", cfg)
    return maze_evaluation.run_mazes(RslRlVecEnv(env), Scripted(sequence))


AROUND = moves(*["left"] * 8, *["up"] * 18, *["right"] * 8)


def test_success_is_the_target_reached():
    found = run(AROUND).metrics()
    assert found == {"success": 1.0, "lava": 0.0, "return": 10.0, "path_cells": 0.0, "episode_length": 34.0}


def test_an_episode_that_ends_otherwise_is_no_success_and_the_next_one_does_not_count():
    # At column 3 of the grid there is never a path: into the lava first, and all the way around after that.
    dies = moves(*["left"] * 7, "up", "up")
    outcome = run(torch.cat((dies, AROUND)))
    assert outcome.metrics() == {
        "success": 0.0,
        "lava": 1.0,
        "return": pytest.approx(-0.1),
        "path_cells": 0.0,
        "episode_length": 9.0,
    }
    assert outcome.visits.flatten(1).sum(1).tolist() == [9] * 5  # cells that were entered, the start not among them


def test_an_episode_without_end_is_no_success():
    found = run(moves("down")).metrics()
    assert (found["success"], found["lava"], found["episode_length"]) == (0.0, 0.0, 442.0)


@pytest.mark.parametrize("task", TASKS)
def test_training_resumes_bit_for_bit_and_is_evaluated(task, tmp_path, capsys):
    states = {}
    for name, parts in (("whole", ((4, ""),)), ("parts", ((2, ""), (4, "--resume")))):
        root = tmp_path / name
        for iterations, more in parts:
            given = FEW if not more else ()
            train.main(flags(root, task, *given, "--seed=3", f"--max_iterations={iterations}", *filter(None, [more])))
        states[name] = load_checkpoint(newest(root, task) / "model_3.pt", "cpu")["network_state_dict"]
    for key, value in states["whole"].items():
        assert torch.equal(states["parts"][key], value), key
    evaluate.main(flags(tmp_path / "whole", task, "--num_envs=6", f"--json={tmp_path / 'result.json'}"))
    shown = capsys.readouterr().out
    assert "in 6 mazes that it was not trained on, 442 steps at most" in shown
    assert "share of mazes whose target is reached in the first episode" in shown
    found = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["policies"]
    assert found.keys() == {"teacher", "student"} and 0.0 <= found["student"]["success"] <= 1.0


def test_an_evaluation_draws_mazes_that_the_run_was_not_trained_on():
    cfg, _ = task_registry.get_cfgs("colour_maze_sitt")
    trained, _ = task_registry.make_env("colour_maze_sitt", cfg)
    maze_evaluation.prepare(cfg)
    cfg.seed, cfg.env.num_envs = 12345, 500
    env, _ = task_registry.make_env("colour_maze_sitt", cfg)
    assert not among(env.grids, trained.grids).any()


def test_the_teacher_alone_is_that_of_sitt_without_its_two_terms():
    sitt, alone = (task_registry.get_cfgs(task)[1].algorithm for task in TASKS)
    assert (alone.kl_weight, alone.teacher_weight) == (0.0, 0.0)
    assert sitt.kl_weight > 0.0
    different = {name for name, value in vars(sitt).items() if getattr(alone, name) != value}
    assert different <= {"kl_weight", "teacher_weight"}


def test_the_networks_are_those_of_the_paper():
    env, _ = task_registry.make_env("colour_maze_sitt")
    train_cfg = task_registry.get_cfgs("colour_maze_sitt")[1]
    train_cfg.runner.logger = "none"
    set_seed(1)
    runner, _ = task_registry.make_alg_runner(env, "colour_maze_sitt", train_cfg, None)
    network = runner.alg.network
    shapes = [tuple(layer.weight.shape) for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    trunk = [(64, 9), (64, 64)]
    assert sorted(shapes) == sorted([(4, 64), *trunk, *trunk, (64, 18), (64, 64), *trunk, (1, 64)])
    assert network.std().tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("program", "more", "message"),
    [
        (play, ["--web"], "play.py shows robots, task 'colour_maze_sitt' has none: report.py draws where its"),
        (export, [], "export.py writes files for robots, task 'colour_maze_sitt' has none"),
        (distill, ["--dataset=data"], "distill.py clones teachers of robots, task 'colour_maze_sitt' has none"),
        (evaluate, ["--ladder"], "--ladder: robots climb it, task 'colour_maze_sitt' has none: leave that out"),
        (train, ["--video"], "--video films robots, task 'colour_maze_sitt' has none: leave that out"),
        (train, ["--sim=mujoco"], "--sim=mujoco: the colour maze is a grid, no physics; leave that out"),
    ],
)
def test_programs_for_robots_refuse_in_one_line(program, more, message, tmp_path):
    with pytest.raises(UserError) as error:
        program.main(flags(tmp_path, "colour_maze_sitt", *more))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_maze_can_be_described(capsys):
    describe.main(["--task=colour_maze_teacher"])
    shown = capsys.readouterr().out
    assert "task colour_maze_teacher on a grid of 21 x 21 cells" in shown
    assert "displacement" in shown and "rewards per step" in shown and "history_encoder" in shown


def test_what_comes_next_is_a_program_that_shows_mazes(tmp_path, capsys):
    train.main(flags(tmp_path, "colour_maze_sitt", "--headless", "--max_iterations=1", *FEW))
    printed = capsys.readouterr().out
    assert "report" in printed.split("done. Next:")[1] and "play" not in printed
