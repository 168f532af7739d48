"""A loaded teacher acts as it did where it was trained, learns nothing more, and fits where its latent does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rsl_rl_ult.algorithms.teacher import load_teacher
from tests.learning import ACTIONS, ToyEnv, build, collect, make_cfg, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import CTS, SITT, TS, assert_equal, ts_cfg
from tests.ult import ult_cfg

RMA = "rsl_rl_ult.algorithms:PPO_RMA"
CFGS = {
    "PPO": make_cfg(),
    "TS": ts_cfg(TS),
    "CTS": ts_cfg(CTS),
    "RMA": ts_cfg(RMA, stage1_iterations=1),
    "SITT": ts_cfg(SITT),
    "ULT": ult_cfg(),
}


def trained(name: str) -> tuple[Any, dict]:
    """An algorithm after two updates, and its checkpoint."""
    alg, _ = train(CFGS[name], iterations=2)
    return alg, alg.save()


def without_student(alg: Any) -> dict:
    """Weights of a network but E_hist, copied."""
    state = alg.network.state_dict()
    return {name: value.clone() for name, value in state.items() if not name.startswith("history_encoder")}


def followed(cfg: dict, source: str = "TS") -> tuple[Any, Any]:
    """An algorithm of `cfg` with a teacher that `source` has trained, and that teacher's algorithm."""
    teacher, saved = trained(source)
    alg = build(cfg, ToyEnv(), seed=7)
    alg.load_teacher(saved, CFGS[source], ToyEnv().get_observations())
    return alg, teacher


@pytest.mark.parametrize("name", CFGS)
def test_a_loaded_policy_acts_as_it_did_and_has_no_gradients(name):
    alg, saved = trained(name)
    env = ToyEnv(seed=3)
    loaded = load_teacher(saved, CFGS[name], env.get_observations(), ACTIONS)
    policies = alg.inference_policies()
    expected = policies.get("teacher", policies.get("policy"))
    expected.reset()
    for step in range(6):
        obs, dones = env.get_observations(), torch.arange(8) == step
        assert torch.equal(loaded.act(obs), expected(obs))
        loaded.policy.reset(dones)
        expected.reset(dones)
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    assert set(loaded.sets) == set(alg.sets) and loaded.method == type(alg).__name__


@pytest.mark.parametrize("source", ["TS", "RMA", "SITT"])
@pytest.mark.parametrize("follower", [TS, RMA])
def test_only_the_student_of_a_loaded_teacher_learns(source, follower):
    alg, teacher = followed(ts_cfg(follower), source)
    obs = ToyEnv(seed=5).get_observations()
    assert torch.equal(alg.policies["teacher"](obs), teacher.policies["teacher"](obs))
    before, student = without_student(alg), copy.deepcopy(alg.network.history_encoder.state_dict())
    env = ToyEnv()
    obs = env.get_observations()
    for _ in range(3):
        obs = collect(alg, env, obs, 6)
        metrics = alg.update()
        assert {"student_latent", "student_action"} <= set(metrics) and "surrogate" not in metrics
    assert_equal(without_student(alg), before)
    assert not torch.equal(alg.network.history_encoder.state_dict()["mlp.0.weight"], student["mlp.0.weight"])


def with_critic(groups: list[str], **options) -> dict:
    """A configuration of RMA whose critic reads these groups."""
    cfg = ts_cfg(RMA)
    return {
        **cfg,
        "obs_groups": {**cfg["obs_groups"], "critic": groups},
        "critic": {**cfg["critic"], **options},
    }


@pytest.mark.parametrize(
    ("cfg", "same"),
    [
        (with_critic(["policy", "privileged"]), True),
        (with_critic(["policy", "privileged"], hidden_dims=[9]), False),
        (with_critic(["privileged", "policy"]), False),  # as many columns
    ],
)
def test_the_critic_of_a_loaded_teacher_comes_with_it_where_it_fits(cfg, same):
    source = with_critic(["policy", "privileged"])
    teacher, _ = train(source, iterations=2)
    alg, obs = build(cfg, ToyEnv(), seed=7), ToyEnv(seed=5).get_observations()
    alg.load_teacher(teacher.save(), source, ToyEnv().get_observations())
    assert torch.equal(alg.policies["teacher"](obs), teacher.policies["teacher"](obs))
    found, expected = (one.network.critic[0].weight for one in (alg, teacher))
    assert (found.shape == expected.shape and torch.equal(found, expected)) == same
    assert torch.equal(alg.last_values(obs), teacher.last_values(obs)) == same


def test_rma_starts_in_stage_two_where_the_student_acts_and_ts_lets_the_teacher_act():
    obs = ToyEnv().get_observations()
    for cfg, actor in ((ts_cfg(RMA), "student"), (ts_cfg(TS), "teacher")):
        alg, _ = followed(cfg)
        alg.act(obs)
        assert torch.equal(alg._step.decision.mean, alg.policies[actor](obs))
        assert actor == "teacher" or alg.stage == 2


