"""A Decision Transformer for continuous actions (Chen et al. 2021), on the attention code of `transformer.py`.

An episode is a sequence of tokens: the action before, the return to go, the state, and so on; the action is read from
the state's token. Sizes and order are those of kzl/decision-transformer (gym/). What differs:

- a token looks back over the last K steps wherever it stands (a band), so that a cache gives exactly what a pass over
  the whole episode gives; the published code cuts windows of K steps and starts each anew;
- the weights of the attention have no dropout (what it adds has).

Letters: B rows, S steps, D columns of a frame, A actions, W width, K steps of context, N environments.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rsl_rl_ult.modules.mlp import EmpiricalNormalization
from rsl_rl_ult.modules.transformer import Block, KeyValueCache, Transformer

HEADS = ("gaussian", "mse")
LOG_STD_RANGE = (-5.0, 2.0)
"""Bounds of the logarithm of the deviation, as in Online Decision Transformers (Zheng et al. 2022)."""


class _DropoutBlock(Block):
    """GPT-2's block: ReLU, and dropout on what is added."""

    def __init__(self, width: int, num_heads: int, window: int, ratio: float, dropout: float) -> None:
        super().__init__(width, num_heads, window, ratio, zero_init=False, kernel="auto")
        hidden = max(1, round(width * ratio))
        self.feedforward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Dropout(dropout)
        )
        self.residual = nn.Dropout(dropout)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """As in `Block`, with dropout."""
        x = x + self.residual(self.output(attended.transpose(1, 2).flatten(2)))
        return x + self.feedforward(self.feedforward_norm(x))


class Trunk(Transformer):
    """L blocks with dropout, and a last normalisation."""

    def __init__(
        self, width: int, num_layers: int, num_heads: int, window: int, feedforward_ratio: float, dropout: float
    ) -> None:
        """Sizes as in `Transformer`; `window` counts tokens."""
        super().__init__(width, num_layers, num_heads, window, feedforward_ratio)
        self.blocks = nn.ModuleList(
            _DropoutBlock(width, num_heads, window, feedforward_ratio, dropout) for _ in range(num_layers)
        )


