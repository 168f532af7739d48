"""The first broken number of a training is named, its batch is kept, and checkpoints hold good numbers."""

from __future__ import annotations

import errno
import math
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs.base import rewards
from legged_gym_ext.envs.base.observations import Observations
from legged_gym_ext.scripts import train
from legged_gym_ext.training.number_watch import BrokenNumberError, NumberWatch
from legged_gym_ext.training.runs import checkpoints, load_checkpoint
from legged_gym_ext.utils.errors import UserError
from tests.legged_gym_ext.training.test_training import build
from tests.small_trainings import newest, start

STEPS = 4  # of a rollout in small trainings


def break_reward(monkeypatch: pytest.MonkeyPatch, name: str, at: int, robot: int, value: float) -> None:
    """Give a robot another reward in one step, counted from 0."""
    term, calls = rewards.TERMS[name], []

    def function(env: Any) -> torch.Tensor:
        calls.append(1)
        found = term.function(env).clone()
        if len(calls) - 1 == at:
            found[robot] = value
        return found

    monkeypatch.setitem(rewards.TERMS, name, rewards.RewardTerm(function, term.unit, term.sign))


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e15])
def test_a_reward_that_breaks_is_named_and_its_batch_is_kept_beside_the_last_good_checkpoint(
    tmp_path, monkeypatch, value
):
    break_reward(monkeypatch, "action_rate", at=2 * STEPS + 1, robot=3, value=value)
    with pytest.raises(UserError) as caught:
        train.main(start(tmp_path, "--max_iterations=5", "--train.runner.save_interval=1"))
    run, message = newest(tmp_path), str(caught.value)
    assert message.startswith("iteration 2: the reward 'action_rate' of robot 3 is ") and "\n" not in message
    assert f"the batch is in {run / 'broken_2.pt'}; the last good checkpoint is model_1.pt; to go on" in message
    assert list(checkpoints(run)) == [0, 1]
    kept = torch.load(run / "broken_2.pt", weights_only=True)
    assert kept["message"] in message and kept["iteration"] == 2
    assert not kept["step"]["reward_terms/action_rate"][3].abs() <= 1e6
    assert kept["step"]["observations/policy"].shape[0] == 4
    assert kept["rollout"]["rewards"].shape == (1, 4, 1)  # the step before it is all that was collected
    assert all(values.isfinite().all() for values in kept["networks"].values())


