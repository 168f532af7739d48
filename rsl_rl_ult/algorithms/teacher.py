"""A teacher from an earlier training: a frozen policy of any method, with the observation groups that it reads."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.algorithms.checkpoint import check_shapes, weights_of
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.policies.policy import Policy

NOT_THE_TEACHERS = ("history_encoder.", "critic.", "normalizers.critic.")
"""Beginnings of the state-dict keys that a teacher with a latent does not act with."""


class Teacher:
    """A policy that is not trained any more.

    Attributes:
        policy: observation groups (N, ...) -> mean actions (N, A); what it remembers of episodes it forgets by `reset`.
        network: its network, without gradients and in evaluation mode.
        sets: observation set -> groups of the environment's observations.
        method: name of the class that trained it.
    """

    def __init__(self, policy: Policy, method: str) -> None:
        """Freeze the network of `policy`."""
        self.policy, self.network, self.sets, self.method = policy, policy.network, policy.sets, method
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def act(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean actions (N, A) for the observation groups (N, ...) of the next step."""
        return self.policy(observations)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the episodes of environments with `dones` (N,), of all without it."""
        self.policy.reset(dones)


def load_teacher(
    saved: Mapping[str, Any],
    cfg: Mapping[str, Any],
    obs: Mapping[str, torch.Tensor],
    num_actions: int,
    device: str = "cpu",
) -> Teacher:
    """The policy `teacher` of a checkpoint, or its only policy.

    Args:
        saved: the checkpoint, from `OnPolicyAlgorithm.save`.
        cfg: the 5.x configuration that it was trained with: sections `algorithm`, `actor`, `critic`, `obs_groups`.
        obs: observation groups (N, ...) of the environment that it shall act in.
        num_actions: A.
        device: where it acts.

    Raises:
        ValueError: another program wrote the checkpoint, or its network does not fit configuration or observations.
    """
    weights, name = weights_of(saved), cfg["algorithm"]["class_name"]
    if not weights or "method" not in saved:
        raise ValueError(f"the checkpoint was not written by one of our methods but by {name}: it cannot be a teacher")
    method = construct.resolve(name, "rsl_rl_ult.algorithms")
    network, sets = construct.make_network(method, obs, num_actions, cfg)
    check_shapes(weights, network.state_dict())
    network.load_state_dict(weights)
    network.to(device)
    policies = method.make_policies(network, sets)
    return Teacher(policies.get("teacher", next(iter(policies.values()))), saved["method"])


def copy_latent_teacher(teacher: Teacher, network: ActorCriticTS) -> None:
    """Give `network` the teacher's E_priv, policy head, deviation and normalisers; its E_hist and critic stay its own.

    Raises:
        ValueError: the teacher has no latent, or one of another kind or shape.
    """
    source = teacher.network
    if not isinstance(source, ActorCriticTS):
        raise ValueError(
            f"a teacher trained by {teacher.method} has no latent that a student could learn: expected one of PPO_TS, "
            "PPO_RMA or PPO_CTS"
        )
    if source.latent_norm != network.latent_norm:
        raise ValueError(
            f"the teacher's latents have latent_norm={source.latent_norm}, the student's {network.latent_norm}: set "
            f"actor.latent_norm={source.latent_norm}"
        )
    states = []
    for one in (source, network):
        states.append({k: v for k, v in one.state_dict().items() if not k.startswith(NOT_THE_TEACHERS)})
    check_shapes(*states)
    network.load_state_dict(states[0], strict=False)
