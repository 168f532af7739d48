"""The Isaac Gym engine over a recording double (isaac_double.py): the real one needs an NVIDIA GPU and a closed binary."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator, prepare_engine
from legged_gym_ext.simulators.base import PARAMETERS, RobotState
from legged_gym_ext.simulators.isaac_gym_assets import read_robot
from legged_gym_ext.simulators.isaac_gym_ground import ground_mesh
from legged_gym_ext.terrain import PlaneTerrain
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.errors import UserError
from tests import isaac_double
from tests.ground import all_kinds, rough, terrain_cfg
from tests.isaac_double import INERTIA, Gym, MisuseError, install

ROOT = Path(__file__).resolve().parents[1]
LEGS = ("FL", "FR", "RL", "RR")
JOINTS = [f"{leg}_{part}_joint" for leg in LEGS for part in ("hip", "thigh", "calf")]
ORDERS = ("tree", "alphabetical", "reversed")
BASE_MASS = 6.923  # kg, with the two heads of 1 g
BASE_COM = (0.0211894, 0.0, -0.0053717)  # m, of base and heads (go2.md, section 1.4)
HALF = 0.5**0.5


@pytest.fixture(params=ORDERS)
def gym(request, monkeypatch) -> Gym:
    """The double, with every order of joints and bodies."""
    return install(monkeypatch, request.param)


@pytest.fixture
def plain(monkeypatch) -> Gym:
    """The double with joints and bodies in alphabetical order, where the order is not the point."""
    return install(monkeypatch)


def config(engine: str = "isaac_gym", **changes: Any) -> Any:
    """The flat task's configuration without delays; fields "section__name" are replaced."""
    cfg = Go2FlatCfg()
    cfg.sim.engine = engine
    cfg.domain_rand.randomize_delay = False
    for path, value in changes.items():
        *sections, name = path.split("__")
        owner = cfg
        for section in sections:
            owner = getattr(owner, section)
        setattr(owner, name, value)
    return cfg


def engine(num_envs: int = 2, terrain: Any = None, **changes: Any) -> Any:
    terrain = terrain or PlaneTerrain(num_envs, torch.device("cpu"))
    return make_simulator(config(**changes), terrain, num_envs)


def state_of(sim: Any, count: int, **changes: torch.Tensor) -> RobotState:
    """`count` robots at rest in the default pose 1 m above the origin, except for `changes`."""
    state = RobotState(
        root_pos=torch.tensor([0.0, 0.0, 1.0]).repeat(count, 1),
        root_quat=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(count, 1),
        root_lin_vel=torch.zeros(count, 3),
        root_ang_vel=torch.zeros(count, 3),
        dof_pos=sim.default_dof_pos.repeat(count, 1),
        dof_vel=torch.zeros(count, len(sim.joint_names)),
    )
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def place(sim: Any, **changes: torch.Tensor) -> None:
    """Put all robots into the states `changes`."""
    sim.reset(torch.arange(sim.num_envs), state_of(sim, sim.num_envs, **changes))


def hold(sim: Any, steps: int = 1, offset: float = 0.0) -> None:
    sim.step((sim.default_dof_pos + offset).repeat(sim.num_envs, 1), steps)


def random_state(sim: Any, count: int, seed: int = 0) -> RobotState:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    quat = torch.nn.functional.normalize(draw(count, 4), dim=-1)
    joints = sim.default_dof_pos + 0.3 * draw(count, 12)
    return RobotState(draw(count, 3), quat, draw(count, 3), draw(count, 3), joints, draw(count, 12))


# -- states --------------------------------------------------------------------------------------------------------


def test_reset_writes_exactly_the_given_state_to_exactly_the_given_robots(gym):
    sim = engine(4)
    place(sim)
    hold(sim)
    state = state_of(
        sim,
        2,
        root_pos=torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.4]]),
        # A quarter turn to the left about z, and one about x that puts y up.
        root_quat=torch.tensor([[HALF, 0.0, 0.0, HALF], [HALF, HALF, 0.0, 0.0]]),
        root_lin_vel=torch.tensor([[0.1, 0.2, 0.3], [0.0, 0.0, 0.0]]),
        root_ang_vel=torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]),
        dof_pos=torch.arange(24.0).view(2, 12) / 100.0,
        dof_vel=torch.arange(24.0).view(2, 12),
    )
    sim.reset(torch.tensor([3, 1]), state)
    gym.sim.frozen = True
    hold(sim)
    root, dof = gym.log[-1]["root"], gym.log[-1]["dof"]
    assert sorted(root) == sorted(dof) == [1, 3]
    # Four robots stand on a grid of 2 x 2 with 3 m between them: robot 3 at (3, 3), robot 1 at (0, 3).
    third = torch.tensor([1.0 + 3.0, 2.0 + 3.0, 3.0, 0.0, 0.0, HALF, HALF, 0.1, 0.2, 0.3, 0.0, 0.0, 0.0])
    assert torch.allclose(root[3], third, atol=1e-6)
    # 2 rad/s about the base's y, which points up: world (0, 0, 2). The centre of mass, in the base at (cx, 0, cz), is in the world at
    # (cx, -cz, 0) from the origin and moves at (0, 0, 2) x (cx, -cz, 0) = (2 cz, 2 cx, 0).
    cx, _, cz = BASE_COM
    first = torch.tensor([-1.0, 3.5, 0.4, HALF, 0.0, 0.0, HALF, 2 * cz, 2 * cx, 0.0, 0.0, 0.0, 2.0])
    assert torch.allclose(root[1], first, atol=1e-6)
    names = gym.sim.actors[0].asset.dof_names
    assert (names == JOINTS) == (gym.order == "tree")
    for row, robot in ((0, 3), (1, 1)):
        for column, name in enumerate(names):
            ours = JOINTS.index(name)
            assert dof[robot][column, 0] == state.dof_pos[row, ours]
            assert dof[robot][column, 1] == state.dof_vel[row, ours]


