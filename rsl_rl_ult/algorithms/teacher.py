"""A teacher from an earlier training: a frozen policy of any method, with the observation groups that it reads."""

from __future__ import annotations

import copy
from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.algorithms.checkpoint import check_shapes, weights_of
from rsl_rl_ult.algorithms.rollout_state import RolloutState, Step
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.policies.policy import Policy, StudentPolicy

OF_CRITIC = ("critic.", "normalizers.critic.")
"""Beginnings of the state-dict keys of a critic."""

NOT_THE_TEACHERS = ("history_encoder.", "proxy_encoder.", *OF_CRITIC)
"""Beginnings of the state-dict keys that a teacher with a latent does not act with."""


class Teacher:
    """A policy that is not trained any more.

    Attributes:
        policy: observation groups (N, ...) -> mean actions (N, A); `policy.reset` forgets episodes.
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


def load_teacher(
    saved: Mapping[str, Any],
    cfg: Mapping[str, Any],
    obs: Mapping[str, torch.Tensor],
    num_actions: int,
    device: str = "cpu",
) -> Teacher:
    """The policy `teacher` of a checkpoint, or its only policy; arguments and errors as in `load_network`."""
    method, network, sets = load_network(saved, cfg, obs, num_actions, device)
    policies = method.make_policies(network, sets)
    return Teacher(policies.get("teacher", next(iter(policies.values()))), saved["method"])


def load_network(
    saved: Mapping[str, Any],
    cfg: Mapping[str, Any],
    obs: Mapping[str, torch.Tensor],
    num_actions: int,
    device: str = "cpu",
) -> tuple[Any, Any, dict[str, list]]:
    """The network of a checkpoint.

    Args:
        saved: the checkpoint, from `OnPolicyAlgorithm.save`.
        cfg: the 5.x configuration that it was trained with: sections `algorithm`, `actor`, `critic`, `obs_groups`.
        obs: observation groups (N, ...) of the environment that it shall act in.
        num_actions: A.
        device: where it acts.

    Returns:
        Class of the method, network, observation sets that it reads.

    Raises:
        ValueError: another program wrote the checkpoint, or its network does not fit configuration or observations.
    """
    weights, name = weights_of(saved), cfg["algorithm"]["class_name"]
    if not weights or "method" not in saved:
        raise ValueError(
            f"the checkpoint was not written by one of our methods but by {name}, which is not of rsl_rl_ult: "
            "its networks cannot be used here"
        )
    for saved_name in (name, cfg["actor"].get("class_name")):
        construct.refuse_code(saved_name)
    method = construct.resolve(name, "rsl_rl_ult.algorithms")
    network, sets = construct.make_network(method, obs, num_actions, cfg)
    check_shapes(weights, network.state_dict())
    network.load_state_dict(weights)
    return method, network.to(device), sets


def record_teacher(
    teacher: Teacher, saved: Mapping[str, Any], cfg: Mapping[str, Any], obs: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """What `load_recorded` needs to build the teacher again; arguments as in `load_teacher`, besides the teacher.

    Returns:
        Plain data and tensors; "steps" are those of the environment that the teacher took, 0 where it is not known.
    """
    kept = {name: copy.deepcopy(cfg[name]) for name in ("actor", "critic", "obs_groups")}
    return {
        "method": teacher.method,
        "network_state_dict": teacher.network.state_dict(),
        "cfg": {"algorithm": {"class_name": cfg["algorithm"]["class_name"]}, **kept},
        "columns": {group: obs[group].shape[1] for names in teacher.sets.values() for group in names},
        "steps": int((saved.get("infos") or {}).get("total", (0, 0.0))[0]),
    }


def load_recorded(
    record: Mapping[str, Any], num_actions: int, device: str = "cpu"
) -> tuple[Teacher, dict[str, torch.Tensor]]:
    """The teacher of `record_teacher`, and made-up observation groups (1, d) of the shapes that it reads."""
    obs = {group: torch.zeros(1, columns, device=device) for group, columns in record["columns"].items()}
    return load_teacher(record, record["cfg"], obs, num_actions, device), obs


class Labeller(RolloutState):
    """A teacher beside the rollout of others: it is told what was done instead of its actions, and when episodes end.

    Attributes:
        teacher: None until one is loaded.
    """

    def __init__(self) -> None:
        """No teacher yet."""
        self.teacher: Teacher | None = None

    def on_step(self, step: Step, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping[str, Any]) -> None:
        """Tell the teacher."""
        assert self.teacher is not None
        self.teacher.policy.on_acted(step.actions)
        self.teacher.policy.reset(dones)

    def state_dict(self) -> dict[str, Any]:
        """What the teacher remembers of the present episodes."""
        return {"labeller": {} if self.teacher is None else self.teacher.policy.memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it over."""
        if self.teacher is not None:
            self.teacher.policy.remember(state["labeller"])


def copy_latent_teacher(
    teacher: Teacher,
    network: ActorCriticTS,
    sets: Mapping[str, Sequence[str]],
    obs: Mapping[str, torch.Tensor],
) -> None:
    """Give `network` the teacher's E_priv, policy head, deviation and normalisers; its E_hist stays its own.

    It gets the teacher's critic too, where both read the same groups in networks of the same shape. A student that is
    taught needs none, but a training by PPO that begins with these networks would be undone by a critic that knows
    nothing.

    Weights do not say what they mean (activation, kind of deviation, which group a column comes from), so the copy has
    to act as the teacher does before `network` is changed.

    Args:
        teacher: loaded by `load_teacher`.
        network: of the method that follows it.
        sets: observation set -> groups that `network` reads.
        obs: observation groups (N, ...) on which the copy is compared with the teacher.

    Raises:
        ValueError: the policy is a student, has no latent, one of another kind or shape, or the copy would act in
            another way.
    """
    source = teacher.network
    if isinstance(teacher.policy, StudentPolicy):
        raise ValueError(
            f"a run of {teacher.method} has a student and no teacher: name the run that its data were recorded of"
        )
    if not isinstance(source, ActorCriticTS):
        raise ValueError(
            f"a teacher trained by {teacher.method} has no latent that a student could learn: expected one of PPO_TS, "
            "PPO_RMA, PPO_CTS or PPO_SITT"
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
    copied = copy.deepcopy(network)
    copied.load_state_dict(states[0], strict=False)
    _check_acts_like(teacher, Policy(copied, sets), obs)
    network.load_state_dict(states[0], strict=False)
    critic, own = ({k: v for k, v in x.state_dict().items() if k.startswith(OF_CRITIC)} for x in (source, network))
    same_shapes = {k: v.shape for k, v in critic.items()} == {k: v.shape for k, v in own.items()}
    if same_shapes and list(teacher.sets["critic"]) == list(sets["critic"]):
        network.load_state_dict(critic, strict=False)


@torch.no_grad()
def _check_acts_like(teacher: Teacher, policy: Policy, obs: Mapping[str, torch.Tensor]) -> None:
    """Refuse a copy whose mean actions on `obs` or deviations are not the teacher's (`ValueError`)."""
    means, stds = (policy(obs), teacher.act(obs)), (policy.network.std(), teacher.network.std())
    if not torch.allclose(*means, atol=1e-6) or not torch.equal(*stds):
        gaps = [float((found - expected).abs().max()) for found, expected in (means, stds)]
        raise ValueError(
            f"the copied teacher would act unlike the one of {teacher.method}: mean actions differ by up to "
            f"{gaps[0]:.2g}, deviations by up to {gaps[1]:.2g}, expected none; set actor.activation, the deviation's "
            "std_type (noise_std_type) and range, and the groups of obs_groups with their order as in its training"
        )
