"""Policies outside of Python: copies of what acting needs, as pure functions and as TorchScript with a state.

A `PolicyStep` is one control step as a pure function. Every policy has one (`as_step`), and whatever runs policies
(ONNX, TorchScript, another program) is built from it. Letters: B rows, T frames, D columns of a frame, P of the
privileged observation, A actions, M numbers that are remembered.
"""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any, Optional, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic import ActorCritic
from rsl_rl_ult.modules.actor_critic_ts import ActorCriticTS


class PolicyStep(nn.Module):
    """obs (B, D), privileged (B, P), state (B, M) -> actions (B, A), next state (B, M).

    A state of zeros starts an episode.

    What a policy does not use has no columns: P or M is 0. Actions are those of the network: whoever executes them
    clips.

    Attributes:
        num_obs: D.
        num_privileged: P.
        num_actions: A.
        state_kind: "none", "window" or "cache".
        state_size: M.
        history_length: frames that can matter for an action.
    """

    state_kind = "none"

    def __init__(
        self, num_obs: int, num_privileged: int, num_actions: int, state_size: int = 0, history_length: int = 1
    ) -> None:
        """Sizes as in the class."""
        super().__init__()
        self.num_obs, self.num_privileged, self.num_actions = num_obs, num_privileged, num_actions
        self.state_size, self.history_length = state_size, history_length

    def forward(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        raise NotImplementedError

    def example(self) -> tuple:
        """Zeros of the right shapes for one robot."""
        return torch.zeros(1, self.num_obs), torch.zeros(1, self.num_privileged), torch.zeros(1, self.state_size)

    def as_window(self, last_action: slice) -> nn.Module:
        """The same policy without any state: window (B, T, D) of raw frames -> actions (B, A).

        The newest frame is the last one, frames from before the episode are zero.

        T is `history_length` of this step. `last_action` are the columns of a frame that hold the action before it.
        """
        if self.num_privileged:
            raise ValueError("a teacher has no form on a window: it reads privileged data that a robot does not have")
        return self._window(last_action)

    def _window(self, last_action: slice) -> nn.Module:
        raise NotImplementedError

    def stateful(self, offset: Sequence[float] = (), scale: float = 1.0, clip: float = math.inf) -> StatefulPolicy:
        """This step with its state inside, for TorchScript; see `StatefulPolicy`."""
        return StatefulPolicy(self, offset, scale, clip)


FORGETS = (
    "this policy keeps its past between calls, which a traced copy or an ONNX file of it would lose: use "
    "torch.jit.script, or as_onnx(), whose module takes the past as an input (hosts before rsl-rl-lib 4: "
    "alg.actor_critic.export_onnx(path), alg.policy.export_onnx(path))"
)


def is_recorded() -> bool:
    """Whether torch records what runs now into a graph (`torch.jit.trace`, `torch.onnx.export`, `torch.export`)."""
    exporting = getattr(getattr(torch, "compiler", None), "is_exporting", None)  # torch 2.7 and newer
    tracing = torch.jit.is_tracing()  # pyright: ignore
    return tracing or torch.onnx.is_in_onnx_export() or bool(exporting and exporting())


class StatefulPolicy(nn.Module):
    """Current observation of one robot (1, D) [, privileged (1, P)] -> actions (1, A); the state is kept between calls.

    It can be scripted, and not be traced: a graph of one call has no place for the state (`ValueError`).
    """

    def __init__(
        self, step: PolicyStep, offset: Sequence[float] = (), scale: float = 1.0, clip: float = math.inf
    ) -> None:
        """Start with an empty state; the step is traced on the CPU, its shapes never change.

        Args:
            step: what acts; a copy is taken.
            offset: (A) joint targets [rad] at action zero; nothing: zeros.
            scale: rad per unit of action.
            clip: returned actions are within +- this.
        """
        super().__init__()
        step = copy.deepcopy(step).cpu().eval().requires_grad_(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing says what "its shapes never change" says
            self.step: Any = torch.jit.trace(step, step.example(), check_trace=False)
        self.scale, self.clip = float(scale), float(clip)
        self.register_buffer("state", torch.zeros(1, step.state_size))
        self.register_buffer("offset", torch.tensor(list(offset) or [0.0] * step.num_actions, dtype=torch.float32))

    # TorchScript of old torch versions knows Optional only.
    def forward(self, obs: torch.Tensor, privileged: Optional[torch.Tensor] = None) -> torch.Tensor:  # noqa: UP045
        """(1, D) [, (1, P)] -> (1, A)."""
        # Two conditions: TorchScript leaves out what the first one alone guards.
        if not torch.jit.is_scripting():  # noqa: SIM102  # pyright: ignore
            if self.state.shape[1] and is_recorded():
                raise ValueError(FORGETS)
        extra = obs[:, :0] if privileged is None else privileged
        actions, self.state = self.step(obs, extra, self.state)
        return actions.clamp(-self.clip, self.clip)

    def __getitem__(self, index: int) -> nn.Module:
        """Forks size the example of an ONNX file by `actor[0].in_features`: told here, before they trace."""
        raise ValueError(FORGETS)

    @torch.jit.export
    def targets(self, actions: torch.Tensor) -> torch.Tensor:
        """Joint targets [rad] of actions, both (1, A)."""
        return self.offset + self.scale * actions  # pyright: ignore

    @torch.jit.export
    def reset(self) -> None:
        """A new episode starts: nothing is remembered."""
        self.state = torch.zeros_like(self.state)


# -- policies that remember nothing ------------------------------------------------------------------------------------


class FrameExport(nn.Module):
    """Current observation (B, D) -> actions (B, A)."""

    input_names = ("obs",)
    output_names = ("actions",)

    def __init__(self, network: ActorCritic) -> None:
        """Copy what acting needs."""
        super().__init__()
        self.normalizer = copy.deepcopy(network.normalizers["actor"])
        self.actor = network.distribution.deterministic(network.actor)
        self._dim = network.dims["actor"]

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """(B, D) -> (B, A)."""
        return self.actor(self.normalizer(obs))

    def __getitem__(self, index: int) -> nn.Module:
        """A layer of the network: forks size the example of an ONNX file by `actor[0].in_features`."""
        return self.actor[index]  # pyright: ignore

    @torch.jit.unused
    def get_dummy_inputs(self) -> tuple:
        """Inputs of the right shapes, for tracing."""
        return (torch.zeros(1, self._dim),)

    @torch.jit.export
    def reset(self) -> None:
        """Nothing is remembered."""


class FrameStep(PolicyStep):
    """A policy that is a function of the current observation."""

    def __init__(self, act: nn.Module, num_obs: int, num_actions: int) -> None:
        """`act` maps (B, D) to (B, A); it may come from anywhere."""
        super().__init__(num_obs, 0, num_actions)
        self.act = act

    def forward(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PolicyStep`."""
        return self.act(obs), state

    def _window(self, last_action: slice) -> nn.Module:
        return _NewestFrame(self.act)


class _NewestFrame(nn.Module):
    """Windows of one frame."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = copy.deepcopy(act)

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return self.act(window[:, -1])


class TeacherStep(PolicyStep):
    """The teacher of TS, CTS, RMA and SITT: acts from the current observation and the latent of the privileged one."""

    def __init__(self, network: ActorCriticTS) -> None:
        """Copy what acting needs."""
        super().__init__(network.dims["actor"], network.dims["privileged"], network.num_actions)
        self.normalizer = copy.deepcopy(network.normalizers["actor"])
        self.privileged_normalizer = copy.deepcopy(network.normalizers["privileged"])
        self.privilege_encoder = copy.deepcopy(network.privilege_encoder)
        self.actor = network.distribution.deterministic(network.actor)
        self.l2, self.head_reads_frame = network.latent_norm == "l2", network.head_reads_frame

    def forward(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PolicyStep`."""
        latent = self.privilege_encoder(self.privileged_normalizer(privileged))
        if self.l2:
            latent = nn.functional.normalize(latent, dim=-1)
        read = torch.cat((self.normalizer(obs), latent), dim=-1) if self.head_reads_frame else latent
        return self.actor(read), state


# -- students that read a window ---------------------------------------------------------------------------------------


class WindowExport(nn.Module):
    """Window of raw frames (B, T, D), the newest last and zeros before the episode -> actions (B, A)."""

    input_names = ("obs_history",)
    output_names = ("actions",)

    def __init__(self, network: ActorCriticTS) -> None:
        """Copy what acting needs."""
        super().__init__()
        self.normalizer = copy.deepcopy(network.normalizers["actor"])
        self.history_encoder = copy.deepcopy(network.history_encoder)
        self.actor = network.distribution.deterministic(network.actor)
        self.l2, self.head_reads_frame = network.latent_norm == "l2", network.head_reads_frame
        self.length, self.dim = network.history_length, network.dims["actor"]

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, A)."""
        frames = self.normalizer(window)
        latent = self.history_encoder(frames)
        if self.l2:
            latent = nn.functional.normalize(latent, dim=-1)
        return self.actor(torch.cat((frames[:, -1], latent), dim=-1) if self.head_reads_frame else latent)

    @torch.jit.unused
    def get_dummy_inputs(self) -> tuple:
        """Inputs of the right shapes, for tracing."""
        return (torch.zeros(1, self.length, self.dim),)


class WindowStep(PolicyStep):
    """A student of TS, CTS, RMA or SITT; the state is its last T raw frames, flattened, oldest first."""

    state_kind = "window"

    def __init__(self, network: ActorCriticTS) -> None:
        """Copy what acting needs."""
        length, dim = network.history_length, network.dims["actor"]
        super().__init__(dim, 0, network.num_actions, length * dim, length)
        self.policy = WindowExport(network)

    def forward(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `PolicyStep`."""
        window = torch.cat((state[:, self.num_obs :], obs), dim=1)
        return self.policy(window.reshape(-1, self.history_length, self.num_obs)), window

    def _window(self, last_action: slice) -> nn.Module:
        return copy.deepcopy(self.policy)
