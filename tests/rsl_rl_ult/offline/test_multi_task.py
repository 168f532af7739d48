"""Distillation from many teachers: who is chosen, what is projected, and that it goes on exactly."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from rsl_rl_ult import losses
from rsl_rl_ult.modules.decision_transformer import DecisionTransformer
from rsl_rl_ult.modules.multi_task_student import ActorCriticMulti, MultiTaskStudent
from rsl_rl_ult.offline.gradient_projection import inner
from rsl_rl_ult.offline.labels import write_labels
from rsl_rl_ult.offline.multi_task import Lesson, MultiTask, MultiTaskSettings
from rsl_rl_ult.policies.policy_ult import CachedPolicy
from rsl_rl_ult.storage.returns import LABELS, ReturnsDataset
from tests.offline_data import A, D, write_episodes

SETTINGS = MultiTaskSettings(batch_size=64, piece_steps=8, round_updates=2, held_out_steps=64, epsilon=0.0)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory):
    """Three teachers whose heads have a bias of 0, 1 and -1: the second and third pull in opposite directions."""
    found = []
    for index, bias in enumerate((0.0, 1.0, -1.0)):
        folder = tmp_path_factory.mktemp(f"task{index}")
        dataset = write_episodes(folder / "data", 20, 16, seed=index)
        torch.manual_seed(index)
        teacher = DecisionTransformer(D, A, width=8, num_layers=1, context_steps=4, max_steps=20).eval()
        teacher.mean.bias.data.fill_(bias)
        write_labels(teacher, dataset, folder / "labels")
        dataset.add_labels(folder / "labels")
        found.append(Lesson(f"task{index}", "body", dataset))
    return found


def student():
    torch.manual_seed(7)
    return MultiTaskStudent({"body": (D, A)}, width=8, history_length=3, token_hidden_dims=(8,), hidden_dims=(8,))


def learner(lessons, seed=0, **options):
    return MultiTask(student(), lessons, dataclasses.replace(SETTINGS, **options), seed)


def weights(one):
    return torch.cat([p.detach().flatten() for p in one.parameters])


def test_labels_are_what_the_teacher_says_step_by_step(tmp_path):
    dataset = write_episodes(tmp_path / "data", 5, 10)
    torch.manual_seed(0)
    teacher = DecisionTransformer(D, A, width=8, num_layers=1, context_steps=4, max_steps=20).eval()
    write_labels(teacher, dataset, tmp_path / "labels")
    dataset.add_labels(tmp_path / "labels")
    segment = next(iter(dataset.segments({"student": ["policy", "actions", *LABELS]})))
    cache = teacher.make_cache(1)
    for step in range(10):
        last = segment["actions"][step - 1] if step else np.zeros(A, np.float32)
        values = (torch.from_numpy(segment["policy"][step])[None], torch.from_numpy(last)[None])
        mean, std = teacher.step(*values, torch.tensor([10.0 - step]), torch.tensor([step]), cache)
        assert torch.allclose(mean[0], torch.from_numpy(segment["label_mean"][step]), atol=1e-5)
        assert torch.allclose(std[0], torch.from_numpy(segment["label_std"][step]), atol=1e-5)


def test_the_closed_form_is_the_sampled_kl(lessons):
    one = learner(lessons)
    batch, lesson = one._measured[0], lessons[0]
    with torch.no_grad():
        mean, std = one.student("body", batch.frames, batch.last_actions, batch.age, batch.valid.shape[1])
        exact = float(one.divergence(lesson, batch))
    target = [batch.columns[name][batch.valid].double() for name in LABELS]
    mean, std = mean[batch.valid].double(), std[batch.valid].double().clamp(min=SETTINGS.min_std)
    target[1] = target[1].clamp(min=SETTINGS.min_std)
    torch.manual_seed(0)
    u = target[0] + target[1] * torch.randn(4000, *target[0].shape, dtype=torch.float64)
    ratio = losses.gaussian_log_prob(*target, u) - losses.gaussian_log_prob(mean, std, u)
    assert float(ratio.mean()) == pytest.approx(exact, rel=0.02)


def test_the_teacher_with_the_largest_distance_is_chosen(lessons):
    one = learner(lessons, distance="raw")
    assert one.choose([0.1, 3.0, 2.0]) == 1
    two = learner(lessons, distance="relative")
    two._first = [0.01, 10.0, 1.0]
    assert two.choose([0.1, 3.0, 2.0]) == 0  # 10, 0.3, 2
    three = learner(lessons, distance="std")
    three.history = [{"distances": [1.0, 1.0, 1.0]}, {"distances": [1.5, 9.0, 5.0]}]
    assert three.choose([2.0, 5.0, 2.0]) == 0  # deviations 0.5, 4, 2.1
    assert [learner(lessons, order="cyclic").choose([0, 9, 9])] == [0]


def test_random_rounds_have_their_share(lessons):
    one = learner(lessons, epsilon=0.3, distance="raw")
    chosen = [one.choose([0.0, 0.0, 1.0]) for _ in range(600)]
    # 0.3 x 2/3 = 0.2 of the rounds go to the other two; the deviation of the share is 0.016.
    assert 0.15 < sum(index != 2 for index in chosen) / 600 < 0.25
    soft = learner(lessons, softmax_temperature=1.0, distance="raw")
    shares = torch.tensor([soft.choose([0.0, 0.0, 1.0]) == 2 for _ in range(600)]).float().mean()
    assert float(shares) == pytest.approx(0.576, abs=0.07)  # e / (2 + e)


def test_counts_are_logged(lessons):
    one = learner(lessons, order="cyclic")
    for _ in range(4):
        one.train_round()
    assert one.counts == [2, 1, 1] and [record["chosen"] for record in one.history] == [0, 1, 2, 0]
    joint = learner(lessons, order="pcgrad")
    assert joint.train_round()["chosen"] is None and joint.counts == [1, 1, 1]


@pytest.mark.parametrize("projection", ["previous", "previous_other"])
def test_what_is_applied_does_not_undo_the_round_before(lessons, projection):
    """The round before went against all that the second teacher wants."""
    one = learner(lessons, order="cyclic", projection=projection)
    wanted = torch.autograd.grad(one.divergence(lessons[1], one._measured[1]), one.parameters, allow_unused=True)
    before = [torch.zeros_like(p) if g is None else -g for g, p in zip(wanted, one.parameters)]
    one._last[0], one._previous, one.rounds = before, 0, 1
    seen, apply = [], one._apply
    one._apply = lambda gradient, chosen: (seen.append(gradient), apply(gradient, chosen))[1]
    record = one.train_round()
    assert record["chosen"] == 1 and record["projected"] == 1.0 and record["cosine"] < 0.0
    size = float(inner(before, before))
    assert len(seen) == 2 and all(abs(float(inner(g, before))) < 1e-5 * size for g in seen)
    assert all(float(inner(g, g)) > 0.0 for g in seen)


def test_all_looks_at_every_other_teacher(lessons):
    """Against the second teacher only the third conflicts, which is not the one before."""
    one = learner(lessons, projection="all")
    up, down = [torch.ones_like(p) for p in one.parameters], [-torch.ones_like(p) for p in one.parameters]
    one._last, one._previous = [up, up, down], 0
    found, changed = one._projected([g.clone() for g in up], 1)
    assert changed and float(inner(found, found)) == pytest.approx(0.0, abs=1e-6)
    one.settings = dataclasses.replace(one.settings, projection="previous_other")
    assert not one._projected(up, 1)[1]


def test_a_teacher_is_not_projected_against_itself(lessons):
    one = learner(lessons[1:2], projection="previous_other", learning_rate=0.05)
    other = learner(lessons[1:2], projection="previous", learning_rate=0.05)
    for _ in range(15):
        one.train_round()
        other.train_round()
    assert all(record["projected"] == 0.0 for record in one.history)
    assert any(record["projected"] > 0.0 for record in other.history)


def test_one_teacher_without_projection_is_plain_distillation(lessons):
    one = learner(lessons[:1], projection="none")
    plain = student()
    optimizer = torch.optim.Adam(plain.parameters(), lr=SETTINGS.learning_rate)
    reference = MultiTask(plain, lessons[:1], SETTINGS)
    for _ in range(6):
        loss = reference.divergence(lessons[0], reference._streams[0].next())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), SETTINGS.max_grad_norm)
        optimizer.step()
    for _ in range(3):
        one.train_round()
    for a, b in zip(one.student.state_dict().values(), plain.state_dict().values()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("order", ["novelty", "cyclic", "uniform", "pcgrad"])
def test_the_student_comes_nearer_to_all_teachers(lessons, order):
    one = learner(lessons[:2], order=order, round_updates=10, learning_rate=1e-2, projection="none")
    before = one.distances()
    for _ in range(8):
        one.train_round()
    assert sum(one.distances()) < 0.7 * sum(before)


@pytest.mark.parametrize("order", ["novelty", "pcgrad"])
def test_a_resumed_distillation_is_the_same_to_the_bit(lessons, tmp_path, order):
    options = {"order": order, "epsilon": 0.5, "distance": "std"}
    whole, first = learner(lessons, **options), learner(lessons, **options)
    for _ in range(7):
        whole.train_round()
    for _ in range(3):
        first.train_round()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = learner(lessons, **options)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in range(4):
        second.train_round()
    assert torch.equal(weights(whole), weights(second))
    assert whole.counts == second.counts and whole.history == second.history
    with pytest.raises(ValueError, match="began with the teachers"):
        learner(lessons[:2]).load_state_dict(first.state_dict())


def test_the_deployed_student_acts_as_the_trained_one():
    """The network of the task `go2_multi`, with its cache, gives action_scale tanh(mean) of the whole pass."""
    trained = student()
    trained.bodies["body"].head.action_scale.copy_(torch.tensor([0.5, 2.0]))
    trained.bodies["body"].normalizer.update(torch.randn(50, D) * 3.0)
    network = ActorCriticMulti(
        *(D, D, A), num_privileged_obs=2, width=8, num_layers=1, num_heads=1, history_length=3, feedforward_ratio=2.0,
        token_hidden_dims=(8,), actor_hidden_dims=(8,),
    )  # fmt: skip
    trained.copy_to(network, "body")
    policy = CachedPolicy(network.eval(), {"actor": ["policy"], "privileged": ["privileged"]}, "student")
    frames, acted = torch.randn(2, 9, D), []
    for step in range(9):
        acted.append(policy({"policy": frames[:, step]}))
    actions = torch.stack(acted, dim=1)
    last = torch.cat((torch.zeros(2, 1, A), actions[:, :-1]), dim=1)
    with torch.no_grad():
        mean, _ = trained("body", frames, last, torch.arange(1, 10).expand(2, -1), 9)
    assert torch.allclose(actions, torch.tensor([0.5, 2.0]) * torch.tanh(mean), atol=1e-5)
    step, state = policy.as_step(), torch.zeros(1, policy.as_step().state_size)
    found, _ = step(frames[:1, 0], torch.zeros(1, 0), state)
    assert torch.allclose(found, actions[:1, 0], atol=1e-5)


def test_tasks_of_different_bodies_share_the_trunk(lessons, tmp_path):
    dataset = ReturnsDataset(lessons[1].dataset.folders[0])
    dataset.add_labels(lessons[1].dataset._labels)
    torch.manual_seed(0)
    two = MultiTaskStudent({"body": (D, A), "other": (D, A)}, width=8, history_length=3)
    one = MultiTask(two, [lessons[0], Lesson("other", "other", dataset)], dataclasses.replace(SETTINGS, order="cyclic"))
    head = two.bodies["other"].head.layers[0].weight.detach().clone()
    trunk = two.transformer.blocks[0].output.bias.detach().clone()
    one.train_round()  # of the first body
    assert torch.equal(head, two.bodies["other"].head.layers[0].weight)
    assert not torch.equal(trunk, two.transformer.blocks[0].output.bias)


@pytest.mark.parametrize(
    "wrong",
    [{"order": "x"}, {"projection": "x"}, {"round_updates": 0}, {"epsilon": 2.0}, {"softmax_temperature": -1.0}],
)
def test_settings_that_cannot_be_meant_are_refused(lessons, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*expected"):
        learner(lessons, **wrong)


@pytest.mark.parametrize("order, taught", [("cyclic", "teacher 'task0'"), ("uniform", "all teachers")])
def test_a_gradient_that_breaks_is_named_and_nothing_is_learnt_from_it(lessons, order, taught):
    one = learner(lessons, order=order)
    with torch.no_grad():
        one.parameters[-1].fill_(math.nan)
    before = weights(one)
    with pytest.raises(ValueError, match=f"round 1, {taught}: the gradient is not finite; try a lower learning rate"):
        one.train_round()
    assert torch.allclose(weights(one), before, rtol=0.0, atol=0.0, equal_nan=True)
