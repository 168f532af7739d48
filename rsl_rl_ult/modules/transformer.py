"""The transformer of ULT: frames look back over a band of T frames; nobody looks at privileged tokens.

A sequence holds *frames* H (what happened, step by step) and *privileged tokens* E (one per step, optional). Frame H_k
attends to H_{k-T+1} ... H_k of its episode; privileged token E_t attends to H_{t-T+1} ... H_t and to itself. Frames
never touch a privileged token, not even through a masked score.

Letters: B rows, F frames, S steps, D width, h heads, d = D / h, T window, L layers. A frame's output depends on the
last L (T - 1) frames, which is why a pass over S steps wants that many frames of context.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from rsl_rl_ult.modules.attention import (
    HAS_SDPA,
    KERNELS,
    attend,
    attend_and_self,
    band_mask,
    without_past_episodes,
)

CHUNK = 32  # queries that share one block of keys: a long band is cut into such blocks, or its cost would grow with S^2


class Block(nn.Module):
    """Pre-norm attention and feed-forward network, each added to what comes in."""

    def __init__(
        self, width: int, num_heads: int, window: int, feedforward_ratio: float, zero_init: bool, kernel: str
    ) -> None:
        """Sizes as in `Transformer`."""
        super().__init__()
        self.heads, self.window, self.kernel = num_heads, window, kernel
        hidden = max(1, round(width * feedforward_ratio))
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        # Without biases: softmax would not feel that of the keys, that of the values would repeat the output's.
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.feedforward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        # Head i prefers the near past: -2^(-8 (i + 1) / h) per frame of distance (ALiBi, Press et al. 2022), learnt
        # from there on.
        slopes = 2.0 ** (-8.0 * torch.arange(1, num_heads + 1) / num_heads)
        near = -slopes[:, None] * torch.arange(window)
        # One entry per distance; the last one is a privileged token's for itself.
        self.distance_bias = nn.Parameter(torch.cat((near, torch.zeros(num_heads, 1)), dim=1))
        if zero_init:
            for layer in (self.output, self.feedforward[2]):
                nn.init.zeros_(layer.weight)  # pyright: ignore
                nn.init.zeros_(layer.bias)  # pyright: ignore

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, n, D) -> (B, h, n, d)."""
        # No `unflatten` in what is exported: the tracer of torch 1.10 to 1.12 takes it for a named tensor, and refuses.
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.query.out_features // self.heads).transpose(1, 2)

    def project(self, x: torch.Tensor, queries: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (B, h, n, d) of the last n = `queries` rows of x (B, m, D), keys and values (B, h, m, d) of all."""
        x = self.attention_norm(x)
        keys, values = self.key_value(x).chunk(2, dim=-1)
        last = x if queries == x.shape[1] else x[:, x.shape[1] - queries :]
        return self.split(self.query(last)), self.split(keys), self.split(values)

    def finish(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Add what was attended (B, h, n, d) and the feed-forward network to x (B, n, D)."""
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.feedforward(self.feedforward_norm(x))

    def forward(
        self, frames: torch.Tensor, privileged_tokens: torch.Tensor | None, mask: torch.Tensor, kept: int
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, torch.Tensor]]:
        """One layer over a segment.

        Args:
            frames: (B, F, D).
            privileged_tokens: (B, S, D), those of the last S frames; None without.
            mask: (B, 1, F, F) of `band_mask`.
            kept: frames at the end whose outputs are wanted, at least S.

        Returns:
            Frames (B, kept, D), privileged tokens (B, S, D) or None, and keys and values (B, h, F, d) of the frames.
        """
        queries, keys, values = self.project(frames, kept)
        outputs = frames[:, frames.shape[1] - kept :]
        if kept:
            outputs = self.finish(outputs, self._band(queries, keys, values, mask, None))
        if privileged_tokens is not None:
            queries, *own = self.project(privileged_tokens, privileged_tokens.shape[1])
            privileged_tokens = self.finish(privileged_tokens, self._band(queries, keys, values, mask, own))
        return outputs, privileged_tokens, (keys, values)

    def _band(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, own: list | None
    ) -> torch.Tensor:
        """The last n of F frames look back over the band, (B, h, n, d); with `own` keys and values also at those."""
        count, frames = query.shape[2], keys.shape[2]
        parts = -(-count // CHUNK)
        found = []
        for part in range(parts):
            start, stop = part * count // parts, (part + 1) * count // parts
            rows = slice(frames - count + start, frames - count + stop)
            columns = slice(max(0, rows.start - self.window + 1), rows.stop)
            asked, seen, looked_at = query[:, :, start:stop], keys[:, :, columns], values[:, :, columns]
            bias = (self.distances(stop - start, seen.shape[2]), mask[:, :, rows, columns])
            if own is None:
                found.append(attend(asked, seen, looked_at, bias, self.kernel))
            else:
                self_bias, itself = self.distance_bias[:, -1:], (own[0][:, :, start:stop], own[1][:, :, start:stop])
                found.append(attend_and_self(asked, seen, looked_at, bias, itself, self_bias, self.kernel))
        return found[0] if parts == 1 else torch.cat(found, dim=2)

    def privileged_bias(self) -> torch.Tensor:
        """(h, 2) bias of a frame and its privileged token for themselves; the frame stands among the keys already."""
        own = self.distance_bias[:, -1:]
        return torch.cat((torch.full_like(own, -math.inf), own), dim=1)

    def distances(self, queries: int, keys: int) -> torch.Tensor:
        """(h, n, m) bias of the last n of m frames by their distance to all m."""
        index = torch.arange(keys, device=self.distance_bias.device)
        distance = (index[keys - queries :, None] - index).clamp(0, self.window - 1)
        return self.distance_bias[:, distance]


class KeyValueCache:
    """Keys and values of the last T frames of N environments, layer by layer: what acting needs of the past.

    A ring: frames keep their slot and are never moved, because what depends on time is their distance, not their place.
    """

    def __init__(self, layers: int, num_envs: int, heads: int, window: int, head_dim: int, like: torch.Tensor) -> None:
        """Empty, with room for T frames, of the type and on the device of `like`."""
        self.window, self.slot = window, window - 1
        with torch.inference_mode(False):  # may be made in a rollout and used outside of it
            self.keys = torch.zeros(layers, num_envs, heads, window, head_dim, dtype=like.dtype, device=like.device)
            self.values = torch.zeros_like(self.keys)
            # Frames of the current episode so far.
            self.age = torch.zeros(num_envs, dtype=torch.long, device=like.device)

    def reset(self, dones: torch.Tensor) -> None:
        """Forget the episodes of environments with `dones` (N,)."""
        self.age.masked_fill_(dones.bool(), 0)
        # A mask hides numbers, not NaN: 0 * NaN is NaN. What a diverged robot has left goes with its episode.
        ended = dones.nonzero().flatten()
        self.keys.index_fill_(1, ended, 0.0)
        self.values.index_fill_(1, ended, 0.0)

    def advance(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Make room for the next frame; returns the distance of each slot (T,) and the additive mask (N, 1, 1, T)."""
        self.slot = (self.slot + 1) % self.window
        self.age += 1
        distance = (self.slot - torch.arange(self.window, device=self.age.device)) % self.window
        hidden = distance >= self.age[:, None]
        return distance, torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, -math.inf)[:, None, None]

    def put(self, layer: int, slot: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write keys and values (N, h, n, d) of one layer from `slot` on."""
        self.keys[layer, :, :, slot : slot + keys.shape[2]] = keys
        self.values[layer, :, :, slot : slot + keys.shape[2]] = values


class Transformer(nn.Module):
    """L blocks over frames and privileged tokens, and a last normalisation."""

    def __init__(
        self,
        width: int = 128,
        num_layers: int = 2,
        num_heads: int = 4,
        window: int = 16,
        feedforward_ratio: float = 4.0,
        zero_init: bool = True,
        kernel: str = "auto",
    ) -> None:
        """Build the blocks.

        Args:
            width: D, a multiple of `num_heads`.
            num_layers: L.
            num_heads: h.
            window: T, frames that a frame sees, itself included.
            feedforward_ratio: hidden width of the feed-forward networks as a multiple of D.
            zero_init: blocks start as the identity, so that learning starts from the plain token networks.
            kernel: "sdpa", "softmax" or "auto", see `attend`.
        """
        super().__init__()
        if kernel not in KERNELS:
            raise ValueError(f"attention_kernel '{kernel}': expected one of {', '.join(KERNELS)}")
        if kernel == "sdpa" and not HAS_SDPA:
            raise ValueError(
                f"attention_kernel 'sdpa' needs torch 2.0 or newer, found {torch.__version__}: use softmax"
            )
        if min(width, num_layers, num_heads, window) < 1 or width % num_heads:
            raise ValueError(
                f"width={width}, num_layers={num_layers}, num_heads={num_heads}, history_length={window}: expected at "
                "least 1 of each, and a width that the number of heads divides"
            )
        if not feedforward_ratio > 0.0:
            raise ValueError(f"feedforward_ratio={feedforward_ratio}: expected a positive number")
        self.width, self.heads, self.window = width, num_heads, window
        self.blocks: Any = nn.ModuleList(
            Block(width, num_heads, window, feedforward_ratio, zero_init, kernel) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)

    @property
    def context(self) -> int:
        """C = L (T - 1): frames before the first step that its output depends on."""
        return len(self.blocks) * (self.window - 1)

    def forward(
        self, frames: torch.Tensor, privileged_tokens: torch.Tensor | None, age: torch.Tensor, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Outputs of the last `steps` (S) frames and of their privileged tokens, in one pass.

        Args:
            frames: (B, F, D); all that the outputs depend on where F is at least `context` + S, or where the episode
                starts in it.
            privileged_tokens: (B, S, D), or None.
            age: (B, F), as in `band_mask`.
            steps: S.

        Returns:
            (B, S, D) and (B, S, D), or None without privileged tokens.
        """
        frames, mask = without_past_episodes(frames, age), band_mask(age, self.window)
        for index, block in enumerate(self.blocks):
            kept = self._kept(frames, index, steps)
            frames, privileged_tokens, _ = block(frames, privileged_tokens, mask, kept)
            mask = mask[:, :, -kept:, -kept:]
        return self.norm(frames), None if privileged_tokens is None else self.norm(privileged_tokens)

    def last(self, frames: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        """`forward` for the last of exactly C + 1 frames, with sizes that are known beforehand, as exporters want them.

        Args:
            frames: (B, C + 1, D).
            age: (B, C + 1), as in `band_mask`.

        Returns:
            (B, D).
        """
        frames, mask = without_past_episodes(frames, age), band_mask(age, self.window)
        for index, block in enumerate(self.blocks):
            kept = 1 + (len(self.blocks) - 1 - index) * (self.window - 1)
            length = kept + self.window - 1
            queries, keys, values = block.project(frames, kept)
            bias = (block.distances(kept, length), mask[:, :, -kept:, -length:])
            frames = block.finish(frames[:, -kept:], attend(queries, keys, values, bias, "softmax"))
        return self.norm(frames[:, -1])

    def _kept(self, frames: torch.Tensor, layer: int, steps: int) -> int:
        """Frames at the end of the segment that the layers above `layer` still look at."""
        return min(frames.shape[1], steps + (len(self.blocks) - 1 - layer) * (self.window - 1))

    # -- one step at a time ------------------------------------------------------------------------------------------

    def make_cache(self, num_envs: int) -> KeyValueCache:
        """An empty cache."""
        sizes = len(self.blocks), num_envs, self.heads, self.window, self.width // self.heads
        return KeyValueCache(*sizes, self.norm.weight)

    def prime(self, frames: torch.Tensor, age: torch.Tensor) -> KeyValueCache:
        """The cache after `frames` (N, C, D) with `age` (N, C): as if they had been given to `step` one by one."""
        cache = self.make_cache(len(frames))
        if frames.shape[1] == 0:
            return cache
        past = min(self.window - 1, frames.shape[1])
        cache.slot = past - 1
        cache.age.copy_(age[:, -1].clamp(min=0))
        frames, mask = without_past_episodes(frames, age), band_mask(age, self.window)
        for index, block in enumerate(self.blocks):
            kept = self._kept(frames, index, 0)
            frames, _, (keys, values) = block(frames, None, mask, kept)
            cache.put(index, 0, keys[:, :, keys.shape[2] - past :], values[:, :, keys.shape[2] - past :])
            mask = mask[:, :, -kept:, -kept:]
        return cache

    def step(
        self, frame: torch.Tensor, privileged_token: torch.Tensor | None, cache: KeyValueCache
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Outputs (N, D) of the next frame and of its privileged token, or None; the frame is added to `cache`."""
        distance, mask = cache.advance()
        # Frame and privileged token are two queries over the same keys, so that the cache is read once.
        x = frame[:, None] if privileged_token is None else torch.stack((frame, privileged_token), dim=1)
        for index, block in enumerate(self.blocks):
            queries, keys, values = block.project(x, x.shape[1])
            cache.put(index, cache.slot, keys[:, :, :1], values[:, :, :1])
            past, bias = (cache.keys[index], cache.values[index]), (block.distance_bias[:, distance][:, None], mask)
            if privileged_token is None:
                attended = attend(queries, *past, bias, block.kernel)
            else:
                attended = attend_and_self(queries, *past, bias, (keys, values), block.privileged_bias(), block.kernel)
            x = block.finish(x, attended)
        x = self.norm(x)
        return x[:, 0], None if privileged_token is None else x[:, 1]

    def step_with(
        self, frame: torch.Tensor, past: torch.Tensor, seen: torch.Tensor, privileged_token: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`step` as a pure function, for deployment.

        Args:
            frame: (B, D).
            past: (B, L, 2, h, T - 1, d), keys and values of the frames before, oldest first.
            seen: (B, T - 1), 1 for frames of the current episode, 0 for others.
            privileged_token: (B, D), or None.

        Returns:
            The output (B, D) of the privileged token, or of the frame without one, and the `past` of the next step.
        """
        x = frame[:, None] if privileged_token is None else torch.stack((frame, privileged_token), dim=1)
        mask = torch.zeros_like(seen).masked_fill(seen < 0.5, -math.inf)[:, None, None]
        mask = nn.functional.pad(mask, (0, 1))  # the frame is seen by itself and by its privileged token
        following = []
        for index, block in enumerate(self.blocks):
            queries, keys, values = block.project(x, x.shape[1])
            new = torch.stack((keys[:, :, :1], values[:, :, :1]), dim=1)  # (B, 2, h, 1, d)
            both = torch.cat((past[:, index], new), dim=3)
            following.append(both[:, :, :, 1:])
            band, bias = (both[:, 0], both[:, 1]), (block.distance_bias[:, : self.window].flip(-1)[:, None], mask)
            if privileged_token is None:
                attended = attend(queries, *band, bias, block.kernel)
            else:
                attended = attend_and_self(queries, *band, bias, (keys, values), block.privileged_bias(), block.kernel)
            x = block.finish(x, attended)
        return self.norm(x[:, -1]), torch.stack(following, dim=1)
