"""One-stage teacher-student training: PPO trains the teacher, then the student's encoder regresses the teacher's latent."""

from __future__ import annotations

from typing import Any, Iterator, Mapping

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.ppo import PPO, Tensors
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.policies.policy import Policy, StudentPolicy, join
from rsl_rl_ult.storage import HistoryBuffer

STUDENT_LOSSES = ("latent", "action_latent")


class PPO_TS(PPO):  # noqa: N801
    """The teacher acts and is PPO, bit for bit; E_hist follows it with its own learning rate, clip and random generator."""

    network_class = ActorCriticTS
    needed_sets = ("actor", "critic", "privileged")

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
        entropy_coef: float = 0.005,
        **ppo: Any,
    ) -> None:
        """Settings of the student's pass; everything else is PPO's. The defaults are those of the Go2 tasks.

        Args:
            args: network, storage and sets of `PPO`.
            num_encoder_steps: gradient steps of E_hist in each update; 0 trains the teacher alone. What other code calls `num_encoder_epochs`
                counts differently from one to the next: passes, or steps inside each of PPO's minibatches and epochs.
            num_encoder_mini_batches: equal parts of the student's samples, one for each gradient step; shuffled anew after each pass.
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
        self.num_encoder_steps, self.num_encoder_mini_batches = num_encoder_steps, num_encoder_mini_batches
        self.encoder_max_grad_norm = encoder_max_grad_norm
        self.student_loss = student_loss
        self.generator = torch.Generator(device=self.device).manual_seed(encoder_seed)
        self.student = StudentPolicy(self.network, self.sets)
        # Only where the student acts in rollouts; the update cuts its windows from the storage.
        self._history: HistoryBuffer | None = None

    def _parameter_groups(self) -> list:
        groups = super()._parameter_groups()
        return [*groups, {"params": self.network.student_parameters(), "lr": self.encoder_learning_rate}]

    def get_policy(self) -> Policy:
        """The student: it reads what a robot can measure."""
        return self.student

    def inference_policies(self) -> dict[str, Policy]:
        """Teacher and student."""
        return {"teacher": self.policy, "student": self.student}

    # -- histories ---------------------------------------------------------------------------------------------------

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """The T - 1 frames before the rollout, unless the environment brings its own windows."""
        return {} if "history" in sets else dict.fromkeys(sets["actor"], network.history_length - 1)

    @classmethod
    def network_sizes(cls, dims: Mapping[str, int]) -> dict[str, int]:
        """Also the columns of `privileged`."""
        return {**super().network_sizes(dims), "num_privileged_obs": dims["privileged"]}

    @classmethod
    def check_sets(cls, network: Any, sets: Mapping[str, list], obs: Tensors) -> None:
        """The window that the environment may bring has to be the student's."""
        if "history" not in sets:
            return
        found = tuple(obs[sets["history"][0]].shape[1:])
        expected = (network.history_length, network.dims["actor"])
        if len(sets["history"]) > 1 or found != expected:
            raise ValueError(
                f"observation set 'history' {sets['history']} holds windows {found}, the student reads {expected}, one group (N, T, D) of "
                "`actor` frames: set actor.history_length to fit, or remove obs_groups.history to let the algorithm keep the frames"
            )

    def remember(self, obs: Tensors) -> torch.Tensor:
        """Raw windows (N, T, D) that end with the current frame; to be called once per step where the student may act."""
        if "history" in self.sets:
            return obs[self.sets["history"][0]]
        frame = join(obs, self.sets["actor"])
        if self._history is None:
            self._history = HistoryBuffer(len(frame), self.network.history_length, frame.shape[1], self.device)
        self._history.append(frame)
        return self._history.window()

    def preview(self, obs: Tensors) -> torch.Tensor:
        """Raw windows (N, T, D) that end with the current frame, which will be remembered later."""
        if "history" in self.sets:
            return obs[self.sets["history"][0]]
        assert self._history is not None
        return torch.cat((self._history.window()[:, 1:], join(obs, self.sets["actor"])[:, None]), dim=1)

    def process_env_step(self, obs: Tensors, rewards: torch.Tensor, dones: torch.Tensor, extras: Mapping) -> None:
        """Also forgets the frames of finished episodes."""
        super().process_env_step(obs, rewards, dones, extras)
        if self._history is not None:
            self._history.reset(dones)

    def rollout_frames(self, mirrored: bool = False) -> torch.Tensor:
        """Normalised frames that the windows of this rollout are cut from; with `mirrored` also those of its images, image after image."""
        symmetry = self.symmetry if mirrored else None
        if "history" in self.sets:
            raw = self.storage.flat(self.sets["history"][0])  # (S N, T, D)
            if symmetry is not None:
                if len(self.sets["actor"]) > 1:
                    raise ValueError(
                        "symmetry of an environment's own history needs a single group in obs_groups.actor"
                    )
                group = self.sets["actor"][0]
                raw = symmetry.observations({group: raw.flatten(0, 1)})[group].unflatten(0, (-1, raw.shape[1]))
        else:
            groups = {group: self.storage.frames(group) for group in self.sets["actor"]}
            raw = join(groups if symmetry is None else symmetry.observations(groups), self.sets["actor"])
        return self.network.normalizers["actor"](raw)

    def windows(self, frames: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Windows (B, T, D) of `frames` that end at rows (B,) of the rollout; row S N k + r is row r of image k."""
        if "history" in self.sets:
            return frames[rows]
        group, samples = self.sets["actor"][0], self.storage.num_steps * self.storage.num_envs
        found = self.storage.window_rows(group, rows % samples, self.network.history_length)
        image = torch.div(rows, samples, rounding_mode="floor")
        return frames[found + (image * len(self.storage.frames(group)))[:, None]]

    # -- the student's pass ------------------------------------------------------------------------------------------

    def after_update(self) -> dict[str, float]:
        """E_hist learns from the rollout that PPO is done with."""
        return self.train_student()

    def student_rows(self) -> torch.Tensor:
        """Rows (M,) of the rollout that E_hist learns from."""
        return torch.arange(self.storage.num_steps * self.storage.num_envs, device=self.device)

    def train_student(self) -> dict[str, float]:
        """Regress the teacher's latent on the stored frames and, with symmetry, their images; only E_hist changes.

        Returns:
            Mean losses by name.
        """
        if self.num_encoder_steps == 0:
            return {}
        frames, targets = self.rollout_frames(mirrored=True), self._targets()
        images = len(targets["latent"]) // (self.storage.num_steps * self.storage.num_envs)
        latent_losses = []
        for rows in self._student_batches(images):
            with self._autocast():
                latent = self.network.student_latent(self.windows(frames, rows))
                loss = losses.regression_loss(latent, targets["latent"][rows])
                latent_losses.append(loss.detach())
                if self.student_loss == "action_latent":
                    loss = loss + self._action_loss(latent, targets, rows)
            self._student_step(loss)
        with torch.no_grad():  # how far apart the two act, on the last minibatch
            action_loss = self._action_loss(self.network.student_latent(self.windows(frames, rows)), targets, rows)
        return {"student_latent": float(torch.stack(latent_losses).mean()), "student_action": float(action_loss)}

    def _student_batches(self, images: int) -> Iterator[torch.Tensor]:
        """Rows (B,) of the minibatch of every gradient step, shuffled by the student's own generator; `images` is K."""
        rows, samples = self.student_rows(), self.storage.num_steps * self.storage.num_envs
        candidates = torch.cat([rows + image * samples for image in range(images)])
        parts: list = []
        for _ in range(self.num_encoder_steps):
            if not parts:
                order = torch.randperm(len(candidates), generator=self.generator, device=self.device)
                parts = list(candidates[order].tensor_split(min(self.num_encoder_mini_batches, len(candidates))))
            yield parts.pop(0)

    @torch.no_grad()
    def _targets(self) -> dict[str, torch.Tensor]:
        """Normalised frames and the latents of the teacher as it is now, (K S N, ...): of the rollout, then of its images."""
        needed = {group for name in ("actor", "privileged") for group in self.sets[name]}
        raw = {group: values for group, values in self.stored_frames().items() if group in needed}
        normalizers = self.network.normalizers
        if self.symmetry is not None:
            raw = self.symmetry.observations(raw)
        inputs = {name: normalizers[name](join(raw, self.sets[name])) for name in ("actor", "privileged")}
        return {"actor": inputs["actor"], "latent": self.network.teacher_latent(inputs)}

    def _action_loss(self, latent: torch.Tensor, targets: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Squared difference between the student's and the teacher's mean actions at `rows`."""
        inputs = {"actor": targets["actor"][rows]}
        with torch.no_grad():
            teacher = self.network.head(inputs, targets["latent"][rows])
        return losses.regression_loss(self.network.head(inputs, latent), teacher)

    def _student_step(self, loss: torch.Tensor) -> None:
        """One gradient step of E_hist alone."""
        parameters = self.network.student_parameters()
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        self.processes.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, self.encoder_max_grad_norm)
        self.optimizer.step()

    # -- exact resume ------------------------------------------------------------------------------------------------

    def rollout_state(self) -> dict[str, Any]:
        """Also the student's generator and the frames it acts on."""
        state = {**super().rollout_state(), "generator": self.generator.get_state()}
        if self._history is not None:
            state["history"] = self._history.state_dict()
        return state

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        super().load_rollout_state(state)
        self.generator.set_state(state["generator"].cpu())
        if "history" in state:
            window = state["history"]["window"]
            self._history = HistoryBuffer(*window.shape, device=self.device)
            self._history.load_state_dict(state["history"])
