"""DAgger: who acts, what is labelled, what learns, and that a killed training goes on as if nothing had happened."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from rsl_rl_ult.algorithms.dagger_beta import Beta
from rsl_rl_ult.algorithms.dagger_students import WindowStudent
from tests.learning import ACTIONS, ToyEnv, build, collect, make_cfg, train
from tests.rsl_rl_ult.algorithms.test_ppo_sitt import sitt_cfg
from tests.rsl_rl_ult.algorithms.test_ppo_ts import CTS, TS, assert_equal, ts_cfg
from tests.toy_symmetry import mirror
from tests.ult import ult_cfg

DAGGER, RMA = "rsl_rl_ult.algorithms:DAgger", "rsl_rl_ult.algorithms:PPO_RMA"
PPO_ONLY = ("num_learning_epochs", "num_mini_batches", "entropy_coef")
SOURCES = {"PPO": make_cfg(), "TS": ts_cfg(TS), "CTS": ts_cfg(CTS), "RMA": ts_cfg(RMA, stage1_iterations=1)}
SOURCES.update(SITT=sitt_cfg(), ULT=ult_cfg())
SYMMETRY = {"data_augmentation_func": mirror, "use_data_augmentation": True}
STUDENTS = ("MLP", "TCN", "GRU", "ULT")


def dagger_cfg(student: str = "MLP", actor: dict | None = None, steps: int = 6, **algorithm: Any) -> dict:
    if student == "ULT":
        cfg = ult_cfg(actor, steps)
    else:
        cfg = ts_cfg(TS, {"history_encoder": student, "tcn_channels": [4], "tcn_kernel_sizes": [2], **(actor or {})})
        cfg["actor"].update({"tcn_strides": [1], "tcn_dilations": [1], "gru_hidden_dim": 6})
        cfg["num_steps_per_env"] = steps
    section = {name: value for name, value in cfg["algorithm"].items() if name not in PPO_ONLY}
    options = {"batch_size": 32, "updates_per_round": 5, "beta_rounds": 2, **algorithm}
    cfg["algorithm"] = {**section, "class_name": DAGGER, **options}
    return cfg


def teacher_of(source: str = "TS") -> dict:
    """Checkpoint of a small training."""
    alg, _ = train(SOURCES[source], iterations=2)
    return {**alg.save(), "infos": {"total": (96, 1.0)}}


def follow(cfg: dict, source: str = "TS", env: Any = None, seed: int = 7) -> Any:
    """DAgger with a loaded teacher."""
    env = env or ToyEnv()
    alg = build(cfg, env, seed)
    alg.load_teacher(teacher_of(source), SOURCES[source], env.get_observations())
    alg.train_mode()
    return alg


def run(alg: Any, env: Any, obs: Any, rounds: int) -> tuple[Any, list[dict]]:
    """Rounds of collecting and learning; the last observations, and what was logged."""
    logged = []
    for _ in range(rounds):
        obs = collect(alg, env, obs, alg.storage.num_steps)
        logged.append(alg.update())
    return obs, logged


# -- who acts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        ("linear", 0.8, [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),  # 0.8 (1 - k / 4)
        # 0.8 * 0.01^(k / 4); 0.01^(1/4) = 10^-0.5 = 0.316228
        ("exponential", 0.8, [0.8, 0.252982, 0.08, 0.0252982, 0.008, 0.00252982]),
        ("indicator", 0.8, [0.8, 0.8, 0.8, 0.8, 0.0, 0.0]),
        ("constant", 0.8, [0.8] * 6),
    ],
)
def test_beta_falls_as_its_schedule_says(schedule, start, expected):
    beta, found = Beta(5, schedule, start, 4, "per_step", 0, "cpu"), []
    for done in range(6):
        beta.updates = done
        found.append(beta.ratio)
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_share_of_the_teacher_is_beta():
    env = ToyEnv(num_envs=64)
    alg = follow(dagger_cfg(beta_schedule="linear", beta_rounds=4, steps=40), env=env)
    _, logged = run(alg, env, env.get_observations(), 5)
    assert [metrics["beta"] for metrics in logged] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert [metrics["teacher_share"] for metrics in logged] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0], abs=0.04)
    assert "student_action_error" not in logged[0] and "teacher_action_error" not in logged[4]


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_teacher_acts_its_mean_and_the_student_has_noise(beta, noise):
    env = ToyEnv(num_envs=500)
    alg = follow(dagger_cfg(beta_schedule="constant", beta_start=beta, student_noise=noise), env=env)
    obs = env.get_observations()
    with torch.inference_mode():
        actions = alg.act(obs)
        acting = alg.teacher.act(obs) if beta else alg.policies["student"](obs)
    assert float((actions - acting).std()) == pytest.approx(0.0 if beta else noise, abs=0.02)


@pytest.mark.parametrize("source", SOURCES)
def test_labels_are_the_teachers_mean_actions_whoever_acts(source):
    labels, actions = [], []
    for beta in (0.0, 1.0):
        env = ToyEnv(done_rate=0.0)
        alg = follow(dagger_cfg(beta_schedule="constant", beta_start=beta), source, env)
        obs = env.get_observations()
        expected = copy.copy(alg.teacher.policy)(obs)
        actions.append(alg.act(obs))
        labels.append(alg._step.decision.stored["label"])
        assert torch.equal(labels[-1], expected)
    assert torch.equal(*labels) and not torch.allclose(*actions)


def test_a_teacher_with_a_memory_is_told_what_was_done():
    # A ULT reads the actions before each frame: those that were taken, not those that it would have taken.
    env = ToyEnv(done_rate=0.2)
    alg = follow(dagger_cfg(beta_schedule="constant", beta_start=0.0, steps=12), "ULT", env)
    obs, network = env.get_observations(), alg.teacher.network
    frames, last, ages = [], [], []
    taken, age = torch.zeros(8, ACTIONS), torch.zeros(8, dtype=torch.long)
    with torch.inference_mode():
        for _ in range(12):
            age = age + 1
            frames.append(network.frame_actions(obs["policy"], taken))
            ages.append(age)
            actions = alg.act(obs)
            privileged = network.normalizers["privileged"](obs["privileged"])[:, None]
            whole = network.read(torch.stack(frames, 1), privileged, torch.stack(ages, 1))
            assert torch.allclose(alg._step.decision.stored["label"], whole.teacher, atol=1e-5)
            obs, rewards, dones, extras = env.step(actions)
            alg.process_env_step(obs, rewards, dones, extras)
            taken = torch.where(dones[:, None] > 0, torch.zeros_like(actions), actions)
            age = torch.where(dones > 0, torch.zeros_like(age), age)
            last.append(dones)
    assert torch.stack(last).any()


# -- what learns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("student", STUDENTS)
def test_the_student_learns_and_the_teacher_stays_as_it_was(student, source):
    env = ToyEnv()
    alg = follow(dagger_cfg(student, updates_per_round=30, learning_rate=5e-3), source, env)
    teacher = copy.deepcopy(alg.teacher.network.state_dict())
    before = copy.deepcopy(alg.network.state_dict())
    _, logged = run(alg, env, env.get_observations(), 8)
    assert_equal(alg.teacher.network.state_dict(), teacher)
    assert logged[-1]["imitation"] < 0.8 * logged[0]["imitation"]
    after = alg.network.state_dict()
    changed = {name.split(".")[0] for name in after if not torch.equal(after[name], before[name])}
    inside = {"frame_tokenizer", "transformer"} if student == "ULT" else {"history_encoder"}
    assert changed == {"actor", "normalizers", *inside}
    steps = 8 * 6 * 8  # rounds, steps, robots
    assert logged[-1]["labels"] == steps and logged[-1]["steps_with_teacher"] == steps + 96
    assert logged[-1]["aggregate_samples"] == steps


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("symmetry", [None, SYMMETRY])
def test_the_student_learns_from_what_it_would_have_done(student, symmetry):
    # The means that are fitted are those of the acting student on the same steps, histories and resets included.
    env = ToyEnv(done_rate=0.2)
    cfg = dagger_cfg(student, beta_schedule="constant", beta_start=0.0, normalization="teacher", symmetry_cfg=symmetry)
    alg = follow(cfg, env=env)
    with torch.no_grad():
        alg.network.actor[-1].weight.mul_(3.0)
    obs, means = env.get_observations(), []
    alg.updates_per_round = 1
    for group in alg.optimizer.param_groups:
        group["lr"] = 0.0
    for _ in range(3):
        with torch.inference_mode():
            for _ in range(6):
                actions = alg.act(obs)
                means.append(alg._step.decision.mean.clone())
                obs, rewards, dones, extras = env.step(actions)
                alg.process_env_step(obs, rewards, dones, extras)
        alg.update()
    acted = torch.stack(means)  # (18, N, A)
    drawn = torch.Generator().manual_seed(3)
    fit = alg.student.fit(alg.aggregate, 96, drawn, alg.symmetry)
    drawn.manual_seed(3)
    count = 96 if symmetry is None else 48
    if student == "ULT":
        starts, envs = alg.aggregate.draw_rollouts(count // 6, drawn)
        expected = torch.stack([acted[start : start + 6, env] for start, env in zip(starts, envs)]).flatten(0, 1)
    else:
        expected = acted.flatten(0, 1)[alg.aggregate.draw(count, drawn)]
    assert torch.allclose(fit.mean[: len(expected)], expected, atol=1e-5)
    assert len(fit.mean) == len(fit.label) == len(expected) * (1 if symmetry is None else 2)
    if symmetry is not None:
        assert torch.equal(
            fit.label[len(expected) :], alg.symmetry.actions(fit.label[: len(expected)])[len(expected) :]
        )


@pytest.mark.parametrize("keep", ["all", "window", "none"])
def test_what_is_aggregated_is_what_was_asked_for(keep):
    env = ToyEnv()
    alg = follow(dagger_cfg(aggregate=keep, window_rollouts=2), env=env)
    _, logged = run(alg, env, env.get_observations(), 4)
    kept = {"all": [1, 2, 3, 4], "window": [1, 2, 2, 2], "none": [1, 1, 1, 1]}[keep]
    assert [metrics["aggregate_samples"] for metrics in logged] == [rounds * 6 * 8 for rounds in kept]


def test_losses_have_their_hand_computed_values():
    from rsl_rl_ult.algorithms.dagger_students import Fit

    fit = Fit(torch.tensor([[1.0, 0.0, 3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))  # differences 1, 0, 2
    found = {}
    for loss in ("mse", "huber", "kl"):
        alg = follow(dagger_cfg(loss=loss))
        with torch.no_grad():
            alg.teacher.network.std.param.fill_(0.5)
        found[loss] = float(alg.imitation_loss(fit)[0])
    assert found["mse"] == pytest.approx((1 + 4) / 3)
    assert found["huber"] == pytest.approx((0.5 * 1 + (2 - 0.5)) / 3)  # d^2 / 2 up to 1, then |d| - 1 / 2
    assert found["kl"] == pytest.approx((1 + 4) / (2 * 0.5**2))


def test_action_latent_trains_e_hist_alone_under_the_teachers_head():
    env = ToyEnv()
    cfg = dagger_cfg(loss="action_latent", symmetry_cfg=SYMMETRY)
    alg = follow(cfg, env=env)
    before = copy.deepcopy(alg.network.state_dict())
    run(alg, env, env.get_observations(), 3)
    after = alg.network.state_dict()
    assert {n.split(".")[0] for n in after if not torch.equal(after[n], before[n])} == {"history_encoder"}
    # Targets are the teacher's latents of the states and of their mirror images.
    fit = alg.student.fit(alg.aggregate, 64, torch.Generator().manual_seed(0), alg.symmetry)
    teacher_mean = alg.network.head({"actor": _frames(alg, 64)}, fit.target)
    assert torch.allclose(teacher_mean[:32], fit.label[:32], atol=1e-5)


def _frames(alg: Any, count: int) -> torch.Tensor:
    """Normalised frames of the same samples, with their mirror images."""
    rows = alg.aggregate.draw(count // 2, torch.Generator().manual_seed(0))
    raw = alg.symmetry.observations({"policy": alg.aggregate.at("frame", rows)})["policy"]
    return alg.network.normalizers["actor"](raw)


def test_the_last_round_without_a_teacher_that_acts_is_the_second_stage_of_rma():
    # Same rollout, same minibatches, same loss: latents and actions of Lee et al. DAgger starts from RMA's networks.
    common = {"student_loss": "action_latent", "num_encoder_steps": 4, "num_encoder_mini_batches": 4}
    rma_cfg = ts_cfg(RMA, stage1_iterations=0, encoder_learning_rate=1e-3, **common)
    saved, env = teacher_of("TS"), ToyEnv()
    rma, obs = build(rma_cfg, env, seed=7), env.get_observations()
    cfg = dagger_cfg(loss="action_latent", aggregate="none", beta_schedule="constant", beta_start=0.0)
    dagger = build(cfg, env, seed=7)
    for alg in (rma, dagger):
        alg.load_teacher(saved, SOURCES["TS"], obs)
    dagger.network.load_state_dict(rma.network.state_dict())
    for number in range(3):
        with torch.inference_mode():
            for _ in range(6):
                rma.act(obs)
                dagger.act(obs)
                means = [alg._step.decision.mean for alg in (rma, dagger)]
                assert torch.allclose(*means, atol=1e-6)  # the same student acts
                following, rewards, dones, extras = env.step(means[0])
                for alg in (rma, dagger):
                    alg.process_env_step(following, rewards, dones, extras)
                obs = following
            rma.compute_returns(obs)
        order = list(_rows_of(rma))
        drawn = iter(order)
        dagger.student.fit = lambda aggregate, count, generator, symmetry, drawn=drawn: WindowStudent.fit_rows(
            dagger.student, aggregate, next(drawn) + aggregate.first * 8, symmetry
        )
        dagger.updates_per_round = len(order)
        rma.update()
        dagger.update()
        for (name, found), expected in zip(
            dagger.network.history_encoder.state_dict().items(), rma.network.history_encoder.state_dict().values()
        ):
            assert torch.allclose(found, expected, atol=1e-6), (number, name)


def _rows_of(rma: Any) -> Any:
    """The minibatches that RMA's student will draw, without drawing them."""
    state = rma.regression.generator.get_state()
    yield from list(rma.regression.minibatches(rma.student_rows(), 1))
    rma.regression.generator.set_state(state)