def test_the_given_state_is_read_back_at_once_and_others_are_untouched(gym):
    sim = engine(4)
    place(sim)
    hold(sim, 3, offset=0.2)
    before = {name: getattr(sim, name).clone() for name in vars(state_of(sim, 1))}
    state = random_state(sim, 2)
    sim.reset(torch.tensor([2, 0]), state)
    for name, value in vars(state).items():
        assert torch.allclose(getattr(sim, name)[[2, 0]], value, atol=1e-5), name
        assert torch.equal(getattr(sim, name)[[1, 3]], before[name][[1, 3]]), name


def test_isaac_gyms_state_is_read_in_our_frames_and_orders(gym):
    sim = engine(2)
    hold(sim)
    native = gym.sim
    # Robot 1 of two is at (0, 3) on the grid. It is turned by half a turn about z (x y z w = 0 0 1 0).
    native.root[1] = torch.tensor([0.5, 3.25, 0.3, 0.0, 0.0, 1.0, 0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 5.0])
    native.dof[1, :, 0], native.dof[1, :, 1] = torch.arange(12.0), torch.arange(12.0) + 100.0
    native.frozen = True
    hold(sim)
    assert torch.allclose(sim.root_pos[1], torch.tensor([0.5, 0.25, 0.3]))
    assert torch.allclose(sim.root_quat[1], torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert torch.allclose(sim.root_ang_vel[1], torch.tensor([0.0, -4.0, 5.0]), atol=1e-6)  # y is turned round
    # Centre of mass at (-cx, 0, cz) in the world; (0, 4, 5) x (-cx, 0, cz) = (4 cz, -5 cx, 4 cx) is its motion about the origin.
    cx, _, cz = BASE_COM
    assert torch.allclose(sim.root_lin_vel[1], torch.tensor([1.0 - 4 * cz, 2.0 + 5 * cx, 3.0 - 4 * cx]), atol=1e-6)
    names = native.actors[0].asset.dof_names
    expected = torch.tensor([float(names.index(name)) for name in JOINTS])
    assert torch.equal(sim.dof_pos[1], expected) and torch.equal(sim.dof_vel[1], expected + 100.0)


def test_several_writes_before_a_step_reach_isaac_gym_in_one_call_per_kind(plain):
    sim = engine(3)
    hold(sim)
    sim.reset(torch.tensor([0, 1]), random_state(sim, 2))
    raised = random_state(sim, 1, seed=1)
    sim.reset(torch.tensor([1]), raised)  # as for feet that would be in the ground
    pushed = sim.root_lin_vel.clone()
    pushed[:, :2] = torch.tensor([0.7, -0.4])
    sim.set_root_lin_vel(pushed)
    assert torch.allclose(sim.root_lin_vel, pushed, atol=1e-6)
    plain.calls.clear()
    plain.sim.frozen = True
    hold(sim)
    assert plain.calls.count("set_actor_root_state_tensor_indexed") == 1
    assert plain.calls.count("set_dof_state_tensor_indexed") == 1
    assert sorted(plain.log[-1]["root"]) == [0, 1, 2] and sorted(plain.log[-1]["dof"]) == [0, 1]
    assert torch.allclose(sim.root_pos[1], raised.root_pos[0], atol=1e-5)
    assert torch.allclose(sim.root_lin_vel, pushed, atol=1e-6)
    plain.calls.clear()
    hold(sim)
    assert "set_actor_root_state_tensor_indexed" not in plain.calls  # once is enough


def test_a_push_changes_the_velocities_of_the_bases_alone(plain):
    sim = engine(2)
    sim.reset(torch.arange(2), random_state(sim, 2))
    before = sim.state_dict()
    sim.set_root_lin_vel(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert torch.allclose(sim.root_lin_vel, torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), atol=1e-6)
    others = [0, 1, 2, 3, 4, 5, 6, 10, 11, 12]
    assert torch.equal(sim.state_dict()["root"][:, others], before["root"][:, others])
    assert torch.equal(sim.state_dict()["dof"], before["dof"])


def test_a_saved_state_continues_in_another_engine(monkeypatch):
    install(monkeypatch, "alphabetical")
    first = engine(2, domain_rand__randomize_delay=True)
    first.set_parameter("delay", torch.tensor([0.0, 0.02]))
    first.reset(torch.arange(2), random_state(first, 2))
    hold(first, 3, offset=0.1)
    saved = first.state_dict()
    install(monkeypatch, "alphabetical")
    second = engine(2, domain_rand__randomize_delay=True)
    second.set_parameter("delay", torch.tensor([0.0, 0.02]))
    hold(second, 5, offset=-0.3)
    second.load_state_dict(saved)
    for name in ("root_pos", "root_quat", "root_lin_vel", "dof_pos", "torques", "contact_forces", "foot_pos"):
        assert torch.equal(getattr(second, name), getattr(first, name)), name
    for sim in (first, second):
        hold(sim, 6, offset=0.2)  # the targets that were on their way arrive in both
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in saved)


