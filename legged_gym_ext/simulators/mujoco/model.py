"""Builds the MuJoCo model of a task: robot file + ground + motors + contact sensors.

Shared by every engine that steps MuJoCo models. The robot file holds the robot only; whatever actuators, sensors,
keyframes and world geoms it brings are dropped, so that a user's own MJCF behaves like ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Type, Union

import mujoco
import numpy as np

from legged_gym_ext import find_file
from legged_gym_ext.simulators.legs import Leg, Shape, choose_feet, joints_of
from legged_gym_ext.simulators.mujoco.ground import COLLISION, GROUND, NearGround, add_map, add_slots
from legged_gym_ext.utils.config import match_joint
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

    SolverOptions = Union[Type[LeggedRobotCfg.sim.mujoco], Type[LeggedRobotCfg.sim.mujoco_warp]]

SOLVERS = {
    "newton": mujoco.mjtSolver.mjSOL_NEWTON,
    "cg": mujoco.mjtSolver.mjSOL_CG,
    "pgs": mujoco.mjtSolver.mjSOL_PGS,
}
CONES = {"pyramidal": mujoco.mjtCone.mjCONE_PYRAMIDAL, "elliptic": mujoco.mjtCone.mjCONE_ELLIPTIC}
INTEGRATORS = {
    "implicitfast": mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
    "implicit": mujoco.mjtIntegrator.mjINT_IMPLICIT,
    "euler": mujoco.mjtIntegrator.mjINT_EULER,
}
FOOT_SITE, CONTACT_SENSOR = "foot_site_", "contact_"


@dataclass
class ModelInfo:
    """Names and indices of the parts of a compiled model that the environment uses."""

    model: mujoco.MjModel
    joint_names: list[str]  # in the order of the configuration, which is the order of the actuators
    qpos_ids: np.ndarray  # (J,) of these joints
    dof_ids: np.ndarray  # (J,)
    base_id: int
    robot_geoms: np.ndarray  # ids of the geoms that collide
    foot_sites: np.ndarray  # (F,)
    foot_radius: float  # m
    contact_names: list[str]  # K named bodies, then F feet
    feet_in_bodies: list[tuple[int, int]]  # (body, foot) of contact_names whose force includes the foot's
    torque_limits: np.ndarray  # (J,) N m
    velocity_limits: np.ndarray  # (J,) rad/s
    default_pos: np.ndarray  # (J,) rad
    legs: list[Leg]  # F
    contact_joints: list[int]  # (K,) joint that carries each of contact_names, -1: the base
    nominal: dict[str, tuple[float, float]]  # of feet and joints, smallest and largest
    near_ground: NearGround | None  # what each environment has in the model's slots; None on a plane


def load_robot(file: str, *, keep_ground: bool = False) -> mujoco.MjSpec:
    """Read the robot's MJCF and drop everything that is not robot.

    Args:
        file: path; see `find_file` for "{ROOT}".
        keep_ground: keep the geoms of the world body.

    Raises:
        UserError: the file is missing, or MuJoCo cannot read it.
    """
    path = find_file(file)
    if not path.is_file():
        raise UserError(f"robot model not found: {path}; set --env.asset.file to an MJCF file")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        for element in (*spec.bodies, *spec.joints, *spec.geoms):
            _ = element.name  # a UnicodeDecodeError, where it is no text
    except ValueError as error:
        raise UserError(f"robot model {path} cannot be read by MuJoCo: {' '.join(str(error).split())}") from error
    ground = [] if keep_ground else list(spec.worldbody.geoms)
    names = {geom.name for geom in ground}
    pairs = [pair for pair in spec.pairs if names & {pair.geomname1, pair.geomname2}]
    for group in (spec.actuators, spec.sensors, spec.keys, pairs, ground):
        for element in list(group):
            spec.delete(element)
    return spec


def build_model(cfg: LeggedRobotCfg, terrain: Terrain, options: SolverOptions | None = None) -> ModelInfo:
    """Compile robot and ground for `cfg` (a `LeggedRobotCfg`).

    Args:
        cfg: sections asset, control, init_state, domain_rand and sim are read.
        terrain: a plane, or a map of which every environment has what is near its robot (ground.py).
        options: of the solver; None: section sim.mujoco.
    """
    spec = load_robot(cfg.asset.file)
    _set_options(spec, cfg.sim, options or cfg.sim.mujoco)
    joints = _find_joints(spec, cfg)
    order = {joint.name: index for index, joint in enumerate(joints)}
    feet = sorted(_find_feet(spec, cfg.asset, order), key=lambda geom: _place(geom.parent, order))
    _set_collisions(spec, cfg.asset.self_collisions)
    _add_motors(spec, joints, cfg)
    for index, geom in enumerate(feet):
        geom.parent.add_site(name=f"{FOOT_SITE}{index}", pos=geom.pos)
    names, inside, places = _add_contact_sensors(spec, feet, cfg.asset, order)
    model, near = _compile(spec, cfg), None
    if terrain.is_flat:
        add_ground(spec, terrain)
    else:
        near = add_slots(spec, terrain.map, reach(model))
    contacts = (names, inside, places)
    return _index(_compile(spec, cfg), joints, feet, contacts, cfg, near)


def _compile(spec: mujoco.MjSpec, cfg: LeggedRobotCfg) -> mujoco.MjModel:
    try:
        return spec.compile()
    except ValueError as error:
        raise UserError(f"robot model {cfg.asset.file} does not compile: {' '.join(str(error).split())}") from error


def add_ground(spec: mujoco.MjSpec, terrain: Terrain) -> None:
    """Add all of a terrain to the world body, with contype 1 and conaffinity 0; robots have these reversed."""
    if terrain.is_flat:
        spec.worldbody.add_geom(name=GROUND, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], **COLLISION)
    else:
        add_map(spec, terrain.map)


def reach(model: mujoco.MjModel) -> float:
    """Metres from the base's origin that no geom of a robot can be beyond, in any pose: lengths along the links."""
    far = np.zeros(model.nbody)
    for body in range(1, model.nbody):
        if model.body_dofadr[body] < 0 or model.jnt_type[model.body_jntadr[body]] != mujoco.mjtJoint.mjJNT_FREE:
            far[body] = far[model.body_parentid[body]] + np.linalg.norm(model.body_pos[body])
        first, count = model.body_jntadr[body], model.body_jntnum[body]
        # A joint beside the body's origin swings it round.
        far[body] += 2.0 * np.linalg.norm(model.jnt_pos[first : first + count], axis=1).sum()
    ends = far[model.geom_bodyid] + np.linalg.norm(model.geom_pos, axis=1) + model.geom_rbound
    return float(ends[model.geom_bodyid > 0].max())


