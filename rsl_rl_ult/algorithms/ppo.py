"""Proximal policy optimisation: the clipped surrogate, the value loss and the adaptive learning rate.

It gives bit-equal weights to rsl-rl-lib 5.x's `PPO` (tests/rsl_rl_ult/algorithms/test_ppo_faithful.py), in less time:
rollouts are shuffled, mirrored and normalised once per update instead of once per minibatch and epoch.
"""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.on_policy import OnPolicyAlgorithm
from rsl_rl_ult.modules.actor_critic import Evaluation
from rsl_rl_ult.storage import Batch, RolloutStorage

MIN_LEARNING_RATE, MAX_LEARNING_RATE = 1e-5, 1e-2
"""Bounds of the adaptive schedule, those of rsl-rl-lib."""

KL_SOURCES = ("all", "teacher")
"""Of methods with a teacher and a student: the samples whose KL steers the learning rate."""


class PPO(OnPolicyAlgorithm):
    """PPO (Schulman et al. 2017) with an adaptive learning rate.

    Two hooks more than its base has: `surrogate` and `auxiliary_losses`.
    """

    can_compile = True

    def __init__(
        self,
        network: Any,
        storage: RolloutStorage,
        sets: Mapping[str, list],
        clip_param: float = 0.2,
        value_loss_coef: float = 1.0,
        entropy_coef: float = 0.01,
        use_clipped_value_loss: bool = True,
        schedule: str = "adaptive",
        desired_kl: float | None = 0.01,
        kl_epsilon: float = 0.0,
        **options: Any,
    ) -> None:
        """Hold network, storage and settings; option names and defaults are those of rsl-rl-lib 5.5.

        Args:
            network: an `ActorCritic`.
            storage: an empty rollout.
            sets: observation set -> groups of the environment's observations.
            clip_param: half width of the trust interval of ratios, and of values.
            value_loss_coef: weight of the value loss.
            entropy_coef: weight of the entropy bonus.
            use_clipped_value_loss: keep new values within `clip_param` of the old ones.
            schedule: "adaptive" steers the learning rate by the KL of each step, "fixed" keeps it.
            desired_kl: what the adaptive schedule aims at.
            kl_epsilon: see `losses.gaussian_kl`; with the 1e-5 of rsl_rl 1.0.2 the adaptive schedule raises the
                learning rate in the first step of every update.
            options: options of `OnPolicyAlgorithm`.
        """
        if schedule not in ("adaptive", "fixed"):
            raise ValueError(f"algorithm.schedule '{schedule}': expected adaptive or fixed")
        self.clip_param, self.value_loss_coef, self.entropy_coef = clip_param, value_loss_coef, entropy_coef
        self.use_clipped_value_loss, self.kl_epsilon = use_clipped_value_loss, kl_epsilon
        self.adaptive, self.desired_kl = schedule == "adaptive" and desired_kl is not None, desired_kl or 0.0
        super().__init__(network, storage, sets, **options)

    # -- hooks -------------------------------------------------------------------------------------------------------

    def surrogate(self, per_sample: torch.Tensor, batch: Batch, evaluation: Evaluation) -> torch.Tensor:
        """The policy loss () from the clipped surrogate of each sample (B,), or (K B,) with augmentation."""
        return per_sample.mean()

    def auxiliary_losses(
        self, batch: Batch, evaluation: Evaluation, policy_loss: torch.Tensor
    ) -> dict[str, tuple[float, torch.Tensor]]:
        """Further losses of a minibatch: name -> weight and value (); `policy_loss` () is what they are added to."""
        return {}

    # -- losses ------------------------------------------------------------------------------------------------------

    def compute_loss(self, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Surrogate, value loss, entropy bonus, and what methods and symmetry add to them."""
        evaluation = self.evaluate(batch)
        mean, std, distribution = evaluation.mean, evaluation.std, self.network.distribution
        # The order of these lines is the order in which gradients are summed: that of rsl-rl-lib, for equal bits.
        log_prob = distribution.log_prob(mean, std, batch.actions)
        entropy = batch.originals(distribution.entropy(mean, std)).mean()
        if self.adaptive:
            self._adapt_learning_rate(batch, evaluation)
        policy_loss, value_loss = self._ppo_losses(batch, evaluation, log_prob)
        loss = policy_loss + self.value_loss_coef * value_loss - self.entropy_coef * entropy
        metrics = {"value": value_loss, "surrogate": policy_loss, "entropy": entropy}
        for name, (weight, auxiliary) in self.auxiliary_losses(batch, evaluation, policy_loss).items():
            metrics[name] = auxiliary
            if weight > 0.0:
                loss = loss + weight * auxiliary
        if self.symmetry is not None and len(mean) > len(batch):
            metrics["symmetry"] = self.symmetry.loss(batch.originals(mean), batch.mirrored(mean))
            if self.symmetry.use_mirror_loss:
                loss = loss + self.symmetry.mirror_loss_coeff * metrics["symmetry"]
        return loss, metrics

    def _ppo_losses(
        self, batch: Batch, evaluation: Evaluation, log_prob: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Policy and value loss over the samples and, with augmentation, the mirrored ones."""
        augment = self.symmetry is not None and self.symmetry.use_data_augmentation
        used = len(log_prob) if augment else len(batch)
        times, acted = used // len(batch), batch.acted
        value_loss = losses.value_loss(
            evaluation.value[:used],
            acted.values.repeat(times, 1),
            acted.returns.repeat(times, 1),
            self.clip_param if self.use_clipped_value_loss else None,
        )
        per_sample = self.clipped_surrogate(log_prob[:used], acted.log_prob, acted.advantages)
        return self.surrogate(per_sample, batch, evaluation), value_loss

    def clipped_surrogate(
        self,
        log_prob: torch.Tensor,
        old_log_prob: torch.Tensor,
        advantages: torch.Tensor,
        log_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """PPO's loss per sample (K B,), where mirrored samples share old values with their originals.

        Args:
            log_prob: (K B,) of the samples, and of K - 1 mirrored ones each.
            old_log_prob: (B,) at acting time.
            advantages: (B, 1).
            log_weight: (K B,) logarithms of weights of the samples; None: all 1.
        """
        times = len(log_prob) // len(old_log_prob)
        repeated = log_prob, old_log_prob.repeat(times), advantages[:, 0].repeat(times), self.clip_param
        if log_weight is None:
            return losses.surrogate_losses(*repeated)
        return losses.weighted_surrogate_losses(*repeated, log_weight)

    @torch.no_grad()
    def _adapt_learning_rate(self, batch: Batch, evaluation: Evaluation) -> None:
        """Shrink the learning rate after steps that changed the policy too much, raise it after timid ones."""
        mean, std = batch.originals(evaluation.mean), batch.originals(evaluation.std)
        kl = self.network.distribution.kl(batch.acted.mean, batch.acted.std, mean, std, self.kl_epsilon)
        if batch.kl_rows is None:
            kl = float(self.processes.mean(kl.mean()))
        else:  # processes may have unequal shares of the chosen samples; where nobody has one, all samples count
            rows = batch.kl_rows.to(kl.dtype)
            sums = torch.stack(((kl * rows).sum(), rows.sum(), kl.mean()))
            chosen, count, everything = self.processes.mean(sums).tolist()
            kl = chosen / count if count else everything
        if kl > self.desired_kl * 2.0:
            self.set_learning_rate(max(MIN_LEARNING_RATE, self.learning_rate / 1.5))
        elif 0.0 < kl < self.desired_kl / 2.0:
            self.set_learning_rate(min(MAX_LEARNING_RATE, self.learning_rate * 1.5))
