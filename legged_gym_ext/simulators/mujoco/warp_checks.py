"""What is checked before MuJoCo Warp builds anything: device, driver, options, memory; and sizes of its buffers."""

from __future__ import annotations

import copy
import dataclasses
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp

from legged_gym_ext.simulators import WARP_DRIVER
from legged_gym_ext.simulators.mujoco.model import ModelInfo
from legged_gym_ext.utils.errors import UserError, did_you_mean, pluralize

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.terrain import Terrain

SOLVERS = ("newton", "cg")

TOUCHING = {mujoco.mjtGeom.mjGEOM_SPHERE: 1, mujoco.mjtGeom.mjGEOM_CAPSULE: 2, mujoco.mjtGeom.mjGEOM_ELLIPSOID: 1}
"""Contacts that a geom can have with a plane; others have at most four."""

OVERFLOWS = {
    "constraints": mjw.OverflowType.NEFC | mjw.OverflowType.NJMAX_NNZ,
    "contacts": mjw.OverflowType.BROADPHASE | mjw.OverflowType.NARROWPHASE | mjw.OverflowType.CCD,
    "a buffer of MuJoCo Warp's own": (
        mjw.OverflowType.HFIELD | mjw.OverflowType.CONTACT_MATCH | mjw.OverflowType.EPA_HORIZON
    ),
}
"""What was too small -> flags that say so. Iteration limits of the solver are no overflow."""

GIB = 2.0**30
SPARE = 0.8  # share of the free memory that the physics may take; networks and rollouts want the rest


def check_options(options: type[LeggedRobotCfg.sim.mujoco_warp]) -> None:
    """Refuse options that MuJoCo Warp does not have."""
    if options.solver not in SOLVERS:
        raise UserError(
            f"sim.mujoco_warp.solver '{options.solver}': MuJoCo Warp has {' and '.join(SOLVERS)}"
            f"{did_you_mean(options.solver, SOLVERS)}"
        )
    for name, least in (("iterations", 1), ("ls_iterations", 1), ("contacts_per_robot", 0)):
        value = getattr(options, name)
        if value < least:
            raise UserError(f"sim.mujoco_warp.{name}={value}: expected at least {least}")


def check_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UserError: it is not there, or its driver is too old.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"sim.device '{name}': torch knows no such device; use --sim_device=cuda or cpu") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"the mujoco_warp engine steps on cuda or cpu, not on '{name}'")
    if not torch.cuda.is_available():
        build = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees no CUDA device"
        raise UserError(f"--sim_device={name}: {build}; doctor.py says more, --sim_device=cpu is slow and for tests")
    count = torch.cuda.device_count()
    index = torch.cuda.current_device() if device.index is None else device.index
    if index >= count:
        raise UserError(f"--sim_device={name}: there are {count} CUDA devices, the last one is cuda:{count - 1}")
    start_warp()
    driver = wp.get_cuda_driver_version()
    if driver is None or tuple(driver) < WARP_DRIVER:
        found = "none that Warp can use" if driver is None else f"CUDA {driver[0]}.{driver[1]}"
        raise UserError(
            f"--sim_device={name}: the NVIDIA driver supports {found}, MuJoCo Warp's graphs need "
            f"CUDA {WARP_DRIVER[0]}.{WARP_DRIVER[1]} or newer; update the driver"
        )
    return torch.device("cuda", index)


def start_warp() -> None:
    """Start Warp, which says only what went wrong."""
    wp.config.log_level = wp.LOG_WARNING
    wp.init()


def announce_compilation(device: torch.device) -> None:
    """Say so where the kernels for `device` must be compiled first; Warp has started."""
    cache, suffixes = Path(wp.config.kernel_cache_dir or ""), ("cubin", "ptx") if device.type == "cuda" else ("o",)
    if not any(any(cache.glob(f"*mujoco_warp*/*.{suffix}")) for suffix in suffixes):
        duration = "several minutes" if device.type == "cuda" else "one to two minutes"
        print(f"MuJoCo Warp compiles its kernels, once on this machine: {duration}", flush=True)


