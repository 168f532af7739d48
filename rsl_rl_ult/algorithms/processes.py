"""The processes of a distributed training (torchrun; gloo or NCCL). With one process nothing is communicated."""

from __future__ import annotations

from typing import Iterable, Mapping

import torch


class Processes:
    """Sums and means over all processes, which all call the same methods in the same order."""

    def __init__(self, multi_gpu_cfg: Mapping[str, int] | None = None) -> None:
        """`multi_gpu_cfg` has `global_rank` and `world_size`, as rsl-rl-lib's runner writes it; None for one process."""
        cfg = multi_gpu_cfg or {"global_rank": 0, "world_size": 1}
        self.rank, self.count = cfg["global_rank"], cfg["world_size"]

    def mean(self, value: torch.Tensor) -> torch.Tensor:
        """Mean over the processes; each must hold a value of the same shape."""
        if self.count == 1:
            return value
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value / self.count

    def standardize(self, x: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
        """(x - mean) / (std + eps) with the statistics of the joined samples of all processes."""
        if self.count == 1:
            return (x - x.mean()) / (x.std() + eps)
        count = self.mean(torch.tensor(float(x.numel()), device=x.device)) * self.count
        mean = self.mean(x.sum()) * self.count / count
        variance = self.mean((x - mean).square().sum()) * self.count / (count - 1.0)
        return (x - mean) / (variance.sqrt() + eps)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace all gradients by their mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        packed = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(packed)
        packed /= self.count
        for gradient, part in zip(gradients, packed.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(part.view_as(gradient))

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give every process the values of the first."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.broadcast(tensor, src=0)
