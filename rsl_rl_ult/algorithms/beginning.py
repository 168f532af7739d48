"""A training that begins with the networks of another one, of the same method or of another with the same parts."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms.checkpoint import check_shapes
from rsl_rl_ult.algorithms.teacher import OF_CRITIC, load_network

HEAD = "actor."
"""Beginning of the state-dict keys of the head of a policy, which every method has."""


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a network took over.

    Attributes:
        new: parts of the network, such as `history_encoder` or `critic`, that are as they were made.
        gaps: policy, such as `student`, that both methods have -> largest difference of its mean actions on the first
            observations before and after. Not 0 where weights mean something else here: another activation, norm of
            the latent or history.
    """

    new: tuple[str, ...]
    gaps: Mapping[str, float]


def begin_with(
    network: Any,
    sets: Mapping[str, list],
    method: Any,
    saved: Mapping[str, Any],
    cfg: Mapping[str, Any],
    obs: Mapping[str, torch.Tensor],
) -> Beginning:
    """Give `network` the weights of a checkpoint under the same names.

    The critic is taken over where both read the same groups; one that reads a latent, too (CTS), begins with zeros for
    it. A new critic undoes a trained policy within some hundred gradient steps, so that a caller should say it.

    Args:
        network: changed in place, but not before everything is checked.
        sets: observation set -> groups that it reads.
        method: class of its algorithm.
        saved: checkpoint of one of our methods.
        cfg: the 5.x configuration that it was trained with, as in `teacher.load_teacher`.
        obs: observation groups (N, ...) that both read, on which their actions are compared.

    Raises:
        ValueError: another program wrote the checkpoint, or a part that both have has another shape.
    """
    device = str(next(network.parameters()).device)
    other, source, other_sets = load_network(saved, cfg, obs, network.num_actions, device)
    own, theirs = network.state_dict(), source.state_dict()
    shared = {name: theirs[name] for name in own if name in theirs and not name.startswith(OF_CRITIC)}
    if not any(name.startswith(HEAD) for name in shared):
        raise ValueError(f"the networks of {saved['method']} and {method.__name__} have no part in common")
    check_shapes(shared, {name: own[name] for name in shared})
    shared.update(_critic(own, theirs, other_sets["critic"] == sets["critic"]))
    before = _actions(other.make_policies(source, other_sets), obs)
    network.load_state_dict(shared, strict=False)
    after = _actions(method.make_policies(network, sets), obs)
    gaps = {name: float((before[name] - after[name]).abs().max()) for name in after if name in before}
    new = dict.fromkeys(_part(name) for name in own if name not in shared)
    return Beginning(tuple(new), gaps)


def _critic(own: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], same_groups: bool) -> dict[str, Any]:
    """What `own` gets of the other critic: all of it, with zeros for columns that only `own` has, or nothing."""
    found = {name: theirs[name] for name in own if name.startswith(OF_CRITIC) and name in theirs}
    first = "critic.0.weight"
    if same_groups and first in found:
        missing = own[first].shape[1] - found[first].shape[1]  # the latent, which comes last
        found[first] = torch.nn.functional.pad(found[first], (0, max(0, missing)))
    fits = all(found[name].shape == own[name].shape for name in found)
    complete = len(found) == sum(name.startswith(OF_CRITIC) for name in own)
    return found if same_groups and complete and fits else {}


@torch.no_grad()
def _actions(policies: Mapping[str, Any], obs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean actions of each policy after a reset."""
    return {name: policy(obs) for name, policy in policies.items()}


def _part(name: str) -> str:
    """`history_encoder` of `history_encoder.mlp.0.weight`, `normalizers.critic` of `normalizers.critic.mean`."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "normalizers" else first
