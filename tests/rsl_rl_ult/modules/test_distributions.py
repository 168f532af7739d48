"""Gaussian and categorical policies against torch.distributions, and a categorical policy from rollout to export."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.modules import ActorCritic, ActorCriticTS, ActorCriticULT
from rsl_rl_ult.modules.distributions import Categorical, DiagonalGaussian
from rsl_rl_ult.policies.export import FrameExport
from rsl_rl_ult.policies.policy import Policy
from tests.learning import make_cfg, train

CATEGORICAL = {"actor": {"distribution_cfg": {"class_name": "CategoricalDistribution"}}}
NO_STD = torch.zeros(1)


def test_gaussian_formulas_are_those_of_torch():
    mean, std, other, other_std = torch.randn(5, 3), torch.rand(5, 3) + 0.1, torch.randn(5, 3), torch.rand(5, 3) + 0.1
    actions = torch.randn(5, 3)
    first, second = (torch.distributions.Normal(*pair) for pair in ((mean, std), (other, other_std)))
    assert torch.allclose(DiagonalGaussian.log_prob(mean, std, actions), first.log_prob(actions).sum(-1))
    assert torch.allclose(DiagonalGaussian.entropy(mean, std), first.entropy().sum(-1))
    expected = torch.distributions.kl_divergence(first, second).sum(-1)
    assert torch.allclose(DiagonalGaussian.kl(mean, std, other, other_std), expected, rtol=1e-5)
    assert DiagonalGaussian.mode(mean) is mean


def test_categorical_formulas_are_those_of_torch():
    logits, other = 3 * torch.randn(50, 4), 3 * torch.randn(50, 4)
    choice = torch.randint(4, (50,))
    actions = torch.nn.functional.one_hot(choice, 4).float()
    first, second = torch.distributions.Categorical(logits=logits), torch.distributions.Categorical(logits=other)
    assert torch.allclose(Categorical.log_prob(logits, NO_STD, actions), first.log_prob(choice), atol=1e-6)
    assert torch.allclose(Categorical.entropy(logits, NO_STD), first.entropy(), atol=1e-6)
    expected = torch.distributions.kl_divergence(first, second)
    assert torch.allclose(Categorical.kl(logits, NO_STD, other, NO_STD), expected, atol=1e-5)
    assert (Categorical.kl(logits, NO_STD, other, NO_STD) > 0).all()
    assert Categorical.kl(logits, NO_STD, logits + 7.0, NO_STD).abs().max() < 1e-5  # logits are unnormalised


def test_the_categorical_kl_takes_the_expectation_under_the_first_policy():
    # p = (3/4, 1/4), q = (1/2, 1/2): KL(p||q) = 3/4 log(3/2) + 1/4 log(1/2) = 0.13081,
    # KL(q||p) = 1/2 log(2/3) + 1/2 log 2 = 0.14384.
    p, q = torch.tensor([[0.75, 0.25]]).log(), torch.tensor([[0.5, 0.5]]).log()
    assert Categorical.kl(p, NO_STD, q, NO_STD).item() == pytest.approx(0.13081, abs=1e-5)
    assert Categorical.kl(q, NO_STD, p, NO_STD).item() == pytest.approx(0.14384, abs=1e-5)


def test_categorical_samples_are_one_hot_and_as_frequent_as_their_probabilities():
    logits = torch.tensor([0.5, 0.3, 0.2, 0.0]).log().repeat(20_000, 1)
    actions = Categorical.sample(logits, NO_STD)
    assert torch.equal(actions.sum(-1), torch.ones(20_000)) and set(actions.unique().tolist()) == {0.0, 1.0}
    # Standard deviation of a frequency: at most sqrt(0.25 / 20 000) = 0.0035.
    assert torch.allclose(actions.mean(0), torch.tensor([0.5, 0.3, 0.2, 0.0]), atol=0.015)
    assert actions[:, 3].sum() == 0
    assert torch.equal(Categorical.mode(logits[:2]), torch.tensor([[1.0, 0, 0, 0]] * 2))


@pytest.mark.parametrize("cls", [ActorCritic, ActorCriticTS])
def test_a_categorical_network_has_no_deviation_to_learn(cls):
    privileged = {"num_privileged_obs": 3} if cls is ActorCriticTS else {}
    network = cls(num_actor_obs=5, num_critic_obs=5, num_actions=4, distribution="categorical", **privileged)
    assert not [name for name in network.state_dict() if name.startswith("std")]
    assert torch.equal(network.std(), torch.zeros(4))


def test_unknown_distributions_and_those_a_network_cannot_have_are_refused():
    with pytest.raises(ValueError, match=r"distribution 'beta': ActorCritic expects one of gaussian, categorical"):
        ActorCritic(5, 5, 4, distribution="beta")
    with pytest.raises(ValueError, match=r"distribution 'categorical': ActorCriticULT expects one of gaussian"):
        ActorCriticULT(5, 5, 4, 3, distribution="categorical")


@pytest.mark.parametrize("method", ["PPO", "PPO_TS", "PPO_CTS"])
def test_methods_train_categorical_policies(method):
    alg, metrics = train(make_cfg(f"rsl_rl_ult.algorithms:{method}", **CATEGORICAL), iterations=2)
    assert all(torch.isfinite(torch.tensor(list(found.values()))).all() for found in metrics)
    actions = alg.storage.flat("actions")
    assert torch.equal(actions.sum(-1), torch.ones(len(actions)))
    assert torch.equal(alg.storage.flat("std"), torch.zeros_like(actions))


def test_exports_of_a_categorical_policy_give_its_likeliest_choice():
    network = ActorCritic(num_actor_obs=5, num_critic_obs=5, num_actions=4, distribution="categorical")
    obs = torch.randn(6, 5)
    expected = Policy(network, {"actor": ["policy"], "critic": ["policy"]})({"policy": obs})
    assert torch.equal(expected.argmax(-1), network.policy_mean({"actor": obs}).argmax(-1))
    assert torch.equal(torch.jit.script(FrameExport(network))(obs), expected)
