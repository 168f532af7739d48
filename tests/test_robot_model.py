"""Checks of the Go2 model files against known physical figures.

The expected numbers were worked out from the published link table, apart from these files. Tolerances follow the number
of digits printed there. The MJCF and the URDF go through the same checks.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco
import numpy as np
import pytest

ROBOT_DIR = Path(__file__).resolve().parents[1] / "resources" / "robots" / "go2"
MJCF = ROBOT_DIR / "go2.xml"
URDF = ROBOT_DIR / "go2.urdf"
FILES = pytest.mark.parametrize("path", [MJCF, URDF], ids=["mjcf", "urdf"])

LEGS = ("FL", "FR", "RL", "RR")
JOINTS = [f"{leg}_{part}_joint" for leg in LEGS for part in ("hip", "thigh", "calf")]
BODIES = ["base"] + [f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf")]
RANGE = {"hip": (-1.0472, 1.0472), "front": (-1.5708, 3.4907), "rear": (-0.5236, 4.5379), "calf": (-2.7227, -0.83776)}
TORQUE = {"hip": 23.7, "thigh": 23.7, "calf": 45.43}
SPEED = {"hip": 30.1, "thigh": 30.1, "calf": 15.70}
ARMATURE = {"hip": 0.0045, "thigh": 0.0045, "calf": 0.0165}
FRICTION = {"hip": 0.2, "thigh": 0.2, "calf": 0.5}
FOOT_RADIUS = 0.022

HOME = np.tile([0.0, 0.9, -1.8], 4)
STAND = np.tile([0.0, 0.8, -1.5], 4)
LEGGED_GYM = np.array([0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5])
GENESIS = np.array([0.0, 0.8, -1.5, 0.0, 0.8, -1.5, 0.0, 1.0, -1.5, 0.0, 1.0, -1.5])
STAND_UP = np.array([0.0057, 0.6088, -1.2176, -0.0057, 0.6088, -1.2176] * 2)

# Mass, centre of mass, and (ixx, iyy, izz, ixy, ixz, iyz) about it, in link axes. Left front leg.
LINKS = {
    "base": (6.921, (0.021112, 0, -0.005366), (0.02448, 0.098077, 0.107, 1.2166e-4, 1.4849e-3, -3.12e-5)),
    "head_upper": (0.001, (0.285, 0, 0.01), (9.6e-6, 9.6e-6, 9.6e-6, 0, 0, 0)),
    "head_lower": (0.001, (0.293, 0, -0.06), (9.6e-6, 9.6e-6, 9.6e-6, 0, 0, 0)),
    "hip": (0.678, (-0.0054, 0.00194, -0.000105), (4.80e-4, 8.84e-4, 5.96e-4, -3.01e-6, 1.11e-6, -1.42e-6)),
    "thigh": (1.152, (-0.00374, -0.0223, -0.0327), (5.84e-3, 5.80e-3, 1.03e-3, 8.72e-5, -2.89e-4, 8.08e-4)),
    "calf": (0.154, (0.00548, -0.000975, -0.115), (1.08e-3, 1.10e-3, 3.29e-5, 3.4e-7, 1.72e-5, 8.28e-6)),
    "foot": (0.040, (0, 0, -0.213), (9.6e-6, 9.6e-6, 9.6e-6, 0, 0, 0)),
}


def read_spec(path: Path) -> mujoco.MjSpec:
    """Reads a model file and frees the base if the format has no free joint."""
    spec = mujoco.MjSpec.from_file(str(path))
    if path.suffix == ".urdf":
        spec.body("base").add_freejoint()
    return spec


def load(path: Path, fuse: bool = True) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Compiles a model file; without fuse, links on fixed joints stay bodies of their own."""
    spec = read_spec(path)
    if not fuse:
        spec.compiler.fusestatic = False
    model = spec.compile()
    return model, mujoco.MjData(model)


def pose(model: mujoco.MjModel, data: mujoco.MjData, joints: np.ndarray, base: np.ndarray | None = None) -> None:
    """Places the robot at rest, by default with the base level at the origin."""
    mujoco.mj_resetData(model, data)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0] if base is None else base
    data.qpos[7:] = joints
    mujoco.mj_forward(model, data)


