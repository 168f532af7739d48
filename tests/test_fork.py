"""All of a fork at once: Isaac Gym (a recording double), a runner of rsl_rl 1.0.2, its registry, our tasks and methods. Also runs under Python 3.8."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import legged_gym_ext
from rsl_rl_ult import register
from tests import old_host
from tests.isaac_double import install

register(old_host)


class ForkRegistry:
    """The part of legged_gym's registry that is written to."""

    def __init__(self) -> None:
        self.tasks: dict = {}

    def register(self, name: str, task_class: type, env_cfg: Any, train_cfg: Any) -> None:
        self.tasks[name] = (task_class, env_cfg, train_cfg)


def as_dict(cfg: Any) -> Any:
    """What a fork makes of a configuration."""
    if not hasattr(cfg, "__dict__"):
        return cfg
    return {name: as_dict(getattr(cfg, name)) for name in dir(cfg) if not name.startswith("_")}


@pytest.mark.parametrize("name", ["go2_ult", "go2_ts_flat"])
def test_a_fork_on_isaac_gym_trains_our_tasks(monkeypatch, name):
    install(monkeypatch)
    registry = ForkRegistry()
    legged_gym_ext.register_tasks(registry)
    task_class, env_cfg, train_cfg = registry.tasks[name]
    env_cfg.sim.engine, env_cfg.env.num_envs, env_cfg.seed = "isaac_gym", 8, train_cfg.seed
    env = task_class(cfg=env_cfg, sim_params=None, physics_engine=None, sim_device="cpu", headless=True)
    runner = old_host.OnPolicyRunner(env, as_dict(train_cfg))
    before = {key: value.clone() for key, value in runner.alg.actor_critic.state_dict().items()}
    runner.learn(1)
    after = runner.alg.actor_critic.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in before.items())
    actions = runner.get_inference_policy()(env.get_observations())
    assert actions.shape == (8, 12)
