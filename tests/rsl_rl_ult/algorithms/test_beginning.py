"""A training that begins with the networks of another: what carries over, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.learning import ToyEnv, build, collect, make_cfg, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import CTS, SITT, TS, assert_equal, ts_cfg
from tests.ult import ult_cfg

RMA = "rsl_rl_ult.algorithms:PPO_RMA"
PER_GROUP = ts_cfg(CTS, actor={"preset": "per_group"})


def begun(cfg: dict, source: dict) -> tuple[Any, Any, Any]:
    """An algorithm of `cfg` that began with what two updates made of `source`, that one, and what was taken over."""
    other, _ = train(source, iterations=2)
    alg = build(cfg, ToyEnv(), seed=7)
    return alg, other, alg.begin_with(other.save(), source, ToyEnv().get_observations())


@pytest.mark.parametrize("cfg", [ts_cfg(TS), ts_cfg(RMA), PER_GROUP], ids=["TS", "RMA", "CTS"])
def test_all_policies_act_as_those_of_another_method_and_the_critic_values_alike(cfg):
    alg, other, taken = begun(cfg, ts_cfg(TS))
    assert taken.new == () and taken.gaps == {"teacher": 0.0, "student": 0.0}
    obs = ToyEnv(seed=5).get_observations()
    for name, policy in other.inference_policies().items():
        policy.reset()
        assert torch.equal(alg.policies[name](obs), policy(obs))
    assert_equal(alg.network.state_dict(), other.network.state_dict())


def test_a_critic_that_also_reads_a_latent_begins_with_zeros_for_it():
    alg, other, taken = begun(ts_cfg(CTS), ts_cfg(TS, actor={"latent_norm": "l2"}))
    first, theirs = (one.network.state_dict()["critic.0.weight"] for one in (alg, other))
    columns, latent = theirs.shape[1], alg.network.latent_dim
    assert first.shape[1] == columns + latent and taken.new == ()
    assert torch.equal(first[:, :columns], theirs) and not first[:, columns:].any()


def test_what_only_this_method_has_is_new_and_named():
    alg, _, taken = begun(ts_cfg(SITT), ts_cfg(TS))
    fresh = build(ts_cfg(SITT), ToyEnv(), seed=7).network.state_dict()
    assert taken.new == ("proxy_encoder",)
    proxy = {name: value for name, value in alg.network.state_dict().items() if name.startswith("proxy_encoder")}
    assert_equal(proxy, {name: fresh[name] for name in proxy})


def test_a_critic_of_other_groups_is_new():
    cfg = ts_cfg(TS)
    cfg["obs_groups"] = {**cfg["obs_groups"], "critic": ["privileged"]}
    alg, other, taken = begun(cfg, ts_cfg(TS))
    assert set(taken.new) == {"critic", "normalizers.critic"}
    assert torch.equal(alg.network.state_dict()["actor.0.weight"], other.network.state_dict()["actor.0.weight"])


def test_weights_that_mean_something_else_here_are_told_by_their_actions():
    _, _, taken = begun(ts_cfg(TS, actor={"activation": "tanh"}), ts_cfg(TS))
    assert min(taken.gaps.values()) > 1e-3


def test_networks_of_other_shapes_are_refused_and_nothing_is_changed():
    alg = build(ts_cfg(TS, actor={"latent_dim": 5}), ToyEnv(), seed=7)
    before = {name: value.clone() for name, value in alg.network.state_dict().items()}
    for source, said in ((ts_cfg(TS), "tensors differ: "), (ult_cfg(), "tensors differ: ")):
        other, _ = train(source, iterations=1)
        with pytest.raises(ValueError, match=said):
            alg.begin_with(other.save(), source, ToyEnv().get_observations())
        assert_equal(alg.network.state_dict(), before)


def test_a_checkpoint_of_another_program_is_refused():
    alg = build(ts_cfg(TS), ToyEnv())
    with pytest.raises(ValueError, match=r"not written by one of our methods but by rsl_rl\.algorithms:PPO"):
        cfg = make_cfg("rsl_rl.algorithms:PPO")
        alg.begin_with({"actor_state_dict": {}}, cfg, ToyEnv().get_observations())


def test_a_teacher_that_was_frozen_there_is_trained_here():
    teacher, _ = train(ts_cfg(TS), iterations=1)
    other = build(ts_cfg(RMA), ToyEnv())
    other.load_teacher(teacher.save(), ts_cfg(TS), ToyEnv().get_observations())
    alg, env = build(ts_cfg(RMA), ToyEnv()), ToyEnv()
    alg.begin_with(other.save(), ts_cfg(RMA), env.get_observations())
    assert other.frozen_teacher and not alg.frozen_teacher
    before = alg.network.state_dict()["actor.0.weight"].clone()
    collect(alg, env, env.get_observations(), 6)
    assert "surrogate" in alg.update()
    assert not torch.equal(alg.network.state_dict()["actor.0.weight"], before)
