"""What Isaac Gym needs to know of a robot, read from its files without the engine: joints, feet, where the feet are.

Isaac Gym reads URDF, so next to the MJCF that `asset.file` names it expects a URDF of the same name. URDF has no word
for the inertia of the rotors; that is taken from the MJCF. Reading the joints ourselves keeps damping and friction in
the units of the files. Forward kinematics gives the feet of a robot right after a reset, because Isaac Gym moves its
bodies only when it simulates.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from legged_gym_ext import find_file
from legged_gym_ext.simulators.legs import Leg, Shape, choose_feet, joints_of
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.math import quat_mul

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

HINGES = ("revolute", "continuous")


@dataclass(frozen=True)
class Joint:
    """A joint of a URDF: parent link, pose of its frame in the parent's, axis in its own frame."""

    name: str
    kind: str
    parent: str
    xyz: tuple[float, ...]  # m
    rpy: tuple[float, ...]  # rad, about the fixed x, y, z
    axis: tuple[float, ...]
    damping: float  # N m s / rad
    friction: float  # N m


@dataclass(frozen=True)
class Robot:
    """A robot as its files describe it; J joints in the configuration's order, F feet in the order of their legs."""

    path: Path  # the URDF
    joint_names: list[str]
    damping: list[float]  # N m s / rad
    friction: list[float]  # N m, Coulomb
    armature: list[float]  # kg m^2
    places: dict[str, int]  # link -> place of the joint that carries it; -1 for the base
    feet: list[str]  # links
    legs: list[Leg]  # F
    foot_radius: float  # m, mean
    kinematics: FootKinematics


def read_robot(cfg: LeggedRobotCfg) -> Robot:
    """The robot of `cfg` (a `LeggedRobotCfg`).

    Raises:
        UserError: no URDF, one that cannot be read, or joints or feet that do not fit the configuration.
    """
    named = find_file(cfg.asset.file)
    path = find_file(str(Path(cfg.asset.file).with_suffix(".urdf")))
    root = _parse(path, "Isaac Gym reads the URDF with the name of asset.file")
    joints = {_required(joint, "child", "link"): _read_joint(joint, path) for joint in root.findall("joint")}
    hinges = {joint.name: joint for joint in joints.values() if joint.kind in HINGES}
    names = joints_of(cfg, hinges, str(path))
    places = {link.get("name", ""): _place(link.get("name", ""), joints, names) for link in root.findall("link")}
    spheres = _find_feet(root, cfg.asset.foot_name, path, joints, names)
    feet = sorted(spheres, key=lambda link: places[link])
    chains = [_chain(foot, joints) for foot in feet]
    return Robot(
        path=path,
        joint_names=names,
        damping=[hinges[name].damping for name in names],
        friction=[hinges[name].friction for name in names],
        armature=_read_armature(named, names) if named != path else [0.0] * len(names),
        places=places,
        feet=feet,
        legs=[_leg(chain, names) for chain in chains],
        foot_radius=float(np.mean([spheres[foot][0] for foot in feet])),
        kinematics=FootKinematics(chains, [spheres[foot][1] for foot in feet], names),
    )


def _parse(path: Path, why: str) -> ElementTree.Element:
    if not path.is_file():
        raise UserError(f"robot model not found: {path}; {why}")
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"robot model {path} cannot be read: {error}") from error


def _required(element: ElementTree.Element, tag: str, attribute: str) -> str:
    """An attribute of a child element; missing ones read as empty text, which no link is called."""
    child = element.find(tag)
    return "" if child is None else child.get(attribute, "")


def _numbers(element: ElementTree.Element | None, attribute: str, default: str) -> tuple[float, ...]:
    text = default if element is None else element.get(attribute, default)
    return tuple(float(word) for word in text.split())


