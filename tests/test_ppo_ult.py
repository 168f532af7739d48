"""ULT: properties (a) to (i) of the method, its losses by hand, who acts, exact resume. (h) is in test_transformer.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import PPO, PPO_ULT
from rsl_rl_ult.algorithms.processes import Processes
from rsl_rl_ult.modules import ActorCriticULT
from rsl_rl_ult.modules.actor_critic_ult import Readouts
from rsl_rl_ult.storage import RolloutStorage
from tests.learning import ACTIONS, DIMS, ToyEnv, build, collect, make_cfg, train
from tests.toy_symmetry import SYMMETRY

ULT = "rsl_rl_ult.algorithms:PPO_ULT"
NETWORK = {"width": 16, "num_heads": 2, "history_length": 4, "token_hidden_dims": [12], "zero_init": False}
# (layers, T, S): context shorter and longer than the rollout, one frame, several layers.
SHAPES = [(1, 1, 5), (1, 4, 6), (2, 4, 6), (2, 9, 6), (3, 3, 4), (1, 6, 1)]


def ult_cfg(actor: dict | None = None, steps: int = 6, **algorithm: Any) -> dict:
    network = {"class_name": "ActorCriticULT", **NETWORK, **(actor or {})}
    cfg = make_cfg(ULT, steps=steps, actor=network, algorithm=algorithm)
    cfg["obs_groups"]["privileged"] = ["privileged"]
    return cfg


def shaped(layers: int, window: int, steps: int, **algorithm: Any) -> dict:
    return ult_cfg({"num_layers": layers, "history_length": window}, steps, **algorithm)


def make_network(layers: int = 2, window: int = 4, **options: Any) -> ActorCriticULT:
    torch.manual_seed(layers + window)
    options = {**NETWORK, "num_layers": layers, "history_length": window, **options}
    return ActorCriticULT(DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"], **options)


def segment(network: ActorCriticULT, rows: int = 3, steps: int = 5) -> tuple:
    """Pairs, privileged vectors and ages, with an episode end in the second row."""
    length = network.transformer.context + steps
    age = torch.arange(1, length + 1) + torch.tensor([[20], [0], [7]])[:rows]
    age[1, -2:] = torch.tensor([1, 2])
    return torch.randn(rows, length, DIMS["policy"] + ACTIONS), torch.randn(rows, steps, DIMS["privileged"]), age


def log_ratios(alg: Any) -> torch.Tensor:
    """Of the original samples of every minibatch, before any gradient step."""
    found = []
    samples, images = alg._prepare()
    batches = alg._mini_batches(samples, images)
    for _ in range(alg.num_mini_batches):
        batch = next(batches)
        count = len(batch["log_prob"])
        mean = alg.policy_mean(batch)[:count]
        std = alg.network.std().expand_as(mean)
        found.append(losses.gaussian_log_prob(mean, std, batch["actions"][:count]) - batch["log_prob"])
    return torch.cat(found)


# -- (a) to (d): who sees what --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"head_reads_frame": True}, {"shared_action_head": True}])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_privileged_data_never_reaches_the_student(layers, window, steps, options):
    """(a) bit-identical student and predictions for any p, (b) gradient exactly zero, (d) the teacher does react."""
    network = make_network(layers, window, **options)
    pairs, privileged, age = segment(network, steps=max(steps, 2))
    for block in network.transformer.blocks:
        torch.nn.init.normal_(block.distance_bias)
    expected = network.read(pairs, privileged, age)
    for other in (privileged + 1.0, torch.full_like(privileged, 1e30), torch.full_like(privileged, float("nan"))):
        found = network.read(pairs, other, age)
        assert torch.equal(found.student, expected.student)
        for one, two in zip(network.predict(found.frame), network.predict(expected.frame)):
            assert torch.equal(one, two)
    assert not torch.allclose(network.read(pairs, privileged + 1.0, age).teacher, expected.teacher)
    privileged.requires_grad_()
    found = network.read(pairs, privileged, age)
    outputs = found.student.sum() + sum(x.sum() for x in network.predict(found.frame))
    (gradient,) = torch.autograd.grad(outputs, privileged, allow_unused=True)
    assert gradient is None or not gradient.any()
    (gradient,) = torch.autograd.grad(found.teacher.sum(), privileged)
    assert gradient.any(dim=-1).all()


@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_without_privilege_tokens_the_student_is_the_same(layers, window, steps):
    """(c), in a pass and step by step."""
    network = make_network(layers, window)
    pairs, privileged, age = segment(network, steps=max(steps, 2))
    outputs, none = network.transformer(network.frame_tokenizer(pairs), None, age, max(steps, 2))
    assert none is None
    expected = network.read(pairs, privileged, age)
    assert torch.equal(
        network.act_student(outputs.flatten(0, 1), pairs[:, -max(steps, 2) :].flatten(0, 1)), expected.student
    )
    caches = [network.transformer.make_cache(3) for _ in range(2)]
    for step in range(8):
        token = network.frame_tokenizer(torch.randn(3, DIMS["policy"] + ACTIONS))
        with_reader, _ = network.transformer.step(token, torch.randn(3, 16), caches[0])
        without, _ = network.transformer.step(token, None, caches[1])
        assert torch.allclose(with_reader, without, atol=1e-6), (
            step
        )  # matrices of another size are summed in another order


def test_the_teacher_reads_history_too():
    network = make_network()
    pairs, privileged, age = segment(network)
    changed = network.read(pairs * 0.5, privileged, age).teacher
    assert not torch.allclose(changed, network.read(pairs, privileged, age).teacher)


# -- (e), (f), (i): rollout, update and deployment are one definition -------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"critic_input": "privilege_token"}, {"attention_kernel": "sdpa"}])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_every_ratio_is_one_before_the_first_gradient_step(layers, window, steps, options):
    """(e): teacher's and student's samples, across episode ends and rollout borders, while parameters and normalisers change."""
    found: list = []

    def check(alg: Any) -> None:
        found.append(log_ratios(alg).abs().max().item())
        teacher = alg.storage["teacher"]
        assert teacher.any() and not teacher.all()
        assert alg.storage["dones"].any() or steps == 1

    cfg = shaped(layers, window, steps, learning_rate=1e-2, schedule="fixed")
    cfg["actor"].update(options)
    alg, _ = train(cfg, iterations=6, num_envs=12, on_update=check)
    assert max(found) < 1e-5
    started = build(cfg, ToyEnv(12)).network
    assert not torch.allclose(started.frame_tokenizer[0].weight, alg.network.frame_tokenizer[0].weight, atol=1e-3)


@pytest.mark.parametrize("mode", ["per_step", "per_episode", "per_env"])
def test_ratios_are_one_in_every_mixing_mode(mode):
    found: list = []
    cfg = ult_cfg(mix_mode=mode, policy_samples="all", imitation_loss="kl")
    train(cfg, iterations=4, on_update=lambda alg: found.append(log_ratios(alg).abs().max().item()))
    assert max(found) < 1e-5


def test_a_stale_cache_would_be_noticed():
    """The test above can fail: without priming anew after an update, ratios leave 1."""
    env = ToyEnv(12)
    alg = build(ult_cfg(learning_rate=1e-2, schedule="fixed"), env)
    obs = collect(alg, env, env.get_observations(), 6)
    stale = alg._cache
    alg.update()
    alg._cache = stale
    collect(alg, env, obs, 6)
    assert log_ratios(alg).abs().max() > 1e-3


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_a_deployed_policy_acts_as_the_full_pass_says(layers, window, steps, role):
    """(f) with the policies that act outside of training: observations in, their own actions as a_{k-1}, resets in between."""
    env, count = ToyEnv(6), 25
    alg, _ = train(
        shaped(layers, window, steps), iterations=2, num_envs=6
    )  # normalisers and biases are no longer trivial
    policy, network = alg.inference_policies()[role], alg.network
    age, last = torch.ones(6, dtype=torch.long), torch.zeros(6, ACTIONS)
    pairs, privileged, ages, acted = [], [], [], []
    with torch.inference_mode():
        for _ in range(count):
            obs = env.get_observations()
            actions = policy(obs)
            pairs.append(network.pairs(obs["policy"], last))
            privileged.append(network.normalizers["privileged"](obs["privileged"]))
            ages.append(age)
            acted.append(actions)
            dones = torch.rand(6) < 0.15
            policy.reset(dones)
            last = torch.where(dones[:, None], torch.zeros_like(actions), actions)
            age = torch.where(dones, torch.ones_like(age), age + 1)
    readouts = network.read(*(torch.stack(x, dim=1) for x in (pairs, privileged, ages)))
    assert torch.allclose(getattr(readouts, role), torch.stack(acted, dim=1).flatten(0, 1), atol=1e-5)


def test_another_episode_never_influences_a_read_out():
    """(i), on the whole network: frames before an episode's start may be anything."""
    network = make_network(2, 4)
    pairs, privileged, age = segment(network)
    expected = network.read(pairs, privileged, age)
    pairs[1, : network.transformer.context + 3] = 1e4  # the second row's episode starts with its fourth step
    found = network.read(pairs, privileged, age)
    for one, other in zip(found, expected):
        one, other = one.unflatten(0, (3, 5)), other.unflatten(0, (3, 5))
        assert torch.equal(one[1, 3:], other[1, 3:])
        assert not torch.equal(one[1, :3], other[1, :3])


