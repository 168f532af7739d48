"""Student-informed teacher: what the teacher pays, which network learns from what, and what happens at weight 0."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.penalty import PLATEAU_UPDATES, Penalty
from rsl_rl_ult.algorithms.student import RolloutWindows
from tests.learning import ToyEnv, build, collect, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import SITT, TS, assert_equal, ts_cfg
from tests.toy_symmetry import SYMMETRY

OFF = {"kl_weight": 0.0, "teacher_weight": 0.0}
PPO_OFF = {"value_loss_coef": 0.0, "entropy_coef": 0.0}


def sitt_cfg(actor: Any = None, **algorithm: Any) -> dict:
    """Small networks; the whole price from the first update on."""
    return ts_cfg(SITT, {"proxy_hidden_dims": [8], **(actor or {})}, **{"kl_warmup": 0, **algorithm})


def categorical(cfg: dict) -> dict:
    cfg["actor"]["distribution_cfg"] = {"class_name": "CategoricalDistribution"}
    return cfg


def full(num_envs: Any = 8, cfg: Any = None, **algorithm: Any) -> Any:
    """An algorithm with a full rollout."""
    env = ToyEnv(num_envs)
    alg = build(cfg or sitt_cfg(**algorithm), env)
    collect(alg, env, env.get_observations(), 6)
    return alg


def weights(alg: Any) -> dict:
    return {name: value.clone() for name, value in alg.network.state_dict().items()}


def changed(alg: Any, before: dict) -> set:
    """Networks that are not what they were."""
    now = alg.network.state_dict()
    return {name.split(".")[0] for name, value in before.items() if not torch.equal(now[name], value)}


# -- the price -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "factor"), [("penalty", -1.0), ("bonus", 1.0)])
def test_a_constant_kl_changes_every_return_by_its_weight_over_one_minus_gamma(sign, factor):
    # Per step 0.25 x 0.5 nats; for ever 0.125 / (1 - 0.75) = 0.5. After 120 steps 0.75^120 = 1e-15 of it is missing.
    found = {}
    for weight in (0.0, 0.25):
        env = ToyEnv(done_rate=0.0)
        cfg = sitt_cfg(kl_weight=weight, kl_sign=sign, gamma=0.75, lam=1.0)
        cfg["num_steps_per_env"] = 120
        alg = build(cfg, env)
        alg.network.policy_kl = lambda mean, *_: torch.full((len(mean),), 0.5)
        torch.manual_seed(3)
        collect(alg, env, env.get_observations(), 120)
        found[weight] = alg.returns[0]
    assert torch.allclose(found[0.25] - found[0.0], torch.full((8, 1), factor * 0.5), atol=1e-5)


def test_the_price_is_taken_before_time_outs_are_bootstrapped():
    env = ToyEnv()
    alg = build(sitt_cfg(kl_weight=2.0, kl_clip=None), env)
    alg.act(env.get_observations())
    decision, rewards = alg._step.decision, torch.arange(8.0)
    time_outs = torch.tensor([1, 0] * 4)
    alg.process_env_step(env.get_observations(), rewards, time_outs, {"time_outs": time_outs})
    expected = rewards - 2.0 * decision.stored["kl"] + 0.99 * decision.value[:, 0] * time_outs
    assert torch.equal(alg.storage["rewards"][0, :, 0], expected)
    assert decision.stored["kl"].min() > 0


def make_penalty(weight: float = 0.5, clip: float | None = None, delay: Any = 0, warmup: int = 0) -> Penalty:
    return Penalty(weight, "penalty", clip, delay, warmup)


def test_a_step_is_charged_for_so_many_nats_at_most():
    penalty = make_penalty(clip=2.0)
    penalty.begin(0)
    assert penalty.shape(torch.ones(3), torch.tensor([0.0, 1.0, 9.0])).tolist() == [1.0, 0.5, 0.0]


def test_the_weight_waits_and_then_rises_linearly():
    # Two updates at 0, then four of a rise: 0.125, 0.25, 0.375, 0.5.
    penalty, found = make_penalty(delay=2, warmup=4), []
    for update in range(8):
        penalty.begin(update)
        found.append(penalty.weight)
    assert found == [0.0, 0.0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


def test_the_weight_waits_until_the_alignment_has_levelled_off_also_over_a_restart():
    # The loss falls from 60 by 1 until it stays at 10: the mean of 20 updates is within 5 % of that of the 20 before
    # when the later ones are all 10 and the former on average at most 10.52, 10 / 0.95: at most 4, 3, 2, 1 above 10.
    penalty, began = make_penalty(delay=None), None
    for update in range(200):
        penalty.begin(update)
        if penalty.weight > 0.0:
            began = update
            break
        penalty.follow(max(60.0 - update, 10.0), update)
        restarted = make_penalty(delay=None)
        restarted.load_state_dict(copy.deepcopy(penalty.state_dict()))
        penalty = restarted
    # Updates 46 to 49 are 4 above 10 and less: the window of 40 begins with 46 and ends with 85.
    assert began == 46 + 2 * PLATEAU_UPDATES


# -- the KL ----------------------------------------------------------------------------------------------------------


def test_the_kl_of_gaussian_policies_is_that_of_torch():
    alg = build(sitt_cfg(), ToyEnv())
    mean, other = torch.randn(50, 3), torch.randn(50, 3)
    std = alg.network.std()
    policies = [Independent(Normal(values, std.expand(50, 3)), 1) for values in (mean, other)]
    found = alg.network.policy_kl(mean, other)
    assert torch.allclose(found, kl_divergence(*policies), atol=1e-5)
    assert torch.allclose(found, 0.5 * ((mean - other) / std).square().sum(-1), atol=1e-5)
    assert found.min() >= 0.0 and torch.equal(alg.network.policy_kl(mean, mean), torch.zeros(50))


def test_the_kl_of_categorical_policies_is_that_of_torch_teacher_first():
    alg = build(categorical(sitt_cfg()), ToyEnv())
    logits, other = torch.randn(50, 3), torch.randn(50, 3)
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=other))
    found = alg.network.policy_kl(logits, other)
    assert torch.allclose(found, expected, atol=1e-6) and found.min() >= 0.0
    assert not torch.allclose(found, alg.network.policy_kl(other, logits), atol=1e-2)
    assert torch.equal(alg.network.policy_kl(logits, logits), torch.zeros(50))


@pytest.mark.parametrize("make", [lambda cfg: cfg, categorical], ids=["gaussian", "categorical"])
def test_the_stored_kl_is_between_teacher_and_proxy_in_the_state_that_was_acted_in(make):
    env = ToyEnv()
    alg = build(make(sitt_cfg()), env)
    obs = env.get_observations()
    alg.act(obs)
    network, inputs = alg.network, alg.network.inputs(alg.raw_sets(obs))
    proxy = network.head(inputs, network.proxy_latent(inputs))
    expected = network.policy_kl(network.policy_mean(inputs), proxy)
    assert torch.equal(alg._step.decision.stored["kl"], expected) and expected.min() > 0.0
    # A proxy that gives the teacher's own latent.
    network.proxy_latent = network.teacher_latent
    alg.act(obs)
    assert torch.equal(alg._step.decision.stored["kl"], torch.zeros(8))


def converged(alg: Any) -> None:
    """Give the proxy the student's own weights, and none on what the student does not see."""
    student, proxy = alg.network.history_encoder.mlp, alg.network.proxy_encoder
    with torch.no_grad():
        proxy[0].weight.zero_()
        proxy[0].weight[:, :5] = student[0].weight
        proxy[0].bias.copy_(student[0].bias)
        proxy[2].load_state_dict(student[2].state_dict())