def test_states_can_be_written_outside_of_the_inference_mode_that_the_first_step_was_made_in(plain):
    sim = engine(2)
    with torch.inference_mode():
        hold(sim)
    sim.reset(torch.tensor([1]), random_state(sim, 1))
    sim.set_parameter("kp", torch.full((1, 12), 5.0), torch.tensor([1]))
    sim.load_state_dict(sim.state_dict())
    hold(sim)


def test_a_fault_is_reported_for_its_robot_and_ends_with_a_reset(plain):
    sim = engine(3)
    hold(sim)
    assert sim.faults().tolist() == [False, False, False]
    for broken in (plain.sim.root[1, :3], plain.sim.dof[1, 4]):
        broken[0] = torch.nan
        sim._gym.refresh_actor_root_state_tensor(plain.sim)
        sim._gym.refresh_dof_state_tensor(plain.sim)
        assert sim.faults().tolist() == [False, True, False]
        sim.reset(torch.tensor([1]), state_of(sim, 1))
        assert not sim.faults().any()
        hold(sim)
        assert not sim.faults().any() and torch.isfinite(sim.root_pos).all()


# -- motors --------------------------------------------------------------------------------------------------------


def passive_off(sim: Any) -> None:
    for name in ("joint_damping", "joint_friction_scale"):
        sim.set_parameter(name, torch.zeros(sim.num_envs))


def test_torques_reach_the_joints_they_are_meant_for(gym):
    sim = engine(2)
    place(sim)
    targets = sim.default_dof_pos.repeat(2, 1)
    targets[1, JOINTS.index("RL_thigh_joint")] += 0.25  # 20 N m / rad: 5 N m
    sim.step(targets, 1)
    names = gym.sim.actors[0].asset.dof_names
    expected = torch.zeros(2, 12)
    expected[1, names.index("RL_thigh_joint")] = 5.0
    assert torch.allclose(gym.log[-1]["force"], expected, atol=1e-5)
    assert sim.torques[1, JOINTS.index("RL_thigh_joint")].item() == pytest.approx(5.0, abs=1e-5)


@pytest.mark.parametrize(
    ("motor", "speed", "offset", "expected"),
    [
        ("dc", 0.0, 0.5, 10.0),  # inside the line the PD law counts
        ("dc", 15.05, 3.0, 11.85),  # half the no-load speed leaves half the torque: 23.7 / 2
        ("dc", -15.05, 3.0, 23.7),  # braking would allow 1.5 x, the motor's own limit cuts it
        ("dc", 30.1, 3.0, 0.0),  # no torque at no-load speed
        ("dc", -30.1, -3.0, 0.0),
        ("ideal", 15.05, 3.0, 23.7),
        ("ideal", 15.05, 0.5, 2.475),  # 20 * 0.5 - 0.5 * 15.05
    ],
)
def test_motors_follow_their_law(plain, motor, speed, offset, expected):
    sim = engine(1, control__motor=motor)
    velocity = torch.zeros(1, 12)
    velocity[0, 0] = speed  # FL hip: 23.7 N m, 30.1 rad/s
    place(sim, dof_vel=velocity)
    hold(sim, offset=offset)
    assert sim.torques[0, 0].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("motor", ["dc", "ideal"])
def test_torques_are_those_of_the_mujoco_engine(plain, motor):
    """Both engines report the torques of the start of a step."""
    isaac, mujoco = (engine(64, engine=name, control__motor=motor) for name in ("isaac_gym", "mujoco"))
    generator = torch.Generator().manual_seed(3)
    velocity = 20.0 * torch.randn(64, 12, generator=generator)
    targets = isaac.default_dof_pos + 1.5 * torch.randn(64, 12, generator=generator)
    for sim in (isaac, mujoco):
        place(sim, dof_vel=velocity)
        sim.step(targets, 1)
    assert torch.allclose(isaac.torques, mujoco.torques, atol=1e-3)
    limits = isaac.torque_limits.expand(64, 12)
    assert (isaac.torques.abs() == limits).any() and (isaac.torques.abs() < 0.9 * limits).any()


