"""The base of all methods: rollout, minibatches, optimizer, checkpoint, and the protocol of rsl-rl-lib 5.x's runner.

A method is a subclass that says what it learns from a minibatch (`compute_loss`) and overrides the hooks in which it
differs: those of `hooks`.
"""

from __future__ import annotations

from typing import Any, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.algorithms.beginning import Beginning, begin_with
from rsl_rl_ult.algorithms.hooks import Hooks
from rsl_rl_ult.algorithms.metrics import mean_metrics
from rsl_rl_ult.algorithms.optimization import check_samples, make_optimizer, set_precision
from rsl_rl_ult.algorithms.rollout_state import RolloutState, Step
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.algorithms.teacher import load_teacher
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.policies.policy import Policy, join
from rsl_rl_ult.storage import Batch, RolloutStorage

STORED = ("actions", "values", "log_prob", "mean", "std", "rewards", "dones", "other_log_prob")
"""Names in the rollout that no observation group may have, besides a method's own `stored_names`."""


class OnPolicyAlgorithm(Hooks):
    """Collects rollouts and learns from each of them once, in minibatches.

    Attributes:
        network: an `ActorCritic`.
        storage: the rollout.
        sets: observation set -> groups of the environment's observations.
        groups: all groups that are read.
        policies: policies worth evaluating, by name; the last one is the one to deploy.
        states: what the method carries from step to step, see `RolloutState`.
        learning_rate: of the parameters that the schedule moves; `first_learning_rate` is the option.
        updates: updates made so far.
        frozen_teacher: a teacher was loaded, and nothing but its student is trained.
        returns: (S, N, 1) value targets of the rollout; there once `compute_returns` was called.
        advantages: (S, N, 1) its generalised advantages, standardised unless each minibatch does so; likewise.
        next_frames: (N, D) raw `actor` set after the rollout, for methods that sample trajectories; None elsewhere, and
            where the host does not show it.
    """

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
        self._rate_names = [group.pop("lr_name", None) for group in groups]
        if self._rate_scales[0] != 1.0:
            raise ValueError(
                f"{type(self).__name__}.parameter_groups: the first group has lr_scale={self._rate_scales[0]}, "
                "expected 1.0: put the parameters first that have the scheduled learning rate itself"
            )
        self.optimizer = make_optimizer(optimizer, groups, learning_rate)
        self.first_learning_rate = learning_rate
        self.set_learning_rate(learning_rate)
        self.policies = self.make_policies(self.network, self.sets)
        self.states: list[RolloutState] = []
        self.updates, self.frozen_teacher = 0, False
        self.next_frames: torch.Tensor | None = None
        self._step: Step | None = None  # acted, and not yet stored

    # -- rollout -----------------------------------------------------------------------------------------------------

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

    def give_learning_rates(self, given: Mapping[str, float]) -> None:
        """Go on with the checkpoint's learning rates, but for those of options that are given.

        Args:
            given: option -> value, of rates; others do nothing here.
        """
        self.set_learning_rate(given.get("learning_rate", self.learning_rate))
        for group, name in zip(self.optimizer.param_groups, self._rate_names):
            if name in given:
                group["lr"] = self.own_rate(name, given[name])

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

    def begin_with(self, saved: Mapping[str, Any], cfg: Mapping[str, Any], obs: Tensors) -> Beginning:
        """Take over the networks of a checkpoint, maybe of another method; arguments as in `beginning.begin_with`."""
        taken = begin_with(self.network, self.sets, type(self), saved, cfg, obs)
        self.reset_state()
        return taken

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