def test_with_a_converged_proxy_proxy_and_student_are_equally_far_from_the_teacher():
    found = {}
    for policy in ("proxy", "student"):
        env = ToyEnv()
        alg = build(sitt_cfg({"history_length": 1}, kl_policy=policy), env)
        converged(alg)
        torch.manual_seed(2)
        collect(alg, env, env.get_observations(), 6)
        batch = next(alg.minibatches(alg.make_batch(torch.arange(48))))
        _, metrics = alg.compute_loss(batch)
        found[policy] = (alg.storage.flat("kl").clone(), batch.imitated, metrics["action_kl"].detach())
    for proxy, student in zip(found["proxy"], found["student"]):
        assert torch.allclose(proxy, student, atol=1e-6)
    assert found["proxy"][0].min() > 0.0


# -- who learns from what --------------------------------------------------------------------------------------------


def test_without_its_weights_and_terms_it_is_ts_to_the_bit():
    # Also the random numbers: networks are drawn from one seed, and rollouts go on from there.
    ts, expected = train(ts_cfg(TS, num_encoder_steps=4), iterations=4)
    sitt, found = train(sitt_cfg(**OFF, num_encoder_steps=4, student_loss="latent"), iterations=4)
    state = {name: value for name, value in sitt.network.state_dict().items() if not name.startswith("proxy")}
    assert_equal(state, ts.network.state_dict())
    for mine, theirs in zip(found, expected):
        assert {name: mine[name] for name in theirs if name != "student_action"} == {
            name: value for name, value in theirs.items() if name != "student_action"
        }
    assert found[0]["kl"] > 0.0 and found[0]["kl_weight"] == 0.0  # and is still watched


