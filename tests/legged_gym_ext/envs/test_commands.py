"""Velocity commands: ranges, resampling, heading mode, curriculum."""

from __future__ import annotations

import pytest
import torch

from tests.robots import calm, make, place, stand, turned

torch.set_num_threads(1)


def test_commands_stay_in_their_ranges_and_some_are_zero():
    env = make(2000)
    vx, vy, yaw = env.commands[:, 0], env.commands[:, 1], env.commands[:, 2]
    assert vx.abs().max() <= 1.0 and vy.abs().max() <= 0.5 and yaw.abs().max() <= 1.0
    assert vx.max() > 0.95 and vx.min() < -0.95 and yaw.max() > 0.95
    still = (env.commands[:, :3] == 0.0).all(-1).float().mean()
    assert 0.07 < still < 0.14  # zero_fraction is 0.1
    speed = env.commands[:, :2].norm(dim=-1)
    assert ((speed == 0.0) | (speed >= 0.1)).all()


def test_commands_change_exactly_when_the_resampling_time_is_over():
    env = calm(8, commands__resampling_time=0.1, commands__zero_fraction=0.0)
    start = env.commands.clone()
    for _ in range(4):
        stand(env)
        assert torch.equal(env.commands, start)
    stand(env)  # fifth step: 0.1 s
    assert (env.commands != start).any(-1).all()


def test_heading_mode_turns_towards_the_heading_and_not_while_standing():
    env = calm(3, commands__heading_command=True, init_state__random_yaw=False)
    env.commands[:, 3] = torch.tensor([1.0, -1.0, 1.0])
    env.standing[:] = torch.tensor([False, False, True])
    env.command_sampler.update()
    # Heading error 1 rad at 0.5 1/s, robots look along x.
    assert torch.allclose(env.commands[:, 2], torch.tensor([0.5, -0.5, 0.0]), atol=0.05)


def test_curriculum_widens_only_after_good_tracking_and_not_beyond_its_limit():
    env = make(4, commands__curriculum=True, commands__max_curriculum=1.5, commands__curriculum_step=0.25)
    row, ids = env.rewards.names.index("tracking_lin_vel"), torch.arange(4)
    best = float(env.rewards.weights[row]) * env.max_episode_length
    env.rewards.episode_sums[row] = 0.7 * best
    env.command_sampler.widen(ids)
    assert env.command_sampler.ranges[0].tolist() == [-1.0, 1.0]
    env.rewards.episode_sums[row] = 0.9 * best
    for expected in (1.25, 1.5, 1.5):
        env.command_sampler.widen(ids)
        assert env.command_sampler.ranges[0].tolist() == [-expected, expected]


def test_curriculum_never_narrows_a_range_that_starts_beyond_its_limit():
    env = make(2, commands__curriculum=True, commands__ranges__lin_vel_x=[-0.5, 2.0])
    env.rewards.episode_sums[:] = 1e3
    for expected in ([-0.75, 2.0], [-1.0, 2.0], [-1.0, 2.0]):
        env.command_sampler.widen(torch.arange(2))
        assert env.command_sampler.ranges[0].tolist() == expected


def test_commands_fill_their_ranges_and_never_leave_them():
    env = make(64, commands__zero_fraction=0.0, commands__min_lin_vel=0.0)
    low, high = torch.tensor([0.2, -0.3, 0.5, -3.0]), torch.tensor([0.6, -0.1, 1.5, 1.0])
    env.command_sampler.ranges.copy_(torch.stack((low, high), dim=-1))
    drawn = torch.empty(50, 64, 4)
    for row in drawn:
        env.command_sampler.resample(torch.arange(64))
        row.copy_(env.commands)
    drawn = drawn.flatten(0, 1)
    assert torch.all(drawn >= low) and torch.all(drawn <= high)
    # 3200 draws leave the outer percent at either end empty with probability 0.99^3200 = 1e-14.
    assert torch.all(drawn.amin(0) < low + 0.01 * (high - low))
    assert torch.all(drawn.amax(0) > high - 0.01 * (high - low))


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_zero_fraction_is_the_share_of_robots_told_to_stand(fraction):
    env = make(64, commands__zero_fraction=fraction, commands__min_lin_vel=0.0)
    count = 0
    for _ in range(100):
        env.command_sampler.resample(torch.arange(64))
        assert torch.equal(env.standing, (env.commands[:, :3] == 0.0).all(-1))
        count += int(env.standing.sum())
    # Standard error of 6400 draws at one quarter: sqrt(0.25 * 0.75 / 6400) = 0.0054.
    assert count / 6400 == pytest.approx(fraction, abs=0.022)


def test_slow_linear_commands_become_zero_and_keep_their_yaw_rate():
    env = make(64, commands__zero_fraction=0.0, commands__min_lin_vel=0.3)
    speed = env.commands[:, :2].norm(dim=-1)
    slow = speed == 0.0
    assert 0 < int(slow.sum()) < 64 and torch.all(speed[~slow] >= 0.3)
    assert torch.all(env.commands[slow, 2] != 0.0) and not env.standing.any()


def test_the_clock_of_commands_starts_anew_with_each_episode():
    env = calm(2, commands__resampling_time=0.1)  # five control steps
    changed = []
    for step in range(1, 11):
        before = env.commands[:, 3].clone()  # the sampled heading, which is never set to zero
        stand(env)
        changed.append((env.commands[:, 3] != before).tolist())
        if step == 3:
            env.reset_idx(torch.tensor([1]))
    assert [step for step, (first, _) in enumerate(changed, start=1) if first] == [5, 10]
    assert [step for step, (_, second) in enumerate(changed, start=1) if second] == [8]


def test_heading_mode_takes_the_shorter_way_within_the_yaw_rate_range():
    env = calm(3, commands__heading_command=True)
    env.standing[:] = False
    place(env, 1.0, [turned(3.0, 2), turned(0.0, 2), turned(0.0, 2)])
    env.commands[:, 3] = torch.tensor([-3.0, 3.0, -3.0])
    env.command_sampler.update()
    # From 3 to -3 rad it is 2 pi - 6 = 0.2832 to the left, times 0.5; 0.5 * 3 = 1.5 is cut at 1.
    assert torch.allclose(env.commands[:, 2], torch.tensor([0.1416, 1.0, -1.0]), atol=1e-4)


def test_the_curriculum_judges_finished_episodes_only_and_can_be_off():
    env = make(4, commands__curriculum=True, commands__ranges__lin_vel_x=[-0.5, 0.5])
    off = make(4, commands__ranges__lin_vel_x=[-0.5, 0.5])
    for each in (env, off):
        row = each.rewards.names.index("tracking_lin_vel")
        # A perfect episode is weight 2 per second times 20 s = 40.
        each.rewards.episode_sums[row] = torch.tensor([0.0, 39.0, 0.0, 40.0])
        each.command_sampler.widen(torch.tensor([1, 3]))
    assert env.command_sampler.ranges[0].tolist() == [-0.75, 0.75]
    assert off.command_sampler.ranges[0].tolist() == [-0.5, 0.5]
