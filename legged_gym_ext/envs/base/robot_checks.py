"""Whether a configuration fits the robot that an engine has read; what cannot be is an error, what surprises a line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from legged_gym_ext.simulators.base import NOMINAL, check_added_mass
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.simulators.base import Simulator

REPLACED = {
    "friction": ("randomize_friction", "friction_range", "feet's friction"),
    "joint_damping": ("randomize_joint_damping", "joint_damping_range", "joint damping"),
    "joint_stiffness": ("randomize_joint_stiffness", "joint_stiffness_range", "joint stiffness"),
}
"""What is drawn in place of the file's value -> switch and range in `domain_rand`, and in words."""

SCALED = {
    "armature": ("randomize_armature", "armature_range", "joint armature"),
    "joint_friction": ("randomize_joint_friction", "joint_friction_range", "joint friction"),
}
"""What is a factor on the file's value -> the same."""


def check_robot(cfg: Any, sim: Simulator) -> list[str]:
    """Compare `cfg` (a `LeggedRobotCfg`) with the robot.

    Returns:
        Lines about values of the robot's file that training does not use.

    Raises:
        UserError: more mass taken off than the base has, or delays between two physics steps.
    """
    rand = cfg.domain_rand
    if rand.randomize_base_mass:
        check_added_mass(sim.base_mass, rand.added_mass_range[0])
    if rand.randomize_delay:
        _check_delays(rand.delay_range, sim.dt)
    return _replaced(cfg, sim) + _without_effect(cfg, sim)


def trained_physics(cfg: Any, sim: Simulator) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each of `NOMINAL` that robots of `cfg` get, in its unit."""
    found = dict(sim.nominal)
    for name, (switch, field, _) in REPLACED.items():
        if getattr(cfg.domain_rand, switch):
            found[name] = tuple(getattr(cfg.domain_rand, field))
    for name, (switch, field, _) in SCALED.items():
        if getattr(cfg.domain_rand, switch):
            (low, high), (least, most) = sim.nominal[name], getattr(cfg.domain_rand, field)
            found[name] = (low * least, high * most)
    return found


def in_words(bounds: tuple[float, float], unit: str) -> str:
    """A range as text, e.g. "0.05 to 0.3 N m s/rad"; one number where both ends are the same."""
    low, high = (f"{bound:.4g}" for bound in bounds)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _check_delays(bounds: list[float], dt: float) -> None:
    steps = [round(bound / dt) for bound in bounds]
    if any(abs(bound - step * dt) > 1e-3 * dt for bound, step in zip(bounds, steps)):
        nearest = [float(f"{step * dt:.6g}") for step in steps]
        raise UserError(
            f"domain_rand.delay_range={bounds}: expected whole physics steps of sim.dt={dt:g} s; "
            f"the nearest are {nearest}"
        )


def _replaced(cfg: Any, sim: Simulator) -> list[str]:
    """Values of the file outside the range that is drawn in their place."""
    lines, file = [], Path(cfg.asset.file).name
    for name, (switch, field, words) in REPLACED.items():
        low, high = getattr(cfg.domain_rand, field)
        least, most = sim.nominal[name]
        if getattr(cfg.domain_rand, switch) and not low <= least <= most <= high:
            lines.append(
                f"note: {file} has {in_words((least, most), NOMINAL[name])} as its {words}, trained is {low:g} to "
                f"{high:g} (domain_rand.{field}); sim2sim.py has the file's"
            )
    return lines


def _without_effect(cfg: Any, sim: Simulator) -> list[str]:
    """Factors on nothing."""
    file = Path(cfg.asset.file).name
    return [
        f"note: {file} has no {words}, so domain_rand.{field} changes nothing"
        for name, (switch, field, words) in SCALED.items()
        if getattr(cfg.domain_rand, switch) and sim.nominal[name][1] == 0.0
    ]