def test_a_new_network_leaves_the_random_numbers_of_ts():
    after = []
    for cfg in (ts_cfg(TS), sitt_cfg()):
        build(cfg, ToyEnv())
        after.append(torch.rand(4))
    assert torch.equal(*after)


@pytest.mark.parametrize("options", [{"kl_weight": 0.5}, {"teacher_weight": 0.5}])
def test_each_of_the_weights_changes_what_the_teacher_learns(options):
    alone, _ = train(sitt_cfg(**OFF), iterations=2)
    informed, _ = train(sitt_cfg(**{**OFF, **options}), iterations=2)
    assert not torch.equal(informed.network.actor[0].weight, alone.network.actor[0].weight)


@pytest.mark.parametrize("policy", ["proxy", "student"])
@pytest.mark.parametrize(
    ("term", "sigma", "expected"),
    [
        ("action_kl", False, {"privilege_encoder"}),
        ("action_kl", True, {"privilege_encoder", "std"}),
        ("feature_l1", False, {"privilege_encoder"}),
    ],
)
@pytest.mark.parametrize("symmetry", [None, SYMMETRY], ids=["alone", "mirrored"])
def test_the_update_term_moves_the_teachers_encoder_only(policy, term, sigma, expected, symmetry):
    alg = full(
        teacher_term=term, kl_sigma_grad=sigma, kl_policy=policy, teacher_weight=1.0, symmetry_cfg=symmetry, **PPO_OFF
    )
    alg.surrogate = lambda per_sample, *_: 0.0 * per_sample.sum()
    before = weights(alg)
    for batch in alg.minibatches(alg.make_batch(alg.sample_rows())):
        alg.gradient_step(batch)
    assert changed(alg, before) == expected


def test_the_update_term_makes_the_teacher_more_like_its_proxy():
    alg = full(teacher_weight=1.0, **PPO_OFF, num_learning_epochs=20, schedule="fixed", learning_rate=1e-2)
    alg.surrogate = lambda per_sample, *_: 0.0 * per_sample.sum()
    found = [alg.gradient_step(batch)["action_kl"] for batch in alg.minibatches(alg.make_batch(torch.arange(48)))]
    assert found[-1] < 0.5 * found[0]


def test_the_gradient_of_the_term_is_that_of_the_kl_with_the_decoder_and_the_deviation_held():
    alg = full(teacher_weight=1.0)
    network, batch = alg.network, next(alg.minibatches(alg.make_batch(torch.arange(48))))
    evaluation = network.evaluate(batch)
    ((_, term),) = alg.auxiliary_losses(batch, evaluation, torch.zeros(())).values()
    found = torch.autograd.grad(term, list(network.privilege_encoder.parameters()), retain_graph=True)
    other = network.head(batch.inputs, batch.imitated).detach()
    kl = losses.gaussian_kl(evaluation.mean, evaluation.std.detach(), other, evaluation.std.detach()).mean()
    expected = torch.autograd.grad(kl, list(network.privilege_encoder.parameters()))
    assert term.item() == kl.item()
    for mine, theirs in zip(found, expected):
        assert torch.allclose(mine, theirs, atol=1e-7)


