"""All of a fork at once: Isaac Gym (a recording double), a runner of rsl_rl 1.0.2, its registry, our tasks and methods.

Also runs under Python 3.8.
"""

from __future__ import annotations

import pytest
import torch

import legged_gym_ext
from rsl_rl_ult import register
from tests import old_host
from tests.isaac_double import install
from tests.old_host import ForkRegistry

register(old_host)


@pytest.mark.parametrize("name", ["go2_ult", "go2_ts_flat"])
def test_a_fork_on_isaac_gym_trains_our_tasks(monkeypatch, name):
    install(monkeypatch)
    registry = ForkRegistry()
    legged_gym_ext.register_tasks(registry)
    registry.tasks[name][1].sim.engine = "isaac_gym"
    runner = registry.make(name)
    before = {key: value.clone() for key, value in runner.alg.actor_critic.state_dict().items()}
    runner.learn(1)
    after = runner.alg.actor_critic.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in before.items())
    actions = runner.get_inference_policy()(runner.env.get_observations())
    assert actions.shape == (8, 12)
