"""Feed-forward networks, running normalisation of inputs, and the diagonal Gaussian of the actions."""

from __future__ import annotations

import math
from typing import Sequence

import torch
from torch import nn

ACTIVATIONS = {
    "elu": nn.ELU,
    "selu": nn.SELU,
    "relu": nn.ReLU,
    "crelu": nn.CELU,
    "lrelu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "gelu": nn.GELU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "identity": nn.Identity,
}
"""Activation names, those of rsl-rl-lib."""

MIN_STD = 1e-6
"""Below it log-probabilities are no longer numbers."""


def make_activation(name: str) -> nn.Module:
    """The activation called `name`; an unknown one is a `ValueError` that lists the known ones."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation '{name}'; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def autocast_enabled(device: str) -> bool:
    """Whether autocast is on for devices of this type; torch before 2.4 has one function per type."""
    if device == "cpu" and not _ONE_FUNCTION:
        return torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled(device) if _ONE_FUNCTION else torch.is_autocast_enabled()


def _takes_a_device() -> bool:
    try:
        torch.is_autocast_enabled("cpu")
    except TypeError:
        return False
    return True


_ONE_FUNCTION = _takes_a_device()


class MLP(nn.Sequential):
    """Linear layers with an activation between them: (B, input_dim) -> (B, output_dim).

    Attributes:
        float_output: whether the last layer is float32 under autocast: the eight bits of a bfloat16 mean would blur
            PPO's ratios.
    """

    float_output = False

    def __init__(self, input_dim: int, output_dim: int, hidden_dims: Sequence[int], activation: str = "elu") -> None:
        """Build `len(hidden_dims) + 1` linear layers; the last one has no activation."""
        dims = [input_dim, *hidden_dims]
        if any(not isinstance(dim, int) or dim < 1 for dim in (*dims, output_dim)):
            raise ValueError(f"layer sizes must be positive integers, found {dims} -> {output_dim}")
        layers: list = []
        for width_in, width_out in zip(dims[:-1], dims[1:]):
            layers += [nn.Linear(width_in, width_out), make_activation(activation)]
        super().__init__(*layers, nn.Linear(dims[-1], output_dim))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, input_dim) -> (B, output_dim); with `float_output` the last layer is left out of autocast."""
        # TorchScript leaves out what stands below exactly this condition.
        if not torch.jit.is_scripting():  # noqa: SIM102  # pyright: ignore
            if self.float_output and autocast_enabled(input.device.type):
                return self._forward_to_float(input)
        for layer in self:
            input = layer(input)
        return input

    @torch.jit.unused
    def _forward_to_float(self, values: torch.Tensor) -> torch.Tensor:
        *hidden, last = self
        for layer in hidden:
            values = layer(values)
        with torch.autocast(device_type=values.device.type, enabled=False):
            return last(values.float())


class EmpiricalNormalization(nn.Module):
    """Subtracts the running mean and divides by the running standard deviation plus `eps`.

    Statistics are those of all samples ever given to `update` (Chan et al. 1979, parallel variance). They are summed
    over the processes of a distributed training.
    """

    def __init__(self, dim: int, eps: float = 1e-2) -> None:
        """Statistics of (B, dim) inputs, starting at mean 0 and standard deviation 1."""
        super().__init__()
        self.eps = eps
        self.register_buffer("mean", torch.zeros(1, dim))
        self.register_buffer("var", torch.ones(1, dim))
        self.register_buffer("std", torch.ones(1, dim))
        self.register_buffer("count", torch.tensor(0, dtype=torch.long))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalised x, of any shape (..., dim)."""
        return (x - self.mean) / (self.std + self.eps)  # pyright: ignore

    @torch.jit.unused
    def update(self, x: torch.Tensor) -> None:
        """Add the samples x (B, dim) to the statistics."""
        count = torch.tensor(x.shape[0], dtype=torch.long, device=x.device)
        var = torch.var(x, dim=0, unbiased=False, keepdim=True)
        mean = torch.mean(x, dim=0, keepdim=True)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            count, mean, var = _over_all_processes(count, mean, var)
        self.count += count
        rate = count / self.count
        delta = mean - self.mean
        self.mean += rate * delta
        self.var += rate * (var - self.var + delta * (mean - self.mean))
        self.std.copy_(torch.sqrt(self.var))  # pyright: ignore


def _over_all_processes(count: torch.Tensor, mean: torch.Tensor, var: torch.Tensor) -> tuple:
    """Count, mean and variance of the joined samples of all processes."""
    total, mean_sum = count.clone(), mean * count
    torch.distributed.all_reduce(total)
    torch.distributed.all_reduce(mean_sum)
    joined_mean = mean_sum / total
    var_sum = count * (var + (mean - joined_mean).square())
    torch.distributed.all_reduce(var_sum)
    return total, joined_mean, var_sum / total


class GaussianStd(nn.Module):
    """The learnt standard deviation of the action distribution, one per action, independent of the state."""

    def __init__(
        self,
        num_actions: int,
        init_std: float = 1.0,
        std_type: str = "scalar",
        learn_std: bool = True,
        std_range: Sequence[float] = (MIN_STD, 1e6),
    ) -> None:
        """Start at `init_std`, stay in `std_range`; `std_type` "scalar" learns the deviation, "log" its logarithm."""
        super().__init__()
        if std_type not in ("scalar", "log"):
            raise ValueError(f"std_type '{std_type}': expected scalar or log")
        if not init_std > 0.0:
            raise ValueError(f"init_std={init_std}: expected a positive number")
        if len(std_range) != 2 or not max(std_range[0], MIN_STD) < std_range[1]:
            raise ValueError(f"std_range={list(std_range)}: expected a lower and a larger upper bound")
        self.std_type, self.low, self.high = std_type, max(std_range[0], MIN_STD), std_range[1]
        start = torch.full((num_actions,), float(init_std))
        self.param = nn.Parameter(start if std_type == "scalar" else start.log(), requires_grad=learn_std)

    def forward(self) -> torch.Tensor:
        """(A,) standard deviations."""
        if self.std_type == "scalar":
            return self.param.clamp(self.low, self.high)
        return torch.exp(self.param.clamp(math.log(self.low), math.log(self.high)))
