"""A method that this package does not have fits into the hooks: a network, an algorithm, and no edit elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import METHODS, PPO_TS
from rsl_rl_ult.algorithms.rollout_state import Decision
from rsl_rl_ult.hosts.common import HostAlgorithm, HostPolicy, host_classes
from rsl_rl_ult.modules import ActorCriticTS
from rsl_rl_ult.modules.mlp import MLP
from rsl_rl_ult.storage import Batch
from tests.learning import ToyEnv, build, collect, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import assert_equal, ts_cfg, without_student


class ActorCriticProxy(ActorCriticTS):
    """A third encoder that guesses the teacher's latent from the frame alone."""

    def __init__(self, *args: Any, proxy_hidden_dims: Any = (8,), **options: Any) -> None:
        super().__init__(*args, **options)
        self.proxy = MLP(self.dims["actor"], self.latent_dim, proxy_hidden_dims, "elu")

    def proxy_mean(self, inputs: Any) -> torch.Tensor:
        return self.head(inputs, self.proxy(inputs["actor"]))

    def actor_parameters(self) -> list:
        return [*super().actor_parameters(), *self.proxy.parameters()]


@dataclass
class ProxyBatch(Batch):
    """Also the distance that was measured while acting."""

    distance: torch.Tensor
    """(B, 1)."""


class PPO_Proxy(PPO_TS):  # noqa: N801
    """The teacher pays for acting unlike its proxy, which learns beside it."""

    network_class = ActorCriticProxy
    stored_names = ("distance",)

    def __init__(self, *args: Any, distance_weight: float = 0.1, **options: Any) -> None:
        super().__init__(*args, **options)
        self.distance_weight = distance_weight

    def decide(self, obs: Any, inputs: Any) -> Decision:
        found = super().decide(obs, inputs)
        gap = (found.mean - self.network.proxy_mean(inputs)).square().mean(-1, keepdim=True)
        return Decision(found.mean, found.value, {"distance": gap})

    def shape_rewards(self, rewards: torch.Tensor, step: Any) -> torch.Tensor:
        return rewards - self.distance_weight * step.decision.stored["distance"][:, 0]

    def make_batch(self, rows: torch.Tensor) -> ProxyBatch:
        return ProxyBatch(**vars(super().make_batch(rows)), distance=self.storage.flat("distance")[rows])

    def auxiliary_losses(self, batch: ProxyBatch, evaluation: Any, policy_loss: torch.Tensor) -> dict:
        found = losses.regression_loss(self.network.proxy_mean(batch.inputs), evaluation.mean)
        return {"proxy": (1.0, found), "distance": (0.0, batch.distance.mean())}


def proxy_cfg(**algorithm: Any) -> dict:
    """The network is found by its bare name, because the algorithm names its class."""
    return ts_cfg(PPO_Proxy, {"class_name": "ActorCriticProxy"}, **algorithm)  # type: ignore


def test_its_losses_and_options_are_used():
    alg, history = train(proxy_cfg(distance_weight=0.5), iterations=2)
    assert isinstance(alg.network, ActorCriticProxy) and alg.distance_weight == 0.5
    assert {"student_latent", "proxy", "distance", "surrogate"} <= set(history[0])
    started = build(proxy_cfg(), ToyEnv()).network.proxy.state_dict()
    for name, value in alg.network.proxy.state_dict().items():
        assert not torch.equal(value, started[name]), name


class SlowFirst(PPO_TS):
    """Its first group does not have the scheduled learning rate."""

    first: Any = None

    def parameter_groups(self) -> list:
        policy, student = super().parameter_groups()
        return [{"params": policy["params"], **self.first}, student]


@pytest.mark.parametrize("first", [{"lr_scale": 0.5}, {"lr": 1e-3}])
def test_the_first_parameter_group_has_the_scheduled_learning_rate(monkeypatch, first):
    monkeypatch.setattr(SlowFirst, "first", first)
    with pytest.raises(ValueError, match=r"SlowFirst\.parameter_groups: the first group has lr_scale=.* expected"):
        build(ts_cfg(SlowFirst, {"class_name": "ActorCriticTS"}), ToyEnv())  # type: ignore


def test_rewards_are_shaped_before_time_outs_are_bootstrapped():
    env = ToyEnv()
    alg = build(proxy_cfg(distance_weight=2.0), env)
    alg.act(env.get_observations())
    decision, rewards = alg._step.decision, torch.arange(8.0)
    time_outs = torch.tensor([1, 0] * 4)
    alg.process_env_step(env.get_observations(), rewards, time_outs, {"time_outs": time_outs})
    expected = rewards - 2.0 * decision.stored["distance"][:, 0] + 0.99 * decision.value[:, 0] * time_outs
    assert torch.allclose(alg.storage["rewards"][0, :, 0], expected)
    assert decision.stored["distance"].min() > 0


def test_without_its_weight_the_teacher_is_that_of_its_base():
    plain, _ = train(ts_cfg(), iterations=3)
    env = ToyEnv()
    alg = build(proxy_cfg(distance_weight=0.0), env)
    alg.network.load_state_dict(build(ts_cfg(), ToyEnv()).network.state_dict(), strict=False)
    alg.auxiliary_losses = lambda *_: {}
    obs = env.get_observations()
    for iteration in range(3):
        torch.manual_seed(101 + iteration)
        obs = collect(alg, env, obs, 6)
        alg.update()
    found = {k: v for k, v in without_student(alg.network.state_dict()).items() if not k.startswith("proxy")}
    assert_equal(found, without_student(plain.network.state_dict()))


def test_the_stock_runner_trains_and_exports_it(tmp_path):
    runner = OnPolicyRunner(ToyEnv(), proxy_cfg(), str(tmp_path), "cpu")
    runner.learn(1)
    runner.export_policy_to_jit(str(tmp_path))


def test_a_line_in_the_table_of_methods_gives_it_to_hosts_of_every_generation(monkeypatch):
    monkeypatch.setitem(METHODS, "PPO_Proxy", PPO_Proxy)
    found = host_classes(HostPolicy, HostAlgorithm, "somewhere")
    assert found["PPO_Proxy"].core_class is PPO_Proxy  # type: ignore
    assert found["ActorCriticProxy"].core_class is PPO_Proxy  # type: ignore
    assert {"PPO", "PPO_ULT", "ActorCriticULT"} <= set(found)