@pytest.mark.parametrize("loss", ["l1", "mse"])
@pytest.mark.parametrize(
    ("policy", "expected"), [("proxy", {"history_encoder", "proxy_encoder"}), ("student", {"history_encoder"})]
)
def test_alignment_moves_student_and_proxy_only(loss, policy, expected):
    alg = full(alignment_loss=loss, kl_policy=policy)
    before = weights(alg)
    alg.train_student()
    assert changed(alg, before) == expected
    touched = {name.split(".")[0] for name, p in alg.network.named_parameters() if p.grad is not None}
    assert touched == expected


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_alignment_brings_student_and_proxy_closer(loss):
    options = {"alignment_loss": loss, "num_encoder_steps": 60, "num_encoder_mini_batches": 1}
    alg = full(64, **options, encoder_learning_rate=1e-2)
    first, second = alg.train_student(), alg.train_student()
    assert list(first) == ["student_latent", "proxy_latent", "student_action", "proxy_action"]
    for name, value in second.items():
        assert value < first[name], name


def test_the_proxy_follows_the_student_and_not_the_teacher():
    # The student cannot know two of the four privileged columns; the proxy sees them, and learns to leave them out.
    options = {"num_encoder_steps": 800, "num_encoder_mini_batches": 1, "encoder_learning_rate": 1e-2}
    alg = full(64, sitt_cfg({"history_length": 1}, **options))
    alg.train_student()
    network, inputs = alg.network, alg.regression.targets()
    student = network.student_latent(RolloutWindows(alg).cut(torch.arange(384)))
    proxy = network.proxy_latent(inputs)
    assert losses.regression_loss(proxy, student) < 0.2 * losses.regression_loss(student, inputs["latent"])


def test_the_student_never_reads_what_is_privileged():
    env = ToyEnv()
    alg = build(sitt_cfg(), env)
    obs = env.get_observations()
    obs["privileged"].requires_grad_(True)
    obs["policy"].requires_grad_(True)
    for name, reads in (("student", False), ("teacher", True)):
        actions = alg.policies[name](obs)
        policy, privileged = torch.autograd.grad(
            actions.square().sum(), (obs["policy"], obs["privileged"]), allow_unused=True
        )
        assert policy.abs().sum() > 0.0
        assert (privileged is not None and bool(privileged.abs().sum() > 0.0)) == reads, name
    # And what it is aligned on has the columns of a frame, no more.
    collect(alg, env, env.get_observations(), 6)
    assert RolloutWindows(alg).cut(torch.arange(3)).shape == (3, 4, 5)


@pytest.mark.parametrize("policy", ["proxy", "student"])
def test_every_sample_meets_the_latent_of_its_own_state_mirrored_or_not(policy):
    alg = full(cfg=sitt_cfg({"history_length": 1}, kl_policy=policy, symmetry_cfg=SYMMETRY))
    for batch in alg.minibatches(alg.make_batch(alg.sample_rows())):
        window = batch.inputs["actor"][:, None]
        student = alg.network.student_latent(window)
        expected = alg.network.proxy_latent(batch.inputs) if policy == "proxy" else student
        assert len(expected) == 2 * len(batch)
        assert torch.allclose(batch.imitated, expected, atol=1e-6)


def test_parameters_are_in_one_group_each_with_their_own_learning_rate():
    alg, _ = train(sitt_cfg(encoder_learning_rate=3e-4, proxy_learning_rate=5e-4), iterations=1)
    ppo, proxy, student = alg.optimizer.param_groups
    assert student["params"] == alg.network.student_parameters()
    assert (ppo["lr"], student["lr"], proxy["lr"]) == (alg.learning_rate, 3e-4, 5e-4)
    parameters = [id(p) for group in alg.optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(alg.network.parameters()))


def test_what_is_logged_is_the_reward_of_the_environment_and_its_price():
    alg, env = build(sitt_cfg(kl_weight=0.5, kl_clip=0.25, teacher_weight=0.0), ToyEnv()), ToyEnv()
    alg.network.policy_kl = lambda mean, *_: torch.arange(len(mean)) / 8.0
    obs = env.get_observations()
    rewards = torch.tensor([1.0, -1.0] * 4)
    for _ in range(6):
        alg.act(obs)
        alg.process_env_step(obs, rewards, torch.zeros(8), {})
    alg.compute_returns(obs)
    found = alg.update()
    # KL 0, 1/8 ... 7/8, mean 7/16; clipped 0, 1/8 and six times 1/4: mean 13/64; half of it per unit of reward.
    assert found["raw_reward"] == 0.0 and found["kl"] == 7 / 16 and found["kl_weight"] == 0.5
    assert found["shaped_share"] == pytest.approx(13 / 128)
    assert found["sigma"] == pytest.approx(float(alg.network.std().detach().mean()), rel=1e-6)


