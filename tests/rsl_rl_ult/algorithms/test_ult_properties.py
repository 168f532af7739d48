"""Properties (a) to (i) of ULT; (h) is in test_transformer.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rsl_rl_ult.algorithms import PPO, PPO_ULT
from rsl_rl_ult.modules import ActorCritic, ActorCriticULT
from rsl_rl_ult.storage import RolloutStorage
from tests.learning import ACTIONS, DIMS, ToyEnv, build, collect, train
from tests.toy_symmetry import SYMMETRY
from tests.ult import SHAPES, log_ratios, make_network, segment, shaped, ult_cfg

# -- (a) to (d): who sees what --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"head_reads_frame": True}, {"shared_action_head": True}])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_privileged_data_never_reaches_the_student(layers, window, steps, options):
    """(a) bit-identical student and predictions for any p, (b) gradient exactly zero, (d) the teacher does react."""
    network = make_network(layers, window, **options)
    frame_actions, privileged, age = segment(network, steps=max(steps, 2))
    for block in network.transformer.blocks:
        torch.nn.init.normal_(block.distance_bias)
    expected = network.read(frame_actions, privileged, age)
    for other in (privileged + 1.0, torch.full_like(privileged, 1e30), torch.full_like(privileged, float("nan"))):
        found = network.read(frame_actions, other, age)
        assert torch.equal(found.student, expected.student)
        for one, two in zip(network.predict(found.frame_token), network.predict(expected.frame_token)):
            assert torch.equal(one, two)
    assert not torch.allclose(network.read(frame_actions, privileged + 1.0, age).teacher, expected.teacher)
    privileged.requires_grad_()
    found = network.read(frame_actions, privileged, age)
    outputs = found.student.sum() + sum(x.sum() for x in network.predict(found.frame_token))
    (gradient,) = torch.autograd.grad(outputs, privileged, allow_unused=True)
    assert gradient is None or not gradient.any()
    (gradient,) = torch.autograd.grad(found.teacher.sum(), privileged)
    assert gradient.any(dim=-1).all()


@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_without_privilege_tokens_the_student_is_the_same(layers, window, steps):
    """(c), in a pass and step by step."""
    network = make_network(layers, window)
    frame_actions, privileged, age = segment(network, steps=max(steps, 2))
    outputs, none = network.transformer(network.frame_tokenizer(frame_actions), None, age, max(steps, 2))
    assert none is None
    expected = network.read(frame_actions, privileged, age)
    assert torch.equal(
        network.act_student(outputs.flatten(0, 1), frame_actions[:, -max(steps, 2) :].flatten(0, 1)), expected.student
    )
    caches = [network.transformer.make_cache(3) for _ in range(2)]
    for step in range(8):
        token = network.frame_tokenizer(torch.randn(3, DIMS["policy"] + ACTIONS))
        with_token, _ = network.transformer.step(token, torch.randn(3, 16), caches[0])
        without, _ = network.transformer.step(token, None, caches[1])
        assert torch.allclose(with_token, without, atol=1e-6), (
            step
        )  # matrices of another size are summed in another order


def test_the_teacher_reads_history_too():
    network = make_network()
    frame_actions, privileged, age = segment(network)
    changed = network.read(frame_actions * 0.5, privileged, age).teacher
    assert not torch.allclose(changed, network.read(frame_actions, privileged, age).teacher)


# -- (e), (f), (i): rollout, update and deployment are one definition -------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"critic_input": "privilege_token"}, {"attention_kernel": "sdpa"}])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_every_ratio_is_one_before_the_first_gradient_step(layers, window, steps, options):
    """(e): samples of both, across episode ends and rollout borders, while parameters and normalisers change."""
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
    cfg = ult_cfg(mix_mode=mode, policy_samples="acted", imitation_loss="kl")
    train(cfg, iterations=4, on_update=lambda alg: found.append(log_ratios(alg).abs().max().item()))
    assert max(found) < 1e-5


@pytest.mark.parametrize("samples", ["student_from_teacher", "mixture"])
def test_ratios_of_who_did_not_act_are_one_too(samples):
    """Each read-out's ratio is the one to its own former policy, also at what the other acted."""
    found: list = []
    cfg = ult_cfg(policy_samples=samples, symmetry_cfg=SYMMETRY)
    train(cfg, iterations=4, on_update=lambda alg: found.append(log_ratios(alg).abs().max().item()))
    assert max(found) < 1e-5


