"""Student-informed teacher training (arXiv 2412.09149): the teacher pays for what its student cannot imitate."""

from __future__ import annotations

import math
from typing import Any

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.alignment import DISTANCES, Alignment
from rsl_rl_ult.algorithms.penalty import SIGNS, Penalty
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS
from rsl_rl_ult.algorithms.rollout_state import Decision, Step
from rsl_rl_ult.algorithms.student import RolloutWindows
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_sitt import ActorCriticSITT, SITTBatch, SITTEvaluation
from rsl_rl_ult.storage import by_minibatch

TEACHER_TERMS = ("action_kl", "feature_l1")
KL_POLICIES = ("proxy", "student")


class PPO_SITT(PPO_TS):  # noqa: N801
    """The teacher acts and is PPO; its rewards and its encoder also know how far the student is behind.

    With `kl_weight` and `teacher_weight` 0 the teacher is that of `PPO_TS`, bit for bit.
    """

    network_class = ActorCriticSITT
    stored_names = ("kl",)
    regression_class = Alignment
    can_compile = False  # `_action_kl` stops its gradient at the latent

    def __init__(
        self,
        *args: Any,
        kl_weight: float = 0.05,
        kl_sign: str = "penalty",
        kl_clip: float | None = 2.0,
        kl_delay: int | None = 0,
        kl_warmup: int = 50,
        kl_policy: str = "proxy",
        kl_sigma_grad: bool = False,
        teacher_term: str = "action_kl",
        teacher_weight: float = 0.1,
        alignment_loss: str = "mse",
        proxy_learning_rate: float = 1e-3,
        student_loss: str = "action_latent",
        **ts: Any,
    ) -> None:
        """Settings of what the teacher knows of its student; everything else is that of `PPO_TS`.

        Args:
            args: network, storage and sets of `PPO`.
            kl_weight: reward that a nat of KL(teacher || student) costs in each step; the paper's lambda1.
            kl_sign: "penalty"; "bonus" adds it instead, as the published code does.
            kl_clip: nats at most that a step is charged for; None for no bound.
            kl_delay: updates before the weight begins to rise from 0; None waits until the alignment has levelled off.
            kl_warmup: updates in which it then rises linearly.
            kl_policy: whom the teacher is compared with: "proxy", or "student" itself.
            kl_sigma_grad: let "action_kl" move the deviation of the actions too: a larger one is a smaller KL.
            teacher_term: what the teacher's encoder minimises besides PPO's losses: "action_kl", the KL (paper), or
                "feature_l1", the mean absolute difference of the latents (published code).
            teacher_weight: its weight; the paper's lambda2.
            alignment_loss: "mse" or "l1", of student and proxy.
            proxy_learning_rate: of E_proxy. That of E_hist is `encoder_learning_rate`, as in `PPO_TS`; the steps of the
                alignment are `num_encoder_steps`, in `num_encoder_mini_batches` parts.
            student_loss: "latent" aligns the latents alone, "action_latent" also the mean actions.
            ts: options of `PPO_TS` and `PPO`.
        """
        for name, value in (("kl_weight", kl_weight), ("teacher_weight", teacher_weight), ("kl_warmup", kl_warmup)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"algorithm.{name}={value}: expected a number of at least 0")
        for name, choice, known in (
            ("kl_sign", kl_sign, tuple(SIGNS)),
            ("kl_policy", kl_policy, KL_POLICIES),
            ("teacher_term", teacher_term, TEACHER_TERMS),
            ("alignment_loss", alignment_loss, tuple(DISTANCES)),
        ):
            if choice not in known:
                raise ValueError(f"algorithm.{name} '{choice}': expected {' or '.join(known)}")
        if kl_delay is not None and not kl_delay >= 0:
            raise ValueError(f"algorithm.kl_delay={kl_delay}: expected a number of updates of at least 0, or None")
        if kl_clip is not None and not kl_clip > 0.0:
            raise ValueError(f"algorithm.kl_clip={kl_clip}: expected a positive number of nats, or None")
        self.alignment_loss, self.kl_policy, self.proxy_learning_rate = alignment_loss, kl_policy, proxy_learning_rate
        super().__init__(*args, student_loss=student_loss, **ts)
        if kl_sigma_grad and not list(self.network.std.parameters()):
            raise ValueError("algorithm.kl_sigma_grad=True: a categorical policy has no deviation; expected False")
        if self.regression.num_steps == 0 and (kl_weight > 0.0 or teacher_weight > 0.0):
            raise ValueError(
                f"algorithm.num_encoder_steps=0: the teacher would follow a {kl_policy} that never learns; expected at "
                "least 1, or kl_weight=0 and teacher_weight=0"
            )
        self.kl_sigma_grad, self.teacher_term, self.teacher_weight = kl_sigma_grad, teacher_term, teacher_weight
        self.penalty = Penalty(kl_weight, kl_sign, kl_clip, kl_delay, kl_warmup)
        self.states.append(self.penalty)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """E_proxy has a learning rate of its own, too."""
        proxy = {"params": self.network.proxy_parameters(), "lr": self.proxy_learning_rate}
        policy, student = super().parameter_groups()
        return [policy, {**proxy, "lr_name": "proxy_learning_rate"}, student]

    def use_teacher(self, teacher: Any, obs: Tensors) -> None:
        """SITT is about what a teacher learns: one that does not learn would leave it nothing to shape."""
        raise ValueError(
            "PPO_SITT shapes its teacher while that learns: train a student of a loaded one with PPO_TS or PPO_RMA"
        )

    # -- rollout -----------------------------------------------------------------------------------------------------

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """The teacher acts; how far it is from whom it is compared with is stored."""
        network, window = self.network, None
        if self.kl_policy == "student":
            window = network.normalizers["actor"](self.windows.append(obs))
        mean = network.policy_mean(inputs)
        latent = network.proxy_latent(inputs) if window is None else network.student_latent(window)
        kl = network.policy_kl(mean, network.head(inputs, latent))
        return Decision(mean, network.value(inputs), {"kl": kl})

    def shape_rewards(self, rewards: torch.Tensor, step: Step) -> torch.Tensor:
        """The teacher pays for the KL of the step."""
        self.penalty.begin(self.updates)
        return self.penalty.shape(rewards, step.decision.stored["kl"])

    # -- update ------------------------------------------------------------------------------------------------------

    def make_batch(self, rows: torch.Tensor) -> SITTBatch:
        """Also the latents that the teacher's are compared with; PPO's steps change none of them."""
        batch = super().make_batch(rows)
        return SITTBatch(**vars(batch), imitated=self._imitated(batch, rows) if self.teacher_weight > 0.0 else None)

    @torch.no_grad()
    def _imitated(self, batch: Any, rows: torch.Tensor) -> torch.Tensor:
        """(K M, L) in the order of the minibatches."""
        if self.kl_policy == "proxy":
            return self.network.proxy_latent(batch.inputs)
        copies, count = len(batch.actions) // len(rows), self.num_mini_batches
        windows, samples = RolloutWindows(self, mirrored=copies > 1), self.storage.num_steps * self.storage.num_envs
        parts = [part + copy * samples for copy in range(copies) for part in rows.chunk(count)]
        latents = [self.network.student_latent(windows.cut(part)) for part in parts]
        return by_minibatch(torch.cat(latents), copies, count)

    def auxiliary_losses(
        self, batch: SITTBatch, evaluation: SITTEvaluation, policy_loss: torch.Tensor
    ) -> dict[str, tuple[float, torch.Tensor]]:
        """The teacher's distance, whose gradient reaches E_priv alone: the decoder is not to make policies alike."""
        if batch.imitated is None:
            return {}
        if self.teacher_term == "feature_l1":
            found = losses.absolute_loss(evaluation.latent, batch.imitated)
        else:
            found = self._action_kl(batch, evaluation, batch.imitated)
        return {self.teacher_term: (self.teacher_weight, found)}

    def _action_kl(self, batch: SITTBatch, evaluation: SITTEvaluation, imitated: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            other = self.network.head(batch.inputs, imitated)
        std = evaluation.std if self.kl_sigma_grad else evaluation.std.detach()
        kl = self.network.policy_kl(evaluation.mean, other, std).mean()
        return losses.gradient_through(kl, [evaluation.latent, *([std] if self.kl_sigma_grad else [])])

    def after_update(self) -> dict[str, float]:
        """Student and proxy are aligned with the teacher as it is now."""
        metrics = self.train_student()
        if metrics:
            loss = torch.tensor(sum(metrics.values()), device=self.device)
            self.penalty.follow(float(self.processes.mean(loss)), self.updates)  # all processes decide alike
        return {**metrics, "sigma": float(self.network.std().detach().mean())}
