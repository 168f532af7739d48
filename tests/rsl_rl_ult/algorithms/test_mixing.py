"""Who acts: the mask of mixed rollouts and its schedules."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.algorithms.mixing import Mixing, spread


@pytest.mark.parametrize("mode", ["per_step", "per_episode", "per_env"])
@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_share_of_the_teacher_is_the_ratio(mode, ratio):
    mixing = Mixing(1000, ratio, mode)
    shares = [mixing.draw().float().mean().item() for _ in range(5)]
    assert shares == pytest.approx([ratio] * 5, abs=0.06)
    if ratio in (0.0, 1.0):
        assert shares == [ratio] * 5


def test_per_step_draws_anew_in_every_step():
    mixing = Mixing(500, 0.5, "per_step")
    assert 0.4 < (mixing.draw() == mixing.draw()).float().mean() < 0.6


def test_per_episode_keeps_the_driver_until_the_episode_ends():
    mixing = Mixing(500, 0.5, "per_episode")
    first = mixing.draw()
    assert torch.equal(mixing.draw(), first)
    dones = torch.arange(500) < 250
    mixing.on_reset(dones)
    second = mixing.draw()
    assert torch.equal(second[250:], first[250:])
    assert 0.3 < (second[:250] == first[:250]).float().mean() < 0.7
    assert torch.equal(mixing.draw(), second)


def test_per_env_is_fixed_and_spread_evenly():
    mixing = Mixing(8, 0.25, "per_env")
    assert mixing.draw().tolist() == [False, False, False, True] * 2
    mixing.on_reset(torch.ones(8))
    assert mixing.draw().tolist() == [False, False, False, True] * 2
    assert spread(5, 2).tolist() == [False, False, True, False, True]


@pytest.mark.parametrize("mode", ["per_step", "per_episode", "per_env"])
def test_some_environments_are_the_students_alone(mode):
    mixing = Mixing(1000, 0.5, mode, student_share=0.2)
    draws = torch.stack([mixing.draw() for _ in range(20)])
    alone = spread(1000, 200)
    assert not draws[:, alone].any()
    assert draws[:, ~alone].float().mean() == pytest.approx(0.5, abs=0.06)
    assert torch.equal(mixing.probability(), 0.5 * (~alone).float())


def test_schedules_by_hand():
    # Cosine: 1/2 - 1/2 cos(pi / 4) = 0.1464 of the way after a quarter of the updates.
    for schedule, quarter in (("linear", 0.25), ("cosine", 0.14644661)):
        mixing = Mixing(4, 1.0, schedule=schedule, ratio_end=0.2, iterations=8)
        found = []
        for updates in (0, 2, 4, 8, 100):
            mixing.updates = updates
            found.append(mixing.ratio)
        assert found == pytest.approx([1.0, 1.0 - 0.8 * quarter, 0.6, 0.2, 0.2])
    assert Mixing(4, 0.7).ratio == 0.7


def test_drawing_leaves_other_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Mixing(10, 0.5).draw()
    assert torch.equal(torch.rand(3), expected)


def test_a_saved_state_continues_exactly():
    one = Mixing(50, 0.5, "per_episode", seed=3)
    one.draw()
    one.on_reset(torch.arange(50) % 2)
    other = Mixing(50, 0.5, "per_episode", seed=99)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.draw(), other.draw())
    one.on_reset(torch.ones(50))
    other.on_reset(torch.ones(50))
    assert torch.equal(one.draw(), other.draw())
