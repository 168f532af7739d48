"""MuJoCo Warp: the physics of all robots on one NVIDIA GPU, or, slowly, on its CPU device.

Model, motors, ground and figures are those of the MuJoCo engine. torch and Warp share the memory of states and
parameters; a control step copies nothing to the host and waits for nothing. On a GPU its physics is one CUDA graph.
What follows from a state (contact forces, foot positions) is one physics step older than the state, as in the MuJoCo
engine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import mujoco_warp as mjw
import torch
import warp as wp

from legged_gym_ext.simulators.base import PARAMETERS, RobotState, Simulator, check_added_mass, delay_steps
from legged_gym_ext.simulators.mujoco.figures import (
    has_dc_motors,
    idle_data,
    joint_ids,
    longest_delay,
    set_figures,
)
from legged_gym_ext.simulators.mujoco.model import ModelInfo, build_model
from legged_gym_ext.simulators.mujoco.warp_checks import (
    Capacity,
    announce_compilation,
    check_device,
    check_memory,
    check_options,
    make_data,
    put_model,
    start_warp,
)
from legged_gym_ext.simulators.mujoco.warp_ground import WarpGround

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

OVERFLOW_INTERVAL = 64  # resets, a second or two of a training
LARGEST = 1e10  # in positions and velocities; beyond it MuJoCo, too, takes a state for broken
STATE = ("qpos", "qvel", "time", "ctrl", "history", "qacc_warmstart")
"""Fields of Warp's data that the next step reads."""
PER_WORLD = (
    "geom_friction", "body_mass", "body_ipos", "body_subtreemass", "body_invweight0", "dof_invweight0",
    "actuator_gainprm", "actuator_biasprm", "actuator_delay", "actuator_acc0", "dof_armature", "dof_frictionloss",
    "dof_damping", "jnt_stiffness",
)  # fmt: skip
"""Fields of the model that differ between robots, and those that follow from them."""


