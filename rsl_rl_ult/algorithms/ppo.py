"""The one PPO loop. Every method is this loop plus what its own file says.

It speaks the protocol of rsl-rl-lib 5.x's `OnPolicyRunner` and gives bit-equal weights to its `PPO` (tests/test_ppo_faithful.py), in less time:
rollouts are shuffled, mirrored and normalised once per update instead of once per minibatch and epoch.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.algorithms.figures import mean_figures
from rsl_rl_ult.algorithms.processes import Processes
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.policies import Policy, join
from rsl_rl_ult.storage import RolloutStorage

MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-5, 1e-2
"""Bounds of the adaptive schedule, those of rsl-rl-lib."""

RESERVED = {
    *("actions", "values", "log_prob", "mean", "std", "rewards", "dones"),
    *("student_latent", "last_actions", "teacher"),
}
"""Names in the rollout that no observation group may have."""

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop"}

Tensors = Mapping[str, torch.Tensor]


class PPO:
    """Proximal policy optimisation (Schulman et al. 2017) with an adaptive learning rate.

    Hooks of the methods: `acting_mean` (who acts), `sample_rows`, `extra_samples`, `policy_mean`, `surrogate`, `auxiliary_losses`,
    `normalize_advantages`, `kl_rows`, `last_values`, and `after_update`.
    """

    network_class: type = ActorCritic
    """What `actor.class_name` may name, and the default."""

    needed_sets: tuple = ("actor", "critic")
    """Observation sets that must be configured."""

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
        use_mixed_precision: bool = False,
        device: str = "cpu",
        symmetry: Symmetry | None = None,
        multi_gpu_cfg: Mapping[str, int] | None = None,
        grad_reduce_bucket_mb: float = 25,
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
            use_mixed_precision: run the losses under bfloat16 autocast.
            device: where networks and storage live.
            symmetry: mirror images to learn from.
            multi_gpu_cfg: `global_rank` and `world_size` of a distributed training.
            grad_reduce_bucket_mb: size of the messages that average gradients over processes [MiB].
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
        self.use_clipped_value_loss, self.use_mixed_precision = use_clipped_value_loss, use_mixed_precision
        self.adaptive, self.desired_kl = schedule == "adaptive" and desired_kl is not None, desired_kl or 0.0
        self.normalize_advantage_per_mini_batch = normalize_advantage_per_mini_batch
        self.learning_rate = learning_rate
        self.symmetry, self.processes = symmetry, Processes(multi_gpu_cfg, grad_reduce_bucket_mb)
        self.optimizer = getattr(torch.optim, OPTIMIZERS[optimizer])(self._parameter_groups(), lr=learning_rate)
        self.policy = Policy(self.network, self.sets)
        self._transition: dict = {}

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
        """Values (N, 1) of the state after the rollout."""
        return self.network.value(self.network.inputs(self.raw_sets(obs)))

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
        return result

    def _prepare(self) -> tuple:
        """All samples of the rollout in the order of this update's minibatches: what the epochs do is slicing.

        Returns:
            Values (M, ...) that mirroring does not change, and values (K M, ...) of the samples and their K - 1 images, where every minibatch
            holds its originals first.
        """
        storage, rows = self.storage, self.sample_rows()
        samples = {name: storage.flat(name)[rows] for name in ("values", "log_prob", "mean", "std")}
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
        kl = losses.gaussian_kl(batch["mean"], batch["std"], mean, std)
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
        nn.utils.clip_grad_norm_(actor, self.max_grad_norm)
        nn.utils.clip_grad_norm_(critic, self.max_grad_norm)
        self.optimizer.step()

    def after_update(self) -> dict[str, float]:
        """What a method learns from the same rollout when PPO is done; more figures to log."""
        return {}

    def _update_normalizers(self) -> None:
        self.network.update_normalization(self.raw_sets(self.stored_frames()))

    # -- the rest of the runner protocol -----------------------------------------------------------------------------

    def train_mode(self) -> None:
        """Put the networks into training mode."""
        self.network.train()

    def eval_mode(self) -> None:
        """Put the networks into evaluation mode."""
        self.network.eval()

    def get_policy(self) -> Policy:
        """The policy to deploy: observation groups (N, ...) -> actions (N, A); with `reset`, `as_jit` and `as_onnx`."""
        return self.policy

    def inference_policies(self) -> dict[str, Policy]:
        """Every policy worth evaluating, by name."""
        return {"policy": self.policy}

    def broadcast_parameters(self) -> None:
        """Give all processes the networks of the first."""
        self.processes.broadcast(self.network.state_dict().values())

    def save(self) -> dict[str, Any]:
        """Networks, optimizer and the method's name."""
        return {
            "method": type(self).__name__,
            "model_state_dict": self.network.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
        }

    def load(
        self, loaded_dict: Mapping[str, Any], load_cfg: Mapping[str, bool] | None = None, strict: bool = True
    ) -> bool:
        """Take over what `save` returned; `load_cfg` chooses among actor, critic, optimizer and iteration (all by default).

        Returns:
            Whether the runner should continue at the saved iteration.
        """
        wanted = {"actor": True, "critic": True, "optimizer": True, "iteration": True} if load_cfg is None else load_cfg
        method = loaded_dict.get("method", "another algorithm")
        if method != type(self).__name__:
            raise ValueError(
                f"the checkpoint was written by {method}, this is {type(self).__name__}: name a checkpoint of the same method"
            )
        if wanted.get("actor") or wanted.get("critic"):
            if strict:
                construct.check_shapes(loaded_dict["model_state_dict"], self.network.state_dict())
            self.network.load_state_dict(loaded_dict["model_state_dict"], strict=strict)
        if wanted.get("optimizer"):
            self.optimizer.load_state_dict(loaded_dict["optimizer_state_dict"])
            self.learning_rate = self.optimizer.param_groups[0]["lr"]
        return bool(wanted.get("iteration"))

    def rollout_state(self) -> dict[str, Any]:
        """What a training that continues exactly needs besides networks and optimizer: frames that histories reach back to."""
        return {"storage": self.storage.state_dict()}

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        self.storage.load_state_dict(state["storage"])

    # -- construction ------------------------------------------------------------------------------------------------

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """Observation group -> frames from before the rollout that must be kept."""
        return {}

    @classmethod
    def network_sizes(cls, dims: Mapping[str, int]) -> dict[str, int]:
        """Positional sizes of the network class, from the columns of each observation set."""
        return {"num_actor_obs": dims["actor"], "num_critic_obs": dims["critic"]}

    @staticmethod
    def construct_algorithm(obs: Tensors, env: Any, cfg: Mapping[str, Any], device: str) -> PPO:
        """Build network, storage and algorithm from a 5.x configuration; `cfg` is not changed.

        Args:
            obs: observation groups of the environment (N, ...).
            env: the host's environment: `num_envs`, `num_actions`.
            cfg: sections `algorithm`, `actor`, `critic`, `obs_groups`, and `num_steps_per_env`.
            device: where to learn.
        """
        return construct.make_algorithm(obs, env, cfg, device)

    @classmethod
    def make_network(cls, obs: Tensors, num_actions: int, cfg: Mapping[str, Any]) -> tuple:
        """The network that `actor.class_name` names, and the observation sets it reads."""
        return construct.make_network(cls, obs, num_actions, cfg)
