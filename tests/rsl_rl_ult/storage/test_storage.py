"""Rollouts, the frames before them, and the windows that histories are cut from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsl_rl_ult.storage import HistoryBuffer, RolloutStorage, take_rows


class Recorder:
    """Feeds numbered frames to a storage and a ring, and keeps every episode to compare with."""

    def __init__(self, num_envs: int, steps: int, length: int, seed: int = 0) -> None:
        self.num_envs, self.length = num_envs, length
        self.storage = RolloutStorage(steps, num_envs, context={"policy": length - 1})
        self.ring = HistoryBuffer(num_envs, length, 2)
        self.rng = torch.Generator().manual_seed(seed)
        self.episodes: list[list[torch.Tensor]] = [[] for _ in range(num_envs)]
        self.expected: list[torch.Tensor] = []

    def brute_force(self, env: int) -> torch.Tensor:
        frames = self.episodes[env][-self.length :]
        return torch.stack([torch.zeros(2)] * (self.length - len(frames)) + frames)

    def rollout(self, done_rate: float) -> None:
        self.expected = []
        for _ in range(self.storage.num_steps):
            frame = torch.randn(self.num_envs, 2, generator=self.rng)
            for env in range(self.num_envs):
                self.episodes[env].append(frame[env])
            self.expected.append(torch.stack([self.brute_force(env) for env in range(self.num_envs)]))
            self.ring.append(frame)
            assert torch.equal(self.ring.window(), self.expected[-1])
            dones = torch.rand(self.num_envs, generator=self.rng) < done_rate
            self.storage.add(dones=dones.long(), policy=frame)
            self.ring.reset(dones)
            for env in dones.nonzero().flatten().tolist():
                self.episodes[env] = []

    def windows(self, rows: torch.Tensor) -> torch.Tensor:
        return self.storage.frames("policy")[self.storage.window_rows("policy", rows, self.length)]


@given(
    num_envs=st.integers(1, 5),
    steps=st.integers(1, 6),
    length=st.integers(1, 9),
    done_rate=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_windows_from_storage_equal_the_ring_and_the_episodes_themselves(num_envs, steps, length, done_rate, seed):
    recorder = Recorder(num_envs, steps, length, seed)
    for _ in range(4):  # windows reach over several rollouts
        recorder.rollout(done_rate)
        rows = torch.randperm(steps * num_envs, generator=recorder.rng)
        expected = torch.stack(recorder.expected).flatten(0, 1)[rows]
        assert torch.equal(recorder.windows(rows), expected)
        recorder.storage.clear()


def test_flat_rows_are_time_major():
    storage = RolloutStorage(2, 3)
    for step in range(2):
        storage.add(dones=torch.zeros(3), value=torch.arange(3) + 10 * step)
    assert storage.flat("value").tolist() == [0, 1, 2, 10, 11, 12]
    assert storage["value"].shape == (2, 3)


def test_a_frame_is_stored_once_however_long_the_windows_are():
    storage = RolloutStorage(24, 16, context={"policy": 99})
    storage.add(dones=torch.zeros(16), policy=torch.zeros(16, 45))
    # 99 + 24 frames and one zero row, where stored windows would be 24 * 100 frames.
    assert len(storage.frames("policy")) == (99 + 24) * 16 + 1


def test_a_permutation_fills_equal_minibatches_and_repeats_nothing():
    storage = RolloutStorage(5, 3)
    rows = storage.permutation(4)  # 15 samples: 4 minibatches of 3
    assert len(rows) == 12
    assert len(set(rows.tolist())) == 12


def test_a_generator_leaves_the_global_random_numbers_alone():
    storage = RolloutStorage(5, 3)
    before = torch.get_rng_state()
    storage.permutation(1, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_rollouts_made_in_inference_mode_can_be_learnt_from():
    storage, ring = RolloutStorage(1, 2, context={"policy": 1}), None
    with torch.inference_mode():
        ring = HistoryBuffer(2, 2, 3)
        storage.add(dones=torch.zeros(2), policy=torch.ones(2, 3))
        ring.append(torch.ones(2, 3))
    weight = torch.ones(3, requires_grad=True)
    (storage.flat("policy") @ weight).sum().backward()
    assert weight.grad is not None
    ring.reset(torch.tensor([True, False]))  # would fail on an inference tensor
    storage.clear()


def test_a_restored_storage_and_ring_continue_exactly():
    first = Recorder(3, 4, 6)
    first.rollout(0.2)
    first.storage.clear()
    second = Recorder(3, 4, 6)
    second.storage.load_state_dict(first.storage.state_dict())
    second.ring.load_state_dict(first.ring.state_dict())
    second.rng.set_state(first.rng.get_state())
    second.episodes = [list(frames) for frames in first.episodes]
    second.rollout(0.2)  # checks the ring against the episodes
    rows = torch.arange(12)
    assert torch.equal(second.windows(rows), torch.stack(second.expected).flatten(0, 1))


def test_nan_of_a_finished_episode_is_not_in_the_windows_of_the_next():
    storage, ring = RolloutStorage(3, 2, context={"policy": 2}), HistoryBuffer(2, 3, 1)
    for frame, done in (([1.0, float("nan")], [0, 1]), ([2.0, 5.0], [0, 0]), ([3.0, 6.0], [0, 0])):
        ring.append(torch.tensor(frame)[:, None])
        storage.add(dones=torch.tensor(done), policy=torch.tensor(frame)[:, None])
        ring.reset(torch.tensor(done))
    # Robot 1 has two frames of its new episode, and zero where the other was.
    expected = [[1.0, 2.0, 3.0], [0.0, 5.0, 6.0]]
    assert ring.window()[..., 0].tolist() == expected
    assert storage.frames("policy")[storage.window_rows("policy", torch.tensor([4, 5]), 3)][..., 0].tolist() == expected


def test_mistakes_are_named():
    storage = RolloutStorage(1, 2, context={"policy": 3})
    storage.add(dones=torch.zeros(2), policy=torch.zeros(2, 3))
    with pytest.raises(OverflowError, match=r"holds 1 steps already: call clear\(\)"):
        storage.add(dones=torch.zeros(2), policy=torch.zeros(2, 3))
    with pytest.raises(
        ValueError, match="a history of 5 frames needs 4 frames of context of 'policy', the storage keeps 3"
    ):
        storage.window_rows("policy", torch.arange(2), 5)
    with pytest.raises(ValueError, match="3 minibatches from 2 samples: expected at most 2"):
        storage.permutation(3)
    with pytest.raises(ValueError, match="num_steps=0"):
        RolloutStorage(0, 2)
    with pytest.raises(ValueError, match="history length 0"):
        HistoryBuffer(2, 0, 3)
    with pytest.raises(ValueError, match=r"frame has shape \(2, 4\), expected \(2, 3\)"):
        HistoryBuffer(2, 5, 3).append(torch.zeros(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 3)])
@pytest.mark.parametrize("rows", [(5,), (4, 2), (0,)])
def test_rows_are_taken_as_by_indexing(dtype, shape, rows):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    chosen = torch.randint(7, rows, generator=torch.Generator().manual_seed(2))
    assert torch.equal(take_rows(values, chosen), values[chosen])
    assert take_rows(values, chosen).dtype == dtype