# -- (g): what remains is PPO ---------------------------------------------------------------------------------------


class WindowEnv(ToyEnv):
    """Also shows the last R pairs (o_k, a_{k-1}) and the age of the episode: what a plain policy network needs."""

    def __init__(self, reach: int, **options: Any) -> None:
        super().__init__(**options)
        self.pairs, self.age = (
            torch.zeros(self.num_envs, reach, DIMS["policy"] + ACTIONS),
            torch.zeros(self.num_envs, 1),
        )

    def get_observations(self) -> TensorDict:
        obs = super().get_observations()
        self.pairs = torch.cat((self.pairs[:, 1:], torch.cat((obs["policy"], self.last), dim=-1)[:, None]), dim=1)
        self.age += 1
        obs["window"] = torch.cat((self.pairs.flatten(1), self.age), dim=-1)
        return obs

    def step(self, actions: torch.Tensor) -> tuple:
        obs, rewards, dones, extras = super().step(actions)
        obs["window"][dones.bool(), -1] = 1.0
        self.age[dones.bool()] = 1.0
        return obs, rewards, dones, extras


class Windowed(ActorCriticULT):
    """The teacher as a plain function of a window."""

    reach = 7  # L (T - 1) + 1 frames for L = 2, T = 4

    def inputs(self, sets: Any) -> dict:
        return dict(sets)

    def policy_mean(self, inputs: Any) -> torch.Tensor:
        pairs, age = inputs["actor"][:, :-1].unflatten(1, (self.reach, -1)), inputs["actor"][:, -1:].long()
        ages = age - torch.arange(self.reach - 1, -1, -1)
        return self.read(pairs, inputs["privileged"][:, None], ages).teacher


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_coefficients_and_with_the_teacher_alone_it_is_ppo(optimizer):
    """(g): the same network as a function of windows, trained by plain PPO on the same full batches."""
    torch.set_default_dtype(torch.double)
    try:
        options = {
            "num_learning_epochs": 3,
            "num_mini_batches": 1,
            "optimizer": optimizer,
            "learning_rate": 1e-2,
            "desired_kl": 0.05,
        }
        weights = make_network(2, 4).state_dict()
        outcomes = []
        for plain in (True, False):
            env = WindowEnv(Windowed.reach, num_envs=6, seed=3)
            sets = {"actor": ["window" if plain else "policy"], "critic": ["critic"], "privileged": ["privileged"]}
            network = (Windowed if plain else ActorCriticULT)(
                DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"], **{**NETWORK, "num_layers": 2}
            )
            network.load_state_dict(weights)
            context = {} if plain else PPO_ULT.context(network, sets)
            storage = RolloutStorage(6, 6, context=context)
            if plain:
                alg: Any = PPO(network, storage, sets, **options)
            else:
                none = {"mix_ratio": 1.0, "prediction_coef": 0.0, "imitation_coef": 0.0}
                alg = PPO_ULT(network, storage, sets, **none, **options)
            obs, history = env.get_observations(), []
            for iteration in range(4):
                torch.manual_seed(iteration)
                obs = collect(alg, env, obs, 6)
                figures = alg.update()
                history.append([figures[name] for name in ("surrogate", "value", "entropy")])
            outcomes.append((history, alg.learning_rate, network.state_dict()))
        assert torch.allclose(torch.tensor(outcomes[0][0]), torch.tensor(outcomes[1][0]), atol=1e-9)
        assert outcomes[0][1] == outcomes[1][1]
        for name, value in outcomes[0][2].items():
            assert torch.allclose(value, outcomes[1][2][name], atol=1e-7), name
            trained = name.split(".")[0] not in (
                "actor",
                "prediction_head",
                "normalizers",
            )  # the student's head has no say
            assert trained != torch.equal(value, weights[name]), name
    finally:
        torch.set_default_dtype(torch.float)


