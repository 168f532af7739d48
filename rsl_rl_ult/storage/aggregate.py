"""Rollouts of all rounds so far, as data set aggregation learns from them: one frame per step, windows cut by index."""

from __future__ import annotations

import inspect
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Mapping

import torch

from rsl_rl_ult.storage.batch import take_rows
from rsl_rl_ult.storage.files import whole_file

KEEP = ("all", "window", "none")
ROUND = "round-{:06d}.pt"
"""Name of the file of a round, counted from 0."""


class Aggregate:
    """Named values (S, N, ...) of many rollouts of the same N environments, one after the other in time.

    Of the rollouts that are not kept any more the last C frames stay, which windows of the oldest kept one reach back
    to. A row is a step of an environment: row t N + n is step t of environment n, from the oldest step that is held.

    Attributes:
        rounds: rollouts ever added.
        folder: where every rollout is written to when it is added; None: nowhere. What the disk refuses is tried again
            with the next rollout and before a state is taken.
    """

    def __init__(
        self,
        num_steps: int,
        num_envs: int,
        context: int,
        keep: str = "all",
        window_rollouts: int = 20,
        half: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        """Nothing is held yet.

        Args:
            num_steps: S of every rollout.
            num_envs: N.
            context: C, frames before a step that windows reach back to.
            keep: "all" rollouts, the last `window_rollouts` ("window"), or the last one ("none").
            window_rollouts: see `keep`.
            half: hold numbers as float16.
            device: where they are held.
        """
        if keep not in KEEP:
            raise ValueError(f"algorithm.aggregate '{keep}': expected one of {', '.join(KEEP)}")
        if window_rollouts < 1:
            raise ValueError(f"algorithm.window_rollouts={window_rollouts}: expected at least 1")
        self.num_steps, self.num_envs, self.context, self.device = num_steps, num_envs, context, device
        self.keep, self.half = keep, half
        self.limit = {"all": None, "window": window_rollouts, "none": 1}[keep]
        self.rounds = 0
        self.folder: Path | None = None
        self._unwritten: dict[int, dict] = {}  # rollouts that the disk refused, by number
        self._steps = 0  # that are held, context included
        self._buffers: dict[str, torch.Tensor] = {}  # (capacity, N, ...)

    def __getitem__(self, name: str) -> torch.Tensor:
        """(F, N, ...) values of all steps that are held: context, then those of the kept rollouts; as they are held."""
        return self._buffers[name][: self._steps]

    def __contains__(self, name: str) -> bool:
        """Whether values called `name` are held."""
        return name in self._buffers

    @property
    def kept(self) -> int:
        """Rollouts that are learnt from."""
        return self.rounds if self.limit is None else min(self.rounds, self.limit)

    @property
    def first(self) -> int:
        """Number of the first step that is learnt from; before it are steps of context."""
        return self._steps - self.kept * self.num_steps

    @property
    def samples(self) -> int:
        """Steps of environments that are learnt from."""
        return self.kept * self.num_steps * self.num_envs

    @property
    def bytes(self) -> int:
        """Memory of what is held."""
        return sum(buffer[: self._steps].numel() * buffer.element_size() for buffer in self._buffers.values())

    def add(self, age: torch.Tensor, values: Mapping[str, torch.Tensor]) -> None:
        """Add a rollout.

        Args:
            age: (S, N) frames of its episode up to and including each.
            values: name -> (S, N, ...) numbers.
        """
        found = {"age": age.to(torch.int32)}
        for name, value in values.items():
            found[name] = value.to(torch.float16) if self.half else value
        if self.folder is not None:
            refused, self._unwritten[self.rounds] = bool(self._unwritten), found
            try:
                self._write()
            except OSError as error:
                if not refused:
                    reason = error.strerror or error
                    print(
                        f"\ncannot write the rollouts of round {self.rounds} and after to {self.folder}: {reason}; "
                        "they stay in memory, and are tried again",
                        file=sys.stderr,
                        flush=True,
                    )
        self._append(found)

    def _write(self) -> None:
        """Write the rollouts that are not in files yet (`OSError`)."""
        assert self.folder is not None or not self._unwritten
        for number, values in list(self._unwritten.items()):
            # In memory first: torch hides the system's reason why a file cannot be written.
            buffer = io.BytesIO()
            torch.save(values, buffer)
            with whole_file(Path(self.folder or "", ROUND.format(number))) as temporary:
                temporary.write_bytes(buffer.getbuffer())
            del self._unwritten[number]

    def _append(self, values: Mapping[str, torch.Tensor]) -> None:
        kept_after = self.rounds + 1 if self.limit is None else min(self.rounds + 1, self.limit)
        # Steps that stay: those of the rollouts that are still kept, and the context before them.
        stay = min(self._steps, (kept_after - 1) * self.num_steps + self.context)
        for name, value in values.items():
            held = self._buffers.get(name)
            needed = stay + self.num_steps
            if held is None or len(held) < needed:
                # Room for half as much again: a copy now and then, and never more than one buffer twice.
                capacity = needed if held is None or self.limit is not None else needed + needed // 2
                buffer = torch.zeros(capacity, *value.shape[1:], dtype=value.dtype, device=self.device)
                if held is not None:
                    buffer[:stay] = held[self._steps - stay : self._steps]
                self._buffers[name] = buffer
            elif stay < self._steps:
                held[:stay] = held[self._steps - stay : self._steps].clone()  # source and target may overlap
            self._buffers[name][stay:needed] = value
        self._steps = stay + self.num_steps
        self.rounds += 1

    # -- samples -----------------------------------------------------------------------------------------------------

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count,) rows drawn uniformly, with replacement, from the steps that are learnt from."""
        drawn = torch.randint(self.samples, (count,), generator=generator, device=self.device)
        return drawn + self.first * self.num_envs

    def draw_rollouts(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """First steps (count,) and environments (count,) of rollouts drawn uniformly, with replacement."""
        drawn = torch.randint(self.kept * self.num_envs, (count,), generator=generator, device=self.device)
        rollout = torch.div(drawn, self.num_envs, rounding_mode="floor")
        return self.first + rollout * self.num_steps, drawn % self.num_envs

    def at(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """(B, ...) values at rows (B,), as float32."""
        return take_rows(self[name].flatten(0, 1), rows).float()

    def windows(self, name: str, rows: torch.Tensor, length: int) -> torch.Tensor:
        """(B, T, D) values of the T = `length` steps that end at rows (B,), oldest first.

        Those from before the episode are zero.
        """
        if length - 1 > self.context:
            raise ValueError(f"windows of {length} frames need {length - 1} of context, {self.context} are held")
        back = torch.arange(length - 1, -1, -1, device=rows.device)
        inside = back < self["age"].flatten()[rows][:, None]
        found = self.at(name, torch.where(inside, rows[:, None] - back * self.num_envs, rows[:, None]))
        return found.masked_fill_(~inside[..., None], 0.0)

    def segments(self, name: str, starts: torch.Tensor, envs: torch.Tensor) -> torch.Tensor:
        """(E, C + S, ...) values of rollouts from step `starts` (E,) of `envs` (E,) and the C steps before, as float32.

        Before the first step that is held it is repeated; `ages` says what is of the episode.
        """
        steps = starts[:, None] + torch.arange(-self.context, self.num_steps, device=starts.device)
        return self[name][steps.clamp(min=0), envs[:, None]].float()

    def ages(self, starts: torch.Tensor, envs: torch.Tensor) -> torch.Tensor:
        """(E, C + S) ages of the steps of `segments`; below 1 for steps of context from former episodes."""
        steps = starts[:, None] + torch.arange(self.num_steps, device=starts.device)
        own = self["age"][steps, envs[:, None]].long()
        before = own[:, :1] - torch.arange(self.context, 0, -1, device=starts.device)
        return torch.cat((before, own), dim=1)

    # -- exact resume ------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Number of rollouts; what is held, unless that is in files; to be taken between rounds.

        Raises:
            OSError: what should be in files cannot be written.
        """
        self._write()
        held = {} if self.folder is not None else {name: self[name].clone() for name in self._buffers}
        return {"rounds": self.rounds, "held": held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same sizes; what is in files is read by `keep_in`."""
        self.rounds, held = state["rounds"], state["held"]
        self._buffers = {name: value.clone().to(self.device) for name, value in held.items()}
        self._steps = len(next(iter(held.values()))) if held else 0

    def keep_in(self, folder: Path, earlier: Path | None = None) -> None:
        """Write every rollout to a file in `folder` from now on, instead of keeping all of them in checkpoints.

        Args:
            folder: it is made.
            earlier: folder of the training that a loaded state comes from: what it held is read from there, and its
                files are linked into `folder` (copied where they cannot be).

        Raises:
            ValueError: a file is missing or damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if earlier is not None and not self._buffers:
            self._resume(earlier)
            for number in self._wanted():
                _link(earlier / ROUND.format(number), folder / ROUND.format(number))
        self.folder = folder

    def _resume(self, folder: Path) -> None:
        """Read the rollouts that a loaded state had held."""
        rounds, wanted = self.rounds, self._wanted()
        self.rounds, self._steps, self._buffers = wanted.start, 0, {}
        for number in wanted:
            self._append(_read(folder / ROUND.format(number), rounds))
        self.rounds = rounds

    def _wanted(self) -> range:
        """Numbers of the rollouts that are held, those of the context included."""
        reach = self.kept + -(-self.context // self.num_steps)
        return range(max(0, self.rounds - reach), self.rounds)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)  # files are never changed
    except OSError:
        shutil.copyfile(source, target)


def _read(path: Path, rounds: int) -> dict[str, torch.Tensor]:
    # Tensors only, so that a foreign file cannot run code; torch before 1.13 cannot be told so.
    options: dict = {"weights_only": True} if "weights_only" in inspect.signature(torch.load).parameters else {}
    try:
        return torch.load(path, map_location="cpu", **options)
    except Exception as error:  # zip, pickle and operating system say it in ways of their own
        reason = "missing" if not path.exists() else f"damaged ({type(error).__name__})"
        raise ValueError(
            f"{path} is {reason}: to go on after {rounds} rounds all that it aggregated is needed; restore the file, "
            "or begin a new training"
        ) from error
