"""rsl-rl-lib 3.0 to 3.3: observation groups, a policy class and an algorithm class, both built by the runner.

3.0 and 3.1 call `init_storage`; 3.2 and 3.3 give a storage to the constructor, of which only the sizes are used. The
observation sets are those of `obs_groups`: `policy`, `critic`, and if the environment has it `privileged`; without it
the critic's groups are the privileged vector.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult.algorithms.construct import observation_sets
from rsl_rl_ult.hosts.common import HostAlgorithm, HostPolicy, host_classes


class _Policy(HostPolicy):
    """A policy as 3.x builds it: (obs, obs_groups, num_actions, **policy section)."""

    def __init__(
        self, obs: Mapping[str, torch.Tensor], obs_groups: Mapping[str, Sequence[str]], num_actions: int, **options: Any
    ) -> None:
        groups = {("actor" if name == "policy" else name): names for name, names in obs_groups.items()}
        sets = observation_sets(obs, groups, self.core_class.needed_sets)
        dims = {name: sum(obs[group].shape[-1] for group in names) for name, names in sets.items()}
        super().__init__(dims, num_actions, sets, options)
        self.core_class.check_sets(self.network, sets, obs)
        self.observations = obs  # of the moment of construction; says what the host keeps groups in

    def act_inference(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions (N, A) of the policy to deploy."""
        return self.infer(observations)

    def evaluate(self, observations: Mapping[str, torch.Tensor], **_: Any) -> torch.Tensor:
        """Values (N, 1)."""
        return self._algorithm().last_values(observations)


class _Algorithm(HostAlgorithm):
    """An algorithm as 3.x builds it: (policy[, storage], device=..., multi_gpu_cfg=..., **algorithm section)."""

    _policy: _Policy

    def __init__(
        self,
        policy: HostPolicy,
        storage: Any = None,
        device: str = "cpu",
        multi_gpu_cfg: Mapping[str, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(policy, device, options)
        self.policy, self._multi_gpu_cfg = policy, multi_gpu_cfg
        if storage is not None:
            self.init_storage("rl", storage.num_envs, storage.num_transitions_per_env)

    def init_storage(
        self,
        training_type: str,
        num_envs: int,
        num_transitions_per_env: int,
        obs: Any = None,
        actions_shape: Any = None,
    ) -> None:
        """Build the algorithm for rollouts of that size."""
        env = (self._symmetry_cfg or {}).get("_env")
        symmetry = self.make_symmetry(env, self._policy.observations)
        self.build(num_envs, num_transitions_per_env, symmetry=symmetry, multi_gpu_cfg=self._multi_gpu_cfg)

    def act(self, obs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions (N, A) for the observation groups (N, ...)."""
        self.begin_step()
        return self.core.act(obs)

    def process_env_step(
        self, obs: Mapping[str, torch.Tensor], rewards: torch.Tensor, dones: torch.Tensor, extras: dict
    ) -> None:
        """Store the step."""
        self.core.process_env_step(obs, rewards, dones, extras)

    def compute_returns(self, obs: Mapping[str, torch.Tensor]) -> None:
        """Returns and advantages of the rollout."""
        self.core.compute_returns(obs)

    def update(self) -> dict:
        """Learn from the rollout; mean losses by name."""
        return self.run_update()


globals().update(host_classes(_Policy, _Algorithm, __name__))
