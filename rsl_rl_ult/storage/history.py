"""The last frames of every environment, for policies that read a window."""

from __future__ import annotations

import torch


class HistoryBuffer:
    """Ring of the last T frames per environment; frames from before an episode are zero.

    Every frame is written twice, T slots apart, so that the window is always one contiguous view and never copied.
    """

    def __init__(self, num_envs: int, length: int, frame_dim: int, device: torch.device | str = "cpu") -> None:
        """Keep `length` frames (T) of `frame_dim` columns (D) for `num_envs` environments (N)."""
        if length < 1:
            raise ValueError(f"history length {length}: expected at least 1")
        self.length = length
        with torch.inference_mode(False):  # may be made in a rollout and used outside of it
            self._frames = torch.zeros(num_envs, 2 * length, frame_dim, device=device)
        self._slot = 0  # where the next frame goes, 0 ... T - 1

    def fits(self, frame: torch.Tensor) -> bool:
        """Whether `frame` has the shape and the device of the frames kept here."""
        return frame.shape == self._frames[:, 0].shape and frame.device == self._frames.device

    def append(self, frame: torch.Tensor) -> None:
        """Add the current frame (N, D)."""
        if frame.shape != self._frames[:, 0].shape:
            raise ValueError(f"frame has shape {tuple(frame.shape)}, expected {tuple(self._frames[:, 0].shape)}")
        self._frames[:, self._slot] = frame
        self._frames[:, self._slot + self.length] = frame
        self._slot = (self._slot + 1) % self.length

    def window(self) -> torch.Tensor:
        """View (N, T, D), oldest frame first; valid until the next `append` or `reset`."""
        return self._frames[:, self._slot : self._slot + self.length]

    def reset(self, dones: torch.Tensor) -> None:
        """Forget the frames of environments with `dones` (N,): their next frame starts an episode."""
        self._frames[dones.bool()] = 0.0

    def state_dict(self) -> dict:
        """What is needed to continue exactly."""
        return {"window": self.window().clone()}

    def load_state_dict(self, state: dict) -> None:
        """Take over a state of the same shape."""
        self._slot = 0
        self._frames.copy_(state["window"].repeat(1, 2, 1))
