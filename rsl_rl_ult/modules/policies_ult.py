"""Teacher and student of a Unified Locomotion Transformer as policies, and the student's deployment form."""

from __future__ import annotations

import copy
from typing import Any, Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.policies import Policy, join
from rsl_rl_ult.modules.transformer import KeyValueCache


class CachedPolicy(Policy):
    """Deterministic actions of the teacher or the student; remembers what the transformer needs of the past."""

    network: ActorCriticULT

    def __init__(self, network: ActorCriticULT, sets: Mapping[str, Sequence[str]], role: str) -> None:
        """As `Policy`; `role` is "teacher" or "student"."""
        super().__init__(network, sets)
        self.role = role
        self._cache: KeyValueCache | None = None
        self._last_actions = torch.zeros(0)

    @torch.no_grad()
    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Observation groups (N, ...) of the next step -> mean actions (N, A)."""
        network, raw = self.network, join(observations, self.sets["actor"])
        if self._cache is None or len(self._cache.age) != len(raw) or self._cache.age.device != raw.device:
            self._cache = network.transformer.make_cache(len(raw))
            self._last_actions = torch.zeros(len(raw), network.num_actions, device=raw.device)
        pairs, reader = network.pairs(raw, self._last_actions), None
        if self.role == "teacher":
            privileged = join(observations, self.sets["privileged"])
            reader = network.privilege_tokenizer(network.normalizers["privileged"](privileged))
        output, read = network.transformer.step(network.frame_tokenizer(pairs), reader, self._cache)
        self._last_actions = network.act_student(output, pairs) if read is None else network.act_teacher(read, pairs)
        return self._last_actions

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the episodes of environments with `dones` (N,), of all without it."""
        if dones is None:
            self._cache = None
        elif self._cache is not None:
            self._cache.reset(dones)
            last = self._last_actions
            self._last_actions = torch.where(dones.bool()[:, None], torch.zeros_like(last), last)

    def as_jit(self) -> nn.Module:
        """A TorchScript-compatible copy for one robot: current observation (1, D) -> actions (1, A); keeps its cache."""
        return RememberingCacheExport(self._deployed())

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """A copy without state for `torch.onnx.export`: observation and cache -> actions and the next cache."""
        return self._deployed()

    def _deployed(self) -> CacheExport:
        if self.role == "teacher":
            raise ValueError("a teacher reads privileged data that a robot does not have: export the student")
        return CacheExport(self.network)


class CacheExport(nn.Module):
    """One observation (B, D) and its cache (B, M) -> actions (B, A) and the next cache; a cache of zeros starts an episode.

    The cache holds, one after the other: which of the last T - 1 frames are of this episode (T - 1), the last action (A), and keys and values of
    these frames (L, 2, h, T - 1, d), oldest first.
    """

    input_names = ("obs", "cache")
    output_names = ("actions", "next_cache")

    def __init__(self, network: ActorCriticULT) -> None:
        """Copy what acting needs."""
        super().__init__()
        self.normalizer = copy.deepcopy(network.normalizers["actor"])
        self.frame_tokenizer = copy.deepcopy(network.frame_tokenizer)
        self.transformer = copy.deepcopy(network.transformer)
        self.actor = copy.deepcopy(network.actor)
        self.head_reads_frame = network.head_reads_frame
        trunk = network.transformer
        self.past = trunk.window - 1
        self.shape = (len(trunk.blocks), 2, trunk.heads, self.past, trunk.width // trunk.heads)
        self.dim, self.num_actions = network.dims["actor"], network.num_actions
        self.cache_size = self.past + self.num_actions + self.past * 2 * trunk.width * len(trunk.blocks)

    def forward(self, obs: torch.Tensor, cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, D), (B, M) -> (B, A), (B, M)."""
        frame = self.normalizer(obs)
        seen, last_action = cache[:, : self.past], cache[:, self.past : self.past + self.num_actions]
        past = cache[:, self.past + self.num_actions :].unflatten(1, self.shape)
        token = self.frame_tokenizer(torch.cat((frame, last_action), dim=-1))
        output, past = self.transformer.step_with(token, past, seen)
        actions = self.actor(torch.cat((output, frame), dim=-1) if self.head_reads_frame else output)
        seen = torch.cat((seen, torch.ones_like(obs[:, :1])), dim=1)[:, 1:]
        return actions, torch.cat((seen, actions, past.flatten(1)), dim=1)

    @torch.jit.unused
    def get_dummy_inputs(self) -> tuple:
        """Inputs of the right shapes, for tracing."""
        return torch.zeros(1, self.dim), torch.zeros(1, self.cache_size)


class RememberingCacheExport(nn.Module):
    """Current observation of one robot (1, D) -> actions (1, A); the cache is kept between calls."""

    def __init__(self, policy: CacheExport) -> None:
        """Start with an empty cache; the step is traced, its shapes never change."""
        super().__init__()
        self.policy: Any = torch.jit.trace(policy.eval(), policy.get_dummy_inputs(), check_trace=False)
        self.register_buffer("cache", torch.zeros(1, policy.cache_size))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """(1, D) -> (1, A)."""
        actions, self.cache = self.policy(obs, self.cache)
        return actions

    @torch.jit.export
    def reset(self) -> None:
        """Start a new episode."""
        self.cache = torch.zeros_like(self.cache)