def _read_joint(element: ElementTree.Element, path: Path) -> Joint:
    kind, origin, dynamics = element.get("type", ""), element.find("origin"), element.find("dynamics")
    if kind not in (*HINGES, "fixed"):
        raise UserError(f"robot model {path}: expected hinges and fixed joints, found {element.get('name')} ({kind})")
    return Joint(
        name=element.get("name", ""),
        kind=kind,
        parent=_required(element, "parent", "link"),
        xyz=_numbers(origin, "xyz", "0 0 0"),
        rpy=_numbers(origin, "rpy", "0 0 0"),
        axis=_numbers(element.find("axis"), "xyz", "1 0 0"),
        damping=_numbers(dynamics, "damping", "0")[0],
        friction=_numbers(dynamics, "friction", "0")[0],
    )


def _chain(link: str, joints: dict[str, Joint]) -> list[Joint]:
    """Joints from the base to `link`."""
    chain: list[Joint] = []
    while link in joints:
        chain.insert(0, joints[link])
        link = joints[link].parent
    return chain


def _place(link: str, joints: dict[str, Joint], order: list[str]) -> int:
    """Place in `order` of the joint that carries `link`; -1 for the base."""
    return next((order.index(j.name) for j in reversed(_chain(link, joints)) if j.name in order), -1)


def _find_feet(
    root: ElementTree.Element, foot_name: str | Sequence[str], path: Path, joints: dict[str, Joint], order: list[str]
) -> dict[str, tuple[float, tuple[float, ...]]]:
    """Link -> radius and centre [m] of the collision sphere that `foot_name` means, one at the end of each limb."""
    chain = lambda link: tuple(joint.name for joint in _chain(link, joints) if joint.name in order)  # noqa: E731
    spheres, shapes = [], []
    for link in root.findall("link"):
        name = link.get("name", "")
        for collision in link.findall("collision"):
            sphere = collision.find("geometry/sphere")
            if sphere is not None:
                centre = _numbers(collision.find("origin"), "xyz", "0 0 0")
                spheres.append((name, (float(sphere.attrib["radius"]), centre)))
                shapes.append(Shape(collision.get("name", name), name, chain(name)))
    chains = [chain(link) for link, joint in joints.items() if joint.name in order]
    return dict(spheres[index] for index in choose_feet(foot_name, shapes, chains, str(path)))


def _leg(chain: list[Joint], order: list[str]) -> Leg:
    """The leg of the joints `chain`, measured with all of them at zero."""
    place, turn = torch.zeros(3), torch.tensor([1.0, 0.0, 0.0, 0.0])
    found: list[tuple[int, tuple[float, float, float]]] = []
    hip = (0.0, 0.0, 0.0)
    for joint in chain:
        place = place + quat_rotate(turn, torch.tensor(joint.xyz))
        turn = quat_mul(turn, _quat_from_rpy(joint.rpy))
        if joint.name not in order:
            continue
        x, y, z = quat_rotate(turn, torch.nn.functional.normalize(torch.tensor(joint.axis), dim=0)).tolist()
        if not found:
            hip = (float(place[0]), float(place[1]), float(place[2]))
        found.append((order.index(joint.name), (x, y, z)))
    return Leg(tuple(joint for joint, _ in found), tuple(axis for _, axis in found), hip)


def _read_armature(path: Path, names: list[str]) -> list[float]:
    """Rotor inertia [kg m^2] of joints `names`, from the MJCF: at the joint, or in its class of defaults."""
    root = _parse(path, "set --env.asset.file to an MJCF or URDF file")
    classes: dict[str | None, str] = {None: "0"}
    found: dict[str, float] = {}

    def read_class(element: ElementTree.Element, inherited: str, name: str | None) -> None:
        joint = element.find("joint")
        classes[name] = inherited if joint is None else joint.get("armature", inherited)
        for child in element.findall("default"):
            read_class(child, classes[name], child.get("class"))

    def read_body(element: ElementTree.Element, name: str | None) -> None:
        name = element.get("childclass", name)
        for joint in element.findall("joint"):
            found[joint.get("name", "")] = float(joint.get("armature") or classes[joint.get("class", name)])
        for child in element.findall("body"):
            read_body(child, name)

    for element in root.findall("default"):
        read_class(element, "0", None)
    for element in root.findall("worldbody"):
        read_body(element, None)
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(f"robot model {path}: no armature, because there are no joints {missing} as in its URDF")
    return [found[name] for name in names]