def test_a_stale_cache_would_be_noticed():
    """The test above can fail: without priming anew after an update, ratios leave 1."""
    env = ToyEnv(12)
    alg = build(ult_cfg(learning_rate=1e-2, schedule="fixed"), env)
    obs = collect(alg, env, env.get_observations(), 6)
    stale = alg.acting.cache
    alg.update()
    alg.acting.cache = stale
    collect(alg, env, obs, 6)
    assert log_ratios(alg).abs().max() > 1e-3


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_a_deployed_policy_acts_as_the_full_pass_says(layers, window, steps, role):
    """(f) with the policies that act outside of training: their own actions are a_{k-1}, with resets in between."""
    env, count = ToyEnv(6), 25
    alg, _ = train(
        shaped(layers, window, steps), iterations=2, num_envs=6
    )  # normalisers and biases are no longer trivial
    policy, network = alg.inference_policies()[role], alg.network
    age, last = torch.ones(6, dtype=torch.long), torch.zeros(6, ACTIONS)
    frame_actions, privileged, ages, acted = [], [], [], []
    with torch.inference_mode():
        for _ in range(count):
            obs = env.get_observations()
            actions = policy(obs)
            frame_actions.append(network.frame_actions(obs["policy"], last))
            privileged.append(network.normalizers["privileged"](obs["privileged"]))
            ages.append(age)
            acted.append(actions)
            dones = torch.rand(6) < 0.15
            policy.reset(dones)
            last = torch.where(dones[:, None], torch.zeros_like(actions), actions)
            age = torch.where(dones, torch.ones_like(age), age + 1)
    readouts = network.read(*(torch.stack(x, dim=1) for x in (frame_actions, privileged, ages)))
    assert torch.allclose(getattr(readouts, role), torch.stack(acted, dim=1).flatten(0, 1), atol=1e-5)


def test_another_episode_never_influences_a_read_out():
    """(i), on the whole network: frames before an episode's start may be anything."""
    network = make_network(2, 4)
    frame_actions, privileged, age = segment(network)
    expected = network.read(frame_actions, privileged, age)
    frame_actions[1, : network.transformer.context + 3] = 1e4  # the second row's episode starts with its fourth step
    found = network.read(frame_actions, privileged, age)
    for one, other in zip(found, expected):
        one, other = one.unflatten(0, (3, 5)), other.unflatten(0, (3, 5))
        assert torch.equal(one[1, 3:], other[1, 3:])
        assert not torch.equal(one[1, :3], other[1, :3])


# -- (g): what remains is PPO ---------------------------------------------------------------------------------------


class WindowEnv(ToyEnv):
    """Also shows the last R pairs (o_k, a_{k-1}) and the age of the episode: what a plain policy network needs."""

    def __init__(self, reach: int, **options: Any) -> None:
        super().__init__(**options)
        self.frame_actions, self.age = (
            torch.zeros(self.num_envs, reach, DIMS["policy"] + ACTIONS),
            torch.zeros(self.num_envs, 1),
        )

    def get_observations(self) -> TensorDict:
        obs = super().get_observations()
        self.frame_actions = torch.cat(
            (self.frame_actions[:, 1:], torch.cat((obs["policy"], self.last), dim=-1)[:, None]), dim=1
        )
        self.age += 1
        obs["window"] = torch.cat((self.frame_actions.flatten(1), self.age), dim=-1)
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

    evaluate = ActorCritic.evaluate

    def policy_mean(self, inputs: Any) -> torch.Tensor:
        frame_actions, age = inputs["actor"][:, :-1].unflatten(1, (self.reach, -1)), inputs["actor"][:, -1:].long()
        ages = age - torch.arange(self.reach - 1, -1, -1)
        return self.read(frame_actions, inputs["privileged"][:, None], ages).teacher


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
            "entropy_coef": 0.01,
            "use_mixed_precision": False,
        }
        weights = make_network(2, 4).state_dict()
        outcomes = []
        for plain in (True, False):
            env = WindowEnv(Windowed.reach, num_envs=6, seed=3)
            sets = {"actor": ["window" if plain else "policy"], "critic": ["critic"], "privileged": ["privileged"]}
            network = make_network(2, 4, Windowed if plain else ActorCriticULT)
            network.load_state_dict(weights)
            context = {} if plain else PPO_ULT.context(network, sets)
            storage = RolloutStorage(6, 6, context=context)
            if plain:
                alg: Any = PPO(network, storage, sets, **options)
            else:
                none = {"mix_ratio": 1.0, "student_share": 0.0, "prediction_coef": 0.0, "imitation_coef": 0.0}
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
