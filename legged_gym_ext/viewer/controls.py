"""Keys and actions of a robot that is shown: one table for window, page, help and docs. Standard library only."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

AGENTS = ("policy", "teacher", "both", "zero", "random")
TRAINED = ("policy", "teacher", "both")
"""All agents, and those of them that are loaded from a run."""


class Key(NamedTuple):
    """A key of window and page.

    Attributes:
        name: as the views report it: "up", "down", "left", "right", "enter", "space" or a character.
        action: one of `ACTIONS`.
        value: argument of the action.
        meaning: text for the help.
    """

    name: str
    action: str
    value: Any
    meaning: str


KEYS = (
    Key("up", "move", (0.1, 0.0, 0.0), "0.1 m/s faster forward"),
    Key("down", "move", (-0.1, 0.0, 0.0), "0.1 m/s slower, then backward"),
    Key("left", "move", (0.0, 0.0, 0.1), "turn 0.1 rad/s more to the left"),
    Key("right", "move", (0.0, 0.0, -0.1), "turn 0.1 rad/s more to the right"),
    Key("7", "move", (0.0, 0.1, 0.0), "0.1 m/s more sideways to the left"),
    Key("9", "move", (0.0, -0.1, 0.0), "0.1 m/s more sideways to the right"),
    Key("enter", "stop", None, "stop: command zero"),
    Key("space", "pause", None, "pause, go on"),
    Key("8", "reset", None, "start again where the robot was put"),
    Key("6", "agent", None, "teacher or student acts"),
    Key(".", "kind", None, "put the robot on the next kind of ground"),
    Key("=", "harder", 1, "put it one level up"),
    Key("-", "harder", -1, "put it one level down"),
)
"""Keys that MuJoCo's passive viewer does not use itself; it uses all letters and 0 to 5."""

PAGE_KEYS = {
    "up": "I",
    "down": "K",
    "left": "J",
    "right": "L",
    "7": "7",
    "9": "9",
    "enter": "enter",
    "space": "space",
    "8": "8",
    "6": "6",
    ".": "G",
    "=": "pageup",
    "-": "pagedown",
}
"""Name of a key in the window -> key on the page, where arrows and W, A, S, D, Q, E move the camera."""

ACTIONS = {
    "command": "[vx, vy, yaw rate] m/s, m/s, rad/s",
    "move": "[vx, vy, yaw rate] added to the command",
    "stop": "no value",
    "pause": "true, false, or no value to change it",
    "reset": "no value",
    "agent": "name of a policy, or no value for the next",
    "kind": "kind of ground, or no value for the next",
    "level": "level of the ground",
    "harder": "levels up, negative: down",
}
"""Action -> description of its value."""

BY_NAME = {key.name: key for key in KEYS}


def keys_help() -> str:
    """The table of keys as text."""
    rows = (f"  {key.name:<6}  {PAGE_KEYS[key.name]:<8}  {key.meaning}" for key in KEYS)
    return "\n".join(("keys in the window, on the page, and what they do, as on a US keyboard:", *rows))


def is_finite_number(value: Any) -> bool:
    """Whether a value from outside is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