@pytest.mark.parametrize("load_cfg", [None, {"actor": True, "critic": True, "optimizer": True, "iteration": False}])
def test_a_restart_goes_on_without_training_the_teacher(load_cfg):
    alg, _ = followed(ts_cfg(TS))
    other = build(ts_cfg(TS), ToyEnv(), seed=9)
    other.load(alg.save(), load_cfg)
    before = without_student(other)
    env = ToyEnv()
    collect(other, env, env.get_observations(), 6)
    other.update()
    assert_equal(without_student(other), before)


@pytest.mark.parametrize(
    ("follower", "source", "message"),
    [
        (ts_cfg(TS), "PPO", "a teacher trained by PPO has no latent that a student could learn"),
        (ts_cfg(TS), "ULT", "a teacher trained by PPO_ULT has no latent"),
        (ts_cfg(TS), "CTS", "the teacher's latents have latent_norm=l2, the student's none: set actor.latent_norm=l2"),
        (ts_cfg(TS, {"latent_dim": 5}), "TS", r"tensors differ: actor\.0\.weight \(16, 8\) instead of \(16, 10\)"),
        (ts_cfg(TS, num_encoder_steps=0), "TS", "num_encoder_steps=0: with a loaded teacher nothing would be learnt"),
        (ts_cfg(CTS), "TS", "PPO_CTS trains teacher and student together"),
        (ts_cfg(SITT), "TS", "PPO_SITT shapes its teacher while that learns: .* with PPO_TS or PPO_RMA"),
        (make_cfg(), "TS", "PPO has no use for a loaded teacher"),
        (ult_cfg(), "TS", "PPO_ULT has no use for a loaded teacher"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_changes(follower, source, message):
    _, saved = trained(source)
    alg = build(follower, ToyEnv())
    before = copy.deepcopy(alg.network.state_dict())
    with pytest.raises(ValueError, match=message):
        alg.load_teacher(saved, CFGS[source], ToyEnv().get_observations())
    assert_equal(alg.network.state_dict(), before)
    assert not alg.frozen_teacher


class TwoGroupsEnv(ToyEnv):
    """The privileged vector also in two groups, and in a group of its width that holds something else."""

    def get_observations(self):
        obs = super().get_observations()
        obs["front"], obs["back"] = obs["privileged"][:, :2], obs["privileged"][:, 2:]
        obs["other"] = obs["privileged"].flip(-1)
        return obs


def privileged_cfg(groups: list, **actor: Any) -> dict:
    cfg = ts_cfg(TS, actor)
    cfg["obs_groups"]["privileged"] = groups
    return cfg


@pytest.mark.parametrize(
    ("groups", "actor", "message"),
    [
        (["front", "back"], {"activation": "tanh"}, r"would act unlike the one of PPO_TS: .* set actor\.activation"),
        (["back", "front"], {}, "mean actions differ by up to .* the groups of obs_groups with their order"),
        (["other"], {}, "mean actions differ by up to .* the groups of obs_groups"),
        (["front", "back"], {"distribution_cfg": {"std_type": "log"}}, "by up to 0, deviations by up to .*std_type"),
    ],
)
def test_a_copy_that_would_act_in_another_way_is_refused_before_anything_changes(groups, actor, message):
    source, env = privileged_cfg(["front", "back"]), TwoGroupsEnv()
    saved = build(source, env, seed=3).save()
    alg = build(privileged_cfg(groups, **actor), env)
    before = copy.deepcopy(alg.network.state_dict())
    with pytest.raises(ValueError, match=message):
        alg.load_teacher(saved, source, env.get_observations())
    assert_equal(alg.network.state_dict(), before)
    assert not alg.frozen_teacher


def test_groups_of_another_name_with_the_same_columns_fit():
    source, env = privileged_cfg(["front", "back"]), TwoGroupsEnv()
    alg = build(privileged_cfg(["privileged"]), env)
    alg.load_teacher(build(source, env, seed=3).save(), source, env.get_observations())
    assert alg.frozen_teacher


def test_a_teacher_of_cts_fits_where_the_latents_are_of_its_kind():
    alg, teacher = followed(ts_cfg(TS, {"latent_norm": "l2"}), "CTS")
    obs = ToyEnv(seed=5).get_observations()
    assert torch.equal(alg.policies["teacher"](obs), teacher.policies["teacher"](obs))


def test_a_checkpoint_of_another_program_is_refused():
    upstream = make_cfg("rsl_rl.algorithms:PPO")
    saved = build(upstream, ToyEnv()).save()
    with pytest.raises(ValueError, match=r"not written by one of our methods but by rsl_rl\.algorithms:PPO"):
        load_teacher(saved, upstream, ToyEnv().get_observations(), ACTIONS)
