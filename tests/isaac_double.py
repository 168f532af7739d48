"""A double of Isaac Gym (Preview 4): records every call, moves robots by simple kinematics, refuses misuse.

What it insists on is what the real engine needs and mostly does not check: everything is created before `prepare_sim`;
tensors exist after it; a state tensor is NaN from `simulate` until it is refreshed (after `fetch_results` on a CPU);
states are set once between two steps, with int32 numbers of robots in a contiguous tensor that is still alive when the
step is made; a tensor that is handed over outlives the call; no parameter, option or constant has a name that Isaac Gym
does not know (tests compare them with the isaacgym-stubs package). Dofs and bodies come in an order of its own.

Robots have no weight: joints accelerate by force / INERTIA, bases move on with their velocities and keep their
orientations.
"""

from __future__ import annotations

import functools
import sys
import types
import weakref
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests import isaac_values
from tests.isaac_values import (
    DOF_MODE_EFFORT,
    SIM_PHYSX,
    UP_AXIS_Z,
    AssetOptions,
    PlaneParams,
    RigidBodyProperties,
    RigidShapeProperties,
    SimParams,
    Transform,
    Vec3,
    require,
)

INERTIA = 0.5  # kg m^2, of every joint
ENGINE_MODULES = ("legged_gym_ext.simulators.isaac_gym.engine", "legged_gym_ext.simulators.isaac_gym.world")
DOF_FIELDS = [
    ("hasLimits", "?"),
    *((name, "<f4") for name in ("lower", "upper")),
    ("driveMode", "<i4"),
    *((name, "<f4") for name in ("velocity", "effort", "stiffness", "damping", "friction", "armature")),
]


class Descriptor:
    """What the tensor API passes around: it does not keep the tensor alive."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._reference = weakref.ref(tensor)

    def tensor(self) -> torch.Tensor:
        tensor: Any = self._reference()
        require(tensor is not None, "the tensor behind a descriptor was freed")
        return tensor


def wrap_tensor(descriptor: Descriptor) -> torch.Tensor:
    return descriptor.tensor()


def unwrap_tensor(tensor: torch.Tensor) -> Descriptor:
    require(isinstance(tensor, torch.Tensor), "only torch tensors can be unwrapped")
    require(tensor.is_contiguous(), "only contiguous tensors can be unwrapped")
    return Descriptor(tensor)


class Asset:
    """A URDF as Isaac Gym has it: fixed joints collapsed, unless they say dont_collapse; names in its own order."""

    def __init__(self, path: Path, options: AssetOptions, order: str) -> None:
        root: Any = ElementTree.parse(path).getroot()
        merged = {link.get("name"): self._link(link) for link in root.findall("link")}
        self.dofs, bodies = {}, [link.get("name") for link in root.findall("link")]
        for joint in root.findall("joint"):
            child, parent = joint.find("child").get("link"), joint.find("parent").get("link")
            if joint.get("type") != "fixed":
                self.dofs[joint.get("name")] = joint.find("limit")
            elif options.collapse_fixed_joints and joint.get("dont_collapse") != "true":
                bodies.remove(child)
                shift = np.array([float(x) for x in joint.find("origin").get("xyz").split()])
                (mass, com, shapes), (more, there, others) = merged[parent], merged[child]
                total = (mass * com + more * (there + shift)) / (mass + more)
                merged[parent] = (mass + more, total, shapes + others)
        sort = {"tree": list, "alphabetical": sorted, "reversed": lambda names: list(names)[::-1]}[order]
        self.dof_names = sort(self.dofs)
        self.body_names = [bodies[0], *sort(bodies[1:])]
        self.masses = [merged[name][0] for name in self.body_names]
        self.coms = [merged[name][1] for name in self.body_names]
        self.shapes = [RigidShapeProperties() for _ in range(sum(merged[name][2] for name in self.body_names))]
        self.dof_props = np.zeros(len(self.dofs), dtype=DOF_FIELDS)
        for row, name in enumerate(self.dof_names):
            for field in ("lower", "upper", "velocity", "effort"):
                self.dof_props[field][row] = float(self.dofs[name].get(field))
        self.dof_props["hasLimits"], self.dof_props["driveMode"] = True, options.default_dof_drive_mode

    @staticmethod
    def _link(link: Any) -> tuple[float, np.ndarray, int]:
        inertial = link.find("inertial")
        com = np.array([float(x) for x in inertial.find("origin").get("xyz").split()])
        return float(inertial.find("mass").get("value")), com, len(link.findall("collision"))


class Actor:
    """A robot in an environment; its handle is worth nothing in another one."""

    def __init__(self, asset: Asset, pose: Transform, group: int, bits: int, handle: int) -> None:
        self.asset, self.pose, self.group, self.filter, self.handle = asset, pose, group, bits, handle
        self.dof_props = asset.dof_props.copy()
        self.frictions = [shape.friction for shape in asset.shapes]
        self.masses, self.coms = list(asset.masses), [com.copy() for com in asset.coms]


class Env:
    """An environment with at most one actor."""

    def __init__(self) -> None:
        self.actor: Any = None

    def get(self, handle: int) -> Any:
        require(self.actor is not None and handle == self.actor.handle, "the actor's handle is of another environment")
        return self.actor


class Sim:
    """What Isaac Gym's handle stands for: `root` (N, 13), `dof` (N, J, 2) and `net` (N, B, 3) are the state."""

    def __init__(self, params: SimParams, device: int, graphics: int) -> None:
        self.params, self.compute_device, self.graphics_device = params, device, graphics
        self.envs: list[Env] = []
        self.ground: list[Any] = []
        self.prepared = self.fetched = False
        self.tensors: dict[str, torch.Tensor] = {}
        self.pending: dict[str, tuple[torch.Tensor, Any, torch.Tensor]] = {}
        self.force: torch.Tensor | None = None
        self.frozen = False  # tests: a step changes nothing but what was set

    @property
    def actors(self) -> list[Actor]:
        return [env.actor for env in self.envs]


