"""The processes of a distributed training (torchrun; gloo or NCCL). With one process nothing is communicated."""

from __future__ import annotations

from typing import Iterable, Mapping

import torch


class Processes:
    """Sums and means over all processes, which all call the same methods in the same order."""

    def __init__(self, multi_gpu_cfg: Mapping[str, int] | None = None, bucket_mb: float = 25.0) -> None:
        """Join the training that `multi_gpu_cfg` describes.

        Args:
            multi_gpu_cfg: `global_rank` and `world_size`, as rsl-rl-lib's runner writes them; None for one process.
            bucket_mb: size of the messages that average gradients [MiB].
        """
        self.bucket_mb = bucket_mb
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
        """(x - mean) / (std + eps) with the statistics of the joined samples of all processes.

        Raises:
            ValueError: there are less than two samples.
        """
        if self.count == 1:
            if x.numel() < 2:  # std() would be nan, and soon every weight
                raise ValueError(
                    f"{x.numel()} samples cannot be standardised: expected at least 2; train with more robots or steps"
                )
            return (x - x.mean()) / (x.std() + eps)
        count = self.mean(torch.tensor(float(x.numel()), device=x.device)) * self.count
        mean = self.mean(x.sum()) * self.count / count
        variance = self.mean((x - mean).square().sum()) * self.count / (count - 1.0)
        return (x - mean) / (variance.sqrt() + eps)

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace all gradients by their mean over the processes, several to a message."""
        if self.count == 1:
            return
        bucket: list = []
        for gradient in [p.grad for p in parameters if p.grad is not None]:
            bucket.append(gradient)
            if sum(g.numel() * g.element_size() for g in bucket) >= self.bucket_mb * 2**20:
                self._average(bucket)
                bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, gradients: list) -> None:
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
