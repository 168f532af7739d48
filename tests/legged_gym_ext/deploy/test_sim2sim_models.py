"""Robots from other people's files: joint order, own actuators, floors and defaults; and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from benchmarks.sim2sim import permuted
from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.deploy.controller import Controller
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.deploy.sim2sim.robot import Physics, PlainRobot
from legged_gym_ext.terrain.map import map_of_one_kind
from legged_gym_ext.utils.errors import UserError
from tests import policy_files as exported

GO2 = PACKAGE_DIR / "resources/robots/go2/go2.xml"
WORLD = """
  <default>
    <geom contype="0" conaffinity="0" group="4" friction="0.1 0.1 0.1"/>
    <general gear="7" ctrllimited="true" ctrlrange="-0.01 0.01" forcelimited="true" forcerange="-0.1 0.1"/>
  </default>
  <worldbody><geom name="floor" type="plane" size="1 1 1" pos="0 0 0.3"/></worldbody>
  <contact><pair geom1="floor" geom2="FL_foot"/></contact>
  <actuator><motor name="FL_hip_joint" joint="FL_hip_joint"/>
  <position name="p" joint="RL_calf_joint" kp="500"/></actuator>
  <sensor><actuatorpos actuator="p"/></sensor>
  <keyframe><key name="home" ctrl="1 1"/></keyframe>
"""


def changed(path: Path, *changes: tuple[str, str]) -> Path:
    """The Go2's file with pieces of text replaced."""
    text = GO2.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


def walk(robot: PlainRobot, policy: Path, steps: int = 40) -> np.ndarray:
    """(steps, 12) joint angles."""
    controller, rows = Controller(ExportedPolicy(policy)), []
    for _ in range(steps):
        robot.step(controller.step(robot.read(), np.array([0.5, 0.0, 0.2])))
        rows.append(robot.read().dof_pos)
    return np.array(rows)


@pytest.fixture
def policy(tmp_path) -> Path:
    return exported.write(tmp_path / "policy.onnx", exported.contract(), weights=exported.network())


def difference(model: Path, policy: Path, **options: Any) -> float:
    """Largest difference in joint angles [rad] between a file and ours."""
    return float(
        np.abs(
            walk(PlainRobot(exported.contract(), model, **options), policy)
            - walk(PlainRobot(exported.contract()), policy)
        ).max()
    )


def test_the_order_of_the_legs_in_the_file_does_not_matter(tmp_path, policy):
    model = permuted(GO2, tmp_path / "permuted.xml")
    loaded = mujoco.MjModel.from_xml_path(str(model))
    order = [loaded.joint(index).name for index in range(1, 13)]
    assert sorted(order) == sorted(exported.JOINTS) and order[0] == "RR_hip_joint" and order[-1] == "FL_calf_joint"
    assert difference(model, policy) < 1e-5


def test_actuators_sensors_keyframes_floors_and_defaults_of_a_file_change_nothing(tmp_path, policy):
    model = changed(tmp_path / "scene.xml", ("</mujoco>", f"{WORLD}</mujoco>"))
    mujoco.MjModel.from_xml_path(str(model))  # the file is one that MuJoCo accepts
    assert difference(model, policy) < 1e-12


def test_mass_and_friction_of_a_file_count(tmp_path, policy):
    heavy = changed(tmp_path / "heavy.xml", ('mass="6.923"', 'mass="9.923"'))
    assert PlainRobot(exported.contract(), heavy).mass == pytest.approx(18.019, abs=1e-6)
    slippery = changed(tmp_path / "ice.xml", ('friction="0.8 0.02 0.01"', 'friction="0.05 0.02 0.01"'))
    for model in (heavy, slippery):
        assert difference(model, policy) > 1e-2


def test_joint_damping_replaces_that_of_the_policys_joints(tmp_path):
    model = changed(tmp_path / "stiff.xml", ('damping="0.15"', 'damping="2"'))
    found = PlainRobot(exported.contract(), model)
    assert found.joint_values["joint_damping"] == (2.0, 2.0) and found.file_iterations == 100
    chosen = PlainRobot(exported.contract(), model, physics=Physics(joint_damping=0.2, iterations=7))
    assert chosen.joint_values["joint_damping"] == (0.2, 0.2) and chosen.file_iterations is None


def test_mapped_joint_names_move_the_same_joints(tmp_path, policy):
    model = changed(tmp_path / "other.xml", ('name="FL_hip_joint"', 'name="fl_abduction"'))
    assert difference(model, policy, joint_map={"FL_hip_joint": "fl_abduction"}) < 1e-12


