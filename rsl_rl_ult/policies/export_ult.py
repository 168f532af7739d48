"""Teacher and student of a Unified Locomotion Transformer outside of Python, with a cache or on a window."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.policies.export import PolicyStep


class CacheStep(PolicyStep):
    """One step of teacher or student with its cache as state.

    The cache holds, one after the other: which of the last T - 1 frames are of this episode (T - 1), the last action
    (A), and keys and values of these frames (L, 2, h, T - 1, d), oldest first. The last action is the network's, before
    anybody clips it, as in training.
    """

    state_kind = "cache"

    def __init__(self, network: ActorCriticULT, role: str = "student") -> None:
        """Copy what acting needs; `role` is "student" or "teacher"."""
        trunk, teacher = network.transformer, role == "teacher"
        past = trunk.window - 1
        super().__init__(
            network.dims["actor"],
            network.dims["privileged"] if teacher else 0,
            network.num_actions,
            past + network.num_actions + past * 2 * trunk.width * len(trunk.blocks),
            trunk.context + 1,
        )
        self.past = past
        self.shape = (len(trunk.blocks), 2, trunk.heads, self.past, trunk.width // trunk.heads)
        self.normalizer = copy.deepcopy(network.normalizers["actor"])
        self.frame_tokenizer = copy.deepcopy(network.frame_tokenizer)
        self.head_reads_frame, self.teacher = network.head_reads_frame, teacher
        own_head = teacher and network.teacher_head is not None
        self.head: Any = copy.deepcopy(network.teacher_head if own_head else network.actor)
        self.transformer = copy.deepcopy(trunk)
        self.privileged_tokens = nn.Identity()
        if teacher:
            for block in self.transformer.blocks:
                block.kernel = "softmax"  # exporters do not know everything that the fused one needs for two queries
            parts = network.normalizers["privileged"], network.privilege_tokenizer
            self.privileged_tokens = nn.Sequential(*(copy.deepcopy(part) for part in parts))

    def forward(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PolicyStep`."""
        frame = self.normalizer(obs)
        seen, last_action = state[:, : self.past], state[:, self.past : self.past + self.num_actions]
        past = state[:, self.past + self.num_actions :].reshape(obs.shape[0], *self.shape)
        token = self.frame_tokenizer(torch.cat((frame, last_action), dim=-1))
        privileged_token = self.privileged_tokens(privileged) if self.teacher else None
        output, past = self.transformer.step_with(token, past, seen, privileged_token)
        actions = self.head(torch.cat((output, frame), dim=-1) if self.head_reads_frame else output)
        seen = torch.cat((seen, torch.ones_like(obs[:, :1])), dim=1)[:, 1:]
        return actions, torch.cat((seen, actions, past.flatten(1)), dim=1)

    def _window(self, last_action: slice) -> nn.Module:
        return SegmentExport(self, last_action)


class CacheExport(nn.Module):
    """One observation (B, D) and its cache (B, M) -> actions (B, A) and the next cache; zeros start an episode.

    What the cache holds: `CacheStep`.
    """

    input_names = ("obs", "cache")
    output_names = ("actions", "next_cache")

    def __init__(self, network: ActorCriticULT) -> None:
        """Copy what acting needs."""
        super().__init__()
        self.step = CacheStep(network)
        self.past, self.cache_size = self.step.past, self.step.state_size

    def forward(self, obs: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D), (B, M) -> (B, A), (B, M)."""
        return self.step(obs, obs[:, :0], cache)

    @torch.jit.unused
    def get_dummy_inputs(self) -> tuple:
        """Inputs of the right shapes, for tracing."""
        return torch.zeros(1, self.step.num_obs), torch.zeros(1, self.cache_size)


class SegmentExport(nn.Module):
    """The student without a cache: window of W = L (T - 1) + 1 raw frames (B, W, D) -> actions (B, A).

    Frames from before the episode are zero.

    An output depends on that many frames and no more. The action before each frame is read from the frame itself, so it
    must be there unscaled and as the network gave it: where the environment clips actions, the two forms differ by what
    was clipped.
    """

    def __init__(self, step: CacheStep, last_action: slice) -> None:
        """Copy the student; `last_action` are the columns of a frame that hold the action before it."""
        super().__init__()
        if len(range(step.num_obs)[last_action]) != step.num_actions:
            raise ValueError(f"columns {last_action} of a frame do not hold its {step.num_actions} last actions")
        self.normalizer = copy.deepcopy(step.normalizer)
        self.frame_tokenizer = copy.deepcopy(step.frame_tokenizer)
        self.transformer = copy.deepcopy(step.transformer)
        self.head: Any = copy.deepcopy(step.head)
        self.head_reads_frame = step.head_reads_frame
        self.start, self.stop = last_action.start, last_action.stop

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, W, D) -> (B, A)."""
        started = (window.abs().sum(-1) > 0.0).long().cumsum(1) > 0
        frames = self.normalizer(window)
        tokens = self.frame_tokenizer(torch.cat((frames, window[..., self.start : self.stop]), dim=-1))
        output = self.transformer.last(tokens, started.long().cumsum(1))
        return self.head(torch.cat((output, frames[:, -1]), dim=-1) if self.head_reads_frame else output)
