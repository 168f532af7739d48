"""Concurrent teacher-student: who drives what, and that each sample is learnt from as it was acted."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.ppo_cts import teacher_rows
from rsl_rl_ult.algorithms.student import RolloutWindows
from tests.learning import ToyEnv, build, collect, make_cfg, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import CTS, TS, assert_equal, ts_cfg
from tests.toy_symmetry import SYMMETRY
from tests.ult import first_batch


def collected(num_envs: int = 12, rollouts: int = 2, **algorithm):
    """A CTS algorithm with a full rollout that reaches back into an earlier one, ready to update."""
    env = ToyEnv(num_envs)
    alg = build(ts_cfg(CTS, **algorithm), env)
    obs = env.get_observations()
    for index in range(rollouts):
        obs = collect(alg, env, obs, 6)
        if index < rollouts - 1:
            alg.update()
    return alg


@pytest.mark.parametrize(
    ("num_envs", "fraction", "teachers"),
    [(8, 0.75, 6), (8, 1.0, 8), (8, 0.01, 1), (8, 0.99, 7), (2, 0.75, 1), (1, 1.0, 1), (1, 0.75, 1), (512, 0.75, 384)],
)
def test_the_teacher_drives_its_share_and_each_group_has_a_robot(num_envs, fraction, teachers):
    assert teacher_rows(num_envs, fraction).sum().item() == teachers


def test_the_groups_are_spread_evenly_over_the_index():
    # Every block of four robots (a column of terrain, say) has its student.
    assert teacher_rows(16, 0.75).view(4, 4).sum(1).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01])
def test_a_fraction_outside_its_interval_is_an_error(fraction):
    with pytest.raises(ValueError, match=rf"teacher_fraction={fraction}: expected a number in \(0, 1\]"):
        build(ts_cfg(CTS, teacher_fraction=fraction), ToyEnv())


def test_two_groups_need_two_environments_to_train_but_not_to_be_watched():
    env = ToyEnv(1)
    alg = build(ts_cfg(CTS), env)
    assert alg.student(env.get_observations()).shape == (1, 3)
    with pytest.raises(ValueError, match="needs at least 2 environments to train, found 1"):
        alg.act(env.get_observations())


@pytest.mark.parametrize("preset", ["joint", "per_group"])
def test_teacher_fraction_one_is_ts(preset):
    options = {"encoder_learning_rate": 1e-3, "num_encoder_steps": 4, "num_encoder_mini_batches": 2}
    norm = {"joint": "l2", "per_group": "none"}[preset]
    ts, expected = train(ts_cfg(TS, {"latent_norm": norm}, **options), iterations=4)
    cfg = ts_cfg(CTS, {"preset": preset, "critic_reads_latent": False}, teacher_fraction=1.0, **options)
    cfg["algorithm"]["scale_encoder_learning_rate"] = False
    cts, found = train(cfg, iterations=4)
    assert found == expected
    assert_equal(cts.network.state_dict(), ts.network.state_dict())


def test_the_group_mask_is_right_after_shuffling():
    # The privileged group carries the number of its environment through storage and shuffle.
    env = ToyEnv(8)
    alg = build(ts_cfg(CTS, teacher_fraction=0.5, actor={"obs_normalization": False}), env)
    obs = env.get_observations()
    for _ in range(6):
        with torch.inference_mode():
            obs["privileged"][:, 3] = torch.arange(8.0)
            alg.act(obs)
            obs, rewards, dones, extras = env.step(torch.zeros(8, 3))
            alg.process_env_step(obs, rewards, dones, extras)
    alg.compute_returns(obs)
    for batch in alg.minibatches(alg.make_batch(alg.sample_rows())):
        numbers = batch.inputs["privileged"][:, 3].long()
        assert torch.equal(batch.teacher, alg.teacher_envs[numbers])
        assert torch.equal(batch.student_latent.abs().sum(-1) == 0, batch.teacher)
    assert set(numbers.tolist()) == set(range(8))  # the rows really were shuffled over environments


@pytest.mark.parametrize("detach", [True, False])
def test_before_the_first_step_every_ratio_is_one(detach):
    alg = collected(student_detach=detach)
    for batch in alg.minibatches(alg.make_batch(alg.sample_rows())):
        found = alg.evaluate(batch)
        log_prob = losses.gaussian_log_prob(found.mean, found.std, batch.actions)
        assert torch.allclose(log_prob, batch.acted.log_prob, atol=1e-5)


def test_the_policy_loss_is_the_mean_over_the_teacher_plus_the_mean_over_the_student():
    alg = collected(4)
    batch, evaluation = first_batch(alg), None
    batch.teacher = torch.tensor([True, True, True, False])
    # (1 + 2 + 6) / 3 + 10
    assert alg.surrogate(torch.tensor([1.0, 2.0, 6.0, 10.0]), batch, evaluation).item() == pytest.approx(13.0)
    batch.teacher = torch.tensor([True, True, True, True])
    assert alg.surrogate(torch.tensor([1.0, 2.0, 6.0, 3.0]), batch, evaluation).item() == pytest.approx(3.0)


def test_advantages_are_standardised_together_or_group_by_group():
    advantages = torch.randn(6, 8, 1) + 5.0 * torch.arange(8.0)[:, None]
    together = collected(8).normalize_advantages(advantages)
    assert together.mean().abs() < 1e-5
    assert together.std().item() == pytest.approx(1.0, abs=1e-5)
    alg = collected(8, advantage_norm="per_group")
    apart = alg.normalize_advantages(advantages)
    for group in (alg.teacher_envs, ~alg.teacher_envs):
        assert apart[:, group].mean().abs() < 1e-5
        assert apart[:, group].std().item() == pytest.approx(1.0, abs=1e-5)


def test_the_learning_rate_follows_the_kl_of_the_chosen_samples():
    batch = first_batch(collected(4, kl_source="teacher"))
    assert torch.equal(batch.kl_rows, batch.teacher)
    assert batch.teacher.any() and not batch.teacher.all()
    assert first_batch(collected(4, kl_source="all")).kl_rows is None


def test_the_student_learns_from_its_own_samples():
    alg = collected(8)
    rows = alg.student_rows()
    assert len(rows) == 6 * 2 and not alg.teacher_envs[rows % 8].any()


@pytest.mark.parametrize("detach", [True, False])
def test_the_policy_gradient_reaches_the_history_encoder_only_when_not_detached(detach):
    alg = collected(student_detach=detach)
    alg.regression.num_steps = 0
    before = {name: value.clone() for name, value in alg.network.history_encoder.state_dict().items()}
    alg.update()
    moved = [not torch.equal(v, before[n]) for n, v in alg.network.history_encoder.state_dict().items()]
    assert any(moved) is not detach


def test_the_privilege_encoder_learns_through_the_policy_gradient_only():
    alg = collected()
    weights = [p.clone() for p in alg.network.privilege_encoder.parameters()]
    alg.train_student()
    assert all(torch.equal(p, w) for p, w in zip(alg.network.privilege_encoder.parameters(), weights))
    alg.update()
    assert not all(torch.equal(p, w) for p, w in zip(alg.network.privilege_encoder.parameters(), weights))


@pytest.mark.parametrize("detach", [True, False])
def test_mirrored_student_samples_use_the_latent_of_the_mirrored_window(detach):
    env = ToyEnv(6)
    cfg = ts_cfg(CTS, teacher_fraction=0.5, student_detach=detach, actor={"obs_normalization": False})
    cfg["algorithm"]["symmetry_cfg"] = SYMMETRY
    alg = build(cfg, env)
    collect(alg, env, env.get_observations(), 6)
    torch.manual_seed(0)
    rows = alg.storage.permutation(2)
    torch.manual_seed(0)
    batch = first_batch(alg)
    half = len(batch)
    assert torch.equal(batch.mirrored(batch.actions), -batch.originals(batch.actions))
    windows = -RolloutWindows(alg).cut(rows[:half])  # the toy mirror changes all signs
    expected = alg.network.student_latent(windows)
    teacher = batch.mirrored(batch.teacher)
    inputs = {name: batch.mirrored(batch.inputs[name]) for name in ("actor", "privileged")}
    mean = alg.network.head(inputs, alg.network.mixed_latent(inputs, teacher, expected))
    assert torch.allclose(batch.mirrored(alg.evaluate(batch).mean), mean, atol=1e-6)
    assert torch.equal(inputs["actor"], -batch.originals(batch.inputs["actor"]))


def test_a_preset_sets_what_is_not_set_and_each_option_stays_free():
    found = {}
    for preset in ("joint", "per_group"):
        alg = build(ts_cfg(CTS, {"preset": preset}), ToyEnv())
        found[preset] = (
            *(alg.network.latent_norm, alg.network.critic_reads_latent),
            *(alg.advantage_norm, alg.kl_source, alg.scale_encoder_learning_rate),
        )
    assert found["joint"] == ("l2", True, "joint", "all", False)
    assert found["per_group"] == ("none", False, "per_group", "teacher", True)
    actor = {"preset": "per_group", "latent_norm": "l2", "critic_reads_latent": True}
    options = {"advantage_norm": "joint", "kl_source": "all", "scale_encoder_learning_rate": False}
    alg = build(ts_cfg(CTS, actor, **options), ToyEnv())
    assert alg.network.latent_norm == "l2" and alg.network.critic_reads_latent
    assert (alg.advantage_norm, alg.kl_source, alg.scale_encoder_learning_rate) == ("joint", "all", False)


@pytest.mark.parametrize("preset", ["joint", "per_group"])
@pytest.mark.parametrize("detach", [True, False])
def test_both_presets_train(preset, detach):
    cfg = ts_cfg(CTS, {"preset": preset}, student_detach=detach, symmetry_cfg=SYMMETRY)
    _, history = train(cfg, iterations=4, num_envs=12)
    assert all(abs(value) < 1e3 for figures in history for value in figures.values())


@pytest.mark.parametrize("encoder", ["MLP", "TCN", "GRU"])
def test_a_policy_gradient_reaches_every_encoder_under_mixed_precision(encoder):
    sizes = {"history_length": 20, "history_encoder": encoder}
    cfg = ts_cfg(CTS, sizes, student_detach=False, use_mixed_precision=True)
    _, history = train(cfg, iterations=2, num_envs=12)
    assert all(abs(value) < 1e3 for figures in history for value in figures.values())


def test_the_critic_reads_the_latent_of_the_driver_and_gives_it_no_gradient():
    alg = collected(8)
    batch = first_batch(alg)
    values, inputs = alg.evaluate(batch).value, batch.inputs
    expected = torch.where(batch.teacher[:, None], alg.network.teacher_latent(inputs), batch.student_latent)
    assert torch.equal(values, alg.network.critic(torch.cat((inputs["critic"], expected), dim=-1)))
    assert not torch.allclose(values, alg.network.value(inputs, expected + 1.0))
    parameters = dict(alg.network.named_parameters())
    gradients = torch.autograd.grad(values.sum(), list(parameters.values()), allow_unused=True)
    touched = {name.split(".")[0] for name, gradient in zip(parameters, gradients) if gradient is not None}
    assert touched == {"critic"}


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_value_after_the_rollout_is_that_of_the_step_that_follows(fraction):
    # Its latent comes from a window that the next rollout will see again, some of them at the start of an episode.
    env = ToyEnv(12, done_rate=0.4)
    alg = build(ts_cfg(CTS, teacher_fraction=fraction), env)
    obs = collect(alg, env, env.get_observations(), 6)
    assert alg.storage["dones"][-1].any()
    for _ in range(2):  # looking twice changes nothing
        found = alg.last_values(obs)
    alg.storage.clear()
    with torch.inference_mode():
        alg.act(obs)
    assert torch.allclose(found, alg._step.decision.value, atol=1e-6)


def test_the_history_encoder_learns_from_mirrored_windows_where_the_policy_does():
    env, samples = ToyEnv(6), 36
    alg = build(ts_cfg(CTS, {"obs_normalization": False}, teacher_fraction=0.5, symmetry_cfg=SYMMETRY), env)
    collect(alg, env, env.get_observations(), 6)
    rows, seen = alg.student_rows(), []
    windows, targets = RolloutWindows(alg, mirrored=True), alg.regression.targets()
    assert torch.equal(windows.cut(rows + samples), -windows.cut(rows))  # the toy mirror changes all signs
    privileged = -alg.storage.flat("privileged")
    assert torch.equal(targets["latent"][samples:], alg.network.teacher_latent({"privileged": privileged}))
    minibatches = alg.regression.minibatches

    def spy(*arguments):
        for batch in minibatches(*arguments):
            seen.append(batch)
            yield batch

    alg.regression.minibatches = spy
    alg.regression.num_mini_batches = alg.regression.num_steps = 4  # one pass
    alg.train_student()
    assert sorted(torch.cat(seen).tolist()) == sorted([*rows.tolist(), *(rows + samples).tolist()])


def test_a_policy_gradient_of_the_history_encoder_is_under_the_kl_control():
    # The KL of every step is above twice 1e-9: the schedule divides by 1.5 in each of 3 x 2 gradient steps, E_hist's
    # rate follows.
    alg = collected(rollouts=2, student_detach=False, desired_kl=1e-9, encoder_learning_rate=2e-3)
    assert alg.kl_source == "all"
    assert alg.learning_rate < 1e-3 / 1.5**3
    ppo, encoder = alg.optimizer.param_groups
    assert encoder["lr"] == pytest.approx(2.0 * ppo["lr"])
    per_group = build(ts_cfg(CTS, {"preset": "per_group"}, student_detach=False), ToyEnv())
    assert per_group.kl_source == "all" and per_group.scale_encoder_learning_rate
    fixed = collected(rollouts=2, desired_kl=1e-9, encoder_learning_rate=2e-3)
    assert fixed.learning_rate < 1e-3 and fixed.optimizer.param_groups[1]["lr"] == 2e-3


@pytest.mark.parametrize("actor", [{"preset": "both"}, {"latent_norm": "l1"}])
def test_networks_that_make_no_sense_are_named(actor):
    (name, value) = next(iter(actor.items()))
    with pytest.raises(ValueError, match=f"{name} '{value}': expected"):
        build(ts_cfg(CTS, actor), ToyEnv())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"student_detach": False, "kl_source": "teacher"}, "student_detach=False excludes kl_source=teacher"),
        (
            {"student_detach": False, "scale_encoder_learning_rate": False},
            "student_detach=False excludes kl_source=None, scale_encoder_learning_rate=False",
        ),
        ({"advantage_norm": "both"}, "advantage_norm 'both': expected joint or per_group"),
        ({"kl_source": "student"}, "kl_source 'student': expected all or teacher"),
        (
            {"advantage_norm": "per_group", "normalize_advantage_per_mini_batch": True},
            "per_group excludes normalize_advantage_per_mini_batch",
        ),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(ts_cfg(CTS, **options), ToyEnv())


def test_the_toy_configuration_needs_the_privileged_set():
    cfg = make_cfg(CTS, actor={"class_name": "ActorCriticCTS"})
    cfg["obs_groups"]["privileged"] = ["scan"]
    with pytest.raises(ValueError, match="'privileged' names the group 'scan', which the environment does not provide"):
        build(cfg, ToyEnv())
