"""What a user can ask for while a robot is shown: keys and actions, one table for window, page, help and docs. Standard library only."""

from __future__ import annotations

from typing import Any, NamedTuple

AGENTS = ("policy", "teacher", "both", "zero", "random")
TRAINED = ("policy", "teacher", "both")
"""Who can act, and who of them is loaded from a run."""


class Key(NamedTuple):
    """One key of window and page.

    Attributes:
        name: as views report it: "up", "down", "left", "right", "enter", "space" or a character.
        action: one of `ACTIONS`.
        value: what the action is called with.
        meaning: for people.
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
"""Keys that MuJoCo's viewer leaves alone when somebody else steps the physics: all letters and 0 to 5 are its own."""

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
"""Action -> the value that goes with it."""

BY_NAME = {key.name: key for key in KEYS}


def keys_help() -> str:
    """The table of keys as text."""
    rows = (f"  {key.name:<6} {key.meaning}" for key in KEYS)
    return "\n".join(("keys in the window and on the page, as on a US keyboard:", *rows))
