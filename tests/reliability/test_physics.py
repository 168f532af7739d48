"""Physics that becomes non-finite in one of a hundred robot steps: nothing of it reaches the learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.legged_gym_ext.training.test_training import build
from tests.reliability import FAULTS

pytestmark = pytest.mark.slow
SHARE = 0.01  # of robot steps
VALUES = (float("nan"), float("inf"), -float("inf"))


@pytest.mark.parametrize("task", ["go2_flat", "go2_ult_flat", "go2_cts"])
def test_broken_physics_in_a_hundredth_of_the_steps_reaches_nobody(tmp_path, task):
    runner = build(tmp_path, task=task, num_envs=64, seed=3)
    env, generator, hit = runner.env.env, torch.Generator().manual_seed(0), []
    step, process = env.sim.step, runner.alg.process_env_step
    states = env.sim.batch.bind("state")  # time, positions, velocities, ...

    def broken(targets: torch.Tensor, num_steps: int) -> None:
        step(targets, num_steps)
        robots = (torch.rand(env.num_envs, generator=generator) < SHARE).nonzero().flatten()
        for robot in robots:  # any one number of its positions and velocities
            column = 1 + int(torch.randint(env.sim.model.nq + env.sim.model.nv, (1,), generator=generator))
            states[robot, column] = VALUES[int(torch.randint(3, (1,), generator=generator))]
        if len(robots):
            env.sim._forward(robots.numpy())  # all that follows from the states breaks, too
        hit.append(robots)

    def seen(obs: Any, rewards: torch.Tensor, dones: torch.Tensor, extras: Any) -> None:
        assert all(values.isfinite().all() for values in obs.values()) and rewards.isfinite().all()
        assert bool(dones[hit[-1]].all()), "a broken robot was not reset"
        assert not extras["time_outs"][hit[-1]].any(), "a broken robot's end looks like a time-out"
        assert not rewards[hit[-1]].any(), "a broken robot earned something"
        process(obs, rewards, dones, extras)

    env.sim.step, runner.alg.process_env_step = broken, seen
    iterations = 2 * FAULTS
    runner.learn(iterations)
    faults = sum(len(robots) for robots in hit)
    assert faults >= 64 * 12 * iterations * SHARE * 0.5  # the test meets what it is about
    assert env.nan_resets == faults
    modules = [module for module in vars(runner.alg).values() if isinstance(module, torch.nn.Module)]
    assert all(value.isfinite().all() for module in modules for value in module.state_dict().values())
