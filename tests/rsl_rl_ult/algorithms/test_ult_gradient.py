"""What each read-out of PPO_ULT learns is a policy gradient: its expectation, its variance, and that the test can tell.

The rows of a minibatch are independent, so the gradient with respect to the mean actions of each row gives an estimate
of the expectation with a standard error. 24 components are tested at 4.5 standard errors: a correct loss fails in one
of 6000 seeds, and the seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import PPO_ULT
from rsl_rl_ult.modules.actor_critic_ult import Readouts, ULTEvaluation
from tests.ult import make_batch

SAMPLES, ACTIONS, STD = 200_000, 12, 0.4
LIMIT = 4.5
MODES = ["acted", "student_from_teacher", "mixture"]


class Deviation:
    """Stands in for the network: its standard deviation is all that the surrogate asks for."""

    def std(self) -> torch.Tensor:
        return torch.full((ACTIONS,), STD)


class Gradient:
    """Gradients (B, A) of the loss of B samples by each read-out's mean action in each of them, times B."""

    def __init__(self, student: torch.Tensor, teacher: torch.Tensor) -> None:
        self.rows = {"student": student * len(student), "teacher": teacher * len(teacher)}

    def mean(self, role: str) -> torch.Tensor:
        return self.rows[role].mean(0)

    def error(self, role: str) -> torch.Tensor:
        return self.rows[role].std(0) / SAMPLES**0.5

    def deviations(self, role: str, expected: torch.Tensor | float = 0.0) -> float:
        """Distance of the worst component from `expected` in standard errors."""
        error = self.error(role).clamp(min=1e-12)
        return ((self.mean(role) - expected).abs() / error).max().item()


def gradient(
    samples: str,
    ratio: float,
    gap: float,
    advantages: Callable[[torch.Tensor], torch.Tensor],
    surrogate: Callable[..., torch.Tensor] = PPO_ULT.surrogate,
) -> Gradient:
    """Before the first gradient step of an update, with `gap` (mean square over actions) between the read-outs.

    `advantages` gets the actions (B, A) and returns (B,).
    """
    torch.manual_seed(round(100 * ratio))
    alg: Any = PPO_ULT.__new__(PPO_ULT)
    alg.network, alg.policy_samples, alg.clip_param = Deviation(), samples, 0.2
    teacher = torch.rand(SAMPLES) < ratio
    means = {"student": torch.zeros(SAMPLES, ACTIONS), "teacher": torch.full((SAMPLES, ACTIONS), gap**0.5)}
    acting = torch.where(teacher[:, None], means["teacher"], means["student"])
    other = torch.where(teacher[:, None], means["student"], means["teacher"])
    std = alg.network.std().expand_as(acting)
    actions = torch.normal(acting, std)
    leaves = {role: mean.clone().requires_grad_() for role, mean in means.items()}
    old, other_old = (losses.gaussian_log_prob(mean, std, actions) for mean in (acting, other))
    readouts = Readouts(**leaves, frame_token=other, privileged_token=other)
    other_old = None if samples == "acted" else other_old
    batch = make_batch(actions, teacher, old, other_old, advantages(actions)[:, None], ratio)
    evaluation = ULTEvaluation(readouts.acting(teacher), std, std, readouts)
    log_prob = losses.gaussian_log_prob(evaluation.mean, std, actions)
    per_sample = alg.clipped_surrogate(log_prob, batch.acted.log_prob, batch.acted.advantages)
    loss = surrogate(alg, per_sample, batch, evaluation)
    return Gradient(*torch.autograd.grad(loss, [leaves["student"], leaves["teacher"]], materialize_grads=True))


def noise(actions: torch.Tensor) -> torch.Tensor:
    return torch.randn(len(actions))


def ratios_to_the_acting_policy(alg: Any, per_sample: torch.Tensor, batch: Any, evaluation: Any) -> torch.Tensor:
    """No policy gradient: the read-out that did not act, with its ratio to the policy that did, clipped around 1."""
    mean = evaluation.readouts.other(batch.teacher)
    log_prob = losses.gaussian_log_prob(mean, alg.network.std().expand_as(mean), batch.actions)
    other = alg.clipped_surrogate(log_prob, batch.acted.log_prob, batch.acted.advantages)
    return 0.5 * (per_sample.mean() + other.mean())