def test_a_file_keeps_its_own_ground_when_asked(tmp_path):
    model = changed(
        tmp_path / "scene.xml",
        ("</mujoco>", '<worldbody><geom type="box" size="5 5 0.5" pos="0 0 0.5"/></worldbody></mujoco>'),
    )
    robot = PlainRobot(exported.contract(), model, ground="model")
    assert robot.position[2] == pytest.approx(1.0 + PlainRobot(exported.contract()).position[2], abs=0.03)
    for _ in range(50):
        robot.step(np.array(exported.DEFAULT))
    assert robot.position[2] > 1.15


def test_motors_hold_targets_with_the_torques_of_the_contract():
    """Hanging free, a hip with a constant target settles where kp (target - q) = 0 up to gravity.

    The torque is kp (q* - q) - kd v.
    """
    robot = PlainRobot(exported.contract())
    targets = np.array(exported.DEFAULT) + 0.1
    robot.apply(targets)
    before = robot.read()
    robot.step(physics_steps=1)
    expected = 20.0 * (targets - before.dof_pos) - 0.5 * before.dof_vel
    assert robot.torques == pytest.approx(expected, abs=0.6)  # implicit integration takes the damping of the new speed
    assert np.abs(expected).min() > 1.9


def test_motors_at_their_torque_limit_are_counted():
    robot = PlainRobot(exported.contract())
    robot.step(np.array(exported.DEFAULT), physics_steps=1)
    assert robot.saturation == 0.0
    targets = np.array(exported.DEFAULT)
    targets[[0, 3, 6]] = 3.0  # 58 N m are wanted of three hips, 23.7 are there; a motor at rest has them
    robot.step(targets, physics_steps=1)
    assert robot.saturation == pytest.approx(3 / 12) and robot.torques[[0, 3, 6]] == pytest.approx(23.7, rel=0.01)


def test_a_delay_postpones_the_torque_by_that_many_physics_steps():
    robot = PlainRobot(exported.contract(), physics=Physics(delay=0.010))
    robot.apply(np.array(exported.DEFAULT) + 1.0)
    hip = []
    for _ in range(4):
        robot.step(physics_steps=1)
        hip.append(abs(robot.torques[0]))
    assert max(hip[:2]) < 1.0 < 10.0 < hip[2]


def test_a_robot_that_stands_in_a_step_is_raised_out_of_it():
    ground = map_of_one_kind("stairs_down")
    x, y, z = ground.origins[9, 1]
    robot = PlainRobot(exported.contract(), ground=ground, origin=(x + 1.5, y, z - 0.3))
    assert min((c.dist for c in robot.data.contact), default=0.0) > -1e-3
    assert robot.position[2] > z


MISTAKES = [
    ({"file": "nowhere.xml"}, "robot model not found"),
    ({"text": "<mujoco><worldbody>"}, "cannot be read by MuJoCo"),
    (
        {"old": 'name="FL_hip_joint"', "new": 'name="fl_hip"'},
        "lacks FL_hip_joint; its other hinges are fl_hip; map names",
    ),
    ({"old": '<freejoint name="floating_base_joint"/>', "new": ""}, "add <freejoint/>"),
    ({"options": {"ground": "model"}}, "no ground of its own"),
    ({"options": {"joint_map": {"FL_hip_jont": "x"}}}, "no joint 'FL_hip_jont'; did you mean FL_hip_joint"),
    ({"options": {"joint_map": {"FL_hip_joint": "FR_hip_joint"}}}, "two joints of the policy"),
    ({"options": {"physics": Physics(dt=0.003)}}, "whole part of the control step"),
    ({"options": {"physics": Physics(delay=0.007)}}, "whole physics steps of 5 ms"),
    ({"options": {"physics": Physics(solver="newtown")}}, "unknown solver 'newtown'"),
    ({"options": {"physics": Physics(added_mass=-7.0)}}, "the base has 6.923 kg"),
]


@pytest.mark.parametrize(("what", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_what_is_wrong_with_a_model_is_one_line(tmp_path, what, message):
    model = tmp_path / what.get("file", "robot.xml")
    if "text" in what:
        model.write_text(what["text"], encoding="utf-8")
    elif "file" not in what:
        changed(model, *([(what["old"], what["new"])] if "old" in what else []))
    with pytest.raises(UserError) as error:
        PlainRobot(exported.contract(), model, **what.get("options", {}))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_policy_for_a_robot_without_a_file_here_asks_for_one():
    with pytest.raises(UserError, match=r"no model of the robot 'b2'.*--model"):
        PlainRobot(exported.contract(robot="b2"))