def test_the_command_that_a_broken_number_ends_with_goes_on_from_the_last_good_checkpoint(
    tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        break_reward(patch, "action_rate", at=2 * STEPS, robot=0, value=math.nan)
        with pytest.raises(UserError) as caught:
            train.main(start(tmp_path, "--max_iterations=4", "--train.runner.save_interval=1"))
    words = shlex.split(str(caught.value).rpartition(": ")[2])
    train.main(words[2:])
    assert "resumed from" in capsys.readouterr().out
    assert list(checkpoints(newest(tmp_path))) == [2, 3]


def test_without_a_look_at_every_step_a_broken_reward_is_found_before_it_is_learnt_from(tmp_path, monkeypatch):
    # As on a GPU, where each look would make the device wait.
    monkeypatch.setattr(NumberWatch, "check_step", lambda watch, *_: setattr(watch, "_update_checked", False))
    break_reward(monkeypatch, "action_rate", at=STEPS + 1, robot=3, value=math.nan)
    with pytest.raises(UserError, match=r"iteration 1: 'rewards' of robot 3 in step 1 of the rollout is nan"):
        train.main(start(tmp_path, "--max_iterations=3", "--train.runner.save_interval=1"))
    assert list(checkpoints(newest(tmp_path))) == [0]


def test_a_reward_that_breaks_in_the_first_iteration_keeps_the_batch_though_there_is_no_checkpoint(
    tmp_path, monkeypatch
):
    break_reward(monkeypatch, "action_rate", at=0, robot=1, value=math.nan)
    with pytest.raises(BrokenNumberError, match=r"iteration 0: .* robot 1 is nan.*there is no checkpoint yet$"):
        train.main(start(tmp_path, "--max_iterations=2"))
    assert [path.name for path in newest(tmp_path).glob("*.pt")] == ["broken_0.pt"]


def test_an_observation_that_breaks_is_named_by_its_term(tmp_path, monkeypatch):
    compute = Observations.compute

    def broken(self: Observations, *args: Any) -> dict[str, torch.Tensor]:
        frames = compute(self, *args)
        if self.env.common_step_counter == 6:
            frames["policy"][2, self.slices("policy")["dof_vel"].start + 1] = math.nan
        return frames

    monkeypatch.setattr(Observations, "compute", broken)
    column = r"\(group policy, column \d+\)"
    with pytest.raises(UserError, match=rf"^iteration 1: observation 'dof_vel' {column} of robot 2 is nan"):
        train.main(start(tmp_path, "--max_iterations=3"))


def test_gradients_that_break_are_named_and_no_step_is_made_with_them(tmp_path):
    runner = build(tmp_path)
    runner.learn(1)
    before = [p.detach().clone() for p in runner.alg.critic.parameters()]
    weight = dict(runner.alg.critic.named_parameters())["mlp.0.weight"]
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(BrokenNumberError, match=r"iteration 0: the gradient of critic\.mlp\.0\.weight .*is not finite"):
        runner.learn(1)
    assert all(torch.equal(p, old) for p, old in zip(runner.alg.critic.parameters(), before))


def test_the_loss_behind_a_broken_gradient_is_named_where_our_algorithms_know_it(tmp_path, monkeypatch):
    runner = build(tmp_path, task="go2_ts_flat", num_envs=8)
    entropy = type(runner.alg.network.distribution).entropy
    monkeypatch.setattr(
        type(runner.alg.network.distribution), "entropy", staticmethod(lambda mean, std: entropy(mean, std) * math.nan)
    )
    with pytest.raises(BrokenNumberError, match=r"the gradient of network\.[\w.]+ .*as is the loss 'entropy'"):
        runner.learn(1)
    path = Path(runner.logger.log_dir, "broken_0.pt")
    kept = torch.load(path, weights_only=True)["rollout"]
    assert kept["policy"].shape[:2] == (12, 8) and kept["advantages"].isfinite().all()


def test_values_that_explode_are_named_before_anything_is_learnt_from_them(tmp_path):
    runner = build(tmp_path, task="go2_ts_flat", num_envs=8)
    with torch.no_grad():
        for parameter in list(runner.alg.network.critic_parameters())[-2:]:  # of the output: no weight is broken yet
            parameter.fill_(9e5)
    with pytest.raises(BrokenNumberError, match=r"'values' of robot \d in step \d+ of the rollout is .*e\+06; "):
        runner.learn(1)
    assert not checkpoints(Path(runner.logger.log_dir))


def test_a_deviation_that_explodes_is_named_by_its_action(tmp_path):
    runner = build(tmp_path)
    runner.learn(1)
    with torch.no_grad():
        runner.alg.actor.distribution.std_param[7] = 2000.0
    with pytest.raises(BrokenNumberError, match=r"the standard deviation of action 7 is 2000; .*at most 1000"):
        runner.learn(1)


def test_weights_that_broke_are_what_an_error_of_the_host_is_explained_by(tmp_path):
    runner = build(tmp_path)
    runner.learn(1)
    with torch.no_grad():
        dict(runner.alg.actor.named_parameters())["mlp.2.bias"][5] = math.nan
    # torch's own error is "Expected parameter loc ... of distribution Normal", with a page of numbers.
    with pytest.raises(BrokenNumberError, match=r"^iteration 0: the weight actor\.mlp\.2\.bias\[5\] is nan;"):
        runner.learn(1)
    good = load_checkpoint(Path(runner.logger.log_dir, "model_0.pt"), "cpu")
    assert all(value.isfinite().all() for value in good["actor_state_dict"].values())


def test_a_full_disk_takes_the_batch_and_not_the_message(tmp_path, monkeypatch):
    break_reward(monkeypatch, "action_rate", at=STEPS, robot=0, value=math.nan)
    write = Path.write_bytes

    def write_bytes(path: Path, data: Any) -> int:
        if "broken" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(UserError, match=r"robot 0 is nan.*cannot write .*broken_1\.pt: No space left.*is model_0\.pt"):
        train.main(start(tmp_path, "--max_iterations=3"))


@pytest.mark.parametrize("task", ["go2_flat", "go2_ult_flat"])
def test_watching_changes_no_weight_of_a_healthy_training(tmp_path, task):
    ends = []
    for check in (True, False):
        runner = build(tmp_path, task=task, num_envs=8, check_for_nan=check)
        assert (runner.number_watch is not None) == check
        runner.learn(2, init_at_random_ep_len=True)
        modules = [module for module in vars(runner.alg).values() if isinstance(module, torch.nn.Module)]
        ends.append([value for module in modules for value in module.state_dict().values()])
    assert len(ends[0]) > 0 and all(torch.equal(a, b) for a, b in zip(*ends))


def test_without_the_check_a_training_goes_on_as_it_always_did(tmp_path, monkeypatch):
    break_reward(monkeypatch, "action_rate", at=STEPS, robot=0, value=-1e9)  # finite, and clipped to no reward at all
    train.main(start(tmp_path, "--max_iterations=2", "--train.runner.check_for_nan=False"))
    assert list(checkpoints(newest(tmp_path))) == [0, 1]
