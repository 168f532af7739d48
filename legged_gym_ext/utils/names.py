"""Per-joint values given by parts of joint names, as in legged_gym's `stiffness = {"joint": 20.0}`."""

from __future__ import annotations

from legged_gym_ext.utils.errors import UserError


def match_joint(values: dict[str, float], name: str, what: str) -> float:
    """Value whose key is part of joint `name`; the longest key wins; none is a `UserError` that names `what`."""
    keys = [key for key in values if key in name]
    if not keys:
        raise UserError(f"{what} has no entry for joint '{name}': keys are {list(values)}, each a part of joint names")
    return float(values[max(keys, key=len)])