# -- losses -----------------------------------------------------------------------------------------------------------


class FixedPrediction:
    """Stands in for the network: predicts zeros."""

    def predict(self, output: torch.Tensor) -> tuple:
        return torch.zeros(len(output), 2), torch.zeros(len(output), 1)


def test_the_prediction_loss_by_hand():
    # Two steps of one environment; the episode ends with the second. Frames: (1 + 9) / 2 = 5 for the first, the second is masked.
    # Actions: (4 + 16) / 2 = 10 for both: an action is known also where the episode ends.
    alg: Any = PPO_ULT.__new__(PPO_ULT)
    alg.network, alg.processes = FixedPrediction(), Processes()
    batch = {
        "next_frames": torch.tensor([[[1.0, 3.0], [100.0, 100.0]]]),
        "ongoing": torch.tensor([[True, False]]),
        "actions": torch.tensor([[2.0], [4.0]]),
    }
    assert alg._prediction_loss(Readouts(*[torch.zeros(2, 1)] * 4), batch).item() == pytest.approx(5.0 + 10.0)


def test_predictions_are_compared_with_what_came_next():
    env = ToyEnv(5)
    alg = build(ult_cfg(num_mini_batches=1), env)
    obs, seen = env.get_observations(), []
    with torch.inference_mode():
        for _ in range(6):
            actions = alg.act(obs)
            obs, rewards, dones, extras = env.step(actions)
            alg.process_env_step(obs, rewards, dones, extras)
            seen.append(obs["policy"].clone())
        alg.compute_returns(obs)
    samples, images = alg._prepare()
    batch = next(alg._mini_batches(samples, images))
    expected = alg.network.normalizers["actor"](torch.stack(seen, dim=1))[alg._envs]
    assert torch.equal(batch["next_frames"], expected)
    assert torch.equal(batch["ongoing"], (alg.storage["dones"] == 0).t()[alg._envs])