@pytest.mark.parametrize("ratio", [0.5, 0.25, 0.9])
@pytest.mark.parametrize("gap", [0.0, 0.005, 0.1])
@pytest.mark.parametrize("samples", MODES)
def test_noise_as_advantages_gives_neither_read_out_an_expected_gradient(samples, gap, ratio):
    found = gradient(samples, ratio, gap, noise)
    for role in ("student", "teacher"):
        assert found.deviations(role) < LIMIT, role
        assert found.rows[role].any()


def test_ratios_to_the_acting_policy_would_be_noticed():
    """The test above can fail: clipping far from 1 pulls the read-outs together, by dozens of standard errors."""
    found = gradient("acted", 0.5, 0.005, noise, ratios_to_the_acting_policy)
    assert found.deviations("student") > 20 and found.deviations("teacher") > 20
    # Descent moves each towards the other: the student up to the teacher's positive mean, the teacher down.
    assert (found.mean("student") < 0).all() and (found.mean("teacher") > 0).all()


@pytest.mark.parametrize("ratio", [0.5, 0.25, 0.9])
@pytest.mark.parametrize("samples", MODES)
def test_a_constant_advantage_gives_neither_read_out_an_expected_gradient(samples, ratio):
    """E[grad log pi] = 0, whatever the critic's error: exact, because no weight is truncated."""
    found = gradient(samples, ratio, 0.02, lambda actions: torch.ones(len(actions)))
    assert max(found.deviations(role) for role in ("student", "teacher")) < LIMIT


@pytest.mark.parametrize("samples", MODES)
def test_the_expected_gradient_is_that_of_the_acted_samples(samples):
    # Advantage = first action: dE[a_0] / d mean_0 = 1 for the share of the samples that are one's own, so -(1 - ratio)
    # for the student's loss and -ratio for the teacher's; 0 for the other components.
    found = gradient(samples, 0.25, 0.02, lambda actions: actions[:, 0])
    first = torch.eye(ACTIONS)[0]
    assert found.deviations("student", -0.75 * first) < LIMIT
    assert found.deviations("teacher", -0.25 * first) < LIMIT


@pytest.mark.parametrize("samples", MODES[1:])
def test_samples_of_the_other_read_out_make_the_gradient_less_noisy(samples):
    # Equal read-outs: "acted" has weight 1 on a share w of the samples, variance w v; here weight w on all of them,
    # variance w^2 v. w = 0.5.
    acted, found = (gradient(mode, 0.5, 0.0, noise) for mode in ("acted", samples))
    for role in ("student", "teacher"):
        shared = samples == "mixture" or role == "student"
        variance = (found.rows[role].var(0) / acted.rows[role].var(0)).mean().item()
        assert variance == pytest.approx(0.5 if shared else 1.0, rel=0.05), role
    far = (gradient(mode, 0.5, 0.1, noise) for mode in (samples, "acted"))
    shared, own = (g.rows["student"].var(0).mean().item() for g in far)
    assert 0.5 < shared / own < 1.0  # the further apart, the less there is to share


@pytest.mark.parametrize("samples", MODES)
def test_read_outs_that_come_from_far_apart_have_finite_gradients(samples):
    """The student comes from 40 deviations away to where the teacher acts: its ratio there is e^9600, its weight 0."""
    alg: Any = PPO_ULT.__new__(PPO_ULT)
    alg.network, alg.policy_samples, alg.clip_param = Deviation(), samples, 0.2
    teacher = torch.tensor([True, True, False, False])
    near, far = torch.zeros(4, ACTIONS), torch.full((4, ACTIONS), 40 * STD)
    actions, std = torch.where(teacher[:, None], near, far), alg.network.std().expand(4, ACTIONS)
    own = losses.gaussian_log_prob(actions, std, actions)
    other = None if samples == "acted" else losses.gaussian_log_prob(far + near - actions, std, actions)
    leaves = [near.clone().requires_grad_(), near.clone().requires_grad_()]
    readouts = Readouts(student=leaves[0], teacher=leaves[1], frame_token=near, privileged_token=near)
    batch = make_batch(actions, teacher, own, other, torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None])
    evaluation = ULTEvaluation(readouts.acting(teacher), std, std, readouts)
    log_prob = losses.gaussian_log_prob(evaluation.mean, std, actions)
    per_sample = alg.clipped_surrogate(log_prob, own, batch.acted.advantages)
    loss = PPO_ULT.surrogate(alg, per_sample, batch, evaluation)
    assert loss.isfinite()
    for found in torch.autograd.grad(loss, leaves, materialize_grads=True):
        assert found.isfinite().all()
