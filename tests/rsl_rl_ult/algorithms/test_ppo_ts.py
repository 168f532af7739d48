"""One-stage teacher-student: the teacher is PPO, the student follows, and neither disturbs the other."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.algorithms.student import RolloutWindows
from tests.learning import ToyEnv, build, collect, make_cfg, train

TS, CTS = "rsl_rl_ult.algorithms:PPO_TS", "rsl_rl_ult.algorithms:PPO_CTS"
SITT = "rsl_rl_ult.algorithms:PPO_SITT"
NETWORKS = {CTS: "ActorCriticCTS", SITT: "ActorCriticSITT"}
NETWORK = {"privilege_hidden_dims": [8], "history_length": 4, "history_hidden_dims": [8], "latent_dim": 3}


def ts_cfg(class_name: str = TS, actor: dict | None = None, **algorithm) -> dict:
    network = {"class_name": NETWORKS.get(class_name, "ActorCriticTS"), **NETWORK, **(actor or {})}
    cfg = make_cfg(class_name, actor=network, algorithm=algorithm)
    cfg["obs_groups"]["privileged"] = ["privileged"]
    return cfg


def without_student(weights: dict) -> dict:
    return {name: value for name, value in weights.items() if not name.startswith("history_encoder")}


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("loss", ["latent", "action_latent"])
def test_the_students_pass_leaves_the_teacher_bit_identical_to_ppo(loss):
    alone, losses_alone = train(ts_cfg(num_encoder_steps=0), iterations=4)
    both, losses_both = train(ts_cfg(num_encoder_steps=6, student_loss=loss), iterations=4)
    assert_equal(without_student(both.network.state_dict()), without_student(alone.network.state_dict()))
    for found, expected in zip(losses_both, losses_alone):
        assert {name: found[name] for name in expected} == expected
    started = build(ts_cfg(), ToyEnv()).network.state_dict()
    for name, value in both.network.history_encoder.state_dict().items():
        assert not torch.equal(value, started[f"history_encoder.{name}"])  # and it did learn


def test_the_regression_gives_the_privilege_encoder_and_the_head_no_gradient():
    env = ToyEnv()
    alg = build(ts_cfg(student_loss="action_latent"), env)
    collect(alg, env, env.get_observations(), 6)
    before = {name: value.clone() for name, value in alg.network.state_dict().items()}
    alg.train_student()
    assert_equal(without_student(alg.network.state_dict()), without_student(before))
    touched = [name for name, p in alg.network.named_parameters() if p.grad is not None]
    assert touched and all(name.startswith("history_encoder") for name in touched)


@pytest.mark.parametrize("encoder", ["MLP", "TCN", "GRU"])
def test_the_student_learns_what_its_history_tells(encoder):
    # Two of four privileged columns are in the frame: the regression must get well below the latent's variance.
    actor = {
        "history_encoder": encoder,
        "tcn_channels": [8],
        "tcn_kernel_sizes": [2],
        "tcn_strides": [1],
        "tcn_dilations": [1],
    }
    cfg = ts_cfg(
        actor=actor,
        encoder_learning_rate=1e-2,
        num_encoder_steps=16,
        num_encoder_mini_batches=2,
        schedule="fixed",
        learning_rate=1e-5,
    )
    _, history = train(cfg, iterations=6, num_envs=64)
    assert history[-1]["student_latent"] < 0.75 * history[0]["student_latent"]


def test_the_students_learning_rate_is_its_own_and_its_parameters_are_in_one_group():
    alg, _ = train(ts_cfg(encoder_learning_rate=3e-4, learning_rate=1e-3, desired_kl=1e-9), iterations=2)
    ppo, student = alg.optimizer.param_groups
    assert ppo["lr"] == alg.learning_rate != 1e-3
    assert student["lr"] == 3e-4
    parameters = [id(p) for group in alg.optimizer.param_groups for p in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(alg.network.parameters()))


@pytest.mark.parametrize(
    ("given", "policy", "student"),
    [
        ({}, 1e-3, 3e-4),
        ({"learning_rate": 2e-4}, 2e-4, 3e-4),
        ({"encoder_learning_rate": 5e-5}, 1e-3, 5e-5),
        ({"proxy_learning_rate": 5e-5, "gamma": 0.5}, 1e-3, 3e-4),
    ],
)
def test_rates_that_are_given_later_belong_to_the_options_that_set_them(given, policy, student):
    alg = build(ts_cfg(encoder_learning_rate=3e-4, learning_rate=1e-3), ToyEnv())
    alg.give_learning_rates(given)
    assert [group["lr"] for group in alg.optimizer.param_groups] == [policy, student]
    assert alg.learning_rate == policy


def test_the_student_of_the_update_reads_what_the_student_in_deployment_reads():
    env = ToyEnv(num_envs=5)
    alg = build(ts_cfg(), env)
    obs, found = env.get_observations(), []
    for _ in range(3):
        found.clear()
        with torch.inference_mode():
            for _ in range(6):
                alg.student(obs)  # keeps its own frames
                found.append(alg.student._history.window().clone())
                obs, rewards, dones, extras = env.step(alg.act(obs))
                alg.process_env_step(obs, rewards, dones, extras)
                alg.student.reset(dones)
            alg.compute_returns(obs)
        windows = RolloutWindows(alg).cut(torch.arange(30))
        expected = alg.network.normalizers["actor"](torch.stack(found).flatten(0, 1))
        assert torch.equal(windows, expected)
        alg.update()


class HistoryEnv(ToyEnv):
    """Also shows windows of the last four frames, as an environment with its own history does."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(num_envs)
        self.frames = torch.zeros(num_envs, 4, 5)

    def get_observations(self):
        obs = super().get_observations()
        self.frames = torch.cat((self.frames[:, 1:], obs["policy"][:, None]), dim=1)
        obs["history"] = self.frames
        return obs