def test_motors_are_evaluated_in_every_physics_step(plain):
    sim = engine(1)
    passive_off(sim)
    place(sim)
    hold(sim, 2, offset=0.5)
    # The first step: 10 N m for 5 ms on 0.5 kg m^2 are 0.1 rad/s and then 0.0005 rad. The second: 20 * 0.4995 - 0.5 * 0.1 N m.
    first, second = 10.0, 20.0 * (0.5 - 0.005 * 0.1) - 0.5 * 0.1
    assert INERTIA == 0.5 and first * 0.005 / INERTIA == pytest.approx(0.1)
    for entry, expected in zip(plain.log, (first, second)):
        assert torch.allclose(entry["force"], torch.full((1, 12), expected), atol=1e-4)
    assert torch.allclose(sim.torques, torch.full((1, 12), second), atol=1e-4)


def test_a_step_is_set_force_simulate_fetch_refresh(plain):
    sim = engine(1)
    hold(sim)
    plain.calls.clear()
    hold(sim, 2)
    substep = ["set_dof_actuation_force_tensor", "simulate", "fetch_results", "refresh_dof_state_tensor"]
    assert plain.calls == [*substep, *substep, "refresh_actor_root_state_tensor", "refresh_net_contact_force_tensor"]


def test_delay_holds_the_old_target_for_exactly_that_many_physics_steps(plain):
    sim = engine(3, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.0, 0.01, 0.02]))
    place(sim)
    pulled = []
    for _ in range(6):
        hold(sim, 1, offset=0.5)
        pulled.append(sim.torques[:, 0] > 5.0)
    first = torch.stack(pulled).int().argmax(0)
    assert first.tolist() == [0, 2, 4]  # 0, 10 and 20 ms at 5 ms a step


def test_reset_empties_the_delay_line_of_its_robots_alone(plain):
    sim = engine(2, domain_rand__randomize_delay=True)
    sim.set_parameter("delay", torch.tensor([0.02, 0.02]))
    plain.sim.frozen = True
    hold(sim, 8, offset=0.5)
    sim.reset(torch.tensor([1]), state_of(sim, 1))
    hold(sim)
    assert sim.torques[1].abs().max() < 1e-4
    assert (sim.torques[0] > 9.0).all()  # 20 N m / rad * 0.5 rad is still on its way


def test_delays_beyond_the_configuration_are_refused(plain):
    sim = engine(1, domain_rand__randomize_delay=True)
    for seconds in (0.03, -0.005):
        with pytest.raises(ValueError, match=r"delays must be in \[0, 0.02\]"):
            sim.set_parameter("delay", torch.tensor([seconds]))
    with pytest.raises(ValueError, match=r"delays must be in \[0, 0.0\]"):
        engine(1).set_parameter("delay", torch.tensor([0.005]))


def test_joints_have_viscous_and_coulomb_friction_and_a_spring_besides_their_motors(gym):
    sim = engine(3)
    for name in ("kp", "kd"):
        sim.set_parameter(name, torch.zeros(3, 12))
    sim.set_parameter("joint_stiffness", torch.tensor([0.0, 0.0, 10.0]))
    sim.set_parameter("joint_friction_scale", torch.tensor([1.0, 0.5, 0.0]))
    sim.set_parameter("joint_damping", torch.tensor([0.15, 0.3, 0.0]))
    velocity = torch.tensor([2.0, -2.0, 0.05]).repeat(4)
    place(sim, dof_pos=sim.default_dof_pos.repeat(3, 1) + 0.1, dof_vel=velocity.repeat(3, 1))
    hold(sim)
    names = gym.sim.actors[0].asset.dof_names
    force = gym.log[-1]["force"][:, [names.index(name) for name in JOINTS]]
    # Hip 0.2 N m and 2 rad/s; thigh 0.2 N m and -2 rad/s; calf 0.5 N m and 0.05 rad/s, a fifth of the speed below which friction is linear.
    expected = torch.tensor(
        [
            [-0.15 * 2.0 - 0.2, 0.15 * 2.0 + 0.2, -0.15 * 0.05 - 0.1],
            [-0.3 * 2.0 - 0.1, 0.3 * 2.0 + 0.1, -0.3 * 0.05 - 0.05],
            [-1.0, -1.0, -1.0],  # 10 N m / rad * 0.1 rad
        ]
    ).repeat(1, 4)
    assert torch.allclose(force, expected, atol=1e-5)
    assert not sim.torques.any()  # the motors' own


def test_friction_never_turns_a_joint_round(plain):
    # The lightest that Isaac Gym can make a joint: its rotor alone, with the least armature and the most friction of domain randomisation.
    robot = read_robot(config())
    from legged_gym_ext.simulators.isaac_gym_motors import STICK_SPEED

    for friction, armature in zip(robot.friction, robot.armature):
        assert 1.5 * friction / STICK_SPEED * 0.005 < 2.0 * 0.8 * armature  # else an explicit step would amplify
        assert friction / STICK_SPEED * 0.005 < armature  # nominally it stops within the step and does not come back