def _set_options(spec: mujoco.MjSpec, sim: type[LeggedRobotCfg.sim], mj: SolverOptions) -> None:
    options, section = spec.option, "mujoco" if mj is sim.mujoco else "mujoco_warp"
    for value, known, field in (
        (mj.solver, SOLVERS, "solver"),
        (mj.cone, CONES, "cone"),
        (mj.integrator, INTEGRATORS, "integrator"),
    ):
        if value not in known:
            raise UserError(
                f"unknown sim.{section}.{field} '{value}'{did_you_mean(value, known)}; known: {', '.join(known)}"
            )
    options.timestep = sim.dt
    options.solver, options.cone = SOLVERS[mj.solver], CONES[mj.cone]
    options.integrator = INTEGRATORS[mj.integrator]
    options.iterations, options.ls_iterations = mj.iterations, mj.ls_iterations
    options.impratio = mj.impratio
    if not mj.islands:
        options.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_ISLAND)
    # The bounding-volume display option costs time in every step since MuJoCo 3.11 and shows nothing headless.
    spec.visual.global_.bvactive = 0


def _find_joints(spec: mujoco.MjSpec, cfg: LeggedRobotCfg) -> list[mujoco.MjsJoint]:
    """Joints in the order of the configuration; their names must be exactly the robot's hinges."""
    free = [j for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_FREE]
    if len(free) != 1:
        raise UserError(f"robot model {cfg.asset.file}: expected one free joint for the base, found {len(free)}")
    others = [j.name for j in spec.joints if j.type not in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_HINGE)]
    if others or spec.joints[0].type != mujoco.mjtJoint.mjJNT_FREE:
        raise UserError(
            f"robot model {cfg.asset.file}: expected the base's free joint first and hinges after it, "
            f"found {others or spec.joints[0].name}"
        )
    hinges = {j.name: j for j in spec.joints if j.type == mujoco.mjtJoint.mjJNT_HINGE}
    return [hinges[name] for name in joints_of(cfg, hinges, cfg.asset.file)]


