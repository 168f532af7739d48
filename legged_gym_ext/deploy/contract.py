"""The contract of an exported policy: everything that a program needs to run it.

The contract is stored as one JSON text in the ONNX file's metadata under `KEY`. The graph:

    obs (1, D) [, privileged (1, P)] [, state (1, M)]  ->  actions (1, A), targets (1, J) [, next_state (1, M)]

`obs` are the terms of `observations["obs"]`, each times its scale, clipped. `state` is absent where a policy has
none; zeros start an episode and each step gets the `next_state` of the step before. `actions` are clipped and are
the `last_action` of the next frame; `targets` are the joint angles [rad] to hold. Normalisation, history and action
scaling are inside. Joints are in the order of `joint_names`; quaternions are w x y z.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Mapping

from legged_gym_ext.deploy.contract_values import check_values
from legged_gym_ext.foreign import parse_json
from legged_gym_ext.utils.errors import UserError

KEY, FORMAT = "legged_gym_ext", 1
ROLES = ("policy", "student", "teacher")
STATES = ("none", "window", "cache")


@dataclass(frozen=True)
class Term:
    """A block of columns of an observation.

    Attributes:
        name: of the quantity, e.g. "dof_pos".
        start: first column.
        stop: column after the last one.
        scale: factor per column, from SI units to the network's.
        unit: of the quantity before scaling.
    """

    name: str
    start: int
    stop: int
    scale: tuple[float, ...]
    unit: str = "-"


@dataclass(frozen=True)
class Contract:
    """Everything that the program which runs a policy must know.

    Attributes:
        robot: name of the robot, e.g. "go2".
        task: registered name of the task it was trained on.
        method: algorithm class, e.g. "PPO_ULT".
        role: "policy" (a method with one policy), "student" or "teacher".
        control_dt: seconds between two calls.
        physics_dt: physics step of the training [s].
        joint_names: (J) names in the order of actions and targets.
        default_joint_pos: (J) rad at action zero.
        joint_pos_limits: (J, 2) rad.
        stiffness: (J) N m / rad of the motors' position loops.
        damping: (J) N m s / rad.
        torque_limits: (J) N m.
        velocity_limits: (J) rad/s, no-load speeds.
        motor: "dc" (torque falls linearly with speed) or "ideal" (constant limit).
        action_scale: rad per unit of action.
        clip_actions: actions are within +- this.
        clip_observations: observations are within +- this.
        observations: graph input ("obs", "privileged") -> its terms in order.
        commands: trained range of "lin_vel_x", "lin_vel_y" [m/s] and "ang_vel_yaw" [rad/s].
        standing_height: m from ground to base origin in the default pose.
        sdk_joint_order: (J) joint names in the order of the maker's motors; empty where unknown.
        state: kind of memory: "none", "window" (frames) or "cache" (keys and values of a transformer).
        state_size: M.
        history_length: frames that can matter for an action.
        model: the robot that it was trained on: "file" (name of the model file), "mass" [kg] and "joints": lower and
            upper bound of "joint_damping" [N m s/rad], "joint_friction" [N m], "joint_stiffness" [N m/rad] and
            "armature" [kg m^2] over robots and joints; empty in files of older versions.
        provenance: run, checkpoint, iteration, git commit, versions, date; informative.
    """

    robot: str
    task: str
    method: str
    role: str
    control_dt: float
    physics_dt: float
    joint_names: tuple[str, ...]
    default_joint_pos: tuple[float, ...]
    joint_pos_limits: tuple[tuple[float, float], ...]
    stiffness: tuple[float, ...]
    damping: tuple[float, ...]
    torque_limits: tuple[float, ...]
    velocity_limits: tuple[float, ...]
    motor: str
    action_scale: float
    clip_actions: float
    clip_observations: float
    observations: Mapping[str, tuple[Term, ...]]
    commands: Mapping[str, tuple[float, float]]
    standing_height: float
    sdk_joint_order: tuple[str, ...] = ()
    state: str = "none"
    state_size: int = 0
    history_length: int = 1
    model: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the fields agree with each other; the message names the field."""
        joints = len(self.joint_names)
        per_joint = (
            "default_joint_pos",
            "joint_pos_limits",
            "stiffness",
            "damping",
            "torque_limits",
            "velocity_limits",
        )
        for name in per_joint:
            if len(getattr(self, name)) != joints:
                raise UserError(f"policy contract: {name} has {len(getattr(self, name))} values for {joints} joints")
        for name, known in (("role", ROLES), ("state", STATES)):
            if getattr(self, name) not in known:
                raise UserError(
                    f"policy contract: {name} is '{getattr(self, name)}', expected one of {', '.join(known)}"
                )
        if (self.state == "none") != (self.state_size == 0):
            raise UserError(f"policy contract: state is '{self.state}' with {self.state_size} numbers")
        if self.sdk_joint_order and sorted(self.sdk_joint_order) != sorted(self.joint_names):
            raise UserError("policy contract: sdk_joint_order and joint_names name different joints")
        for group, terms in self.observations.items():
            _check_terms(group, terms)

    def dim(self, group: str) -> int:
        """Columns of an input of the graph."""
        return self.observations[group][-1].stop

    def to_json(self) -> str:
        """The text that is stored in the file."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @staticmethod
    def from_json(text: str) -> Contract:
        """Read `to_json()`.

        Raises:
            UserError: no JSON, another format, missing or contradicting fields.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise UserError(f"policy contract is not JSON ({error}); export the policy again") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise UserError(f"policy contract has format {found}, this version reads {FORMAT}; export the policy again")
        known = {f.name: f for f in fields(Contract)}
        required = set(known) - {"sdk_joint_order", "state", "state_size", "history_length", "model", "provenance"}
        missing = sorted(required - set(values))
        if missing:
            raise UserError(f"policy contract lacks {', '.join(missing)}; export the policy again")
        try:
            check_values(values)
            return Contract(**{name: _restore(name, values[name]) for name in known if name in values})
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(f"policy contract cannot be read ({error}); export the policy again") from error


def _check_terms(group: str, terms: tuple[Term, ...]) -> None:
    """Terms must follow each other without holes and have a factor per column."""
    if not terms:
        raise UserError(f"policy contract: observation '{group}' has no terms")
    start = 0
    for term in terms:
        if term.start != start or term.stop <= start or len(term.scale) != term.stop - term.start:
            raise UserError(
                f"policy contract: term '{term.name}' of '{group}' has columns {term.start} to {term.stop} and "
                f"{len(term.scale)} scales, "
                f"expected to start at {start}"
            )
        start = term.stop


def _restore(name: str, value: Any) -> Any:
    """JSON's lists and dictionaries as the tuples and terms of `Contract`."""
    if name == "observations":
        return {
            group: tuple(Term(**{**term, "scale": tuple(term["scale"])}) for term in terms)
            for group, terms in value.items()
        }
    if name == "commands":
        return {key: (float(low), float(high)) for key, (low, high) in value.items()}
    if name == "model" and value:
        joints = {key: (float(low), float(high)) for key, (low, high) in value["joints"].items()}
        return {"file": str(value["file"]), "mass": float(value["mass"]), "joints": joints}
    if name == "joint_pos_limits":
        return tuple((float(low), float(high)) for low, high in value)
    return tuple(value) if isinstance(value, list) else value