# -- robot ---------------------------------------------------------------------------------------------------------


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
    text = (tmp_path / "go2.urdf").read_text()
    text = text.replace('xyz="0 0 -0.213" rpy="0 0 0"', 'xyz="0 0 -0.213" rpy="-0.2 0.4 0.7"')
    (tmp_path / "go2.urdf").write_text(text.replace('<axis xyz="0 1 0"/>', '<axis xyz="0.6 0.8 0"/>'))
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
    for foot, place in zip(robot.feet, feet[0]):
        body = data.body(foot)
        expected = body.xpos + body.xmat.reshape(3, 3) @ (-0.002, 0.0, 0.0)
        assert np.allclose(place, expected, atol=1e-5), foot


def test_rotors_are_those_of_the_mjcf(gym):
    engine(1)
    mujoco = engine(1, engine="mujoco")
    actor = gym.sim.actors[0]
    expected = [mujoco.model.dof_armature[mujoco.model.joint(name).dofadr[0]] for name in actor.asset.dof_names]
    assert len(set(expected)) == 2 and np.allclose(actor.dof_props["armature"], expected)


MJCF = """<mujoco><default><joint armature="0.1"/><default class="a"><joint armature="0.2"/><default class="b"/></default>
<default class="c"><geom size="1"/></default></default><worldbody><body><freejoint/><body><joint name="main"/><body childclass="a"><joint name="child"/>
<body><joint name="own" armature="0.3"/><joint name="b" class="b"/><joint name="c" class="c"/></body></body></body></body></worldbody></mujoco>"""


def test_armature_is_found_where_mjcf_inherits_it_from(tmp_path):
    from legged_gym_ext.simulators.isaac_gym_assets import _read_armature

    path = tmp_path / "robot.xml"
    path.write_text(MJCF)
    # b inherits from a, c from the class around it.
    assert _read_armature(path, ["main", "child", "own", "b", "c"]) == [0.1, 0.2, 0.3, 0.2, 0.1]
    path.write_text(
        MJCF.replace("<mujoco><default>", "<mujoco><default><geom/>").replace('<joint armature="0.1"/>', "")
    )
    assert _read_armature(path, ["main", "child"]) == [0.0, 0.2]


def test_dofs_of_isaac_gym_do_nothing_by_themselves(gym):
    engine(1)
    props = gym.sim.actors[0].dof_props
    for field in ("stiffness", "damping", "friction"):
        assert not props[field].any(), field
    # Limits are the motors'; the engine's must not cut first: 45.43 N m and 0.5 + 0.3 * 15.7 N m of friction, 30.1 rad/s.
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


# -- parameters ----------------------------------------------------------------------------------------------------

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
    effective = lambda robot: {round(0.5 * (f + ground.static_friction), 6) for f in plain.sim.actors[robot].frictions}  # noqa: E731
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


def test_unknown_parameters_are_errors(plain):
    with pytest.raises(ValueError, match="unknown physics parameter 'mass'"):
        engine(1).set_parameter("mass", torch.ones(1))


# -- ground --------------------------------------------------------------------------------------------------------


