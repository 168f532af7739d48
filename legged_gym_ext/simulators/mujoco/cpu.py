"""MuJoCo on CPU cores through `mjbatch`: one model, N states, a C++ thread pool.

One call of `Batch.step` runs all physics steps of a control step for all environments. What follows from a state
(contact forces, foot positions) is one physics step older than the state, because another forward pass would cost a
fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import torch
from mjbatch import Batch

from legged_gym_ext.simulators.base import PARAMETERS, RobotState, Simulator, check_added_mass, delay_steps
from legged_gym_ext.simulators.mujoco.faults import FAULTS, keep_quiet
from legged_gym_ext.simulators.mujoco.figures import (
    has_dc_motors,
    idle_data,
    joint_ids,
    longest_delay,
    set_figures,
)
from legged_gym_ext.simulators.mujoco.model import ModelInfo, build_model
from legged_gym_ext.utils.cpus import usable_cpus
from legged_gym_ext.utils.errors import UserError, pluralize

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain


class MujocoSimulator(Simulator):
    """See the module; the protocol is `Simulator`."""

    def __init__(self, cfg: LeggedRobotCfg, terrain: Terrain, num_envs: int) -> None:
        """Build the model of `cfg` on `terrain` and `num_envs` states of it."""
        if torch.device(cfg.sim.device).type != "cpu":
            raise UserError(
                f"the mujoco engine steps on the CPU, not on '{cfg.sim.device}'; use --sim_device=cpu (--rl_device "
                "may be a GPU)"
            )
        self.device = torch.device("cpu")
        self.num_envs, self.dt = num_envs, float(cfg.sim.dt)
        keep_quiet()
        self.info: ModelInfo = build_model(cfg, terrain)
        self.model = self.info.model
        threads = cfg.sim.num_threads or usable_cpus()
        self.batch = Batch(self.model, num_envs, num_threads=min(threads, num_envs))
        self.description = f"MuJoCo {mujoco.__version__}, {pluralize(self.batch.num_threads, 'CPU thread')}"
        self._set_names()
        self._bind()
        self._targets = self.batch.bind("ctrl")  # (N, J) float64, a view of the states
        self._idle = self._idle_state()
        self._awake: np.ndarray | None = None  # (N,) bool; None: all
        self._fault_count = np.zeros(num_envs, dtype=np.int64)
        self._fields: dict[str, np.ndarray] = {}
        self._near_ground = self.info.near_ground
        if self._near_ground is not None:
            self._near_ground.attach(self.model, self.batch)
        self._write_state(self._idle)

    def _set_names(self) -> None:
        info = self.info
        set_figures(self, info)
        self._bodies_with_feet = torch.tensor([body for body, _ in info.feet_in_bodies], dtype=torch.long)
        self._their_feet = torch.tensor([foot for _, foot in info.feet_in_bodies], dtype=torch.long)

    def _bind(self) -> None:
        """Live float32 views of what mjbatch copies out after every call."""
        bind = lambda name: torch.from_numpy(self.batch.bind(name, np.float32))  # noqa: E731
        qpos, qvel, torque = bind("qpos"), bind("qvel"), bind("qfrc_actuator")
        self._sites, self._sensors = bind("site_xpos"), bind("sensordata")
        self._warning = self.batch.bind("warning")  # (N, kinds, [last info, count]) int32
        self._qvel = qvel
        self.root_pos, self.root_quat = qpos[:, 0:3], qpos[:, 3:7]
        self.root_lin_vel, self.root_ang_vel = qvel[:, 0:3], qvel[:, 3:6]
        self._joint_views = (
            _columns(qpos, self.info.qpos_ids),
            _columns(qvel, self.info.dof_ids),
            _columns(torque, self.info.dof_ids),
        )
        self._foot_view = _columns(self._sites, self.info.foot_sites)
        self._refresh()

    def _refresh(self) -> None:
        self.dof_pos, self.dof_vel, self.torques = (view() for view in self._joint_views)
        self.foot_pos = self._foot_view()
        # A sensor reports what the named part does to the world; here it is what is done to the part, feet apart.
        forces = -self._sensors.view(self.num_envs, len(self.contact_names), 3)
        if len(self._their_feet):
            forces[:, self._bodies_with_feet] -= forces[:, self._their_feet]
        self.contact_forces = forces

    def _idle_state(self) -> np.ndarray:
        """(nstate,) state at time zero in the default pose, motors and their delay lines holding that pose."""
        data = idle_data(self.info)
        spec = int(mujoco.mjtState.mjSTATE_INTEGRATION)
        state = np.zeros(mujoco.mj_stateSize(self.model, spec))
        mujoco.mj_getState(self.model, data, state, spec)
        return state

    def step(self, targets: torch.Tensor, num_steps: int) -> None:
        """See `Simulator.step`; the copy widens float32 targets to MuJoCo's float64."""
        np.copyto(self._targets, targets.numpy())
        if self._near_ground is not None:
            self._near_ground.follow(self.root_pos.numpy())
        self.batch.step(self._awake, nstep=num_steps)
        self._refresh()

    def let_sleep(self, asleep: torch.Tensor | None) -> None:
        """See `Simulator.let_sleep`."""
        self._awake = None if asleep is None else (~asleep).numpy()

    def _write_state(self, rows: np.ndarray, ids: np.ndarray | None = None) -> None:
        """Put environments `ids`, or all, into integration states (M, nstate) and compute what follows from them."""
        states = self.batch.bind("state")
        ids_or_all = slice(None) if ids is None else ids
        states[ids_or_all] = rows
        if self._near_ground is not None:
            at_qpos = mujoco.mj_stateSize(self.model, int(mujoco.mjtState.mjSTATE_TIME))
            self._near_ground.follow(states[ids_or_all][:, at_qpos : at_qpos + 2], ids)
        self._forward(ids)

    def _forward(self, ids: np.ndarray | None) -> None:
        self.batch.forward(ids)
        self._refresh()

    def reset(self, env_ids: torch.Tensor, state: RobotState) -> None:
        """Write whole state rows, then one forward pass of these environments to fill what follows from them."""
        ids = env_ids.numpy()
        if ids.size == 0:
            return
        rows = np.tile(self._idle, (ids.size, 1))
        size = lambda bits: mujoco.mj_stateSize(self.model, int(bits))  # noqa: E731
        at_qpos = size(mujoco.mjtState.mjSTATE_TIME)
        at_qvel = at_qpos + self.model.nq
        qpos, qvel = rows[:, at_qpos:at_qvel], rows[:, at_qvel : at_qvel + self.model.nv]
        qpos[:, 0:3], qpos[:, 3:7] = state.root_pos.numpy(), state.root_quat.numpy()
        qpos[:, self.info.qpos_ids] = state.dof_pos.numpy()
        qvel[:, 0:3], qvel[:, 3:6] = state.root_lin_vel.numpy(), state.root_ang_vel.numpy()
        qvel[:, self.info.dof_ids] = state.dof_vel.numpy()
        self._write_state(rows, ids)
        self._fault_count[ids] = self._warning[ids][:, FAULTS, 1].sum(axis=1)

    def set_root_lin_vel(self, velocity: torch.Tensor) -> None:
        """See `Simulator`; written into the states, because resets and snapshots ignore the float32 views."""
        at_qvel = mujoco.mj_stateSize(self.model, int(mujoco.mjtState.mjSTATE_TIME)) + self.model.nq
        self.batch.bind("state")[:, at_qvel : at_qvel + 3] = velocity.numpy()
        self._forward(None)

    def set_parameter(self, name: str, values: torch.Tensor, env_ids: torch.Tensor | None = None) -> None:
        """See `Simulator.set_parameter`; shapes are in `PARAMETERS`."""
        if name not in PARAMETERS:
            raise ValueError(f"unknown physics parameter '{name}'; known: {', '.join(PARAMETERS)}")
        ids = np.arange(self.num_envs) if env_ids is None else env_ids.numpy()
        getattr(self, f"_set_{name}")(ids, values.double().numpy())

    def _expand(self, field: str) -> np.ndarray:
        """(N, ...) values of a model field that may differ between environments."""
        if field not in self._fields:
            self._fields[field] = self.batch.expand(field)
        return self._fields[field]

    def _set_friction(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("geom_friction")[ids[:, None], self.info.robot_geoms, 0] = values[:, None]

    def _set_added_mass(self, ids: np.ndarray, values: np.ndarray) -> None:
        check_added_mass(self.base_mass, float(values.min(initial=0.0)))
        base = self.info.base_id
        self._expand("body_mass")[ids, base] = self.model.body_mass[base] + values

    def _set_com_shift(self, ids: np.ndarray, values: np.ndarray) -> None:
        base = self.info.base_id
        self._expand("body_ipos")[ids, base] = self.model.body_ipos[base] + values

    def _set_kp(self, ids: np.ndarray, values: np.ndarray) -> None:
        gain = self._expand("actuator_gainprm")
        if has_dc_motors(self.model):
            gain[ids, :, 4] = values
        else:
            gain[ids, :, 0] = values
            self._expand("actuator_biasprm")[ids, :, 1] = -values

    def _set_kd(self, ids: np.ndarray, values: np.ndarray) -> None:
        if has_dc_motors(self.model):
            self._expand("actuator_gainprm")[ids, :, 6] = values
        else:
            self._expand("actuator_biasprm")[ids, :, 2] = -values

    def _scale_dofs(self, field: str, ids: np.ndarray, values: np.ndarray) -> None:
        nominal = getattr(self.model, field)[self.info.dof_ids]
        self._expand(field)[ids[:, None], self.info.dof_ids] = values[:, None] * nominal

    def _set_armature_scale(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._scale_dofs("dof_armature", ids, values)

    def _set_joint_friction_scale(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._scale_dofs("dof_frictionloss", ids, values)

    def _set_joint_damping(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("dof_damping")[ids[:, None], self.info.dof_ids] = values[:, None]

    def _set_joint_stiffness(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("jnt_stiffness")[ids[:, None], joint_ids(self.info)] = values[:, None]

    def _set_delay(self, ids: np.ndarray, values: np.ndarray) -> None:
        delay_steps(torch.from_numpy(values), self.dt, longest_delay(self.model))
        self._expand("actuator_delay")[ids] = values[:, None]

    def commit(self) -> None:
        """`mj_setConst` per environment."""
        self.batch.set_const()
        self._forward(None)

    def faults(self) -> torch.Tensor:
        """Environments that MuJoCo reset by itself because of a bad number, or whose state is not finite."""
        count = self._warning[:, FAULTS, 1].sum(axis=1)
        bad = torch.from_numpy(count > self._fault_count)
        return bad | ~torch.isfinite(self.root_pos.sum(-1) + self._qvel.sum(-1))

    def state_dict(self) -> dict[str, Any]:
        """Integration states (N, nstate) of all environments."""
        return {"state": torch.from_numpy(self.batch.bind("state").copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the integration states; foot positions and contact forces are recomputed."""
        saved = state["state"].cpu().numpy()  # a checkpoint may have been read onto the learner's GPU
        self._write_state(saved)
        # The pass above replaced the solver's warm start; bit-identical continuation wants the saved one.
        self.batch.bind("state")[:] = saved


def _columns(tensor: torch.Tensor, index: np.ndarray) -> Callable[[], torch.Tensor]:
    """Reader of `tensor[:, index]`: a view where the columns are adjacent, a copy otherwise."""
    start = int(index[0])
    if np.array_equal(index, np.arange(start, start + len(index))):
        view = tensor[:, start : start + len(index)]
        return lambda: view
    columns = torch.from_numpy(np.asarray(index, dtype=np.int64))
    return lambda: tensor[:, columns]