def test_imitation_teaches_the_student_and_not_the_teacher():
    env = ToyEnv()
    alg = build(ult_cfg(prediction_coef=0.0), env)
    collect(alg, env, env.get_observations(), 6)
    samples, images = alg._prepare()
    batch = next(alg._mini_batches(samples, images))
    alg.policy_mean(batch)
    for kind in ("mse", "kl"):
        alg.imitation_loss = kind
        loss = alg._imitation_loss(batch["readouts"])
        gradients = torch.autograd.grad(loss, list(alg.network.parameters()), allow_unused=True, retain_graph=True)
        touched = {
            name.split(".")[0]
            for (name, _), g in zip(alg.network.named_parameters(), gradients)
            if g is not None and g.any()
        }
        assert touched == {"actor", "frame_tokenizer", "transformer"}
    # KL of Gaussians with equal deviation: half the squared distance in units of the deviation, summed over actions.
    difference = (batch["readouts"].student - batch["readouts"].teacher) / alg.network.std()
    assert loss.item() == pytest.approx((0.5 * difference.square().sum(-1)).mean().item(), rel=1e-5)


def test_the_surrogate_of_all_samples_by_hand():
    # One action, std 1, one sample acted by the teacher (mean 0, action 1, log-probability -0.5 + c), advantage 1.
    # Teacher: ratio 1. Student (mean 1): ratio e^0.5 = 1.65, clipped at 1.2. Loss: -(1 + 1.2) / 2.
    env = ToyEnv()
    alg = build(ult_cfg(policy_samples="all"), env)
    alg.network.std.param.data.fill_(1.0)
    actions, teacher = torch.tensor([[1.0] + [0.0] * (ACTIONS - 1)]), torch.zeros(1, ACTIONS)
    acted = losses.gaussian_log_prob(teacher, torch.ones(1, ACTIONS), actions)
    batch = {
        "teacher": torch.tensor([True]),
        "actions": actions,
        "log_prob": acted,
        "advantages": torch.tensor([[1.0]]),
        "readouts": Readouts(student=actions.clone(), teacher=teacher, frame=teacher, reader=teacher),
    }
    per_sample = alg.clipped_surrogate(acted, batch)
    assert alg.surrogate(per_sample, batch).item() == pytest.approx(-(1.0 + 1.2) / 2)
    alg.policy_samples = "acted"
    assert alg.surrogate(per_sample, batch).item() == pytest.approx(-1.0)