def mesh_of(**fields: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Terrain, triangles' corners (T, 3, 3) and area vectors (T, 3) of a map with one column of each kind of tile."""
    terrain = rough(all_kinds(num_rows=3, **fields))
    vertices, triangles = ground_mesh(terrain.map)
    corners = vertices.astype(float)[triangles]
    return terrain, corners, 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def test_the_mesh_is_as_high_as_the_terrain_says():
    terrain, corners, areas = mesh_of(border_size=2.0)
    tops = corners[areas[:, 2] > 1e-9]
    generator = np.random.default_rng(0)
    # A random place in each triangle, a millimetre or more from its edges, where the next height may begin.
    weights = 0.02 + 0.94 * generator.dirichlet([1.0, 1.0, 1.0], size=len(tops))
    places = torch.from_numpy(np.einsum("tc,tcx->tx", weights, tops)).float()
    assert torch.allclose(terrain.heights(places[:, :2]), places[:, 2], atol=1e-4)
    assert len(tops) > 100_000 and len(np.unique(tops[..., 2])) > 100


def test_tops_cover_the_map_and_its_border_once_and_risers_are_exactly_vertical():
    terrain, corners, areas = mesh_of(border_size=2.0)
    size_x, size_y = terrain.map.size
    up = areas[:, 2] > 1e-9
    assert areas[up, 2].sum() == pytest.approx((size_x + 4.0) * (size_y + 4.0), rel=1e-6)
    assert corners[..., :2].min() == -2.0 and corners[..., 0].max() == pytest.approx(size_x + 2.0)
    risers = corners[~up]
    level = (risers[..., 0] == risers[:, :1, 0]).all(axis=1) | (risers[..., 1] == risers[:, :1, 1]).all(axis=1)
    assert len(risers) > 1000 and level.all()  # all three corners at the very same x, or y
    assert (np.linalg.norm(areas, axis=1) > 1e-9).all()  # no triangle without area


def test_risers_close_the_ground_and_face_the_open_side():
    """The volume over z = 0 is the flux of x, and of y, through the ground, if and only if nothing is missing, doubled or inside out."""
    terrain, corners, areas = mesh_of(border_size=2.0)
    cells = terrain.map.corners.astype(float)
    # Each half of a cell, split from corner (0, 0) to (1, 1), holds its mean height.
    halves = cells[..., [0, 1, 3]].mean(-1) + cells[..., [0, 2, 3]].mean(-1)
    volume = 0.5 * terrain.map.cell**2 * halves.sum()
    for axis in (0, 1):
        assert areas[:, axis].sum() == pytest.approx(0.0, abs=1e-4)
        flux = (corners[..., axis].mean(axis=1) * areas[:, axis]).sum()
        assert flux == pytest.approx(volume, rel=1e-4)
    assert abs(volume) > 10.0


def test_edges_that_cross_each_other_have_two_risers_and_no_fin():
    """Beside each other: a cell that falls from 1 to 0 m along the common edge, and one that rises from 0 to 1 m."""
    terrain = rough(terrain_cfg({"flat": 1.0}, num_rows=1, num_cols=1, border_size=0.0))
    ground = terrain.map
    ground.corners[10, 10] = (0.0, 1.0, 0.0, 0.0)
    ground.corners[11, 10] = (0.0, 0.0, 1.0, 0.0)
    vertices, triangles = ground_mesh(ground)
    corners = vertices.astype(float)[triangles]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    riser = corners[(area[:, 2] == 0.0) & (corners[..., 0] == np.float32(1.1)).all(axis=1)]
    signed = area[(area[:, 2] == 0.0) & (corners[..., 0] == np.float32(1.1)).all(axis=1), 0]
    # The edges cross in the middle at half a metre; each triangle has 0.5 * 1 m * 0.05 m.
    assert len(riser) == 2 and np.allclose(sorted(signed), [-0.025, 0.025], atol=1e-6)
    assert np.isclose(riser, (1.1, 1.05, 0.5), atol=1e-6).all(axis=-1).any(axis=-1).all()


def test_ground_is_a_plane_or_the_map_with_its_border(plain):
    engine(1)
    (plane,) = plain.sim.ground
    assert plane.distance == 0.0 and plane.restitution == 0.0
    terrain = rough(terrain_cfg(num_rows=2, num_cols=4), num_envs=3)
    sim = engine(3, terrain=terrain)
    ((vertices, triangles, params),) = plain.sim.ground
    assert params.static_friction == params.dynamic_friction == plane.static_friction and params.restitution == 0.0
    assert vertices[:, :2].min() == -25.0 and vertices[:, 1].max() == 4 * 8.0 + 25.0
    # On a map, places are those of the map, in both worlds.
    start = terrain.origins + torch.tensor([0.0, 0.0, 0.34])
    assert torch.equal(sim.root_pos, start)
    hold(sim)
    assert torch.allclose(plain.sim.root[:, :3], start)
    assert len(triangles) == params.nb_triangles


# -- environments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["go2_flat", "go2"])
def test_tasks_run_on_isaac_gym(gym, task):
    args = parse(
        make_parser(""),
        [
            f"--task={task}",
            "--sim",
            "isaac_gym",
            "--num_envs=6",
            "--env.terrain.num_rows=2",
            "--env.terrain.num_cols=5",
        ],
    )
    dims = {}
    for name in ("isaac_gym", "mujoco"):
        env_cfg, train_cfg = task_registry.get_cfgs(args.task)
        apply_args_to_cfgs(argparse.Namespace(**{**vars(args), "sim": name}), env_cfg, train_cfg)
        env_cfg.domain_rand.push_interval_s = 0.04  # every second step
        env, _ = task_registry.make_env(args.task, env_cfg)
        dims[name] = env.group_dims
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            for _ in range(3):
                results = env.step(torch.randn(6, 12, generator=generator))
                assert all(torch.isfinite(tensor).all() for tensor in results[:3])
                assert torch.isfinite(env.critic_obs_buf).all()
            env.reset()
            env.step(torch.zeros(6, 12))
    assert dims["isaac_gym"] == dims["mujoco"] == {"policy": 45, "privileged": 94, "critic": 172}
    assert gym.calls.count("simulate") == 4 * 4  # four control steps of four physics steps
    assert gym.calls.count("prepare_sim") == 1


def test_no_foot_starts_in_the_ground(plain):
    """What a reset on rough ground does about feet relies on where they are right after it."""
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.sim.engine, cfg.env.num_envs = "isaac_gym", 40
    cfg.terrain.num_rows, cfg.terrain.num_cols = 4, 5
    cfg.terrain.max_init_terrain_level = 3
    env, _ = task_registry.make_env("go2", cfg)
    clear = env.sim.foot_pos[..., 2] - env.terrain.heights(env.sim.foot_pos[..., :2])
    assert (clear > env.foot_radius - 1e-4).all()


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset__file": "/nowhere/robot.xml"}, "robot model not found: /nowhere/robot.urdf"),
        ({"asset__foot_name": "paw"}, "asset.foot_name 'paw'"),
        ({"asset__penalize_contacts_on": ["tail"]}, "no body is named like 'tail'"),
        ({"asset__base_name": "trunk"}, "asset.base_name 'trunk'"),
        ({"asset__torque_limits": {"hip": 1.0}}, "asset.torque_limits has no entry for joint 'FL_thigh_joint'"),
        ({"control__motor": "hydraulic"}, "unknown control.motor 'hydraulic'"),
        ({"control__control_type": "T"}, "control.control_type is 'T'"),
        ({"sim__device": "mps"}, "steps on cpu or cuda, not on 'mps'"),
        ({"init_state__default_joint_angles": {"FL_hip_joint": 0.0}}, "joints differ"),
        ({"env__num_actions": 11}, "env.num_actions is 11"),
    ],
)
def test_wrong_configuration_is_one_clear_error(plain, changes, message):
    with pytest.raises(UserError, match=message):
        engine(1, **changes)


