"""What was collected since the last update: named tensors, and the frames before it that histories reach back to."""

from __future__ import annotations

from typing import Mapping

import torch


class RolloutStorage:
    """S steps of N environments, one buffer (S, N, ...) per name.

    Names with a `context` also keep that many frames of the previous rollouts. Windows of frames are cut from there; a
    frame is stored once, however long the windows are.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        device: torch.device | str = "cpu",
        context: Mapping[str, int] | None = None,
    ) -> None:
        """Buffers are made when a name is first added.

        Args:
            num_steps: S.
            num_envs: N.
            device: where the buffers live.
            context: name -> frames C kept from before the rollout.
        """
        if num_steps < 1 or num_envs < 1:
            raise ValueError(f"num_steps={num_steps} and num_envs={num_envs}: expected at least 1 of both")
        self.num_steps, self.num_envs, self.device = num_steps, num_envs, device
        self.context = dict(context or {})
        self.step = 0
        # Frames an environment has seen of its episode up to and including each step; before the first, none.
        self.age = torch.zeros(num_steps, num_envs, dtype=torch.long, device=device)
        self._next_age = torch.ones(num_envs, dtype=torch.long, device=device)
        self._buffers: dict = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        """(S, N, ...) values called `name`."""
        context = self.context.get(name, 0)
        rows = self._buffers[name][context * self.num_envs : (context + self.num_steps) * self.num_envs]
        return rows.unflatten(0, (self.num_steps, self.num_envs))

    def __contains__(self, name: str) -> bool:
        """Whether `name` was ever added."""
        return name in self._buffers

    def flat(self, name: str) -> torch.Tensor:
        """(S N, ...) view, time-major: row t N + n is step t of environment n."""
        return self[name].flatten(0, 1)

    def collected(self) -> dict[str, torch.Tensor]:
        """Name -> (steps so far, N, ...) of all that was added; after `clear`, which leaves the values, all S steps."""
        return {name: self[name][: self.step or self.num_steps] for name in self._buffers}

    def add(self, dones: torch.Tensor, **values: torch.Tensor) -> None:
        """Add one step: values (N, ...) seen before it and `dones` (N,) after it."""
        if self.step >= self.num_steps:
            raise OverflowError(f"the rollout holds {self.num_steps} steps already: call clear() after each update")
        for name, value in {"dones": dones, **values}.items():
            if name not in self._buffers:
                self._allocate(name, value)
            start = (self.context.get(name, 0) + self.step) * self.num_envs
            self._buffers[name][start : start + self.num_envs].copy_(value)
        self.age[self.step] = self._next_age
        self._next_age.add_(1).masked_fill_(dones.bool(), 1)
        self.step += 1

    def _allocate(self, name: str, value: torch.Tensor) -> None:
        context = self.context.get(name, 0)
        rows = (context + self.num_steps) * self.num_envs + (1 if name in self.context else 0)
        with torch.inference_mode(False):  # rollouts run in inference mode, whose tensors autograd refuses
            self._buffers[name] = torch.zeros(rows, *value.shape[1:], dtype=value.dtype, device=self.device)

    def clear(self) -> None:
        """Start the next rollout; the last C frames become its context."""
        for name, context in self.context.items():
            if name in self._buffers and context:
                buffer, shift = self._buffers[name], self.step * self.num_envs
                # Cloned: where the rollout is shorter than the context, source and target overlap.
                buffer[: context * self.num_envs] = buffer[shift : shift + context * self.num_envs].clone()
        self.step = 0

    # -- samples -----------------------------------------------------------------------------------------------------

    def permutation(self, num_mini_batches: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Shuffled rows of `flat`, as many as fill `num_mini_batches` equal minibatches."""
        samples = self.num_steps * self.num_envs
        size = samples // num_mini_batches
        if size < 1:
            raise ValueError(f"{num_mini_batches} minibatches from {samples} samples: expected at most {samples}")
        return torch.randperm(num_mini_batches * size, generator=generator, device=self.device)

    def trajectory_rows(self, envs: torch.Tensor) -> torch.Tensor:
        """(E S,) rows of `flat` that hold the S steps of each of `envs` (E,), one environment after the other."""
        steps = torch.arange(self.num_steps, device=self.device)
        return (steps * self.num_envs + envs[:, None]).flatten()

    def window_rows(self, name: str, rows: torch.Tensor, length: int) -> torch.Tensor:
        """Where the windows that end at `rows` are found.

        Args:
            name: of a value with a context of at least `length - 1` frames.
            rows: (B,) rows of `flat`.
            length: T.

        Returns:
            (B, T) rows of `frames(name)`, oldest first; frames from before the episode point at its last row, which is
            zero.
        """
        context = self.context.get(name, 0)
        if length - 1 > context:
            raise ValueError(
                f"a history of {length} frames needs {length - 1} frames of context of '{name}', the storage keeps "
                f"{context}"
            )
        back = torch.arange(length - 1, -1, -1, device=rows.device)
        found = rows[:, None] + (context - back) * self.num_envs
        return torch.where(back < self.age.flatten()[rows][:, None], found, len(self._buffers[name]) - 1)

    def frames(self, name: str) -> torch.Tensor:
        """((C + S) N + 1, ...) frames with their context, in order of time, and the zero row."""
        return self._buffers[name]

    def segments(self, name: str, context: int, steps: int) -> torch.Tensor:
        """(N, C + S, ...) values of the first S = `steps` steps and the C = `context` frames before, oldest first."""
        kept = self.context.get(name, 0)
        if context > kept:
            raise ValueError(f"{context} frames of context of '{name}' are wanted, the storage keeps {kept}")
        rows = self._buffers[name][(kept - context) * self.num_envs : (kept + steps) * self.num_envs]
        return rows.unflatten(0, (context + steps, self.num_envs)).transpose(0, 1)

    def ages(self, context: int, steps: int) -> torch.Tensor:
        """(N, C + S) ages of the frames of `segments`; below 1 for context frames of former episodes."""
        first = self.age[0] if steps else self._next_age
        before = first[:, None] - torch.arange(context, 0, -1, device=first.device)
        return torch.cat((before, self.age[:steps].transpose(0, 1)), dim=1)

    # -- exact resume ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict:
        """The context that the next rollout needs; to be taken between rollouts."""
        contexts = {
            n: self._buffers[n][: c * self.num_envs].clone() for n, c in self.context.items() if n in self._buffers
        }
        return {"context": contexts, "next_age": self._next_age.clone()}

    def load_state_dict(self, state: dict) -> None:
        """Take over a context of the same shape."""
        for name, frames in state["context"].items():
            if name not in self._buffers:
                self._allocate(name, frames[: self.num_envs])
            self._buffers[name][: len(frames)].copy_(frames)
        self._next_age.copy_(state["next_age"])
