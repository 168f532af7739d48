"""Attention weights and prediction errors of a trained transformer on recorded trajectories.

For any network with the parts of ULT's.
"""

from __future__ import annotations

import math
from typing import Any

import torch


def is_transformer(network: Any) -> bool:
    """Whether a policy's network has tokens, attention and a prediction to look at."""
    return all(hasattr(network, part) for part in ("transformer", "frame_tokenizer", "predict"))


@torch.no_grad()
def attention_by_distance(
    transformer: Any, frames: torch.Tensor, privileged_tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean attention weights by how long ago the looked-at frame was; steps without a complete window are left out.

    Args:
        transformer: of L layers with h heads and a window of T frames.
        frames: (B, F, D) tokens of episodes from their first step on, F at least T.
        privileged_tokens: (B, F, D) privilege tokens of the same steps.

    Returns:
        (L, h, T) of the frames, newest first, and (L, h, T + 1) of the privilege tokens, the last column for the token
        itself.
    """
    window, count = transformer.window, frames.shape[1]
    index = torch.arange(count, device=frames.device)
    distance = index[:, None] - index
    hidden = (distance < 0) | (distance >= window)
    mask = torch.zeros(hidden.shape, device=frames.device).masked_fill_(hidden, -math.inf)[None, None]
    of_frames, of_privileged = [], []
    for block in transformer.blocks:
        query, keys, _ = block.project(frames, count)
        asked, own_keys, _ = block.project(privileged_tokens, count)
        bias = block.distance_bias[:, distance.clamp(0, window - 1)] + mask
        scale = query.shape[-1] ** -0.5
        weights = (scale * query @ keys.transpose(-1, -2) + bias).softmax(dim=-1)
        own = scale * (asked * own_keys).sum(-1, keepdim=True) + block.distance_bias[:, -1:, None]
        both = torch.cat((scale * asked @ keys.transpose(-1, -2) + bias, own), dim=-1).softmax(dim=-1)
        of_frames.append(_by_distance(weights, window))
        itself = both[..., window - 1 :, -1].mean(dim=(0, 2))
        of_privileged.append(torch.cat((_by_distance(both[..., :-1], window), itself[:, None]), dim=-1))
        frames, privileged_tokens, _ = block(frames, privileged_tokens, mask, count)
    return torch.stack(of_frames), torch.stack(of_privileged)


def _by_distance(weights: torch.Tensor, window: int) -> torch.Tensor:
    """(B, h, F, F) -> (h, T): mean over rows and over steps with a complete window."""
    complete = weights.shape[-1] - window + 1
    diagonals = [weights.diagonal(-back, -2, -1)[..., -complete:].mean(dim=(0, 2)) for back in range(window)]
    return torch.stack(diagonals, dim=-1)


@torch.no_grad()
def prediction_errors(
    network: Any, frames: torch.Tensor, last_actions: torch.Tensor, terms: dict[str, slice]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Errors of the predicted next frame, and of taking the present frame for the next one.

    Args:
        network: of ULT.
        frames: (B, F, d) raw frames of episodes from their first step on.
        last_actions: (B, F, A) actions before them.
        terms: name -> columns of a frame.

    Returns:
        Name of each term, and "whole frame" -> two (B, F - 1) root mean square errors over the columns, in standard
        deviations of the observations in training.
    """
    pairs = network.frame_actions(frames, last_actions)
    age = torch.arange(1, frames.shape[1] + 1, device=frames.device).expand(len(frames), -1)
    outputs, _ = network.transformer(network.frame_tokenizer(pairs), None, age, frames.shape[1])
    actual = network.normalizers["actor"](frames)
    predicted = network.predict(outputs[:, :-1].flatten(0, 1))[0].unflatten(0, (len(frames), -1))
    missed, changed = predicted - actual[:, 1:], actual[:, :-1] - actual[:, 1:]
    columns = {"whole frame": slice(None), **terms}
    rms = lambda error, part: error[..., part].square().mean(-1).sqrt()  # noqa: E731
    return {name: (rms(missed, part), rms(changed, part)) for name, part in columns.items()}
