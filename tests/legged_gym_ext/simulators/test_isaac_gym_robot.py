"""Robots of the Isaac Gym engine: bodies, joints, feet, parameters; over its double (isaac_double.py)."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from legged_gym_ext.simulators.base import PARAMETERS
from legged_gym_ext.simulators.isaac_gym.assets import read_robot
from legged_gym_ext.utils.errors import UserError
from tests.engines import JOINTS, hold, place, random_state, state_of
from tests.isaac import BASE_COM, BASE_MASS, HALF, LEGS, config, copy_of_urdf, engine
from tests.isaac_double import Gym, install

# -- robot -----------------------------------------------------------------------------------------------------------


def test_names_limits_and_heights_are_those_of_the_mujoco_engine(gym):
    isaac, mujoco = engine(1), engine(1, engine="mujoco")
    assert isaac.joint_names == mujoco.joint_names == JOINTS
    assert isaac.contact_names == mujoco.contact_names
    for name in ("dof_pos_limits", "torque_limits", "default_dof_pos"):
        assert torch.allclose(getattr(isaac, name), getattr(mujoco, name)), name
    assert isaac.foot_radius == pytest.approx(mujoco.foot_radius) == pytest.approx(0.022)
    assert isaac.standing_height == pytest.approx(mujoco.standing_height, abs=1e-6)


def test_feet_are_where_mujoco_has_them_also_right_after_a_reset(gym):
    isaac, mujoco = engine(32), engine(32, engine="mujoco")
    state = random_state(isaac, 32)
    for sim in (isaac, mujoco):
        sim.reset(torch.arange(32), state)
    assert torch.allclose(isaac.foot_pos, mujoco.foot_pos, atol=1e-5)
    gym.sim.frozen = True
    hold(isaac)
    assert torch.allclose(isaac.foot_pos, mujoco.foot_pos, atol=1e-5)


def test_feet_of_a_robot_with_turned_joint_frames_are_where_mujoco_has_them(tmp_path):
    file = copy_of_urdf(tmp_path, '0.0465 0" rpy="0 0 0"', '0.0465 0" rpy="0.3 -0.5 0.9"')
    text = (tmp_path / "go2.urdf").read_text(encoding="utf-8")
    text = text.replace('xyz="0 0 -0.213" rpy="0 0 0"', 'xyz="0 0 -0.213" rpy="-0.2 0.4 0.7"')
    (tmp_path / "go2.urdf").write_text(text.replace('<axis xyz="0 1 0"/>', '<axis xyz="0.6 0.8 0"/>'), encoding="utf-8")
    robot = read_robot(config(asset__file=file))
    spec = mujoco.MjSpec.from_file(str(tmp_path / "go2.urdf"))
    spec.compiler.fusestatic = False
    spec.body("base").add_freejoint()
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:7] = (1.0, -2.0, 0.5, 0.5, 0.5, -0.5, 0.5)
    data.qpos[7:] = np.linspace(-1.0, 1.0, 12)
    mujoco.mj_forward(model, data)
    columns = [model.joint(name).qposadr[0] for name in JOINTS]
    tensor = lambda values: torch.tensor(values, dtype=torch.float32)[None]  # noqa: E731
    feet = robot.kinematics.positions(tensor(data.qpos[:3]), tensor(data.qpos[3:7]), tensor(data.qpos[columns]))
    for foot, found in zip(robot.feet, feet[0]):
        body = data.body(foot)
        expected = body.xpos + body.xmat.reshape(3, 3) @ (-0.002, 0.0, 0.0)
        assert np.allclose(found, expected, atol=1e-5), foot


def test_rotors_are_those_of_the_mjcf(gym):
    engine(1)
    mujoco = engine(1, engine="mujoco")
    actor = gym.sim.actors[0]
    expected = [mujoco.model.dof_armature[mujoco.model.joint(name).dofadr[0]] for name in actor.asset.dof_names]
    assert len(set(expected)) == 2 and np.allclose(actor.dof_props["armature"], expected)


MJCF = """<mujoco><default><joint armature="0.1"/>
<default class="a"><joint armature="0.2"/><default class="b"/></default>
<default class="c"><geom size="1"/></default></default><worldbody><body><freejoint/><body><joint name="main"/>
<body childclass="a"><joint name="child"/>
<body><joint name="own" armature="0.3"/><joint name="b" class="b"/><joint name="c" class="c"/></body></body></body>
</body></worldbody></mujoco>"""


def test_armature_is_found_where_mjcf_inherits_it_from(tmp_path):
    from legged_gym_ext.simulators.isaac_gym.assets import _read_armature

    path = tmp_path / "robot.xml"
    path.write_text(MJCF, encoding="utf-8")
    # b inherits from a, c from the class around it.
    assert _read_armature(path, ["main", "child", "own", "b", "c"]) == [0.1, 0.2, 0.3, 0.2, 0.1]
    path.write_text(
        MJCF.replace("<mujoco><default>", "<mujoco><default><geom/>").replace('<joint armature="0.1"/>', ""),
        encoding="utf-8",
    )
    assert _read_armature(path, ["main", "child"]) == [0.0, 0.2]


def test_dofs_of_isaac_gym_do_nothing_by_themselves(gym):
    engine(1)
    props = gym.sim.actors[0].dof_props
    for field in ("stiffness", "damping", "friction"):
        assert not props[field].any(), field
    # Limits are the motors'; the engine's must not cut first: 45.43 N m and 0.5 + 0.3 * 15.7 N m of friction, 30.1
    # rad/s.
    assert (props["effort"] > 60.0).all() and (props["velocity"] > 31.0).all()
    assert (props["driveMode"] == 3).all() and props["hasLimits"].all()


def test_robots_never_touch_each_other_and_stand_apart_on_a_plane(plain):
    turned = [HALF, 0.0, 0.0, HALF]
    sim = engine(7, init_state__rot=turned)
    actors = plain.sim.actors
    assert sorted(actor.group for actor in actors) == list(range(7))
    assert torch.equal(
        sim.root_pos, torch.tensor([0.0, 0.0, 0.34]).repeat(7, 1)
    )  # all at the origin, as far as we know
    hold(sim)
    apart = torch.cdist(plain.sim.root[:, :2], plain.sim.root[:, :2]) + 10.0 * torch.eye(7)
    assert apart.min() >= 3.0 - 1e-5
    poses = [(a.pose.p.x, a.pose.p.y, a.pose.p.z, a.pose.r.x, a.pose.r.y, a.pose.r.z, a.pose.r.w) for a in actors]
    # Nothing jumps when the first states are written.
    assert torch.allclose(torch.tensor(poses), plain.sim.root[:, :7], atol=1e-5)
    assert torch.equal(sim.root_quat, torch.tensor(turned).repeat(7, 1))


@pytest.mark.parametrize(("self_collisions", "bits"), [(False, 1), (True, 0)])
def test_shapes_of_a_robot_that_share_a_bit_do_not_collide(plain, self_collisions, bits):
    engine(1, asset__self_collisions=self_collisions)
    assert plain.sim.actors[0].filter == bits


def test_contact_forces_are_found_by_name_and_forgotten_at_a_reset(gym):
    sim = engine(2)
    hold(sim)
    bodies = gym.sim.actors[0].asset.body_names
    for index in range(len(bodies)):
        gym.sim.net[:, index] = torch.tensor([[index, 1.0, 2.0], [-index, 3.0, 4.0]])
    hold(sim)
    assert sim.contact_names[0] == "base" and sim.contact_names[-4:] == [f"{leg}_foot" for leg in LEGS]
    for column, name in enumerate(sim.contact_names):
        assert sim.contact_forces[0, column].tolist() == [bodies.index(name), 1.0, 2.0]
    kept = sim.contact_forces[1].clone()
    sim.reset(torch.tensor([0]), state_of(sim, 1))
    assert not sim.contact_forces[0].any() and not sim.torques[0].any()
    assert torch.equal(sim.contact_forces[1], kept)


# -- parameters ------------------------------------------------------------------------------------------------------

OTHER_VALUES = {
    "friction": 0.456, "added_mass": 2.0, "com_shift": [0.03, -0.02, 0.01], "kp": [30.0] * 12, "kd": [1.0] * 12,
    "armature_scale": 1.5, "joint_friction_scale": 1.5, "joint_damping": 0.3, "joint_stiffness": 1.0, "delay": 0.02,
}  # fmt: skip


def fingerprint(sim: Any, gym: Gym, robot: int) -> dict[str, Any]:
    """What a parameter may change about a robot: its properties in Isaac Gym and the forces of its next steps."""
    actor = gym.sim.actors[robot]
    return {
        "frictions": tuple(actor.frictions),
        "masses": tuple(actor.masses),
        "coms": tuple(map(tuple, actor.coms)),
        "dofs": actor.dof_props.tobytes(),
        "forces": tuple(tuple(entry["force"][robot].tolist()) for entry in gym.log[-3:]),
    }


CHANGES = {"friction": "frictions", "added_mass": "masses", "com_shift": "coms", "armature_scale": "dofs"}
"""Where a parameter shows; the others are forces of ours."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_changes_what_it_is_about_for_the_chosen_robots_alone(plain, monkeypatch, name):
    prints = []
    for changed in (True, False):
        gym = install(monkeypatch)
        sim = engine(3, domain_rand__randomize_delay=True)
        if changed:
            sim.set_parameter(name, torch.tensor([OTHER_VALUES[name]]), torch.tensor([1]))
        sim.commit()
        place(sim, dof_vel=torch.full((3, 12), 0.5), dof_pos=sim.default_dof_pos.repeat(3, 1) + 0.1)
        hold(sim, 3, offset=0.2)
        prints.append([fingerprint(sim, gym, robot) for robot in range(3)])
    with_change, without = prints
    assert with_change[0] == without[0] and with_change[2] == without[2]
    different = {what for what, value in with_change[1].items() if value != without[1][what]}
    assert different == {CHANGES.get(name, "forces")}


