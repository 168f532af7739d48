"""Observation groups: layout, scales, noise and meaning of every column."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.base.observations import TERMS, Observations, ObsTerm
from legged_gym_ext.envs.base.symmetry import group_table, mirror
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from tests.robots import calm, make, place, stand, turned

torch.set_num_threads(1)

PROPRIOCEPTION = [
    ("commands", 3),
    ("projected_gravity", 3),
    ("base_ang_vel", 3),
    ("dof_pos", 12),
    ("dof_vel", 12),
    ("last_action", 12),
]
DOMAIN = [
    ("friction", 1),
    ("added_mass", 1),
    ("com_shift", 3),
    ("push_velocity", 2),
    ("kp_scale", 12),
    ("kd_scale", 12),
    ("joint_armature", 1),
    ("joint_stiffness", 1),
    ("joint_damping", 1),
]
HIDDEN = [("base_lin_vel", 3), *DOMAIN, ("joint_friction", 1), ("action_delay", 1), ("contact_states", 12)]
LAYOUT = {
    "full": {
        "policy": (45, PROPRIOCEPTION),
        "privileged": (174, [*HIDDEN, ("foot_heights", 36), ("foot_normals", 12), ("terrain_scan", 75)]),
        "critic": (171, [*PROPRIOCEPTION, *HIDDEN, ("terrain_scan", 75)]),
    },
    "tutorial": {
        "policy": (45, PROPRIOCEPTION),
        "privileged": (94, [*DOMAIN, ("foot_heights", 36), ("foot_normals", 12), ("contact_states", 12)]),
        "critic": (172, [*PROPRIOCEPTION, *DOMAIN, ("contact_states", 12), ("height_scan", 81)]),
    },
}


@pytest.mark.parametrize("layout", LAYOUT)
@pytest.mark.parametrize("group", ["policy", "privileged", "critic"])
def test_group_has_exactly_the_declared_terms_in_order(layout, group):
    env = calm(2, observations__layout=layout)
    dim, terms = LAYOUT[layout][group]
    slices = env.observations.slices(group)
    assert [(name, columns.stop - columns.start) for name, columns in slices.items()] == terms
    assert env.observations.dim(group) == dim == sum(size for _, size in terms)
    buffers = {"policy": env.obs_buf, "privileged": env.privileged_obs_buf, "critic": env.critic_obs_buf}
    assert buffers[group].shape == (2, dim)


def test_proprioception_is_scaled_as_in_legged_gym():
    env = calm(2, noise__add_noise=False)
    env.commands[:, :3] = torch.tensor([0.5, -0.25, 0.8])
    env.sim.root_ang_vel[:] = torch.tensor([1.0, 2.0, -4.0])
    env.sim.dof_vel[:] = 2.0
    env.sim.dof_pos[:] = env.default_dof_pos + 0.1
    env.actions[:] = 0.7
    env._read_state()
    frame = env.observations.compute()["policy"][0]
    expected = [1.0, -0.5, 0.2, 0.0, 0.0, -1.0, 0.25, 0.5, -1.0, *[0.1] * 12, *[0.1] * 12, *[0.7] * 12]
    assert torch.allclose(frame, torch.tensor(expected), atol=1e-6)


def test_noise_is_bounded_and_only_on_the_policy_group():
    env = make(200)
    for _ in range(3):
        stand(env)
    noise = env.obs_buf - env.critic_obs_buf[:, :45]
    bounds = torch.tensor([0.0] * 3 + [0.05] * 3 + [0.2 * 0.25] * 3 + [0.01] * 12 + [1.5 * 0.05] * 12 + [0.0] * 12)
    assert (noise.abs() <= bounds + 1e-6).all()
    assert (noise.abs().amax(0)[bounds > 0] > 0.8 * bounds[bounds > 0]).all()
    again = env.observations.compute()
    assert torch.equal(again["critic"], env.critic_obs_buf) and not torch.equal(again["policy"], env.obs_buf)


def test_domain_parameters_are_what_the_physics_uses():
    env = make(5)
    at, seen = env.observations.slices("privileged"), env.privileged_obs_buf
    assert torch.allclose(seen[:, at["friction"]].squeeze(-1), env.params["friction"] - 0.8)
    assert torch.equal(seen[:, at["added_mass"]].squeeze(-1), env.params["added_mass"])
    assert torch.equal(seen[:, at["com_shift"]], env.params["com_shift"])
    assert torch.allclose(seen[:, at["kp_scale"]], env.params["kp_scale"] - 1.0)
    base, model = env.sim.info.base_id, env.sim.model
    mass = torch.from_numpy(env.sim.batch.expand("body_mass")[:, base]).float()
    assert torch.allclose(mass - model.body_mass[base], env.params["added_mass"], atol=1e-5)
    gains = torch.from_numpy(env.sim.batch.expand("actuator_gainprm")[:, :, 4]).float()
    assert torch.allclose(gains, 20.0 * env.params["kp_scale"], atol=1e-4)
    low, high = env.params["added_mass"].min(), env.params["added_mass"].max()
    assert -1.0 <= low < high <= 3.0


def test_switched_off_randomisation_is_nominal_everywhere():
    cfg_off = {f"domain_rand__{name}": False for name in vars(make(1).cfg.domain_rand) if name.startswith("randomize_")}
    env = calm(2, **cfg_off)
    at, seen = env.observations.slices("privileged"), env.privileged_obs_buf
    for name in ("friction", "added_mass", "com_shift", "kp_scale", "kd_scale", "joint_armature"):
        assert torch.all(seen[:, at[name]] == 0.0), name


def test_ground_terms_on_flat_ground_are_heights_of_base_and_feet():
    env = calm(2)
    env.sim.root_pos[:, 2] = env.base_height_target + 0.1
    env._read_state()
    frames = env.observations.compute()
    scan = frames["critic"][:, env.observations.slices("critic")["terrain_scan"]]
    assert torch.allclose(scan, torch.full((2, 75), 0.5), atol=1e-5)  # 0.1 m, scaled by 5
    at = env.observations.slices("privileged")
    foot = env.sim.foot_pos[:, :, 2] - 0.022
    expected = 5.0 * foot[:, :, None].expand(2, 4, 9).flatten(1)
    assert torch.allclose(frames["privileged"][:, at["foot_heights"]], expected, atol=1e-5)
    assert frames["privileged"][0, at["foot_normals"]].tolist() == [0.0, 0.0, 1.0] * 4


def test_contact_states_are_thighs_calves_feet_in_leg_order():
    env = calm(1)
    names = [env.sim.contact_names[i] for i in env.reported_contacts]
    legs = ("FL", "FR", "RL", "RR")
    assert names == [f"{leg}_{part}" for part in ("thigh", "calf", "foot") for leg in legs]
    for _ in range(30):
        stand(env)
    at = env.observations.slices("privileged")["contact_states"]
    assert env.privileged_obs_buf[0, at].tolist() == [0.0] * 8 + [1.0] * 4


def test_histories_hold_the_newest_frame_last_and_start_with_zeros():
    env = calm(2, env__num_history=3, env__critic_frames=2)
    assert not env.obs_history[:, :2].any() and torch.equal(env.obs_history[:, 2], env.obs_buf)
    first_policy, first_critic = env.obs_buf.clone(), env.critic_obs_buf[:, env.group_dims["critic"] :].clone()
    stand(env)
    assert torch.equal(env.obs_history[:, 1], first_policy) and torch.equal(env.obs_history[:, 2], env.obs_buf)
    width = env.group_dims["critic"]
    assert env.critic_obs_buf.shape == (2, 2 * width) and torch.equal(env.critic_obs_buf[:, :width], first_critic)


def test_values_are_clipped():
    env = calm(1, normalization__clip_observations=0.5)
    assert env.obs_buf.abs().max() <= 0.5


def test_a_term_of_another_width_than_declared_is_named(monkeypatch):
    env = calm(2)
    monkeypatch.setitem(TERMS, "friction", ObsTerm(2, lambda e: torch.zeros(2, 1)))
    with pytest.raises(ValueError, match=r"term 'friction' has shape \(2, 1\), declared \(2, 2\)"):
        Observations(env)


def test_mirroring_twice_gives_the_original_and_a_mirrored_robot_sees_the_mirror_image():
    env = calm(2, noise__add_noise=False, init_state__random_yaw=False, terrain__spawn_radius=0.0)
    view = RslRlVecEnv(env)
    # Robot 1 is the mirror image of robot 0: legs exchanged, abduction, roll and yaw rates negated.
    swap = torch.tensor([3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8])
    sign = torch.tensor([-1.0, 1.0, 1.0] * 4)
    offset = 0.1 * torch.randn(12, generator=torch.Generator().manual_seed(0))
    env.sim.dof_pos[0] = env.default_dof_pos + offset
    env.sim.dof_pos[1] = env.default_dof_pos + offset[swap] * sign
    roll = math.sin(0.1)
    env.sim.root_quat[:] = torch.tensor([[math.cos(0.1), roll, 0.0, 0.0], [math.cos(0.1), -roll, 0.0, 0.0]])
    env.sim.root_ang_vel[:] = torch.tensor([[0.1, 0.2, 0.3], [-0.1, 0.2, -0.3]])
    env.commands[:, :3] = torch.tensor([[0.4, 0.2, -0.6], [0.4, -0.2, 0.6]])
    env._read_state()
    env._compute_observations()
    obs = view.get_observations()
    actions = torch.randn(2, 12)
    both, both_actions = mirror(view, obs, actions)
    assert torch.allclose(both["policy"][2], obs["policy"][1], atol=1e-6)
    twice, actions_twice = mirror(view, both[2:], both_actions[2:])
    assert torch.equal(actions_twice[2:], actions)
    assert all(torch.equal(twice[name][2:], obs[name]) for name in obs.keys())  # noqa: SIM118


def frames_at(env: Any, height: float, quat: list[list[float]] | None = None) -> dict[str, torch.Tensor]:
    """One frame of every group with all robots at `height` in the default pose at rest."""
    place(env, height, quat)
    env._read_state()
    return env.observations.compute()


def test_gravity_is_seen_from_the_base():
    env = calm(3, noise__add_noise=False)
    # On its right side gravity points to -y, nose down to +x, and turning on the spot changes nothing.
    quat = [turned(math.pi / 2, 0), turned(math.pi / 2, 1), turned(math.pi / 2, 2)]
    expected = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    assert torch.allclose(frames_at(env, 1.0, quat)["policy"][:, 3:6], expected, atol=1e-6)


def test_last_action_is_the_clipped_action_of_this_step():
    env = calm(2, normalization__clip_actions=1.5)
    actions = torch.linspace(-2.0, 1.0, 12).repeat(2, 1)
    env.step(actions)
    assert torch.allclose(env.obs_buf[:, 33:45], actions.clamp(min=-1.5))


def test_without_noise_the_critic_begins_with_the_policy_group():
    env = calm(3, noise__add_noise=False)
    for action in 0.3 * torch.randn(3, 3, 12, generator=torch.Generator().manual_seed(0)):
        env.step(action)
        assert torch.equal(env.obs_buf, env.critic_obs_buf[:, :45])


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0])
def test_noise_level_scales_noise_of_both_signs_that_differs_between_robots(level):
    env = calm(64, noise__noise_level=level)
    frames = frames_at(env, 1.0)
    noise = (frames["policy"] - frames["critic"][:, :45])[:, 21:33]  # joint velocities, half width 1.5 * 0.05
    bound = 0.075 * level
    # The most extreme of 768 uniform numbers miss the outer 2 percent with probability 0.99^768 = 4e-4.
    assert -bound - 1e-6 <= noise.min() <= -0.98 * bound and 0.98 * bound <= noise.max() <= bound + 1e-6
    assert (len(noise.unique()) > 700) == (level > 0.0)


@pytest.mark.parametrize(("group", "start"), [("privileged", 3), ("critic", 48)])
def test_domain_columns_of_each_robot_are_its_parameters(group, start):
    env = make(4)
    p, push = env.params, torch.tensor([0.1, -0.2]).repeat(4, 1)
    env.push_velocity.copy_(push)
    columns = (
        p["friction"][:, None] - 0.8, p["added_mass"][:, None], p["com_shift"], push, p["kp_scale"] - 1.0,
        p["kd_scale"] - 1.0, p["armature_scale"][:, None] - 1.0, p["joint_stiffness"][:, None],
        p["joint_damping"][:, None], p["joint_friction_scale"][:, None] - 1.0, 50.0 * p["delay"][:, None],
    )  # fmt: skip
    expected = torch.cat(columns, dim=-1)
    assert torch.equal(env.observations.compute()[group][:, start : start + 36], expected)
    varied = [i for i in range(36) if i not in (5, 6)]  # without the push set above
    assert expected[:, varied].std(0).min() > 0.0


def test_heights_over_flat_ground_match_the_link_lengths_and_are_clipped_to_a_metre():
    env = calm(2)
    at = env.observations.slices("privileged")["foot_heights"]
    # In the default pose the feet end 0.3235 m (front) and 0.3139 m (rear) below the base. Times 5.
    feet = frames_at(env, 1.0)["privileged"][:, at].reshape(2, 4, 9)
    assert torch.allclose(feet[:, :2], torch.tensor(5.0 * 0.6765), atol=5e-4)
    assert torch.allclose(feet[:, 2:], torch.tensor(5.0 * 0.6861), atol=5e-4)
    high = frames_at(env, 3.0)
    assert torch.all(high["privileged"][:, at] == 5.0)
    assert torch.all(high["critic"][:, env.observations.slices("critic")["terrain_scan"]] == 5.0)


def test_teacher_and_critic_see_the_velocity_of_the_base_and_the_student_does_not():
    env = calm(2, noise__add_noise=False, init_state__random_yaw=False)
    before = env.observations.compute()
    env.sim.root_lin_vel[:, 0] += 1.0  # robots look along x
    env._read_state()
    after = env.observations.compute()
    assert torch.equal(after["policy"], before["policy"])
    for group in ("privileged", "critic"):
        change = after[group] - before[group]
        at = env.observations.slices(group)["base_lin_vel"]
        assert torch.allclose(change[:, at], torch.tensor([2.0, 0.0, 0.0]), atol=1e-5)  # 1 m/s, scaled by 2
        change[:, at] = 0.0
        assert not change.any()


def test_the_scan_reaches_at_least_a_tread_beyond_every_foot():
    env = calm(1)
    offsets = env.sim.foot_pos[0, :, 0] - env.sim.root_pos[0, 0]  # along x, where the robot looks
    front, back = max(env.cfg.terrain.scan_points_x), min(env.cfg.terrain.scan_points_x)
    assert front >= float(offsets.max()) + 0.3 and back <= float(offsets.min()) - 0.3


def test_terms_can_be_listed_and_unknown_ones_are_named():
    env = calm(2, observations__privileged=["friction", "base_lin_vel"])
    assert list(env.observations.slices("privileged")) == ["friction", "base_lin_vel"]
    assert env.privileged_obs_buf.shape == (2, 4)
    with pytest.raises(UserError, match=r"observations: no term 'base_vel'; did you mean .*base_lin_vel"):
        calm(2, observations__critic=["base_vel"])
    with pytest.raises(UserError, match=r"observations.layout=tutorail; did you mean tutorial\?"):
        calm(2, observations__layout="tutorail")


def test_height_points_turn_with_the_robot_and_run_over_y_first():
    env = calm(2, observations__layout="tutorial")
    # Ground that rises along the world's x with slope 1; robot 0 looks along x, robot 1 along y.
    env.terrain = SimpleNamespace(heights=lambda points: points[..., 0], normals=env.terrain.normals)
    frames = frames_at(env, 0.8, [turned(0.0, 2), turned(math.pi / 2, 2)])
    scan = frames["critic"][:, env.observations.slices("critic")["height_scan"]].reshape(2, 9, 9) / 5.0 + 0.3187
    steps = torch.arange(-4, 5) / 10.0
    # Robot 0: clearance 0.8 - x. Robot 1: its point (x, y) lies at world (-y, x), clearance 0.8 + y.
    assert torch.allclose(scan[0], (0.8 - steps)[:, None].expand(9, 9), atol=1e-4)
    assert torch.allclose(scan[1], (0.8 + steps)[None].expand(9, 9), atol=1e-4)
    at = env.observations.slices("privileged")["foot_heights"]
    feet = frames["privileged"][:, at].reshape(2, 4, 3, 3) / 5.0
    feet = feet - feet[:, :, 1:2, 1:2]  # relative to the point under each foot
    step = torch.tensor([-0.1, 0.0, 0.1])
    assert torch.allclose(feet[0], -step[:, None].expand(4, 3, 3), atol=1e-5)
    assert torch.allclose(feet[1], step.expand(4, 3, 3), atol=1e-5)


@pytest.mark.parametrize(("body", "column"), [("FL_thigh", 0), ("RL_thigh", 2), ("FR_calf", 5), ("RR_foot", 11)])
def test_a_contact_shows_in_the_column_of_its_body(body, column):
    env = calm(1)
    env.contact_states = torch.zeros_like(env.contact_states)
    env.contact_states[0, env.sim.contact_names.index(body)] = 1.0
    frames = env.observations.compute()
    for group in ("privileged", "critic"):
        states = frames[group][0, env.observations.slices(group)["contact_states"]]
        assert torch.equal(states, torch.eye(12)[column])


def test_three_critic_frames_are_stacked_with_the_newest_last():
    env = calm(2, env__critic_frames=3, noise__add_noise=False)
    frames = []
    for level in (0.1, 0.2, 0.3, 0.4):
        env.step(torch.full((2, 12), level))
        frames.append(env.obs_buf.clone())
    stacked = env.critic_obs_buf.reshape(2, 3, env.group_dims["critic"])[:, :, :45]
    assert torch.equal(stacked, torch.stack(frames[-3:], dim=1))
    assert not torch.equal(frames[-1], frames[-2])


def test_histories_are_cleared_where_an_episode_ends_and_nowhere_else():
    env = calm(2, env__num_history=5, env__critic_frames=3)
    frames = []
    for _ in range(6):
        stand(env)
        frames.append(env.obs_buf.clone())
    env.episode_length_buf[1] = env.max_episode_length  # robot 1 times out in the next step
    stand(env)
    assert env.reset_buf.tolist() == [False, True]
    assert torch.equal(env.obs_history[0], torch.stack([*frames[-4:], env.obs_buf], dim=1)[0])
    assert not env.obs_history[1, :4].any() and torch.equal(env.obs_history[1, 4], env.obs_buf[1])
    critic = env.critic_obs_buf.reshape(2, 3, env.group_dims["critic"])
    assert critic[0].any(-1).tolist() == [True] * 3 and critic[1].any(-1).tolist() == [False, False, True]


def test_every_group_is_clipped_to_the_bound_that_it_reaches():
    env = calm(2, normalization__clip_observations=0.5)
    # The policy group has gravity (-1), the others heights (more than 3).
    assert {group: frame.abs().max().item() for group, frame in frames_at(env, 1.0).items()} == dict.fromkeys(
        env.group_dims, 0.5
    )


def test_points_that_have_no_mirror_image_are_refused_with_a_cure_that_the_command_line_takes():
    env = calm(1, terrain__scan_points_y=[-0.2, 0.3])
    with pytest.raises(UserError, match=r"scan_points_y=\[-0.2, 0.3\].*--train\.algorithm\.symmetry_cfg=none"):
        mirror(RslRlVecEnv(env), {"privileged": env.privileged_obs_buf}, None)
    for task in ("go2_flat", "go2_ts_flat"):
        env_cfg, train_cfg = task_registry.get_cfgs(task)
        apply_args_to_cfgs(
            parse(make_parser(""), [f"--task={task}", "--train.algorithm.symmetry_cfg=none"]), env_cfg, train_cfg
        )
        assert train_cfg.algorithm.symmetry_cfg is None


def test_a_term_without_a_mirror_image_is_refused_where_samples_are_mirrored(monkeypatch):
    monkeypatch.setitem(TERMS, "lean", ObsTerm(1, lambda e: e.projected_gravity[:, 1:2]))
    cfg, _ = task_registry.get_cfgs("go2_flat")
    cfg.observations.critic = ["lean"]
    with pytest.raises(UserError, match=r"term 'lean' declares no mirror image.*symmetry_cfg=None"):
        group_table(cfg, "critic", None)