def copy_of_urdf(tmp_path: Path, old: str, new: str) -> str:
    """The robot's files in `tmp_path`, with `old` replaced in the URDF; returns the value for asset.file."""
    source = ROOT / "resources/robots/go2"
    text = (source / "go2.urdf").read_text()
    assert old in text
    (tmp_path / "go2.urdf").write_text(text.replace(old, new))
    (tmp_path / "go2.xml").write_text((source / "go2.xml").read_text())
    return str(tmp_path / "go2.xml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (' dont_collapse="true"', "", "Isaac Gym merged .*FL_foot.* into other links; add dont_collapse"),
        ('name="RR_calf_joint"', 'name="RR_knee_joint"', r"joints differ.*RR_calf_joint.*RR_knee_joint"),
        ('type="revolute"', 'type="prismatic"', "expected hinges and fixed joints, found FL_hip_joint"),
        ("</robot>", "", "cannot be read"),
    ],
)
def test_a_urdf_that_does_not_fit_is_one_clear_error(plain, tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        engine(1, asset__file=copy_of_urdf(tmp_path, old, new))


def test_a_urdf_alone_is_enough_for_a_robot_without_rotors(plain, tmp_path):
    copy_of_urdf(tmp_path, "FL_hip", "FL_hip")
    engine(1, asset__file=str(tmp_path / "go2.urdf"))
    assert not plain.sim.actors[0].dof_props["armature"].any()


def test_devices_become_parameters_of_the_simulation(plain):
    engine(1, sim__num_threads=3)
    assert (plain.sim.compute_device, plain.sim.graphics_device) == (0, -1)  # nothing is drawn
    assert not plain.sim.params.use_gpu_pipeline and plain.sim.params.physx.num_threads == 3
    assert plain.sim.params.dt == 0.005 and plain.sim.params.substeps == 1
    world = importlib.import_module("legged_gym_ext.simulators.isaac_gym_world")
    params = world.sim_params(config(), torch.device("cuda:1"))
    assert params.use_gpu_pipeline and params.physx.use_gpu


def test_a_missing_package_is_one_line_that_says_where_it_is():
    assert importlib.util.find_spec("isaacgym") is None, "this test is for machines without Isaac Gym"
    with pytest.raises(UserError, match=r"needs the package 'isaacgym': it is not on PyPI.*developer\.nvidia\.com"):
        engine(1)


def fake_package(folder: Path) -> None:
    """An `isaacgym` that behaves as the real one does towards torch, and then ends the program."""
    (folder / "isaacgym").mkdir()
    (folder / "isaacgym/__init__.py").write_text("")
    (folder / "isaacgym/gymapi.py").write_text(
        "import sys\nassert 'torch' not in sys.modules, 'PyTorch was imported before isaacgym modules'\nsys.exit('in time')\n"
    )


def test_an_engine_that_torch_was_faster_than_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    fake_package(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="put 'import isaacgym' on the first line of your program"):
        prepare_engine("isaac_gym")
    prepare_engine("mujoco")  # does not mind
    prepare_engine("no_such_engine")  # make_simulator says so
    monkeypatch.setitem(sys.modules, "isaacgym", object())
    prepare_engine("isaac_gym")  # was imported by the program


@pytest.mark.parametrize("script", ["train", "play", "evaluate", "describe"])
@pytest.mark.parametrize("how", ["--sim=isaac_gym", "--env.sim.engine=isaac_gym"])
def test_programs_import_isaac_gym_before_torch(tmp_path, script, how):
    fake_package(tmp_path)
    shown = ["--video", str(tmp_path / "out.mp4")] if script == "play" else []
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    program = [sys.executable, str(ROOT / f"legged_gym_ext/scripts/{script}.py"), "--task=go2_flat", how, *shown]
    ended = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr.strip()) == (1, "in time")


# -- the double and the sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda g, a, t: g.acquire_dof_state_tensor(g.sim), "does not exist before prepare_sim"),
        (lambda g, a, t: g.simulate(g.sim), "prepare_sim comes before"),
        (lambda g, a, t: setattr(a.SimParams(), "time_step", 1.0), "no field 'time_step'"),
        (lambda g, a, t: t.unwrap_tensor(torch.zeros(2, 3).T), "contiguous"),
    ],
)
def test_the_double_refuses_misuse_before_the_first_step(plain, misuse, message):
    engine(2)
    with pytest.raises(MisuseError, match=message):
        misuse(plain, sys.modules["isaacgym.gymapi"], sys.modules["isaacgym.gymtorch"])


