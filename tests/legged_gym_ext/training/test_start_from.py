"""`train.py --start_from`: a new training with the networks of another run, on its levels of the ground."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts import train
from legged_gym_ext.training.runs import checkpoints, load_run_configs
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import newest, resume, start

TASK, OTHER = "go2_ts", "go2_rma"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Log folder with a run of `go2_ts` of one iteration, whose robots stand on level 3."""
    root = tmp_path_factory.mktemp("start_from")
    train.main(start(root, "--max_iterations=1", "--env.terrain.max_init_terrain_level=3", task=TASK))
    path = newest(root, TASK) / "model_0.pt"
    saved = torch.load(path, weights_only=True)
    saved["infos"]["env"]["terrain_levels"].fill_(3)
    torch.save(saved, path)
    return root


def last(run: Path) -> dict:
    """The newest checkpoint of a run."""
    return torch.load(list(checkpoints(run).values())[-1], weights_only=True)


def test_networks_and_levels_are_those_of_the_run_and_the_learning_rate_is_low(trained, tmp_path, monkeypatch, capsys):
    found = {}

    def look(self, iterations: int, **kwargs) -> None:
        rate = self.alg.optimizer.param_groups[0]["lr"]
        found.update(state=self.alg.save()["network_state_dict"], levels=self.env.env.terrain.levels, rate=rate)

    monkeypatch.setattr("legged_gym_ext.training.runner.TrainRunner.learn", look)
    source = newest(trained, TASK)
    train.main(start(tmp_path, "--max_iterations=1", f"--start_from={source}", "--num_envs=6", task=OTHER))
    expected = last(source)["network_state_dict"]
    assert all(torch.equal(found["state"][name], expected[name]) for name in expected)
    assert found["levels"].tolist() == [3] * 6 and found["rate"] == 2e-4
    out = capsys.readouterr().out
    assert (
        f"beginning with the networks of {source / 'model_0.pt'}; robots begin on its levels of the ground, 3.0" in out
    )
    assert "learning rate: 0.0002 at first" in out and "note: " not in out
    flags = (f"--start_from={source}", "--train.algorithm.learning_rate=0.0004")
    train.main(start(tmp_path, "--max_iterations=1", *flags, task=OTHER))
    assert found["rate"] == 4e-4


def test_it_is_a_new_training_that_can_be_resumed(trained, tmp_path, capsys):
    source = newest(trained, TASK)
    train.main(start(tmp_path, "--max_iterations=2", f"--start_from={source}", task=TASK))
    run = newest(tmp_path, TASK)
    assert last(run)["iter"] == 1 and last(run)["infos"]["total"][0] == 2 * 4 * 4
    assert load_run_configs(run)[1]["runner"]["start_from"] == str(source)
    capsys.readouterr()
    train.main(resume(tmp_path, "--max_iterations=3", task=TASK))
    assert "beginning with" not in capsys.readouterr().out
    assert last(newest(tmp_path, TASK))["iter"] == 2


def test_policies_that_act_in_another_way_here_are_told_with_the_settings(tmp_path, capsys):
    train.main(start(tmp_path, "--max_iterations=1", "--start_from=pretrained:go2_rma", task="go2_cts"))
    out = capsys.readouterr().out
    assert "note: actions differ from the run's, teacher by up to" in out
    assert "actor.latent_norm=None (there 'none')" in out and "actor.preset='joint' (there 'no such field')" in out
    flags = ("--start_from=pretrained:go2_rma", "--train.actor.preset=per_group")
    train.main(start(tmp_path, "--max_iterations=1", *flags, task="go2_cts"))
    assert "note: " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "flags", "said"),
    [
        (TASK, ["--start_from=nothing"], "--start_from=nothing: no such run or checkpoint; give a path"),
        ("go2", ["--start_from=pretrained:go2_rma"], "trained by rsl-rl-lib's own PPO"),
        ("go2_ult", ["--start_from=pretrained:go2_rma"], "tensors differ: actor.0.weight"),
        ("go1_ts", ["--start_from=pretrained:go2_ts"], "is of robot 'go2', task 'go1_ts' trains 'go1'"),
        (TASK, ["--start_from=pretrained:go2_ts", "--env.control.action_scale=0.5"], "action_scale=0.25, this"),
        (TASK, ["--start_from=pretrained:go2_ts", "--teacher=pretrained:go2_ts"], "a teacher is frozen"),
        (TASK, ["--start_from=pretrained:go2_ts", "--pretrained"], "--start_from one of your runs: leave one out"),
    ],
)
def test_a_beginning_that_does_not_fit_is_one_line_and_leaves_no_run(tmp_path, task, flags, said):
    with pytest.raises(UserError) as error:
        train.main(start(tmp_path, "--max_iterations=1", *flags, task=task))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.glob("*/*"))


def test_given_ranges_of_commands_are_kept(trained, tmp_path):
    env_cfg, train_cfg = task_registry.get_cfgs(TASK)
    env_cfg.env.num_envs, env_cfg.commands.ranges.lin_vel_x = 2, [0.0, 0.1]
    train_cfg.runner.start_from, train_cfg.runner.logger = str(newest(trained, TASK)), "none"
    env, _ = task_registry.make_env(TASK, env_cfg)
    before = env.command_sampler.ranges.clone()
    task_registry.make_alg_runner(env, TASK, train_cfg, tmp_path)
    assert torch.equal(env.command_sampler.ranges, before) and env.terrain.levels.tolist() == [3, 3]
