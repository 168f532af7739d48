"""PPO of the Unified Locomotion Transformer (arXiv 2503.08997): one network is teacher and student at once."""

from __future__ import annotations

import math
from typing import Any, Mapping

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.metrics import GradientCosines
from rsl_rl_ult.algorithms.mixing import MetricsByActor, Mixing, schedule_iterations
from rsl_rl_ult.algorithms.ppo import KL_SOURCES, MAX_LEARNING_RATE, PPO
from rsl_rl_ult.algorithms.rollout_state import Decision
from rsl_rl_ult.algorithms.ult_rollout import ActingCache, trajectories
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT, Readouts, ULTBatch, ULTEvaluation
from rsl_rl_ult.policies.policy import Policy
from rsl_rl_ult.policies.policy_ult import CachedPolicy

IMITATION_LOSSES = ("mse", "kl")
POLICY_SAMPLES = ("acted", "student_from_teacher", "mixture")


class PPO_ULT(PPO):  # noqa: N801
    """PPO on whole trajectories, with next state-action prediction and action imitation in the same minibatch.

    L = L_surrogate + c_v L_value - c_e H + c_pred (mse(o^_{k+1}, o_{k+1}) + mse(a^_k, a_k)) + c_imit d(mu_S, sg(mu_T)).
    The rollout keeps keys and values of the past (two tokens per step), the update runs each environment's segment
    once; both see the same frames, so that all ratios are 1 before the first gradient step.
    """

    network_class = ActorCriticULT
    needed_sets = ("actor", "critic", "privileged")
    stored_names = ("last_actions", "teacher", "teacher_probability")
    context_names = ("last_actions",)
    samples_trajectories = True

    def __init__(
        self,
        *args: Any,
        mix_ratio: float = 0.5,
        mix_mode: str = "per_step",
        mix_schedule: str = "constant",
        mix_ratio_end: float = 0.0,
        mix_iterations: int | None = None,
        mix_seed: int = 0,
        student_share: float = 0.25,
        prediction_coef: float = 0.1,
        imitation_coef: float = 2.0,
        imitation_loss: str = "kl",
        policy_samples: str = "mixture",
        kl_source: str = "teacher",
        attention_lr_scale: float = 1.0,
        max_learning_rate: float = MAX_LEARNING_RATE,
        cosine_interval: int = 10,
        num_learning_epochs: int = 4,
        desired_kl: float | None = 0.02,
        use_mixed_precision: bool | None = None,
        entropy_coef: float = 0.001,
        **ppo: Any,
    ) -> None:
        """Settings of the method; the defaults are those of the task `go2_ult`.

        Args:
            args: network, storage and sets of `PPO`.
            mix_ratio: probability that the teacher acts, in [0, 1]; where the schedule starts.
            mix_mode: "per_step" draws who acts anew in every step, "per_episode" when an episode starts, "per_env"
                fixes it by index.
            mix_schedule: "constant", "linear" or "cosine".
            mix_ratio_end: where the schedule ends.
            mix_iterations: updates until it ends; None for the whole training, where the host says how long that is.
            mix_seed: of the generator that draws.
            student_share: share of the environments that the student drives alone, in [0, 1); `mix_ratio` is that of
                the others. In states that it reaches without help it learns what it needs once deployed.
            prediction_coef: c_pred.
            imitation_coef: c_imit.
            imitation_loss: d, per sample. "kl" of the Gaussians, the sum over actions of (difference / deviation)^2 /
                2; "mse", the mean over actions of difference^2. With A actions and deviation s the first is A / (2 s^2)
                times the second: 37.5 for 12 and 0.4.
            policy_samples: "acted" gives each read-out the samples that it acted; with "student_from_teacher" the
                student also learns from what the teacher acted; with "mixture" both learn from every sample. See
                `surrogate`; the last two need mix_mode "per_step".
            kl_source: "all" or "teacher", the samples whose KL steers the learning rate. Imitation moves the student
                about ten times as far as the policy gradient moves the teacher; with "all" the schedule answers with
                its smallest rate, and the teacher hardly learns.
            attention_lr_scale: learning rate of the transformer's blocks as a multiple of the others'.
            max_learning_rate: upper bound of the adaptive schedule.
            cosine_interval: updates between measurements of the cosines between the policy gradient and the auxiliary
                ones; 0 for never.
            num_learning_epochs: as in `PPO`.
            desired_kl: as in `PPO`.
            use_mixed_precision: as in `PPO`.
            entropy_coef: as in `PPO`.
            ppo: options of `PPO`.
        """
        for name, value, known in (
            ("imitation_loss", imitation_loss, IMITATION_LOSSES),
            ("policy_samples", policy_samples, POLICY_SAMPLES),
            ("kl_source", kl_source, KL_SOURCES),
        ):
            if value not in known:
                raise ValueError(f"algorithm.{name} '{value}': expected {' or '.join(known)}")
        for name, value in (("prediction_coef", prediction_coef), ("imitation_coef", imitation_coef)):
            if not (value >= 0.0 and math.isfinite(value)):
                raise ValueError(f"algorithm.{name}={value}: expected a number of at least 0")
        if policy_samples != "acted" and mix_mode in ("per_episode", "per_env"):
            raise ValueError(
                f"algorithm.policy_samples={policy_samples} needs mix_mode=per_step, found {mix_mode}: elsewhere the "
                "states that a read-out meets depend on who acts; choose policy_samples=acted"
            )
        if not attention_lr_scale > 0.0:
            raise ValueError(f"algorithm.attention_lr_scale={attention_lr_scale}: expected a positive number")
        if not 0.0 < max_learning_rate <= MAX_LEARNING_RATE:
            raise ValueError(
                f"algorithm.max_learning_rate={max_learning_rate}: expected a positive number of at most "
                f"{MAX_LEARNING_RATE}"
            )
        self.attention_lr_scale, self.max_learning_rate = attention_lr_scale, max_learning_rate
        super().__init__(
            *args,
            num_learning_epochs=num_learning_epochs,
            desired_kl=desired_kl,
            use_mixed_precision=use_mixed_precision,
            entropy_coef=entropy_coef,
            **ppo,
        )
        self.prediction_coef, self.imitation_coef, self.imitation_loss = prediction_coef, imitation_coef, imitation_loss
        self.policy_samples, self.kl_source = policy_samples, kl_source
        seed = mix_seed + self.processes.rank
        schedule = mix_mode, mix_schedule, mix_ratio_end, mix_iterations
        self.mixing = Mixing(self.storage.num_envs, mix_ratio, *schedule, seed, self.device, student_share)
        self.acting = ActingCache(self.network, self.storage, self.sets)
        self.by_actor = MetricsByActor()
        self.cosines = GradientCosines(cosine_interval, self.network.trunk_parameters())
        self.states += [self.mixing, self.acting, self.by_actor, self.cosines]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The transformer's blocks have a learning rate of their own."""
        attention = self.network.attention_parameters()
        blocks = {id(p) for p in attention}
        rest = [p for p in self.network.actor_parameters() if id(p) not in blocks] + self.network.critic_parameters()
        return [{"params": rest, "lr_scale": 1.0}, {"params": attention, "lr_scale": self.attention_lr_scale}]

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """The student reads what a robot can measure: it is the one to deploy."""
        return {role: CachedPolicy(network, sets, role) for role in ("teacher", "student")}

    @classmethod
    def host_options(cls, cfg: Mapping[str, Any]) -> dict[str, Any]:
        """As PPO's; a schedule without `mix_iterations` takes the whole training."""
        options = super().host_options(cfg)
        if options.get("mix_schedule", "constant") != "constant" and cfg.get("max_iterations") is not None:
            options["mix_iterations"] = schedule_iterations(
                options.get("mix_iterations"), cfg["max_iterations"], bool(cfg.get("resume"))
            )
        return options

    # -- rollout -----------------------------------------------------------------------------------------------------

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """Teacher or student acts in each environment."""
        readouts = self.acting.step(obs, inputs)
        self.mixing.updates = self.updates
        probability, teacher = self.mixing.probability(), self.mixing.draw()
        return Decision(
            readouts.acting(teacher),
            self.network.value(inputs, readouts.privileged_token),
            {"last_actions": self.acting.last_actions, "teacher": teacher, "teacher_probability": probability},
            None if self.policy_samples == "acted" else readouts.other(teacher),
        )

    def last_values(self, obs: Tensors) -> torch.Tensor:
        """Values (N, 1) of the state after the rollout."""
        if self.network.critic_input == "critic":
            return super().last_values(obs)
        inputs = self.network.inputs(self.raw_sets(obs))
        # This step will be taken again when the next rollout begins, with a cache filled anew.
        return self.network.value(inputs, self.acting.step(obs, inputs).privileged_token)

    # -- update ------------------------------------------------------------------------------------------------------

    def make_batch(self, rows: torch.Tensor) -> ULTBatch:
        """Also what a pass over the segments reads."""
        batch = super().make_batch(rows)
        if self.kl_source == "teacher":
            batch.kl_rows = self.storage.flat("teacher")[rows]
        return trajectories(batch, self.acting, rows, self.next_frames, self.symmetry, self.num_mini_batches)

    def surrogate(self, per_sample: torch.Tensor, batch: ULTBatch, evaluation: ULTEvaluation) -> torch.Tensor:
        """Mean over samples of the losses of the read-out that acted and, as `policy_samples` says, of the other one.

        Every read-out's ratio is the one to its *own* former policy, so that it is 1 before the first gradient step
        whoever acted, and clipping favours no direction. A read-out that did not act for certain weighs the sample by
        the probability that it would have been the one who acted, given the action. This replaces "who acted" by its
        expectation, so the expected gradient is that of "acted", with less variance; far apart read-outs hardly learn
        from each other's samples, equal ones share all of them.
        """
        if batch.other_log_prob is None:
            return per_sample.mean()
        used = len(per_sample)
        teacher = batch.teacher[:used]
        mean = torch.where(teacher[:, None], evaluation.readouts.student[:used], evaluation.readouts.teacher[:used])
        log_prob = losses.gaussian_log_prob(mean, self.network.std().expand_as(mean), batch.actions[:used])
        log_weight = self._other_log_weight(batch).repeat(used // len(batch))
        own_weight = 1.0 - log_weight.exp()
        if self.policy_samples == "student_from_teacher":  # the teacher learns from what it acted and from nothing else
            own_weight = torch.where(teacher, torch.ones_like(own_weight), own_weight)
            log_weight = torch.where(teacher, log_weight, torch.full_like(log_weight, -math.inf))
        other = self.clipped_surrogate(log_prob, batch.other_log_prob, batch.acted.advantages, log_weight)
        return (own_weight * per_sample + other).mean()

    def _other_log_weight(self, batch: ULTBatch) -> torch.Tensor:
        """(B,) log-probability that the read-out that did not act would have been the one to take the action."""
        assert batch.other_log_prob is not None
        log_prob = batch.acted.log_prob
        prior = torch.where(batch.originals(batch.teacher), 1.0 - batch.teacher_probability, batch.teacher_probability)
        return losses.log_responsibility(batch.other_log_prob, log_prob, prior)

    def auxiliary_losses(
        self, batch: ULTBatch, evaluation: ULTEvaluation, policy_loss: torch.Tensor
    ) -> dict[str, tuple[float, torch.Tensor]]:
        """Prediction of the next frame and of the action, imitation of the teacher's mean action."""
        readouts, weights = evaluation.readouts, (self.prediction_coef, self.imitation_coef)
        found = {"prediction": self._prediction_loss(readouts, batch), "imitation": self._imitation_loss(readouts)}
        self.cosines.measure(self.updates, batch.step, policy_loss, found)
        return {name: (weight, loss) for weight, (name, loss) in zip(weights, found.items())}

    def _prediction_loss(self, readouts: Readouts, batch: ULTBatch) -> torch.Tensor:
        """Squared error of the next normalised frame, where the episode goes on, plus that of the action taken."""
        frames, actions = self.network.predict(readouts.frame_token)
        ongoing = batch.ongoing.flatten().to(frames.dtype)
        errors = (frames - batch.next_frames.flatten(0, 1)).square().mean(-1)
        # The mean over processes makes the mean of all samples out of unequal shares.
        count = self.processes.mean(ongoing.sum()).clamp(min=1e-6)
        return (errors * ongoing).sum() / count + losses.regression_loss(actions, batch.actions)

    def _imitation_loss(self, readouts: Readouts) -> torch.Tensor:
        """Distance of the student's mean action from the teacher's, which gets no gradient."""
        if self.imitation_loss == "mse":
            return losses.regression_loss(readouts.student, readouts.teacher)
        std = self.network.std().detach().expand_as(readouts.student)
        return losses.gaussian_kl(readouts.teacher.detach(), std, readouts.student, std).mean()
