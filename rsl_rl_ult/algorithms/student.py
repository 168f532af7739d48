"""The student of TS, CTS and RMA: windows of frames, and the regression of the teacher's latent on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms.optimization import set_gradients
from rsl_rl_ult.algorithms.rollout_state import RolloutState
from rsl_rl_ult.modules.actor_critic import Tensors
from rsl_rl_ult.policies.policy import join
from rsl_rl_ult.storage import HistoryBuffer, take_rows

if TYPE_CHECKING:
    from rsl_rl_ult.algorithms.on_policy import OnPolicyAlgorithm

STUDENT_LOSSES = ("latent", "action_latent")


class ActingWindows(RolloutState):
    """The last T raw frames of every environment, for a student that acts in rollouts."""

    def __init__(self, length: int, sets: Mapping[str, Sequence[str]], device: str) -> None:
        """Windows of `length` (T) frames of the set `actor`; those of the set `history` where there is one."""
        self.length, self.sets, self.device = length, sets, device
        self.history: HistoryBuffer | None = None

    def append(self, obs: Tensors) -> torch.Tensor:
        """Windows (N, T, D) that end with the current frame; to be called once per step."""
        if "history" in self.sets:
            return obs[self.sets["history"][0]]
        frame = join(obs, self.sets["actor"])
        if self.history is None:
            self.history = HistoryBuffer(len(frame), self.length, frame.shape[1], self.device)
        self.history.append(frame)
        return self.history.window()

    def preview(self, obs: Tensors) -> torch.Tensor:
        """Windows (N, T, D) that end with the current frame, which will be appended later."""
        if "history" in self.sets:
            return obs[self.sets["history"][0]]
        assert self.history is not None
        return torch.cat((self.history.window()[:, 1:], join(obs, self.sets["actor"])[:, None]), dim=1)

    def on_reset(self, dones: torch.Tensor) -> None:
        """Drop the frames of finished episodes."""
        if self.history is not None:
            self.history.reset(dones)

    def state_dict(self) -> dict[str, Any]:
        """The windows, if any were ever seen."""
        return {} if self.history is None else {"history": self.history.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over windows of as many environments."""
        if "history" in state:
            self.history = HistoryBuffer(*state["history"]["window"].shape, device=self.device)
            self.history.load_state_dict(state["history"])


class RolloutWindows:
    """Normalised windows that end at the samples of a full rollout and, with symmetry, at their mirrored samples."""

    def __init__(self, algorithm: OnPolicyAlgorithm, mirrored: bool = False) -> None:
        """Normalise the frames once; `mirrored` adds the mirrored ones where `algorithm` has a symmetry."""
        self.storage, self.sets = algorithm.storage, algorithm.sets
        self.length = algorithm.network.history_length
        symmetry = algorithm.symmetry if mirrored else None
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
        self.frames = algorithm.network.normalizers["actor"](raw)

    def cut(self, rows: torch.Tensor) -> torch.Tensor:
        """Windows (B, T, D) that end at rows (B,) of the rollout; row S N k + r is row r of copy k, 0 the original."""
        if "history" in self.sets:
            return take_rows(self.frames, rows)
        group, samples = self.sets["actor"][0], self.storage.num_steps * self.storage.num_envs
        found = self.storage.window_rows(group, rows % samples, self.length)
        copy = torch.div(rows, samples, rounding_mode="floor")
        return take_rows(self.frames, found + (copy * len(self.storage.frames(group)))[:, None])


