"""The one PPO loop. Every method is this loop plus what its own file says.

It speaks the protocol of rsl-rl-lib 5.x's `OnPolicyRunner` and gives bit-equal weights to its `PPO` (tests/rsl_rl_ult/algorithms/test_ppo_faithful.py), in less time:
rollouts are shuffled, mirrored and normalised once per update instead of once per minibatch and epoch.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.metrics import mean_figures
from rsl_rl_ult.algorithms.protocol import RunnerProtocol, Tensors
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.mlp import MLP
from rsl_rl_ult.policies.policy import Policy, join
from rsl_rl_ult.storage import RolloutStorage

MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-5, 1e-2
"""Bounds of the adaptive schedule, those of rsl-rl-lib."""

RESERVED = {
    *("actions", "values", "log_prob", "mean", "std", "rewards", "dones"),
    *("student_latent", "last_actions", "teacher", "other_log_prob"),
}
"""Names in the rollout that no observation group may have."""

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop"}


def multiplies_bfloat16(device: str) -> bool:
    """Whether `device` is a processor that multiplies bfloat16 natively; torch before 2.6 cannot tell."""
    known = getattr(getattr(torch, "cpu", None), "_is_avx512_bf16_supported", lambda: False)
    return torch.device(device).type == "cpu" and bool(known())


class PPO(RunnerProtocol):
    """Proximal policy optimisation (Schulman et al. 2017) with an adaptive learning rate.

    Hooks of the methods: `acting_mean` (who acts), `sample_rows`, `extra_samples`, `policy_mean`, `surrogate`, `auxiliary_losses`,
    `normalize_advantages`, `kl_rows`, `last_values`, and `after_update`.
    """

    network_class: type = ActorCritic
    """What `actor.class_name` may name, and the default."""

    needed_sets: tuple = ("actor", "critic")
    """Observation sets that must be configured."""

    sample_names: tuple = ("values", "log_prob", "mean", "std")
    """Values of the rollout that minibatches hold and mirroring does not change."""

    def __init__(
        self,
        network: Any,
        storage: RolloutStorage,
        sets: Mapping[str, list],
        num_learning_epochs: int = 5,
        num_mini_batches: int = 4,
        clip_param: float = 0.2,
        gamma: float = 0.99,
        lam: float = 0.95,
        value_loss_coef: float = 1.0,
        entropy_coef: float = 0.01,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
        optimizer: str = "adam",
        use_clipped_value_loss: bool = True,
        schedule: str = "adaptive",
        desired_kl: float | None = 0.01,
        normalize_advantage_per_mini_batch: bool = False,
        use_mixed_precision: bool | None = False,
        device: str = "cpu",
        symmetry: Symmetry | None = None,
        multi_gpu_cfg: Mapping[str, int] | None = None,
        grad_reduce_bucket_mb: float = 25,
        clip_jointly: bool = False,
        kl_epsilon: float = 0.0,
    ) -> None:
        """Hold network, storage and settings; option names and defaults are those of rsl-rl-lib 5.5.

        Args:
            network: an `ActorCritic`.
            storage: an empty rollout.
            sets: observation set -> groups of the environment's observations.
            num_learning_epochs: passes over the rollout per update.
            num_mini_batches: gradient steps per pass.
            clip_param: half width of the trust interval of ratios, and of values.
            gamma: discount factor per step.
            lam: lambda of the generalised advantages.
            value_loss_coef: weight of the value loss.
            entropy_coef: weight of the entropy bonus.
            learning_rate: of actor and critic; the start when the schedule is adaptive.
            max_grad_norm: gradients of actor and of critic are clipped to it, each on its own.
            optimizer: adam, adamw, sgd or rmsprop.
            use_clipped_value_loss: keep new values within `clip_param` of the old ones.
            schedule: "adaptive" steers the learning rate by the KL of each step, "fixed" keeps it.
            desired_kl: what the adaptive schedule aims at.
            normalize_advantage_per_mini_batch: instead of once over the whole rollout.
            use_mixed_precision: run the losses under bfloat16 autocast, as in rsl-rl-lib. None does so where the processor multiplies bfloat16
                natively and nowhere else, and keeps means and values in float32.
            device: where networks and storage live.
            symmetry: mirror images to learn from.
            multi_gpu_cfg: `global_rank` and `world_size` of a distributed training.
            grad_reduce_bucket_mb: size of the messages that average gradients over processes [MiB].
            clip_jointly: clip the gradients of actor and critic as one, as rsl_rl 1.0.2 does.
            kl_epsilon: see `losses.gaussian_kl`; with the 1e-5 of rsl_rl 1.0.2 the adaptive schedule raises the learning rate in the first
                step of every update.
        """
        if schedule not in ("adaptive", "fixed"):
            raise ValueError(f"algorithm.schedule '{schedule}': expected adaptive or fixed")
        if optimizer not in OPTIMIZERS:
            raise ValueError(f"algorithm.optimizer '{optimizer}': expected one of {', '.join(OPTIMIZERS)}")
        if num_learning_epochs < 1 or num_mini_batches < 1:
            raise ValueError(
                f"algorithm.num_learning_epochs={num_learning_epochs}, num_mini_batches={num_mini_batches}: expected at least 1"
            )
        self.network, self.storage, self.device = network.to(device), storage, device
        self.sets = {name: list(groups) for name, groups in sets.items()}
        self.groups = list(dict.fromkeys(group for groups in self.sets.values() for group in groups))
        taken = RESERVED & set(self.groups)
        if taken:
            raise ValueError(
                f"observation groups {sorted(taken)}: these names are used by the storage; rename the groups"
            )
        self.num_learning_epochs, self.num_mini_batches = num_learning_epochs, num_mini_batches
        self.clip_param, self.gamma, self.lam = clip_param, gamma, lam
        self.value_loss_coef, self.entropy_coef, self.max_grad_norm = value_loss_coef, entropy_coef, max_grad_norm
        self.use_clipped_value_loss = use_clipped_value_loss
        automatic = use_mixed_precision is None
        self.use_mixed_precision = multiplies_bfloat16(device) if automatic else bool(use_mixed_precision)
        for module in network.modules():
            if isinstance(module, MLP):
                module.float_output = automatic  # True is what it is in rsl-rl-lib, to the bit
        self.adaptive, self.desired_kl = schedule == "adaptive" and desired_kl is not None, desired_kl or 0.0
        self.normalize_advantage_per_mini_batch = normalize_advantage_per_mini_batch
        self.learning_rate = learning_rate
        self.symmetry, self.processes = symmetry, Processes(multi_gpu_cfg, grad_reduce_bucket_mb)
        self._check_samples()
        self.optimizer = getattr(torch.optim, OPTIMIZERS[optimizer])(self._parameter_groups(), lr=learning_rate)
        self.clip_jointly, self.kl_epsilon = clip_jointly, kl_epsilon
        self.policy = Policy(self.network, self.sets)
        self.updates = 0  # made so far
        self._transition: dict = {}

    def _check_samples(self) -> None:
        """The deviation of one advantage is no number, and would make every weight none."""
        steps, envs, batches = self.storage.num_steps, self.storage.num_envs, self.num_mini_batches
        alone = self.normalize_advantage_per_mini_batch
        if steps * envs // (batches if alone else 1) * self.processes.count < 2:
            where = f"a minibatch of {batches}" if alone else "a rollout"
            raise ValueError(
                f"{where} of {steps} steps in {envs} environments has less than 2 samples, whose advantages cannot be "
                "standardised: train with more environments or steps"
            )

    def _parameter_groups(self) -> list:
        """One group for PPO; its learning rate is the one that the schedule moves."""
        return [{"params": [*self.network.actor_parameters(), *self.network.critic_parameters()]}]

    # -- rollout -----------------------------------------------------------------------------------------------------

    def raw_sets(self, observations: Tensors) -> dict[str, torch.Tensor]:
        """Observation sets (B, dim) joined from groups, not normalised."""
        return {name: join(observations, self.sets[name]) for name in self.network.dims}

    @torch.no_grad()
    def act(self, obs: Tensors) -> torch.Tensor:
        """Sample actions (N, A) for the observation groups and remember the transition so far."""
        inputs = self.network.inputs(self.raw_sets(obs))
        mean = self.acting_mean(obs, inputs)
        std = self.network.std().expand_as(mean)
        actions = torch.normal(mean, std)
        self._transition.update(
            {group: obs[group] for group in self.groups},
            actions=actions,
            values=self.network.value(inputs),
            log_prob=losses.gaussian_log_prob(mean, std, actions),
            mean=mean,
            std=std,
        )
        return actions

    def acting_mean(self, obs: Tensors, inputs: Tensors) -> torch.Tensor:
        """Mean actions (N, A) of whoever acts; may add to `_transition` what the update needs."""
        return self.network.policy_mean(inputs)

    @torch.no_grad()
    def process_env_step(self, obs: Tensors, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping) -> None:
        """Store the step: rewards and dones (N,); a time-out is bootstrapped with the value of the last state seen."""
        if "time_outs" in extras:
            cut_off = self._transition["values"][:, 0] * extras["time_outs"].to(self.device)
            rewards = rewards + self.gamma * cut_off
        self.storage.add(rewards=rewards[:, None], dones=dones, **self._transition)
        self._transition = {}

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

    def last_values(self, obs: Tensors) -> torch.Tensor:
        """Values (N, 1) of the state after the rollout; reads the critic's groups only."""
        critic = join(obs, self.sets["critic"])
        return self.network.value({"critic": self.network.normalizers["critic"](critic)})

    def normalize_advantages(self, advantages: torch.Tensor) -> torch.Tensor:
        """Advantages (S, N, 1) of the rollout, standardised."""
        return self.processes.standardize(advantages)

    # -- update ------------------------------------------------------------------------------------------------------

    def update(self) -> dict[str, float]:
        """Learn from the stored rollout; returns mean losses by name."""
        samples, images = self._prepare()
        figures = [self._gradient_step(batch) for batch in self._mini_batches(samples, images)]
        result = mean_figures(figures)
        result.update(self.after_update())
        self._update_normalizers()
        self.storage.clear()
        self.updates += 1
        return result

    def _prepare(self) -> tuple:
        """All samples of the rollout in the order of this update's minibatches: what the epochs do is slicing.

        Returns:
            Values (M, ...) that mirroring does not change, and values (K M, ...) of the samples and their K - 1 images, where every minibatch
            holds its originals first.
        """
        storage, rows = self.storage, self.sample_rows()
        samples = {name: storage.flat(name)[rows] for name in self.sample_names}
        samples["returns"], samples["advantages"] = (x.flatten(0, 1)[rows] for x in (self.returns, self.advantages))
        groups = {group: values[rows] for group, values in self.stored_frames().items()}
        actions = storage.flat("actions")[rows]
        if self.symmetry is not None:
            actions = self.symmetry.actions(actions)
            count = len(actions) // len(rows)
            groups = {name: self._by_mini_batch(x, count) for name, x in self.symmetry.observations(groups).items()}
            actions = self._by_mini_batch(actions, count)
        images = self.network.inputs(self.raw_sets(groups))
        images["actions"] = actions
        images.update(self.extra_samples(rows, len(actions) // len(rows)))
        return samples, images

    def sample_rows(self) -> torch.Tensor:
        """Rows (M,) of the rollout, shuffled: what is learnt from in this update, minibatch after minibatch."""
        return self.storage.permutation(self.num_mini_batches)

    def stored_frames(self) -> dict[str, torch.Tensor]:
        """Observation groups (S N, d) of the rollout, without the windows (N, T, d) that an environment may show."""
        return {group: self.storage.flat(group) for group in self.groups if self.storage[group].dim() == 3}

    def _by_mini_batch(self, values: torch.Tensor, images: int) -> torch.Tensor:
        """(K M, ...) image after image -> (K M, ...) minibatch after minibatch; `images` is K."""
        parts = values.unflatten(0, (images, self.num_mini_batches, -1))
        return parts.transpose(0, 1).flatten(0, 2)

    def extra_samples(self, rows: torch.Tensor, images: int) -> dict[str, torch.Tensor]:
        """More values (images * M, ...) for the samples at `rows` (M,), in the order of `_by_mini_batch`."""
        return {}

    def _mini_batches(self, samples: Tensors, images: Tensors) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.num_learning_epochs):
            for index in range(self.num_mini_batches):
                batch = {}
                for source in (samples, images):
                    for name, value in source.items():
                        size = len(value) // self.num_mini_batches
                        batch[name] = value[index * size : (index + 1) * size]
                yield batch

    def policy_mean(self, batch: Tensors) -> torch.Tensor:
        """Mean actions (B, A) for a minibatch, by the same path that acted."""
        return self.network.policy_mean(batch)

    def surrogate(self, per_sample: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """The policy loss from the clipped surrogate of each sample (B,)."""
        return per_sample.mean()

    def auxiliary_losses(self, batch: Tensors, policy_loss: torch.Tensor) -> dict[str, tuple[float, torch.Tensor]]:
        """Further losses of a minibatch: name -> weight and value; `policy_loss` is what they are added to."""
        return {}

    def kl_rows(self, kl: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """The samples (B,) whose KL steers the learning rate."""
        return kl

    def _gradient_step(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """One minibatch: losses, gradients, step. Returns figures to log."""
        originals = len(batch["log_prob"])
        if self.normalize_advantage_per_mini_batch:
            batch["advantages"] = self.processes.standardize(batch["advantages"])
        with self._autocast():
            mean = self.policy_mean(batch)
            std = self.network.std().expand_as(mean)
            # The order of these lines is the order in which gradients are summed: that of rsl-rl-lib, for equal bits.
            log_prob = losses.gaussian_log_prob(mean, std, batch["actions"])
            values = self.network.value(batch)
            entropy = losses.gaussian_entropy(std)[:originals].mean()
            if self.adaptive:
                self._adapt_learning_rate(batch, mean[:originals], std[:originals])
            policy_loss, value_loss = self._ppo_losses(batch, log_prob, values)
            loss = policy_loss + self.value_loss_coef * value_loss - self.entropy_coef * entropy
            figures = {"value": value_loss, "surrogate": policy_loss, "entropy": entropy}
            for name, (weight, auxiliary) in self.auxiliary_losses(batch, policy_loss).items():
                figures[name] = auxiliary
                if weight > 0.0:
                    loss = loss + weight * auxiliary
            if self.symmetry is not None and len(mean) > originals:
                figures["symmetry"] = self.symmetry.loss(mean, originals)
                if self.symmetry.use_mirror_loss:
                    loss = loss + self.symmetry.mirror_loss_coeff * figures["symmetry"]
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.step()
        return {name: value.detach() for name, value in figures.items()}

    def _ppo_losses(self, batch: Tensors, log_prob: torch.Tensor, values: torch.Tensor) -> tuple:
        """Policy and value loss over the samples and, with augmentation, their images, which share the old figures."""
        originals = len(batch["log_prob"])
        augment = self.symmetry is not None and self.symmetry.use_data_augmentation
        used = len(log_prob) if augment else originals
        times = used // originals
        per_sample = self.clipped_surrogate(log_prob[:used], batch)
        value_loss = losses.value_loss(
            values[:used],
            batch["values"].repeat(times, 1),
            batch["returns"].repeat(times, 1),
            self.clip_param if self.use_clipped_value_loss else None,
        )
        return self.surrogate(per_sample, batch), value_loss

    def clipped_surrogate(self, log_prob: torch.Tensor, batch: Tensors) -> torch.Tensor:
        """PPO's loss per sample (K B,), against the policy that acted, for log-probabilities of the samples and K - 1 images."""
        advantages = batch["advantages"][:, 0]
        times = len(log_prob) // len(advantages)
        return losses.surrogate_losses(
            log_prob, batch["log_prob"].repeat(times), advantages.repeat(times), self.clip_param
        )

    def _autocast(self) -> Any:
        device = torch.device(self.device).type
        return torch.autocast(device_type=device, dtype=torch.bfloat16, enabled=self.use_mixed_precision)

    @torch.no_grad()
    def _adapt_learning_rate(self, batch: Tensors, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Shrink the learning rate after steps that changed the policy too much, raise it after timid ones."""
        kl = losses.gaussian_kl(batch["mean"], batch["std"], mean, std, self.kl_epsilon)
        kl = float(self.processes.mean(self.kl_rows(kl, batch).mean()))
        if kl > self.desired_kl * 2.0:
            self.set_learning_rate(max(MIN_LEARNING_RATE, self.learning_rate / 1.5))
        elif 0.0 < kl < self.desired_kl / 2.0:
            self.set_learning_rate(min(MAX_LEARNING_RATE, self.learning_rate * 1.5))

    def set_learning_rate(self, learning_rate: float) -> None:
        """What the schedule decided, for actor and critic."""
        self.learning_rate = learning_rate
        self.optimizer.param_groups[0]["lr"] = learning_rate

    def step(self) -> None:
        """Average the gradients over processes, clip actor and critic, and let the optimizer step."""
        actor, critic = self.network.actor_parameters(), self.network.critic_parameters()
        self.processes.average_gradients([*actor, *critic])
        for parameters in ([*actor, *critic],) if self.clip_jointly else (actor, critic):
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()

    def after_update(self) -> dict[str, float]:
        """What a method learns from the same rollout when PPO is done; more figures to log."""
        return {}

    def _update_normalizers(self) -> None:
        self.network.update_normalization(self.raw_sets(self.stored_frames()))