def put_model(model: mujoco.MjModel, batched: list[str], num_envs: int) -> mjw.Model:
    """Warp's form of a model on Warp's device, in which the fields `batched` have a row per robot."""
    with warnings.catch_warnings():  # height fields give one contact per prism and geom, as in MuJoCo
        warnings.filterwarnings("ignore", message="MULTICCD is enabled")
        return mjw.put_model(_prepared(model), batch_sizes=dict.fromkeys(batched, num_envs))


def make_data(model: mujoco.MjModel, capacity: Capacity, num_envs: int) -> mjw.Data:
    """States of `num_envs` robots on Warp's device, with room for contacts and constraints."""
    return mjw.make_data(_prepared(model), num_envs, nconmax=capacity.contacts, njmax=capacity.constraints)


def _prepared(model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy without the flag that switches the middle phase of collisions off: Warp has none, and refuses it."""
    prepared = copy.copy(model)
    prepared.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
    return prepared


class Capacity:
    """Contacts and constraints for which there is room, per robot.

    Attributes:
        contacts: in the mean over all robots; they share one buffer.
        constraints: rows, in each robot.
    """

    def __init__(self, info: ModelInfo, cfg: LeggedRobotCfg, terrain: Terrain) -> None:
        """Take `sim.mujoco_warp.contacts_per_robot`, or count from the model.

        On a plane every geom can touch with all it has. On boxes a geom can touch several at once, but a robot touches
        with few of its geoms: the same number holds.
        """
        model, types = info.model, info.model.geom_type[info.robot_geoms]
        most = sum(TOUCHING.get(mujoco.mjtGeom(int(kind)), 4) for kind in types)
        self.contacts = int(cfg.sim.mujoco_warp.contacts_per_robot) or most + 16 * bool(cfg.asset.self_collisions)
        rows = 2 * (int(model.geom_condim.max()) - 1) if cfg.sim.mujoco_warp.cone == "pyramidal" else 3
        always = np.count_nonzero(model.dof_frictionloss) + model.njnt  # friction of joints; limits
        self.constraints = int(always + rows * self.contacts)
        self._reported: set[str] = set()

    def report(self, overflow: torch.Tensor) -> None:
        """Say once for each kind which buffers overflowed in any robot, from flags (N,); waits for the device."""
        flags = overflow.clone()
        counts = torch.stack([(flags & int(bits)).ne(0).sum() for bits in OVERFLOWS.values()]).tolist()
        for kind, robots in zip(OVERFLOWS, counts):
            if robots and kind not in self._reported:
                self._reported.add(kind)
                print(
                    f"warning: {kind} of {pluralize(robots, 'robot')} did not fit ({self.contacts} contacts, "
                    f"{self.constraints} constraints per robot); what is beyond was left out of the physics: raise "
                    f"--env.sim.mujoco_warp.contacts_per_robot={2 * self.contacts}",
                    flush=True,
                )


def bytes_per_robot(model: mujoco.MjModel, capacity: Capacity, batched: list[str]) -> tuple[int, int]:
    """Device memory of one robot, and of what all share, from the arrays that Warp makes for one and for two."""
    with wp.ScopedDevice("cpu"):
        sizes = [
            _array_bytes(make_data(model, capacity, count)) + _array_bytes(put_model(model, batched, count))
            for count in (1, 2)
        ]
    return sizes[1] - sizes[0], 2 * sizes[0] - sizes[1]


def _array_bytes(structure: Any) -> int:
    """Bytes of all Warp arrays in a dataclass and in those within it."""
    total = 0
    for field in dataclasses.fields(structure):
        value = getattr(structure, field.name, None)
        if isinstance(value, wp.array):
            total += value.capacity
        elif dataclasses.is_dataclass(value):
            total += _array_bytes(value)
    return total


def free_memory(device: torch.device) -> int:
    """Bytes of memory that are free on `device`."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(
    model: mujoco.MjModel, capacity: Capacity, num_envs: int, device: torch.device, batched: list[str]
) -> None:
    """Refuse more robots than the free memory of `device` holds."""
    each, shared = bytes_per_robot(model, capacity, batched)
    free = free_memory(device)
    if shared + each * num_envs > SPARE * free:
        most = max(0, int((SPARE * free - shared) / each))
        raise UserError(
            f"{num_envs} robots need {(shared + each * num_envs) / GIB:.1f} GiB for the physics, {free / GIB:.1f} GiB "
            f"are free on {device}, of which {SPARE:.0%} may be used: at most --num_envs={most}"
        )