def test_friction_between_foot_and_ground_is_what_was_asked_for(plain):
    sim = engine(2)
    (ground,) = plain.sim.ground

    # PhysX takes the mean of the two. Until it is set, it is the nominal 0.8 of domain randomisation.
    def effective(robot):
        return {round(0.5 * (f + ground.static_friction), 6) for f in plain.sim.actors[robot].frictions}

    assert effective(0) == effective(1) == {0.8} and ground.dynamic_friction == ground.static_friction
    sim.set_parameter("friction", torch.tensor([0.3, 1.25]))
    assert effective(0) == {0.3} and effective(1) in ({1.25}, {1.24}, {1.26})


def test_thousands_of_frictions_are_few_materials(plain):
    sim = engine(300)
    wanted = torch.linspace(0.3, 1.25, 300)
    sim.set_parameter("friction", wanted)
    frictions = [actor.frictions for actor in plain.sim.actors]
    assert len({f for robot in frictions for f in robot}) <= 96
    assert max(abs(0.5 * robot[0] - w) for robot, w in zip(frictions, wanted.tolist())) <= 0.00501


def test_mass_and_centre_of_mass_are_added_to_the_base_once(gym):
    sim = engine(2)
    base = gym.sim.actors[0].asset.body_names.index("base")
    others = [mass for index, mass in enumerate(gym.sim.actors[0].masses) if index != base]
    sim.set_parameter("added_mass", torch.tensor([0.0, 2.0]))
    sim.set_parameter("com_shift", torch.tensor([[0.01, 0.02, 0.03], [0.0, 0.0, 0.0]]))
    for _ in range(2):
        sim.commit()
    sim.set_parameter("added_mass", torch.tensor([1.0]), torch.tensor([1]))
    sim.commit()
    first, second = gym.sim.actors
    assert first.masses[base] == pytest.approx(BASE_MASS) and second.masses[base] == pytest.approx(BASE_MASS + 1.0)
    shifted = [c + d for c, d in zip(BASE_COM, (0.01, 0.02, 0.03))]
    assert first.coms[base] == pytest.approx(shifted, abs=1e-6) and second.coms[base] == pytest.approx(
        BASE_COM, abs=1e-6
    )
    assert [mass for index, mass in enumerate(second.masses) if index != base] == others