def _find_feet(spec: mujoco.MjSpec, asset: type[LeggedRobotCfg.asset], order: dict[str, int]) -> list[mujoco.MjsGeom]:
    """The colliding geoms that `asset.foot_name` means, one at the end of each limb."""
    solid = [g for g in spec.geoms if g.contype or g.conaffinity]
    shapes = [Shape(g.name, g.parent.name, tuple(_chain(g.parent, order))) for g in solid]
    chains = [tuple(_chain(joint.parent, order)) for joint in spec.joints if joint.name in order]
    return [solid[index] for index in choose_feet(asset.foot_name, shapes, chains, asset.file)]


def _chain(body: mujoco.MjsBody, order: dict[str, int]) -> list[str]:
    """Joints of the configuration from the base to `body`."""
    chain: list[str] = []
    while body is not None and body.name != "world":
        chain = [joint.name for joint in body.joints if joint.name in order] + chain
        body = body.parent
    return chain


def _place(body: mujoco.MjsBody, order: dict[str, int]) -> int:
    """Place of a body in the configuration's joint order: that of the joint that carries it; -1 for the base."""
    chain = _chain(body, order)
    return order[chain[-1]] if chain else -1


def _set_collisions(spec: mujoco.MjSpec, self_collisions: bool) -> None:
    """Robot geoms touch the ground (contype 1), and each other only on request."""
    for geom in list(spec.geoms):
        if geom.contype or geom.conaffinity:
            geom.contype, geom.conaffinity = (2, 3) if self_collisions else (0, 1)
            geom.priority = 1  # so that the robot's friction, which is randomised, is the one that counts
        elif geom.parent.explicitinertial:
            spec.delete(
                geom
            )  # it only looks like something, and every geom costs time; elsewhere it may carry the mass


def _add_motors(spec: mujoco.MjSpec, joints: list[mujoco.MjsJoint], cfg: LeggedRobotCfg) -> None:
    """One position motor per joint, with a delay line where delays are randomised."""
    control = cfg.control
    if control.control_type != "P":
        raise UserError(f"control.control_type is '{control.control_type}'; this engine knows 'P' (position targets)")
    for joint in joints:
        kp, kd = (
            match_joint(control.stiffness, joint.name, "control.stiffness"),
            match_joint(control.damping, joint.name, "control.damping"),
        )
        tau = match_joint(cfg.asset.torque_limits, joint.name, "asset.torque_limits")
        speed = match_joint(cfg.asset.velocity_limits, joint.name, "asset.velocity_limits")
        joint.springref = cfg.init_state.default_joint_angles[joint.name]
        motor = add_motor(spec, joint, control.motor, kp=kp, kd=kd, torque=tau, speed=speed)
        if cfg.domain_rand.randomize_delay:
            set_delay(motor, max(cfg.domain_rand.delay_range), cfg.sim.dt)
            motor.delay = cfg.sim.dt  # replaced per environment


