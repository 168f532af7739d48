"""The student of ULT as a file: one observation and its cache in, the action and the next cache out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rsl_rl_ult.policies.export_ult import CacheExport
from rsl_rl_ult.policies.policy_ult import CachedPolicy
from tests.learning import ACTIONS, DIMS
from tests.ult import make_network

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
STEPS = 1000


def make_student(**options: Any) -> CachedPolicy:
    """A student with statistics and biases of its own."""
    network = make_network(actor_obs_normalization=True, **{"layers": 2, "window": 16, **options})
    sets = {"actor": torch.randn(50, DIMS["policy"]) * 3 + 1, "privileged": torch.randn(50, DIMS["privileged"])}
    network.update_normalization(sets)
    for block in network.transformer.blocks:
        torch.nn.init.normal_(block.distance_bias)
    return CachedPolicy(network.eval(), SETS, "student")


def to_onnx(module: CacheExport, path: Path, dynamo: bool) -> Any:
    """An onnxruntime session on one thread."""
    runtime = pytest.importorskip("onnxruntime")
    names = {"input_names": list(module.input_names), "output_names": list(module.output_names)}
    torch.onnx.export(module.eval(), module.get_dummy_inputs(), str(path), dynamo=dynamo, opset_version=18, **names)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def observations(count: int, seed: int = 0) -> torch.Tensor:
    """A smooth walk through observations (count, 1, d), as sensors show it."""
    torch.manual_seed(seed)
    return torch.randn(count, 1, DIMS["policy"]).cumsum(0) * 0.1 + torch.randn(count, 1, DIMS["policy"])


@pytest.mark.parametrize("kernel", ["softmax", "sdpa"])
@pytest.mark.parametrize("dynamo", [False, True])
def test_an_onnx_file_acts_like_the_student_for_a_thousand_steps_with_resets(kernel, dynamo, tmp_path):
    student = make_student(attention_kernel=kernel)
    module = student.as_onnx()
    session = to_onnx(module, tmp_path / "student.onnx", dynamo)
    cache, worst = np.zeros((1, module.cache_size), np.float32), 0.0
    for step, obs in enumerate(observations(STEPS)):
        if step % 137 == 100:
            student.reset(torch.ones(1))
            cache = np.zeros_like(cache)
        actions, cache = session.run(None, {"obs": obs.numpy(), "cache": cache})
        expected = student({"policy": obs})
        worst = max(worst, float((torch.from_numpy(actions) - expected).abs().max()))
    assert worst < 1e-5
    assert student._last_actions.std() > 0.01  # and it did act


@pytest.mark.parametrize("options", [{}, {"head_reads_frame": True}, {"window": 1}, {"layers": 3, "window": 5}])
def test_the_form_without_state_equals_the_student_for_several_robots(options):
    student = make_student(**options)
    module, cache = student.as_onnx(), None
    for step in range(40):
        obs = torch.randn(3, DIMS["policy"])
        cache = torch.zeros(3, module.cache_size) if cache is None else cache
        if step == 25:  # the second robot starts again
            student.reset(torch.tensor([0, 1, 0]))
            cache = cache.clone()
            cache[1] = 0.0
        actions, cache = module(obs, cache)
        assert torch.allclose(actions, student({"policy": obs}), atol=1e-6)
        assert actions.shape == (3, ACTIONS) and cache.shape == (3, module.cache_size)


def test_a_fresh_cache_hides_what_stands_in_it():
    """Only the flags say what belongs to the episode: garbage behind zero flags changes nothing."""
    module = make_student().as_onnx()
    obs, cache = torch.randn(1, DIMS["policy"]), torch.zeros(1, module.cache_size)
    expected, _ = module(obs, cache)
    cache[:, module.past + ACTIONS :] = 50.0
    found, _ = module(obs, cache)
    assert torch.equal(found, expected)


def test_torchscript_keeps_the_cache_itself(tmp_path):
    student = make_student()
    torch.jit.script(student.as_jit()).save(str(tmp_path / "student.pt"))
    scripted = torch.jit.load(str(tmp_path / "student.pt"))
    for step, obs in enumerate(observations(60)):
        if step == 40:
            student.reset()
            scripted.reset()
        assert torch.allclose(scripted(obs), student({"policy": obs}), atol=1e-6)
