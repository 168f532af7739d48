"""Training is exact, resumes exactly, and never loses or mixes up checkpoints."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.training import runs
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.progress import Progress
from legged_gym_ext.utils.errors import UserError


def build(root: Path, task: str = "go2_flat", seed: int = 1, num_envs: int = 32, **runner: Any) -> Any:
    """A runner of a small training with commands that widen."""
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    env_cfg.env.num_envs, env_cfg.seed = num_envs, seed
    env_cfg.env.episode_length_s = 0.6  # episodes end and robots are reset within three iterations
    env_cfg.commands.curriculum, env_cfg.commands.max_curriculum = True, 2.0
    train_cfg.runner.logger, train_cfg.runner.save_interval = "none", 1
    train_cfg.runner.num_steps_per_env = 12
    for name, value in runner.items():
        setattr(train_cfg.runner, name, value)
    set_seed(seed)
    env, _ = task_registry.make_env(task, env_cfg)
    return task_registry.make_alg_runner(env, task, train_cfg, root)[0]


def weights(runner: Any) -> torch.Tensor:
    states = (runner.alg.actor.state_dict(), runner.alg.critic.state_dict())
    return torch.cat([value.double().flatten() for state in states for value in state.values()])


def test_same_seed_gives_bit_identical_weights_and_another_seed_does_not(tmp_path):
    results = []
    for seed in (1, 1, 2):
        runner = build(tmp_path, seed=seed)
        runner.learn(3, init_at_random_ep_len=True)
        results.append(weights(runner))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_resumed_training_equals_one_that_was_never_stopped(tmp_path):
    whole = build(tmp_path / "whole")
    whole.learn(4, init_at_random_ep_len=True)
    first = build(tmp_path / "parts")
    first.learn(2, init_at_random_ep_len=True)
    second = build(tmp_path / "parts", seed=77, resume=True)  # its own seed must not matter
    second.learn(2)
    assert torch.equal(weights(second), weights(whole))
    assert second.alg.learning_rate == whole.alg.learning_rate
    resumed, straight = (runner.alg.optimizer.state_dict()["state"] for runner in (second, whole))
    assert resumed.keys() == straight.keys() and len(straight) > 0
    for parameter, moments in straight.items():  # Adam's step, exp_avg and exp_avg_sq
        assert resumed[parameter].keys() == moments.keys()
        assert all(torch.equal(resumed[parameter][key], value) for key, value in moments.items())
    assert second.current_learning_iteration == whole.current_learning_iteration == 3
    ours, theirs = second.env.env, whole.env.env
    assert torch.equal(ours.commands, theirs.commands)
    assert torch.equal(ours.command_sampler.ranges, theirs.command_sampler.ranges)
    assert torch.equal(ours.sim.root_pos, theirs.sim.root_pos)
    assert second.logger.tot_timesteps == whole.logger.tot_timesteps == 4 * 12 * 32


def test_resuming_with_other_robots_keeps_learning_state_and_says_so(tmp_path, capsys):
    first = build(tmp_path)
    first.env.env.command_sampler.ranges[0, 1] = 1.75
    first.learn(1)
    second = build(tmp_path, num_envs=16, resume=True)
    assert "robots start new episodes" in capsys.readouterr().out
    assert torch.equal(weights(second), weights(first))
    assert float(second.env.env.command_sampler.ranges[0, 1]) == 1.75


def test_checkpoint_of_another_task_is_refused_by_name(tmp_path):
    build(tmp_path, experiment_name="mine").learn(1)
    with pytest.raises(UserError, match=r"task 'go2_flat'.*task 'go2_blind_flat'"):
        build(tmp_path, task="go2_blind_flat", experiment_name="mine", resume=True)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not all of it"])
def test_damaged_checkpoint_is_one_clear_error_and_no_new_run_folder(tmp_path, content):
    runner = build(tmp_path)
    runner.learn(1)
    Path(runner.logger.log_dir, "model_0.pt").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"model_0\.pt is (damaged|empty)"):
        build(tmp_path, resume=True)
    assert sorted(tmp_path.rglob("*")) == before


def test_failed_save_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    runner = build(tmp_path)
    runner.learn(1)
    path = Path(runner.logger.log_dir, "model_0.pt")
    before = path.read_bytes()

    write = Path.write_bytes

    def fail(target: Path, data: Any) -> None:
        write(target, b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(UserError, match=r"cannot write .*model_0\.pt: disk full"):
        runner.save(str(path))
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.glob(".*")] == []


def test_physics_fault_in_training_reaches_neither_observations_nor_weights(tmp_path):
    runner = build(tmp_path)
    env = runner.env.env
    step, calls = env.sim.step, []

    def broken(targets: torch.Tensor, num_steps: int) -> None:
        calls.append(1)
        if len(calls) == 5:
            env.sim.root_lin_vel[3, 0] = float("nan")
        step(targets, num_steps)

    env.sim.step = broken
    runner.learn(2)
    assert env.nan_resets == 1
    assert torch.isfinite(weights(runner)).all()
    assert all(torch.isfinite(group).all() for group in runner.env.get_observations().values())


def test_without_a_logger_checkpoints_are_written_and_every_iteration_is_one_plain_line(tmp_path, capsys):
    runner = build(tmp_path)
    runner.learn(2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("it ")]
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]
    assert "\x1b" not in "".join(lines)
    assert list(runs.checkpoints(Path(runner.logger.log_dir))) == [0, 1]


def test_terminal_shows_a_live_panel_with_iteration_and_eta():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress("run", stream)
    progress.update(3, 10, elapsed=61.0, eta=125.0, metrics={"reward": "1.50"})
    progress.close()
    text = stream.getvalue()
    assert "iteration 3/10" in text and "2:05" in text and "1:01" in text and "1.50" in text
