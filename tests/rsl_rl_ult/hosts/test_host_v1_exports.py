"""What forks of rsl_rl 1.0.2 write beside their checkpoints; also with Python 3.8 and torch 1.10."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch

from rsl_rl_ult.hosts import rsl_rl_v1
from tests import old_host
from tests.old_host import OldEnv
from tests.rsl_rl_ult.hosts.test_host_v1 import METHODS, make_runner

LEGACY = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
"""Option of newer versions of torch for the exporter that the older ones have."""


def fork_jit(actor_critic: Any, path: Any) -> None:
    """legged_gym's `export_policy_as_jit`."""
    model = copy.deepcopy(actor_critic.actor).to("cpu")
    torch.jit.script(model).save(str(path))


def fork_onnx(actor_critic: Any, path: Any) -> None:
    """What forks and Isaac Lab 2 do for an ONNX file."""
    model = copy.deepcopy(actor_critic.actor).to("cpu")
    torch.onnx.export(model, (torch.zeros(1, model[0].in_features),), str(path), input_names=["obs"], **LEGACY)


def trained(method: str, **cfg: Any) -> Any:
    """The policy of a fork after an update, so that its memory counts."""
    runner = make_runner(method, **cfg)
    runner.learn(1)
    runner.get_inference_policy()
    return runner.alg.actor_critic


@pytest.mark.parametrize("method", METHODS)
def test_the_forks_jit_file_acts_as_the_policy_and_remembers(method, tmp_path):
    policy = trained(method)
    fork_jit(policy, tmp_path / "policy_1.pt")
    scripted = torch.jit.load(str(tmp_path / "policy_1.pt"))
    policy.reset()
    obs = OldEnv(1).get_observations()
    found = []
    for _ in range(6):
        found.append(scripted(obs))
        torch.testing.assert_close(found[-1], policy.act_inference(obs), atol=2e-6, rtol=0.0)
    assert not torch.equal(found[0], found[1])
    scripted.reset()
    assert torch.equal(scripted(obs), found[0])


@pytest.mark.parametrize("encoder", ["TCN", "GRU"])
def test_the_forks_jit_file_can_be_written_for_every_history_encoder(encoder, tmp_path):
    sizes = {"history_encoder": encoder, "history_length": 8, "history_hidden_dims": [16]}
    if encoder == "TCN":
        sizes.update(tcn_channels=[4], tcn_kernel_sizes=[3], tcn_strides=[1], tcn_dilations=[1])
    fork_jit(trained("TS", policy=sizes), tmp_path / "policy_1.pt")


@pytest.mark.parametrize("method", METHODS)
def test_an_onnx_file_can_be_written(method, tmp_path):
    trained(method).export_onnx(tmp_path / "policy.onnx")
    assert (tmp_path / "policy.onnx").stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["policy.onnx"]  # no second file for the weights


@pytest.mark.parametrize("method", METHODS)
def test_the_onnx_file_acts_as_the_policy(method, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    policy = trained(method)
    policy.export_onnx(tmp_path / "policy.onnx")
    session = runtime.InferenceSession(str(tmp_path / "policy.onnx"), providers=["CPUExecutionProvider"])
    policy.reset()
    shapes = {value.name: value.shape for value in session.get_inputs()}
    cache, window = torch.zeros(shapes.get("cache", [1, 0])), torch.zeros(1, 4, 4)
    for seed in range(6):
        obs = OldEnv(1, seed).get_observations()
        window = torch.cat((window[:, 1:], obs[:, None]), dim=1)
        values = {"obs": obs, "obs_history": window, "cache": cache}
        actions, *following = session.run(None, {name: values[name].numpy() for name in shapes})
        cache = torch.from_numpy(following[0]) if following else cache
        torch.testing.assert_close(torch.from_numpy(actions), policy.act_inference(obs), atol=2e-6, rtol=0.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["by the fork", "torch.onnx.export", "torch.jit.trace"])
def test_a_file_that_would_forget_is_refused_in_one_line(method, way, tmp_path):
    policy, example = make_runner(method).alg.actor_critic, torch.zeros(1, 4)
    with pytest.raises(ValueError, match=r"an ONNX file of it would lose.*export_onnx\(path\)") as error:
        if way == "by the fork":
            fork_onnx(policy, tmp_path / "policy.onnx")
        elif way == "torch.onnx.export":
            torch.onnx.export(policy.actor, (example,), str(tmp_path / "policy.onnx"), **LEGACY)
        else:
            torch.jit.trace(policy.actor, example)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not LEGACY, reason="needs the second exporter of newer versions of torch")
def test_the_newer_exporter_cannot_forget_either(tmp_path):
    pytest.importorskip("onnxscript")
    actor = make_runner("ULT").alg.actor_critic.actor
    with pytest.raises(Exception, match="an ONNX file of it would lose"):
        torch.onnx.export(actor, (torch.zeros(1, 4),), str(tmp_path / "policy.onnx"), dynamo=True)


def test_the_forks_onnx_export_works_for_a_policy_that_remembers_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(old_host, "OurPolicy", rsl_rl_v1.ActorCritic, raising=False)
    monkeypatch.setattr(old_host, "OurPPO", rsl_rl_v1.PPO, raising=False)
    cfg = {
        "runner": {"policy_class_name": "OurPolicy", "algorithm_class_name": "OurPPO", "num_steps_per_env": 4},
        "policy": {"actor_hidden_dims": [8]},
        "algorithm": {},
    }
    policy = old_host.OnPolicyRunner(OldEnv(4), cfg).alg.actor_critic
    assert (policy.actor[0].in_features, policy.actor[-1].out_features) == (4, 2)
    fork_onnx(policy, tmp_path / "policy.onnx")
    policy.export_onnx(tmp_path / "other.onnx")
    fork_jit(policy, tmp_path / "policy_1.pt")
    obs = OldEnv(1).get_observations()
    assert torch.equal(torch.jit.load(str(tmp_path / "policy_1.pt"))(obs), policy.act_inference(obs))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_that_is_exported_needs_named_tensors(method, monkeypatch, tmp_path):
    """`unflatten` is one of them in torch 1.10 to 1.12, whose tracer then says "NYI"; newer versions trace it."""
    unflatten = torch.Tensor.unflatten

    def old_unflatten(self: torch.Tensor, *args: Any) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("NYI: Named tensors are not supported with the tracer")
        return unflatten(self, *args)

    monkeypatch.setattr(torch.Tensor, "unflatten", old_unflatten)
    policy = make_runner(method).alg.actor_critic
    fork_jit(policy, tmp_path / "policy_1.pt")
    policy.export_onnx(tmp_path / "policy.onnx")
