"""From steps of many environments to segments of one episode each."""

from __future__ import annotations

import numpy as np
import pytest

from rsl_rl_ult.storage.dataset import Dataset, ShardWriter
from rsl_rl_ult.storage.recorder import Recorder
from tests.shards import NUM_ENVS, World, card, record


@pytest.mark.parametrize(("cut_every", "context"), [(0, 0), (7, 0), (7, 4), (1, 2)])
def test_every_transition_is_recorded_once_with_the_observation_after_it(tmp_path, cut_every, context):
    record(tmp_path, 100, cut_every=cut_every, context=context)
    seen = []
    for one in Dataset(tmp_path).segments({"student": None, "privileged": None}):
        policy, taken = one["policy"], one["transition"]
        # Rows of one episode in order, whatever they are for; the row after a transition is what followed it.
        assert np.array_equal(policy[:, 0], np.full(len(policy), policy[0, 0]))
        assert np.array_equal(policy[:, 1], np.arange(policy[0, 1], policy[0, 1] + len(policy)))
        assert np.array_equal(one["step"], policy[:, 1]) and np.array_equal(one["privileged"], -policy[:, :2])
        assert not taken[-1] and taken[-2]
        assert np.array_equal(one["actions"][:-1], policy[:-1, :2] + 0.5) and not one["actions"][-1].any()
        seen += policy[taken][:, 2].tolist()
    assert len(seen) == len(set(seen)) == 100 * NUM_ENVS


def test_ends_are_at_the_last_transition_and_apart(tmp_path):
    record(tmp_path, 200)
    kinds = {"terminations": 0, "truncations": 0}
    for one in Dataset(tmp_path).segments():
        ends = one["terminations"] | one["truncations"]
        assert not ends[:-2].any() and not ends[-1] and not (one["terminations"] & one["truncations"]).any()
        kinds = {name: count + int(one[name].sum()) for name, count in kinds.items()}
    assert all(count > 3 for count in kinds.values())


def test_a_cut_segment_is_preceded_by_its_context(tmp_path):
    record(tmp_path, 40, cut_every=10, context=4)
    later = [one for one in Dataset(tmp_path).segments() if one["step"][0] > 0 or not one["transition"][0]]
    assert later
    for one in later:
        before = int(one["transition"].argmax())
        assert before == min(4, int(one["step"][before]))  # an episode of two steps has two


def test_an_episode_longer_than_the_buffer_is_cut(tmp_path):
    with ShardWriter(tmp_path, card()) as writer:
        recorder, world = Recorder(writer, NUM_ENVS, 10), World(end=0.0)
        for _ in range(25):
            after = world.advance(recorder)
        recorder.cut(after)
    lengths = [int(one["transition"].sum()) for one in Dataset(tmp_path).segments()]
    assert sorted(lengths) == sorted([10, 10, 5] * NUM_ENVS)


def test_each_environment_records_as_many_episodes_as_wanted(tmp_path):
    quota = np.array([2, 1, 0, 3])
    with ShardWriter(tmp_path, card()) as writer:
        recorder, world = Recorder(writer, NUM_ENVS, 500, episodes_per_env=quota), World()
        while recorder.unfinished:
            world.advance(recorder)
    assert writer.episodes == quota.sum() and len(list(Dataset(tmp_path).segments())) == quota.sum()
