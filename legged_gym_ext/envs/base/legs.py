"""Which leg of a quadruped is where, and which is on the other side.

Both follow from where the hips are and how the joints turn, whatever these are called and however they are ordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.simulators.base import Leg, Simulator

ALIKE = 0.99  # cosine of the angle between a joint's axis and the mirrored one, at least
SAME_ANGLE = 1e-3  # rad
_REFUSAL = "this robot has no left-right mirror image, which algorithm.symmetry_cfg asks for (None: learn without)"


def find_corners(legs: Sequence[Leg]) -> tuple[int, int, int, int]:
    """Which of four legs are at the front left, front right, rear left and rear right.

    Raises:
        UserError: not two legs on each side.
    """
    by_x = sorted(range(len(legs)), key=lambda leg: -legs[leg].hip[0])
    left, right = ([leg for leg in by_x if side * legs[leg].hip[1] > 0.0] for side in (1.0, -1.0))
    if len(legs) != 4 or len(left) != 2 or len(right) != 2:
        hips = ", ".join(f"({leg.hip[0]:.3f}, {leg.hip[1]:.3f})" for leg in legs)
        raise UserError(
            f"expected two legs on the left and two on the right of the base, found hips at x, y [m] {hips}: "
            "a robot without them needs --env.rewards.scales.trot=0 and --train.algorithm.symmetry_cfg=None"
        )
    return left[0], right[0], left[1], right[1]


def mirror_joints(sim: Simulator) -> tuple[list[int], list[float]]:
    """Source joint (J) and sign (J) of each joint of a robot's left-right mirror image.

    Turning about an axis is mirrored into turning about the axis with x and z negated, so a sign is -1 where the axis
    of the joint on the other side is the opposite of that.

    Raises:
        UserError: legs, axes or default angles are no mirror images of each other.
    """
    names, legs = sim.joint_names, sim.legs
    front_left, front_right, rear_left, rear_right = find_corners(legs)
    order, signs = [-1] * len(names), [0.0] * len(names)
    for left, right in ((front_left, front_right), (rear_left, rear_right)):
        if len(legs[left].joints) != len(legs[right].joints):
            counts = f"{len(legs[left].joints)} and {len(legs[right].joints)}"
            raise UserError(
                f"{_REFUSAL}: the legs of {names[legs[left].joints[0]]} and its opposite have {counts} joints"
            )
        for one, other in ((left, right), (right, left)):
            for joint, source, axis, opposite in zip(
                legs[one].joints, legs[other].joints, legs[one].axes, legs[other].axes
            ):
                order[joint] = source
                signs[joint] = _sign(axis, opposite, f"{names[joint]} and {names[source]}")
    others = [name for name, source in zip(names, order) if source < 0]
    if others:
        raise UserError(f"{_REFUSAL}: {', '.join(others)} belong to no leg")
    default = sim.default_dof_pos.tolist()
    for joint, (source, sign) in enumerate(zip(order, signs)):
        if abs(default[joint] - sign * default[source]) > SAME_ANGLE:
            raise UserError(
                f"{_REFUSAL}: init_state.default_joint_angles has {default[joint]:g} rad for {names[joint]} and "
                f"{default[source]:g} for {names[source]}, expected {sign * default[joint]:g}"
            )
    return order, signs


def _sign(axis: Sequence[float], opposite: Sequence[float], names: str) -> float:
    """1 where a mirrored joint turns with the same sign as the joint on the other side, else -1."""
    along = sum(part * other for part, other in zip(axis, (-opposite[0], opposite[1], -opposite[2])))
    if abs(along) < ALIKE:
        raise UserError(f"{_REFUSAL}: the axes of {names} are no mirror images of each other")
    return 1.0 if along > 0.0 else -1.0


def mirror_contacts(env: LeggedRobot, joints: Sequence[int]) -> list[int]:
    """Source column of each column of the term `contact_states`, by the mirrored `joints` (J) that carry its bodies."""
    order: list[int] = []
    for group in env.contact_groups:
        start, at = len(order), [env.sim.contact_joints[contact] for contact in group]
        for column, joint in enumerate(at):
            mirrored = joint if joint < 0 else joints[joint]
            same = [other for other, its in enumerate(at) if its == joint]
            opposite = [other for other, its in enumerate(at) if its == mirrored]
            if len(opposite) != len(same):
                body = env.sim.contact_names[group[column]]
                raise UserError(
                    f"{_REFUSAL}: {body} of asset.penalize_contacts_on has no counterpart on the other side"
                )
            order.append(start + opposite[same.index(column)])
    return order
