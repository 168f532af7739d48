"""The MuJoCo engine beyond test_engine.py: threads, exact states, faults without a trace, users' own models."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.simulators.base import RobotState
from legged_gym_ext.terrain import PlaneTerrain
from legged_gym_ext.utils.errors import UserError
from tests.engines import hold, place
from tests.robots import set_fields

GO2 = Path(__file__).resolve().parents[3] / "legged_gym_ext/resources/robots/go2/go2.xml"


def engine(num_envs: int = 2, **changes: Any) -> Any:
    """An engine whose configuration fields "section.name" are replaced (dots are written as double underscores)."""
    cfg = Go2FlatCfg()
    cfg.domain_rand.randomize_delay = False
    return make_simulator(set_fields(cfg, **changes), PlaneTerrain(num_envs, torch.device("cpu")), num_envs)


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


@pytest.mark.parametrize("column", range(1, 1 + 19 + 18))  # after the time: 19 positions and 18 velocities of a Go2
def test_any_number_of_a_state_that_breaks_is_a_fault_of_its_robot(column):
    sim = engine(3)
    place(sim, 0.34)
    sim.batch.bind("state")[1, column] = float("nan")
    sim._forward(None)
    assert sim.faults().tolist() == [False, True, False]


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
        ({"sim__mujoco__solver": "newten"}, "unknown sim.mujoco.solver 'newten'; did you mean newton"),
        ({"sim__engine": "mujocco"}, "unknown simulator 'mujocco'; did you mean mujoco"),
        ({"sim__device": "cuda"}, "steps on the CPU"),
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