def add_motor(
    spec: mujoco.MjSpec, joint: mujoco.MjsJoint, kind: str, *, kp: float, kd: float, torque: float, speed: float
) -> mujoco.MjsActuator:
    """A position motor on `joint`, named after it; limits and torque-speed line are evaluated in every physics step.

    MuJoCo's `dcmotor` with a position controller clips the PD torque to the line
    `tau_max (+-1 - v / v_max)`: with K = 1 and R = v_max / tau_max, the voltage limit v_max gives exactly that. The
    joint's own force range then cuts what the line allows above tau_max while braking.

    Args:
        spec: of the robot.
        joint: a hinge in it.
        kind: "dc" (that line) or "ideal" (constant limit).
        kp: N m / rad.
        kd: N m s / rad.
        torque: N m, largest.
        speed: rad/s without load; "dc" only.

    Raises:
        UserError: another kind.
    """
    joint.actfrcrange, joint.actfrclimited = [-torque, torque], mujoco.mjtLimited.mjLIMITED_TRUE
    motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    # The file's defaults for actuators meant other actuators.
    motor.gear, motor.ctrllimited = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], mujoco.mjtLimited.mjLIMITED_FALSE
    motor.forcelimited = mujoco.mjtLimited.mjLIMITED_FALSE
    if kind == "dc":
        motor.set_to_dcmotor(
            motorconst=[1.0, 1.0],
            resistance=speed / torque,
            controller=[kp, 0.0, kd, 0.0, 0.0, speed],
            ctrlspec=int(mujoco.mjtCtrlInput.mjINPUT_POS),
        )
    elif kind == "ideal":
        motor.set_to_position(kp=kp, kv=kd)
        motor.forcerange, motor.forcelimited = [-torque, torque], mujoco.mjtLimited.mjLIMITED_TRUE
    else:
        raise UserError(f"unknown control.motor '{kind}'; known: dc, ideal")
    return motor


def set_delay(motor: mujoco.MjsActuator, longest: float, dt: float) -> None:
    """Let `motor` act on targets that are up to `longest` s old, in physics steps of `dt` s."""
    # One sample more than the longest delay, so that the oldest target is still there.
    motor.nsample = int(np.ceil(longest / dt - 1e-9)) + 1
    motor.delay = longest


def _add_contact_sensors(
    spec: mujoco.MjSpec, feet: list[mujoco.MjsGeom], asset: type[LeggedRobotCfg.asset], order: dict[str, int]
) -> tuple[list[str], list[tuple[int, int]], list[int]]:
    """Net contact force of each named body and each foot; a foot's force is taken out of the body it belongs to.

    Returns:
        Names (K), pairs of body and foot in it, and the place of each name's joint in `order`.
    """
    wanted = list(asset.terminate_after_contacts_on) + list(asset.penalize_contacts_on)
    robot = [b for b in spec.bodies if b.name != "world"]
    for part in wanted:
        if not any(part in b.name for b in robot):
            raise UserError(f"asset: no body is named like '{part}'; bodies are {[b.name for b in robot]}")
    chosen = [b for b in robot if any(part in b.name for part in wanted)]
    bodies = [b.name for b in sorted(chosen, key=lambda body: _place(body, order))]
    foot_names = [g.name or f"foot_{i}" for i, g in enumerate(feet)]
    for index, name in enumerate(bodies):
        contact_sensor(spec, index, mujoco.mjtObj.mjOBJ_BODY, name)
    for index, geom in enumerate(feet):
        geom.name = foot_names[index]
        contact_sensor(spec, len(bodies) + index, mujoco.mjtObj.mjOBJ_GEOM, geom.name)
    inside = [
        (bodies.index(geom.parent.name), len(bodies) + index)
        for index, geom in enumerate(feet)
        if geom.parent.name in bodies
    ]
    parts = [spec.body(name) for name in bodies] + [geom.parent for geom in feet]
    return bodies + foot_names, inside, [_place(part, order) for part in parts]


