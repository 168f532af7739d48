"""Optimizer and arithmetic of a training."""

from __future__ import annotations

from typing import Any, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.mlp import MLP
from rsl_rl_ult.storage import RolloutStorage

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop"}


def make_optimizer(name: str, groups: list, learning_rate: float) -> Any:
    """The optimizer called `name` for parameter groups; `learning_rate` is that of groups without one."""
    if name not in OPTIMIZERS:
        raise ValueError(f"algorithm.optimizer '{name}': expected one of {', '.join(OPTIMIZERS)}")
    made = getattr(torch.optim, OPTIMIZERS[name])(groups, lr=learning_rate)
    use_fused_kernels(made)
    return made


def use_fused_kernels(optimizer: Any) -> None:
    """Let Adam on a GPU step in one kernel: a network has many small tensors. Where there is none, nothing changes.

    Also to be called after a state was loaded, which brings the choice of the machine that saved it.
    """
    for group in optimizer.param_groups:
        if "fused" not in group:  # an optimizer without such a kernel, or torch before 2.0
            continue
        on_gpu = all(parameter.is_cuda for parameter in group["params"])
        group["fused"] = True if on_gpu else None
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "step" in state:  # the fused kernel counts on the GPU, the others on the CPU
                state["step"] = state["step"].to(parameter.device if on_gpu else "cpu")


def set_gradients(optimizer: Any, loss: torch.Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Give `parameters` the gradient of `loss` (); all others of `optimizer` have none, so that its step skips them."""
    optimizer.zero_grad(set_to_none=True)
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters))):
        parameter.grad = gradient


def multiplies_bfloat16(device: str) -> bool:
    """Whether `device` is a processor that multiplies bfloat16 natively; torch before 2.6 cannot tell."""
    known = getattr(getattr(torch, "cpu", None), "_is_avx512_bf16_supported", lambda: False)
    return torch.device(device).type == "cpu" and bool(known())


def set_precision(network: nn.Module, mixed: bool | None, device: str) -> bool:
    """Whether losses are computed under bfloat16 autocast; see `use_mixed_precision` of `OnPolicyAlgorithm`."""
    automatic = mixed is None
    for module in network.modules():
        if isinstance(module, MLP):
            module.float_output = automatic  # True is what it is in rsl-rl-lib, to the bit
    return multiplies_bfloat16(device) if automatic else bool(mixed)


def check_samples(storage: RolloutStorage, num_mini_batches: int, per_mini_batch: bool, processes: int) -> None:
    """Refuse rollouts in which an advantage is alone: its deviation is no number, and would make every weight none.

    Args:
        storage: the rollout.
        num_mini_batches: of a pass.
        per_mini_batch: whether each minibatch is standardised alone.
        processes: of a distributed training, which are standardised together.
    """
    steps, envs = storage.num_steps, storage.num_envs
    if steps * envs // (num_mini_batches if per_mini_batch else 1) * processes < 2:
        where = f"a minibatch of {num_mini_batches}" if per_mini_batch else "a rollout"
        raise ValueError(
            f"{where} of {steps} steps in {envs} environments has less than 2 samples, whose advantages cannot be "
            "standardised: train with more environments or steps"
        )
