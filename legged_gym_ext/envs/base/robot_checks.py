"""Whether a configuration fits the robot that an engine has read: contradictions are errors, surprises are notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from legged_gym_ext.envs.base.randomization import Drawn, FileValue, drawn_parameters
from legged_gym_ext.simulators.base import NOMINAL

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.simulators.base import Simulator


def check_robot(cfg: LeggedRobotCfg, sim: Simulator) -> list[str]:
    """Compare a configuration with the robot.

    Returns:
        Notes about values of the robot's file that training does not use.

    Raises:
        UserError: a range that this robot cannot have, such as more mass taken off the base than it has.
    """
    for row, drawn in drawn_parameters():
        if row.is_on(cfg):
            drawn.check(drawn.bounds(cfg), sim)
    return _replaced(cfg, sim) + _without_effect(cfg, sim)


def trained_physics(cfg: LeggedRobotCfg, sim: Simulator) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of each of `NOMINAL` that robots get, in its unit."""
    found = dict(sim.nominal)
    for drawn, file in _of_the_file(cfg):
        (low, high), (least, most) = sim.nominal[file.name], drawn.bounds(cfg)
        found[file.name] = (low * least, high * most) if file.factor else (least, most)
    return found


def in_words(bounds: tuple[float, float], unit: str) -> str:
    """A range as text, e.g. "0.05 to 0.3 N m s/rad"; one number where both ends are the same."""
    low, high = (f"{bound:.4g}" for bound in bounds)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _of_the_file(cfg: LeggedRobotCfg) -> list[tuple[Drawn, FileValue]]:
    """What is randomised and also in the robot's file."""
    return [(drawn, drawn.file) for row, drawn in drawn_parameters() if drawn.file is not None and row.is_on(cfg)]


def _replaced(cfg: LeggedRobotCfg, sim: Simulator) -> list[str]:
    """Values of the file outside the range that is drawn in their place."""
    lines, name = [], Path(cfg.asset.file).name
    for drawn, file in _of_the_file(cfg):
        low, high = drawn.bounds(cfg)
        least, most = sim.nominal[file.name]
        if not file.factor and not low <= least <= most <= high:
            lines.append(
                f"note: {name} has {in_words((least, most), NOMINAL[file.name])} as its {file.words}, trained is "
                f"{low:g} to {high:g} (domain_rand.{drawn.range}); sim2sim.py has the file's"
            )
    return lines


def _without_effect(cfg: LeggedRobotCfg, sim: Simulator) -> list[str]:
    """Factors on nothing."""
    return [
        f"note: {Path(cfg.asset.file).name} has no {file.words}, so domain_rand.{drawn.range} changes nothing"
        for drawn, file in _of_the_file(cfg)
        if file.factor and sim.nominal[file.name][1] == 0.0
    ]