class MujocoWarpSimulator(Simulator):
    """See the module; the protocol is `Simulator`."""

    def __init__(self, cfg: LeggedRobotCfg, terrain: Terrain, num_envs: int) -> None:
        """Build the model of `cfg` on `terrain` and `num_envs` worlds of it.

        Raises:
            UserError: a device that is not there, options that MuJoCo Warp does not have, or too little memory.
        """
        options = cfg.sim.mujoco_warp
        check_options(options)
        self.device = check_device(cfg.sim.device)
        self.num_envs, self.dt = num_envs, float(cfg.sim.dt)
        start_warp()
        announce_compilation(self.device)
        self._wp_device = wp.device_from_torch(self.device)
        self.info: ModelInfo = build_model(cfg, terrain, options)
        model = self.info.model
        self._capacity = Capacity(self.info, cfg, terrain)
        batched = [*PER_WORLD, *(WarpGround.FIELDS if self.info.near_ground is not None else ())]
        check_memory(model, self._capacity, num_envs, self.device, batched)
        with wp.ScopedDevice(self._wp_device):
            self._m = put_model(model, batched, num_envs)
            self._m.stat.meaninertia = wp.array([model.stat.meaninertia] * num_envs, dtype=float)
            self._d = make_data(model, self._capacity, num_envs)
        self._m.opt.warn_overflow = 0  # the kernels would print a line per step; see `check_overflow`
        self.description = f"MuJoCo Warp {mjw.__version__}, {_device_name(self.device)}"
        self._graphs: dict[str, Any] = {}
        self._resets = 0
        set_figures(self, self.info)
        self._bind()
        self._ground = None
        if self.info.near_ground is not None:
            with wp.ScopedDevice(self._wp_device):
                self._ground = WarpGround(self.info.near_ground, model, self._m, self._d)
        self._place_idle()

    def _bind(self) -> None:
        """Tensors that share memory with Warp's arrays, and buffers of our own for what follows from the states."""
        info, data, count = self.info, self._d, self.num_envs
        index = lambda values: torch.as_tensor(values, dtype=torch.long, device=self.device)  # noqa: E731
        self._state = {name: wp.to_torch(getattr(data, name)) for name in STATE}
        self._fields = {name: wp.to_torch(getattr(self._m, name)) for name in PER_WORLD}
        self._nominal = {name: self._fields[name][0].clone() for name in PER_WORLD}
        self._sites, self._sensors = wp.to_torch(data.site_xpos), wp.to_torch(data.sensordata)
        self._joint_forces, self._overflow = wp.to_torch(data.qfrc_actuator), wp.to_torch(data.overflow)
        self._qpos_ids, self._dof_ids = index(info.qpos_ids), index(info.dof_ids)
        self._foot_sites, self._robot_geoms = index(info.foot_sites), index(info.robot_geoms)
        self._joints = index(joint_ids(info))
        self._bodies_with_feet = index([body for body, _ in info.feet_in_bodies])
        self._their_feet = index([foot for _, foot in info.feet_in_bodies])
        qpos, qvel = self._state["qpos"], self._state["qvel"]
        self.root_pos, self.root_quat = qpos[:, 0:3], qpos[:, 3:7]
        self.root_lin_vel, self.root_ang_vel = qvel[:, 0:3], qvel[:, 3:6]
        zeros = lambda *shape: torch.zeros(count, *shape, device=self.device)  # noqa: E731
        joints, feet = len(info.joint_names), len(info.foot_sites)
        self.dof_pos, self.dof_vel, self.torques = zeros(joints), zeros(joints), zeros(joints)
        self.foot_pos, self.contact_forces = zeros(feet, 3), zeros(len(info.contact_names), 3)

    def _place_idle(self) -> None:
        """All robots at the origin, at rest in the default pose."""
        idle = idle_data(self.info)
        row = lambda values: torch.as_tensor(values, dtype=torch.float32, device=self.device)  # noqa: E731
        self._idle = {name: row(getattr(idle, name)) for name in STATE if name != "time"}
        self._idle["time"] = torch.zeros((), device=self.device)
        for name, values in self._idle.items():
            self._state[name][:] = values
        self._follow_joints()
        self._run("kinematics", self._place_bodies)
        self.foot_pos.copy_(self._sites[:, self._foot_sites])

    @contextlib.contextmanager
    def _on_device(self) -> Iterator[None]:
        """Launch Warp's kernels on this engine's device, on a GPU in torch's order of work."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(wp.ScopedDevice(self._wp_device))
            if self._wp_device.is_cuda:
                stack.enter_context(wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device))))
            yield

    # -- stepping --------------------------------------------------------------------------------------------------

    def step(self, targets: torch.Tensor, num_steps: int) -> None:
        """See `Simulator.step`."""
        self._state["ctrl"].copy_(targets)
        self._run(f"{num_steps} steps", lambda: self._advance(num_steps))
        self._follow_joints()
        self.torques.copy_(self._joint_forces[:, self._dof_ids])
        self.foot_pos.copy_(self._sites[:, self._foot_sites])
        # A sensor reports what the named part does to the world; here it is what is done to the part, feet apart.
        forces = self.contact_forces
        torch.neg(self._sensors.view(forces.shape), out=forces)
        if len(self._their_feet):
            forces[:, self._bodies_with_feet] -= forces[:, self._their_feet]

    def _advance(self, num_steps: int) -> None:
        if self._ground is not None:
            self._ground.follow(self._d.qpos)
        for _ in range(num_steps):
            mjw.step(self._m, self._d)

    def _place_bodies(self) -> None:
        mjw.kinematics(self._m, self._d)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        """Launch the kernels of `work`; on a GPU as one CUDA graph, recorded at the first call of this name."""
        if not self._wp_device.is_cuda:
            with self._on_device():
                work()
            return
        if name not in self._graphs:
            before = self.state_dict()
            with self._on_device():
                work()  # loads all kernels, which a recording could not
            self.load_state_dict(before)
            torch.cuda.synchronize(self.device)
            with wp.ScopedDevice(self._wp_device), wp.ScopedCapture() as capture:
                work()
            self._graphs[name] = capture.graph
        wp.capture_launch(self._graphs[name], stream=wp.stream_from_torch(torch.cuda.current_stream(self.device)))

    def _follow_joints(self) -> None:
        torch.index_select(self._state["qpos"], 1, self._qpos_ids, out=self.dof_pos)
        torch.index_select(self._state["qvel"], 1, self._dof_ids, out=self.dof_vel)

    # -- states ----------------------------------------------------------------------------------------------------

    def reset(self, env_ids: torch.Tensor, state: RobotState) -> None:
        """See `Simulator.reset`; no contact force and no torque is known until the next step.

        Says once for each kind which buffers overflowed; on a GPU, which waits for the look, in one of
        `OVERFLOW_INTERVAL` resets.
        """
        if len(env_ids) == 0:
            return
        ids = env_ids.to(self.device)
        if not self._wp_device.is_cuda or self._resets % OVERFLOW_INTERVAL == 0:
            self._capacity.report(self._overflow)
        self._resets += 1
        for name, values in self._idle.items():
            self._state[name][ids] = values
        qpos, qvel = self._state["qpos"], self._state["qvel"]
        qpos[ids, 0:3], qpos[ids, 3:7] = state.root_pos, state.root_quat
        qvel[ids, 0:3], qvel[ids, 3:6] = state.root_lin_vel, state.root_ang_vel
        qpos[ids[:, None], self._qpos_ids], qvel[ids[:, None], self._dof_ids] = state.dof_pos, state.dof_vel
        self._run("kinematics", self._place_bodies)
        self.dof_pos[ids], self.dof_vel[ids] = state.dof_pos, state.dof_vel
        self.foot_pos[ids] = self._sites[ids[:, None], self._foot_sites]
        self.torques.index_fill_(0, ids, 0.0)  # an assigned number would be copied to a GPU, which waits for it
        self.contact_forces.index_fill_(0, ids, 0.0)

    def set_root_lin_vel(self, velocity: torch.Tensor) -> None:
        """See `Simulator`."""
        self.root_lin_vel.copy_(velocity)

    def faults(self) -> torch.Tensor:
        """See `Simulator.faults`: states that are not finite, or beyond all measure."""
        largest = torch.maximum(self._state["qpos"].abs().amax(-1), self._state["qvel"].abs().amax(-1))
        return ~(largest < LARGEST)  # also true for what is not a number

    def state_dict(self) -> dict[str, Any]:
        """Copies of what the next step reads and of what followed from the last one."""
        return {name: tensor.clone() for name, tensor in self._saved().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Simulator`."""
        for name, tensor in self._saved().items():
            tensor.copy_(state[name])
        self._follow_joints()

    def _saved(self) -> dict[str, torch.Tensor]:
        own = {"torques": self.torques, "foot_pos": self.foot_pos, "contact_forces": self.contact_forces}
        return {**self._state, **own}

    # -- parameters ------------------------------------------------------------------------------------------------

    def set_parameter(self, name: str, values: torch.Tensor, env_ids: torch.Tensor | None = None) -> None:
        """See `Simulator.set_parameter`; shapes are in `PARAMETERS`."""
        if name not in PARAMETERS:
            raise ValueError(f"unknown physics parameter '{name}'; known: {', '.join(PARAMETERS)}")
        ids = torch.arange(self.num_envs, device=self.device) if env_ids is None else env_ids.to(self.device)
        getattr(self, f"_set_{name}")(ids, values.to(self.device))

    def _set_friction(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._fields["geom_friction"][ids[:, None], self._robot_geoms, 0] = values[:, None]

    def _set_added_mass(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        check_added_mass(self.base_mass, min(values.tolist(), default=0.0))
        base = self.info.base_id
        self._fields["body_mass"][ids, base] = self._nominal["body_mass"][base] + values

    def _set_com_shift(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        base = self.info.base_id
        self._fields["body_ipos"][ids, base] = self._nominal["body_ipos"][base] + values

    def _set_kp(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        if has_dc_motors(self.info.model):
            self._fields["actuator_gainprm"][ids, :, 4] = values
        else:
            self._fields["actuator_gainprm"][ids, :, 0] = values
            self._fields["actuator_biasprm"][ids, :, 1] = -values

    def _set_kd(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        if has_dc_motors(self.info.model):
            self._fields["actuator_gainprm"][ids, :, 6] = values
        else:
            self._fields["actuator_biasprm"][ids, :, 2] = -values

    def _scale_dofs(self, field: str, ids: torch.Tensor, values: torch.Tensor) -> None:
        nominal = self._nominal[field][self._dof_ids]
        self._fields[field][ids[:, None], self._dof_ids] = values[:, None] * nominal

    def _set_armature_scale(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._scale_dofs("dof_armature", ids, values)

    def _set_joint_friction_scale(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._scale_dofs("dof_frictionloss", ids, values)

    def _set_joint_damping(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._fields["dof_damping"][ids[:, None], self._dof_ids] = values[:, None]

    def _set_joint_stiffness(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        self._fields["jnt_stiffness"][ids[:, None], self._joints] = values[:, None]

    def _set_delay(self, ids: torch.Tensor, values: torch.Tensor) -> None:
        steps = delay_steps(values, self.dt, longest_delay(self.info.model))
        # Times of the delay line are float32 and lose a microsecond after eight seconds: between two samples the same
        # one is read for as long as an episode may last.
        seconds = torch.where(steps > 0, (steps - 0.25) * self.dt, 0.0)
        self._fields["actuator_delay"][ids] = seconds[:, None].float()

    def commit(self) -> None:
        """Recompute what follows from masses, inertias and armatures, in every world."""
        with self._on_device():
            mjw.set_const(self._m, self._d)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    return "CPU (slow, for tests; with a GPU: --sim_device=cuda)"
