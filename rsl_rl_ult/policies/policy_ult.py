"""Teacher and student of a Unified Locomotion Transformer as policies."""

from __future__ import annotations

from typing import Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.transformer import KeyValueCache
from rsl_rl_ult.policies.export import PolicyStep
from rsl_rl_ult.policies.export_ult import CacheExport, CacheStep
from rsl_rl_ult.policies.policy import Policy, join


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
        frame_actions, privileged_token = network.frame_actions(raw, self._last_actions), None
        if self.role == "teacher":
            privileged = join(observations, self.sets["privileged"])
            privileged_token = network.privilege_tokenizer(network.normalizers["privileged"](privileged))
        output, read = network.transformer.step(network.frame_tokenizer(frame_actions), privileged_token, self._cache)
        self._last_actions = (
            network.act_student(output, frame_actions) if read is None else network.act_teacher(read, frame_actions)
        )
        return self._last_actions

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the episodes of environments with `dones` (N,), of all without it."""
        if dones is None:
            self._cache = None
        elif self._cache is not None:
            self._cache.reset(dones)
            last = self._last_actions
            self._last_actions = torch.where(dones.bool()[:, None], torch.zeros_like(last), last)

    def on_acted(self, actions: torch.Tensor) -> None:
        """Remember `actions` (N, A) as those before the next frame."""
        self._last_actions = actions

    def memory(self) -> dict[str, torch.Tensor]:
        """Keys, values and the last actions, if anything was ever seen."""
        cache = self._cache
        if cache is None:
            return {}
        kept = {"keys": cache.keys, "values": cache.values, "age": cache.age, "last_actions": self._last_actions}
        return {**{name: value.clone() for name, value in kept.items()}, "slot": torch.tensor(cache.slot)}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Take over keys, values and last actions of as many environments."""
        self._cache = None
        if not memory:
            return
        cache = self.network.transformer.make_cache(len(memory["age"]))
        for name in ("keys", "values", "age"):
            getattr(cache, name).copy_(memory[name])
        cache.slot, self._cache = int(memory["slot"]), cache
        self._last_actions = memory["last_actions"].clone().to(cache.age.device)

    def as_jit(self) -> nn.Module:
        """A TorchScript-compatible copy for one robot: observation (1, D) -> actions (1, A); keeps its cache."""
        self._check_deployable()
        return self.as_step().stateful()

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """A copy without state for `torch.onnx.export`: observation and cache -> actions and the next cache."""
        self._check_deployable()
        return CacheExport(self.network)

    def as_step(self) -> PolicyStep:
        """A copy as one control step, a pure function of observation, the teacher's privileged one, and cache."""
        return CacheStep(self.network, self.role)

    def _check_deployable(self) -> None:
        if self.role == "teacher":
            raise ValueError("a teacher reads privileged data that a robot does not have: export the student")
