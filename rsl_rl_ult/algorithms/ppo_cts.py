"""Concurrent teacher-student training (arXiv 2405.10830): both groups act and train one policy head and one critic."""

from __future__ import annotations

from typing import Any

import torch

from rsl_rl_ult.algorithms.mixing import spread
from rsl_rl_ult.algorithms.ppo import KL_SOURCES
from rsl_rl_ult.algorithms.ppo_ts import PPO_TS
from rsl_rl_ult.algorithms.rollout_state import Decision
from rsl_rl_ult.algorithms.student import RolloutWindows
from rsl_rl_ult.modules.actor_critic import Evaluation, Tensors
from rsl_rl_ult.modules.actor_critic_cts import ActorCriticCTS, CTSBatch
from rsl_rl_ult.storage import Batch, by_minibatch

PRESETS: dict[str, dict[str, Any]] = {
    "joint": {"advantage_norm": "joint", "kl_source": "all", "scale_encoder_learning_rate": False},
    "per_group": {"advantage_norm": "per_group", "kl_source": "teacher", "scale_encoder_learning_rate": True},
}
"""What `preset` of the network means for the training."""


def teacher_rows(num_envs: int, fraction: float) -> torch.Tensor:
    """(N,) mask of the environments that the teacher drives.

    Fixed by index and spread evenly, so that both groups see every terrain; below fraction 1 each group has at least
    one environment, and a single environment is the teacher's.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"algorithm.teacher_fraction={fraction}: expected a number in (0, 1]")
    count = num_envs if fraction == 1.0 else max(min(round(num_envs * fraction), num_envs - 1), 1)
    return spread(num_envs, count)


class PPO_CTS(PPO_TS):  # noqa: N801
    """PPO over environments of teacher and student; E_hist learns the teacher's latent in a pass of its own.

    Options that are None follow the `preset` of the network, and `student_detach`.
    """

    network_class = ActorCriticCTS
    stored_names = ("student_latent",)

    def __init__(
        self,
        network: Any,
        *args: Any,
        teacher_fraction: float = 0.75,
        advantage_norm: str | None = None,
        kl_source: str | None = None,
        student_detach: bool = True,
        num_encoder_steps: int = 20,
        num_encoder_mini_batches: int = 4,
        encoder_learning_rate: float = 1e-3,
        scale_encoder_learning_rate: bool | None = None,
        **ts: Any,
    ) -> None:
        """Settings of the two groups; everything else is that of `PPO_TS`.

        Args:
            network: an `ActorCriticCTS`.
            args: storage and sets of `PPO`.
            teacher_fraction: share of the environments that the teacher drives, in (0, 1]; with 1 the method is TS.
            advantage_norm: "joint" standardises the advantages of all environments together, "per_group" each group
                alone.
            kl_source: "all" or "teacher", the samples whose KL steers the learning rate.
            student_detach: False lets the policy gradient reach E_hist through the student's samples; then the KL of
                all samples steers the learning rate, and that of E_hist follows.
            num_encoder_steps: as in `PPO_TS`.
            num_encoder_mini_batches: as in `PPO_TS`.
            encoder_learning_rate: of E_hist; at the start where it is scaled.
            scale_encoder_learning_rate: the schedule moves the learning rate of E_hist in proportion to that of actor
                and critic.
            ts: options of `PPO_TS` and `PPO`.
        """
        chosen = dict(PRESETS[network.preset])
        if not student_detach:
            if kl_source == "teacher" or scale_encoder_learning_rate is False:
                raise ValueError(
                    f"algorithm.student_detach=False excludes kl_source={kl_source}, "
                    f"scale_encoder_learning_rate={scale_encoder_learning_rate}: the policy gradient of E_hist would "
                    "escape the KL control; expected all and True, or None for both"
                )
            chosen.update(kl_source="all", scale_encoder_learning_rate=True)
        advantage_norm = advantage_norm or chosen["advantage_norm"]
        kl_source = kl_source or chosen["kl_source"]
        scales = scale_encoder_learning_rate
        self.scale_encoder_learning_rate = chosen["scale_encoder_learning_rate"] if scales is None else scales
        for name, value, known in (
            ("advantage_norm", advantage_norm, ("joint", "per_group")),
            ("kl_source", kl_source, KL_SOURCES),
        ):
            if value not in known:
                raise ValueError(f"algorithm.{name} '{value}': expected {' or '.join(known)}")
        super().__init__(
            network,
            *args,
            num_encoder_steps=num_encoder_steps,
            num_encoder_mini_batches=num_encoder_mini_batches,
            encoder_learning_rate=encoder_learning_rate,
            **ts,
        )
        if advantage_norm == "per_group" and self.normalize_advantage_per_mini_batch:
            raise ValueError(
                "algorithm.advantage_norm=per_group excludes normalize_advantage_per_mini_batch: choose one"
            )
        self.advantage_norm, self.kl_source = advantage_norm, kl_source
        self.student_detach, self.teacher_fraction = student_detach, teacher_fraction
        self.teacher_envs = teacher_rows(self.storage.num_envs, teacher_fraction).to(self.device)
        self.student_ids = (~self.teacher_envs).nonzero().flatten()

    @property
    def has_students(self) -> bool:
        """Whether any environment is driven by the student."""
        return len(self.student_ids) > 0

    def use_teacher(self, teacher: Any, obs: Tensors) -> None:
        """CTS trains both at once: a teacher that does not learn would leave it no objective."""
        raise ValueError("PPO_CTS trains teacher and student together: load a teacher with PPO_TS or PPO_RMA")

    # -- rollout -----------------------------------------------------------------------------------------------------

    def decide(self, obs: Tensors, inputs: Tensors) -> Decision:
        """Teacher and student act in their environments; the student's latents stay valid until E_hist learns."""
        if not self.has_students:
            if self.teacher_fraction < 1.0:
                raise ValueError(
                    f"algorithm.teacher_fraction={self.teacher_fraction} needs at least 2 environments to train, found "
                    f"{len(self.teacher_envs)}"
                )
            found = self.network.evaluate_drivers(inputs, None, None)
            return Decision(found.mean, found.value)
        latent = self._student_latents(self.windows.append(obs))
        found = self.network.evaluate_drivers(inputs, self.teacher_envs, latent)
        return Decision(found.mean, found.value, {"student_latent": latent})

    def _student_latents(self, windows: torch.Tensor) -> torch.Tensor:
        """(N, L) from raw windows (N, T, D) for the student's environments, zero for the teacher's."""
        latent = torch.zeros(len(self.teacher_envs), self.network.latent_dim, device=self.device)
        chosen = self.network.normalizers["actor"](windows[self.student_ids])
        latent[self.student_ids] = self.network.student_latent(chosen)
        return latent

    def last_values(self, obs: Tensors) -> torch.Tensor:
        """Values (N, 1) of the state after the rollout, with the latents of who drives there."""
        if not self.network.critic_reads_latent:
            return super().last_values(obs)
        inputs = self.network.inputs(self.raw_sets(obs))
        teacher = self.teacher_envs if self.has_students else None
        latent = self._student_latents(self.windows.preview(obs)) if self.has_students else None
        return self.network.value(inputs, self.network.mixed_latent(inputs, teacher, latent))

    def normalize_advantages(self, advantages: torch.Tensor) -> torch.Tensor:
        """Advantages (S, N, 1), standardised over all environments or group by group."""
        if self.advantage_norm == "joint" or not self.has_students:
            return super().normalize_advantages(advantages)
        result = torch.empty_like(advantages)
        for group in (self.teacher_envs, ~self.teacher_envs):
            result[:, group] = super().normalize_advantages(advantages[:, group])
        return result

    # -- update ------------------------------------------------------------------------------------------------------

    def make_batch(self, rows: torch.Tensor) -> Batch:
        """Also who drove each sample, and the student's latents; a plain batch where all are the teacher's."""
        batch = super().make_batch(rows)
        if not self.has_students:
            return batch
        copies, count = batch.copies, self.num_mini_batches
        teacher = self.teacher_envs[rows % self.storage.num_envs]
        windows = latent = None
        if copies > 1 or not self.student_detach:  # otherwise the latents kept while acting are all there is to know
            windows = RolloutWindows(self, mirrored=copies > 1)
        if self.student_detach:
            latents = [self.storage.flat("student_latent")[rows]]
            with torch.no_grad():
                latents += [self._latents(windows, rows, teacher, copy) for copy in range(1, copies)]
            latent = by_minibatch(torch.cat(latents), copies, count)
        values = {**vars(batch), "kl_rows": teacher if self.kl_source == "teacher" else None}
        drivers = by_minibatch(teacher.repeat(copies), copies, count)
        windows = None if self.student_detach else windows
        return CTSBatch(**values, teacher=drivers, student_latent=latent, rows=rows, windows=windows)

    def _latents(self, windows: Any, rows: torch.Tensor, teacher: torch.Tensor, copy: int) -> torch.Tensor:
        """(B, L) latents of the student's samples among `rows` in one of their copies, zero for the teacher's."""
        latent = torch.zeros(len(rows), self.network.latent_dim, device=self.device)
        student = ~teacher
        samples = self.storage.num_steps * self.storage.num_envs
        found = self.network.student_latent(windows.cut(rows[student] + copy * samples))
        return latent.masked_scatter(student[:, None], found.to(latent.dtype))

    def evaluate(self, batch: Batch) -> Evaluation:
        """As the network's; without `student_detach` the student's latents are computed anew, with a gradient."""
        if self.student_detach or not isinstance(batch, CTSBatch):
            return super().evaluate(batch)
        drivers = batch.teacher.chunk(batch.copies)
        latents = [self._latents(batch.windows, batch.rows, teacher, copy) for copy, teacher in enumerate(drivers)]
        return self.network.evaluate_drivers(batch.inputs, batch.teacher, torch.cat(latents))

    def surrogate(self, per_sample: torch.Tensor, batch: Batch, evaluation: Evaluation) -> torch.Tensor:
        """Mean over the teacher's samples plus mean over the student's."""
        if not isinstance(batch, CTSBatch):
            return super().surrogate(per_sample, batch, evaluation)
        teacher = batch.teacher[: len(per_sample)]
        total = per_sample.new_zeros(())
        for group in (teacher, ~teacher):
            # The mean over processes makes means of joined samples out of unequal shares.
            count = self.processes.mean(group.sum().to(per_sample.dtype)).clamp(min=1e-6)
            total = total + (per_sample * group).sum() / count
        return total

    def set_learning_rate(self, learning_rate: float) -> None:
        """Also that of E_hist, where it follows; their proportion is that in the optimizer, and so in checkpoints."""
        if self.scale_encoder_learning_rate:
            policy, encoder = self.optimizer.param_groups[:2]
            encoder["lr"] *= learning_rate / policy["lr"]
        super().set_learning_rate(learning_rate)

    def own_rate(self, name: str, given: float) -> float:
        """Where E_hist follows, `given` is meant for the first step, beside `learning_rate`: the proportion counts."""
        if name != "encoder_learning_rate" or not self.scale_encoder_learning_rate:
            return super().own_rate(name, given)
        return given * self.learning_rate / self.first_learning_rate

    def step(self) -> None:
        """Without `student_detach` E_hist has a policy gradient too, clipped on its own."""
        if not self.student_detach and self.has_students:
            self.regression.clip()
        super().step()

    def student_rows(self) -> torch.Tensor:
        """Rows of the rollout that the student drove; all where there is no student."""
        rows = super().student_rows()
        if not self.has_students:
            return rows
        return rows[~self.teacher_envs[rows % self.storage.num_envs]]
