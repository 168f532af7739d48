"""What acts outside of training: policies on observation groups. Their forms outside of Python are in export.py."""

from __future__ import annotations

from typing import Mapping, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS
from rsl_rl_ult.policies.export import FrameExport, FrameStep, PolicyStep, TeacherStep, WindowExport, WindowStep
from rsl_rl_ult.storage.history import HistoryBuffer


def join(observations: Mapping[str, torch.Tensor], groups: Sequence[str]) -> torch.Tensor:
    """Columns of several observation groups (N, d) side by side: (N, D)."""
    if len(groups) == 1:
        return observations[groups[0]]
    return torch.cat([observations[group] for group in groups], dim=-1)


class Policy(nn.Module):
    """Deterministic actions of the network that PPO trains: the policy itself, or the teacher."""

    is_recurrent = False

    def __init__(self, network: ActorCritic, sets: Mapping[str, Sequence[str]]) -> None:
        """Act with `network` on the observation groups that `sets` names for each observation set."""
        super().__init__()
        self.network = network
        self.sets = {name: list(groups) for name, groups in sets.items()}

    @property
    def output_std(self) -> torch.Tensor:
        """(A,) standard deviation of the actions in training, for the logger; zeros of a categorical policy."""
        return self.network.std().detach()

    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Observation groups (N, ...) -> deterministic actions (N, A): the mean, or the likeliest choice."""
        # Who plays a policy need not have what the critic reads.
        raw = {name: join(observations, self.sets[name]) for name in self.network.dims if name != "critic"}
        return self.network.distribution.mode(self.network.policy_mean(self.network.inputs(raw)))

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Nothing is remembered."""

    def on_acted(self, actions: torch.Tensor) -> None:
        """Other actions (N, A) than its last ones were executed: drawn around them, or another policy's."""

    def memory(self) -> dict[str, torch.Tensor]:
        """What is remembered of the present episodes; nothing here."""
        return {}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Take over what `memory` returned, for as many environments."""

    def as_jit(self) -> nn.Module:
        """A TorchScript-compatible copy: current observation (B, D) -> actions (B, A)."""
        return self._export()

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """A copy for `torch.onnx.export`, with `get_dummy_inputs`, `input_names` and `output_names`."""
        return self._export()

    def _export(self) -> nn.Module:
        if isinstance(self.network, ActorCriticTS):
            raise ValueError("a teacher reads privileged data that a robot does not have: export the student")
        return FrameExport(self.network)

    def as_step(self) -> PolicyStep:
        """A copy as one control step, a pure function; teachers too."""
        network = self.network
        if isinstance(network, ActorCriticTS):
            return TeacherStep(network)
        return FrameStep(FrameExport(network), network.dims["actor"], network.num_actions)


class StudentPolicy(Policy):
    """Deterministic actions of a student that reads the last T frames; it keeps them itself."""

    network: ActorCriticTS

    def __init__(self, network: ActorCriticTS, sets: Mapping[str, Sequence[str]]) -> None:
        """As `Policy`; an environment's own window is read when `sets` names one under `history`."""
        super().__init__(network, sets)
        self._history: HistoryBuffer | None = None

    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Observation groups (N, ...) of the next step -> deterministic actions (N, A)."""
        network, frame = self.network, join(observations, self.sets["actor"])
        window = observations[self.sets["history"][0]] if "history" in self.sets else self._append(frame)
        normalize = network.normalizers["actor"]
        mean = network.head({"actor": normalize(frame)}, network.student_latent(normalize(window)))
        return network.distribution.mode(mean)

    def _append(self, frame: torch.Tensor) -> torch.Tensor:
        history = self._history
        if history is None or not history.fits(frame):
            history = HistoryBuffer(len(frame), self.network.history_length, frame.shape[1], frame.device)
            self._history = history
        history.append(frame)
        return history.window()

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the frames of environments with `dones` (N,), of all without it."""
        if dones is None:
            self._history = None
        elif self._history is not None:
            self._history.reset(dones)

    def as_jit(self) -> nn.Module:
        """A TorchScript-compatible copy for one robot: observation (1, D) -> actions (1, A); keeps the window."""
        return self.as_step().stateful()

    def as_onnx(self, verbose: bool = False) -> nn.Module:
        """A copy without state for `torch.onnx.export`: window (B, T, D) -> actions (B, A)."""
        return WindowExport(self.network)

    def as_step(self) -> PolicyStep:
        """A copy as one control step, a pure function of the observation and the window before it."""
        return WindowStep(self.network)
