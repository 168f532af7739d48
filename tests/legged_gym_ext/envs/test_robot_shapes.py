"""Shapes of the Go2 model files: what touches what, and what other readers of the files rely on."""

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest

from tests.go2_model import HOME, LEGS, MJCF, URDF, load, pose, read_spec


def mjcf_collision_geoms() -> list:
    """Returns the collision geoms of the compiled MJCF."""
    model, _ = load(MJCF)
    return [model.geom(i) for i in range(model.ngeom) if model.geom_group[i] == 3]


def test_mjcf_robot_geoms_never_collide_with_each_other() -> None:
    model, _ = load(MJCF)
    assert not model.geom_contype.any()


@pytest.mark.parametrize(("contype", "touches"), [(0, False), (1, True)], ids=["as_written", "unfiltered"])
def test_mjcf_makes_no_self_contact_when_legs_cross(contype: int, touches: bool) -> None:
    spec = read_spec(MJCF)
    for geom in spec.geoms:
        if geom.group == 3:
            geom.contype += contype
    model = spec.compile()
    data = mujoco.MjData(model)
    pose(model, data, np.array([-0.8, 0.9, -1.8, 0.8, 0.9, -1.8] * 2))
    assert bool(data.ncon) == touches


def test_mjcf_feet_touch_a_floor() -> None:
    spec = read_spec(MJCF)
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1], contype=1, conaffinity=0)
    model = spec.compile()
    data = mujoco.MjData(model)
    pose(model, data, HOME, np.array([0, 0, 0.288, 1, 0, 0, 0]))
    touching = {model.geom(geom).name for pair in data.contact.geom for geom in pair} - {""}
    assert touching == {f"{leg}_foot" for leg in LEGS}
    np.testing.assert_allclose(data.contact.friction[:, 0], 0.8)


def test_mjcf_collision_geoms_are_complete() -> None:
    parts = ("hip_collision", "thigh_collision", "calf_upper_collision", "calf_lower_collision", "foot")
    expected = {"base_collision", "head_upper_collision", "head_lower_collision"}
    expected |= {f"{leg}_{part}" for leg in LEGS for part in parts}
    assert {geom.name for geom in mjcf_collision_geoms()} == expected


def test_mjcf_collision_geoms_have_default_solver_parameters() -> None:
    for geom in mjcf_collision_geoms():
        assert geom.condim[0] == 3
        assert geom.conaffinity[0] == 1
        np.testing.assert_array_equal(geom.solref, mujoco.MjSpec().default.geom.solref)
        np.testing.assert_array_equal(geom.solimp, mujoco.MjSpec().default.geom.solimp)


def test_mjcf_calf_capsules_stay_within_published_length() -> None:
    model, _ = load(MJCF)
    for leg in LEGS:
        for part, radius, length in (("upper", 0.013, 0.120), ("lower", 0.011, 0.065)):
            size = model.geom(f"{leg}_calf_{part}_collision").size
            assert size[0] == radius
            assert 2 * (size[0] + size[1]) == pytest.approx(length, abs=1e-12)


def test_mjcf_visual_geoms_do_not_collide() -> None:
    model, _ = load(MJCF)
    visuals = [model.geom(i) for i in range(model.ngeom) if model.geom_group[i] == 2]
    assert visuals
    for geom in visuals:
        assert geom.name.endswith("_visual")
        assert (geom.contype[0], geom.conaffinity[0]) == (0, 0)


def test_mjcf_holds_only_the_robot() -> None:
    model, _ = load(MJCF)
    assert (model.nu, model.nsensor, model.nkey, model.nmesh) == (0, 0, 0, 0)
    assert model.body_geomnum[0] == 0


def test_urdf_foot_joints_keep_feet_separate() -> None:
    root = ElementTree.parse(URDF).getroot()
    for leg in LEGS:
        joint = root.find(f"joint[@name='{leg}_foot_joint']")
        assert joint.get("type") == "fixed"
        assert joint.get("dont_collapse") == "true"
        assert float(root.find(f"link[@name='{leg}_foot']/inertial/mass").get("value")) == 0.04


def test_urdf_link_set() -> None:
    root = ElementTree.parse(URDF).getroot()
    expected = {"base", "Head_upper", "Head_lower", "imu"}
    expected |= {f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf", "foot")}
    assert {link.get("name") for link in root.iter("link")} == expected


def test_urdf_links_with_shapes_have_mass() -> None:
    for link in ElementTree.parse(URDF).getroot().iter("link"):
        if link.find("collision") is not None or link.find("visual") is not None:
            assert float(link.find("inertial/mass").get("value")) > 0, link.get("name")


def test_urdf_uses_portable_shapes_only() -> None:
    shapes = {shape.tag for geometry in ElementTree.parse(URDF).getroot().iter("geometry") for shape in geometry}
    assert shapes == {"box", "cylinder", "sphere"}