def test_a_moved_centre_of_mass_counts_in_velocities(plain):
    sim = engine(1)
    place(sim, root_ang_vel=torch.tensor([[0.0, 0.0, 1.0]]), root_lin_vel=torch.tensor([[0.5, 0.0, 0.0]]))
    sim.set_parameter("com_shift", torch.tensor([[0.1, 0.0, 0.0]]))
    sim.commit()
    assert torch.allclose(sim.root_lin_vel, torch.tensor([[0.5, 0.0, 0.0]]), atol=1e-6)  # of the origin, unchanged
    plain.sim.frozen = True
    hold(sim)
    # (0, 0, 1) x (0.1 + cx, 0, cz) = (0, 0.1 + cx, 0)
    assert torch.allclose(plain.log[-1]["root"][0][7:10], torch.tensor([0.5, 0.1 + BASE_COM[0], 0.0]), atol=1e-6)
    assert torch.allclose(sim.root_lin_vel, torch.tensor([[0.5, 0.0, 0.0]]), atol=1e-6)


def test_armature_is_scaled_from_its_nominal_value_every_time(gym):
    sim = engine(1)
    nominal = gym.sim.actors[0].dof_props["armature"].copy()
    for factor in (1.5, 0.8):
        sim.set_parameter("armature_scale", torch.tensor([factor]))
        sim.commit()
        assert np.allclose(gym.sim.actors[0].dof_props["armature"], factor * nominal)


def test_everything_may_change_until_the_first_step_and_centres_of_mass_on_a_gpu_not_afterwards(plain):
    sim = engine(1)
    sim.commit()
    assert "prepare_sim" not in plain.calls
    sim.set_parameter("com_shift", torch.tensor([[0.01, 0.0, 0.0]]))
    sim.commit()  # as when a run is resumed
    hold(sim)
    assert plain.calls.count("prepare_sim") == 1
    hold(sim)
    assert plain.calls.count("prepare_sim") == 1
    sim._gpu = True
    sim.commit()  # nothing moved
    sim.set_parameter("com_shift", torch.tensor([[0.02, 0.0, 0.0]]))
    with pytest.raises(UserError, match="cannot move centres of mass on a GPU after the first step"):
        sim.commit()
