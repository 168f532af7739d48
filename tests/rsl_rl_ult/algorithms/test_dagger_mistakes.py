"""DAgger: options and teachers that do not fit are refused in one line, before anything changes."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.learning import ToyEnv, build, make_cfg
from tests.rsl_rl_ult.algorithms.test_dagger import SOURCES, dagger_cfg, teacher_of
from tests.rsl_rl_ult.algorithms.test_ppo_ts import assert_equal
from tests.toy_symmetry import mirror


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta_schedule": "cosine"}, "beta_schedule 'cosine': expected one of linear, exponential, indicator"),
        ({"beta_start": -0.1}, r"beta_start=-0\.1: a probability that the teacher acts, expected in \[0, 1\]"),
        ({"beta_rounds": 0}, "beta_rounds=0: expected at least 1"),
        ({"mix_mode": "sometimes"}, "mix_mode 'sometimes': expected one of per_step, per_episode, per_env"),
        ({"aggregate": "some"}, "aggregate 'some': expected one of all, window, none"),
        ({"window_rollouts": 0}, "window_rollouts=0: expected at least 1"),
        ({"student_noise": -1.0}, r"student_noise=-1\.0: expected a number of at least 0"),
        ({"loss": "l1"}, "loss 'l1': expected one of mse, huber, kl, action_latent"),
        ({"batch_size": 0}, "batch_size=0: expected at least 1"),
        ({"updates_per_round": 0}, "updates_per_round=0: expected at least 1"),
        ({"normalization": "none"}, "normalization 'none': expected one of aggregate, teacher"),
        ({"loss": "action_latent", "normalization": "aggregate"}, "the teacher's head reads inputs normalised"),
        ({"clip_param": 0.2}, "algorithm has no option 'clip_param' for DAgger"),
        (
            {"symmetry_cfg": {"data_augmentation_func": mirror, "use_mirror_loss": True}},
            "DAgger mirrors samples; set use_data_augmentation, or None",
        ),
        (
            {
                "symmetry_cfg": {
                    "data_augmentation_func": mirror,
                    "use_data_augmentation": True,
                    "use_mirror_loss": True,
                }
            },
            "and no mirror loss",
        ),
    ],
)
def test_a_wrong_option_is_one_clear_line(options, message):
    with pytest.raises(ValueError, match=message) as error:
        build(dagger_cfg(**options), ToyEnv())
    assert "\n" not in str(error.value)


def test_networks_without_a_student_and_windows_of_the_environment_are_refused():
    cfg = dagger_cfg()
    cfg["actor"] = make_cfg()["actor"] | {"class_name": "rsl_rl_ult.modules:ActorCritic"}
    with pytest.raises(ValueError, match="DAgger needs ActorCriticTS or ActorCriticULT"):
        build(cfg, ToyEnv())
    cfg = dagger_cfg()
    cfg["obs_groups"]["history"] = ["history"]

    class WithHistory(ToyEnv):
        def get_observations(self):
            obs = super().get_observations()
            obs["history"] = torch.zeros(self.num_envs, 4, 5)
            return obs

    with pytest.raises(ValueError, match=r"DAgger keeps the frames itself; remove obs_groups\.history"):
        build(cfg, WithHistory())


def test_without_a_teacher_nothing_starts():
    with pytest.raises(ValueError, match="learns from a trained teacher and has none: call load_teacher"):
        build(dagger_cfg(), ToyEnv()).train_mode()


@pytest.mark.parametrize(
    ("cfg", "source", "message"),
    [
        (dagger_cfg(loss="action_latent"), "PPO", "a teacher trained by PPO has no latent"),
        (dagger_cfg("ULT", loss="action_latent"), "TS", "ActorCriticULT has no latent; choose mse, huber or kl"),
        (dagger_cfg(actor={"obs_normalization": False}, normalization="teacher"), "TS", "need actor.obs_normalization"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_changes(cfg, source, message):
    alg, env = build(cfg, ToyEnv()), ToyEnv()
    before = copy.deepcopy(alg.network.state_dict())
    with pytest.raises(ValueError, match=message):
        alg.load_teacher(teacher_of(source), SOURCES[source], env.get_observations())
    assert alg.teacher is None and not alg.frozen_teacher
    assert_equal(alg.network.state_dict(), before)


def test_a_teacher_that_reads_other_groups_is_refused():
    cfg = dagger_cfg()
    cfg["obs_groups"].update(privileged=["critic"])
    alg = build(cfg, ToyEnv())
    message = r"reads the observation groups \['privileged'\], this training \['policy', 'critic'\]: name them under"
    with pytest.raises(ValueError, match=message):
        alg.load_teacher(teacher_of("TS"), SOURCES["TS"], ToyEnv().get_observations())
