"""The environment: episode ends, commands, pushes, faults, snapshots."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.envs.go2.go2_config import Go2Cfg
from legged_gym_ext.simulators.base import RobotState
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv


def make(num_envs: int = 4, **changes: Any) -> LeggedRobot:
    """An environment whose configuration fields "section__name" are replaced."""
    cfg = Go2Cfg()
    cfg.env.num_envs = num_envs
    for path, value in changes.items():
        *sections, name = path.split("__")
        owner = cfg
        for section in sections:
            owner = getattr(owner, section)
        setattr(owner, name, value)
    return LeggedRobot(cfg)


def calm(num_envs: int = 4, **changes: Any) -> LeggedRobot:
    """Robots that start standing still and are not pushed."""
    quiet = {"domain_rand__push_robots": False, "init_state__velocity_range": 0.0, "init_state__joint_range": [1.0, 1.0]}
    return make(num_envs, **{**quiet, **changes})


def stand(env: LeggedRobot) -> Any:
    return env.step(torch.zeros(env.num_envs, env.num_actions))


def turn_over(env: LeggedRobot, robot: int, height: float = 2.0) -> None:
    """Put one robot on its back, `height` m above the ground."""
    one = torch.tensor([robot])
    state = RobotState(
        root_pos=torch.tensor([[0.0, 0.0, height]]),
        root_quat=torch.tensor([[0.0, 1.0, 0.0, 0.0]]),  # half a turn about x
        root_lin_vel=torch.zeros(1, 3),
        root_ang_vel=torch.zeros(1, 3),
        dof_pos=env.default_dof_pos[None],
        dof_vel=torch.zeros(1, 12),
    )
    env.sim.reset(one, state)


def test_time_outs_are_told_apart_from_falls():
    env = calm(3, env__episode_length_s=0.2)  # ten control steps of 20 ms
    for _ in range(9):
        *_, dones, extras = stand(env)
        assert not dones.any() and not extras["time_outs"].any()
    turn_over(env, 1)
    *_, dones, extras = stand(env)
    assert dones.all()
    assert extras["time_outs"].tolist() == [True, False, True]
    assert env.fall_buf.tolist() == [False, True, False]
    assert extras["episode"]["Metrics/fall_rate"].tolist() == [0.0, 1.0, 0.0]


def test_a_robot_on_its_back_has_fallen_and_starts_again_upright():
    env = calm(2)
    stand(env)
    turn_over(env, 1)
    stand(env)
    assert env.reset_buf.tolist() == [False, True]
    assert env.episode_length_buf.tolist() == [2, 0]
    assert env.projected_gravity[1, 2] < -0.99


def test_a_base_that_touches_the_ground_has_fallen():
    env = calm(2, termination__max_tilt=3.1416)  # no tilt is too much
    turn_over(env, 0, height=0.07)  # the trunk is 0.114 m high
    falls = torch.zeros(2, dtype=torch.bool)
    for _ in range(5):
        stand(env)
        falls |= env.fall_buf
    assert falls.tolist() == [True, False]


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


def test_pushes_come_at_their_interval_and_are_reported():
    env = make(64, domain_rand__push_interval_s=0.1, domain_rand__max_push_vel_xy=0.5)
    for step in range(1, 6):
        stand(env)
        assert bool(env.push_velocity.any()) == (step == 5)
    assert env.push_velocity.abs().max() <= 0.5
    assert torch.equal(env.sim.root_lin_vel[:, :2], env.push_velocity)
    columns = env.observations.slices("privileged")["push_velocity"]
    assert torch.equal(env.privileged_obs_buf[:, columns], env.push_velocity)


def test_reset_touches_only_the_given_robots():
    env = calm(3)
    for _ in range(5):
        env.step(torch.full((3, 12), 0.3))
    before = take_snapshot(env)
    env.reset_idx(torch.tensor([1]))
    after = take_snapshot(env)
    for name in ("commands", "actions", "last_actions", "episode_length_buf", "feet_air_time"):
        assert torch.equal(after["buffers"][name][[0, 2]], before["buffers"][name][[0, 2]]), name
    assert torch.equal(after["sim"]["state"][[0, 2]], before["sim"]["state"][[0, 2]])
    assert env.episode_length_buf[1] == 0 and not env.actions[1].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_action_resets_and_counts_its_robot_and_reaches_nobody(bad):
    broken, sound = calm(3), calm(3)
    actions = torch.zeros(3, 12)
    sound.step(actions.clone())
    actions[1, 4] = bad
    broken.step(actions)
    assert broken.reset_buf.tolist() == [False, True, False]
    assert broken.nan_resets == 1 and broken.rew_buf[1] == 0.0
    assert not broken.time_out_buf.any() and not broken.fall_buf.any()
    for buffer in (broken.obs_buf, broken.privileged_obs_buf, broken.critic_obs_buf, broken.rew_buf):
        assert torch.isfinite(buffer).all()
    assert torch.equal(broken.sim.dof_pos[[0, 2]], sound.sim.dof_pos[[0, 2]])
    assert torch.equal(broken.rew_buf[[0, 2]], sound.rew_buf[[0, 2]])


def test_wrong_action_shape_is_an_error_that_names_both_shapes():
    with pytest.raises(ValueError, match=r"\(2, 11\), expected \(2, 12\)"):
        calm(2).step(torch.zeros(2, 11))


def test_a_snapshot_continues_bit_for_bit_through_resets_and_pushes():
    changes = {"env__episode_length_s": 0.4, "domain_rand__push_interval_s": 0.2, "env__num_history": 3}
    first, second = make(6, **changes), make(6, seed=9, **changes)
    generator = torch.Generator().manual_seed(0)
    actions = 0.5 * torch.randn(60, 6, 12, generator=generator)
    for action in actions[:25]:
        first.step(action)
    assert restore_snapshot(second, take_snapshot(first)) is None
    assert torch.equal(first.obs_buf, second.obs_buf)
    resets = 0
    for action in actions[25:]:
        for ours, theirs in zip(first.step(action)[:4], second.step(action)[:4]):
            assert torch.equal(ours, theirs)
        assert torch.equal(first.critic_obs_buf, second.critic_obs_buf)
        assert torch.equal(first.obs_history, second.obs_history)
        resets += int(first.reset_buf.sum())
    assert resets >= 6


def test_a_snapshot_of_another_size_carries_the_curriculum_only_and_says_so():
    small, large = make(2), make(3)
    small.command_sampler.ranges[0, 1] = 1.75
    commands = large.commands.clone()
    assert "new episodes" in restore_snapshot(large, take_snapshot(small))
    assert large.command_sampler.ranges[0, 1] == 1.75
    assert torch.equal(large.commands, commands)


def test_same_seed_gives_the_same_robots_and_another_does_not():
    one, same, other = make(4), make(4), make(4, seed=2)
    assert torch.equal(one.critic_obs_buf, same.critic_obs_buf)
    assert not torch.equal(one.params["friction"], other.params["friction"])


def test_wrapper_shows_the_groups_it_is_asked_for():
    env = make(2, env__num_history=4)
    shapes = {name: tuple(group.shape) for name, group in RslRlVecEnv(env).get_observations().items()}
    assert shapes == {"policy": (2, 45), "privileged": (2, 94), "critic": (2, 172), "history": (2, 4, 45)}
    assert set(RslRlVecEnv(env, ["critic", "policy"]).get_observations().keys()) == {"critic", "policy"}
    with pytest.raises(UserError, match=r"unknown observation group 'privilege'; did you mean privileged"):
        RslRlVecEnv(env, ["privilege"])


def test_unknown_terrain_and_impossible_ranges_are_clear_errors():
    with pytest.raises(UserError, match=r"unknown terrain.mesh_type 'plan'; did you mean plane"):
        make(1, terrain__mesh_type="plan")
    with pytest.raises(UserError, match=r"commands.ranges.lin_vel_x must be \[lower, upper\]"):
        make(1, commands__ranges__lin_vel_x=[1.0, -1.0])
    with pytest.raises(UserError, match=r"domain_rand.friction_range must be \[lower, upper\]"):
        make(1, domain_rand__friction_range=[2.0, 1.0])
