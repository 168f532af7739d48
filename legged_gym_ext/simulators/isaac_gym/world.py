# pyright: reportMissingModuleSource=none
"""Isaac Gym's simulation with ground and robots: what is made before the first step, and properties of robots.

Written against the Preview 4 API and a recording double (tests/isaac_double.py), never run on the real one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from isaacgym import gymapi

from legged_gym_ext.simulators.isaac_gym.assets import Robot
from legged_gym_ext.simulators.isaac_gym.ground import ground_mesh
from legged_gym_ext.utils.cpus import usable_cpus
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

GROUND_FRICTION = 0.0
"""PhysX takes the mean of two bodies' coefficients.

With 0 for the ground, a shape with twice the wanted coefficient decides alone, as in MuJoCo.
"""

FRICTION = 0.8
"""Of the robot's shapes until it is set, the nominal value of domain randomisation."""

FRICTION_STEP = 0.01
"""To which coefficients are rounded.

Each other one is another PhysX material, of which there can be 65536, and a robot has dozens of shapes.
"""

UNLIMITED_EFFORT, UNLIMITED_SPEED = 1000.0, 100.0
"""N m and rad/s (PhysX's own default) for the joints, whose limits are those of our motors."""


def sim_params(cfg: LeggedRobotCfg, device: torch.device) -> gymapi.SimParams:
    """Parameters of the simulation on `device`; those of PhysX are legged_gym's."""
    params, gpu = gymapi.SimParams(), device.type == "cuda"
    params.dt, params.substeps = float(cfg.sim.dt), 1
    params.up_axis, params.gravity = gymapi.UP_AXIS_Z, gymapi.Vec3(0.0, 0.0, -9.81)
    params.use_gpu_pipeline = params.physx.use_gpu = gpu
    params.physx.num_threads = cfg.sim.num_threads or usable_cpus()
    params.physx.solver_type = 1  # TGS
    params.physx.num_position_iterations, params.physx.num_velocity_iterations = 4, 0
    params.physx.contact_offset, params.physx.rest_offset = 0.01, 0.0  # m
    params.physx.bounce_threshold_velocity, params.physx.max_depenetration_velocity = 0.5, 1.0  # m/s
    params.physx.max_gpu_contact_pairs, params.physx.default_buffer_size_multiplier = 2**23, 5.0
    params.physx.contact_collection = gymapi.CC_ALL_SUBSTEPS
    return params


def asset_options() -> gymapi.AssetOptions:
    """How the URDF is read."""
    options = gymapi.AssetOptions()
    options.default_dof_drive_mode = int(gymapi.DOF_MODE_EFFORT)
    options.fix_base_link, options.disable_gravity = False, False
    # Heads and frames become part of the base; feet stay bodies because of `dont_collapse` in the URDF.
    options.collapse_fixed_joints = True
    options.replace_cylinder_with_capsule = True  # our cylinders are made for it, see the URDF
    options.density = 0.001  # kg/m^3 of links without an inertial
    options.linear_damping, options.angular_damping = 0.0, 0.0
    options.armature, options.use_physx_armature = 0.0, True  # set per joint
    options.max_linear_velocity, options.max_angular_velocity = 1000.0, 1000.0
    options.thickness = 0.01  # m
    return options


