"""The MuJoCo engine: motors, parameters, contacts, faults, determinism, users' own models."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.simulators.base import PARAMETERS, RobotState
from legged_gym_ext.terrain import PlaneTerrain
from legged_gym_ext.utils.errors import UserError
from tests.robots import set_fields

GO2 = Path(__file__).resolve().parents[3] / "resources/robots/go2/go2.xml"
WEIGHT = 15.019 * 9.81  # N
EXACT = {"sim__mujoco__solver": "newton", "sim__mujoco__iterations": 50}  # four PGS iterations leave 1 to 2 percent


def engine(num_envs: int = 2, **changes: Any) -> Any:
    """An engine whose configuration fields "section.name" are replaced (dots are written as double underscores)."""
    cfg = Go2FlatCfg()
    cfg.domain_rand.randomize_delay = False
    return make_simulator(set_fields(cfg, **changes), PlaneTerrain(num_envs, torch.device("cpu")), num_envs)


def place(sim: Any, height: float, **changes: torch.Tensor) -> None:
    """All robots at `height` in the default pose at rest, except for `changes` of the state."""
    n, joints = sim.num_envs, len(sim.joint_names)
    state = RobotState(
        root_pos=torch.tensor([0.0, 0.0, height]).repeat(n, 1),
        root_quat=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
        root_lin_vel=torch.zeros(n, 3),
        root_ang_vel=torch.zeros(n, 3),
        dof_pos=sim.default_dof_pos.repeat(n, 1),
        dof_vel=torch.zeros(n, joints),
    )
    for name, value in changes.items():
        setattr(state, name, value)
    sim.reset(torch.arange(n), state)


def hold(sim: Any, steps: int = 1, offset: float = 0.0) -> None:
    sim.step((sim.default_dof_pos + offset).repeat(sim.num_envs, 1), steps)


def test_feet_of_a_standing_robot_carry_its_weight_and_the_added_mass():
    sim = engine(**EXACT)
    sim.set_parameter("added_mass", torch.tensor([0.0, 2.0]))
    sim.commit()
    place(sim, sim.standing_height)
    hold(sim, 400)
    feet = sim.contact_forces[:, -4:, 2].sum(-1)
    assert feet[0].item() == pytest.approx(WEIGHT, rel=0.005)
    assert (feet[1] - feet[0]).item() == pytest.approx(2.0 * 9.81, rel=0.02)
    assert torch.all(sim.contact_forces[:, :-4].abs() < 1e-3)  # base, thighs and calves touch nothing


def test_standing_height_is_where_the_feet_touch():
    # Mean of 0.3235 (front) and 0.3139 (rear), computed from link lengths for this pose.
    assert engine(1).standing_height == pytest.approx(0.3187, abs=1e-4)


def test_ideal_motor_is_a_clipped_pd_law():
    sim = engine(control__motor="ideal")
    place(sim, 3.0)
    hold(sim, 1, offset=0.5)
    # At rest and half a radian away: 20 * 0.5 = 10 N m. The reported torque is that of the step's start.
    assert torch.allclose(sim.torques, torch.full_like(sim.torques, 10.0), atol=1e-4)
    place(sim, 3.0)
    hold(sim, 1, offset=3.0)
    limits = torch.tensor([23.7, 23.7, 45.43] * 4)  # 60 N m asked for
    assert torch.allclose(sim.torques, limits.expand_as(sim.torques), atol=1e-4)


@pytest.mark.parametrize(
    ("speed", "offset", "expected"),
    [
        (0.0, 0.5, 10.0),  # inside the line the PD law counts
        (15.05, 3.0, 11.85),  # half the no-load speed leaves half the torque: 23.7 / 2
        (-15.05, 3.0, 23.7),  # braking would allow 1.5 x, the motor's own limit cuts it
        (30.1, 3.0, 0.0),  # no torque at no-load speed
    ],
)
def test_dc_motor_follows_its_torque_speed_line(speed, offset, expected):
    sim = engine(1)
    velocity = torch.zeros(1, 12)
    velocity[0, 0] = speed  # FL hip: 23.7 N m, 30.1 rad/s
    place(sim, 3.0, dof_vel=velocity)
    hold(sim, 1, offset=offset)
    assert sim.torques[0, 0].item() == pytest.approx(expected, abs=1e-3)


def test_motors_are_evaluated_in_every_physics_step():
    once, often = engine(1), engine(1)
    for sim in (once, often):
        place(sim, 3.0)
    hold(once, 4, offset=0.5)
    first = None
    for _ in range(4):
        hold(often, 1, offset=0.5)
        first = often.torques.clone() if first is None else first
    assert torch.equal(once.dof_pos, often.dof_pos) and torch.equal(once.torques, often.torques)
    assert (first - often.torques).abs().max() > 1.0  # the joint moved, so did the torque


def test_delay_holds_the_old_target_for_exactly_that_many_physics_steps():
    sim = engine(3, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.0, 0.01, 0.02]))
    place(sim, 3.0)
    pulled = []
    for _ in range(6):
        hold(sim, 1, offset=0.5)
        pulled.append(sim.torques[:, 0] > 5.0)
    first = torch.stack(pulled).int().argmax(0)
    assert first.tolist() == [0, 2, 4]  # 0, 10 and 20 ms at 5 ms a step


def test_reset_empties_the_delay_line():
    sim = engine(1, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.02]))
    place(sim, 3.0)
    hold(sim, 8, offset=0.5)
    place(sim, 3.0)
    hold(sim, 1)
    assert sim.torques.abs().max() < 1e-3


def test_friction_slows_a_sliding_robot_by_mu_g():
    sim = engine(2)
    sim.set_parameter("friction", torch.tensor([0.3, 0.6]))
    place(sim, sim.standing_height)
    hold(sim, 200)
    velocity = sim.root_lin_vel.clone()
    velocity[:, 1] = 0.5
    before = sim.root_lin_vel[:, 1].clone()
    sim.set_root_lin_vel(velocity)
    hold(sim, 2)
    slowed = 0.5 - sim.root_lin_vel[:, 1]
    assert before.abs().max() < 0.05
    assert slowed[1] > slowed[0] > 0.0


def test_gains_change_only_the_chosen_environments():
    sim = engine(2)
    sim.set_parameter("kp", torch.full((1, 12), 30.0), torch.tensor([1]))
    sim.set_parameter("kd", torch.full((1, 12), 1.0), torch.tensor([1]))
    velocity = torch.full((2, 12), 2.0)
    place(sim, 3.0, dof_vel=velocity)
    hold(sim, 1, offset=0.3)
    # 20 * 0.3 - 0.5 * 2 = 5 and 30 * 0.3 - 1.0 * 2 = 7 N m
    assert torch.allclose(sim.torques[0], torch.full((12,), 5.0), atol=1e-3)
    assert torch.allclose(sim.torques[1], torch.full((12,), 7.0), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("armature_scale", 0.5, 5.0), ("joint_damping", 0.0, 2.0), ("joint_friction_scale", 0.0, 5.0)],
)
def test_more_inertia_damping_or_friction_makes_joints_slower(name, low, high):
    sim = engine(2)
    sim.set_parameter(name, torch.tensor([low, high]))
    sim.commit()
    place(sim, 3.0)
    hold(sim, 4, offset=0.3)
    moved = (sim.dof_pos - sim.default_dof_pos).abs().sum(-1)
    assert moved[1] < 0.9 * moved[0]


def test_joint_stiffness_pulls_towards_the_default_pose():
    sim = engine(2)
    for name in ("kp", "kd"):
        sim.set_parameter(name, torch.zeros(2, 12))
    sim.set_parameter("joint_stiffness", torch.tensor([0.0, 20.0]))
    sim.set_parameter("joint_friction_scale", torch.zeros(2))
    place(sim, 3.0, dof_pos=sim.default_dof_pos.repeat(2, 1) + 0.2)
    hold(sim, 4)
    away = (sim.dof_pos - sim.default_dof_pos).abs().mean(-1)
    assert away[1] < 0.9 * away[0]


def test_com_shift_moves_weight_to_the_front_feet():
    sim = engine(2, **EXACT)
    sim.set_parameter("com_shift", torch.tensor([[0.0, 0.0, 0.0], [0.05, 0.0, 0.0]]))
    sim.commit()
    place(sim, sim.standing_height)
    hold(sim, 400)
    front, rear = sim.contact_forces[:, -4:-2, 2].sum(-1), sim.contact_forces[:, -2:, 2].sum(-1)
    # 6.92 kg moved by 5 cm over 0.46 m between the feet: 6.92 * 9.81 * 0.05 / 0.46 = 7.4 N, more as the legs give way.
    assert 7.0 < (front[1] - front[0]).item() < 20.0
    assert (front + rear)[1].item() == pytest.approx(WEIGHT, rel=0.005)


def test_unknown_parameter_and_too_long_delay_are_errors():
    sim = engine(1, domain_rand__randomize_delay=True)
    with pytest.raises(ValueError, match="unknown physics parameter 'mass'"):
        sim.set_parameter("mass", torch.ones(1))
    with pytest.raises(ValueError, match=r"delays must be in \[0, 0.02\]"):
        sim.set_parameter("delay", torch.tensor([0.03]))
    assert "added_mass" in PARAMETERS


def test_result_does_not_depend_on_the_number_of_threads():
    states = []
    for threads in (1, 2):
        sim = engine(5, sim__num_threads=threads)
        place(sim, 0.34)
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):
            sim.step(sim.default_dof_pos + 0.2 * torch.randn(5, 12, generator=generator), 4)
        states.append(sim.state_dict()["state"])
    assert torch.equal(states[0], states[1])


def test_a_saved_state_continues_bit_for_bit():
    sim = engine(2)
    place(sim, 0.34)
    hold(sim, 20, offset=0.1)
    saved = sim.state_dict()
    hold(sim, 20)
    expected = sim.state_dict()["state"]
    sim.load_state_dict(saved)
    hold(sim, 20)
    assert torch.equal(sim.state_dict()["state"], expected)


def test_a_fault_is_confined_to_its_environment_and_leaves_no_trace(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    broken, sound = engine(3), engine(3)
    for sim in (broken, sound):
        place(sim, 0.34)
    broken.root_lin_vel[1, 0] = float("nan")
    for sim in (broken, sound):
        hold(sim, 4)
    assert broken.faults().tolist() == [False, True, False]
    assert torch.equal(broken.root_pos[[0, 2]], sound.root_pos[[0, 2]])
    place(broken, 0.34)
    hold(broken, 4)
    assert not broken.faults().any()
    assert torch.isfinite(broken.root_pos).all()
    assert list(tmp_path.iterdir()) == []  # no MUJOCO_LOG.TXT
    assert "WARNING" not in "".join(capfd.readouterr())


def test_reset_sets_exactly_the_given_state_and_touches_no_other():
    sim = engine(3)
    place(sim, 0.4)
    hold(sim, 10, offset=0.2)
    others = sim.root_pos[[0, 2]].clone()
    joints = torch.linspace(-0.1, 0.1, 12) + sim.default_dof_pos
    state = RobotState(
        root_pos=torch.tensor([[1.0, -2.0, 0.5]]),
        root_quat=torch.tensor([[0.0, 0.0, 0.0, 1.0]]),
        root_lin_vel=torch.tensor([[0.1, 0.2, 0.3]]),
        root_ang_vel=torch.tensor([[0.4, 0.5, 0.6]]),
        dof_pos=joints[None],
        dof_vel=torch.full((1, 12), 0.7),
    )
    sim.reset(torch.tensor([1]), state)
    assert torch.equal(sim.root_pos[1], state.root_pos[0]) and torch.equal(sim.root_quat[1], state.root_quat[0])
    assert torch.equal(sim.root_lin_vel[1], state.root_lin_vel[0])
    assert torch.equal(sim.root_ang_vel[1], state.root_ang_vel[0])
    assert torch.equal(sim.dof_pos[1], joints) and torch.equal(sim.dof_vel[1], state.dof_vel[0])
    assert torch.equal(sim.root_pos[[0, 2]], others)


def user_model(tmp_path: Path) -> Path:
    """Our robot as a user's file might be: legs in another order, a floor, an actuator and a sensor of its own."""
    tree = ElementTree.parse(GO2)
    world = tree.getroot().find("worldbody")
    base = world.find("body")
    legs = {leg.get("name")[:2]: leg for leg in base.findall("body")}
    for leg in legs.values():
        base.remove(leg)
    for name in ("FR", "FL", "RR", "RL"):
        base.append(legs[name])
    ElementTree.SubElement(world, "geom", type="plane", size="0 0 1", pos="0 0 -5")
    actuators = ElementTree.SubElement(tree.getroot(), "actuator")
    ElementTree.SubElement(actuators, "motor", joint="FR_hip_joint", name="mine")
    sensors = ElementTree.SubElement(tree.getroot(), "sensor")
    ElementTree.SubElement(sensors, "gyro", site="imu")
    path = tmp_path / "mine.xml"
    tree.write(path)
    return path