def contact_sensor(spec: mujoco.MjSpec, index: int, kind: mujoco.mjtObj, name: str) -> None:
    """Sum of the contact forces on one body or geom, three numbers in world axes."""
    data, reduce = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3  # 3: net force
    spec.add_sensor(
        name=f"{CONTACT_SENSOR}{index}",
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=kind,
        objname=name,
        intprm=[data, reduce, 1],
    )


def _index(
    model: mujoco.MjModel,
    joints: list[mujoco.MjsJoint],
    feet: list[mujoco.MjsGeom],
    contacts: tuple[list[str], list[tuple[int, int]], list[int]],
    cfg: LeggedRobotCfg,
    near_ground: NearGround | None,
) -> ModelInfo:
    joint_names = [j.name for j in joints]
    order = {name: index for index, name in enumerate(joint_names)}
    names, inside, places = contacts
    ids = [model.joint(n).id for n in joint_names]
    robot = model.body_weldid[model.geom_bodyid] > 0  # ground is fixed to the world
    solid = (model.geom_contype > 0) | (model.geom_conaffinity > 0)
    asset = cfg.asset
    if not any(asset.base_name == model.body(i).name for i in range(model.nbody)):
        raise UserError(f"asset.base_name '{asset.base_name}' is no body of {asset.file}")
    return ModelInfo(
        model=model,
        joint_names=joint_names,
        qpos_ids=model.jnt_qposadr[ids].copy(),
        dof_ids=model.jnt_dofadr[ids].copy(),
        base_id=model.body(asset.base_name).id,
        robot_geoms=np.flatnonzero(robot & solid),
        foot_sites=np.array([model.site(f"{FOOT_SITE}{i}").id for i in range(len(feet))]),
        foot_radius=float(np.mean([g.size[0] for g in feet])),
        contact_names=names,
        feet_in_bodies=inside,
        torque_limits=np.array([match_joint(asset.torque_limits, n, "asset.torque_limits") for n in joint_names]),
        velocity_limits=np.array([match_joint(asset.velocity_limits, n, "asset.velocity_limits") for n in joint_names]),
        default_pos=np.array([cfg.init_state.default_joint_angles[n] for n in joint_names]),
        legs=_legs(model, model.body(asset.base_name).id, [_chain(geom.parent, order) for geom in feet], order),
        contact_joints=places,
        nominal={
            "friction": _bounds(model.geom_friction[[model.geom(geom.name).id for geom in feet], 0]),
            **joint_values(model, ids),
        },
        near_ground=near_ground,
    )


def _legs(model: mujoco.MjModel, base: int, chains: list[list[str]], order: dict[str, int]) -> list[Leg]:
    """The legs with joints `chains`, measured with all joints at zero."""
    data = mujoco.MjData(model)
    data.qpos[:7] = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    data.qpos[7:] = 0.0
    mujoco.mj_kinematics(model, data)
    turn = data.xmat[base].reshape(3, 3).T
    as_vector = lambda values: (float(values[0]), float(values[1]), float(values[2]))  # noqa: E731
    legs = []
    for chain in chains:
        ids = [model.joint(name).id for name in chain]
        axes = tuple(as_vector(turn @ data.xaxis[joint]) for joint in ids)
        hip = as_vector(turn @ (data.xanchor[ids[0]] - data.xpos[base]))
        legs.append(Leg(tuple(order[name] for name in chain), axes, hip))
    return legs


def joint_values(model: mujoco.MjModel, joints: list[int]) -> dict[str, tuple[float, float]]:
    """Smallest and largest values of joints (by id) in a compiled model: name as in `base.NOMINAL` -> bounds."""
    dofs = model.jnt_dofadr[joints]
    values = {
        "armature": model.dof_armature[dofs],
        "joint_friction": model.dof_frictionloss[dofs],
        "joint_damping": model.dof_damping[dofs],
        "joint_stiffness": model.jnt_stiffness[joints],
    }
    return {name: _bounds(found) for name, found in values.items()}


def _bounds(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())
