"""PPO as a guest of rsl-rl-lib's stock `OnPolicyRunner`: protocol, options, checkpoints, export, mistakes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from rsl_rl_ult.algorithms.construct import resolve
from tests.learning import ToyEnv, build, collect, make_cfg, train
from tests.rsl_rl_ult.algorithms.test_ppo_ts import CTS, SITT, TS, assert_equal, ts_cfg
from tests.toy_symmetry import SYMMETRY
from tests.ult import ULT, ult_cfg

PLAIN, RMA = "rsl_rl_ult.algorithms:PPO", "rsl_rl_ult.algorithms:PPO_RMA"
METHODS = {"PPO": PLAIN, "TS": TS, "CTS": CTS, "RMA": RMA, "SITT": SITT, "ULT": ULT}


def method_cfg(name: str, **algorithm) -> dict:
    if name == "PPO":
        return make_cfg(PLAIN, algorithm=algorithm)
    if name == "ULT":
        return ult_cfg(**algorithm)
    extra = {"stage1_iterations": 2} if name == "RMA" else {}
    return ts_cfg(METHODS[name], **{**extra, **algorithm})


def make_runner(name: str, log_dir, **algorithm) -> OnPolicyRunner:
    torch.manual_seed(1)
    return OnPolicyRunner(ToyEnv(), copy.deepcopy(method_cfg(name, **algorithm)), str(log_dir), "cpu")


@pytest.mark.parametrize("name", METHODS)
def test_the_stock_runner_trains_logs_saves_loads_and_resumes(name, tmp_path, capsys):
    runner = make_runner(name, tmp_path)
    runner.learn(4)
    text = capsys.readouterr().out
    expected = ["value", "surrogate", "entropy"] if name != "RMA" else ["stage"]
    own = {"PPO": [], "ULT": ["prediction", "imitation", "teacher_share"]}
    expected += own.get(name, ["student_latent", "student_action"])
    for loss in expected:
        assert f"Mean {loss} loss" in text, loss
    path = tmp_path / "model_3.pt"
    weights = copy.deepcopy(runner.alg.network.state_dict())

    fresh = make_runner(name, tmp_path / "fresh")
    fresh.load(str(path))
    assert fresh.current_learning_iteration == 3
    assert_equal(fresh.alg.network.state_dict(), weights)
    assert fresh.alg.learning_rate == runner.alg.learning_rate
    fresh.learn(1)
    assert any(not torch.equal(v, weights[n]) for n, v in fresh.alg.network.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_the_stock_runner_hands_out_and_exports_the_policy_to_deploy(name, tmp_path):
    runner = make_runner(name, tmp_path)
    runner.learn(1)
    policy, env = runner.get_inference_policy("cpu"), ToyEnv(1)
    runner.export_policy_to_jit(str(tmp_path))
    scripted = torch.jit.load(str(tmp_path / "policy.pt"))
    for _ in range(6):
        obs = env.get_observations()
        changed = obs.clone()
        changed["privileged"] += 1.0
        actions = policy(obs)
        assert torch.allclose(scripted(obs["policy"]), actions, atol=1e-6)
        env.step(actions)
    policy.reset(torch.ones(1))
    first = policy(obs)
    policy.reset(torch.ones(1))
    assert torch.equal(policy(changed), first)  # what a robot cannot measure changes nothing


@pytest.mark.parametrize("name", METHODS)
def test_the_stock_runner_exports_onnx(name, tmp_path):
    reference = pytest.importorskip("onnx.reference")
    runner = make_runner(name, tmp_path)
    runner.export_policy_to_onnx(str(tmp_path))
    module = runner.alg.get_policy().as_onnx(verbose=False)
    examples = [torch.randn(example.shape) for example in module.get_dummy_inputs()]
    session = reference.ReferenceEvaluator(str(tmp_path / "policy.onnx"))
    found = session.run(None, {n: x.numpy() for n, x in zip(module.input_names, examples)})
    expected = module(*examples)
    for one, other in zip(found, (expected,) if len(found) == 1 else expected):
        assert torch.allclose(torch.from_numpy(one), other, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_configuration_is_left_as_it_was_but_for_what_runners_before_5_5_look_up(name):
    cfg = method_cfg(name)
    before = copy.deepcopy(cfg)
    algorithm = resolve(cfg["algorithm"]["class_name"])
    algorithm.construct_algorithm(ToyEnv().get_observations(), ToyEnv(), cfg, "cpu")
    before["algorithm"]["rnd_cfg"] = None
    assert cfg == before


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_trains(name):
    alg, _ = train(method_cfg(name, use_mixed_precision=True), iterations=3)
    plain, _ = train(method_cfg(name), iterations=3)
    assert all(torch.isfinite(v).all() for v in alg.network.state_dict().values())
    differs = [not torch.equal(v, plain.network.state_dict()[n]) for n, v in alg.network.state_dict().items()]
    assert any(differs)  # bfloat16 really was used


# -- symmetry: the host's option, with the host's results ------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_mirror_loss": True, "mirror_loss_coeff": 0.5},
        {"use_mirror_loss": True, "mirror_loss_coeff": 0.5, "use_data_augmentation": False},
    ],
    ids=["augmentation", "augmentation and loss", "loss"],
)
def test_symmetry_does_what_it_does_in_rsl_rl_lib(options):
    algorithm = {"symmetry_cfg": {**SYMMETRY, **options}, "schedule": "fixed"}
    upstream, expected = train(make_cfg("rsl_rl.algorithms:PPO", algorithm=algorithm), iterations=3)
    ours, found = train(make_cfg(PLAIN, algorithm=algorithm), iterations=3)
    for mine, theirs in zip(found, expected):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-6)
    for index in (0, 2, 4):
        assert torch.allclose(ours.network.actor[index].weight, upstream.actor.mlp[index].weight, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_from_mirror_images(name):
    alg, history = train(method_cfg(name, symmetry_cfg=SYMMETRY), iterations=3, num_envs=7)
    assert history[0]["symmetry"] > 0
    assert all(torch.isfinite(v).all() for v in alg.network.state_dict().values())


# -- mistakes --------------------------------------------------------------------------------------------------------


def broken(**changes) -> dict:
    cfg = method_cfg("TS")
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if value is None:
            del cfg[section][key]
        else:
            cfg[section][key] = value
    return cfg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs_groups__critic": ["critc"]}, "'critic' names the group 'critc', which the environment does not provide"),
        ({"obs_groups__actor": []}, "observation set 'actor' is missing"),
        ({"algorithm__rnd_cfg": {"weight": 1.0}}, "rnd_cfg: random network distillation is not part of these"),
        ({"algorithm__symmetry_cfg": {**SYMMETRY, "use_data_augmentation": False}}, "symmetry_cfg sets neither"),
        ({"algorithm__symmetry_cfg": {**SYMMETRY, "mirror_loss_coeff": -1.0}}, "mirror_loss_coeff=-1.0: expected a"),
        ({"algorithm__symmetry_cfg": {**SYMMETRY, "mirror_loss_coeff": math.nan}}, "mirror_loss_coeff=nan: expected a"),
        ({"algorithm__clip_parm": 0.2}, "algorithm has no option 'clip_parm' for PPO_TS .did you mean 'clip_param'"),
        ({"algorithm__schedule": "adaptiv"}, "schedule 'adaptiv': expected adaptive or fixed"),
        ({"algorithm__optimizer": "lion"}, "optimizer 'lion': expected one of adam, adamw, sgd, rmsprop"),
        ({"algorithm__num_mini_batches": 0}, "num_mini_batches=0"),
        ({"actor__latent_dims": 3}, "actor has no option 'latent_dims' for ActorCriticTS .did you mean 'latent_dim'"),
        (
            {"actor__class_name": "ActorCriticTSS"},
            "cannot find 'rsl_rl_ult.modules:ActorCriticTSS': did you mean 'ActorCriticTS'",
        ),
        ({"actor__class_name": "ActorCritic2"}, "cannot find"),
        ({"critic__class_name": "CNNModel"}, "our networks have an MLP critic"),
        ({"critic__layers": 3}, "critic has no option 'layers'"),
        ({"actor__distribution_cfg": {"class_name": "BetaDistribution"}}, "expected GaussianDistribution"),
        ({"actor__distribution_cfg": {"std": 1.0}}, "distribution_cfg has no option 'std'"),
    ],
)
def test_a_mistake_in_the_configuration_is_one_clear_error(changes, message):
    with pytest.raises(ValueError, match=message):
        build(broken(**changes), ToyEnv())


@pytest.mark.parametrize("name", [name for name in METHODS if name != "SITT"])
def test_a_compiled_update_learns_what_the_plain_one_learns(name, monkeypatch):
    compile_, calls = torch.compile, []

    def traced(function, mode):  # graphs as for every backend, without a C++ compiler
        compiled = compile_(function, backend="aot_eager")
        return lambda *args: calls.append(mode) or compiled(*args)

    monkeypatch.setattr(torch, "compile", traced)
    learnt = []
    for mode in (None, "default"):
        alg, _ = train({**method_cfg(name), "torch_compile_mode": mode}, 2)
        learnt.append(dict(alg.network.named_parameters()))
    torch.testing.assert_close(learnt[1], learnt[0], atol=1e-5, rtol=1e-4)
    assert set(calls) == {"default"}


@pytest.mark.parametrize("mode", ["reduce-overhead", "fast"])
def test_another_mode_of_torch_compile_is_refused(mode):
    with pytest.raises(ValueError, match=f"torch_compile_mode={mode}: expected None or one of default"):
        build({**method_cfg("PPO"), "torch_compile_mode": mode}, ToyEnv())


def test_a_method_that_cannot_be_compiled_says_so():
    with pytest.raises(ValueError, match="torch_compile_mode: PPO_SITT cannot be compiled"):
        build({**method_cfg("SITT"), "torch_compile_mode": "default"}, ToyEnv())


def test_a_network_without_teacher_is_refused_where_one_is_needed():
    with pytest.raises(ValueError, match="PPO_TS needs ActorCriticTS"):
        build(broken(actor__class_name="rsl_rl_ult.modules:ActorCritic"), ToyEnv())


def test_groups_with_more_than_one_dimension_are_refused():
    env = ToyEnv()
    obs = env.get_observations()
    obs["image"] = torch.zeros(env.num_envs, 3, 3)
    env.get_observations = lambda: obs
    cfg = method_cfg("PPO")
    cfg["obs_groups"]["critic"] = ["image"]
    with pytest.raises(ValueError, match=r"'image' has shape \(8, 3, 3\), set 'critic' expects \(N, D\)"):
        build(cfg, env)


def test_group_names_that_the_storage_uses_are_refused():
    env = ToyEnv()
    obs = env.get_observations()
    obs["rewards"] = torch.zeros(env.num_envs, 2)
    env.get_observations = lambda: obs
    cfg = method_cfg("PPO")
    cfg["obs_groups"]["critic"] = ["critic", "rewards"]
    with pytest.raises(ValueError, match=r"\['rewards'\]: these names are used by the storage"):
        build(cfg, env)


@pytest.mark.parametrize(("written", "read"), [("TS", "CTS"), ("CTS", "TS"), ("PPO", "TS"), ("RMA", "TS")])
def test_a_checkpoint_of_another_method_is_refused_by_name(written, read):
    saved = build(method_cfg(written), ToyEnv()).save()
    reader = build(method_cfg(read), ToyEnv())
    before = copy.deepcopy(reader.network.state_dict())
    with pytest.raises(
        ValueError, match=f"written by PPO{'_' + written if written != 'PPO' else ''}, this is PPO_{read}"
    ):
        reader.load(saved)
    assert_equal(reader.network.state_dict(), before)


def test_a_checkpoint_of_rsl_rl_libs_ppo_is_refused():
    upstream = build(make_cfg("rsl_rl.algorithms:PPO"), ToyEnv())
    with pytest.raises(ValueError, match="written by another algorithm, this is PPO"):
        build(method_cfg("PPO"), ToyEnv()).load(upstream.save())


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        ({"history_encoder": "GRU"}, "tensors differ: history_encoder"),
        ({"history_length": 5}, r"history_encoder\.mlp\.0\.weight \(8, 20\) instead of \(8, 25\)"),
        ({"obs_normalization": False}, r"normalizers\.actor\.mean \(1, 5\) instead of nothing"),
    ],
)
def test_weights_of_another_network_are_refused_before_anything_changes(actor, message):
    saved = build(ts_cfg(), ToyEnv(), seed=5).save()
    reader = build(ts_cfg(actor=actor), ToyEnv())
    before = copy.deepcopy(reader.network.state_dict())
    with pytest.raises(ValueError, match=message):
        reader.load(saved)
    assert_equal(reader.network.state_dict(), before)


def test_weights_alone_can_be_loaded():
    trained, _ = train(method_cfg("TS"), iterations=2)
    alg = build(method_cfg("TS"), ToyEnv(), seed=9)
    rate = alg.learning_rate
    assert alg.load(trained.save(), {"actor": True, "critic": True, "optimizer": False, "iteration": False}) is False
    assert_equal(alg.network.state_dict(), trained.network.state_dict())
    assert alg.learning_rate == rate
    assert not alg.optimizer.state


def test_a_diverged_training_stops_with_an_explanation():
    env = ToyEnv()
    alg = build(method_cfg("PPO"), env)
    collect(alg, env, env.get_observations(), 6)
    alg.returns = torch.full_like(alg.returns, float("nan"))
    with pytest.raises(
        FloatingPointError, match="the loss 'value' became nan in this update: the training has diverged"
    ):
        alg.update()


def test_the_class_is_found_by_name_as_hosts_resolve_it():
    from rsl_rl.utils import resolve_callable

    for name in METHODS.values():
        assert resolve_callable(name).__name__ == name.split(":")[1]


@pytest.mark.parametrize(
    ("steps", "envs", "algorithm", "message"),
    [
        (1, 1, {"num_mini_batches": 1}, "a rollout of 1 steps in 1 environments has less than 2 samples"),
        (
            2,
            2,
            {"num_mini_batches": 4, "normalize_advantage_per_mini_batch": True},
            "a minibatch of 4 of 2 steps in 2 environments has less than 2 samples",
        ),
    ],
)
def test_one_sample_whose_advantage_has_no_deviation_is_refused(steps, envs, algorithm, message):
    with pytest.raises(ValueError, match=message):
        build(make_cfg(PLAIN, steps=steps, algorithm=algorithm), ToyEnv(num_envs=envs))


def test_two_samples_are_enough():
    alg = build(make_cfg(PLAIN, steps=1, algorithm={"num_mini_batches": 1}), ToyEnv(num_envs=2))
    env = ToyEnv(num_envs=2)
    collect(alg, env, env.get_observations(), 1)
    alg.update()
    assert all(torch.isfinite(value).all() for value in alg.network.state_dict().values())


def test_a_group_of_one_sample_is_refused_when_it_is_standardised():
    from rsl_rl_ult.distributed import Processes

    with pytest.raises(ValueError, match="1 samples cannot be standardised: expected at least 2"):
        Processes().standardize(torch.ones(1, 1, 1))


@pytest.mark.parametrize("shown", [False, True])
def test_a_time_out_is_bootstrapped_with_the_state_that_was_cut_off_where_the_environment_shows_it(shown):
    env = ToyEnv(num_envs=4)
    alg = build(make_cfg(PLAIN), env)
    obs, cut_off = env.get_observations(), env.get_observations()
    alg.act(obs)
    extras = {"time_outs": torch.tensor([True, False, True, False])}
    if shown:
        extras["time_out_observations"] = {"critic": cut_off["critic"]}
    alg.process_env_step(obs, torch.ones(4), torch.tensor([1, 1, 1, 0]), extras)
    value = alg.last_values(cut_off if shown else obs)[:, 0]
    expected = 1.0 + alg.gamma * value * torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert torch.allclose(alg.storage["rewards"][0, :, 0], expected)