def test_a_users_model_with_another_joint_order_behaves_the_same(tmp_path):
    ours, theirs = engine(1), engine(1, asset__file=str(user_model(tmp_path)))
    assert theirs.joint_names == ours.joint_names
    joints = ours.default_dof_pos + torch.linspace(-0.2, 0.2, 12)
    for sim in (ours, theirs):
        place(sim, 3.0, dof_pos=joints[None])
        hold(sim, 20)
    assert torch.allclose(ours.dof_pos, theirs.dof_pos, atol=1e-5)
    assert torch.allclose(ours.torques, theirs.torques, atol=1e-3)
    assert torch.allclose(ours.foot_pos, theirs.foot_pos, atol=1e-5)  # feet, too, in our order
    assert theirs.contact_names == ours.contact_names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset__file": "/nowhere/robot.xml"}, "robot model not found: /nowhere/robot.xml"),
        ({"asset__foot_name": "paw"}, "asset.foot_name 'paw'"),
        ({"asset__penalize_contacts_on": ["tail"]}, "no body is named like 'tail'"),
        ({"asset__base_name": "trunk"}, "asset.base_name 'trunk'"),
        ({"asset__torque_limits": {"hip": 1.0}}, "asset.torque_limits has no entry for joint 'FL_thigh_joint'"),
        ({"control__motor": "hydraulic"}, "unknown control.motor 'hydraulic'"),
        ({"control__control_type": "T"}, "control.control_type is 'T'"),
        ({"sim__mujoco__solver": "newten"}, "unknown sim.mujoco.solver 'newten'; did you mean newton"),
        ({"sim__engine": "mujocco"}, "unknown simulator 'mujocco'; did you mean mujoco"),
        ({"sim__device": "cuda"}, "steps on the CPU"),
        ({"init_state__default_joint_angles": {"FL_hip_joint": 0.0}}, "joints differ"),
        ({"env__num_actions": 11}, "env.num_actions is 11"),
    ],
)
def test_wrong_configuration_is_one_clear_error(changes, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        engine(1, **changes)


def test_broken_model_files_are_one_clear_error(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text("<mujoco><worldbody>", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be read by MuJoCo"):
        engine(1, asset__file=str(path))
    path.write_text(
        '<mujoco><worldbody><body name="base"><geom size="1"/></body></worldbody></mujoco>', encoding="utf-8"
    )
    with pytest.raises(UserError, match="expected one free joint"):
        engine(1, asset__file=str(path))


def test_sliding_feet_are_held_back_by_mu_times_their_load():
    sim = engine(2, **EXACT)
    friction = torch.tensor([0.1, 0.3])
    sim.set_parameter("friction", friction)
    place(sim, sim.standing_height)
    hold(sim, 200)
    velocity = sim.root_lin_vel.clone()
    velocity[:, 0] = 2.0
    sim.set_root_lin_vel(velocity)
    start, slowed = 2.0, 10 * sim.dt
    hold(sim, 10)
    force = sim.contact_forces[:, -4:].sum(1)
    assert torch.allclose(-force[:, 0] / force[:, 2], friction, rtol=0.05)
    # The whole robot loses mu g per second: 0.049 and 0.147 m/s within 50 ms, less what the legs take up.
    lost = start - sim.root_lin_vel[:, 0]
    assert (lost > 0.5 * friction * 9.81 * slowed).all() and (lost < friction * 9.81 * slowed).all()


def test_a_kneeling_robots_thighs_and_feet_carry_its_weight():
    sim = engine(1, **EXACT)
    # Thighs 0.9 back and calves -2.47: calves horizontal, so that the knees are the thighs' lower edges on the ground.
    joints = torch.tensor([0.0, 0.9, -2.47] * 4)[None]
    place(sim, 0.16, dof_pos=joints)
    for _ in range(100):
        sim.step(joints, 4)
    up = dict(zip(sim.contact_names, sim.contact_forces[0, :, 2].tolist()))
    thighs = sum(force for name, force in up.items() if "thigh" in name)
    assert thighs > 20.0
    assert sum(up.values()) == pytest.approx(
        WEIGHT, rel=0.005
    )  # a calf that counted its foot's force would be too much


def test_mass_of_a_users_visual_geoms_is_kept_where_the_body_has_no_inertial(tmp_path):
    tree = ElementTree.parse(GO2)
    base = tree.getroot().find("worldbody").find("body")
    base.remove(base.find("inertial"))
    shell = next(g for g in base.findall("geom") if g.get("name").endswith("_visual"))
    shell.set("mass", "5.0")
    path = tmp_path / "mine.xml"
    tree.write(path)
    sim = engine(1, asset__file=str(path))
    assert float(sim.model.body_mass[sim.info.base_id]) >= 5.0


def test_a_joint_in_front_of_the_base_is_refused(tmp_path):
    tree = ElementTree.parse(GO2)
    door = ElementTree.Element("body", name="door")
    ElementTree.SubElement(door, "joint", type="slide", name="door_slide")
    ElementTree.SubElement(door, "geom", size="0.1")
    tree.getroot().find("worldbody").insert(0, door)
    path = tmp_path / "mine.xml"
    tree.write(path)
    with pytest.raises(UserError, match=r"expected the base's free joint first.*door_slide"):
        engine(1, asset__file=str(path))


def test_nothing_touches_anything_in_the_air():
    sim = engine(1)
    place(sim, 1.0)
    hold(sim, 10)
    assert not sim.contact_forces.any()


OTHER_VALUES = {
    "friction": 0.2, "added_mass": 2.0, "com_shift": [0.03, 0.0, 0.0], "kp": [30.0] * 12, "kd": [1.0] * 12,
    "armature_scale": 1.5, "joint_friction_scale": 1.5, "joint_damping": 0.3, "joint_stiffness": 1.0, "delay": 0.02,
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_changes_the_chosen_robots_and_leaves_the_others_bit_identical(name):
    changed, untouched = (engine(3, domain_rand__randomize_delay=True) for _ in range(2))
    changed.set_parameter(name, torch.tensor([OTHER_VALUES[name]]), torch.tensor([1]))
    for sim in (changed, untouched):
        sim.commit()
        place(sim, 0.33, root_lin_vel=torch.tensor([[0.0, 0.5, 0.0]]).repeat(3, 1))
        hold(sim, 40, offset=0.2)
    same = (changed.state_dict()["state"] == untouched.state_dict()["state"]).all(-1)
    assert same.tolist() == [True, False, True]


def test_a_saved_state_continues_in_another_engine_of_the_same_model():
    first, second = engine(2, domain_rand__randomize_delay=True), engine(2, domain_rand__randomize_delay=True)
    place(first, 0.34)
    hold(first, 21, offset=0.1)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.root_pos, first.root_pos) and torch.equal(second.dof_vel, first.dof_vel)
    for sim in (first, second):
        hold(sim, 20, offset=-0.1)
    assert torch.equal(first.state_dict()["state"], second.state_dict()["state"])
    assert torch.equal(first.contact_forces, second.contact_forces)
