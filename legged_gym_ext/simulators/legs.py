"""Joints, legs and feet of a robot, as every engine finds them in its files. Standard library only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Tuple

from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

Vector = Tuple[float, float, float]


@dataclass(frozen=True)
class Leg:
    """What leads from the base to a foot.

    Attributes:
        joints: indices into the engine's `joint_names`, from the base outwards.
        axes: unit axes of these joints in the base frame while all joints are at zero.
        hip: m, where the first joint is in the base frame.
    """

    joints: tuple[int, ...]
    axes: tuple[Vector, ...]
    hip: Vector


@dataclass(frozen=True)
class Shape:
    """A shape that could be a foot.

    Attributes:
        name: of the shape; empty where the file gives none.
        body: that it belongs to.
        chain: names of the joints from the base to it; none for the base's own shapes.
    """

    name: str
    body: str
    chain: tuple[str, ...]

    def __str__(self) -> str:
        """What it is called, or where it is."""
        return self.name or f"(unnamed in {self.body})"


def joints_of(cfg: LeggedRobotCfg, hinges: Collection[str], file: str) -> list[str]:
    """Names of the joints in the order of the configuration.

    Args:
        cfg: `init_state.default_joint_angles` and `env.num_actions` are read.
        hinges: names of the robot's hinges.
        file: that they come from, for messages.

    Raises:
        UserError: the configuration names other joints than the robot's hinges, or another number of actions.
    """
    wanted = list(cfg.init_state.default_joint_angles)
    missing, extra = [n for n in wanted if n not in hinges], [n for n in hinges if n not in wanted]
    if missing or extra:
        raise UserError(
            f"robot model {file}: joints differ from init_state.default_joint_angles; "
            f"not in the model: {missing or 'none'}; not in the configuration: {extra or 'none'}"
        )
    if cfg.env.num_actions != len(wanted):
        raise UserError(f"env.num_actions is {cfg.env.num_actions}, but there are {len(wanted)} joints")
    return wanted


def choose_feet(
    foot_name: str | Sequence[str], shapes: Sequence[Shape], chains: Sequence[tuple[str, ...]], file: str
) -> list[int]:
    """Which `shapes` are the feet: exactly one at the end of each limb.

    Args:
        foot_name: part of the names of the feet; or their whole names, as a list or as a text "[FL, FR, RL, RR]". Names
            of shapes count before those of their bodies.
        shapes: that collide.
        chains: names of the joints from the base to each joint that the robot moves, itself included.
        file: that they come from, for messages.

    Raises:
        UserError: no shape is meant, or not one at the end of each limb; says which were found.
    """
    wanted = f"asset.foot_name {foot_name!r}"
    found = _named(foot_name, shapes, file, wanted)
    feet = [shapes[i] for i in found]
    limbs: dict[str, int] = {}  # joint next to the base -> joints to the end
    for chain in chains:
        limbs[chain[0]] = max(len(chain), limbs.get(chain[0], 0))
    on = [foot.chain[0] if foot.chain else "" for foot in feet]
    if sorted(on) != sorted(limbs):
        bare = [limb for limb in limbs if limb not in on]
        without = f", none on the limbs of {', '.join(bare)}" if bare else ""
        raise UserError(
            f"{wanted} selects {len(feet)} shapes of {file} ({_list(feet)}){without}; "
            f"expected one on each of its {len(limbs)} limbs: give a part of the feet's names or their list; "
            f"colliding shapes are {_list(shapes)}"
        )
    early = [foot for foot in feet if len(foot.chain) < limbs[foot.chain[0]]]
    if early:
        raise UserError(
            f"{wanted} selects {_list(early)} of {file}, expected shapes at the ends of the limbs, "
            f"and behind {early[0].chain[-1]} are more joints; colliding shapes are {_list(shapes)}"
        )
    return found


def _named(foot_name: str | Sequence[str], shapes: Sequence[Shape], file: str, wanted: str) -> list[int]:
    """Which shapes `foot_name` names, at least one."""
    found: list[int] = []
    names = whole_names(foot_name)
    if names is None:
        foot_name = str(foot_name)
        found = [i for i, shape in enumerate(shapes) if foot_name in shape.name]
        found = found or [i for i, shape in enumerate(shapes) if foot_name in shape.body]
    else:
        for name in names:
            same = [i for i, shape in enumerate(shapes) if shape.name == name]
            same = same or [i for i, shape in enumerate(shapes) if shape.body == name]
            if not same:
                near = did_you_mean(name, [shape.name or shape.body for shape in shapes])
                raise UserError(f"{wanted}: {file} has no colliding shape '{name}'{near}; it has {_list(shapes)}")
            found += [i for i in same if i not in found]
    if not found:
        raise UserError(
            f"{wanted} is part of no name of a colliding shape or its body in {file}; it has {_list(shapes)}"
        )
    return found


def whole_names(foot_name: str | Sequence[str]) -> list[str] | None:
    """The names of a list or of a text such as "FL,FR" or "[FL, FR]"; None for a text that is part of names."""
    if not isinstance(foot_name, str):
        return list(foot_name)
    text = foot_name.strip()
    if "," not in text and text[:1] + text[-1:] != "[]":
        return None
    words = [word.strip().strip("'\"") for word in text.strip("[]").split(",")]
    return [word for word in words if word]


def _list(shapes: Sequence[Shape]) -> str:
    return ", ".join(dict.fromkeys(map(str, shapes)))
