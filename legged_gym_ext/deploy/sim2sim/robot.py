"""One robot in plain MuJoCo, built from the contract of an exported policy; no torch, no batches.

Motors, rates and reading instants are those of the training's engine (simulators/mujoco/cpu.py): same motor model in
every physics step, same state read after a control step. Masses, friction, contacts and solver are those of the model
file.

    robot = PlainRobot(policy.contract)
    robot.reset()
    while True:
        robot.step(controller.step(robot.read(), command))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.controller import Reading
from legged_gym_ext.deploy.sim2sim.simulated import Start
from legged_gym_ext.simulators.mujoco.faults import FAULTS, keep_quiet
from legged_gym_ext.simulators.mujoco.ground import GROUND, add_map
from legged_gym_ext.simulators.mujoco.model import (
    SOLVERS,
    add_motor,
    contact_sensor,
    joint_values,
    load_robot,
    set_delay,
)
from legged_gym_ext.terrain.map import TerrainMap
from legged_gym_ext.utils.errors import UserError, did_you_mean

EVERYTHING = 0x7FFFFFFF  # contact type of the ground: it touches whatever collides at all
CLEARANCE = 0.02  # m, feet above the ground at the start, as in the tasks
AT_LIMIT = 0.99  # share of the torque limit from which a motor counts as at it


@dataclass(frozen=True)
class Physics:
    """What is tried differently from contract and model file; the defaults change nothing.

    Attributes:
        dt: physics step [s]; None: that of the training.
        delay: s between a target and the motors acting on it, whole physics steps.
        friction: sliding friction of all of the robot's geoms; None: the model's.
        added_mass: kg added to the base.
        kp_scale: factor on the position gains.
        kd_scale: factor on the damping gains.
        solver: "pgs", "newton" or "cg"; None: the model's.
        iterations: of the solver; None: the model's.
        joint_damping: of the policy's joints [N m s/rad]; None: the model's.
    """

    dt: float | None = None
    delay: float = 0.0
    friction: float | None = None
    added_mass: float = 0.0
    kp_scale: float = 1.0
    kd_scale: float = 1.0
    solver: str | None = None
    iterations: int | None = None
    joint_damping: float | None = None


class PlainRobot:
    """A robot that holds joint targets with the contract's motors.

    Attributes:
        contract: of the policy that will move it; all joint quantities are in its joint order.
        dt: physics step [s].
        control_steps: physics steps per control step.
        model, data: MuJoCo's, for views; what follows from a state (contacts, torques) is one physics step older than
            the state.
        file: that it was read from.
        mass: of the robot [kg].
        joint_values: smallest and largest of the file's joint damping, friction, stiffness and armature, see
            `base.NOMINAL`.
        file_iterations: of the solver; None: `Physics` says how many.
        base_id: body that floats.
        origin: (3,) ground under the start [m].
        free_joints: names of joints of the robot that the policy does not know and nothing moves.
    """

    def __init__(
        self,
        contract: Contract,
        model: Path | str | None = None,
        *,
        physics: Physics | None = None,
        ground: TerrainMap | str | None = None,
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        joint_map: Mapping[str, str] | None = None,
        add_visuals: Callable[[mujoco.MjSpec, str], None] | None = None,
    ) -> None:
        """Build the model.

        Args:
            contract: names, gains, limits, motors, rates.
            model: MJCF file; None: the package's own file for `contract.robot`.
            physics: what to change.
            ground: None: a plane at height zero; a map of tiles; or "model": whatever the file's world has.
            origin: where the robot starts [m].
            joint_map: joint of the policy -> joint of the model, for those that differ.
            add_visuals: called with the specification and the base's name before it is compiled, to add what only
                pictures need.

        Raises:
            UserError: the file is missing, unreadable, has other joints or no free base, or a value is invalid.
        """
        keep_quiet()
        self.contract, self.origin = contract, np.array(origin, dtype=float)
        physics = physics or Physics()
        self.file = file = _model_file(contract, model)
        spec = load_robot(str(file), keep_ground=ground == "model")
        self._names = _joint_names(spec, contract, joint_map or {}, file)
        joints = [spec.joint(name) for name in self._names]
        if physics.joint_damping is not None:
            for joint in joints:
                joint.damping = [physics.joint_damping, 0.0, 0.0]  # linear; the rest would be of higher order
        base = _floating_base(joints, file)
        self.free_joints = _others(spec, base, self._names)
        self.dt, self.control_steps = _rates(contract, physics)
        self.file_iterations = int(spec.option.iterations) if physics.iterations is None else None
        _set_options(spec, physics, self.dt)
        _add_ground(spec, ground, file)
        if physics.friction is not None:
            _set_friction(spec, physics.friction)
        self._add_motors(spec, joints, physics)
        contact_sensor(spec, 0, mujoco.mjtObj.mjOBJ_BODY, base.name)
        if add_visuals is not None:
            add_visuals(spec, base.name)
        try:
            self.model = spec.compile()
        except ValueError as error:
            raise UserError(f"robot model {file} does not compile: {' '.join(str(error).split())}") from error
        self.data = mujoco.MjData(self.model)
        self._index(base.name)
        if physics.added_mass:
            self._add_mass(physics.added_mass)
        self.mass = float(self.model.body_subtreemass[self.base_id])
        self._saturated = 0.0
        self.reset()

    def _add_motors(self, spec: mujoco.MjSpec, joints: list[mujoco.MjsJoint], physics: Physics) -> None:
        contract = self.contract
        columns = zip(joints, contract.stiffness, contract.damping, contract.torque_limits, contract.velocity_limits)
        for joint, kp, kd, torque, speed in columns:
            kp, kd = kp * physics.kp_scale, kd * physics.kd_scale
            motor = add_motor(spec, joint, contract.motor, kp=kp, kd=kd, torque=torque, speed=speed)
            if physics.delay > 0.0:
                set_delay(motor, physics.delay, self.dt)

    def _index(self, base: str) -> None:
        model = self.model
        ids = [model.joint(name).id for name in self._names]
        self._qpos, self._dofs = model.jnt_qposadr[ids].copy(), model.jnt_dofadr[ids].copy()
        self.base_id = model.body(base).id
        root = model.body_jntadr[self.base_id]
        self._root_qpos, self._root_dof = int(model.jnt_qposadr[root]), int(model.jnt_dofadr[root])
        self.joint_values = joint_values(model, ids)
        self._limits = np.asarray(self.contract.torque_limits)
        self._default = np.asarray(self.contract.default_joint_pos)

    def _add_mass(self, kilograms: float) -> None:
        """The base gets heavier, its inertia stays, as in the tasks' randomisation."""
        if self.model.body_mass[self.base_id] + kilograms <= 0.0:
            raise UserError(f"added mass {kilograms} kg: the base has {self.model.body_mass[self.base_id]:.3f} kg")
        self.model.body_mass[self.base_id] += kilograms
        mujoco.mj_setConst(self.model, self.data)

    # -- acting and sensing -----------------------------------------------------------------------------------------

    def reset(self, start: Start | None = None) -> None:
        """Put the robot to its origin, feet on or just above the ground, motors holding the default pose."""
        start, data = start or Start(), self.data
        mujoco.mj_resetData(self.model, data)
        pose = self._default if start.joint_pos is None else np.asarray(start.joint_pos)
        root, dof = self._root_qpos, self._root_dof
        data.qpos[root : root + 3] = self.origin + np.array([0.0, 0.0, self.contract.standing_height + CLEARANCE])
        data.qpos[root + 3 : root + 7] = np.cos(start.yaw / 2), 0.0, 0.0, np.sin(start.yaw / 2)
        data.qpos[self._qpos] = pose
        data.qvel[dof : dof + 3], data.qvel[dof + 3 : dof + 6] = start.lin_vel, start.ang_vel
        self.apply(self._default)
        for motor in range(self.model.nu):
            samples = int(self.model.actuator_history[motor, 0])
            if samples > 0:
                mujoco.mj_initCtrlHistory(self.model, data, motor, None, np.full((samples, 1), data.ctrl[motor]))
        self._clear_ground()

    def _clear_ground(self) -> None:
        """Raise the robot until nothing of it is in the ground: longer legs, other feet, steps around."""
        for _ in range(20):
            mujoco.mj_forward(self.model, self.data)
            deepest = min((contact.dist for contact in self.data.contact if self._with_ground(contact)), default=0.0)
            if deepest >= -1e-4:
                return
            self.data.qpos[self._root_qpos + 2] += 1e-5 - deepest

    def _with_ground(self, contact: mujoco.MjContact) -> bool:
        fixed = self.model.body_weldid[self.model.geom_bodyid[contact.geom]] == 0
        return bool(fixed.any())

    def read(self) -> Reading:
        """The sensors' present readings."""
        qpos, qvel, root, dof = self.data.qpos, self.data.qvel, self._root_qpos, self._root_dof
        return Reading(
            quat=qpos[root + 3 : root + 7].copy(),
            ang_vel=qvel[dof + 3 : dof + 6].copy(),
            dof_pos=qpos[self._qpos],
            dof_vel=qvel[self._dofs],
        )

    def apply(self, targets: np.ndarray) -> None:
        """Give the motors joint targets (J,) [rad]; with a delay they act on them later."""
        self.data.ctrl[:] = targets

    def step(self, targets: np.ndarray | None = None, physics_steps: int | None = None) -> None:
        """Move on by a control step, or by `physics_steps`; `targets` are applied first."""
        if targets is not None:
            self.apply(targets)
        count, saturated = physics_steps or self.control_steps, 0.0
        for _ in range(count):
            mujoco.mj_step(self.model, self.data)
            saturated += float(np.mean(np.abs(self.torques) >= AT_LIMIT * self._limits))
        self._saturated = saturated / count

    def push(self, velocity: tuple[float, float]) -> None:
        """Replace the horizontal velocity of the base [m/s], world frame: how the tasks push."""
        self.data.qvel[self._root_dof : self._root_dof + 2] = velocity
        mujoco.mj_forward(self.model, self.data)

    # -- what only a simulation knows -------------------------------------------------------------------------------

    @property
    def position(self) -> np.ndarray:
        """(3,) m, origin of the base."""
        return self.data.qpos[self._root_qpos : self._root_qpos + 3].copy()

    @property
    def lin_vel(self) -> np.ndarray:
        """(3,) m/s of the base, in the base frame."""
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, self.data.qpos[self._root_qpos + 3 : self._root_qpos + 7])
        return rotation.reshape(3, 3).T @ self.data.qvel[self._root_dof : self._root_dof + 3]

    @property
    def torques(self) -> np.ndarray:
        """(J,) N m of the motors, in the last physics step."""
        return self.data.qfrc_actuator[self._dofs]

    @property
    def saturation(self) -> float:
        """Share of motors times physics steps of the last `step` with at least 99 % of the torque limit."""
        return self._saturated

    @property
    def base_force(self) -> float:
        """N, size of the net contact force on the base body."""
        return float(np.linalg.norm(self.data.sensordata[:3]))

    @property
    def faulty(self) -> bool:
        """Whether the physics became non-finite since the last reset."""
        return any(self.data.warning[kind].number for kind in FAULTS) or not np.isfinite(self.data.qpos).all()