def indexed(ids: Any) -> Any:
    return lambda gym, sim: gym.set_dof_state_tensor_indexed(
        gym.sim, isaac_double.unwrap_tensor(sim._native_dof), isaac_double.unwrap_tensor(ids), len(ids)
    )


def twice(gym: Gym, sim: Any) -> None:
    ids = torch.tensor([0], dtype=torch.int32)
    indexed(ids)(gym, sim)
    indexed(ids)(gym, sim)


def freed(gym: Gym, sim: Any) -> None:
    gym.set_dof_state_tensor_indexed(
        gym.sim, isaac_double.unwrap_tensor(sim._native_dof), isaac_double.unwrap_tensor(torch.tensor([0]).int()), 1
    )


def stale(gym: Gym, sim: Any) -> None:
    gym.simulate(gym.sim)
    gym.fetch_results(gym.sim, True)
    indexed(torch.tensor([0], dtype=torch.int32))(gym, sim)  # dof states were not refreshed


def unfetched(gym: Gym, sim: Any) -> None:
    gym.simulate(gym.sim)
    gym.refresh_dof_state_tensor(gym.sim)


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (indexed(torch.tensor([0])), "expected int32"),
        (indexed(torch.tensor([2], dtype=torch.int32)), "no such actor"),
        (indexed(torch.tensor([1, 1], dtype=torch.int32)), "different actors"),
        (twice, "the first is lost"),
        (freed, "was freed"),
        (stale, "not finite"),
        (unfetched, "fetch_results comes before"),
        (lambda gym, sim: gym.create_env(gym.sim, isaac_double.Vec3(), isaac_double.Vec3(), 1), "after prepare_sim"),
        (lambda gym, sim: gym.get_actor_rigid_body_properties(gym.sim.envs[0], 101), "of another environment"),
    ],
)
def test_the_double_refuses_misuse_after_the_first_step(plain, misuse, message):
    sim = engine(2)
    hold(sim)
    with pytest.raises(MisuseError, match=message):
        misuse(plain, sim)


def test_the_double_knows_nothing_that_isaac_gym_does_not():
    """Names and numbers of arguments, against the stubs that were generated from the real package."""
    try:
        files = importlib.metadata.distribution("isaacgym-stubs")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("isaacgym-stubs is not installed")
    source = Path(str(files.locate_file("isaacgym-stubs/gymapi.pyi"))).read_text()
    stubs = ast.parse(source.replace("def lambda(", "def lambda_("))  # generated; Python has no such name
    names = {t.target.id for t in stubs.body if isinstance(t, ast.AnnAssign)}
    classes = {c.name: c for c in stubs.body if isinstance(c, ast.ClassDef)}
    for name in isaac_double.API:
        assert name in names or name in classes, name
        if name in classes:
            fields = {t.target.id for t in classes[name].body if isinstance(t, ast.AnnAssign)}
            ours = {f for f in vars(getattr(isaac_double, name)) if not f.startswith("_")}
            assert ours <= fields, ours - fields
    real = {f.name: f.args for f in classes["Gym"].body if isinstance(f, ast.FunctionDef)}
    for name, method in vars(Gym).items():
        if name.startswith("_"):
            continue
        code = method.__wrapped__.__code__
        ours = code.co_varnames[1 : code.co_argcount]
        if not real[name].vararg:
            theirs = [a.arg for a in real[name].args][1:]
            assert len(ours) <= len(theirs), name
            # The engine names some arguments: those that have names at all are called the same.
            assert all(their in (our, f"arg{i}") for i, (our, their) in enumerate(zip(ours, theirs))), name


PYTHON_3_8 = sorted(
    [
        *(ROOT / "legged_gym_ext/simulators").glob("isaac_gym*.py"),
        *(ROOT / f"legged_gym_ext/simulators/{name}.py" for name in ("__init__", "base")),
        *(ROOT / f"legged_gym_ext/utils/{name}.py" for name in ("errors", "names", "math")),
    ]
)


@pytest.mark.parametrize("path", PYTHON_3_8, ids=lambda path: path.name)
def test_the_engine_is_python_3_8(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    assert "from __future__ import annotations" in path.read_text()
    annotations = {id(n) for node in ast.walk(tree) for a in _annotations(node) for n in ast.walk(a)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and id(node) not in annotations and isinstance(node.value, ast.Name):
            assert node.value.id not in ("list", "dict", "tuple", "set", "type", "Callable", "Iterable"), node.lineno
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("removeprefix", "removesuffix"), node.lineno
        if isinstance(node, ast.Call):
            assert all(keyword.arg not in ("strict", "slots", "kw_only") for keyword in node.keywords), node.lineno


def _annotations(node: ast.AST) -> list[ast.AST]:
    names = ("annotation", "returns")
    return [a for a in (getattr(node, name, None) for name in names) if isinstance(a, ast.AST)]
