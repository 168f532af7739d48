"""One small transformer for many tasks: a shared trunk with a stem and a head for each kind of body."""

from __future__ import annotations

from typing import Any, Mapping

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.decision_transformer import LOG_STD_RANGE
from rsl_rl_ult.modules.mlp import MLP, EmpiricalNormalization
from rsl_rl_ult.modules.transformer import Transformer


class SquashedHead(nn.Module):
    """A policy head whose actions are action_scale tanh(u), u from an MLP."""

    action_scale: torch.Tensor

    def __init__(self, inputs: int, num_actions: int, hidden_dims: Any, activation: str = "elu") -> None:
        """Sizes as in `MLP`; the scale starts at 1."""
        super().__init__()
        self.layers = MLP(inputs, num_actions, hidden_dims, activation)
        self.register_buffer("action_scale", torch.ones(num_actions))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> actions (..., A)."""
        return self.action_scale * torch.tanh(self.layers(inputs))


class ActorCriticMulti(ActorCriticULT):
    """The student of a distillation from many teachers as a network that runs, exports and walks like ULT's student."""

    def __init__(self, *sizes: Any, actor_hidden_dims: Any = (64,), **options: Any) -> None:
        """As `ActorCriticULT`."""
        super().__init__(*sizes, actor_hidden_dims=actor_hidden_dims, **options)
        inputs = self._head_inputs(self.dims["actor"])
        activation = options.get("activation", "elu")
        self.actor = SquashedHead(inputs, self.num_actions, actor_hidden_dims, activation)  # pyright: ignore


class Body(nn.Module):
    """What belongs to one kind of body: tokens from its frames, and the distribution of its actions."""

    def __init__(self, num_obs: int, num_actions: int, width: int, token_dims: Any, head_dims: Any) -> None:
        """Sizes of frames and actions, of the trunk, and of the hidden layers."""
        super().__init__()
        self.num_obs, self.num_actions = num_obs, num_actions
        self.normalizer = EmpiricalNormalization(num_obs)
        self.tokenizer = MLP(num_obs + num_actions, width, token_dims)
        self.head = SquashedHead(width + num_obs, num_actions, head_dims)
        self.log_std = nn.Linear(width, num_actions)
        nn.init.zeros_(self.log_std.weight)
        nn.init.zeros_(self.log_std.bias)


class MultiTaskStudent(nn.Module):
    """Frames and last actions of T steps -> the distribution of u at each step, actions action_scale tanh(u)."""

    def __init__(
        self,
        bodies: Mapping[str, tuple[int, int]],
        width: int = 64,
        num_layers: int = 1,
        num_heads: int = 1,
        history_length: int = 20,
        feedforward_ratio: float = 2.0,
        token_hidden_dims: Any = (64,),
        hidden_dims: Any = (64,),
    ) -> None:
        """Build the networks.

        Args:
            bodies: name -> columns of a frame and of an action.
            width: of the trunk.
            num_layers: of the trunk.
            num_heads: of its attention.
            history_length: T, frames that a layer looks back over.
            feedforward_ratio: of the trunk.
            token_hidden_dims: hidden layers between frames and tokens.
            hidden_dims: hidden layers of the heads, which also read the frame.
        """
        super().__init__()
        self.transformer = Transformer(width, num_layers, num_heads, history_length, feedforward_ratio)
        self.bodies: Any = nn.ModuleDict(
            {name: Body(*sizes, width, token_hidden_dims, hidden_dims) for name, sizes in bodies.items()}
        )

    @property
    def context(self) -> int:
        """Frames before a step that its output depends on."""
        return self.transformer.context

    def forward(
        self, body: str, frames: torch.Tensor, last_actions: torch.Tensor, age: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation (B, steps, A) of u at the last `steps` steps.

        Args:
            body: whose frames these are.
            frames: (B, C + steps, D) raw.
            last_actions: (B, C + steps, A).
            age: (B, C + steps) frames of the episode up to and including each.
            steps: see above.
        """
        own = self.bodies[body]
        frames = own.normalizer(frames)
        output, _ = self.transformer(own.tokenizer(torch.cat((frames, last_actions), dim=-1)), None, age, steps)
        output = output[:, -steps:]
        low, high = LOG_STD_RANGE
        std = torch.exp(low + 0.5 * (high - low) * (torch.tanh(own.log_std(output)) + 1.0))
        return own.head.layers(torch.cat((output, frames[:, -steps:]), dim=-1)), std

    @torch.no_grad()
    def copy_to(self, network: ActorCriticMulti, body: str) -> None:
        """Make `network`, of the same sizes, the student of this trunk and `body`."""
        own = self.bodies[body]
        pairs = (
            (network.transformer, self.transformer),
            (network.frame_tokenizer, own.tokenizer),
            (network.actor, own.head),
            (network.normalizers["actor"], own.normalizer),
        )
        for target, source in pairs:
            target.load_state_dict(source.state_dict())