class World:
    """Simulation, ground and N robots, one per environment, which never touch each other.

    Attributes:
        dof_names, body_names: of the robot, in Isaac Gym's order (J joints, B bodies).
        dof_limits: (J, 2) rad, in that order.
        mass: kg, of the whole robot.
        base_mass: kg.
        base_com: (3,) m, centre of mass in the base's frame.
    """

    def __init__(
        self, cfg: LeggedRobotCfg, terrain: Terrain, robot: Robot, places: np.ndarray, device: torch.device
    ) -> None:
        """Make everything for robots that start at `places` (N, 3) m in Isaac Gym's world.

        Raises:
            UserError: no simulation on this device, or a robot that Isaac Gym reads otherwise than we do.
        """
        self.gym = gymapi.acquire_gym()
        # No graphics device: nothing is drawn here.
        self.sim = self.gym.create_sim(device.index or 0, -1, gymapi.SIM_PHYSX, sim_params(cfg, device))
        if self.sim is None:
            raise UserError(f"Isaac Gym cannot simulate on '{cfg.sim.device}'; what it printed above says why")
        self._add_ground(terrain)
        self._load(cfg, robot)
        self._envs, self._actors = [], []
        self._populate(cfg, places)
        bodies = self.gym.get_actor_rigid_body_properties(self._envs[0], self._actors[0])
        base, self.mass = bodies[self._base], float(sum(body.mass for body in bodies))
        self.base_mass, self.base_com = base.mass, np.array([base.com.x, base.com.y, base.com.z])

    def _add_ground(self, terrain: Terrain) -> None:
        if terrain.is_flat:
            plane = gymapi.PlaneParams()
            plane.normal, plane.distance = gymapi.Vec3(0.0, 0.0, 1.0), 0.0
            plane.static_friction = plane.dynamic_friction = GROUND_FRICTION
            plane.restitution = 0.0
            self.gym.add_ground(self.sim, plane)
            return
        vertices, triangles = ground_mesh(terrain.map)
        mesh = gymapi.TriangleMeshParams()
        mesh.nb_vertices, mesh.nb_triangles = len(vertices), len(triangles)
        mesh.static_friction = mesh.dynamic_friction = GROUND_FRICTION
        mesh.restitution = 0.0
        # The stubs have numpy's types of 2021.
        flat = vertices.flatten(), triangles.flatten()
        self.gym.add_triangle_mesh(self.sim, *flat, mesh)  # pyright: ignore[reportArgumentType]

    def _load(self, cfg: LeggedRobotCfg, robot: Robot) -> None:
        gym, path = self.gym, robot.path
        self._asset = gym.load_asset(self.sim, str(path.parent), path.name, asset_options())
        if self._asset is None:
            raise UserError(f"robot model {path} cannot be read by Isaac Gym; what it printed above says why")
        self.dof_names = list(gym.get_asset_dof_names(self._asset))
        self.body_names = list(gym.get_asset_rigid_body_names(self._asset))
        if sorted(self.dof_names) != sorted(robot.joint_names):
            raise UserError(f"robot model {path}: expected joints {robot.joint_names}, Isaac Gym has {self.dof_names}")
        lost = [foot for foot in robot.feet if foot not in self.body_names]
        if lost:
            raise UserError(
                f'robot model {path}: Isaac Gym merged {lost} into other links; add dont_collapse="true" to their '
                "joints"
            )
        if cfg.asset.base_name not in self.body_names:
            raise UserError(
                f"asset.base_name '{cfg.asset.base_name}' is no body of {path}; bodies are {self.body_names}"
            )
        self._base = self.body_names.index(cfg.asset.base_name)
        shapes = gym.get_asset_rigid_shape_properties(self._asset)
        for shape in shapes:
            shape.friction = _shape_friction(FRICTION)
        gym.set_asset_rigid_shape_properties(self._asset, shapes)
        self._dof_props = gym.get_asset_dof_properties(self._asset)
        self.dof_limits = np.stack((self._dof_props["lower"], self._dof_props["upper"]), axis=-1)
        self._dof_props["driveMode"] = int(gymapi.DOF_MODE_EFFORT)
        self._dof_props["effort"], self._dof_props["velocity"] = UNLIMITED_EFFORT, UNLIMITED_SPEED
        for field in ("stiffness", "damping", "friction"):  # ours: see motors.py
            self._dof_props[field] = 0.0
        self._dof_props["armature"] = [robot.armature[robot.joint_names.index(name)] for name in self.dof_names]
        self._nominal_armature = self._dof_props["armature"].copy()

    def _populate(self, cfg: LeggedRobotCfg, places: np.ndarray) -> None:
        """One environment without extent or offset per robot: all share the world's axes, as in legged_gym."""
        gym, zero, rot = self.gym, gymapi.Vec3(0.0, 0.0, 0.0), cfg.init_state.rot
        shared_bits = 0 if cfg.asset.self_collisions else 1  # shapes that share a bit do not collide
        for index, place in enumerate(places.tolist()):
            pose = gymapi.Transform()
            pose.p, pose.r = gymapi.Vec3(*place), gymapi.Quat(rot[1], rot[2], rot[3], rot[0])
            env = gym.create_env(self.sim, zero, zero, max(1, math.isqrt(len(places))))
            # Robots in different collision groups never touch.
            actor = gym.create_actor(env, self._asset, pose, cfg.asset.name, index, shared_bits)
            gym.set_actor_dof_properties(env, actor, self._dof_props)
            self._envs.append(env)
            self._actors.append(actor)

    def set_friction(self, ids: np.ndarray, values: np.ndarray) -> None:
        """Set the sliding friction of all shapes of robots `ids` (M,) to `values` (M,)."""
        for index, value in zip(ids.tolist(), values.tolist()):
            env, actor = self._envs[index], self._actors[index]
            shapes = self.gym.get_actor_rigid_shape_properties(env, actor)
            for shape in shapes:
                shape.friction = _shape_friction(value)
            self.gym.set_actor_rigid_shape_properties(env, actor, shapes)

    def set_base(self, ids: np.ndarray, mass: np.ndarray, com: np.ndarray) -> None:
        """Set masses (M,) [kg] and centres of mass (M, 3) [m] of the bases of robots `ids` (M,).

        The inertia about the centre of mass stays that of the URDF, as in MuJoCo; Isaac Gym would recompute all bodies'
        from their shapes.
        """
        for index, kg, place in zip(ids.tolist(), mass.tolist(), com.tolist()):
            env, actor = self._envs[index], self._actors[index]
            bodies = self.gym.get_actor_rigid_body_properties(env, actor)
            bodies[self._base].mass, bodies[self._base].com = kg, gymapi.Vec3(*place)
            self.gym.set_actor_rigid_body_properties(env, actor, bodies, recomputeInertia=False)

    def set_armature(self, ids: np.ndarray, factors: np.ndarray) -> None:
        """Set the rotor inertia of all joints of robots `ids` (M,) to `factors` (M,) times the nominal one."""
        for index, factor in zip(ids.tolist(), factors.tolist()):
            self._dof_props["armature"] = factor * self._nominal_armature
            self.gym.set_actor_dof_properties(self._envs[index], self._actors[index], self._dof_props)


def _shape_friction(value: float) -> float:
    """Coefficient of a robot's shape that gives `value` on our ground."""
    return 2.0 * FRICTION_STEP * round(value / FRICTION_STEP) - GROUND_FRICTION
