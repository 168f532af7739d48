"""The processes of a `torchrun`: ranks, number, communication."""

from __future__ import annotations

import os
from typing import Any


def rank() -> int:
    """Rank of this process, 0 without torchrun; only rank 0 writes files and prints."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of all processes, 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Rank of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_world_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def init_gloo() -> dict[str, Any]:
    """Connect the processes of this torchrun over gloo; returns rsl-rl-lib's `multi_gpu` configuration."""
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", rank=rank(), world_size=world_size())
    return {"global_rank": rank(), "local_rank": local_rank(), "world_size": world_size()}


def barrier() -> None:
    """Wait until all processes have reached this point."""
    if world_size() > 1:
        import torch

        torch.distributed.barrier()


def shut_down() -> None:
    """End the communication between the processes."""
    if world_size() > 1:
        import torch

        torch.distributed.destroy_process_group()


def any_process(flag: bool, device: str) -> bool:
    """Whether `flag` is set in any process; a collective call. `device` is the one they learn on."""
    if world_size() == 1:
        return flag
    import torch

    flags = torch.tensor(float(flag), device=device)
    torch.distributed.all_reduce(flags)
    return bool(flags > 0)


def process_seed(seed: int, rank: int) -> int:
    """Seed of process `rank` of a distributed training: `seed` itself for rank 0, independent ones for the others.

    Adding the rank would give process 1 of seed 1 the robots of process 0 of seed 2; seed sequences do not overlap.
    """
    import numpy as np

    if rank == 0:
        return seed
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(rank,)).generate_state(1)[0])
