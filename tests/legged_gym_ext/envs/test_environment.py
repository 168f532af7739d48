"""The environment: episode ends, pushes, faults, snapshots."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from tests.robots import calm, make, place, stand, turn_over, turned

torch.set_num_threads(1)


def test_every_step_reports_the_tracking_kernels():
    env = make(3)
    for _ in range(4):
        *_, extras = env.step(torch.zeros(3, 12))
        # What was rewarded: errors before any reset and before new commands; nothing falls in four steps of standing.
        error = (env.commands[:, :2] - env.base_lin_vel[:, :2]).square().sum(-1)
        expected = torch.exp(-error / env.cfg.rewards.tracking_sigma)
        assert torch.allclose(extras["step_metrics"]["linear_tracking"], expected, atol=1e-5)
        error = (env.commands[:, 2] - env.base_ang_vel[:, 2]).square()
        expected = torch.exp(-error / env.cfg.rewards.tracking_sigma)
        assert torch.allclose(extras["step_metrics"]["yaw_tracking"], expected, atol=1e-5)


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


@pytest.mark.parametrize("name", ["common_step_counter", "nan_resets", "num_envs"])
@pytest.mark.parametrize("value", [torch.zeros(2, 3), 1.5, None, "1"], ids=str)
def test_a_damaged_snapshot_whose_counters_are_no_whole_numbers_is_refused_at_once(name, value):
    env = calm(2)
    with pytest.raises((TypeError, ValueError)):
        restore_snapshot(env, {**take_snapshot(env), name: value})


def test_a_snapshot_of_another_size_carries_the_curriculum_only_and_says_so():
    small, large = make(2), make(3)
    small.command_sampler.ranges[0, 1] = 1.75
    large.step(torch.zeros(3, 12))
    assert "new episodes" in restore_snapshot(large, take_snapshot(small))
    assert large.command_sampler.ranges[0, 1] == 1.75
    assert not large.episode_length_buf.any()


def test_same_seed_gives_the_same_robots_and_another_does_not():
    one, same, other = make(4), make(4), make(4, seed=2)
    assert torch.equal(one.critic_obs_buf, same.critic_obs_buf)
    assert not torch.equal(one.params["friction"], other.params["friction"])


def test_wrapper_shows_the_groups_it_is_asked_for():
    env = make(2, env__num_history=4)
    shapes = {name: tuple(group.shape) for name, group in RslRlVecEnv(env).get_observations().items()}
    assert shapes == {"policy": (2, 45), "privileged": (2, 174), "critic": (2, 171), "history": (2, 4, 45)}
    assert set(RslRlVecEnv(env, ["critic", "policy"]).get_observations().keys()) == {"critic", "policy"}
    with pytest.raises(UserError, match=r"unknown observation group 'privilege'; did you mean privileged"):
        RslRlVecEnv(env, ["privilege"])


def test_unknown_terrain_is_a_clear_error():
    with pytest.raises(UserError, match=r"unknown terrain.mesh_type 'plan'; did you mean plane"):
        make(1, terrain__mesh_type="plan")


@pytest.mark.parametrize("axis", [0, 1], ids=["roll", "pitch"])
def test_a_tilt_beyond_one_radian_is_a_fall_and_a_turn_is_not(axis):
    env = calm(4)
    place(env, 1.0, [turned(0.9, axis), turned(1.1, axis), turned(-1.1, axis), turned(3.0, 2)])
    stand(env)
    assert env.fall_buf.tolist() == [False, True, True, False]


def test_a_fall_in_the_last_step_of_an_episode_is_no_time_out():
    env = calm(2)
    place(env, 1.0, [turned(0.0, 0), turned(math.pi, 0)])
    env.episode_length_buf[:] = env.max_episode_length - 1
    stand(env)
    assert env.fall_buf.tolist() == [False, True]
    assert env.time_out_buf.tolist() == [True, False]


def test_a_push_moves_the_robot_in_the_next_step_and_can_be_switched_off():
    pushed = make(2, domain_rand__push_interval_s=0.02)
    left_alone = make(2, domain_rand__push_interval_s=0.02, domain_rand__push_robots=False)
    for env in (pushed, left_alone):
        place(env, 1.0)
        stand(env)
        start, velocity = env.sim.root_pos[:, :2].clone(), env.push_velocity.clone()
        stand(env)
        # In the air for 0.02 s; what the legs do moves the base by less than 2 mm.
        assert torch.allclose(env.sim.root_pos[:, :2] - start, 0.02 * velocity, atol=2e-3)
        assert bool(velocity.abs().max() > 0.2) == (env is pushed)


def test_a_reset_after_a_push_starts_at_the_requested_velocity():
    env = calm(2, domain_rand__push_robots=True, domain_rand__push_interval_s=0.02)
    stand(env)  # pushed at the end
    env.reset()
    assert not env.sim.root_lin_vel.any()


def test_a_reset_clears_what_belongs_to_the_episode_and_keeps_the_body():
    env = make(3, env__num_history=3, env__critic_frames=2, domain_rand__push_interval_s=0.04)
    for _ in range(3):
        env.step(torch.full((3, 12), 0.3))
    assert not env.reset_buf.any() and (env.push_velocity != 0.0).all() and env.rewards.episode_sums.any()
    before, history, sums = take_snapshot(env), env.obs_history.clone(), env.rewards.episode_sums.clone()
    env.reset_idx(torch.tensor([1]))
    for name in ("actions", "last_actions", "last_last_actions", "push_velocity", "_critic_frames"):
        assert before["buffers"][name][1].any(), name
        assert not getattr(env, name)[1].any(), name
        assert torch.equal(getattr(env, name)[[0, 2]], before["buffers"][name][[0, 2]]), name
    assert not env.obs_history[1].any() and torch.equal(env.obs_history[[0, 2]], history[[0, 2]])
    others = env.rewards.episode_sums[:, [0, 2]]
    assert not env.rewards.episode_sums[:, 1].any() and torch.equal(others, sums[:, [0, 2]])
    for name, value in env.params.items():
        same = (value == before["params"][name]).reshape(3, -1).all(-1)
        assert same[0] and same[2], name
        # Gains are drawn at every reset, delays too (but may repeat); the rest stays with the robot for life.
        assert name == "delay" or bool(same[1]) == (name not in ("kp_scale", "kd_scale")), name


def test_start_states_fill_their_ranges_and_never_leave_them():
    env = make(64)
    sim, (low, high) = env.sim, env.sim.dof_pos_limits.T
    assert 0.9 < sim.root_pos[:, :2].abs().max() <= 1.0
    # 0.34 m, and higher where the drawn joint angles put the lowest foot below the ground.
    depth = env.foot_radius - env.foot_height.amin(-1)
    assert depth.max() <= 1e-5 and pytest.approx(float(sim.root_pos[:, 2].min())) == 0.34
    raised = sim.root_pos[:, 2] > 0.34 + 1e-6
    assert 0.3 < raised.float().mean() < 0.9 and depth[raised].abs().max() < 1e-5
    for velocity in (sim.root_lin_vel, sim.root_ang_vel):
        assert 0.45 < velocity.abs().max() <= 0.5
    factor = sim.dof_pos / env.default_dof_pos
    inside = (sim.dof_pos > low + 1e-6) & (sim.dof_pos < high - 1e-6)
    assert 0.5 <= factor[inside].min() < 0.52 and 1.48 < factor[inside].max() <= 1.5 + 1e-6
    assert torch.all((sim.dof_pos >= low) & (sim.dof_pos <= high)) and not sim.dof_vel.any()
    assert torch.allclose(env.projected_gravity, torch.tensor([0.0, 0.0, -1.0]), atol=1e-6)
    assert torch.atan2(env.sin_yaw, env.cos_yaw).abs().max() > 2.5


RANGES = {
    "friction": "friction_range", "added_mass": "added_mass_range", "com_shift": "com_shift_range",
    "kp_scale": "kp_range",
    "kd_scale": "kd_range", "armature_scale": "armature_range", "joint_friction_scale": "joint_friction_range",
    "joint_damping": "joint_damping_range", "joint_stiffness": "joint_stiffness_range",
}  # fmt: skip


def test_parameters_are_drawn_over_their_whole_ranges():
    env = make(64)
    for name, field in RANGES.items():
        (low, high), values = getattr(env.cfg.domain_rand, field), env.params[name]
        assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6, name
        # 64 draws leave the outer 15 percent empty with probability 0.85^64 = 3e-5.
        assert values.min() < low + 0.15 * (high - low) and values.max() > high - 0.15 * (high - low), name
    steps = env.params["delay"] / env.sim.dt
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert steps.round().unique().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]  # 0 to 20 ms in physics steps of 5 ms


@pytest.mark.parametrize("where", ["one action", "all actions", "physics"])
def test_a_fault_leaves_everything_finite_and_the_others_as_they_were(where):
    quiet = {"noise__add_noise": False, "env__num_history": 2}
    broken, sound = calm(4, **quiet), calm(4, **quiet)
    actions = 0.3 * torch.randn(4, 4, 12, generator=torch.Generator().manual_seed(0))
    spoilt = actions.clone()
    if where == "physics":
        broken.sim.root_lin_vel[2, 0] = float("nan")
    else:
        spoilt[0, 2, : 1 if where == "one action" else 12] = -float("inf")
    for step in range(4):
        broken.step(spoilt[step])
        sound.step(actions[step])
        assert broken.reset_buf.tolist() == [False, False, step == 0, False] and not sound.reset_buf.any()
        for name in ("obs_buf", "privileged_obs_buf", "critic_obs_buf", "obs_history", "rew_buf"):
            assert torch.isfinite(getattr(broken, name)).all(), name
            # Robot 2 draws new random numbers, so only what needs none is compared: no other robot starts or is pushed.
            assert torch.equal(getattr(broken, name)[[0, 1, 3]], getattr(sound, name)[[0, 1, 3]]), name
    assert broken.nan_resets == 1 and torch.isfinite(broken.rewards.episode_sums).all()


BUSY = {
    "domain_rand__push_interval_s": 0.16,  # every 8 control steps
    "commands__resampling_time": 0.2,
    "env__episode_length_s": 0.5,
    "env__num_history": 3,
    "env__critic_frames": 2,
}


@pytest.mark.parametrize(
    "before",
    [0, 5, 8, 23],
    ids=["at_the_start", "between", "right_after_a_push", "before_a_push_and_time_outs"],
)
def test_a_snapshot_taken_at_any_step_continues_bit_for_bit(before):
    env, other = make(6, **BUSY), make(6, **BUSY, seed=7)
    actions = 2.0 * torch.randn(60, 6, 12, generator=torch.Generator().manual_seed(0))  # wild enough to fall

    def run(each: LeggedRobot) -> list[list[torch.Tensor]]:
        rows = []
        for action in actions[before : before + 30]:
            each.step(action)
            names = ("obs_buf", "privileged_obs_buf", "critic_obs_buf", "obs_history", "rew_buf", "reset_buf")
            rows.append([getattr(each, name).clone() for name in names])
        return rows

    for action in actions[:before]:
        env.step(action)
    other.step(actions[0])
    snapshot = take_snapshot(env)
    kept = copy.deepcopy(snapshot)
    expected = run(env)
    assert torch.equal(snapshot["sim"]["state"], kept["sim"]["state"])  # stepping on leaves the snapshot alone
    assert all(torch.equal(value, kept["buffers"][name]) for name, value in snapshot["buffers"].items())
    assert sum(int(row[-1].sum()) for row in expected) >= 6  # time-outs and falls are among the steps
    for each in (env, other):
        assert restore_snapshot(each, snapshot) is None
        for row, wanted in zip(run(each), expected):
            assert all(torch.equal(value, target) for value, target in zip(row, wanted))


def test_wrapper_step_returns_what_a_learner_may_keep():
    env = calm(2, env__num_history=2)
    wrapped = RslRlVecEnv(env)
    first = wrapped.get_observations()
    kept = {name: group.clone() for name, group in first.items()}
    wrapped.episode_length_buf = torch.tensor([3, env.max_episode_length - 1])
    observations, rewards, dones, extras = wrapped.step(torch.zeros(2, 12))
    assert (rewards.shape, dones.tolist(), dones.dtype) == ((2,), [0, 1], torch.long)
    assert extras["time_outs"].tolist() == [False, True] and wrapped.episode_length_buf.tolist() == [4, 0]
    assert torch.equal(observations["history"][:, -1], observations["policy"])
    saved, time_outs = rewards.clone(), extras["time_outs"].clone()
    wrapped.step(torch.ones(2, 12))
    assert torch.equal(rewards, saved) and torch.equal(extras["time_outs"], time_outs)
    assert all(torch.equal(first[name], value) for name, value in kept.items())


def test_wrapper_has_no_history_unless_the_environment_keeps_one():
    env = calm(1)
    assert set(RslRlVecEnv(env).get_observations().keys()) == {"policy", "privileged", "critic"}
    with pytest.raises(UserError, match=r"'history' needs env.num_history"):
        RslRlVecEnv(env, ["history"])


def test_height_target_is_the_kinematic_one_unless_given():
    # Mean of 0.3235 (front) and 0.3139 (rear), from link lengths.
    assert make(1).base_height_target == pytest.approx(0.3187, abs=1e-4)
    assert make(1, rewards__base_height_target=0.29).base_height_target == 0.29