@pytest.mark.parametrize("samples", ["acted", "all"])
def test_learning_closes_the_gap_between_student_and_teacher(samples):
    cfg = ult_cfg(imitation_coef=1.0, learning_rate=3e-3, schedule="fixed", policy_samples=samples)
    _, history = train(cfg, iterations=12, num_envs=32)
    assert history[-1]["imitation"] < 0.5 * history[0]["imitation"]


def test_prediction_learns_what_actions_do():
    # A tenth of the next frame's variance comes from the action, the rest is noise; the action itself has to be guessed.
    cfg = ult_cfg(prediction_coef=1.0, learning_rate=3e-3, schedule="fixed")
    _, history = train(cfg, iterations=15, num_envs=64)
    assert history[-1]["prediction"] < 0.8 * history[0]["prediction"]


# -- mirrored trajectories ------------------------------------------------------------------------------------------


def test_mirrored_segments_are_segments_of_mirrored_frames():
    env = ToyEnv(6)
    alg = build(ult_cfg(symmetry_cfg=SYMMETRY, num_mini_batches=2), env)
    collect(alg, env, env.get_observations(), 6)
    samples, images = alg._prepare()
    for batch, envs in zip(alg._mini_batches(samples, images), alg._envs.chunk(2)):
        pairs, normalize = batch["pairs"], alg.network.normalizers["actor"]
        raw = torch.cat([x[envs] for x in alg._segments(6)], dim=-1)
        for part, sign in zip(pairs.chunk(2), (1.0, -1.0)):
            frames, actions = (sign * raw).split([DIMS["policy"], ACTIONS], dim=-1)
            assert torch.allclose(part, torch.cat((normalize(frames), actions), dim=-1))
        expected = alg.storage["privileged"][:, envs].transpose(0, 1).flatten(0, 1)
        normalize = alg.network.normalizers["privileged"]
        assert torch.allclose(batch["privileged"], normalize(torch.cat((expected, -expected))))
        assert torch.equal(*batch["teacher"].chunk(2))
    assert "symmetry" in alg.update()


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_one_image_of_each_trajectory_and_the_other_in_the_next_epoch(steps):
    env = ToyEnv(8)
    cfg = ult_cfg(symmetry_cfg=SYMMETRY, symmetry_images="one", num_mini_batches=2, num_learning_epochs=2)
    cfg["num_steps_per_env"] = steps
    alg = build(cfg, env)
    collect(alg, env, env.get_observations(), steps)
    samples, images = alg._prepare()
    found = list(alg._mini_batches(samples, images))
    alg.symmetry_images = "all"
    for index, (one, both) in enumerate(zip(found, alg._mini_batches(samples, images))):
        epoch = index // 2
        for name in images:
            first, second = both[name].chunk(2)  # the originals, then their images
            per_trajectory = len(first) // 4  # four trajectories in a minibatch
            for trajectory in range(4):
                rows = slice(trajectory * per_trajectory, (trajectory + 1) * per_trajectory)
                expected = (first, second)[(trajectory + epoch) % 2][rows]
                assert torch.equal(one[name][rows], expected), name
        assert one["original"].tolist() == [(row // steps + epoch) % 2 == 0 for row in range(4 * steps)]
        assert torch.equal(one["log_prob"], both["log_prob"])
    originals = found[0]["original"]
    assert alg.kl_rows(torch.arange(4.0 * steps), found[0]).tolist() == torch.arange(4.0 * steps)[originals].tolist()


def test_one_image_and_the_mirror_loss_exclude_each_other():
    mirror = {**SYMMETRY, "use_mirror_loss": True, "mirror_loss_coeff": 1.0}
    with pytest.raises(ValueError, match="symmetry_images=one excludes symmetry_cfg"):
        build(ult_cfg(symmetry_cfg=mirror, symmetry_images="one"), ToyEnv())
    _, history = train(ult_cfg(symmetry_cfg=SYMMETRY, symmetry_images="one"), iterations=3)
    assert history[-1]["imitation"] > 0


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


def test_figures_of_every_update():
    _, history = train(ult_cfg(cosine_interval=2), iterations=4)
    for figures in history:
        assert {"prediction", "imitation", "teacher_share", "teacher_reward", "student_reward"} <= set(figures)
        assert 0.2 < figures["teacher_share"] < 0.8
        assert abs(figures["cosine_prediction"]) <= 1.0 and abs(figures["cosine_imitation"]) <= 1.0
    cosines = [figures["cosine_imitation"] for figures in history]
    assert cosines[0] == cosines[1] != cosines[2] == cosines[3]


def test_cosines_by_hand_and_without_a_trace():
    alg = build(ult_cfg(), ToyEnv())
    weight = alg.network.trunk_parameters()[0]
    policy = weight[0, 0] + weight[0, 1]
    found = alg._gradient_cosines(policy, {"same": 3.0 * policy, "half": weight[0, 0] * 2.0, "against": -policy})
    assert found == pytest.approx({"cosine_same": 1.0, "cosine_half": 0.5**0.5, "cosine_against": -1.0})
    measured, _ = train(ult_cfg(cosine_interval=1), iterations=3)
    silent, _ = train(ult_cfg(cosine_interval=0), iterations=3)
    for name, value in measured.network.state_dict().items():
        assert torch.equal(value, silent.network.state_dict()[name]), name


def test_figures_by_who_acted():
    alg = build(ult_cfg(), ToyEnv(4))
    alg._note(torch.tensor([True, True, False, False]), {"reward": torch.tensor([1.0, 2.0, 5.0, 7.0])})
    alg._note(torch.tensor([True, False, False, False]), {"reward": torch.tensor([3.0, 0.0, 0.0, 6.0])})
    figures = alg.after_update()
    assert figures["teacher_reward"] == pytest.approx(2.0)  # (1 + 2 + 3) / 3
    assert figures["student_reward"] == pytest.approx(18.0 / 5)
    assert figures["teacher_share"] == pytest.approx(3 / 8)


@pytest.mark.parametrize("mode", ["per_step", "per_episode"])
def test_a_restart_continues_exactly(mode):
    cfg = ult_cfg(mix_mode=mode, mix_schedule="linear", mix_iterations=5, mix_ratio_end=1.0)

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

    (figures, weights), (figures_restarted, weights_restarted) = run(False), run(True)
    assert {name: figures[name] for name in figures if "cosine" not in name} == {
        name: value for name, value in figures_restarted.items() if "cosine" not in name
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
        ({"mix_schedule": "exponential"}, "mix_schedule 'exponential'"),
        ({"mix_schedule": "linear"}, "mix_schedule 'linear' never ends with mix_iterations=None"),
        ({"mix_schedule": "cosine", "mix_iterations": 0}, "never ends with mix_iterations=0"),
        ({"prediction_coef": -1.0}, r"prediction_coef=-1\.0: expected a number of at least 0"),
        ({"imitation_coef": float("inf")}, "imitation_coef=inf"),
        ({"imitation_loss": "l1"}, "imitation_loss 'l1': expected mse or kl"),
        ({"policy_samples": "some"}, "policy_samples 'some': expected acted or all"),
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
        ({"head_gain": 0.0}, r"head_gain=0\.0"),
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
    alg._transition["actions"][0] = float("nan")
    alg.process_env_step(obs, torch.zeros(2), torch.tensor([1, 0]), {})
    assert alg._last_actions[0].tolist() == [0.0] * ACTIONS


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