def quat_rotate(quat: torch.Tensor, vec: torch.Tensor) -> torch.Tensor:
    """Vectors (..., 3) of the frame `quat` (..., 4), w x y z, in the frame around it."""
    w, u = quat[..., :1], quat[..., 1:]
    t = 2.0 * torch.cross(u, vec, dim=-1)
    return vec + w * t + torch.cross(u, t, dim=-1)


class FootKinematics:
    """Where the feet are, from the pose of the base and the joint angles."""

    def __init__(self, chains: list[list[Joint]], centres: list[tuple[float, ...]], order: list[str]) -> None:
        """Prepare the chains.

        Args:
            chains: joints from the base to each of F feet.
            centres: (x, y, z) m of each foot in the last link of its chain.
            order: names of the J joints in the order of joint angles.
        """
        depth = max(len(chain) for chain in chains)
        shape = (len(chains), depth)
        self._joints = torch.full(shape, len(order), dtype=torch.long)  # J: no angle
        self._offsets, self._axes, self._turns = torch.zeros(*shape, 3), torch.zeros(*shape, 3), torch.zeros(*shape, 4)
        self._turns[..., 0] = 1.0
        for foot, chain in enumerate(chains):
            for step, joint in enumerate(chain):
                self._offsets[foot, step] = torch.tensor(joint.xyz)
                self._turns[foot, step] = _quat_from_rpy(joint.rpy)
                if joint.kind in HINGES:
                    self._joints[foot, step] = order.index(joint.name)
                    self._axes[foot, step] = torch.nn.functional.normalize(torch.tensor(joint.axis), dim=0)
        self._centres = torch.tensor(centres)

    def to(self, device: torch.device) -> FootKinematics:
        """Move to `device`; returns itself."""
        for name, value in vars(self).items():
            setattr(self, name, value.to(device))
        return self

    def positions(self, root_pos: torch.Tensor, root_quat: torch.Tensor, dof_pos: torch.Tensor) -> torch.Tensor:
        """Centres (M, F, 3) [m] of the feet.

        Args:
            root_pos: (M, 3) m of the bases.
            root_quat: (M, 4) w x y z.
            dof_pos: (M, J) rad.
        """
        count, feet = len(dof_pos), len(self._centres)
        angles = torch.cat((dof_pos, dof_pos.new_zeros(count, 1)), dim=-1)[:, self._joints]  # (M, F, depth)
        half = 0.5 * angles[..., None]
        turns = quat_mul(
            self._turns.expand(count, *self._turns.shape), torch.cat((half.cos(), half.sin() * self._axes), dim=-1)
        )
        pos, quat = root_pos[:, None].expand(count, feet, 3), root_quat[:, None].expand(count, feet, 4)
        for step in range(turns.shape[2]):
            pos = pos + quat_rotate(quat, self._offsets[:, step].expand(count, feet, 3))
            quat = quat_mul(quat, turns[:, :, step])
        return pos + quat_rotate(quat, self._centres.expand(count, feet, 3))


def _quat_from_rpy(rpy: tuple[float, ...]) -> torch.Tensor:
    """Quaternion (4,) w x y z of a turn about the fixed x, then y, then z axis."""
    result = torch.tensor([1.0, 0.0, 0.0, 0.0])
    for axis, angle in enumerate(rpy):
        turn = torch.zeros(4)
        turn[0], turn[1 + axis] = np.cos(0.5 * angle), np.sin(0.5 * angle)
        result = quat_mul(turn, result)
    return result
