"""Rollouts that are kept: which steps are held, windows that never cross a reset, and files that can be read again."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from rsl_rl_ult.storage import HistoryBuffer, RolloutStorage
from rsl_rl_ult.storage.aggregate import ROUND, Aggregate

STEPS, ENVS, CONTEXT = 4, 3, 5


class Run:
    """Frames [number of the step, environment] of robots whose episodes end at random, put into an aggregate."""

    def __init__(self, aggregate: Aggregate, seed: int = 0) -> None:
        self.aggregate, self.rng = aggregate, torch.Generator().manual_seed(seed)
        self.storage = RolloutStorage(STEPS, ENVS)
        self.step = 0
        self.window = HistoryBuffer(ENVS, CONTEXT + 1, 2)
        self.windows: list[torch.Tensor] = []  # (N, T, 2), as a robot would have seen them

    def rollout(self) -> None:
        for _ in range(STEPS):
            self.step += 1
            frame = torch.stack((torch.full((ENVS,), float(self.step)), torch.arange(ENVS) + 1.0), dim=1)
            self.window.append(frame)
            self.windows.append(self.window.window().clone())
            dones = torch.rand(ENVS, generator=self.rng) < 0.2
            self.storage.add(dones, frame=frame)
            self.window.reset(dones)
        self.aggregate.add(self.storage.age, {"frame": self.storage["frame"].clone()})
        self.storage.clear()


def make(keep: str = "all", **options) -> Aggregate:
    return Aggregate(STEPS, ENVS, CONTEXT, keep, **options)


def learnt_from(aggregate: Aggregate) -> list[int]:
    """Numbers of the steps that minibatches are drawn from."""
    rows = aggregate.draw(4000, torch.Generator().manual_seed(0))
    return sorted({int(step) for step in aggregate.at("frame", rows)[:, 0]})


@pytest.mark.parametrize(
    ("keep", "first"),
    [("all", 1), ("window", 13), ("none", 21)],  # of 6 rollouts of 4 steps: all, the last 3, the last
)
def test_exactly_the_steps_of_the_kept_rounds_are_learnt_from(keep, first):
    aggregate = make(keep, window_rollouts=3)
    run = Run(aggregate)
    for _ in range(6):
        run.rollout()
    assert learnt_from(aggregate) == list(range(first, 25))
    assert aggregate.samples == (25 - first) * ENVS and aggregate.rounds == 6
    held = len(aggregate["frame"])
    assert held == (24 if keep == "all" else 25 - first + CONTEXT)  # bounded


@pytest.mark.parametrize("keep", ["all", "window", "none"])
@pytest.mark.parametrize("half", [False, True])
def test_windows_are_those_that_the_robot_saw_and_never_cross_a_reset(keep, half):
    aggregate = make(keep, window_rollouts=2, half=half)
    run = Run(aggregate)
    for number in range(5):
        run.rollout()
        first = 0 if keep == "all" else max(0, number + 1 - (2 if keep == "window" else 1)) * STEPS
        expected = torch.stack(run.windows[first:]).flatten(0, 1)
        rows = torch.arange(aggregate.samples) + aggregate.first * ENVS
        assert torch.equal(aggregate.windows("frame", rows, CONTEXT + 1), expected)
        assert torch.equal(aggregate.windows("frame", rows, 2), expected[:, -2:])
    assert (expected[:, 0] == 0).all(-1).any() and (expected[:, 0] > 0).all(-1).any()  # some crossed, some did not


def test_segments_are_whole_rollouts_with_their_context_and_its_age():
    aggregate = make("window", window_rollouts=2)
    run = Run(aggregate)
    for _ in range(5):
        run.rollout()
    starts, envs = aggregate.draw_rollouts(200, torch.Generator().manual_seed(0))
    frames, ages = aggregate.segments("frame", starts, envs), aggregate.ages(starts, envs)
    assert set(frames[:, CONTEXT, 0].tolist()) == {13.0, 17.0}  # the first steps of the fourth and fifth rollout
    assert (frames.diff(dim=1)[..., 0] == 1).all() and (frames[..., 1] == envs[:, None] + 1).all()
    windows = torch.stack(run.windows)  # (20, N, T, 2): a step is of the episode if the last window shows it
    for row, (frame, age) in enumerate(zip(frames, ages)):
        seen = (windows[int(frame[CONTEXT, 0]) - 1, envs[row], :, 0] > 0).sum()
        assert (age[: CONTEXT + 1] > 0).sum() == seen


def test_half_precision_takes_half_the_memory():
    sizes = []
    for half in (False, True):
        aggregate = make(half=half)
        aggregate.add(torch.ones(STEPS, ENVS, dtype=torch.long), {"frame": torch.zeros(STEPS, ENVS, 6)})
        sizes.append(aggregate.bytes)
    assert sizes == [STEPS * ENVS * (6 * 4 + 4), STEPS * ENVS * (6 * 2 + 4)]  # ages are 4 bytes


@pytest.mark.parametrize("keep", ["all", "window"])
def test_files_give_back_what_was_held(tmp_path, keep):
    whole, parts = make(keep, window_rollouts=2), make(keep, window_rollouts=2)
    parts.keep_in(tmp_path / "first")
    runs = [Run(whole), Run(parts)]
    for _ in range(4):
        for run in runs:
            run.rollout()
    state = parts.state_dict()
    assert state == {"rounds": 4, "held": {}}
    runs[1].rollout()  # after the checkpoint: not a part of it
    other = make(keep, window_rollouts=2)
    other.load_state_dict(state)
    other.keep_in(tmp_path / "second", tmp_path / "first")
    runs[1] = Run(other)
    runs[1].__dict__.update(runs[0].__dict__, aggregate=other, storage=runs[1].storage)
    runs[1].storage.load_state_dict(runs[0].storage.state_dict())
    runs[1].rng = torch.Generator()
    runs[1].rng.set_state(runs[0].rng.get_state())
    for run in runs:
        run.window, before = HistoryBuffer(ENVS, CONTEXT + 1, 2), run.window.state_dict()
        run.window.load_state_dict(before)
        run.step = 16
        run.rollout()
    assert torch.equal(other["frame"], whole["frame"]) and torch.equal(other["age"], whole["age"])
    assert (other.first, other.rounds) == (whole.first, whole.rounds)
    again = make(keep, window_rollouts=2)
    again.load_state_dict(other.state_dict())
    again.keep_in(tmp_path / "third", tmp_path / "second")  # the second folder is complete in itself
    assert torch.equal(again["frame"], whole["frame"])


def test_without_files_a_state_holds_everything():
    one, other = make("none"), make("none")
    run = Run(one)
    for _ in range(3):
        run.rollout()
    other.load_state_dict(one.state_dict())
    assert torch.equal(other["frame"], one["frame"]) and other.first == one.first and len(one["frame"]) == 4 + CONTEXT


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_round_that_cannot_be_read_is_one_line(tmp_path, damage):
    aggregate = make()
    aggregate.keep_in(tmp_path / "first")
    run = Run(aggregate)
    for _ in range(3):
        run.rollout()
    path = tmp_path / "first" / ROUND.format(1)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    other = make()
    other.load_state_dict(aggregate.state_dict())
    with pytest.raises(ValueError, match=rf"round-000001\.pt is {damage}.*: to go on after 3 rounds") as error:
        other.keep_in(tmp_path / "second", tmp_path / "first")
    assert "\n" not in str(error.value)


def test_a_round_that_the_disk_refuses_is_one_line_and_is_written_with_the_next_one(tmp_path, monkeypatch, capsys):
    aggregate, straight = make(), make()
    aggregate.keep_in(tmp_path / "rounds")
    run, other = Run(aggregate), Run(straight)
    write, full = Path.write_bytes, [True]

    def write_bytes(path: Path, data: Any) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    for _ in range(2):
        run.rollout(), other.rollout()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].endswith("No space left on device; they stay in memory, and are tried again")
    with pytest.raises(OSError, match="No space"):  # a checkpoint would name files that are not there
        aggregate.state_dict()
    full[0] = False
    run.rollout(), other.rollout()
    assert sorted(path.name for path in (tmp_path / "rounds").iterdir()) == [ROUND.format(n) for n in range(3)]
    assert torch.equal(aggregate["frame"], straight["frame"])
    assert aggregate.state_dict()["rounds"] == 3


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r"algorithm\.aggregate 'some': expected one of all, window, none"):
        make("some")
    with pytest.raises(ValueError, match=r"algorithm\.window_rollouts=0: expected at least 1"):
        make("window", window_rollouts=0)
    aggregate = make()
    Run(aggregate).rollout()
    with pytest.raises(ValueError, match="windows of 7 frames need 6 of context, 5 are held"):
        aggregate.windows("frame", torch.tensor([0]), 7)
