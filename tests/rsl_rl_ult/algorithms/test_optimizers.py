"""Adam's fused kernel: chosen where all parameters are on a GPU, also after a state came from elsewhere."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.algorithms.optimization import make_optimizer, use_fused_kernels


class OnGpu(torch.nn.Parameter):
    """A parameter that says it is on a GPU; the CPU has the fused kernel, too, since torch 2.4."""

    is_cuda = True


def parameters(kind: type[torch.nn.Parameter]) -> list[torch.nn.Parameter]:
    """The same two parameters, of a kind."""
    generator = torch.Generator().manual_seed(0)
    return [kind(torch.randn(shape, generator=generator)) for shape in ((4, 3), (3,))]


def steps(optimizer: torch.optim.Optimizer, count: int) -> None:
    """Steps down a bowl."""
    for _ in range(count):
        optimizer.zero_grad()
        for parameter in optimizer.param_groups[0]["params"]:
            parameter.square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("kind", "fused"), [(torch.nn.Parameter, None), (OnGpu, True)])
@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_the_fused_kernel_is_chosen_by_where_the_parameters_are(name, kind, fused):
    optimizer = make_optimizer(name, [{"params": parameters(kind)}], 1e-2)
    assert optimizer.param_groups[0]["fused"] is fused


def test_optimizers_without_a_fused_kernel_are_left_alone():
    assert not make_optimizer("rmsprop", [{"params": parameters(OnGpu)}], 1e-2).param_groups[0].get("fused")


@pytest.mark.parametrize(("before", "after"), [(torch.nn.Parameter, OnGpu), (OnGpu, torch.nn.Parameter)])
def test_a_training_goes_on_where_the_other_kernel_is_used(before, after):
    reference = parameters(torch.nn.Parameter)
    steps(make_optimizer("adam", [{"params": reference}], 1e-2), 5)
    first, second = parameters(before), parameters(after)
    begun = make_optimizer("adam", [{"params": first}], 1e-2)
    steps(begun, 3)
    with torch.no_grad():
        for parameter, value in zip(second, first):
            parameter.copy_(value)
    resumed = make_optimizer("adam", [{"params": second}], 1e-2)
    resumed.load_state_dict(begun.state_dict())
    use_fused_kernels(resumed)
    assert resumed.param_groups[0]["fused"] is (True if after is OnGpu else None)
    steps(resumed, 2)
    for parameter, expected in zip(second, reference):
        torch.testing.assert_close(parameter.detach(), expected.detach(), rtol=0.0, atol=1e-6)
