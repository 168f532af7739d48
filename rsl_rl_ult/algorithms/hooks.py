"""What a method overrides: the hooks of the base of all methods, with what they do where they are left alone.

Letters: N environments, S steps, B rows of a minibatch, M samples of an update, K copies of them by symmetry.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, Mapping

import torch

from rsl_rl_ult.algorithms.checkpoint import Resumable
from rsl_rl_ult.algorithms.rollout_state import Decision, Step
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.algorithms.teacher import Teacher
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.modules.actor_critic import ActorCritic, Evaluation, Tensors
from rsl_rl_ult.policies.policy import Policy, join
from rsl_rl_ult.storage import Acted, Batch, by_minibatch, take_rows


class Hooks(Resumable):
    """An algorithm's settings by class and the steps of its loop that methods replace; see `OnPolicyAlgorithm`."""

    sets: dict[str, list]
    groups: list[str]
    processes: Processes
    symmetry: Symmetry | None
    num_learning_epochs: int
    num_mini_batches: int
    normalize_advantage_per_mini_batch: bool
    returns: torch.Tensor
    advantages: torch.Tensor

    network_class: type = ActorCritic
    """What `actor.class_name` may name, and the default."""

    needed_sets: tuple = ("actor", "critic")
    """Observation sets that must be configured; the network gets the columns of each as `num_<set>_obs`."""

    stored_names: tuple = ()
    """Names of `Decision.stored`, which no observation group may have."""

    context_names: tuple = ()
    """Those of them that are kept as far back as the frames, for networks that read history."""

    samples_trajectories: bool = False
    """Minibatches are whole trajectories of some environments, not single steps of all."""

    can_compile: bool = False
    """`torch_compile_mode` compiles `evaluate`: the loss is made from it, and asks for no gradient at inner values."""

    max_learning_rate: float = math.inf
    """Upper bound, whoever sets the learning rate."""

    def compute_loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss () of a minibatch and metrics () to log, by name; under autocast where that is used."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the optimizer; every parameter stands in one of them.

        A group with `lr_scale` has that multiple of the learning rate that the schedule moves, one with `lr` a rate of
        its own, and in `lr_name` the name of the option that sets it. The first has `lr_scale` 1.0: checkpoints and
        hosts read the scheduled rate there.
        Called once, by the constructor of the base: what it reads must be set before.
        """
        return [{"params": [*self.network.actor_parameters(), *self.network.critic_parameters()], "lr_scale": 1.0}]

    def own_rate(self, name: str, given: float) -> float:
        """The learning rate of the group with `lr_name` `name` where a resumed training is given `given` for it."""
        return given

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """Policies worth evaluating, by name: `policy`, or `teacher` and `student`; the last one is deployed."""
        return {"policy": Policy(network, sets)}

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """Name in the rollout -> frames from before it that must be kept."""
        frames = network.context
        return {} if frames is None else dict.fromkeys([*sets["actor"], *cls.context_names], frames)

    @classmethod
    def check_sets(cls, network: Any, sets: Mapping[str, list], obs: Tensors) -> None:
        """Refuse observation sets of a shape that the network cannot read (`ValueError`)."""

    @classmethod
    def host_options(cls, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """The section `algorithm` of a 5.x configuration, with what a method takes from elsewhere in it."""
        return dict(cfg["algorithm"])

    def use_teacher(self, teacher: Teacher, obs: Tensors) -> None:
        """Take over a loaded teacher, which is not trained any more; methods without a use for one refuse it.

        Args:
            teacher: from `load_teacher`.
            obs: observation groups (N, ...) of the environment, to see whether it still acts as it did.
        """
        raise ValueError(f"{type(self).__name__} has no use for a loaded teacher")

    def learns_policy(self) -> bool:
        """Whether this update makes the gradient steps of `compute_loss`."""
        return not self.frozen_teacher

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """What the acting policy does in the present state, without a gradient; called once per step.

        Args:
            obs: observation groups (N, ...).
            inputs: normalised observation sets (N, d).
        """
        return Decision(self.network.policy_mean(inputs), self.network.value(inputs))

    def shape_rewards(self, rewards: torch.Tensor, step: Step) -> torch.Tensor:
        """Rewards (N,) to learn from, given those of the environment; before time-outs are bootstrapped."""
        return rewards

    def last_values(self, obs: Tensors) -> torch.Tensor:
        """Values (N, 1) of the state after the rollout; reads the critic's groups only, all that some hosts show."""
        critic = join(obs, self.sets["critic"])
        return self.network.value({"critic": self.network.normalizers["critic"](critic)})

    def normalize_advantages(self, advantages: torch.Tensor) -> torch.Tensor:
        """Advantages (S, N, 1) of the rollout, standardised."""
        return self.processes.standardize(advantages)

    def make_batch(self, rows: torch.Tensor) -> Batch:
        """All samples of the rollout in the order of this update's minibatches: what the epochs do is cut it.

        A method that needs more of a sample returns a subclass: `MyBatch(**vars(super().make_batch(rows)), more=...)`.
        Values (M, ...) of the originals are in the order of `rows`. With symmetry, values (K M, ...) of all K copies,
        the originals first, must go through `by_minibatch(values, K, num_mini_batches)`: each minibatch holds its own
        originals and then their mirrored samples.

        Args:
            rows: (M,) rows of the rollout, minibatch after minibatch.
        """
        storage = self.storage
        kept = {name: take_rows(storage.flat(name), rows) for name in ("values", "log_prob", "mean", "std")}
        targets = {"returns": self.returns, "advantages": self.advantages}
        kept.update({name: take_rows(values.flatten(0, 1), rows) for name, values in targets.items()})
        groups = {group: take_rows(values, rows) for group, values in self.stored_frames().items()}
        actions = take_rows(storage.flat("actions"), rows)
        if self.symmetry is not None:
            actions = self.symmetry.actions(actions)
            copies, count = len(actions) // len(rows), self.num_mini_batches
            groups = {n: by_minibatch(x, copies, count) for n, x in self.symmetry.observations(groups).items()}
            actions = by_minibatch(actions, copies, count)
        inputs = self.network.inputs(self.raw_sets(groups))
        return Batch(acted=Acted(**kept), inputs=inputs, actions=actions, kl_rows=None, step=0)

    def minibatches(self, samples: Any) -> Iterator[Any]:
        """The minibatches of all gradient steps, cut from what `make_batch` returned."""
        for step in range(self.num_learning_epochs * self.num_mini_batches):
            batch = samples.part(step % self.num_mini_batches, self.num_mini_batches, step)
            if self.normalize_advantage_per_mini_batch:
                batch.acted.advantages = self.processes.standardize(batch.acted.advantages)
            yield batch

    def evaluate(self, batch: Any) -> Evaluation:
        """What the networks make of a minibatch, by the same path that acted."""
        return self.network.evaluate(batch)

    def after_update(self) -> dict[str, float]:
        """What a method learns from the same rollout after the gradient steps; more metrics to log."""
        return {}

    # -- what they read ------------------------------------------------------------------------------------------------

    def raw_sets(self, observations: Tensors) -> dict[str, torch.Tensor]:
        """Observation sets (B, dim) joined from groups, not normalised."""
        return {name: join(observations, self.sets[name]) for name in self.network.dims}

    def stored_frames(self) -> dict[str, torch.Tensor]:
        """Observation groups (S N, d) of the rollout, without the windows (N, T, d) that an environment may show."""
        return {group: self.storage.flat(group) for group in self.groups if self.storage[group].dim() == 3}