def _model_file(contract: Contract, model: Path | str | None) -> Path:
    if model is not None:
        path = Path(os.path.expanduser(model))
        if not path.is_file():
            raise UserError(f"robot model not found: {path}; --model takes an MJCF file")
        return path
    path = PACKAGE_DIR / "resources" / "robots" / contract.robot / f"{contract.robot}.xml"
    if not path.is_file():
        raise UserError(f"there is no model of the robot '{contract.robot}' here ({path}); give one with --model")
    return path


def _joint_names(spec: mujoco.MjSpec, contract: Contract, joint_map: Mapping[str, str], file: Path) -> list[str]:
    """The model's names of the contract's joints."""
    unknown = [name for name in joint_map if name not in contract.joint_names]
    if unknown:
        near = did_you_mean(unknown[0], contract.joint_names)
        raise UserError(f"joint map: the policy has no joint '{unknown[0]}'{near}")
    hinges = [joint.name for joint in spec.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
    names = [joint_map.get(name, name) for name in contract.joint_names]
    missing = [name for name in names if name not in hinges]
    if missing:
        others = [name for name in hinges if name not in names]
        raise UserError(
            f"{file} is another robot than the policy's, or names its joints differently: it lacks "
            f"{', '.join(missing)}; "
            f"its other hinges are {', '.join(others) or 'none'}; map names with --joint_map POLICY=MODEL"
        )
    if len(set(names)) < len(names):
        raise UserError("joint map: two joints of the policy are mapped to one of the model")
    return names


def _floating_base(joints: list[mujoco.MjsJoint], file: Path) -> mujoco.MjsBody:
    """The body that carries all `joints` and floats."""
    roots = []
    for joint in joints:
        body = joint.parent
        while body.parent.name != "world":
            body = body.parent
        roots.append(body)
    base = roots[0]
    first = base.joints[0] if base.joints else None
    if first is None or first.type != mujoco.mjtJoint.mjJNT_FREE or any(root != base for root in roots):
        raise UserError(
            f"{file}: the policy's joints must belong to one body with a free joint, but '{base.name}' has none; add "
            "<freejoint/> to it"
        )
    base.name = base.name or "base"
    return base


def _others(spec: mujoco.MjSpec, base: mujoco.MjsBody, names: list[str]) -> list[str]:
    own = {joint.name for body in [base, *base.find_all("body")] for joint in body.joints}
    return [j.name for j in spec.joints if j.name in own - set(names) and j.type != mujoco.mjtJoint.mjJNT_FREE]


def _rates(contract: Contract, physics: Physics) -> tuple[float, int]:
    """Physics step [s] and how many make a control step."""
    dt = contract.physics_dt if physics.dt is None else physics.dt
    steps = round(contract.control_dt / dt) if dt > 0.0 else 0
    if steps < 1 or abs(steps * dt - contract.control_dt) > 1e-9:
        raise UserError(f"physics step {dt} s: expected a whole part of the control step, {contract.control_dt} s")
    if physics.delay < 0.0 or abs(round(physics.delay / dt) * dt - physics.delay) > 1e-9:
        raise UserError(f"delay {1e3 * physics.delay:g} ms: expected whole physics steps of {1e3 * dt:g} ms")
    return dt, steps


def _set_options(spec: mujoco.MjSpec, physics: Physics, dt: float) -> None:
    """Step and integrator are the training's, because motor damping is stiff at 5 ms; the rest is the model's."""
    spec.option.timestep = dt
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    if physics.solver is not None:
        if physics.solver not in SOLVERS:
            raise UserError(f"unknown solver '{physics.solver}'; known: {', '.join(SOLVERS)}")
        spec.option.solver = SOLVERS[physics.solver]
    if physics.iterations is not None:
        spec.option.iterations = physics.iterations
    spec.visual.global_.bvactive = 0


def _add_ground(spec: mujoco.MjSpec, ground: TerrainMap | str | None, file: Path) -> None:
    """Add a plane or a map that every colliding geom touches, or check that the file has ground of its own."""
    if ground == "model":
        if not any(geom.contype or geom.conaffinity for geom in spec.worldbody.geoms):
            raise UserError(f"{file} has no ground of its own; leave out --terrain model")
        return
    if isinstance(ground, TerrainMap):
        add_map(spec, ground)
    else:
        spec.worldbody.add_geom(name=GROUND, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], condim=3)
    for geom in spec.worldbody.geoms:
        # Below every other priority, so that friction and softness of a contact are the robot's, as in the tasks. What
        # defaults of the file say was not meant for this ground.
        geom.contype, geom.conaffinity, geom.priority = EVERYTHING, EVERYTHING, -1
        geom.group, geom.margin, geom.gap = 0, 0.0, 0.0


def _set_friction(spec: mujoco.MjSpec, friction: float) -> None:
    if friction < 0.0:
        raise UserError(f"friction {friction}: expected at least 0")
    for geom in spec.geoms:
        if geom.parent.name != "world" and (geom.contype or geom.conaffinity):
            geom.friction[0], geom.priority = friction, 100
