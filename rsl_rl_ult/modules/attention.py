"""Masked attention with additive biases, and the mask of a band: what `transformer` and deployed policies compute.

Letters: B rows, F frames, h heads, n queries, m keys, d columns per head, T window.
"""

from __future__ import annotations

import math

import torch
from torch import nn

KERNELS = ("auto", "sdpa", "softmax")
HAS_SDPA = hasattr(nn.functional, "scaled_dot_product_attention")  # torch 2.0 and newer


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: tuple[torch.Tensor, ...], kernel: str
) -> torch.Tensor:
    """softmax(q k^T / sqrt(d) + sum of bias) v.

    Args:
        query: (B, h, n, d).
        keys: (B, h, m, d).
        values: (B, h, m, d).
        bias: addends broadcastable to (B, h, n, m); -inf where a query must not look.
        kernel: "sdpa" uses torch's fused kernel, "softmax" spells it out; the results are equal. "auto" takes the first
            on GPUs, the second on CPUs, where it is as fast.

    Returns:
        (B, h, n, d).
    """
    if _fused(kernel, query):
        mask = sum(bias[1:], bias[0]).to(query.dtype)
        return nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
    scores = _scores(query * query.shape[-1] ** -0.5, keys, bias)
    return torch.matmul(scores.softmax(dim=-1).to(values.dtype), values)


def attend_and_self(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: tuple[torch.Tensor, ...],
    own: tuple[torch.Tensor, torch.Tensor],
    own_bias: torch.Tensor,
    kernel: str,
) -> torch.Tensor:
    """`attend` for queries that also see themselves, and not each other.

    Args:
        query: (B, h, n, d).
        keys: (B, h, m, d).
        values: (B, h, m, d).
        bias: addends broadcastable to (B, h, n, m).
        own: keys and values (B, h, n, d) of the queries themselves.
        own_bias: (h, n), or (h, 1) for all alike; -inf for a query that does not look at itself this way.
        kernel: as for `attend`.

    Returns:
        (B, h, n, d).
    """
    count = query.shape[2]
    if _fused(kernel, query):
        others = torch.full((count, count), -math.inf, device=query.device).fill_diagonal_(0.0)
        joined: torch.Tensor = sum(bias)  # pyright: ignore
        joined = joined.expand(len(joined), len(own_bias), count, -1)
        self_bias = (own_bias[..., None] + others).expand(len(joined), -1, -1, -1)
        seen = [torch.cat(pair, dim=2) for pair in zip((keys, values), own)]
        return attend(query, seen[0], seen[1], (torch.cat((joined, self_bias), dim=-1),), kernel)
    query = query * query.shape[-1] ** -0.5
    scores = _scores(query, keys, bias)
    self_scores = (query * own[0]).sum(-1, keepdim=True) + own_bias[..., None]
    weights = torch.cat((scores, self_scores), dim=-1).softmax(dim=-1).to(values.dtype)
    return torch.matmul(weights[..., :-1], values) + weights[..., -1:] * own[1]


def _scores(query: torch.Tensor, keys: torch.Tensor, bias: tuple[torch.Tensor, ...]) -> torch.Tensor:
    scores = torch.matmul(query, keys.transpose(-1, -2))
    for addend in bias:
        scores += addend  # in place: scores are the largest tensors here, and what was added is not needed again
    return scores


def _fused(kernel: str, query: torch.Tensor) -> bool:
    return kernel == "sdpa" or (kernel == "auto" and HAS_SDPA and query.is_cuda)


def band_mask(age: torch.Tensor, window: int) -> torch.Tensor:
    """Additive mask (B, 1, F, F): 0 where frame i (rows) sees frame j (columns), -inf elsewhere.

    Args:
        age: (B, F), how many frames of its episode there are up to and including each frame; what is below 1 counts as
            1.
        window: T, frames that a frame sees at most, itself included.
    """
    index = torch.arange(age.shape[1], device=age.device)
    distance = index[:, None] - index
    reach = age.clamp(1, window)
    seen = (distance >= 0) & (distance < reach[:, :, None])
    return torch.zeros(seen.shape, device=age.device).masked_fill_(~seen, -math.inf)[:, None]


def without_past_episodes(frames: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
    """Frames (B, F, D), zero where `age` (B, F) is below 1: masked, but a mask does not hide NaN (0 * NaN)."""
    return frames.masked_fill((age < 1)[..., None], 0.0)
