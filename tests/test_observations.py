"""Observation groups: layout, scales, noise and meaning of every column."""

from __future__ import annotations

import math

import pytest
import torch
from test_environment import calm, make, stand

from legged_gym_ext.envs.base.observations import ObsTerm, Observations
from legged_gym_ext.envs.go2.symmetry import mirror
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

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
LAYOUT = {
    "policy": (45, PROPRIOCEPTION),
    "privileged": (94, [*DOMAIN, ("foot_heights", 36), ("foot_normals", 12), ("contact_states", 12)]),
    "critic": (172, [*PROPRIOCEPTION, *DOMAIN, ("contact_states", 12), ("height_scan", 81)]),
}


@pytest.mark.parametrize("group", LAYOUT)
def test_group_has_exactly_the_declared_terms_in_order(group):
    env = calm(2)
    dim, terms = LAYOUT[group]
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
    scan = frames["critic"][:, env.observations.slices("critic")["height_scan"]]
    assert torch.allclose(scan, torch.full((2, 81), 0.5), atol=1e-5)  # 0.1 m, scaled by 5
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
    first_policy, first_critic = env.obs_buf.clone(), env.critic_obs_buf[:, 172:].clone()
    stand(env)
    assert torch.equal(env.obs_history[:, 1], first_policy) and torch.equal(env.obs_history[:, 2], env.obs_buf)
    assert env.critic_obs_buf.shape == (2, 344) and torch.equal(env.critic_obs_buf[:, :172], first_critic)


def test_values_are_clipped():
    env = calm(1, normalization__clip_observations=0.5)
    assert env.obs_buf.abs().max() <= 0.5


def test_a_term_of_another_width_than_declared_is_named(monkeypatch):
    env = calm(2)
    from legged_gym_ext.envs.base import observations

    terms = observations.make_terms(env, env.cfg)
    terms["friction"] = ObsTerm(2, lambda e: torch.zeros(2, 1))
    monkeypatch.setattr(observations, "make_terms", lambda *_: terms)
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
