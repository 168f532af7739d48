"""The base of all methods: rollout, minibatches, optimizer, checkpoint, and the protocol of rsl-rl-lib 5.x's runner.

A method is a subclass that says what it learns from a minibatch (`compute_loss`) and overrides the hooks in which it
differs. All hooks stand in one section of `OnPolicyAlgorithm`.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.algorithms.checkpoint import Resumable
from rsl_rl_ult.algorithms.metrics import mean_metrics
from rsl_rl_ult.algorithms.optimization import check_samples, make_optimizer, set_precision
from rsl_rl_ult.algorithms.rollout_state import Decision, RolloutState, Step
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.algorithms.teacher import Teacher, load_teacher
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.modules.actor_critic import ActorCritic, Evaluation, Tensors
from rsl_rl_ult.policies.policy import Policy, join
from rsl_rl_ult.storage import Acted, Batch, RolloutStorage, by_minibatch

STORED = ("actions", "values", "log_prob", "mean", "std", "rewards", "dones", "other_log_prob")
"""Names in the rollout that no observation group may have, besides a method's own `stored_names`."""


class OnPolicyAlgorithm(Resumable):
    """Collects rollouts and learns from each of them once, in minibatches.

    Attributes:
        network: an `ActorCritic`.
        storage: the rollout.
        sets: observation set -> groups of the environment's observations.
        groups: all groups that are read.
        policies: policies worth evaluating, by name; the last one is the one to deploy.
        states: what the method carries from step to step, see `RolloutState`.
        learning_rate: of the parameters that the schedule moves.
        updates: updates made so far.
        frozen_teacher: a teacher was loaded, and nothing but its student is trained.
        returns: (S, N, 1) value targets of the rollout; there once `compute_returns` was called.
        advantages: (S, N, 1) its generalised advantages, standardised unless each minibatch does so; likewise.
        next_frames: (N, D) raw `actor` set after the rollout, for methods that sample trajectories; None elsewhere, and
            where the host does not show it.
    """

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

    def __init__(
        self,
        network: Any,
        storage: RolloutStorage,
        sets: Mapping[str, list],
        num_learning_epochs: int = 5,
        num_mini_batches: int = 4,
        gamma: float = 0.99,
        lam: float = 0.95,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
        optimizer: str = "adam",
        normalize_advantage_per_mini_batch: bool = False,
        use_mixed_precision: bool | None = False,
        device: str = "cpu",
        symmetry: Symmetry | None = None,
        multi_gpu_cfg: Mapping[str, int] | None = None,
        grad_reduce_bucket_mb: float = 25,
        clip_jointly: bool = False,
    ) -> None:
        """Hold network, storage and settings; option names and defaults are those of rsl-rl-lib 5.5.

        Args:
            network: an `ActorCritic`.
            storage: an empty rollout.
            sets: observation set -> groups of the environment's observations.
            num_learning_epochs: passes over the rollout per update.
            num_mini_batches: gradient steps per pass.
            gamma: discount factor per step.
            lam: lambda of the generalised advantages.
            learning_rate: of actor and critic; the start where a schedule moves it.
            max_grad_norm: gradients of actor and of critic are clipped to it, each on its own.
            optimizer: adam, adamw, sgd or rmsprop.
            normalize_advantage_per_mini_batch: instead of once over the whole rollout.
            use_mixed_precision: run the losses under bfloat16 autocast, as in rsl-rl-lib. None does so where the
                processor multiplies bfloat16 natively and nowhere else, and keeps means and values in float32.
            device: where networks and storage live.
            symmetry: mirrored samples to learn from.
            multi_gpu_cfg: `global_rank` and `world_size` of a distributed training.
            grad_reduce_bucket_mb: size of the messages that average gradients over processes [MiB].
            clip_jointly: clip the gradients of actor and critic as one, as rsl_rl 1.0.2 does.
        """
        if num_learning_epochs < 1 or num_mini_batches < 1:
            raise ValueError(
                f"algorithm.num_learning_epochs={num_learning_epochs}, num_mini_batches={num_mini_batches}: expected "
                "at least 1"
            )
        self.network, self.storage, self.device = network.to(device), storage, device
        self.sets = {name: list(groups) for name, groups in sets.items()}
        self.groups = list(dict.fromkeys(group for groups in self.sets.values() for group in groups))
        taken = {*STORED, *self.stored_names} & set(self.groups)
        if taken:
            raise ValueError(
                f"observation groups {sorted(taken)}: these names are used by the storage; rename the groups"
            )
        self.num_learning_epochs, self.num_mini_batches = num_learning_epochs, num_mini_batches
        self.gamma, self.lam, self.max_grad_norm, self.clip_jointly = gamma, lam, max_grad_norm, clip_jointly
        self.use_mixed_precision = set_precision(network, use_mixed_precision, device)
        self.normalize_advantage_per_mini_batch = normalize_advantage_per_mini_batch
        self.symmetry, self.processes = symmetry, Processes(multi_gpu_cfg, grad_reduce_bucket_mb)
        check_samples(storage, num_mini_batches, normalize_advantage_per_mini_batch, self.processes.count)
        groups = self.parameter_groups()
        self._rate_scales = [group.pop("lr_scale", None) for group in groups]
        if self._rate_scales[0] != 1.0:
            raise ValueError(
                f"{type(self).__name__}.parameter_groups: the first group has lr_scale={self._rate_scales[0]}, "
                "expected 1.0: put the parameters first that have the scheduled learning rate itself"
            )
        self.optimizer = make_optimizer(optimizer, groups, learning_rate)
        self.set_learning_rate(learning_rate)
        self.policies = self.make_policies(self.network, self.sets)
        self.states: list[RolloutState] = []
        self.updates, self.frozen_teacher = 0, False
        self.next_frames: torch.Tensor | None = None
        self._step: Step | None = None  # acted, and not yet stored

    # -- hooks: what methods override --------------------------------------------------------------------------------

    def compute_loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss () of a minibatch and metrics () to log, by name; under autocast where that is used."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups of the optimizer; every parameter stands in one of them.

        A group with `lr_scale` has that multiple of the learning rate that the schedule moves, one with `lr` a rate of
        its own. The first has `lr_scale` 1.0: checkpoints and hosts read the scheduled rate there.
        Called once, by the constructor of the base: what it reads must be set before.
        """
        return [{"params": [*self.network.actor_parameters(), *self.network.critic_parameters()], "lr_scale": 1.0}]

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
        kept = {name: storage.flat(name)[rows] for name in ("values", "log_prob", "mean", "std")}
        targets = {"returns": self.returns, "advantages": self.advantages}
        kept.update({name: values.flatten(0, 1)[rows] for name, values in targets.items()})
        groups = {group: values[rows] for group, values in self.stored_frames().items()}
        actions = storage.flat("actions")[rows]
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

    # -- rollout -----------------------------------------------------------------------------------------------------

    def raw_sets(self, observations: Tensors) -> dict[str, torch.Tensor]:
        """Observation sets (B, dim) joined from groups, not normalised."""
        return {name: join(observations, self.sets[name]) for name in self.network.dims}

    @torch.no_grad()
    def act(self, obs: Tensors) -> torch.Tensor:
        """Draw actions (N, A) for the observation groups (N, ...)."""
        decision = self.decide(obs, self.network.inputs(self.raw_sets(obs)))
        distribution = self.network.distribution
        std = self.network.std().expand_as(decision.mean)
        actions = distribution.sample(decision.mean, std)
        log_prob = distribution.log_prob(decision.mean, std, actions)
        other = decision.other_mean
        other_log_prob = None if other is None else distribution.log_prob(other, std, actions)
        self._step = Step({g: obs[g] for g in self.groups}, decision, actions, std, log_prob, other_log_prob)
        return actions

    @torch.no_grad()
    def process_env_step(self, obs: Tensors, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping) -> None:
        """Store the step: rewards and dones (N,); time-outs are bootstrapped with the value of the last state seen."""
        step, self._step = self._step, None
        assert step is not None, "process_env_step before act"
        decision, ended = step.decision, dones.to(self.device).bool()
        for state in self.states:
            state.on_step(step, rewards, ended, extras)
        rewards = self.shape_rewards(rewards, step)
        if "time_outs" in extras:
            shown = extras.get("time_out_observations", {})  # groups (N, ...) of the states that were cut off
            values = self.last_values({g: x.to(self.device) for g, x in shown.items()}) if shown else decision.value
            rewards = rewards + self.gamma * (values[:, 0] * extras["time_outs"].to(self.device))
        other = {} if step.other_log_prob is None else {"other_log_prob": step.other_log_prob}
        self.storage.add(
            rewards=rewards[:, None],
            dones=dones,
            actions=step.actions,
            values=decision.value,
            log_prob=step.log_prob,
            mean=decision.mean,
            std=step.std,
            **step.observations,
            **decision.stored,
            **other,
        )

    @torch.no_grad()
    def compute_returns(self, obs: Tensors) -> None:
        """Returns and advantages of the rollout; `obs` are the groups after its last step."""
        last_values = self.last_values(obs)
        storage = self.storage
        values = storage["values"]
        returns = losses.generalized_advantages(
            storage["rewards"], storage["dones"][..., None], values, last_values, self.gamma, self.lam
        )
        advantages = returns - values
        if not self.normalize_advantage_per_mini_batch:
            advantages = self.normalize_advantages(advantages)
        self.returns, self.advantages = returns, advantages
        shown = self.samples_trajectories and set(self.sets["actor"]) <= set(obs.keys())
        self.next_frames = join(obs, self.sets["actor"]).clone() if shown else None

    # -- update ------------------------------------------------------------------------------------------------------

    def update(self) -> dict[str, float]:
        """Learn from the stored rollout; returns mean losses by name."""
        metrics, learns = {}, self.learns_policy()
        if learns:
            samples = self.make_batch(self.sample_rows())
            metrics = mean_metrics([self.gradient_step(batch) for batch in self.minibatches(samples)])
        metrics.update(self.after_update())
        if learns:
            self.network.update_normalization(self.raw_sets(self.stored_frames()))
        self.storage.clear()
        self.updates += 1
        for state in self.states:
            metrics.update(state.metrics())
            state.on_update()
        return metrics

    def sample_rows(self) -> torch.Tensor:
        """Rows (M,) of the rollout, shuffled: what is learnt from in this update, minibatch after minibatch."""
        storage = self.storage
        if not self.samples_trajectories:
            return storage.permutation(self.num_mini_batches)
        used = storage.num_envs // self.num_mini_batches * self.num_mini_batches
        return storage.trajectory_rows(self.shuffled_envs()[:used])

    def shuffled_envs(self) -> torch.Tensor:
        """(N,) environments in the order of this update, where minibatches are whole trajectories."""
        return torch.randperm(self.storage.num_envs, device=self.storage.device)

    def stored_frames(self) -> dict[str, torch.Tensor]:
        """Observation groups (S N, d) of the rollout, without the windows (N, T, d) that an environment may show."""
        return {group: self.storage.flat(group) for group in self.groups if self.storage[group].dim() == 3}

    def gradient_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One minibatch: loss, gradients, step. Returns metrics to log, which `latest_losses` has before the step."""
        with self.autocast():
            loss, metrics = self.compute_loss(batch)
        self.latest_losses = {name: value.detach() for name, value in metrics.items()}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.step()
        return self.latest_losses

    def autocast(self) -> Any:
        """The context in which losses are computed."""
        device = torch.device(self.device).type
        return torch.autocast(device_type=device, dtype=torch.bfloat16, enabled=self.use_mixed_precision)

    def set_learning_rate(self, learning_rate: float) -> None:
        """What the schedule decided, for all parameter groups that follow it."""
        self.learning_rate = min(learning_rate, self.max_learning_rate)
        for group, scale in zip(self.optimizer.param_groups, self._rate_scales):
            if scale is not None:
                group["lr"] = self.learning_rate * scale

    def step(self) -> None:
        """Average the gradients over processes, clip actor and critic, and let the optimizer step."""
        actor, critic = self.network.actor_parameters(), self.network.critic_parameters()
        self.processes.average_gradients([*actor, *critic])
        for parameters in ([*actor, *critic],) if self.clip_jointly else (actor, critic):
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()

    def load_teacher(self, saved: Mapping[str, Any], cfg: Mapping[str, Any], obs: Tensors) -> None:
        """Load a frozen teacher from a checkpoint and train what follows it; arguments as in `teacher.load_teacher`."""
        self.use_teacher(load_teacher(saved, cfg, obs, self.network.num_actions, self.device), obs)
        self.reset_state()

    # -- what a runner asks for besides acting and learning ----------------------------------------------------------

    def train_mode(self) -> None:
        """Put the networks into training mode; refuse what can act, but not be trained."""
        envs, count = self.storage.num_envs, self.num_mini_batches
        if self.samples_trajectories and envs < count:
            raise ValueError(
                f"algorithm.num_mini_batches={count}: minibatches hold whole environments, expected at most their "
                f"number, {envs}"
            )
        self.network.train()

    def eval_mode(self) -> None:
        """Put the networks into evaluation mode."""
        self.network.eval()

    def get_policy(self) -> Policy:
        """The policy to deploy: groups (N, ...) -> actions (N, A); with `reset`, `as_jit` and `as_onnx`."""
        return list(self.policies.values())[-1]

    def inference_policies(self) -> dict[str, Policy]:
        """Every policy worth evaluating, by name."""
        return dict(self.policies)

    def broadcast_parameters(self) -> None:
        """Give all processes the networks of the first."""
        self.processes.broadcast(self.network.state_dict().values())

    @staticmethod
    def construct_algorithm(obs: Tensors, env: Any, cfg: Mapping[str, Any], device: str) -> Any:
        """Build network, storage and algorithm from a 5.x configuration; `cfg` is not changed.

        Args:
            obs: observation groups of the environment (N, ...).
            env: the host's environment: `num_envs`, `num_actions`.
            cfg: sections `algorithm`, `actor`, `critic`, `obs_groups`, and `num_steps_per_env`.
            device: where to learn.
        """
        return construct.make_algorithm(obs, env, cfg, device)
