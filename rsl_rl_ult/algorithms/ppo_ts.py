"""One-stage teacher-student training: PPO trains the teacher, then the student's encoder regresses its latent."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms.ppo import PPO
from rsl_rl_ult.algorithms.student import STUDENT_LOSSES, ActingWindows, StudentRegression
from rsl_rl_ult.algorithms.teacher import Teacher, copy_latent_teacher
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.policies.policy import Policy, StudentPolicy


class PPO_TS(PPO):  # noqa: N801
    """The teacher acts and is PPO, bit for bit; E_hist has its own learning rate, clip and random generator.

    With a loaded teacher (`use_teacher`) there is no PPO: the teacher acts, and E_hist alone learns.
    """

    network_class = ActorCriticTS
    needed_sets = ("actor", "critic", "privileged")

    regression_class: type[StudentRegression] = StudentRegression
    """What trains the student."""

    def __init__(
        self,
        *args: Any,
        num_encoder_steps: int = 40,
        num_encoder_mini_batches: int = 20,
        encoder_learning_rate: float = 2e-4,
        encoder_max_grad_norm: float = 1.0,
        encoder_seed: int = 0,
        student_loss: str = "latent",
        num_learning_epochs: int = 4,
        desired_kl: float | None = 0.02,
        use_mixed_precision: bool | None = None,
        entropy_coef: float = 0.001,
        **ppo: Any,
    ) -> None:
        """Settings of the student's pass; everything else is PPO's. The defaults are those of the Go2 tasks.

        Args:
            args: network, storage and sets of `PPO`.
            num_encoder_steps: gradient steps of E_hist in each update; 0 trains the teacher alone. What other code
                calls `num_encoder_epochs` counts differently from one to the next: passes, or steps inside each of
                PPO's minibatches and epochs.
            num_encoder_mini_batches: equal parts of the student's samples, one for each gradient step; shuffled anew
                after each pass.
            encoder_learning_rate: of E_hist, never moved by the schedule.
            encoder_max_grad_norm: clip of E_hist's gradient.
            encoder_seed: of the generator that shuffles the student's minibatches.
            student_loss: "latent", mse of the latents; "action_latent" adds the mse of the actions (Lee et al. 2020).
            num_learning_epochs: as in `PPO`.
            desired_kl: as in `PPO`.
            use_mixed_precision: as in `PPO`.
            entropy_coef: as in `PPO`.
            ppo: options of `PPO`.
        """
        if student_loss not in STUDENT_LOSSES:
            raise ValueError(f"algorithm.student_loss '{student_loss}': expected one of {', '.join(STUDENT_LOSSES)}")
        for name, value, least in (
            ("num_encoder_steps", num_encoder_steps, 0),
            ("num_encoder_mini_batches", num_encoder_mini_batches, 1),
        ):
            if value < least:
                raise ValueError(f"algorithm.{name}={value}: expected at least {least}")
        self.encoder_learning_rate = encoder_learning_rate
        super().__init__(
            *args,
            num_learning_epochs=num_learning_epochs,
            desired_kl=desired_kl,
            use_mixed_precision=use_mixed_precision,
            entropy_coef=entropy_coef,
            **ppo,
        )
        self.student = self.policies["student"]
        self.regression = self.regression_class(
            self, num_encoder_steps, num_encoder_mini_batches, encoder_max_grad_norm, encoder_seed, student_loss
        )
        # Filled only where the student acts in rollouts; the update cuts its windows from the storage.
        self.windows = ActingWindows(self.network.history_length, self.sets, self.device)
        self.states += [self.regression, self.windows]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """E_hist has a learning rate of its own."""
        student = {"params": self.network.student_parameters(), "lr": self.encoder_learning_rate}
        return [*super().parameter_groups(), {**student, "lr_name": "encoder_learning_rate"}]

    @classmethod
    def make_policies(cls, network: Any, sets: Mapping[str, list]) -> dict[str, Policy]:
        """The student reads what a robot can measure: it is the one to deploy."""
        return {"teacher": Policy(network, sets), "student": StudentPolicy(network, sets)}

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """None where the environment brings its own windows."""
        return {} if "history" in sets else super().context(network, sets)

    @classmethod
    def check_sets(cls, network: Any, sets: Mapping[str, list], obs: Tensors) -> None:
        """The window that the environment may bring has to be the student's."""
        if "history" not in sets:
            return
        found = tuple(obs[sets["history"][0]].shape[1:])
        expected = (network.history_length, network.dims["actor"])
        if len(sets["history"]) > 1 or found != expected:
            raise ValueError(
                f"observation set 'history' {sets['history']} holds windows {found}, the student reads {expected}, one "
                "group (N, T, D) of `actor` frames: set actor.history_length to fit, or remove obs_groups.history to "
                "let the algorithm keep the frames"
            )

    def use_teacher(self, teacher: Teacher, obs: Tensors) -> None:
        """From now on the teacher is this one, and only E_hist learns."""
        if self.regression.num_steps == 0:
            raise ValueError(
                "algorithm.num_encoder_steps=0: with a loaded teacher nothing would be learnt; expected at least 1"
            )
        copy_latent_teacher(teacher, self.network, self.sets, obs)
        self.frozen_teacher = True

    def after_update(self) -> dict[str, float]:
        """E_hist learns from the rollout that PPO is done with."""
        return self.train_student()

    def student_rows(self) -> torch.Tensor:
        """Rows (M,) of the rollout that E_hist learns from."""
        return torch.arange(self.storage.num_steps * self.storage.num_envs, device=self.device)

    def train_student(self) -> dict[str, float]:
        """Regress the teacher's latent; only E_hist changes. Returns mean losses by name."""
        return self.regression.train(self.student_rows())