def recorded(method: Any) -> Any:
    """Write the call down before it is made."""

    @functools.wraps(method)
    def call(self: Gym, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(method.__name__)
        return method(self, *args, **kwargs)

    return call


class Gym:
    """The object that `acquire_gym` gives.

    Attributes:
        calls: names of all calls, in order.
        order: of dofs and bodies: "tree", "alphabetical" or "reversed".
        sim: the simulation.
        log: for every step, the rows that were set: {"root": {actor: row}, "dof": {actor: rows}, "force": (N, J)}.
    """

    def __init__(self, order: str) -> None:
        self.calls: list[str] = []
        self.order = order
        self.log: list[Any] = []
        self.sim: Any = None

    # -- making the world ------------------------------------------------------------------------------------------

    @recorded
    def create_sim(self, compute_device: int, graphics_device: int, type: Any, params: SimParams) -> Sim:
        require(type is SIM_PHYSX and params.up_axis is UP_AXIS_Z, "expected PhysX with z up")
        require(params.gravity.z < 0.0, "gravity points up")
        require(params.use_gpu_pipeline == params.physx.use_gpu, "the GPU pipeline needs PhysX on the GPU")
        self.sim = Sim(params, compute_device, graphics_device)
        return self.sim

    def _building(self, sim: Any = None) -> None:
        require(sim is None or sim is self.sim, "not a simulation")
        require(not self.sim.prepared, "nothing can be added after prepare_sim")

    @recorded
    def add_ground(self, sim: Sim, params: PlaneParams) -> None:
        self._building(sim)
        require((params.normal.x, params.normal.y, params.normal.z) == (0.0, 0.0, 1.0), "the plane is not level")
        sim.ground.append(params)

    @recorded
    def add_triangle_mesh(self, sim: Sim, vertices: np.ndarray, triangles: np.ndarray, params: Any) -> None:
        self._building(sim)
        require(vertices.dtype == np.float32 and triangles.dtype == np.uint32, "expected float32 and uint32")
        require(vertices.shape == (3 * params.nb_vertices,), "vertices are a flat array of three numbers each")
        require(triangles.shape == (3 * params.nb_triangles,), "triangles are a flat array of three numbers each")
        require(triangles.max() < params.nb_vertices, "a triangle without a vertex")
        sim.ground.append((vertices.reshape(-1, 3), triangles.reshape(-1, 3), params))

    @recorded
    def load_asset(self, sim: Sim, rootpath: str, filename: str, options: AssetOptions) -> Asset:
        self._building(sim)
        require(not options.fix_base_link and not options.disable_gravity, "the robot hangs in the air")
        return Asset(Path(rootpath) / filename, options, self.order)

    @recorded
    def get_asset_dof_names(self, asset: Asset) -> list[str]:
        return list(asset.dof_names)

    @recorded
    def get_asset_rigid_body_names(self, asset: Asset) -> list[str]:
        return list(asset.body_names)

    @recorded
    def get_asset_dof_properties(self, asset: Asset) -> np.ndarray:
        return asset.dof_props.copy()

    @recorded
    def get_asset_rigid_shape_properties(self, asset: Asset) -> list[RigidShapeProperties]:
        return [_shape(shape.friction) for shape in asset.shapes]

    @recorded
    def set_asset_rigid_shape_properties(self, asset: Asset, shapes: list[RigidShapeProperties]) -> bool:
        require(len(shapes) == len(asset.shapes), "another number of shapes")
        asset.shapes = [_shape(shape.friction) for shape in shapes]
        return True

    @recorded
    def create_env(self, sim: Sim, lower: Vec3, upper: Vec3, per_row: int) -> Env:
        self._building(sim)
        extent = [getattr(corner, axis) for corner in (lower, upper) for axis in "xyz"]
        require(not any(extent), "environments with an extent are moved apart, and states are relative to them")
        require(isinstance(per_row, int) and per_row > 0, "expected at least one environment in a row")
        sim.envs.append(Env())
        return sim.envs[-1]

    @recorded
    def create_actor(self, env: Env, asset: Asset, pose: Transform, name: str, group: int, filter: int) -> int:
        self._building()
        require(env.actor is None, "this double knows one actor per environment")
        require(isinstance(name, str) and isinstance(group, int), "expected a name and the number of a group")
        env.actor = Actor(asset, pose, group, filter, handle=100 + self.sim.envs.index(env))
        return env.actor.handle

    # -- properties of actors --------------------------------------------------------------------------------------

    @recorded
    def set_actor_dof_properties(self, env: Env, actor: int, props: np.ndarray) -> bool:
        require(props.dtype == np.dtype(DOF_FIELDS), "not the structure of dof properties")
        env.get(actor).dof_props = props.copy()
        return True

    @recorded
    def get_actor_rigid_shape_properties(self, env: Env, actor: int) -> list[RigidShapeProperties]:
        return [_shape(friction) for friction in env.get(actor).frictions]

    @recorded
    def set_actor_rigid_shape_properties(self, env: Env, actor: int, shapes: list[RigidShapeProperties]) -> bool:
        require(len(shapes) == len(env.get(actor).frictions), "another number of shapes")
        require(all(shape.friction >= 0.0 for shape in shapes), "friction must not be negative")
        env.get(actor).frictions = [shape.friction for shape in shapes]
        return True

    @recorded
    def get_actor_rigid_body_properties(self, env: Env, actor: int) -> list[RigidBodyProperties]:
        robot, bodies = env.get(actor), []
        for mass, com in zip(robot.masses, robot.coms):
            bodies.append(RigidBodyProperties())
            bodies[-1].mass, bodies[-1].com = mass, Vec3(*com)
        return bodies

    @recorded
    def set_actor_rigid_body_properties(
        self,
        env: Env,
        actorHandle: int,  # noqa: N803
        props: list[RigidBodyProperties],
        recomputeInertia: bool = False,  # noqa: N803
    ) -> bool:
        robot = env.get(actorHandle)
        require(len(props) == len(robot.masses), "another number of bodies")
        require(not recomputeInertia, "inertias of the URDF would be replaced by those of the shapes")
        coms = [np.array([body.com.x, body.com.y, body.com.z]) for body in props]
        moved = any(not np.array_equal(new, old) for new, old in zip(coms, robot.coms))
        require(
            not (moved and self.sim.prepared and self.sim.params.use_gpu_pipeline),
            "the GPU pipeline cannot move centres of mass",
        )
        robot.masses, robot.coms = [body.mass for body in props], coms
        return True

    # -- tensors ---------------------------------------------------------------------------------------------------

    @recorded
    def prepare_sim(self, sim: Sim) -> bool:
        self._building(sim)
        require(sim.ground and sim.envs and all(env.actor for env in sim.envs), "ground or robots are missing")
        asset = sim.actors[0].asset
        count, joints, bodies = len(sim.envs), len(asset.dof_names), len(asset.body_names)
        poses = [
            (a.pose.p.x, a.pose.p.y, a.pose.p.z, a.pose.r.x, a.pose.r.y, a.pose.r.z, a.pose.r.w) for a in sim.actors
        ]
        sim.root = torch.cat((torch.tensor(poses), torch.zeros(count, 6)), dim=-1)
        sim.dof, sim.net = torch.zeros(count, joints, 2), torch.zeros(count, bodies, 3)
        sim.prepared = sim.fetched = True
        return True

    def _acquire(self, sim: Sim, name: str, shape: tuple[int, int]) -> Descriptor:
        require(sim.prepared, f"the {name} tensor does not exist before prepare_sim")
        if name not in sim.tensors:
            sim.tensors[name] = torch.full(shape, torch.nan)
        return Descriptor(sim.tensors[name])

    @recorded
    def acquire_actor_root_state_tensor(self, sim: Sim) -> Descriptor:
        return self._acquire(sim, "root", (len(sim.envs), 13))

    @recorded
    def acquire_dof_state_tensor(self, sim: Sim) -> Descriptor:
        return self._acquire(sim, "dof", (len(sim.envs) * len(sim.actors[0].asset.dof_names), 2))

    @recorded
    def acquire_net_contact_force_tensor(self, sim: Sim) -> Descriptor:
        return self._acquire(sim, "net", (len(sim.envs) * len(sim.actors[0].asset.body_names), 3))

    def _refresh(self, sim: Sim, name: str) -> bool:
        require(sim.prepared and name in sim.tensors, f"the {name} tensor was not acquired")
        require(sim.fetched or sim.params.use_gpu_pipeline, "fetch_results comes before a refresh on the CPU")
        sim.tensors[name].copy_(getattr(sim, name).view(sim.tensors[name].shape))
        return True

    @recorded
    def refresh_actor_root_state_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "root")

    @recorded
    def refresh_dof_state_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "dof")

    @recorded
    def refresh_net_contact_force_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "net")

    def _set(self, sim: Sim, name: str, states: Descriptor, ids: Descriptor, count: int) -> bool:
        require(sim.prepared, "states are set after prepare_sim")
        require(name not in sim.pending, f"of two calls that set {name} states before a step, the first is lost")
        values, actors = states.tensor(), ids.tensor()
        whole = getattr(sim, name)
        shape = sim.tensors[name].shape
        require(values.dtype == torch.float32 and values.shape == shape, f"expected float32 {tuple(shape)}, all actors")
        require(torch.isfinite(values).all(), "states that are not finite: not refreshed after the last step?")
        require(actors.dtype == torch.int32 and actors.dim() == 1, "expected int32 numbers of actors")
        require(count == len(actors) == len(set(actors.tolist())) > 0, "expected as many different actors as announced")
        require(int(actors.min()) >= 0 and int(actors.max()) < len(sim.envs), "there is no such actor")
        sim.pending[name] = (values.view(whole.shape).clone(), ids, actors.clone())
        return True

    @recorded
    def set_actor_root_state_tensor_indexed(self, sim: Sim, states: Descriptor, ids: Descriptor, count: int) -> bool:
        norms = states.tensor().view(-1, 13)[ids.tensor().long(), 3:7].norm(dim=-1)
        require((norms - 1.0).abs().max() < 1e-4, "quaternions are not unit")
        return self._set(sim, "root", states, ids, count)

    @recorded
    def set_dof_state_tensor_indexed(self, sim: Sim, states: Descriptor, ids: Descriptor, count: int) -> bool:
        return self._set(sim, "dof", states, ids, count)

    @recorded
    def set_dof_actuation_force_tensor(self, sim: Sim, forces: Descriptor) -> bool:
        values = forces.tensor()
        require(sim.prepared and values.dtype == torch.float32, "expected float32 after prepare_sim")
        require(values.shape == sim.dof.shape[:2], "expected one force per dof")
        require(torch.isfinite(values).all(), "forces that are not finite: not refreshed after the last step?")
        modes = {int(mode) for actor in sim.actors for mode in actor.dof_props["driveMode"]}
        require(modes == {int(DOF_MODE_EFFORT)}, "forces need dofs in effort mode")
        sim.force = values.clone()
        return True

    @recorded
    def simulate(self, sim: Sim) -> None:
        require(sim.prepared, "prepare_sim comes before the first step")
        entry: dict[str, Any] = {"root": {}, "dof": {}, "force": sim.force}
        for name, (values, ids, actors) in sim.pending.items():
            require(torch.equal(ids.tensor(), actors), "numbers of actors changed before the step")
            getattr(sim, name)[actors.long()] = values[actors.long()]
            entry[name] = {actor: values[actor] for actor in actors.tolist()}
        self.log.append(entry)
        if not sim.frozen:
            force = torch.zeros(sim.dof.shape[:2]) if sim.force is None else sim.force
            sim.dof[..., 1] += sim.params.dt * force / INERTIA
            sim.dof[..., 0] += sim.params.dt * sim.dof[..., 1]
            sim.root[:, :3] += sim.params.dt * sim.root[:, 7:10]
        sim.pending.clear()
        sim.force, sim.fetched = None, False
        for tensor in sim.tensors.values():
            tensor.fill_(torch.nan)

    @recorded
    def fetch_results(self, sim: Sim, wait: bool) -> None:
        require(wait, "results of a step that may not be done")
        sim.fetched = True


def _shape(friction: float) -> RigidShapeProperties:
    properties = RigidShapeProperties()
    properties.friction = friction
    return properties


def install(monkeypatch: Any, order: str = "alphabetical") -> Gym:
    """Put the double in the place of the package `isaacgym` for the duration of a test; returns its only `Gym`."""
    gym = Gym(order)
    package, gymapi, gymtorch = (
        types.ModuleType(name) for name in ("isaacgym", "isaacgym.gymapi", "isaacgym.gymtorch")
    )
    vars(gymapi).update({name: getattr(isaac_values, name) for name in isaac_values.API}, acquire_gym=lambda: gym)
    gymtorch.wrap_tensor, gymtorch.unwrap_tensor = wrap_tensor, unwrap_tensor
    package.gymapi, package.gymtorch = gymapi, gymtorch
    for module in (package, gymapi, gymtorch):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ENGINE_MODULES:  # which hold on to the double of another test
        monkeypatch.delitem(sys.modules, name, raising=False)
    return gym
