"""Two stages: PPO of the teacher, then a student that acts while everything else is frozen."""

from __future__ import annotations

import pytest
import torch

from tests.learning import ToyEnv, build, collect, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import assert_equal, ts_cfg, without_student

RMA = "rsl_rl_ult.algorithms:PPO_RMA"


def test_stage_one_is_ppo_of_the_teacher():
    teacher, expected = train(ts_cfg(num_encoder_steps=0), iterations=3)
    rma, found = train(ts_cfg(RMA), iterations=3)
    assert_equal(rma.network.state_dict(), teacher.network.state_dict())
    assert found == [{**losses, "stage": 1.0} for losses in expected]


def test_stage_two_changes_the_history_encoder_alone_and_lets_the_student_act():
    env = ToyEnv()
    alg = build(ts_cfg(RMA, stage1_iterations=1), env)
    obs = collect(alg, env, env.get_observations(), 6)
    alg.update()
    assert alg.stage == 2
    before = {name: value.clone() for name, value in alg.network.state_dict().items()}
    for _ in range(3):
        means = []
        with torch.inference_mode():
            for _ in range(6):
                alg.act(obs)
                means.append(alg._step.decision.mean.clone())
                window = alg.network.normalizers["actor"](alg.windows.history.window())
                inputs = alg.network.inputs(alg.raw_sets(obs))
                assert torch.equal(means[-1], alg.network.head(inputs, alg.network.student_latent(window)))
                obs, rewards, dones, extras = env.step(alg._step.actions)
                alg.process_env_step(obs, rewards, dones, extras)
            alg.compute_returns(obs)
        metrics = alg.update()
        assert metrics.keys() == {"student_latent", "student_action", "stage"}
    assert_equal(without_student(alg.network.state_dict()), without_student(before))
    name = "history_encoder.mlp.0.weight"
    assert not torch.equal(alg.network.state_dict()[name], before[name])


def test_the_student_takes_over_with_the_frames_of_stage_one():
    env = ToyEnv(done_rate=0.0)
    alg = build(ts_cfg(RMA, stage1_iterations=1), env)
    obs = collect(alg, env, env.get_observations(), 6)
    alg.update()
    alg.act(obs)
    assert (alg.windows.history.window().abs().sum(-1) > 0).all()  # four frames, three of them from stage one


def test_the_stage_survives_a_restart():
    alg, _ = train(ts_cfg(RMA, stage1_iterations=2), iterations=2)
    other = build(ts_cfg(RMA, stage1_iterations=2), ToyEnv())
    assert other.stage == 1
    other.load(alg.save())
    assert other.stage == 2
    evaluated = build(ts_cfg(RMA, stage1_iterations=2), ToyEnv())
    evaluated.load(alg.save(), {"actor": True, "critic": True})
    assert evaluated.stage == 1  # the iteration was not asked for


@pytest.mark.parametrize(("stage2", "stages"), [(2, [1.0, 1.0, 1.0, 2.0, 2.0]), (0, [1.0] * 5)])
def test_the_runners_stage_two_iterations_follow_its_max_iterations(stage2, stages):
    _, history = train({**ts_cfg(RMA), "max_iterations": 3, "stage2_iterations": stage2}, iterations=5)
    assert [metrics["stage"] for metrics in history] == stages


@pytest.mark.parametrize(
    ("options", "message"),
    [({"stage1_iterations": -1}, "stage1_iterations=-1"), ({"num_encoder_steps": 0}, "stage 2 would learn nothing")],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(ts_cfg(RMA, **options), ToyEnv())