def mass_matrix(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Returns the dense joint-space mass matrix with the armature taken off."""
    columns = []
    for unit in np.eye(model.nv):
        column = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, column, unit)
        columns.append(column)
    return np.array(columns) - np.diag(model.dof_armature)


def centre_of_mass(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Returns the whole-robot centre of mass in the world."""
    return model.body_mass @ data.xipos / model.body_mass.sum()


def inertia_about_com(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Returns the whole-robot inertia about its centre of mass, in world axes."""
    total = np.zeros((3, 3))
    for body in range(1, model.nbody):
        axes = data.ximat[body].reshape(3, 3)
        arm = data.xipos[body] - centre_of_mass(model, data)
        total += axes @ np.diag(model.body_inertia[body]) @ axes.T
        total += model.body_mass[body] * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return total


def tensor(entries: tuple[float, ...]) -> np.ndarray:
    """Builds a symmetric matrix from xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = entries
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def combine(*names: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Joins links of the table with the parallel-axis theorem."""
    parts = [LINKS[name] for name in names]
    mass = sum(part[0] for part in parts)
    com = sum(part[0] * np.array(part[1]) for part in parts) / mass
    inertia = np.zeros((3, 3))
    for part_mass, part_com, entries in parts:
        arm = np.array(part_com) - com
        inertia += tensor(entries) + part_mass * (arm @ arm * np.eye(3) - np.outer(arm, arm))
    return mass, com, inertia


def mirrored(part: str, leg: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns the expected inertial of a leg body: the table's front left one, mirrored for the leg."""
    mass, com, inertia = combine("calf", "foot") if part == "calf" else combine(part)
    signs = np.ones(3)
    signs[1] = 1 if leg[1] == "L" else -1
    signs[0] = -1 if part == "hip" and leg[0] == "R" else 1
    return mass, com * signs, inertia * np.outer(signs, signs)


def body_inertial(model: mujoco.MjModel, name: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Returns mass, centre of mass and inertia tensor of a compiled body, in body axes."""
    body = model.body(name)
    axes = np.zeros(9)
    mujoco.mju_quat2Mat(axes, body.iquat)
    axes = axes.reshape(3, 3)
    return body.mass[0], body.ipos, axes @ np.diag(body.inertia) @ axes.T


def foot_geom(model: mujoco.MjModel, leg: str) -> int:
    """Returns the id of the collision sphere of a foot."""
    calf = model.body(f"{leg}_calf").id
    found = [
        geom
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] == calf
        and model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_SPHERE
        and (model.geom_contype[geom] or model.geom_conaffinity[geom])
    ]
    assert len(found) == 1
    return found[0]


def closed_form_foot(leg: str, joints: np.ndarray, sphere: bool) -> np.ndarray:
    """Returns the foot frame, or the contact sphere's centre, in the base frame by trigonometry."""
    hip, thigh, calf = joints[3 * LEGS.index(leg) : 3 * LEGS.index(leg) + 3]
    side = 1 if leg[1] == "L" else -1
    end = 1 if leg[0] == "F" else -1
    knee = thigh + calf
    x = -0.213 * (np.sin(thigh) + np.sin(knee)) - sphere * 0.002 * np.cos(knee)
    z = -0.213 * (np.cos(thigh) + np.cos(knee)) + sphere * 0.002 * np.sin(knee)
    y = 0.0955 * side
    turned = [x, y * np.cos(hip) - z * np.sin(hip), y * np.sin(hip) + z * np.cos(hip)]
    return np.array(turned) + np.array([0.1934 * end, 0.0465 * side, 0.0])


def random_joints(rng: np.random.Generator) -> np.ndarray:
    """Draws joint angles within the ranges."""
    limits = np.array([joint_range(name) for name in JOINTS])
    return rng.uniform(limits[:, 0], limits[:, 1])


def random_base(rng: np.random.Generator) -> np.ndarray:
    """Draws a base position and orientation."""
    quat = rng.normal(size=4)
    return np.concatenate([rng.uniform(-1, 1, 3), quat / np.linalg.norm(quat)])


def joint_range(name: str) -> tuple[float, float]:
    """Returns the expected range of a joint."""
    part = name.split("_")[1]
    if part == "thigh":
        return RANGE["front" if name[0] == "F" else "rear"]
    return RANGE[part]


def static_solution(path: Path, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Solves quiet standing with vertical foot forces only.

    Three balance equations of the base leave one of the four forces free; the smallest forces are taken.

    Returns:
        Joint torques and the four vertical forces, legs in tree order.
    """
    model, data = load(path)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    pose(model, data, joints)
    data.qacc[:] = 0
    mujoco.mj_inverse(model, data)
    lift = np.zeros((4, model.nv))
    for row, leg in enumerate(LEGS):
        jacobian = np.zeros((3, model.nv))
        calf = model.body(f"{leg}_calf").id
        mujoco.mj_jac(model, data, jacobian, None, data.geom_xpos[foot_geom(model, leg)], calf)
        lift[row] = jacobian[2]
    forces = np.linalg.lstsq(lift[:, :6].T, data.qfrc_inverse[:6], rcond=None)[0]
    torques = data.qfrc_inverse - lift.T @ forces
    np.testing.assert_allclose(torques[:6], 0, atol=1e-9)
    return torques[6:], forces


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


# Contacts and file conventions.


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
