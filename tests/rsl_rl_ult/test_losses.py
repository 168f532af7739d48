"""Every loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rsl_rl_ult import losses


def column(*values: float) -> torch.Tensor:
    """(S, 1, 1): the steps of one environment."""
    return torch.tensor(values)[:, None, None]


def test_returns_are_values_plus_generalised_advantages():
    # gamma 0.5, lambda 0.5. Steps back from the end, V(after) = 8:
    #   delta_2 = 3 + 0.5 * 8 - 6 = 1;  A_2 = 1;                        R_2 = 7
    #   step 1 ends an episode: delta_1 = 2 - 4 = -2;  A_1 = -2;        R_1 = 2
    #   delta_0 = 1 + 0.5 * 4 - 2 = 1;  A_0 = 1 + 0.25 * (-2) = 0.5;    R_0 = 2.5
    found = losses.generalized_advantages(
        column(1, 2, 3), column(0, 1, 0), column(2.0, 4.0, 6.0), torch.tensor([[8.0]]), 0.5, 0.5
    )
    assert torch.equal(found, column(2.5, 2.0, 7.0))


def test_lambda_one_is_the_discounted_sum_and_lambda_zero_is_one_step():
    rewards, dones, values = column(1.0, 1.0), column(0, 0), column(0.0, 10.0)
    last = torch.tensor([[4.0]])
    # 1 + 0.5 (1 + 0.5 * 4) = 2.5;  1 + 0.5 * 4 = 3
    assert torch.equal(losses.generalized_advantages(rewards, dones, values, last, 0.5, 1.0), column(2.5, 3.0))
    # 1 + 0.5 * 10 = 6;  3
    assert torch.equal(losses.generalized_advantages(rewards, dones, values, last, 0.5, 0.0), column(6.0, 3.0))


def test_who_is_responsible_for_an_action_of_a_mixture():
    # Prior 0.75 and e^-0.5 against prior 0.25 and 1: 0.75 * 0.60653 / (0.45490 + 0.25) = 0.64534.
    # With prior 0 or 1 nothing is uncertain.
    prior = torch.tensor([0.75, 0.25, 0.0, 1.0])
    found = losses.log_responsibility(torch.tensor([-0.5, 0.0, 9.0, -9.0]), torch.tensor([0.0, -0.5, 0.0, 0.0]), prior)
    assert found.exp().tolist() == pytest.approx([0.64534, 0.35466, 0.0, 1.0], abs=1e-5)


@pytest.mark.parametrize("advantage", [1.0, -2.0])
@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.0, 1.1, 1.5])
def test_a_weight_multiplies_the_surrogate_and_its_gradient(ratio, advantage):
    log_prob = torch.tensor([math.log(ratio) - 1.0], requires_grad=True)
    arguments = log_prob, torch.tensor([-1.0]), torch.tensor([advantage]), 0.2
    weighted = losses.weighted_surrogate_losses(*arguments, torch.tensor([0.3]).log())
    plain = losses.surrogate_losses(*arguments)
    assert weighted.item() == pytest.approx(0.3 * plain.item())
    (found,), (expected,) = (torch.autograd.grad(loss.sum(), log_prob) for loss in (weighted, plain))
    assert found.item() == pytest.approx(0.3 * expected.item(), abs=1e-7)


def test_a_ratio_beyond_floats_and_a_weight_below_them_make_an_ordinary_loss():
    """e^150 times e^-151, advantage -2, beyond the clip: 2 / e; advantage 2: clipped, times e^-151, nothing."""
    log_prob = torch.full((3,), -20.0, requires_grad=True)
    old, advantages = torch.full((3,), -170.0), torch.tensor([-2.0, 2.0, -2.0])
    log_weight = torch.tensor([-151.0, -151.0, -math.inf])
    found = losses.weighted_surrogate_losses(log_prob, old, advantages, 0.2, log_weight)
    assert found.tolist() == pytest.approx([2.0 / math.e, 0.0, 0.0])
    (gradient,) = torch.autograd.grad(found.sum(), log_prob)
    assert gradient.tolist() == pytest.approx([2.0 / math.e, 0.0, 0.0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.1, 2.0, -2.2),  # inside the interval: minus ratio times advantage
        (1.5, 2.0, -2.4),  # a good action is not pushed beyond 1.2
        (0.5, 2.0, -1.0),  # but is brought back
        (1.5, -2.0, 3.0),  # a bad action is pushed down however far it went up
        (0.5, -2.0, 1.6),  # and not below 0.8
    ],
)
def test_the_surrogate_is_the_pessimistic_one_of_clipped_and_plain(ratio, advantage, loss):
    log_prob = torch.tensor([math.log(ratio) - 1.0])
    found = losses.surrogate_losses(log_prob, torch.tensor([-1.0]), torch.tensor([advantage]), 0.2)
    assert found.item() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("sign", "gradient"), [(1.0, 0.0), (-1.0, 1.0)])
def test_a_clipped_ratio_gets_no_gradient_in_the_direction_it_already_went(sign, gradient):
    log_prob = torch.tensor([math.log(1.5)], requires_grad=True)
    losses.surrogate_losses(log_prob, torch.zeros(1), torch.tensor([sign]), 0.2).sum().backward()
    assert bool(log_prob.grad.abs() > 0.5) == bool(gradient)


def test_the_value_loss_takes_the_larger_error_of_clipped_and_new_value():
    # Old 1, new 2, clip 0.2 -> clipped 1.2. Return 3: errors 1 and 1.8^2 = 3.24. Return 1: errors 1 and 0.04.
    values, old = torch.tensor([[2.0], [2.0]]), torch.ones(2, 1)
    returns = torch.tensor([[3.0], [1.0]])
    assert losses.value_loss(values, old, returns, 0.2).item() == pytest.approx((3.24 + 1.0) / 2)
    assert losses.value_loss(values, old, returns, None).item() == pytest.approx((1.0 + 1.0) / 2)


def test_log_probability_entropy_and_kl_of_a_diagonal_gaussian():
    mean, std = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    actions = torch.tensor([[1.0, -1.0]])
    # Standardised distances 1 and -1: -1/2 - 1/2 - log 1 - log 2 - log 2 pi.
    assert losses.gaussian_log_prob(mean, std, actions).item() == pytest.approx(
        -1.0 - math.log(2.0) - math.log(2 * math.pi)
    )
    # 2 (1/2 + 1/2 log 2 pi) + log 2
    assert losses.gaussian_entropy(std).item() == pytest.approx(1.0 + math.log(2 * math.pi) + math.log(2.0))
    # To N(1, 1) and N(1, 1): log 1 + (1 + 1) / 2 - 1/2 = 1/2 and -log 2 + 4 / 2 - 1/2 = 3/2 - log 2.
    other = torch.ones(1, 2)
    assert losses.gaussian_kl(mean, std, other, other).item() == pytest.approx(2.0 - math.log(2.0))
    # And back: log 1 + (1 + 1) / 2 - 1/2 = 1/2 and log 2 + 1 / 8 - 1/2.
    assert losses.gaussian_kl(other, other, mean, std).item() == pytest.approx(0.5 + math.log(2.0) - 0.375)


def test_regression_is_the_mean_square_and_teaches_the_student_only():
    student = torch.tensor([[1.0, 2.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 4.0]], requires_grad=True)
    loss = losses.regression_loss(student, teacher)
    loss.backward()
    assert loss.item() == 2.5  # (1 + 4) / 2
    assert torch.equal(student.grad, torch.tensor([[1.0, -2.0]]))  # 2 (s - t) / 2
    assert teacher.grad is None
