"""Gymnasium's tasks: episodes are recorded as they were, and what is learnt from them can be scored."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rsl_rl_ult.offline.decision_transformer import DecisionSettings, DecisionTraining, make_decision_transformer
from rsl_rl_ult.policies.decision import DecisionPolicy
from rsl_rl_ult.storage.returns import RETURNS, ReturnsDataset

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")
from rsl_rl_ult.offline.gymnasium_tasks import (
    TASKS,
    GymnasiumTask,
    RandomPolicy,
    make_ppo,
    record,
    returns_of,
    train_ppo,
)

SIZES = {"hopper": (11, 3), "halfcheetah": (17, 6), "walker2d": (17, 6)}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_have_the_sizes_of_gymnasium(name):
    task = GymnasiumTask(name, 1)
    assert (task.last.shape[1], task.num_actions, task.max_episode_length) == (*SIZES[name], 1000)
    task.close()


def test_recorded_episodes_replay_in_gymnasium(tmp_path):
    """The recorded actions, from the same seed, lead to the recorded observations and rewards, the last one too."""
    import gymnasium

    task = GymnasiumTask("hopper", 2)
    count = record(task, make_ppo(task).get_policy(), tmp_path, 2, sampled=True, seed=7)
    assert count == 2
    found = {int(s["episode"][0]): s for s in ReturnsDataset(tmp_path).segments({"student": None})}
    for index, env in enumerate(gymnasium.make(TASKS["hopper"]) for _ in range(2)):
        segment = found[index]
        frame, _ = env.reset(seed=7 + index)
        for row in range(len(segment["step"]) - 1):
            assert np.allclose(segment["policy"][row], frame, atol=1e-5)
            frame, reward, *_ = env.step(segment["actions"][row])
            assert segment["rewards"][row] == pytest.approx(reward, abs=1e-4)
        assert np.allclose(segment["policy"][-1], frame, atol=1e-5)
        assert segment["terminations"][-2] and segment[RETURNS][0, 0] == pytest.approx(segment["rewards"].sum(), 1e-4)
    task.close()


@pytest.mark.slow
def test_ppo_gets_better_at_hopping():
    torch.manual_seed(0)
    task = GymnasiumTask("hopper", 4)
    random = np.mean(returns_of(task, RandomPolicy(task), 12))
    ppo = make_ppo(task)
    train_ppo(ppo, task, 12)
    assert np.mean(returns_of(task, ppo.get_policy(), 4)) > 3.0 * random
    task.close()


def test_a_decision_transformer_learns_from_its_data_and_acts(tmp_path):
    torch.manual_seed(0)
    task = GymnasiumTask("hopper", 4)
    record(task, make_ppo(task).get_policy(), tmp_path, 24, sampled=False)
    settings = DecisionSettings(width=16, num_layers=1, piece_steps=8, batch_size=64, return_scale=1000.0)
    network = make_decision_transformer(11, 3, settings)
    losses = list(DecisionTraining(network, ReturnsDataset(tmp_path), settings).train(3))
    found = returns_of(task, DecisionPolicy(network, target=300.0), 6)
    assert np.isfinite(losses).all() and len(found) == 8 and np.isfinite(found).all()
    task.close()


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="task 'ant': expected one of hopper, halfcheetah, walker2d"):
        GymnasiumTask("ant", 1)
