# pyright: reportMissingModuleSource=none
"""Isaac Gym (NVIDIA, Preview 4) behind the `Simulator` protocol, on a GPU or on CPU cores.

Written against the Preview 4 API and a recording double (tests/isaac_double.py), never run on the real one.

Isaac Gym's world differs from ours in these ways, and all of them end in this file: quaternions are x y z w; joints
come in an order of its own; angular velocity is in world axes; linear velocity is that of the base's centre of mass and
not of its origin; state is read from tensors that are current only after a refresh, and written once per simulated
step, so that writes are collected until the next one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from isaacgym import gymtorch  # pyright: ignore[reportAttributeAccessIssue] (not in the stubs)

from legged_gym_ext.simulators.base import PARAMETERS, RobotState, Simulator, check_added_mass
from legged_gym_ext.simulators.isaac_gym.assets import Robot, quat_rotate, read_robot
from legged_gym_ext.simulators.isaac_gym.motors import Motors
from legged_gym_ext.simulators.isaac_gym.world import FRICTION, World
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.math import quat_rotate_inverse

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

SPACING = 3.0
"""m between robots on a plane.

They could all stand on one spot, but PhysX would sort out all pairs of overlapping shapes in every step.
"""

POS, QUAT, LIN_VEL, ANG_VEL = slice(0, 3), slice(3, 7), slice(7, 10), slice(10, 13)
"""Columns of Isaac Gym's root states."""