# -- normalisation and what is deployed ------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["aggregate", "teacher"])
def test_statistics_are_those_of_the_aggregate_or_of_the_teacher_and_are_exported(normalization):
    env = ToyEnv()
    alg = follow(dagger_cfg(normalization=normalization), env=env)
    run(alg, env, env.get_observations(), 3)
    normalizer = alg.network.normalizers["actor"]
    if normalization == "teacher":
        assert_equal(normalizer.state_dict(), alg.teacher.network.normalizers["actor"].state_dict())
    else:
        frames = alg.aggregate["frame"].flatten(0, 1)
        assert torch.allclose(normalizer.mean[0], frames.mean(0), atol=1e-5)
        assert torch.allclose(normalizer.std[0], frames.std(0, unbiased=False), atol=1e-5)
    policy, exported = alg.get_policy(), torch.jit.script(alg.get_policy().as_jit())
    assert policy is alg.policies["student"]
    policy.reset()
    env = ToyEnv(num_envs=1, seed=4, done_rate=0.0)
    with torch.no_grad():
        for _ in range(6):
            obs = env.get_observations()
            assert torch.allclose(exported(obs["policy"]), policy(obs), atol=1e-6)


# -- exact resume ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["all", "window", "none"])
@pytest.mark.parametrize(("student", "source"), [("MLP", "TS"), ("ULT", "ULT")])
@pytest.mark.parametrize("files", [False, True])
def test_a_training_killed_between_two_rounds_goes_on_as_if_it_had_not_been(tmp_path, keep, student, source, files):
    options = {"aggregate": keep, "window_rollouts": 2, "beta_rounds": 4, "mix_mode": "per_episode"}
    cfg, env = dagger_cfg(student, **options), ToyEnv()
    alg = follow(cfg, source, env)
    if files:
        alg.keep_in(tmp_path / "first")
    obs, _ = run(alg, env, env.get_observations(), 3)
    saved, state = copy.deepcopy((alg.save(), alg.rollout_state()))
    world, random = copy.deepcopy((env, obs)), torch.get_rng_state()
    _, expected = run(alg, env, obs, 3)
    other = build(cfg, ToyEnv(seed=5), seed=99)
    assert other.load(saved)
    other.load_rollout_state(state)
    if files:
        other.keep_in(tmp_path / "second", tmp_path / "first")
    torch.set_rng_state(random)
    other.train_mode()
    _, found = run(other, *world, 3)
    assert found == expected
    assert_equal(other.network.state_dict(), alg.network.state_dict())


def test_a_checkpoint_brings_its_teacher_along():
    env = ToyEnv()
    alg = follow(dagger_cfg(), "ULT", env)
    obs, _ = run(alg, env, env.get_observations(), 1)
    other = build(dagger_cfg(), ToyEnv(), seed=3)
    assert list(other.inference_policies()) == ["student"]
    other.load(alg.save(), {"actor": True, "critic": True, "optimizer": False, "iteration": False})
    assert list(other.inference_policies()) == ["teacher", "student"]
    for name, policy in other.inference_policies().items():
        expected = alg.inference_policies()[name]
        expected.reset()
        assert torch.equal(policy(obs), expected(obs))
    assert other.teacher_steps == 96 and other.labels == 48


def test_only_the_student_is_in_the_optimizer():
    alg = follow(dagger_cfg())
    held = {id(p) for group in alg.optimizer.param_groups for p in group["params"]}
    student = nn.ModuleList([alg.network.history_encoder, alg.network.actor])
    assert held == {id(p) for p in student.parameters()}