class DecisionTransformer(nn.Module):
    """Frames, actions and returns to go of an episode -> a distribution of the action at each step.

    With `head` "gaussian", actions are tanh(u) * action_scale, u normal with the mean and deviation that `forward`
    returns. With "mse", they are mean * action_scale with the tanh inside of the mean, and the deviation is the
    constant `residual`, the error on held-out episodes.

    Attributes:
        normalizer: of frames, by the mean and deviation of the data set.
        action_scale: (A,) largest size of each action.
        return_scale: () returns are divided by it.
        residual: (A,) deviation of "mse", in actions divided by `action_scale`.
    """

    action_scale: torch.Tensor
    return_scale: torch.Tensor
    residual: torch.Tensor

    def __init__(
        self,
        num_obs: int,
        num_actions: int,
        width: int = 128,
        num_layers: int = 3,
        num_heads: int = 1,
        context_steps: int = 20,
        max_steps: int = 1000,
        returns: bool = True,
        actions: bool = True,
        head: str = "gaussian",
        dropout: float = 0.1,
        feedforward_ratio: float = 4.0,
    ) -> None:
        """Build the network.

        Args:
            num_obs: D.
            num_actions: A.
            width: W of all tokens.
            num_layers: blocks.
            num_heads: of attention.
            context_steps: K.
            max_steps: entries of the embedding of time; later steps share the last one. 0: no such embedding, and the
                attention learns a bias for each distance instead.
            returns: there are tokens of the return to go; without, this is cloning by a transformer.
            actions: there are tokens of the actions before.
            head: "gaussian" or "mse".
            dropout: of embeddings and of what blocks add.
            feedforward_ratio: hidden width of the feed-forward networks as a multiple of W.
        """
        if head not in HEADS:
            raise ValueError(f"head '{head}': expected one of {', '.join(HEADS)}")
        if min(num_obs, num_actions, context_steps) < 1 or max_steps < 0:
            raise ValueError(
                f"num_obs={num_obs}, num_actions={num_actions}, context_steps={context_steps}, max_steps={max_steps}: "
                "expected at least 1, 1, 1, 0"
            )
        super().__init__()
        self.num_obs, self.num_actions, self.context_steps, self.kind = num_obs, num_actions, context_steps, head
        self.has_actions, self.max_steps, self.per_step = actions, max_steps, 1 + actions + returns
        self.embed_frame = nn.Linear(num_obs, width)
        self.embed_action = nn.Linear(num_actions, width) if actions else None
        self.embed_return = nn.Linear(1, width) if returns else None
        self.embed_time = nn.Embedding(max_steps, width) if max_steps else None
        self.embedding_norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)
        window = self.per_step * context_steps
        self.transformer = Trunk(width, num_layers, num_heads, window, feedforward_ratio, dropout)
        if max_steps:  # the published blocks have no such bias
            for block in self.transformer.blocks:
                nn.init.zeros_(block.distance_bias.requires_grad_(False))
        self.mean = nn.Linear(width, num_actions)
        self.log_std = nn.Linear(width, num_actions) if head == "gaussian" else None
        if self.log_std is not None:
            for layer in (self.mean, self.log_std):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.normalizer = EmpiricalNormalization(num_obs, eps=1e-6)
        self.register_buffer("action_scale", torch.ones(num_actions))
        self.register_buffer("return_scale", torch.tensor(1.0))
        self.register_buffer("residual", torch.ones(num_actions))

    # -- tokens ------------------------------------------------------------------------------------------------------

    def tokens(
        self, frames: torch.Tensor, last_actions: torch.Tensor, returns: torch.Tensor, time: torch.Tensor
    ) -> torch.Tensor:
        """(..., n, W) tokens of steps: action before, return to go, state, those that there are."""
        parts = []
        if self.embed_action is not None:
            parts.append((self.embed_action(last_actions / self.action_scale), time - 1))
        if self.embed_return is not None:
            parts.append((self.embed_return(returns[..., None] / self.return_scale), time))
        parts.append((self.embed_frame(self.normalizer(frames)), time))
        tokens = torch.stack([token for token, _ in parts], dim=-2)
        if self.embed_time is not None:
            times = torch.stack([when for _, when in parts], dim=-1).clamp(0, self.max_steps - 1)
            tokens = tokens + self.embed_time(times)
        return self.dropout(self.embedding_norm(tokens))

    def distribution(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation (..., A) from outputs (..., W) of state tokens; see the class."""
        mean = self.mean(features)
        if self.log_std is None:
            return torch.tanh(mean), self.residual.expand_as(mean)
        low, high = LOG_STD_RANGE
        return mean, torch.exp(low + 0.5 * (high - low) * (torch.tanh(self.log_std(features)) + 1.0))

    def act(self, mean: torch.Tensor) -> torch.Tensor:
        """Deterministic actions (..., A) of a mean (..., A)."""
        return (torch.tanh(mean) if self.kind == "gaussian" else mean) * self.action_scale

    def forward(
        self,
        frames: torch.Tensor,
        last_actions: torch.Tensor,
        returns: torch.Tensor,
        age: torch.Tensor,
        steps: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation (B, steps, A) of the action at each of the last `steps` steps, all S by default.

        Args:
            frames: (B, S, D) raw; what is before the episode is not looked at.
            last_actions: (B, S, A) executed before each frame.
            returns: (B, S) sum of rewards from each step to the end of the episode.
            age: (B, S) frames of its episode up to and including each.
            steps: see above.
        """
        steps, count = frames.shape[1] if steps is None else steps, self.per_step
        tokens = self.tokens(frames, last_actions, returns, age - 1).flatten(1, 2)
        # Tokens of an episode count from 1; before its first frame there was no action: that token has the age 0.
        first = 0 if self.has_actions else 1
        token_age = (count * (age - 1)[..., None] + torch.arange(first, count + first, device=age.device)).flatten(1)
        outputs, _ = self.transformer(tokens, None, token_age, count * steps)
        outputs = outputs[:, -count * steps :]
        return self.distribution(outputs[:, count - 1 :: count])

    @property
    def context(self) -> int:
        """Steps before a step that its output depends on."""
        return -(-self.transformer.context // self.per_step)

    # -- one step at a time ------------------------------------------------------------------------------------------

    def make_cache(self, num_envs: int) -> KeyValueCache:
        """An empty cache."""
        return self.transformer.make_cache(num_envs)

    def step(
        self,
        frames: torch.Tensor,
        last_actions: torch.Tensor,
        returns: torch.Tensor,
        time: torch.Tensor,
        cache: KeyValueCache,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation (N, A) of the next step, whose tokens are added to `cache`.

        Args:
            frames: (N, D) raw.
            last_actions: (N, A) executed before.
            returns: (N,) to go.
            time: (N,) step in the episode, from 0.
            cache: of these environments, with the episodes that ended reset.
        """
        output: Any = None
        for index, token in enumerate(self.tokens(frames, last_actions, returns, time).unbind(1)):
            output, _ = self.transformer.step(token, None, cache)
            if index == 0 and self.has_actions:
                cache.age.masked_fill_(time == 0, 0)  # no action was before: nobody looks at that token
        return self.distribution(output)
