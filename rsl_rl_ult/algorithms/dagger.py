"""Data set aggregation (Ross et al. 2011): the student drives, the teacher says what it would have done."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.construct import log_once
from rsl_rl_ult.algorithms.dagger_beta import Beta
from rsl_rl_ult.algorithms.dagger_students import Fit, student_class
from rsl_rl_ult.algorithms.metrics import mean_metrics
from rsl_rl_ult.algorithms.mixing import MetricsByActor
from rsl_rl_ult.algorithms.on_policy import OnPolicyAlgorithm
from rsl_rl_ult.algorithms.optimization import set_gradients
from rsl_rl_ult.algorithms.rollout_state import Decision, Step
from rsl_rl_ult.algorithms.teacher import Labeller, Teacher, copy_latent_teacher, load_recorded, record_teacher
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.mlp import EmpiricalNormalization
from rsl_rl_ult.policies.policy import Policy
from rsl_rl_ult.storage.aggregate import Aggregate

LOSSES = ("mse", "huber", "kl", "action_latent")
NORMALIZATIONS = ("aggregate", "teacher")


class DAgger(OnPolicyAlgorithm):
    """A student imitates the mean actions of a loaded teacher in the states that both of them visit.

    A round is a rollout in which teacher or student acts, and in which every state is labelled with the teacher's mean
    action, whoever acts. Rounds are kept, and the student learns from minibatches drawn from all that is kept. The
    teacher may come from any method; the student is that of an `ActorCriticTS` (E_hist and a policy head of its own)
    or of an `ActorCriticULT`. `beta_start=0` is on-policy distillation, `beta_schedule="constant"` with 1 is behaviour
    cloning.
    """

    network_class = ActorCriticTS
    other_networks = (ActorCriticULT,)
    """What `actor.class_name` may also name."""

    needs_teacher = True
    """Nothing can be learnt before a teacher is loaded."""

    needed_sets = ("actor", "critic", "privileged")
    stored_names = ("last_actions", "teacher", "label", "error")
    context_names = ("last_actions",)

    def __init__(
        self,
        *args: Any,
        beta_schedule: str = "linear",
        beta_start: float = 1.0,
        beta_rounds: int = 20,
        mix_mode: str = "per_step",
        aggregate: str = "all",
        window_rollouts: int = 20,
        half_precision: bool = False,
        student_noise: float = 0.1,
        loss: str = "mse",
        normalization: str | None = None,
        batch_size: int = 1024,
        updates_per_round: int = 40,
        dagger_seed: int = 0,
        use_mixed_precision: bool | None = None,
        **options: Any,
    ) -> None:
        """Settings of the method; the defaults are those of the task `go2_dagger`.

        Args:
            args: network, storage and sets of `OnPolicyAlgorithm`.
            beta_schedule: of the probability beta that the teacher acts: "linear" is 0 after `beta_rounds`,
                "exponential" falls to 1 % of `beta_start` in that time, "indicator" is `beta_start` for as long and 0
                afterwards, "constant" never changes.
            beta_start: beta in the first round, in [0, 1].
            beta_rounds: see `beta_schedule`.
            mix_mode: "per_step" draws who acts anew in every step, "per_episode" when an episode starts, "per_env"
                fixes it by index.
            aggregate: rounds that are learnt from: "all", the last `window_rollouts` ("window"), the last ("none").
            window_rollouts: see `aggregate`.
            half_precision: keep them as float16, in half the memory.
            student_noise: standard deviation of the student's actions where it acts; labels and the teacher have none.
            loss: "mse" or "huber" of the mean actions; "kl" of Gaussians with the teacher's deviation; "action_latent",
                mse of the actions and of the latent (Lee et al. 2020), where the student has the teacher's head and
                trains E_hist alone.
            normalization: statistics of the student's inputs: "aggregate", of all rounds so far, or "teacher", that
                of the teacher. None: "teacher" where the student has the teacher's head, "aggregate" elsewhere.
            batch_size: samples of a gradient step, mirrored ones included.
            updates_per_round: gradient steps.
            dagger_seed: of the generators that draw who acts, noise, and minibatches.
            use_mixed_precision: as in `OnPolicyAlgorithm`.
            options: options of `OnPolicyAlgorithm`: learning_rate (1e-3) and max_grad_norm (1) are the student's.
        """
        normalization = normalization or ("teacher" if loss == "action_latent" else "aggregate")
        for name, value, known in (("loss", loss, LOSSES), ("normalization", normalization, NORMALIZATIONS)):
            if value not in known:
                raise ValueError(f"algorithm.{name} '{value}': expected one of {', '.join(known)}")
        for name, value in (("batch_size", batch_size), ("updates_per_round", updates_per_round)):
            if value < 1:
                raise ValueError(f"algorithm.{name}={value}: expected at least 1")
        if not (student_noise >= 0.0 and math.isfinite(student_noise)):
            raise ValueError(f"algorithm.student_noise={student_noise}: expected a number of at least 0")
        if loss == "action_latent" and normalization == "aggregate":
            raise ValueError(
                "algorithm.normalization=aggregate with loss=action_latent: the teacher's head reads inputs normalised "
                "as in its training; expected teacher"
            )
        self.loss, self.normalization, self.student_noise = loss, normalization, student_noise
        self.batch_size, self.updates_per_round = batch_size, updates_per_round
        super().__init__(*args, use_mixed_precision=use_mixed_precision, **options)
        if self.symmetry is not None and (not self.symmetry.use_data_augmentation or self.symmetry.use_mirror_loss):
            raise ValueError(
                "algorithm.symmetry_cfg: DAgger mirrors samples; set use_data_augmentation, or None, and no mirror loss"
            )
        self.student = student_class(self.network)(self.network, self.storage, self.sets, self.device)
        seed, steps, envs = dagger_seed + self.processes.rank, self.storage.num_steps, self.storage.num_envs
        self.mixing = Beta(envs, beta_schedule, beta_start, beta_rounds, mix_mode, seed, self.device)
        kept = aggregate, window_rollouts, half_precision
        self.aggregate = Aggregate(steps, envs, self.network.context, *kept, device=self.device)
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        self.labels, self.teacher_steps = 0, 0
        self.labeller = Labeller()
        self._record: dict[str, Any] = {}  # what the teacher is built from again
        self.states += [self.mixing, self.student.state, self.labeller, MetricsByActor()]

    @property
    def teacher(self) -> Teacher | None:
        """Who labels; None before one is loaded."""
        return self.labeller.teacher

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The student alone."""
        student = student_class(self.network).parameters(self.network, self.loss == "action_latent")
        return [{"params": student, "lr_scale": 1.0}]

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """The student; the teacher comes with `use_teacher`."""
        return {"student": student_class(network).policy(network, sets)}

    @classmethod
    def check_sets(cls, network: Any, sets: Mapping[str, list], obs: Tensors) -> None:
        """Windows are cut from the aggregate."""
        student_class(network)
        if "history" in sets:
            raise ValueError("observation set 'history': DAgger keeps the frames itself; remove obs_groups.history")

    # -- the teacher -------------------------------------------------------------------------------------------------

    def load_teacher(self, saved: Mapping[str, Any], cfg: Mapping[str, Any], obs: Tensors) -> None:
        """Load a frozen teacher from a checkpoint of any method; arguments as in `teacher.load_teacher`."""
        super().load_teacher(saved, cfg, obs)
        teacher = self._loaded_teacher()
        self._record = record_teacher(teacher, saved, cfg, obs)
        self.teacher_steps = self._record["steps"]
        log_once(self._costs(teacher.method))

    def _costs(self, method: str) -> str:
        """What was spent on the teacher, and what the aggregate takes."""
        spent = f"took {self.teacher_steps / 1e6:.3g} M steps" if self.teacher_steps else "does not say its steps"
        numbers = self.network.dims["actor"] + self.network.num_actions * (2 if self._is_ult else 1)
        if self.loss == "action_latent":
            numbers += self.network.latent_dim * (1 if self.symmetry is None else 2)
        steps, size = self.storage.num_steps * self.storage.num_envs, 2 if self.aggregate.half else 4
        megabytes, limit = steps * (numbers * size + 4) / 1e6, self.aggregate.limit
        held = "in every round" if limit is None else f"a round, {megabytes * limit:.0f} MB at most,"
        return f"the teacher ({method}) {spent}; the aggregate takes {megabytes:.1f} MB {held} for {steps} labels"

    @property
    def _is_ult(self) -> bool:
        return isinstance(self.network, ActorCriticULT)

    def use_teacher(self, teacher: Teacher, obs: Tensors) -> None:
        """Label with this teacher, which is never trained."""
        unknown = [g for name, groups in teacher.sets.items() if name != "critic" for g in groups]
        unknown = [group for group in dict.fromkeys(unknown) if group not in self.groups]
        if unknown:
            raise ValueError(
                f"the teacher reads the observation groups {unknown}, this training {self.groups}: name them under "
                "obs_groups.privileged"
            )
        if self.loss == "action_latent":
            if self._is_ult:
                raise ValueError("algorithm.loss=action_latent: ActorCriticULT has no latent; choose mse, huber or kl")
            copy_latent_teacher(teacher, self.network, self.sets, obs)
        elif self.normalization == "teacher":
            self._copy_normalizer(teacher)
        self.labeller.teacher, self.frozen_teacher = teacher, True
        # For evaluation a policy of its own: what the one that labels remembers belongs to the robots of the rollout.
        self.policies = {"teacher": copy.copy(teacher.policy), "student": self.policies["student"]}

    def _copy_normalizer(self, teacher: Teacher) -> None:
        own, other = self.network.normalizers["actor"], teacher.network.normalizers["actor"]
        if not (isinstance(own, EmpiricalNormalization) and isinstance(other, EmpiricalNormalization)):
            raise ValueError("algorithm.normalization=teacher: teacher and student need actor.obs_normalization=True")
        if teacher.sets["actor"] != self.sets["actor"]:
            raise ValueError(
                f"algorithm.normalization=teacher: the teacher's frames are {teacher.sets['actor']}, the student's "
                f"{self.sets['actor']}; expected the same groups, or normalization=aggregate"
            )
        own.load_state_dict(other.state_dict())

    def train_mode(self) -> None:
        """Refuse to train without a teacher."""
        self._loaded_teacher()
        super().train_mode()

    def _loaded_teacher(self) -> Teacher:
        if self.teacher is None:
            raise ValueError("DAgger learns from a trained teacher and has none: call load_teacher before training")
        return self.teacher

    def learns_policy(self) -> bool:
        """There is no PPO here."""
        return False

    # -- rollout -----------------------------------------------------------------------------------------------------

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """Teacher or student acts in each environment; the label is the teacher's mean action in any case."""
        label, student = self._loaded_teacher().act(obs), self.student.act(obs, inputs)
        self.mixing.updates = self.updates
        teacher = self.mixing.draw()
        error = (student - label).square().mean(-1, keepdim=True)
        stored = {"label": label, "teacher": teacher, "error": error, **self.student.stored()}
        return Decision(torch.where(teacher[:, None], label, student), torch.zeros_like(error), stored)

    @torch.no_grad()
    def act(self, obs: Tensors) -> torch.Tensor:
        """Actions (N, A) for the observation groups (N, ...); the student's have noise, the teacher's none."""
        decision = self.decide(obs, self.network.inputs(self.raw_sets(obs)))
        noise = torch.randn(decision.mean.shape, generator=self.mixing.generator, device=self.device)
        std = self.student_noise * (~decision.stored["teacher"])[:, None].to(noise.dtype).expand_as(noise)
        actions = decision.mean + std * noise
        groups = {group: obs[group] for group in self.groups}
        self._step = Step(groups, decision, actions, std, torch.zeros_like(actions[:, 0]))
        return actions

    def process_env_step(self, obs: Tensors, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping) -> None:
        """Store the step; how far the two are apart is logged by who acted."""
        assert self._step is not None, "process_env_step before act"
        error = self._step.decision.stored["error"][:, 0]
        metrics = {**extras.get("step_metrics", {}), "action_error": error}
        super().process_env_step(obs, rewards, dones, {**extras, "step_metrics": metrics})

    def compute_returns(self, obs: Tensors) -> None:
        """Nothing is learnt from rewards."""

    # -- update ------------------------------------------------------------------------------------------------------

    def after_update(self) -> dict[str, float]:
        """Aggregate the round and train the student on minibatches of all that is kept."""
        values = self.student.values(self.storage, self.loss == "action_latent", self.symmetry)
        if self.normalization == "aggregate":
            normalizer = self.network.normalizers["actor"]
            if isinstance(normalizer, EmpiricalNormalization):
                normalizer.update(values["frame"].flatten(0, 1))
        self.aggregate.add(self.storage.age, values)
        self.labels += self.storage.num_steps * self.storage.num_envs * self.processes.count
        metrics = mean_metrics([self._student_step() for _ in range(self.updates_per_round)])
        return {
            **metrics,
            "beta": self.mixing.ratio,
            "round": float(self.updates),
            "labels": float(self.labels),
            "steps_with_teacher": float(self.labels + self.teacher_steps),
            "aggregate_samples": float(self.aggregate.samples),
            "aggregate_mb": self.aggregate.bytes / 1e6,
        }

    def _student_step(self) -> dict[str, torch.Tensor]:
        """One minibatch: loss, gradients of the student alone, step. Returns metrics to log."""
        with self.autocast():
            fit = self.student.fit(self.aggregate, self.batch_size, self.generator, self.symmetry)
            loss, metrics = self.imitation_loss(fit)
        parameters = self.optimizer.param_groups[0]["params"]
        set_gradients(self.optimizer, loss, parameters)
        self.processes.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()
        return {name: value.detach() for name, value in {"imitation": loss, **metrics}.items()}

    def imitation_loss(self, fit: Fit) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Loss () of a minibatch, and the squared errors of actions and, where it is learnt, latent."""
        action = losses.regression_loss(fit.mean, fit.label)
        if self.loss == "action_latent":
            assert fit.latent is not None and fit.target is not None
            latent = losses.regression_loss(fit.latent, fit.target)
            return latent + action, {"student_action": action, "student_latent": latent}
        loss = action
        if self.loss == "huber":
            loss = nn.functional.huber_loss(fit.mean, fit.label)
        elif self.loss == "kl":
            std = self._loaded_teacher().network.std().detach().expand_as(fit.mean)
            loss = losses.gaussian_kl(fit.label, std, fit.mean, std).mean()
        return loss, {"student_action": action}

    # -- checkpoint and exact resume ---------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Also the teacher, so that a checkpoint needs no other run, and the labels so far."""
        return {**super().save(), "teacher": self._record, "labels": self.labels}

    def load(
        self, loaded_dict: Mapping[str, Any], load_cfg: Mapping[str, bool] | None = None, strict: bool = True
    ) -> bool:
        """Take over what `save` returned, with its teacher."""
        resumes = super().load(loaded_dict, load_cfg, strict)
        record = loaded_dict.get("teacher")
        if record:
            self.use_teacher(*load_recorded(record, self.network.num_actions, self.device))
            self._record, self.teacher_steps = dict(record), record["steps"]
        self.labels = loaded_dict.get("labels", 0)
        return resumes

    def keep_in(self, folder: Path, earlier: Path | None = None) -> None:
        """Keep the aggregate in files of `folder` instead of checkpoints; arguments as in `Aggregate.keep_in`."""
        if self.aggregate.keep != "none":
            self.aggregate.keep_in(folder, earlier)

    def rollout_state(self) -> dict[str, Any]:
        """Also the aggregate, or how many rounds of it are in files, and the generator of minibatches."""
        own = {"aggregate": self.aggregate.state_dict(), "minibatches": self.generator.get_state()}
        return {**super().rollout_state(), **own}

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        super().load_rollout_state(state)
        self.aggregate.load_state_dict(state["aggregate"])
        self.generator.set_state(state["minibatches"].cpu())
