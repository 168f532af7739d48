"""Actor and critic of plain PPO in one object; the base of the networks of all methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.distributions import DISTRIBUTIONS
from rsl_rl_ult.modules.mlp import MLP, EmpiricalNormalization

Tensors = Mapping[str, torch.Tensor]


@dataclass
class Evaluation:
    """What the networks make of the K B rows of a `Batch`."""

    mean: torch.Tensor
    """(K B, A) mean actions of the policy that acted in each row; logits of a categorical policy."""
    std: torch.Tensor
    """(K B, A) standard deviations; zeros of a categorical policy."""
    value: torch.Tensor
    """(K B, 1) state values."""


class ActorCritic(nn.Module):
    """A policy head with a distribution of actions, a diagonal Gaussian by default, and a value network.

    Networks read *observation sets*: named tensors (B, dim) that the algorithm joins from the environment's observation
    groups. This class reads `actor` and `critic`.

    What is called a mean action, here and in the algorithms, is a row of logits where the policy is categorical; what
    else that changes stands in `modules/distributions.py`.

    Attributes:
        distribution: what actions are drawn from.
    """

    distributions: tuple = tuple(DISTRIBUTIONS)
    """What the option `distribution` may name."""

    student_acts_on_history = False
    """Whether the policy to deploy reads a window of frames instead of the current observation."""

    @property
    def context(self) -> int | None:
        """Frames before the current one that an action depends on; None for networks that read no history."""
        return None

    def __init__(
        self,
        num_actor_obs: int,
        num_critic_obs: int,
        num_actions: int,
        actor_hidden_dims: Sequence[int] = (256, 256, 256),
        critic_hidden_dims: Sequence[int] = (256, 256, 256),
        activation: str = "elu",
        critic_activation: str | None = None,
        actor_obs_normalization: bool = False,
        critic_obs_normalization: bool = False,
        init_noise_std: float = 1.0,
        noise_std_type: str = "scalar",
        learn_std: bool = True,
        noise_std_range: Sequence[float] = (1e-6, 1e6),
        distribution: str = "gaussian",
    ) -> None:
        """Build the networks.

        Args:
            num_actor_obs: columns of the observation set `actor`.
            num_critic_obs: columns of the observation set `critic`.
            num_actions: A.
            actor_hidden_dims: hidden layers of the policy head.
            critic_hidden_dims: hidden layers of the critic.
            activation: of all networks.
            critic_activation: of the critic, the same by default.
            actor_obs_normalization: normalise what the actor reads by running statistics.
            critic_obs_normalization: the same for the critic.
            init_noise_std: standard deviation of the actions at the start.
            noise_std_type: "scalar" learns the deviation, "log" its logarithm.
            learn_std: False keeps it.
            noise_std_range: bounds of the deviation.
            distribution: "gaussian" for A continuous actions, "categorical" for one of A choices, which has no
                deviation.
        """
        if distribution not in self.distributions:
            raise ValueError(
                f"distribution '{distribution}': {type(self).__name__} expects one of {', '.join(self.distributions)}"
            )
        super().__init__()
        self.dims = {"actor": num_actor_obs, "critic": num_critic_obs}
        self.num_actions = num_actions
        self.actor = MLP(self._head_inputs(num_actor_obs), num_actions, actor_hidden_dims, activation)
        self.distribution = DISTRIBUTIONS[distribution]()
        self.std = self.distribution.make_std(num_actions, init_noise_std, noise_std_type, learn_std, noise_std_range)
        self.critic = MLP(self._critic_inputs(num_critic_obs), 1, critic_hidden_dims, critic_activation or activation)
        self.normalizers = nn.ModuleDict()
        self._add_normalizer("actor", actor_obs_normalization)
        self._add_normalizer("critic", critic_obs_normalization)

    def _head_inputs(self, num_actor_obs: int) -> int:
        """Columns that the policy head reads."""
        return num_actor_obs

    def _critic_inputs(self, num_critic_obs: int) -> int:
        """Columns that the critic reads."""
        return num_critic_obs

    def _add_normalizer(self, name: str, used: bool) -> None:
        self.normalizers[name] = EmpiricalNormalization(self.dims[name]) if used else nn.Identity()

    # -- observations ------------------------------------------------------------------------------------------------

    def inputs(self, sets: Tensors) -> dict[str, torch.Tensor]:
        """Normalised observation sets (B, dim) from raw ones, those that are there; wrong dims are a `ValueError`."""
        dims = {name: dim for name, dim in self.dims.items() if name in sets}
        for name, dim in dims.items():
            if sets[name].shape[-1] != dim:
                raise ValueError(
                    f"observation set '{name}' has {sets[name].shape[-1]} columns, {type(self).__name__} was built for "
                    f"{dim}"
                )
        return {name: self.normalizers[name](sets[name]) for name in dims}

    def update_normalization(self, sets: Tensors) -> None:
        """Add raw observation sets (B, dim) to the running statistics."""
        for name, normalizer in self.normalizers.items():
            if isinstance(normalizer, EmpiricalNormalization):
                normalizer.update(sets[name])

    # -- what the algorithms ask for ---------------------------------------------------------------------------------

    def policy_mean(self, inputs: Tensors) -> torch.Tensor:
        """Mean actions (B, A) of the policy that PPO trains."""
        return self.actor(inputs["actor"])

    def value(self, inputs: Tensors) -> torch.Tensor:
        """State values (B, 1)."""
        return self.critic(inputs["critic"])

    def evaluate(self, batch: Any) -> Evaluation:
        """Policy and values for a minibatch, a `Batch` or what the method makes of it."""
        mean = self.policy_mean(batch.inputs)
        return Evaluation(mean, self.std().expand_as(mean), self.value(batch.inputs))

    def actor_parameters(self) -> list[nn.Parameter]:
        """What the policy gradient trains; clipped together."""
        return [*self.std.parameters(), *self.actor.parameters()]

    def critic_parameters(self) -> list[nn.Parameter]:
        """What the value loss trains; clipped together."""
        return list(self.critic.parameters())

    def student_parameters(self) -> list[nn.Parameter]:
        """What is trained apart from PPO, with its own learning rate and clip."""
        return []
