"""PPO_ULT: its losses by hand, mirrored trajectories, optimizer, logs, exact resume, bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import PPO_ULT
from rsl_rl_ult.algorithms.metrics import gradient_cosines
from rsl_rl_ult.algorithms.mixing import MetricsByActor
from rsl_rl_ult.algorithms.rollout_state import Decision, Step
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.modules.actor_critic_ult import Readouts, ULTEvaluation
from rsl_rl_ult.storage import RolloutStorage
from tests.learning import ACTIONS, DIMS, ToyEnv, build, collect, train
from tests.toy_symmetry import SYMMETRY
from tests.ult import first_batch, make_batch, ult_cfg

# -- losses -----------------------------------------------------------------------------------------------------------


class FixedPrediction:
    """Stands in for the network: predicts zeros."""

    def predict(self, output: torch.Tensor) -> tuple:
        return torch.zeros(len(output), 2), torch.zeros(len(output), 1)


def test_the_prediction_loss_by_hand():
    # Two steps of one environment; the episode ends with the second. Frames: (1 + 9) / 2 = 5 for the first, the second
    # is masked. Actions: (4 + 16) / 2 = 10 for both: an action is known also where the episode ends.
    alg: Any = PPO_ULT.__new__(PPO_ULT)
    alg.network, alg.processes = FixedPrediction(), Processes()
    two = torch.zeros(2)
    batch = make_batch(torch.tensor([[2.0], [4.0]]), two.bool(), two, None, two[:, None])
    batch.next_frames = torch.tensor([[[1.0, 3.0], [100.0, 100.0]]])
    batch.ongoing = torch.tensor([[True, False]])
    assert alg._prediction_loss(Readouts(*[torch.zeros(2, 1)] * 4), batch).item() == pytest.approx(5.0 + 10.0)


def test_predictions_are_compared_with_what_came_next():
    env = ToyEnv(5)
    alg = build(ult_cfg(num_mini_batches=1), env)
    alg.shuffled_envs = lambda: torch.tensor([3, 0, 4, 1, 2])
    obs, seen = env.get_observations(), []
    with torch.inference_mode():
        for _ in range(6):
            actions = alg.act(obs)
            obs, rewards, dones, extras = env.step(actions)
            alg.process_env_step(obs, rewards, dones, extras)
            seen.append(obs["policy"].clone())
        alg.compute_returns(obs)
    batch = first_batch(alg)
    expected = alg.network.normalizers["actor"](torch.stack(seen, dim=1))[alg.shuffled_envs()]
    assert torch.equal(batch.next_frames, expected)
    assert torch.equal(batch.ongoing, (alg.storage["dones"] == 0).t()[alg.shuffled_envs()])


def test_imitation_teaches_the_student_and_not_the_teacher():
    env = ToyEnv()
    alg = build(ult_cfg(prediction_coef=0.0), env)
    collect(alg, env, env.get_observations(), 6)
    readouts = alg.evaluate(first_batch(alg)).readouts
    for kind in ("mse", "kl"):
        alg.imitation_loss = kind
        loss = alg._imitation_loss(readouts)
        gradients = torch.autograd.grad(loss, list(alg.network.parameters()), allow_unused=True, retain_graph=True)
        touched = {
            name.split(".")[0]
            for (name, _), g in zip(alg.network.named_parameters(), gradients)
            if g is not None and g.any()
        }
        assert touched == {"actor", "frame_tokenizer", "transformer"}
    # KL of Gaussians with equal deviation: half the squared distance in units of the deviation, summed over actions.
    difference = (readouts.student - readouts.teacher) / alg.network.std()
    assert loss.item() == pytest.approx((0.5 * difference.square().sum(-1)).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("kind", "expected"), [("kl", 3 * 0.01 / (2 * 0.25)), ("mse", 0.01)])
def test_the_scale_of_the_imitation_loss_by_hand(kind, expected):
    # Student and teacher differ by 0.1 in each of 3 actions, deviation 0.5. kl: 3 x 0.1^2 / (2 x 0.5^2) = 0.06; mse:
    # 0.1^2 = 0.01.
    alg = build(ult_cfg(imitation_loss=kind), ToyEnv())
    alg.network.std.param.data.fill_(0.5)
    student, teacher = torch.zeros(4, ACTIONS), torch.full((4, ACTIONS), 0.1)
    assert ACTIONS == 3
    found = alg._imitation_loss(Readouts(student, teacher, student, teacher))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_imitation_coefficient_weighs_the_imitation_loss():
    env = ToyEnv()
    alg = build(ult_cfg(imitation_coef=0.7), env)
    collect(alg, env, env.get_observations(), 6)
    batch = first_batch(alg)
    evaluation = alg.evaluate(batch)
    weight, loss = alg.auxiliary_losses(batch, evaluation, evaluation.mean.sum())["imitation"]
    assert weight == 0.7 and loss.item() == alg._imitation_loss(evaluation.readouts).item() > 0


@pytest.mark.parametrize(
    ("samples", "by_teacher", "by_student"),
    [
        # One action, std 1: the sample is action 1. Teacher: mean 0 in rollout and update, ratio 1. Student: mean 1 in
        # the rollout, 0.5 now: ratio e^(-0.125) = 0.8825. It would have been the student's with probability 0.25 /
        # (0.25 + 0.75 e^(-0.5)) = 0.35466. Advantage 1.
        ("acted", -1.0, -0.8825),
        ("student_from_teacher", -(1.0 + 0.35466 * 0.8825), -0.35466 * 0.8825),
        ("mixture", -(0.64534 + 0.35466 * 0.8825), -(0.64534 + 0.35466 * 0.8825)),
    ],
)
def test_the_surrogate_by_hand(samples, by_teacher, by_student):
    alg = build(ult_cfg(policy_samples=samples, mix_ratio=0.75), ToyEnv())
    alg.network.std.param.data.fill_(1.0)
    ones = torch.ones(1, ACTIONS)
    actions, zero, half = (torch.tensor([[x] + [0.0] * (ACTIONS - 1)]) for x in (1.0, 0.0, 0.5))
    old = {
        role: losses.gaussian_log_prob(mean, ones, actions) for role, mean in (("teacher", zero), ("student", actions))
    }
    for acts, expected in (("teacher", by_teacher), ("student", by_student)):
        other, now = ("student", zero) if acts == "teacher" else ("teacher", half)
        teacher, one = torch.tensor([acts == "teacher"]), torch.tensor([[1.0]])
        batch = make_batch(actions, teacher, old[acts], None if samples == "acted" else old[other], one, 0.75)
        evaluation = ULTEvaluation(now, ones, one, Readouts(half, zero, zero, zero))
        per_sample = alg.clipped_surrogate(losses.gaussian_log_prob(now, ones, actions), old[acts], one)
        assert alg.surrogate(per_sample, batch, evaluation).item() == pytest.approx(expected, abs=1e-4)


def test_who_did_not_act_is_weighed_by_the_probability_that_it_would_have():
    # Equal read-outs: the other one's share is its prior, 1 - p where the teacher acted with probability p, else p.
    alg, ones = build(ult_cfg(policy_samples="mixture"), ToyEnv()), torch.ones(4)
    probability = torch.tensor([0.75, 0.75, 1.0, 0.0])  # the last two: for certain, nothing is the other one's
    teacher = torch.tensor([True, False, True, False])
    batch = make_batch(torch.zeros(4, ACTIONS), teacher, ones, ones, ones[:, None], probability)
    assert alg._other_log_weight(batch).exp().tolist() == pytest.approx([0.25, 0.75, 0.0, 0.0])


def test_batches_know_with_which_probability_the_teacher_was_to_act():
    # Linear from 1 to 0 in 4 updates: 0.75 in the second rollout; every fourth environment is the student's alone.
    share = {"student_share": 0.25, "mix_ratio": 1.0, "mix_schedule": "linear", "mix_iterations": 4}
    env = ToyEnv(8)
    alg = build(ult_cfg(policy_samples="mixture", **share), env)
    obs = collect(alg, env, env.get_observations(), 6)
    alg.update()
    collect(alg, env, obs, 6)
    found = alg.storage["teacher_probability"].flatten(1)
    assert torch.equal(found, torch.tensor([0.75, 0.75, 0.75, 0.0] * 2).expand(6, 8))
    assert not alg.storage["teacher"].flatten(1)[:, 3::4].any()
    rows = alg.sample_rows()
    assert torch.equal(alg.make_batch(rows).teacher_probability, found.flatten()[rows])


def test_the_learning_rate_follows_the_teachers_kl():
    # Moving the student alone, however far, leaves the rate to the teacher, whose KL of 0 changes nothing.
    rates = {}
    for source in ("teacher", "all"):
        env = ToyEnv(8)
        alg = build(ult_cfg(kl_source=source, schedule="adaptive"), env)
        collect(alg, env, env.get_observations(), 6)
        batch = first_batch(alg)
        evaluation = alg.evaluate(batch)
        evaluation.mean = batch.acted.mean + (~batch.originals(batch.teacher)).float()[:, None]
        before = alg.learning_rate
        alg._adapt_learning_rate(batch, evaluation)
        rates[source] = alg.learning_rate / before
    assert rates == {"teacher": 1.0, "all": pytest.approx(1 / 1.5)}


def test_without_a_teacher_that_acts_the_learning_rate_follows_the_student():
    env = ToyEnv(8)
    alg = build(ult_cfg(mix_ratio=0.0, schedule="adaptive"), env)
    collect(alg, env, env.get_observations(), 6)
    batch = first_batch(alg)
    assert batch.kl_rows is not None and not batch.kl_rows.any()
    evaluation, before = alg.evaluate(batch), alg.learning_rate
    evaluation.mean = batch.acted.mean + 1.0
    alg._adapt_learning_rate(batch, evaluation)
    assert alg.learning_rate == pytest.approx(before / 1.5)


@pytest.mark.parametrize("samples", ["acted", "student_from_teacher", "mixture"])
def test_learning_closes_the_gap_between_student_and_teacher(samples):
    cfg = ult_cfg(imitation_coef=1.0, learning_rate=3e-3, schedule="fixed", policy_samples=samples)
    _, history = train(cfg, iterations=12, num_envs=32)
    assert history[-1]["imitation"] < 0.5 * history[0]["imitation"]


def test_prediction_learns_what_actions_do():
    # A tenth of the next frame's variance comes from the action, the rest is noise; the action itself has to be
    # guessed.
    cfg = ult_cfg(prediction_coef=1.0, learning_rate=3e-3, schedule="fixed")
    _, history = train(cfg, iterations=15, num_envs=64)
    assert history[-1]["prediction"] < 0.8 * history[0]["prediction"]


# -- mirrored trajectories ------------------------------------------------------------------------------------------


def test_mirrored_segments_are_segments_of_mirrored_frames():
    env = ToyEnv(6)
    alg = build(ult_cfg(symmetry_cfg=SYMMETRY, num_mini_batches=2), env)
    collect(alg, env, env.get_observations(), 6)
    rows = alg.sample_rows()
    for batch, envs in zip(alg.minibatches(alg.make_batch(rows)), rows[::6].chunk(2)):
        normalize = alg.network.normalizers["actor"]
        raw = torch.cat([x[envs] for x in alg.acting.segments(6)], dim=-1)
        for part, sign in zip(batch.frame_actions.chunk(2), (1.0, -1.0)):
            frames, actions = (sign * raw).split([DIMS["policy"], ACTIONS], dim=-1)
            assert torch.allclose(part, torch.cat((normalize(frames), actions), dim=-1))
        expected = alg.storage["privileged"][:, envs].transpose(0, 1).flatten(0, 1)
        normalize = alg.network.normalizers["privileged"]
        assert torch.allclose(batch.inputs["privileged"], normalize(torch.cat((expected, -expected))))
        assert torch.equal(*batch.teacher.chunk(2))
    assert "symmetry" in alg.update()


# -- optimizer, logs, checkpoints -----------------------------------------------------------------------------------


def test_every_parameter_is_in_the_optimizer_once_and_the_blocks_have_their_own_rate():
    alg, _ = train(ult_cfg({"shared_action_head": True}, attention_lr_scale=0.3, desired_kl=1e-9), iterations=2)
    rest, blocks = alg.optimizer.param_groups
    assert {id(p) for p in blocks["params"]} == {id(p) for p in alg.network.transformer.blocks.parameters()}
    parameters = [id(p) for group in (rest, blocks) for p in group["params"]]
    assert sorted(parameters) == sorted(id(p) for p in alg.network.parameters())
    assert rest["lr"] == alg.learning_rate != 1e-3
    assert blocks["lr"] == pytest.approx(0.3 * alg.learning_rate)


def test_the_blocks_rate_is_scaled_from_the_first_step_and_after_loading():
    alg = build(ult_cfg(attention_lr_scale=0.5, schedule="fixed"), ToyEnv())
    assert alg.optimizer.param_groups[1]["lr"] == pytest.approx(0.5e-3)


def test_the_learning_rate_is_capped():
    alg, _ = train(ult_cfg(max_learning_rate=1.2e-3, desired_kl=1e3), iterations=3)
    assert alg.learning_rate == 1.2e-3


def test_metrics_of_every_update():
    _, history = train(ult_cfg(cosine_interval=2), iterations=4)
    for metrics in history:
        assert {"prediction", "imitation", "teacher_share", "teacher_reward", "student_reward"} <= set(metrics)
        assert 0.2 < metrics["teacher_share"] < 0.8
        assert abs(metrics["cosine_prediction"]) <= 1.0 and abs(metrics["cosine_imitation"]) <= 1.0
    cosines = [metrics["cosine_imitation"] for metrics in history]
    assert cosines[0] == cosines[1] != cosines[2] == cosines[3]


def test_cosines_by_hand_and_without_a_trace():
    alg = build(ult_cfg(), ToyEnv())
    weight = alg.network.trunk_parameters()[0]
    policy = weight[0, 0] + weight[0, 1]
    auxiliary = {"same": 3.0 * policy, "half": weight[0, 0] * 2.0, "against": -policy}
    found = gradient_cosines(policy, auxiliary, alg.network.trunk_parameters())
    assert found == pytest.approx({"cosine_same": 1.0, "cosine_half": 0.5**0.5, "cosine_against": -1.0})
    measured, _ = train(ult_cfg(cosine_interval=1), iterations=3)
    silent, _ = train(ult_cfg(cosine_interval=0), iterations=3)
    for name, value in measured.network.state_dict().items():
        assert torch.equal(value, silent.network.state_dict()[name]), name


def test_metrics_by_who_acted():
    by_actor, dones = MetricsByActor(), torch.zeros(4, dtype=torch.bool)
    for teacher, rewards in (([1, 1, 0, 0], [1.0, 2.0, 5.0, 7.0]), ([1, 0, 0, 0], [3.0, 0.0, 0.0, 6.0])):
        none = torch.zeros(4, ACTIONS)
        decision = Decision(none, none, {"teacher": torch.tensor(teacher).bool()})
        by_actor.on_step(Step({}, decision, none, none, none), torch.tensor(rewards), dones, {})
    metrics = by_actor.metrics()
    assert metrics["teacher_reward"] == pytest.approx(2.0)  # (1 + 2 + 3) / 3
    assert metrics["student_reward"] == pytest.approx(18.0 / 5)
    assert metrics["teacher_share"] == pytest.approx(3 / 8)


@pytest.mark.parametrize(
    ("mode", "samples"), [("per_step", "acted"), ("per_episode", "acted"), ("per_step", "mixture")]
)
def test_a_restart_continues_exactly(mode, samples):
    cfg = ult_cfg(policy_samples=samples, mix_mode=mode, mix_schedule="linear", mix_iterations=5, mix_ratio_end=1.0)

    def run(restart: bool) -> tuple:
        env = ToyEnv()
        alg = build(cfg, env)
        obs = collect(alg, env, env.get_observations(), 6)
        torch.manual_seed(5)
        alg.update()
        if restart:
            saved, state = alg.save(), alg.rollout_state()
            alg = build(cfg, ToyEnv(seed=9), seed=77)
            assert alg.load(saved) is True
            alg.load_rollout_state(state)
        torch.manual_seed(6)
        collect(alg, env, obs, 6)
        return alg.update(), alg.network.state_dict()

    (metrics, weights), (metrics_restarted, weights_restarted) = run(False), run(True)
    assert {name: metrics[name] for name in metrics if "cosine" not in name} == {
        name: value for name, value in metrics_restarted.items() if "cosine" not in name
    }
    for name, value in weights.items():
        assert torch.equal(value, weights_restarted[name]), name


def test_the_policy_to_deploy_is_the_student():
    alg = build(ult_cfg(), ToyEnv())
    assert alg.get_policy() is alg.inference_policies()["student"]
    assert list(alg.inference_policies()) == ["teacher", "student"]
    with pytest.raises(ValueError, match="export the student"):
        alg.inference_policies()["teacher"].as_onnx()
    with pytest.raises(TypeError, match="acts on a history"):
        alg.network.policy_mean({})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mix_ratio": 1.5}, r"mix_ratio=1\.5: a probability that the teacher acts, expected in \[0, 1\]"),
        ({"mix_ratio": float("nan")}, "mix_ratio=nan"),
        ({"mix_ratio_end": -0.1}, r"mix_ratio_end=-0\.1"),
        ({"mix_mode": "per_frame"}, "mix_mode 'per_frame': expected one of per_step, per_episode, per_env"),
        ({"student_share": 1.0}, "student_share=1.0: share of the environments that the student drives alone"),
        ({"mix_schedule": "exponential"}, "mix_schedule 'exponential'"),
        ({"mix_schedule": "linear"}, "mix_schedule 'linear' never ends with mix_iterations=None"),
        ({"mix_schedule": "cosine", "mix_iterations": 0}, "never ends with mix_iterations=0"),
        ({"prediction_coef": -1.0}, r"prediction_coef=-1\.0: expected a number of at least 0"),
        ({"imitation_coef": float("inf")}, "imitation_coef=inf"),
        ({"imitation_loss": "l1"}, "imitation_loss 'l1': expected mse or kl"),
        ({"policy_samples": "some"}, "policy_samples 'some': expected acted or student_from_teacher or mixture"),
        ({"kl_source": "student"}, "kl_source 'student': expected all or teacher"),
        (
            {"policy_samples": "mixture", "mix_mode": "per_env"},
            "policy_samples=mixture needs mix_mode=per_step, found per_env",
        ),
        ({"attention_lr_scale": 0.0}, r"attention_lr_scale=0\.0"),
        ({"max_learning_rate": 0.1}, r"max_learning_rate=0\.1: expected a positive number of at most 0\.01"),
        ({"mix_rato": 0.5}, r"no option 'mix_rato' for PPO_ULT .did you mean 'mix_ratio'"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(ult_cfg(**options), ToyEnv())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "num_heads": 4}, "width=10"),
        ({"history_length": 0}, "history_length=0"),
        ({"critic_input": "privileged"}, "critic_input 'privileged': expected one of critic, privilege_token"),
        ({"attention_kernel": "flash"}, "attention_kernel 'flash'"),
        ({"num_layer": 2}, r"actor has no option 'num_layer' for ActorCriticULT .did you mean 'num_layers'"),
    ],
)
def test_networks_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(ult_cfg(options), ToyEnv())


def test_fewer_environments_than_minibatches_cannot_train_but_act():
    env = ToyEnv(3)
    alg = build(ult_cfg(num_mini_batches=4), env)
    collect(alg, env, env.get_observations(), 6)
    message = "num_mini_batches=4: minibatches hold whole environments, expected at most their number, 3"
    with pytest.raises(ValueError, match=message):
        alg.train_mode()  # which every runner calls before it trains


def test_a_policy_may_be_used_inside_and_outside_of_inference_mode():
    env = ToyEnv(3)
    alg = build(ult_cfg(), env)
    for policy in alg.inference_policies().values():
        with torch.inference_mode():
            policy(env.get_observations())
        policy.reset(torch.tensor([True, False, False]))
        assert not policy(env.get_observations()).requires_grad


def test_a_reset_forgets_an_action_that_is_not_a_number():
    env = ToyEnv(2)
    alg = build(ult_cfg(), env)
    obs = env.get_observations()
    alg.act(obs)
    alg._step.actions[0] = float("nan")
    alg.process_env_step(obs, torch.zeros(2), torch.tensor([1, 0]), {})
    assert alg.acting.last_actions[0].tolist() == [0.0] * ACTIONS


def test_a_schedule_longer_than_the_training_never_ends():
    cfg = {**ult_cfg(mix_schedule="linear", mix_iterations=50), "max_iterations": 20}
    with pytest.raises(ValueError, match="mix_iterations=50: the schedule never ends, the training has 20 iterations"):
        build(cfg, ToyEnv())
    assert build({**cfg, "resume": True}, ToyEnv()).mixing.iterations == 50
    whole = {**ult_cfg(mix_schedule="cosine"), "max_iterations": 20}
    assert build(whole, ToyEnv()).mixing.iterations == 20


def test_more_context_than_the_storage_keeps_is_an_error():
    storage = RolloutStorage(4, 2, context={"policy": 3})
    storage.add(dones=torch.zeros(2), policy=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="5 frames of context of 'policy' are wanted, the storage keeps 3"):
        storage.segments("policy", 5, 4)
