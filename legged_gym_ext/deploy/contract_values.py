"""What the fields of a policy's contract may be, checked before a robot follows them. Standard library only."""

from __future__ import annotations

import math
from typing import Any, Mapping

STEP = (1e-4, 1.0)  # s, of physics and control: others would not end, or not balance
LARGEST = 1e6  # of sizes, gains and limits
MOTORS = ("dc", "ideal")

TEXTS = ("robot", "task", "method", "role", "motor", "state")
NAMES = ("joint_names", "sdk_joint_order")
COUNTS = {"state_size": 10_000_000, "history_length": 100_000}
"""Whole numbers -> largest."""

NUMBERS = {
    "control_dt": STEP,
    "physics_dt": STEP,
    "action_scale": (-LARGEST, LARGEST),
    "clip_actions": (0.0, math.inf),
    "clip_observations": (0.0, math.inf),
    "standing_height": (0.0, 100.0),
}
"""Numbers -> range."""

BY_JOINT = {
    "default_joint_pos": (-100.0, 100.0),
    "stiffness": (0.0, LARGEST),
    "damping": (0.0, LARGEST),
    "torque_limits": (1e-6, LARGEST),
    "velocity_limits": (1e-6, LARGEST),
}
"""Numbers of each joint -> range."""


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse fields of another type, or numbers that make no sense (`ValueError`); fields may be missing."""
    found = {name: value for name, value in values.items() if name != "format"}
    for name in TEXTS:
        _check(isinstance(found.get(name, ""), str), name, "a text", found.get(name))
    _check(found.get("motor", MOTORS[0]) in MOTORS, "motor", " or ".join(MOTORS), found.get("motor"))
    for name in NAMES:
        _check_names(name, found.get(name, []))
    for name, largest in COUNTS.items():
        value = found.get(name, 0)
        _check(type(value) is int and 0 <= value <= largest, name, f"0 to {largest}", value)
    for name, bounds in NUMBERS.items():
        _check_number(name, found.get(name, bounds[1]), *bounds)
    for name, bounds in BY_JOINT.items():
        _check(isinstance(found.get(name, []), list), name, "a list of numbers", found.get(name))
        for value in found.get(name, []):
            _check_number(name, value, *bounds)
    for limits in _list("joint_pos_limits", found.get("joint_pos_limits", [])):
        _check_range("joint_pos_limits", limits, 100.0)
    for name, limits in _object("commands", found.get("commands", {})).items():
        _check_range(f"commands.{name}", limits, LARGEST)
    for group, terms in _object("observations", found.get("observations", {})).items():
        for term in _list(f"observations.{group}", terms):
            _check_term(f"observations.{group}", term)
    _object("provenance", found.get("provenance", {}))


def _check(holds: bool, name: str, expected: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"{name} is {str(value)[:60]!r}, expected {expected}")


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    number = type(value) is float or (type(value) is int and abs(value) < 2**63)
    _check(number and low <= value <= high, name, f"numbers from {low:g} to {high:g}", value)


def _check_names(name: str, value: Any) -> None:
    texts = [item for item in _list(name, value) if isinstance(item, str) and item]
    _check(len(set(texts)) == len(value), name, "different names", value)


def _check_range(name: str, value: Any, largest: float) -> None:
    _check(isinstance(value, list) and len(value) == 2, name, "a lower and an upper bound", value)
    for bound in value:
        _check_number(name, bound, -largest, largest)
    _check(value[0] <= value[1], name, "the lower bound first", value)


def _check_term(name: str, term: Any) -> None:
    fields = _object(name, term)
    for key, kind in (("name", str), ("start", int), ("stop", int), ("scale", list), ("unit", str)):
        _check(type(fields.get(key, kind())) is kind, f"{name}.{key}", kind.__name__, fields.get(key))
    for factor in fields.get("scale", []):
        _check_number(f"{name}.scale", factor, -LARGEST, LARGEST)


def _list(name: str, value: Any) -> list[Any]:
    _check(isinstance(value, list), name, "a list", value)
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    _check(isinstance(value, dict), name, "an object", value)
    return value
