"""Robots that are not ours, in every engine: feet by other names, legs in another order, other masses and joints."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs.base.legs import find_corners, mirror_joints
from legged_gym_ext.envs.base.mirror import Opposites
from legged_gym_ext.envs.base.symmetry import configured_opposites, mirror, opposites_of
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators.legs import Leg
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from tests.isaac import engine
from tests.robots import calm, make

GO2_XML = Path(__file__).resolve().parents[3] / "legged_gym_ext/resources/robots/go2/go2.xml"
ENGINES = pytest.mark.parametrize("name", ["mujoco", "isaac_gym"])
LEGS = ("FL", "FR", "RL", "RR")


def model(tmp_path: Path, *changes: tuple[str, str]) -> str:
    """Our MJCF with texts replaced; returns the value for asset.file."""
    text = GO2_XML.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "robot.xml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def angles(order: Any) -> dict[str, float]:
    """The default angles with the joints in another order."""
    default = Go2FlatCfg().init_state.default_joint_angles
    return {name: default[name] for name in order(list(default))}


def by_leg(*legs: str) -> Any:
    return lambda names: [name for leg in legs for name in names if name.startswith(leg)]


# -- feet ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("foot_name", [["FL", "FR", "RL", "RR"], "RR, RL, FR, FL", "[FL,FR,RL,RR]"])
def test_feet_can_be_named_one_by_one(tmp_path, foot_name):
    # As in the public reference model, where `FL` is a part of the names of all bodies of its leg.
    file = model(tmp_path, *((f'<geom name="{leg}_foot" ', f'<geom name="{leg}" ') for leg in LEGS))
    theirs, ours = engine(1, engine="mujoco", asset__file=file, asset__foot_name=foot_name), engine(1, engine="mujoco")
    assert theirs.contact_names[-4:] == list(LEGS)
    assert torch.equal(theirs.foot_pos, ours.foot_pos) and theirs.standing_height == ours.standing_height


def test_links_can_be_named_one_by_one_in_isaac_gym(plain):
    named = engine(1, asset__foot_name=[f"{leg}_foot" for leg in reversed(LEGS)])
    assert torch.equal(named.foot_pos, engine(1).foot_pos)


@pytest.mark.parametrize(
    ("foot_name", "said"),
    [
        ("calf", r"'calf' selects 8 shapes .*FL_calf_upper_collision.*expected one on each of its 4 limbs"),
        ("FL_calf", r"selects 2 shapes .*none on the limbs of FR_hip_joint, RL_hip_joint, RR_hip_joint"),
        ("FL_foot", r"selects 1 shapes .*\(FL_foot\), none on the limbs of FR_hip_joint"),
        ("thigh", r"expected shapes at the ends of the limbs, and behind FL_thigh_joint are more joints"),
        (
            ["FL_foot", "FR_foot", "RL_foot", "RR_fot"],
            r"no colliding shape 'RR_fot'; did you mean RR_foot.*it has base_",
        ),
        (["foot"], r"no colliding shape 'foot'"),
        ([], r"is part of no name"),
        ("base_collision", r"selects 1 shapes .*\(base_collision\), none on the limbs of FL_hip_joint"),
    ],
)
def test_feet_that_are_none_are_one_line_with_what_was_found(foot_name, said):
    with pytest.raises(UserError, match=said) as error:
        engine(1, engine="mujoco", asset__foot_name=foot_name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("foot_name", "said"),
    [
        ("FL_foot", r"selects 1 shapes .*none on the limbs of FR_hip_joint"),
        ("paw", r"is part of no name .*it has Head_lower, FL_foot, FR_foot"),
        (["FL_foot", "FR_foot", "RL_foot", "RR_fot"], r"no colliding shape 'RR_fot'; did you mean RR_foot"),
    ],
)
def test_feet_that_are_none_are_told_by_isaac_gym_too(plain, foot_name, said):
    with pytest.raises(UserError, match=said):
        engine(1, asset__foot_name=foot_name)


# -- numbers that do not fit -----------------------------------------------------------------------------------------


@ENGINES
def test_a_delay_between_two_physics_steps_is_refused_by_every_engine(plain, name):
    sim = engine(1, engine=name, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.015]))
    with pytest.raises(ValueError, match=r"whole physics steps of 0.005 s, found 0.0125 s"):
        sim.set_parameter("delay", torch.tensor([0.0125]))


def test_a_range_of_delays_between_two_physics_steps_is_refused():
    with pytest.raises(UserError, match=r"delay_range=\[0.0, 0.012\]: expected whole .* nearest are \[0.0, 0.01\]"):
        make(1, domain_rand__delay_range=[0.0, 0.012])
    make(1, domain_rand__delay_range=[0.0, 0.012], domain_rand__randomize_delay=False)


@ENGINES
def test_more_mass_than_the_base_has_is_refused_with_every_engine(plain, name):
    said = r"added mass -6.950 kg: the base has 6.92. kg; see domain_rand.added_mass_range"
    with pytest.raises(UserError, match=said):
        make(1, sim__engine=name, domain_rand__added_mass_range=[-6.95, 3.0])  # few draws would have been too low
    with pytest.raises(UserError, match=said):
        engine(2, engine=name).set_parameter("added_mass", torch.tensor([0.0, -6.95]))
    make(1, sim__engine=name, domain_rand__added_mass_range=[-6.95, 3.0], domain_rand__randomize_base_mass=False)


# -- what training has and the file does not say ---------------------------------------------------------------------


def test_joints_of_a_file_that_randomisation_replaces_are_told(tmp_path, capsys):
    file = model(tmp_path, ('damping="0.15"', 'damping="2"'))
    env = make(1, asset__file=file)
    line = (
        "note: robot.xml has 2 N m s/rad as its joint damping, trained is 0.05 to 0.3 "
        "(domain_rand.joint_damping_range); sim2sim.py has the file's"
    )
    assert env.notes == [line] and capsys.readouterr().out == line + "\n"
    for quiet in ({"domain_rand__randomize_joint_damping": False}, {"domain_rand__joint_damping_range": [0.0, 2.0]}):
        assert make(1, asset__file=file, **quiet).notes == []


def test_what_is_not_randomised_is_observed_as_the_file_has_it(tmp_path):
    file = model(tmp_path, ('damping="0.15"', 'damping="2"'), ('friction="0.8 0.02 0.01"', 'friction="0.5 0.02 0.01"'))
    env = make(2, asset__file=file, domain_rand__randomize_joint_damping=False, domain_rand__randomize_friction=False)
    assert env.params["joint_damping"].tolist() == [2.0, 2.0] and env.params["friction"].tolist() == [0.5, 0.5]


def test_factors_on_nothing_are_told(tmp_path):
    file = model(tmp_path, *((f'frictionloss="{value}"', 'frictionloss="0"') for value in ("0.2", "0.5")))
    assert make(1, asset__file=file).notes == [
        "note: robot.xml has no joint friction, so domain_rand.joint_friction_range changes nothing"
    ]


def test_nothing_is_told_of_our_own_robot(capsys):
    assert make(1).notes == [] and capsys.readouterr().out == ""


@ENGINES
def test_every_engine_knows_what_the_file_says(plain, name):
    sim = engine(1, engine=name)
    assert sim.mass == pytest.approx(15.019, abs=2e-3) and sim.base_mass == pytest.approx(6.923, abs=2e-3)
    assert sim.nominal["friction"] == (0.8, 0.8) and sim.nominal["joint_stiffness"] == (0.0, 0.0)
    for quantity, bounds in {
        "armature": (0.0045, 0.0165),
        "joint_friction": (0.2, 0.5),
        "joint_damping": (0.15, 0.15),
    }.items():
        assert sim.nominal[quantity] == pytest.approx(bounds), quantity


# -- legs ------------------------------------------------------------------------------------------------------------


@ENGINES
def test_every_engine_finds_the_same_legs(plain, name):
    legs = engine(1, engine=name).legs
    assert [leg.joints for leg in legs] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    for leg, (x, y) in zip(legs, [(1, 1), (1, -1), (-1, 1), (-1, -1)]):
        assert leg.hip == pytest.approx((0.1934 * x, 0.0465 * y, 0.0), abs=1e-6)
        assert torch.allclose(torch.tensor(leg.axes), torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]]), atol=1e-6)


def test_what_the_joints_are_called_tells_the_same_as_the_model():
    # FL and FR change places, RL and RR too; abduction changes sign. Contacts: thighs, calves, feet.
    swapped = [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
    contacts = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    assert configured_opposites(Go2FlatCfg()) == Opposites([1, 0, 3, 2], swapped, [-1.0, 1.0, 1.0] * 4, contacts)
    assert opposites_of(make(1)) == configured_opposites(Go2FlatCfg())


ORDERS = {
    "front, hind, front, hind": by_leg("FL", "RL", "FR", "RR"),
    "right first": by_leg("FR", "FL", "RR", "RL"),
    "by kind": lambda names: [name for part in ("hip", "thigh", "calf") for name in names if part in name],
    "shuffled": lambda names: random.Random(1).sample(names, len(names)),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_robot_with_its_joints_in_any_order_sees_its_mirror_image(order):
    default = angles(order)
    env = calm(2, noise__add_noise=False, init_state__default_joint_angles=default, domain_rand__randomize_gains=True)
    names, generator = list(default), torch.Generator().manual_seed(0)
    assert env.sim.joint_names == names
    # Robot 1 is the mirror image of robot 0, by names: L and R exchanged, abduction negated.
    opposite = {"L": "R", "R": "L"}
    swap = [names.index(f"{name[0]}{opposite[name[1]]}{name[2:]}") for name in names]
    sign = torch.tensor([-1.0 if "hip" in name else 1.0 for name in names])
    offset, kp = 0.1 * torch.randn(12, generator=generator), torch.rand(12, generator=generator)
    env.sim.dof_pos[:] = env.default_dof_pos + torch.stack((offset, offset[swap] * sign))
    env.params["kp_scale"][:] = torch.stack((kp, kp[swap]))
    contacts = env.sim.contact_names
    forces = torch.rand(len(contacts), generator=generator).round() * 2.0
    mirrored = [contacts.index(n if n == "base" else f"{n[0]}{opposite[n[1]]}{n[2:]}") for n in contacts]
    env.sim.contact_forces[:, :, 2] = torch.stack((forces, forces[mirrored]))
    env._read_state()
    env._compute_observations()
    view = RslRlVecEnv(env)
    obs, actions = view.get_observations(), torch.randn(2, 12, generator=generator)
    both, both_actions = mirror(view, obs, actions)
    for group, terms in (("policy", ("dof_pos",)), ("privileged", ("kp_scale", "contact_states"))):
        for term in terms:
            columns = env.observations.slices(group)[term]
            assert torch.allclose(both[group][2, columns], obs[group][1, columns], atol=1e-6), term
            assert not torch.allclose(obs[group][0, columns], obs[group][1, columns], atol=1e-3), term
    assert torch.equal(both_actions[2:], actions[:, swap] * sign)


def test_feet_are_exchanged_with_those_on_the_other_side_whatever_their_order():
    env = make(1, init_state__default_joint_angles=angles(by_leg("FL", "RL", "FR", "RR")))
    assert env.corners == [0, 2, 1, 3] and opposites_of(env).feet == [2, 3, 0, 1]


def test_joints_that_turn_the_other_way_on_the_other_side_keep_their_sign(tmp_path):
    # The right hips turn about -x: what was an angle of -0.1 is one of +0.1, and an angle is its own image.
    hip = '<joint name="{leg}_hip_joint" class="hip"{rest}/>'
    changes = [(hip.format(leg=leg, rest=""), hip.format(leg=leg, rest=' axis="-1 0 0"')) for leg in ("FR", "RR")]
    default = {name: 0.1 if "hip" in name else angle for name, angle in angles(list).items()}
    env = make(1, asset__file=model(tmp_path, *changes), init_state__default_joint_angles=default)
    assert mirror_joints(env.sim) == (configured_opposites(Go2FlatCfg()).joints, [1.0] * 12)


def leg(x: float, y: float) -> Leg:
    return Leg((0,), ((1.0, 0.0, 0.0),), (x, y, 0.0))


def test_corners_are_found_from_where_the_hips_are():
    # One pair stands wider and further back; the order is rear right, front left, rear left, front right.
    legs = [leg(-0.3, -0.2), leg(0.1, 0.05), leg(-0.3, 0.2), leg(0.1, -0.05)]
    assert find_corners(legs) == (1, 3, 2, 0)


@pytest.mark.parametrize(
    "legs", [[leg(0.1, 0.1), leg(0.1, -0.1)], [leg(0.3, 0.1), leg(0.1, 0.1), leg(-0.1, 0.1), leg(-0.3, -0.1)]]
)
def test_other_robots_than_quadrupeds_have_no_corners(legs):
    with pytest.raises(
        UserError, match=r"two legs on the left and two on the right.*\(0.100, -0.100\)|\(-0.300, -0.100\)"
    ):
        find_corners(legs)


def test_a_default_pose_without_mirror_image_is_refused():
    default = {**angles(list), "FR_hip_joint": 0.1}
    env = make(1, init_state__default_joint_angles=default)
    said = r"default_joint_angles has 0.1 rad for FL_hip_joint and 0.1 for FR_hip_joint, expected -0.1"
    with pytest.raises(UserError, match=said):
        mirror(RslRlVecEnv(env), None, torch.zeros(1, 12))


def test_axes_without_mirror_image_are_refused(tmp_path):
    old, new = (
        '<joint name="FR_calf_joint" class="calf"/>',
        '<joint name="FR_calf_joint" class="calf" axis="0 0.9 0.44"/>',
    )
    env = make(1, asset__file=model(tmp_path, (old, new)))
    with pytest.raises(UserError, match="the axes of FL_calf_joint and FR_calf_joint are no mirror images"):
        opposites_of(env)


def test_a_robot_that_is_not_known_is_refused_where_the_environment_is_not_shown():
    with pytest.raises(UserError, match=r"does not show its environment.*task_registry.register_robot"):
        mirror(None, None, torch.zeros(1, 12))