# -- continuing, and mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"kl_delay": None}, {"kl_policy": "student", "kl_warmup": 3}])
def test_a_restart_goes_on_exactly(options):
    def run(restart: bool) -> tuple:
        env = ToyEnv()
        alg = build(sitt_cfg(**options), env)
        obs = collect(alg, env, env.get_observations(), 6)
        torch.manual_seed(5)
        alg.update()
        if restart:
            saved, state = alg.save(), alg.rollout_state()
            alg = build(sitt_cfg(**options), ToyEnv(seed=9), seed=77)
            assert alg.load(saved) is True
            alg.load_rollout_state(state)
        torch.manual_seed(6)
        collect(alg, env, obs, 6)
        found = alg.update()
        return found, alg.network.state_dict(), alg.rollout_state()["penalty"]

    found, state, penalty = run(restart=False)
    found_again, state_again, penalty_again = run(restart=True)
    assert found == found_again and penalty == penalty_again
    assert_equal(state_again, state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kl_weight": -0.1}, r"algorithm\.kl_weight=-0\.1: expected a number of at least 0"),
        ({"kl_weight": float("nan")}, r"algorithm\.kl_weight=nan: expected a number of at least 0"),
        ({"teacher_weight": -1.0}, r"algorithm\.teacher_weight=-1\.0: expected a number of at least 0"),
        ({"kl_warmup": -3}, r"algorithm\.kl_warmup=-3: expected a number of at least 0"),
        ({"kl_delay": -1}, r"algorithm\.kl_delay=-1: expected a number of updates of at least 0, or None"),
        ({"kl_clip": 0.0}, r"algorithm\.kl_clip=0\.0: expected a positive number of nats, or None"),
        ({"kl_sign": "minus"}, r"algorithm\.kl_sign 'minus': expected penalty or bonus"),
        ({"kl_policy": "teacher"}, r"algorithm\.kl_policy 'teacher': expected proxy or student"),
        ({"teacher_term": "kl"}, r"algorithm\.teacher_term 'kl': expected action_kl or feature_l1"),
        ({"alignment_loss": "l2"}, r"algorithm\.alignment_loss 'l2': expected mse or l1"),
        ({"num_encoder_steps": 0}, r"num_encoder_steps=0: the teacher would follow a proxy that never learns"),
        ({"proxy_learning_rat": 1.0}, r"no option 'proxy_learning_rat' .*did you mean 'proxy_learning_rate'"),
        ({"alignment_epochs": 2}, r"no option 'alignment_epochs' for PPO_SITT"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(sitt_cfg(**options), ToyEnv())


def test_a_categorical_policy_has_no_deviation_to_move():
    with pytest.raises(ValueError, match=r"kl_sigma_grad=True: a categorical policy has no deviation"):
        build(categorical(sitt_cfg(kl_sigma_grad=True)), ToyEnv())


def test_alignment_without_student_observations_is_one_line():
    cfg = sitt_cfg()
    cfg["obs_groups"]["actor"] = []
    with pytest.raises(ValueError, match=r"observation set 'actor' is missing: name its groups under obs_groups"):
        build(cfg, ToyEnv())


def test_a_proxy_of_other_sizes_in_a_checkpoint_is_one_line_and_changes_nothing():
    saved = build(sitt_cfg(), ToyEnv()).save()
    alg = build(sitt_cfg({"proxy_hidden_dims": [12]}), ToyEnv(), seed=4)
    before = weights(alg)
    message = r"another network, 3 tensors differ: proxy_encoder\.0\.weight \(8, 9\) instead of \(12, 9\)"
    with pytest.raises(ValueError, match=message) as caught:
        alg.load(saved)
    assert "\n" not in str(caught.value)
    assert_equal(alg.network.state_dict(), before)


def test_a_checkpoint_of_ts_is_told_apart():
    with pytest.raises(ValueError, match="written by PPO_TS, this is PPO_SITT"):
        build(sitt_cfg(), ToyEnv()).load(build(ts_cfg(TS), ToyEnv()).save())
