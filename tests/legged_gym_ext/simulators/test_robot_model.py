"""Checks of the Go2 model files against known physical figures.

Tolerances follow the number of digits printed there. The MJCF and the URDF go through the same checks. Shapes:
test_robot_shapes.py.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco
import numpy as np
import pytest

from tests.go2_model import (
    ARMATURE,
    BODIES,
    FILES,
    FOOT_RADIUS,
    FRICTION,
    GENESIS,
    HOME,
    JOINTS,
    LEGGED_GYM,
    LEGS,
    MJCF,
    SPEED,
    STAND,
    STAND_UP,
    TORQUE,
    URDF,
    body_inertial,
    centre_of_mass,
    closed_form_foot,
    combine,
    foot_geom,
    inertia_about_com,
    joint_range,
    load,
    mass_matrix,
    mirrored,
    pose,
    random_base,
    random_joints,
    read_spec,
    static_solution,
    tensor,
)

# Names, order and limits.


@FILES
def test_bodies_are_named_in_tree_order(path: Path) -> None:
    model, _ = load(path)
    assert [model.body(i).name for i in range(1, model.nbody)] == BODIES


@FILES
def test_joints_are_named_in_tree_order(path: Path) -> None:
    model, _ = load(path)
    assert model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    assert [model.joint(i).name for i in range(1, model.njnt)] == JOINTS


def test_mjcf_free_joint_is_named() -> None:
    model, _ = load(MJCF)
    assert model.joint(0).name == "floating_base_joint"


@FILES
def test_joint_origins_and_axes(path: Path) -> None:
    model, _ = load(path)
    for leg in LEGS:
        side, end = (1 if leg[1] == "L" else -1), (1 if leg[0] == "F" else -1)
        origins = {"hip": (0.1934 * end, 0.0465 * side, 0), "thigh": (0, 0.0955 * side, 0), "calf": (0, 0, -0.213)}
        for part, origin in origins.items():
            np.testing.assert_allclose(model.body(f"{leg}_{part}").pos, origin, atol=1e-12)
            axis = (1, 0, 0) if part == "hip" else (0, 1, 0)
            np.testing.assert_allclose(model.joint(f"{leg}_{part}_joint").axis, axis, atol=1e-12)


@FILES
def test_joint_ranges(path: Path) -> None:
    model, _ = load(path)
    for name in JOINTS:
        assert model.jnt_limited[model.joint(name).id]
        assert tuple(model.joint(name).range) == pytest.approx(joint_range(name), abs=1e-12)


@FILES
def test_torque_limits(path: Path) -> None:
    model, _ = load(path)
    for name in JOINTS:
        index = model.joint(name).id
        limit = TORQUE[name.split("_")[1]]
        assert model.jnt_actfrclimited[index]
        assert tuple(model.jnt_actfrcrange[index]) == pytest.approx((-limit, limit), abs=1e-12)


@FILES
def test_joint_damping_and_friction(path: Path) -> None:
    model, _ = load(path)
    np.testing.assert_array_equal(model.dof_damping[6:], 0.15)
    np.testing.assert_array_equal(model.dof_frictionloss[6:], [FRICTION[name.split("_")[1]] for name in JOINTS])


@FILES
def test_free_joint_has_no_damping_friction_or_armature(path: Path) -> None:
    model, _ = load(path)
    for values in (model.dof_damping, model.dof_frictionloss, model.dof_armature):
        np.testing.assert_array_equal(values[:6], 0)


def test_mjcf_armature() -> None:
    model, _ = load(MJCF)
    np.testing.assert_array_equal(model.dof_armature[6:], [ARMATURE[name.split("_")[1]] for name in JOINTS])


def test_urdf_velocity_limits() -> None:
    root = ElementTree.parse(URDF).getroot()
    for name in JOINTS:
        limit = root.find(f"joint[@name='{name}']/limit")
        assert float(limit.get("velocity")) == SPEED[name.split("_")[1]]


# Mass, centre of mass, inertia.


@FILES
def test_total_mass(path: Path) -> None:
    model, _ = load(path)
    assert model.body_mass.sum() == pytest.approx(15.019, abs=1e-6)


@FILES
@pytest.mark.parametrize(
    ("joints", "expected", "tolerance"),
    [
        (HOME, (-0.001814, 0, -0.018840), 1e-6),
        # Printed with five decimals: half a unit of the last one.
        (STAND, (-0.00145, 0, -0.02153), 5e-6),
        (LEGGED_GYM, (-0.00323, 0, -0.01737), 5e-6),
    ],
    ids=["home", "stand", "legged_gym"],
)
def test_centre_of_mass(path: Path, joints: np.ndarray, expected: tuple[float, ...], tolerance: float) -> None:
    model, data = load(path)
    pose(model, data, joints)
    np.testing.assert_allclose(centre_of_mass(model, data), expected, atol=tolerance)


@FILES
def test_body_inertials_match_link_table(path: Path) -> None:
    model, _ = load(path)
    expected = {"base": combine("base", "head_upper", "head_lower")}
    expected |= {f"{leg}_{part}": mirrored(part, leg) for leg in LEGS for part in ("hip", "thigh", "calf")}
    for name, figures in expected.items():
        for actual, figure in zip(body_inertial(model, name), figures, strict=True):
            np.testing.assert_allclose(actual, figure, rtol=1e-9, atol=1e-12, err_msg=name)


@FILES
def test_calf_lump_excludes_mass_invented_from_shapes(path: Path) -> None:
    model, _ = load(path)
    mass, com, inertia = body_inertial(model, "FL_calf")
    assert mass == pytest.approx(0.194, abs=1e-9)
    np.testing.assert_allclose(com, (0.0043501, -0.00077397, -0.1352062), atol=5.1e-8)
    expected = tensor((1.39458e-3, 1.41551e-3, 4.348e-5, 5.1e-7, 1.5e-7, 1.131e-5))
    np.testing.assert_allclose(inertia, expected, atol=5.1e-9)


@FILES
def test_base_lump_includes_heads(path: Path) -> None:
    model, _ = load(path)
    mass, com, inertia = body_inertial(model, "base")
    assert mass == pytest.approx(6.923, abs=1e-9)
    np.testing.assert_allclose(com, (0.0211894, 0, -0.0053717), atol=5.1e-8)
    expected = tensor((0.0245024, 0.0982429, 0.1071627, 1.2166e-4, 1.4957e-3, -3.12e-5))
    np.testing.assert_allclose(inertia, expected, atol=5.1e-8)


@FILES
def test_whole_body_inertia_home(path: Path) -> None:
    model, data = load(path)
    pose(model, data, HOME)
    inertia = inertia_about_com(model, data)
    actual = [inertia[0, 0], inertia[1, 1], inertia[2, 2], inertia[0, 2]]
    np.testing.assert_allclose(actual, (0.15846, 0.46865, 0.52447, -0.01554), atol=1e-5)


@FILES
def test_mass_matrix_base_rotation_diagonal_home(path: Path) -> None:
    model, data = load(path)
    pose(model, data, HOME)
    diagonal = np.diag(mass_matrix(model, data))
    np.testing.assert_allclose(diagonal[3:6], (0.16379, 0.47403, 0.52452), atol=1e-5)


@FILES
def test_mass_matrix_leg_diagonals_home(path: Path) -> None:
    model, data = load(path)
    pose(model, data, HOME)
    diagonal = np.diag(mass_matrix(model, data))[6:].reshape(4, 3)
    np.testing.assert_allclose(diagonal, np.tile((0.020722, 0.017926, 0.004966), (4, 1)), atol=1e-5)


@FILES
def test_mass_matrix_leg_off_diagonals_home(path: Path) -> None:
    model, data = load(path)
    pose(model, data, HOME)
    matrix = mass_matrix(model, data)
    actual = [matrix[6, 7], matrix[6, 8], matrix[7, 8]]
    np.testing.assert_allclose(actual, (0.004105, -0.002005, 0.003521), atol=1e-5)


@FILES
def test_no_geom_adds_mass(path: Path) -> None:
    full, _ = load(path)
    spec = read_spec(path)
    for geom in list(spec.geoms):
        spec.delete(geom)
    bare = spec.compile()
    np.testing.assert_array_equal(full.body_mass, bare.body_mass)
    np.testing.assert_array_equal(full.body_inertia, bare.body_inertia)


# Statics and kinematics.


@FILES
def test_static_torques_home(path: Path) -> None:
    torques, _ = static_solution(path, HOME)
    np.testing.assert_allclose(torques[0:3], (-2.487, 0.381, 5.875), atol=1e-3)
    np.testing.assert_allclose(torques[6:9], (-2.508, 0.381, 5.911), atol=1e-3)


@FILES
@pytest.mark.parametrize("joints", [HOME, STAND, LEGGED_GYM], ids=["home", "stand", "legged_gym"])
def test_static_torques_are_left_right_symmetric(path: Path, joints: np.ndarray) -> None:
    torques = static_solution(path, joints)[0].reshape(4, 3)
    np.testing.assert_allclose(torques[[1, 3]] * (-1, 1, 1), torques[[0, 2]], atol=1e-3)


@FILES
def test_static_foot_forces_home(path: Path) -> None:
    _, forces = static_solution(path, HOME)
    np.testing.assert_allclose(forces, (36.73, 36.73, 36.94, 36.94), atol=5e-3)


@FILES
def test_foot_sphere_centre_matches_closed_form(path: Path) -> None:
    model, data = load(path)
    rng = np.random.default_rng(1)
    for _ in range(50):
        joints = random_joints(rng)
        pose(model, data, joints)
        for leg in LEGS:
            actual = data.geom_xpos[foot_geom(model, leg)]
            np.testing.assert_allclose(actual, closed_form_foot(leg, joints, sphere=True), atol=1e-9)


def test_urdf_foot_link_matches_closed_form() -> None:
    model, data = load(URDF, fuse=False)
    rng = np.random.default_rng(2)
    for _ in range(50):
        joints = random_joints(rng)
        pose(model, data, joints)
        for leg in LEGS:
            actual = data.body(f"{leg}_foot").xpos
            np.testing.assert_allclose(actual, closed_form_foot(leg, joints, sphere=False), atol=1e-9)


def test_mjcf_foot_site_is_at_sphere_centre() -> None:
    model, data = load(MJCF)
    pose(model, data, LEGGED_GYM)
    for leg in LEGS:
        np.testing.assert_allclose(data.site(f"{leg}_foot").xpos, data.geom(f"{leg}_foot").xpos, atol=1e-12)


@FILES
def test_foot_sphere_radius(path: Path) -> None:
    model, _ = load(path)
    for leg in LEGS:
        assert model.geom_size[foot_geom(model, leg), 0] == FOOT_RADIUS


@FILES
@pytest.mark.parametrize(
    ("joints", "front", "rear", "tolerance"),
    [
        # Half a unit of the last printed decimal.
        (HOME, 0.2884, 0.2884, 5e-5),
        (STAND, 0.3346, 0.3346, 5e-5),
        (LEGGED_GYM, 0.3235, 0.3139, 5e-5),
        (GENESIS, 0.3346, 0.3250, 5e-5),
        (STAND_UP, 0.372, 0.372, 5e-4),
    ],
    ids=["home", "stand", "legged_gym", "genesis", "stand_up"],
)
def test_base_height_with_feet_just_touching(
    path: Path, joints: np.ndarray, front: float, rear: float, tolerance: float
) -> None:
    model, data = load(path)
    pose(model, data, joints)
    lowest = [data.geom_xpos[foot_geom(model, leg), 2] - model.geom_size[foot_geom(model, leg), 0] for leg in LEGS]
    np.testing.assert_allclose(-np.array(lowest), (front, front, rear, rear), atol=tolerance)


def test_mjcf_imu_site() -> None:
    model, _ = load(MJCF)
    site = model.site("imu")
    assert model.body(site.bodyid[0]).name == "base"
    np.testing.assert_allclose(site.pos, (-0.02557, 0, 0.04232), atol=1e-12)
    np.testing.assert_allclose(site.quat, (1, 0, 0, 0), atol=1e-12)


def test_urdf_imu_frame() -> None:
    model, _ = load(URDF, fuse=False)
    imu = model.body("imu")
    assert model.body(imu.parentid[0]).name == "base"
    np.testing.assert_allclose(imu.pos, (-0.02557, 0, 0.04232), atol=1e-12)
    np.testing.assert_allclose(imu.quat, (1, 0, 0, 0), atol=1e-12)


# The two files describe one robot.


def test_files_agree_on_mass_matrix_at_random_poses() -> None:
    mjcf, urdf = load(MJCF), load(URDF)
    rng = np.random.default_rng(3)
    for _ in range(10):
        joints, base = random_joints(rng), random_base(rng)
        pose(*mjcf, joints, base)
        pose(*urdf, joints, base)
        expected, actual = mass_matrix(*mjcf), mass_matrix(*urdf)
        # Entries near zero are differences of larger ones: compare those with the typical size of their row and column.
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        np.testing.assert_allclose((actual - expected) / scale, 0, atol=1e-9)


def test_files_agree_on_centre_of_mass_at_random_poses() -> None:
    mjcf, urdf = load(MJCF), load(URDF)
    rng = np.random.default_rng(4)
    for _ in range(10):
        joints, base = random_joints(rng), random_base(rng)
        pose(*mjcf, joints, base)
        pose(*urdf, joints, base)
        np.testing.assert_allclose(centre_of_mass(*urdf), centre_of_mass(*mjcf), rtol=1e-9, atol=1e-12)


def test_separate_foot_links_leave_dynamics_unchanged() -> None:
    fused, separate = load(URDF), load(URDF, fuse=False)
    rng = np.random.default_rng(5)
    joints, base = random_joints(rng), random_base(rng)
    pose(*fused, joints, base)
    pose(*separate, joints, base)
    np.testing.assert_allclose(mass_matrix(*separate), mass_matrix(*fused), rtol=1e-9, atol=1e-12)
