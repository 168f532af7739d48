"""The Go2's published figures, and its model files read and placed: shared by the tests of the model files.

The expected numbers were worked out from the published link table, apart from the model files.
"""

from pathlib import Path

import mujoco
import numpy as np
import pytest

ROBOT_DIR = Path(__file__).resolve().parents[1] / "legged_gym_ext" / "resources" / "robots" / "go2"
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
