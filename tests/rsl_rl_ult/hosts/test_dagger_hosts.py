"""DAgger under the stock runners of rsl-rl-lib 5.x and of rsl_rl 1.0.2, where a teacher is given in code."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from rsl_rl_ult import register
from tests import old_host
from tests.learning import ToyEnv, build
from tests.old_host import TERMS, OldEnv
from tests.rsl_rl_ult.algorithms.test_dagger import SOURCES, dagger_cfg, teacher_of
from tests.rsl_rl_ult.algorithms.test_ppo_ts import NETWORK, TS, ts_cfg

register(old_host)


def make_runner(folder: Any, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    env: Any = ToyEnv()
    return OnPolicyRunner(env, copy.deepcopy(dagger_cfg()), str(folder), "cpu")


def test_without_a_teacher_the_stock_runner_stops_with_one_line(tmp_path):
    with pytest.raises(ValueError, match="learns from a trained teacher and has none: call load_teacher"):
        make_runner(tmp_path).learn(1)


def test_the_stock_runner_trains_logs_saves_loads_resumes_and_exports(tmp_path, capsys):
    runner = make_runner(tmp_path)
    runner.alg.load_teacher(teacher_of("RMA"), SOURCES["RMA"], ToyEnv().get_observations())
    runner.learn(3)
    text = capsys.readouterr().out
    for name in ("imitation", "student_action", "beta", "labels", "teacher_share", "steps_with_teacher"):
        assert f"Mean {name} loss" in text, name
    other = make_runner(tmp_path / "fresh", seed=2)
    other.load(str(tmp_path / "model_2.pt"))  # its teacher comes along
    policies = [one.get_inference_policy("cpu") for one in (runner, other)]
    env = ToyEnv(seed=9)
    for _ in range(5):
        obs = env.get_observations()
        assert torch.equal(*(policy(obs) for policy in policies))
    before = copy.deepcopy(other.alg.network.state_dict())
    other.learn(1)
    assert other.alg.labels == 4 * 6 * 8 and other.alg.mixing.updates == 3
    assert not torch.equal(other.alg.network.state_dict()["actor.0.weight"], before["actor.0.weight"])
    other.export_policy_to_jit(str(tmp_path))
    assert torch.jit.load(str(tmp_path / "policy.pt"))(torch.zeros(1, 5)).shape == (1, 3)


def old_runner(seed: int = 1) -> Any:
    """DAgger in a 1.0.2 host: two names in the configuration."""
    torch.manual_seed(seed)
    policy = {"actor_hidden_dims": [16], "critic_hidden_dims": [16], **NETWORK}
    cfg = {
        "runner": {"policy_class_name": "ActorCriticTS", "algorithm_class_name": "DAgger", "num_steps_per_env": 12},
        "policy": {**policy, "critic_obs_terms": TERMS, "privileged_terms": ["load"]},
        "algorithm": {"batch_size": 64, "updates_per_round": 20, "beta_rounds": 2},
    }
    return old_host.OnPolicyRunner(OldEnv(16), cfg)


class OldGroups(ToyEnv):
    """The old host's columns as groups of a 5.x environment, to build a teacher for them."""

    def __init__(self) -> None:
        super().__init__(4)
        self.num_actions = OldEnv.num_actions

    def get_observations(self) -> Any:
        return {"policy": torch.randn(4, 4), "critic": torch.randn(4, 9), "privileged": torch.randn(4, 2)}


def test_a_host_of_rsl_rl_1_0_2_is_given_its_teacher_in_code(tmp_path):
    cfg = ts_cfg(TS)
    saved = build(cfg, OldGroups(), seed=4).save()
    runner = old_runner()
    runner.alg.core.load_teacher(saved, cfg, OldGroups().get_observations())
    runner.learn(6)
    first, core = runner.alg.metrics, runner.alg.core
    assert core.updates == 6 and first["labels"] == 6 * 12 * 16 and first["beta"] == 0.0
    runner.save(tmp_path / "model.pt")
    other = old_runner(seed=2)
    other.load(tmp_path / "model.pt")
    obs = OldEnv(5, seed=7).get_observations()
    assert torch.equal(runner.get_inference_policy()(obs), other.get_inference_policy()(obs))
    with pytest.raises(ValueError, match="call load_teacher"):  # such a host saves the student alone
        other.learn(1)
    other.alg.core.load_teacher(saved, cfg, OldGroups().get_observations())
    other.learn(1)
    assert other.alg.core.updates == 7
