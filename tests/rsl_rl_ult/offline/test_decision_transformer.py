"""Training of Decision Transformers: what is learnt from, the loss, and that it goes on exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rsl_rl_ult.offline.decision_transformer import (
    DecisionSettings,
    DecisionTraining,
    make_decision_transformer,
    mean_return,
    normalized_return,
)
from rsl_rl_ult.storage.dataset import Dataset, held_out
from rsl_rl_ult.storage.returns import RETURNS, ReturnsDataset, returns_to_go
from rsl_rl_ult.storage.stream import BatchStream
from tests.offline_data import A, D, write_episodes


def training(dataset, seed=0, **options):
    torch.manual_seed(seed)
    settings = DecisionSettings(
        **{
            **{"width": 32, "num_layers": 1, "context_steps": 5, "max_steps": 40, "piece_steps": 8},
            **{"batch_size": 128, "learning_rate": 3e-3, "warmup_updates": 1, "return_scale": 10.0, "dropout": 0.0},
            **options,
        }
    )
    return DecisionTraining(make_decision_transformer(D, A, settings), dataset, settings, seed)


def test_returns_to_go_are_the_sums_to_the_end_of_each_segment():
    rewards = np.array([1.0, 2.0, 0.0, 5.0, -1.0, 0.0])
    found = returns_to_go(rewards, np.array([[0, 3], [3, 6]]))
    assert found.tolist() == [3.0, 2.0, 0.0, 4.0, -1.0, 0.0]


def test_minibatches_have_returns_to_go_and_never_cross_episodes(tmp_path):
    """One reward per step in 24 steps: to go at step t are 24 - t."""
    one, samples = training(write_episodes(tmp_path)), 0
    for batch in one.loader(learnt=True).epoch():
        to_go, step = batch.columns[RETURNS][..., 0], batch.age - 1
        inside = batch.valid
        assert torch.equal(to_go[inside], 24.0 - step[inside])
        samples += len(batch)
    assert samples == one.transitions


def test_held_out_episodes_are_never_learnt_from(tmp_path):
    dataset = write_episodes(tmp_path)
    one, seen = training(dataset), set()
    for batch in one.loader(learnt=True).epoch():
        seen |= {tuple(frame.tolist()) for frame in batch.frames[batch.valid]}
    for segment in dataset.segments():
        spared = bool(held_out(segment["episode"][:1], 0.1)[0])
        assert all((tuple(frame.tolist()) in seen) != spared for frame in segment["policy"][:-1])


def test_parts_of_episodes_are_refused(tmp_path):
    dataset = write_episodes(tmp_path)
    path = dataset.shards[0]
    with np.load(path) as file:
        arrays = dict(file)
    arrays["step"] = arrays["step"] + 3
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"parts of episodes.*record whole episodes"):
        dataset.read(path, [RETURNS])


def test_data_of_several_teachers_can_be_read_together_and_only_so(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        write_episodes(folder, 10, name=folder.name)
    assert ReturnsDataset(*folders).transitions() == 480
    with pytest.raises(ValueError, match="teacher"):
        Dataset(*folders)


@pytest.mark.parametrize("head", ["gaussian", "mse"])
def test_the_loss_ignores_padding(tmp_path, head):
    one = training(write_episodes(tmp_path), teacher_head=head)
    batch = next(one.loader(learnt=True).epoch())
    assert not batch.valid.all()
    torch.manual_seed(5)
    before, _ = one.loss(batch)
    batch.columns["actions"][~batch.valid] = 123.0
    torch.manual_seed(5)
    assert torch.equal(one.loss(batch)[0], before)


@pytest.mark.parametrize("options", [{}, {"teacher_head": "mse"}, {"returns": False}])
def test_it_learns_what_was_done(tmp_path, options):
    one = training(write_episodes(tmp_path), **options)
    before = one.evaluate()
    list(one.train(150))
    assert one.evaluate() < 0.1 * before
    assert one.network.residual.square().mean() == pytest.approx(one.evaluate(), rel=1e-5)


def test_labels_are_learnt_where_they_are_asked_for(tmp_path):
    """What was done is the label and noise of 0.3: who learns the labels errs by far less than that noise."""
    dataset = write_episodes(tmp_path)
    for path in dataset.shards:
        with np.load(path) as file:
            arrays = dict(file)
        noise = np.random.default_rng(4).normal(0.0, 0.3, arrays["actions"].shape).astype(np.float32)
        arrays["teacher_actions"] = arrays["actions"].copy()
        arrays["actions"] = arrays["actions"] + noise * arrays["transition"][:, None]
        np.savez(path, **arrays)
    found = {}
    for target in ("teacher", "executed"):
        one = training(dataset, returns=False, target=target)
        list(one.train(150))
        found[target] = one.evaluate() * float(one.network.action_scale.square().mean())
    assert found["teacher"] < 0.5 * 0.3**2 < 0.7 * found["executed"]


def test_data_without_labels_are_refused_where_labels_are_asked_for(tmp_path):
    dataset = write_episodes(tmp_path)
    del dataset.card["columns"]["student"]["teacher_actions"]
    with pytest.raises(ValueError, match="no column 'teacher_actions'"):
        training(dataset, target="teacher")


def test_the_learning_rate_rises_and_falls():
    """Up in 2 steps, then half a cosine over the 4 that are left; without decay it stays."""
    settings = DecisionSettings(learning_rate=1.0, warmup_updates=2, decay_updates=6)
    expected = [0.5, 1.0, 1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0.0, 0.0]
    assert [settings.rate(update) for update in range(8)] == pytest.approx(expected)
    assert DecisionSettings(learning_rate=1.0, warmup_updates=2).rate(99) == 1.0
    with pytest.raises(ValueError, match="decay_updates=2: expected 0, or more than warmup_updates=2"):
        DecisionSettings(warmup_updates=2, decay_updates=2).check()


def test_it_can_learn_one_episode_by_heart(tmp_path):
    """Actions that are noise: only a network that knows the place in the episode, or the frame, can repeat them."""
    noise = np.random.default_rng(3).uniform(-0.9, 0.9, (25, A)).astype(np.float32)
    dataset = write_episodes(tmp_path, episodes=12, teacher=lambda frames: noise)
    one = training(dataset, teacher_head="mse")
    list(one.train(250))
    assert one.evaluate() < 0.02 * float(np.square(noise).mean()) / 0.81


def test_the_temperature_steers_the_entropy(tmp_path):
    """Labels without noise: the entropy falls below -A, so its weight must grow."""
    one = training(write_episodes(tmp_path), temperature_rate=0.05)
    list(one.train(250))
    _, entropy = one.loss(next(one.loader(learnt=True).epoch()))
    assert float(entropy.detach()) < -A and one.temperature > 0.1


def test_the_learning_rate_rises_linearly_and_stays(tmp_path):
    one, rates = training(write_episodes(tmp_path), warmup_updates=4, learning_rate=1e-3), []
    for _ in one.train(6):
        rates.append(one.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize("steps", [7, 30])
def test_a_resumed_training_is_the_same_to_the_bit(tmp_path, steps):
    dataset = write_episodes(tmp_path / "data")
    whole, first = training(dataset, dropout=0.1), None
    list(whole.train(2 * steps))
    first = training(dataset, dropout=0.1)
    list(first.train(steps))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    second = training(dataset, seed=0, dropout=0.1)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    list(second.train(steps))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    assert whole.temperature == second.temperature


def test_resuming_on_other_data_is_refused(tmp_path):
    state = training(write_episodes(tmp_path / "a")).state_dict()
    with pytest.raises(ValueError, match="the training began with"):
        training(write_episodes(tmp_path / "b", 40)).load_state_dict(state)


def test_a_stream_goes_through_pass_after_pass(tmp_path):
    one = training(write_episodes(tmp_path))
    count = sum(1 for _ in one.loader(learnt=True).epoch())
    stream = BatchStream(one.loader(learnt=True))
    for _ in range(2 * count + 1):
        stream.next()
    assert stream.state_dict() == {"passes": 2, "taken": 1}


def test_normalised_returns():
    assert normalized_return(15.0, 5.0, 25.0) == pytest.approx(50.0)
    with pytest.raises(ValueError, match="expected the second to be larger"):
        normalized_return(1.0, 2.0, 2.0)


def test_mean_return_of_a_data_set(tmp_path):
    assert mean_return(write_episodes(tmp_path)) == pytest.approx(24.0)


def test_the_action_scale_is_a_high_quantile_of_what_was_done(tmp_path):
    one = training(write_episodes(tmp_path, teacher=lambda frames: 7.0 * np.ones((len(frames), A), np.float32)))
    assert one.network.action_scale.tolist() == pytest.approx([7.0, 7.0])


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"held_out": 1.0}, {"learning_rate": math.nan}, {"dropout": 1.0}, {"teacher_head": "x"}],
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*expected"):
        DecisionSettings(**wrong).check()


def test_data_of_another_layout_are_refused(tmp_path):
    settings = DecisionSettings()
    with pytest.raises(ValueError, match="frames of 3 columns and 2 actions, the network 4 and 2"):
        DecisionTraining(make_decision_transformer(4, 2, settings), write_episodes(tmp_path), settings)


def test_a_gradient_that_breaks_is_named_and_nothing_is_learnt_from_it(tmp_path):
    one = training(write_episodes(tmp_path), learning_rate=1e30)
    steps = one.train(3)
    next(steps)
    before = [p.detach().clone() for p in one.network.parameters()]
    with pytest.raises(ValueError, match=r"update 2, loss .*: the gradient is not finite; try a lower learning rate"):
        next(steps)
    assert all(torch.equal(old, p) for old, p in zip(before, one.network.parameters()))
    assert one.updates == 1