class IsaacGymSimulator(Simulator):
    """See the module; the protocol is `Simulator`."""

    def __init__(self, cfg: LeggedRobotCfg, terrain: Terrain, num_envs: int) -> None:
        """Build the world of `cfg` on `terrain` with `num_envs` robots in their default pose."""
        self.device = torch.device(cfg.sim.device)
        if self.device.type not in ("cpu", "cuda"):
            raise UserError(f"the isaac_gym engine steps on cpu or cuda, not on '{cfg.sim.device}'")
        self._gpu = self.device.type == "cuda"
        self.num_envs, self.dt = num_envs, float(cfg.sim.dt)
        self.description = f"Isaac Gym (PhysX), {self.device}"
        robot = read_robot(cfg)
        self._feet = robot.kinematics.to(self.device)
        self._motors = Motors(cfg, robot, num_envs, self.device)
        self._offsets = self._spread() if terrain.is_flat else torch.zeros(num_envs, 3, device=self.device)
        places = terrain.origins + torch.tensor(cfg.init_state.pos, device=self.device)
        self._world = World(cfg, terrain, robot, (places + self._offsets).cpu().numpy(), self.device)
        self._gym, self._sim = self._world.gym, self._world.sim
        self._set_names(cfg, robot)
        self._set_parameters()
        self._allocate()
        self._place(cfg, places)

    def _spread(self) -> torch.Tensor:
        """(N, 3) m from where a robot is in the protocol to where it is in Isaac Gym: a square grid."""
        side = math.isqrt(self.num_envs - 1) + 1
        robots = torch.arange(self.num_envs, device=self.device)
        rows = torch.div(robots, side, rounding_mode="floor")
        return SPACING * torch.stack((rows, robots % side, torch.zeros_like(robots)), dim=-1).float()

    def _set_names(self, cfg: LeggedRobotCfg, robot: Robot) -> None:
        """Names, limits and the maps from Isaac Gym's orders to ours."""
        world, motors = self._world, self._motors

        def index(names: Sequence[str], of: Sequence[str]) -> torch.Tensor:
            return torch.tensor([of.index(n) for n in names], dtype=torch.long, device=self.device)

        self.joint_names = robot.joint_names
        self._dofs = index(robot.joint_names, world.dof_names)  # (J,) columns of Isaac Gym's tensors
        limits = torch.as_tensor(world.dof_limits, dtype=torch.float32, device=self.device)
        self.dof_pos_limits = limits[self._dofs]
        self.torque_limits, self.default_dof_pos = motors.torque_limits, motors.default_pos
        self.contact_names = _contact_bodies(robot, world.body_names, cfg.asset) + robot.feet
        self._contacts = index(self.contact_names, world.body_names)  # (K,)
        self.contact_joints = [robot.places[name] for name in self.contact_names]
        self.legs, self.mass, self.base_mass = robot.legs, world.mass, world.base_mass
        self.nominal = {
            "friction": (FRICTION, FRICTION),  # URDF has no word for it
            "armature": (min(robot.armature), max(robot.armature)),
            "joint_friction": (min(robot.friction), max(robot.friction)),
            "joint_damping": (min(robot.damping), max(robot.damping)),
            "joint_stiffness": (0.0, 0.0),
        }
        self.foot_radius = robot.foot_radius
        upright = torch.tensor([[1.0, 0.0, 0.0, 0.0]], device=self.device)
        feet = self._feet.positions(torch.zeros(1, 3, device=self.device), upright, self.default_dof_pos[None])
        self.standing_height = float(robot.foot_radius - feet[..., 2].mean())

    def _set_parameters(self) -> None:
        """What belongs to bodies and joints: as it is wanted, and as it was last given to Isaac Gym."""
        count = self.num_envs
        self._wanted = {"mass": np.zeros(count), "com": np.zeros((count, 3)), "armature": np.ones(count)}
        self._given = {name: value.copy() for name, value in self._wanted.items()}
        self._com = torch.as_tensor(self._world.base_com, dtype=torch.float32, device=self.device).repeat(count, 1)

    def _allocate(self) -> None:
        """States in Isaac Gym's form; before the first step they are ours, afterwards Isaac Gym's own tensors."""
        count, joints = self.num_envs, len(self.joint_names)
        zeros = lambda *shape: torch.zeros(*shape, device=self.device)  # noqa: E731
        self._root, self._dof = zeros(count, 13), zeros(count, joints, 2)
        self._net_forces = zeros(count, len(self._world.body_names), 3)
        self._forces = zeros(count, joints)  # N m, in Isaac Gym's order of joints
        self.torques, self.contact_forces = zeros(count, joints), zeros(count, len(self.contact_names), 3)
        # Robots whose states were written and not yet handed over.
        self._new_roots, self._new_dofs = (torch.zeros(count, dtype=torch.bool, device=self.device) for _ in range(2))
        self._handed_over: list[torch.Tensor] = []
        self._prepared = False

    def _place(self, cfg: LeggedRobotCfg, places: torch.Tensor) -> None:
        """Put all robots at rest at `places` (N, 3)."""
        joints = self.default_dof_pos.repeat(self.num_envs, 1)
        state = RobotState(
            root_pos=places,
            root_quat=torch.tensor(cfg.init_state.rot, device=self.device).repeat(self.num_envs, 1),
            root_lin_vel=torch.zeros_like(places),
            root_ang_vel=torch.zeros_like(places),
            dof_pos=joints,
            dof_vel=torch.zeros_like(joints),
        )
        self.reset(torch.arange(self.num_envs, device=self.device), state)

    # -- stepping ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Start Isaac Gym's tensors, with the states that were written so far.

        Not before the first step: until then everything about the robots may still be changed, also centres of mass on
        a GPU.
        """
        # These tensors live longer than a rollout's inference mode and are written in place also outside of it.
        with torch.inference_mode(False):
            gym, sim, count = self._gym, self._sim, self.num_envs
            if not gym.prepare_sim(sim):
                raise RuntimeError("Isaac Gym: prepare_sim failed; what it printed above says why")
            root, dof = gym.acquire_actor_root_state_tensor(sim), gym.acquire_dof_state_tensor(sim)
            forces = gym.acquire_net_contact_force_tensor(sim)
            written = self._root, self._dof
            self._native_root, self._native_dof = gymtorch.wrap_tensor(root), gymtorch.wrap_tensor(dof)
            self._root = self._native_root.view(count, 13)
            self._dof = self._native_dof.view(count, len(self.joint_names), 2)
            self._net_forces = gymtorch.wrap_tensor(forces).view(count, len(self._world.body_names), 3)
            for tensor, values in zip((self._root, self._dof), written):
                tensor.copy_(values)
        self._prepared = True

    def _hand_over(self) -> None:
        """Give Isaac Gym the written states, one call per kind: of several calls between two steps the last counts."""
        calls = (
            (self._new_roots, self._native_root, self._gym.set_actor_root_state_tensor_indexed),
            (self._new_dofs, self._native_dof, self._gym.set_dof_state_tensor_indexed),
        )
        self._handed_over.clear()
        for flags, states, call in calls:
            ids = flags.nonzero().flatten().to(torch.int32)  # one actor per environment: their numbers are the same
            if not len(ids):
                continue
            self._handed_over.append(ids)  # Isaac Gym keeps no reference, and reads it when it simulates
            if not call(self._sim, gymtorch.unwrap_tensor(states), gymtorch.unwrap_tensor(ids), len(ids)):
                raise RuntimeError(f"Isaac Gym: {call.__name__} failed; what it printed above says why")
            flags.zero_()

    def step(self, targets: torch.Tensor, num_steps: int) -> None:
        """See `Simulator.step`; motors are evaluated in every physics step."""
        if not self._prepared:
            self._prepare()
        gym, sim = self._gym, self._sim
        self._hand_over()
        for _ in range(num_steps):
            self.torques = self._motors.torques(targets, self.dof_pos, self.dof_vel)
            self._forces[:, self._dofs] = self.torques + self._motors.joint_forces(self.dof_pos, self.dof_vel)
            gym.set_dof_actuation_force_tensor(sim, gymtorch.unwrap_tensor(self._forces))
            gym.simulate(sim)
            if not self._gpu:
                gym.fetch_results(sim, True)
            gym.refresh_dof_state_tensor(sim)
            self._read_joints()
        gym.refresh_actor_root_state_tensor(sim)
        gym.refresh_net_contact_force_tensor(sim)
        self.contact_forces = self._net_forces[:, self._contacts]
        self._read_base()

    def _read_joints(self) -> None:
        self.dof_pos, self.dof_vel = self._dof[:, self._dofs].unbind(-1)

    def _read_base(self) -> None:
        """Pose and velocities of the bases, and what follows from them and the joints."""
        root = self._root
        self.root_pos = root[:, POS] - self._offsets
        self.root_quat = root[:, QUAT].roll(1, dims=-1)
        self.root_lin_vel = root[:, LIN_VEL] - self._com_motion()
        self.root_ang_vel = quat_rotate_inverse(self.root_quat, root[:, ANG_VEL])
        self.foot_pos = self._feet.positions(self.root_pos, self.root_quat, self.dof_pos)

    def _com_motion(self) -> torch.Tensor:
        """(N, 3) m/s, world: velocity of the base's centre of mass relative to its origin."""
        arm = quat_rotate(self._root[:, QUAT].roll(1, dims=-1), self._com)
        return torch.cross(self._root[:, ANG_VEL], arm, dim=-1)

    # -- states --------------------------------------------------------------------------------------------------

    def reset(self, env_ids: torch.Tensor, state: RobotState) -> None:
        """See `Simulator.reset`; Isaac Gym hears of it at the next step, and no contact is known until then."""
        root = self._root
        root[env_ids, POS] = state.root_pos + self._offsets[env_ids]
        root[env_ids, QUAT] = state.root_quat.roll(-1, dims=-1)
        root[env_ids, ANG_VEL] = quat_rotate(state.root_quat, state.root_ang_vel)
        root[env_ids, LIN_VEL] = state.root_lin_vel + self._com_motion()[env_ids]
        self._dof[env_ids[:, None], self._dofs] = torch.stack((state.dof_pos, state.dof_vel), dim=-1)
        self._new_roots[env_ids] = self._new_dofs[env_ids] = True
        self._motors.hold(env_ids)
        self.torques, self.contact_forces = self.torques.clone(), self.contact_forces.clone()
        self.torques[env_ids] = self.contact_forces[env_ids] = 0.0
        self._read_joints()
        self._read_base()

    def set_root_lin_vel(self, velocity: torch.Tensor) -> None:
        """See `Simulator`."""
        self._root[:, LIN_VEL] = velocity + self._com_motion()
        self._new_roots[:] = True
        self._read_base()

    def faults(self) -> torch.Tensor:
        """See `Simulator.faults`: states that are not finite."""
        return ~torch.isfinite(self._root.sum(-1) + self._dof.sum((-1, -2)))

    def state_dict(self) -> dict[str, Any]:
        """Copies of the states, of the targets on their way and of the last forces.

        A run continues from them, but not bit for bit: PhysX keeps contacts and impulses of its last step to itself.
        """
        return {
            "root": self._root.clone(),
            "dof": self._dof.clone(),
            "waiting": self._motors.waiting.clone(),
            "torques": self.torques.clone(),
            "contact_forces": self.contact_forces.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator`; Isaac Gym hears of it at the next step."""
        self._root.copy_(state["root"])
        self._dof.copy_(state["dof"])
        self._motors.waiting.copy_(state["waiting"])
        self.torques, self.contact_forces = (state[n].to(self.device).clone() for n in ("torques", "contact_forces"))
        self._new_roots[:] = self._new_dofs[:] = True
        self._read_joints()
        self._read_base()

    # -- parameters ----------------------------------------------------------------------------------------------

    def set_parameter(self, name: str, values: torch.Tensor, env_ids: torch.Tensor | None = None) -> None:
        """See `Simulator.set_parameter`; shapes are in `PARAMETERS`."""
        if name not in PARAMETERS:
            raise ValueError(f"unknown physics parameter '{name}'; known: {', '.join(PARAMETERS)}")
        ids = torch.arange(self.num_envs, device=self.device) if env_ids is None else env_ids
        getattr(self, f"_set_{name}")(ids, values)

    def _set_friction(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._world.set_friction(ids.cpu().numpy(), values.cpu().numpy())

    def _want(self, name: str, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._wanted[name][ids.cpu().numpy()] = values.cpu().numpy()

    def _set_added_mass(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        check_added_mass(self.base_mass, min(values.tolist(), default=0.0))
        self._want("mass", ids, values)

    def _set_com_shift(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._want("com", ids, values)

    def _set_armature_scale(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._want("armature", ids, values)

    def _set_kp(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.kp[ids] = values

    def _set_kd(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.kd[ids] = values

    def _set_joint_friction_scale(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.scale_friction(ids, values)

    def _set_joint_damping(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.damping[ids] = values[:, None]

    def _set_joint_stiffness(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.stiffness[ids] = values[:, None]

    def _set_delay(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._motors.set_delay(ids, values)

    def commit(self) -> None:
        """Give Isaac Gym the masses, centres of mass and armatures that changed.

        Raises:
            UserError: a centre of mass on a GPU after the first step, which Isaac Gym cannot move.
        """
        wanted, given = self._wanted, self._given
        shifted = (wanted["com"] != given["com"]).any(axis=1)
        if shifted.any() and self._prepared and self._gpu:
            raise UserError("Isaac Gym cannot move centres of mass on a GPU after the first step: set them before it")
        ids = np.flatnonzero(shifted | (wanted["mass"] != given["mass"]))
        com = self._world.base_com + wanted["com"]
        self._world.set_base(ids, self._world.base_mass + wanted["mass"][ids], com[ids])
        ids = np.flatnonzero(wanted["armature"] != given["armature"])
        self._world.set_armature(ids, wanted["armature"][ids])
        self._given = {name: value.copy() for name, value in wanted.items()}
        # The velocity of the origin stays what it was, so that of the centre of mass changes.
        velocity = self.root_lin_vel.clone()
        self._com.copy_(torch.as_tensor(com, dtype=torch.float32))
        if shifted.any():
            self.set_root_lin_vel(velocity)


def _contact_bodies(robot: Robot, bodies: list[str], asset: type[LeggedRobotCfg.asset]) -> list[str]:
    """Bodies besides the feet whose contact forces the configuration asks for, in the order of their joints."""
    others = [name for name in bodies if name not in robot.feet]
    wanted = list(asset.terminate_after_contacts_on) + list(asset.penalize_contacts_on)
    for part in wanted:
        if not any(part in name for name in others):
            raise UserError(f"asset: no body is named like '{part}'; bodies are {others}")
    chosen = [name for name in others if any(part in name for part in wanted)]
    return sorted(chosen, key=lambda name: robot.places[name])