@pytest.mark.parametrize("class_name", [TS, CTS])
def test_an_environments_own_history_is_used_as_it_is(class_name):
    env = HistoryEnv(6)
    cfg = ts_cfg(class_name)
    cfg["obs_groups"]["history"] = ["history"]
    alg = build(cfg, env)
    collect(alg, env, env.get_observations(), 6)
    rows = torch.tensor([3, 17, 30])
    expected = alg.network.normalizers["actor"](alg.storage.flat("history")[rows])
    assert torch.equal(RolloutWindows(alg).cut(rows), expected)
    assert alg.storage.context == {}  # and no second copy of the frames is kept
    assert alg.update()["student_latent"] > 0
    assert alg.student(env.get_observations()).shape == (6, 3)


def test_a_history_of_the_wrong_shape_is_an_error():
    cfg = ts_cfg(actor={"history_length": 7})
    cfg["obs_groups"]["history"] = ["history"]
    with pytest.raises(ValueError, match=r"holds windows \(4, 5\), the student reads \(7, 5\)"):
        build(cfg, HistoryEnv(6))
    cfg["obs_groups"]["history"] = ["policy"]
    with pytest.raises(ValueError, match=r"'policy' has shape \(6, 5\), set 'history' expects \(N, T, D\)"):
        build(cfg, HistoryEnv(6))


@pytest.mark.parametrize(
    ("steps", "parts", "sizes"), [(5, 4, [12, 12, 12, 12, 12]), (3, 1, [48] * 3), (2, 5, [10, 10])]
)
def test_the_encoder_makes_as_many_gradient_steps_as_its_option_says(steps, parts, sizes):
    # 6 steps of 8 environments: 48 rows, cut into equal parts; each row is seen once before any is seen again.
    alg = build(ts_cfg(num_encoder_steps=steps, num_encoder_mini_batches=parts), ToyEnv())
    collect(alg, ToyEnv(), ToyEnv().get_observations(), 6)
    taken = []
    alg.regression.step = taken.append
    alg.update()
    assert len(taken) == steps
    batches = list(alg.regression.minibatches(alg.student_rows(), 1))
    assert [len(rows) for rows in batches] == sizes
    first_pass = torch.cat(batches[:parts])
    assert len(set(first_pass.tolist())) == len(first_pass)


def test_the_option_that_other_code_counts_differently_is_refused_with_the_name_to_use():
    with pytest.raises(
        ValueError, match=r"no option 'num_encoder_epochs' for PPO_TS .did you mean 'num_encoder_steps'"
    ):
        build(ts_cfg(num_encoder_epochs=2), ToyEnv())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_encoder_mini_batches": 0}, "num_encoder_mini_batches=0: expected at least 1"),
        ({"student_loss": "actions"}, "student_loss 'actions': expected one of latent, action_latent"),
        ({"num_encoder_steps": -1}, "num_encoder_steps=-1"),
        (
            {"encoder_learning_rat": 1e-3},
            "no option 'encoder_learning_rat' for PPO_TS .did you mean 'encoder_learning_rate'",
        ),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(ts_cfg(**options), ToyEnv())


def test_a_network_that_has_no_student_is_refused():
    with pytest.raises(ValueError, match=r"actor\.class_name 'ActorCriticTS': PPO_CTS needs ActorCriticCTS"):
        build(ts_cfg(CTS, {"class_name": "ActorCriticTS"}), ToyEnv())


def test_frames_and_generator_survive_a_restart_exactly():
    def run(restart: bool) -> tuple:
        env = ToyEnv()
        alg = build(ts_cfg(CTS, num_encoder_steps=4), env)
        obs = collect(alg, env, env.get_observations(), 6)
        torch.manual_seed(5)
        alg.update()
        if restart:
            saved, state = alg.save(), alg.rollout_state()
            alg = build(ts_cfg(CTS, num_encoder_steps=4), ToyEnv(seed=9), seed=77)
            assert alg.load(saved) is True
            alg.load_rollout_state(state)
        torch.manual_seed(6)
        collect(alg, env, obs, 6)
        losses = alg.update()
        return losses, alg.network.state_dict()

    losses, weights = run(restart=False)
    losses_restarted, weights_restarted = run(restart=True)
    assert losses == losses_restarted
    assert_equal(weights_restarted, weights)