class StudentRegression(RolloutState):
    """Trains E_hist, and nothing else, to give the teacher's latent; with its own learning rate and random numbers."""

    def __init__(
        self,
        algorithm: OnPolicyAlgorithm,
        num_steps: int,
        num_mini_batches: int,
        max_grad_norm: float,
        seed: int,
        loss: str,
    ) -> None:
        """Settings as in `PPO_TS`, where they are called encoder_* and student_loss."""
        self.algorithm, self.network = algorithm, algorithm.network
        self.num_steps, self.num_mini_batches, self.max_grad_norm = num_steps, num_mini_batches, max_grad_norm
        self.loss = loss
        self.generator = torch.Generator(device=algorithm.device).manual_seed(seed)

    def train(self, rows: torch.Tensor) -> dict[str, float]:
        """Regress the teacher's latent on the stored frames and, with symmetry, the mirrored ones.

        Args:
            rows: (M,) rows of the rollout to learn from.

        Returns:
            Mean losses by name.
        """
        if self.num_steps == 0:
            return {}
        windows, targets = RolloutWindows(self.algorithm, mirrored=True), self.targets()
        copies = len(targets["latent"]) // self._samples
        latent_losses = []
        for chosen in self.minibatches(rows, copies):
            with self.algorithm.autocast():
                latent = self.network.student_latent(windows.cut(chosen))
                loss = losses.regression_loss(latent, take_rows(targets["latent"], chosen))
                latent_losses.append(loss.detach())
                if self.loss == "action_latent":
                    loss = loss + self._action_loss(latent, targets, chosen)
            self.step(loss)
        with torch.no_grad():  # how far apart the two act, on the last minibatch
            latent = self.network.student_latent(windows.cut(chosen))
            action_loss = self._action_loss(latent, targets, chosen)
        return {"student_latent": float(torch.stack(latent_losses).mean()), "student_action": float(action_loss)}

    @property
    def _samples(self) -> int:
        return self.algorithm.storage.num_steps * self.algorithm.storage.num_envs

    def minibatches(self, rows: torch.Tensor, copies: int) -> Iterator[torch.Tensor]:
        """Rows (B,) of the minibatch of every gradient step, of the samples at `rows` (M,) in all `copies` (K)."""
        candidates = torch.cat([rows + copy * self._samples for copy in range(copies)])
        parts: list = []
        for _ in range(self.num_steps):
            if not parts:
                order = torch.randperm(len(candidates), generator=self.generator, device=candidates.device)
                parts = list(candidates[order].tensor_split(min(self.num_mini_batches, len(candidates))))
            yield parts.pop(0)

    @torch.no_grad()
    def targets(self) -> dict[str, torch.Tensor]:
        """Normalised frames and the present teacher's latents, (K S N, ...): originals, then mirrored samples."""
        algorithm, normalizers = self.algorithm, self.network.normalizers
        needed = {group for name in ("actor", "privileged") for group in algorithm.sets[name]}
        raw = {group: values for group, values in algorithm.stored_frames().items() if group in needed}
        if algorithm.symmetry is not None:
            raw = algorithm.symmetry.observations(raw)
        inputs = {name: normalizers[name](join(raw, algorithm.sets[name])) for name in ("actor", "privileged")}
        return {**inputs, "latent": self.network.teacher_latent(inputs)}

    def _action_loss(self, latent: torch.Tensor, targets: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Squared difference between the student's and the teacher's mean actions at `rows`."""
        inputs = {"actor": take_rows(targets["actor"], rows)}
        with torch.no_grad():
            teacher = self.network.head(inputs, take_rows(targets["latent"], rows))
        return losses.regression_loss(self.network.head(inputs, latent), teacher)

    def trained(self) -> list[list[nn.Parameter]]:
        """What learns, in lists that are clipped each on its own."""
        return [self.network.student_parameters()]

    def step(self, loss: torch.Tensor) -> None:
        """One gradient step of what learns here, and of nothing else."""
        set_gradients(self.algorithm.optimizer, loss, [parameter for part in self.trained() for parameter in part])
        self.clip()
        self.algorithm.optimizer.step()

    def clip(self) -> None:
        """Average the gradients over the processes and clip them."""
        parts = self.trained()
        self.algorithm.processes.average_gradients([parameter for part in parts for parameter in part])
        for part in parts:
            nn.utils.clip_grad_norm_(part, self.max_grad_norm)

    def state_dict(self) -> dict[str, Any]:
        """State of the generator."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue its random numbers."""
        self.generator.set_state(state["generator"].cpu())
