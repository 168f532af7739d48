"""Everything that differs between robots and episodes, one row each: the only place where a quantity is declared.

From the rows follow: what is drawn and handed to the engine (events.py), the limits of the ranges (limits.py), the
terms by which teacher and critic observe it (observations.py), the comparison with the robot's file (robot_checks.py),
`disable_randomization`, and what `describe.py` prints. Only the switches and default ranges stand elsewhere, in
legged_robot_config.py, where they are typed. Quantities are drawn in the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.envs.base.mirror import Mirror, same, signs, unsigned_joints
from legged_gym_ext.simulators.base import PARAMETERS, PER_JOINT, check_added_mass
from legged_gym_ext.utils.config import lookup
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.simulators.base import Simulator

START, RESET, STEP = "once per robot", "at every reset", "every step"
SHORT, LONG = 1e-4, 1e9  # s, shorter is meant to be zero and longer to be endless; both make no whole number of steps


def draw_uniform(env: LeggedRobot, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    """Uniform numbers in [low, high) from the environment's generator."""
    return env.uniform(*shape, low=low, high=high)


def draw_physics_steps(env: LeggedRobot, shape: tuple[int, ...], low: float, high: float) -> torch.Tensor:
    """Times [s] that are whole physics steps, both ends included."""
    first, last = (round(bound / env.sim.dt) for bound in (low, high))
    return torch.randint(first, last + 1, shape, generator=env.rng, device=env.device) * env.sim.dt


def check_mass(bounds: list[float], sim: Simulator) -> None:
    """Refuse to take more off the base than it has."""
    check_added_mass(sim.base_mass, bounds[0])


def check_physics_steps(bounds: list[float], sim: Simulator) -> None:
    """Refuse times between two physics steps; names the nearest ones."""
    steps = [round(bound / sim.dt) for bound in bounds]
    if any(abs(bound - step * sim.dt) > 1e-3 * sim.dt for bound, step in zip(bounds, steps)):
        nearest = [float(f"{step * sim.dt:.6g}") for step in steps]
        raise UserError(
            f"domain_rand.delay_range={bounds}: expected whole physics steps of sim.dt={sim.dt:g} s; "
            f"the nearest are {nearest}"
        )


@dataclass(frozen=True)
class FileValue:
    """What a robot's file says about a quantity that is drawn.

    Attributes:
        name: in `simulators.base.NOMINAL`.
        words: for people, e.g. "joint damping".
        factor: drawn values multiply that of the file; otherwise they replace it.
    """

    name: str
    words: str
    factor: bool = False


@dataclass(frozen=True)
class Observed:
    """How the observation groups `privileged` and `critic` read a quantity: (value - `centre`) * scale.

    Attributes:
        term: name of the observation term.
        mirror: its left-right mirror image, see mirror.py.
        centre: subtracted, in the quantity's unit.
        scale: field of `normalization.obs_scales`; empty: 1.
    """

    term: str
    mirror: Mirror
    centre: float = 0.0
    scale: str = ""


@dataclass(frozen=True)
class Drawn:
    """A physics parameter with a value, or a row of values, for each robot.

    Attributes:
        name: in `LeggedRobot.params`, which holds the value as it was drawn.
        engine: name in `simulators.base.PARAMETERS`.
        range: field of `domain_rand`, [lower, upper].
        observed: how it is observed.
        nominal: value without randomisation; None: what the robot's file says.
        lowest: smallest value that the range may have.
        file: what it replaces or scales, where the robot's file says something about it.
        draw: (environment, shape, lower, upper) -> values of that shape.
        to_engine: (environment, values) -> what the engine is given.
        check: compares the range with the robot; raises a `UserError`.
    """

    name: str
    engine: str
    range: str
    observed: Observed
    nominal: float | None = 0.0
    lowest: float = -inf
    file: FileValue | None = None
    draw: Callable[[LeggedRobot, tuple[int, ...], float, float], torch.Tensor] = draw_uniform
    to_engine: Callable[[LeggedRobot, torch.Tensor], torch.Tensor] = lambda env, values: values
    check: Callable[[list[float], Simulator], None] = lambda bounds, sim: None

    @property
    def unit(self) -> str:
        """Of the drawn value; gains are drawn as factors."""
        return PARAMETERS[self.engine].unit if self.name == self.engine else "-"

    def bounds(self, cfg: LeggedRobotCfg) -> list[float]:
        """The range of a configuration."""
        return getattr(cfg.domain_rand, self.range)

    def columns(self, joints: int) -> int:
        """Values per robot with `joints` joints."""
        columns = PARAMETERS[self.engine].columns
        return joints if columns == PER_JOINT else columns

    def shape(self, robots: int, joints: int) -> tuple[int, ...]:
        """(robots,), or (robots, columns) where a robot has several values."""
        columns = PARAMETERS[self.engine].columns
        return (robots,) if columns == 1 else (robots, self.columns(joints))

    def nominal_value(self, sim: Simulator) -> float:
        """Without randomisation."""
        if self.nominal is None and self.file is not None:
            return sum(sim.nominal[self.file.name]) / 2.0
        return self.nominal or 0.0


@dataclass(frozen=True)
class Randomized:
    """One randomised quantity, as people speak of it.

    Attributes:
        unit: of its ranges.
        when: it is drawn.
        source: where the ranges come from, or what others use.
        off: field of the configuration and the value that switches it off.
        drawn: physics parameters that it consists of, drawn and applied by events.py; start states, pushes and noise
            have none and are drawn where they happen.
        ranges: other fields [lower, upper] -> smallest value.
        numbers: other fields that are numbers -> smallest and largest value.
        fields: other fields that are listed but have no limits of their own.
    """

    unit: str
    when: str
    source: str
    off: tuple[str, Any]
    drawn: tuple[Drawn, ...] = ()
    ranges: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, tuple[float, float]] = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    @property
    def all_ranges(self) -> dict[str, float]:
        """Every field [lower, upper] -> smallest value."""
        return {**{f"domain_rand.{drawn.range}": drawn.lowest for drawn in self.drawn}, **self.ranges}

    @property
    def all_fields(self) -> tuple[str, ...]:
        """Every field of the configuration that says how it is drawn."""
        return (*self.all_ranges, *self.numbers, *self.fields)

    def is_on(self, cfg: LeggedRobotCfg) -> bool:
        """Whether the configuration has it drawn."""
        name, off = self.off
        return lookup(cfg, name) != off

    def describe(self, cfg: LeggedRobotCfg) -> dict[str, Any]:
        """Plain data for a configuration, which `describe.py` prints."""
        switch, off = self.off
        return {
            "on": self.is_on(cfg),
            "switch_off": f"--env.{switch}={str(off).lower().replace(' ', '')}",
            "range": {path: lookup(cfg, path) for path in self.all_fields},
            "unit": self.unit,
            "when": self.when,
            "source": self.source,
        }


def _switched(name: str) -> tuple[str, bool]:
    return f"domain_rand.{name}", False


FITS = "fits to Go2 logs (IIT DLS PACE, ours)"

RANDOMIZED: dict[str, Randomized] = {
    "friction": Randomized(
        "-", START, "unitree_rl_lab 0.3 to 1.2, legged_gym 0.5 to 1.25", _switched("randomize_friction"),
        (Drawn("friction", "friction", "friction_range", Observed("friction", same, 0.8), None, 0.0,
               FileValue("friction", "feet's friction")),),
    ),
    "base mass": Randomized(
        "kg added", START, "unitree_rl_lab, walk-these-ways-go2", _switched("randomize_base_mass"),
        (Drawn("added_mass", "added_mass", "added_mass_range", Observed("added_mass", same), check=check_mass),),
    ),
    "centre of mass": Randomized(
        "m per axis", START, "genesis_lr; mjlab 2.5 to 3 cm", _switched("randomize_com"),
        (Drawn("com_shift", "com_shift", "com_shift_range", Observed("com_shift", signs(1.0, -1.0, 1.0))),),
    ),
    "armature": Randomized(
        "factor", START, FITS, _switched("randomize_armature"),
        (Drawn("armature_scale", "armature_scale", "armature_range", Observed("joint_armature", same, 1.0), 1.0, 0.0,
               FileValue("armature", "joint armature", factor=True)),),
    ),
    "joint friction": Randomized(
        "factor", START, FITS, _switched("randomize_joint_friction"),
        (Drawn("joint_friction_scale", "joint_friction_scale", "joint_friction_range",
               Observed("joint_friction", same, 1.0),
               1.0, 0.0, FileValue("joint_friction", "joint friction", factor=True)),),
    ),
    "joint damping": Randomized(
        "N m s/rad", START, "fits to Go2 logs 0.07 to 0.47, genesis_lr to 0.3", _switched("randomize_joint_damping"),
        (Drawn("joint_damping", "joint_damping", "joint_damping_range", Observed("joint_damping", same), None, 0.0,
               FileValue("joint_damping", "joint damping")),),
    ),
    "joint stiffness": Randomized(
        "N m/rad", START, "ours: the pull of cables, small", _switched("randomize_joint_stiffness"),
        (Drawn("joint_stiffness", "joint_stiffness", "joint_stiffness_range", Observed("joint_stiffness", same), None,
               0.0, FileValue("joint_stiffness", "joint stiffness")),),
    ),
    "motor gains": Randomized(
        "factor per joint", RESET, "genesis_lr", _switched("randomize_gains"),
        (Drawn("kp_scale", "kp", "kp_range", Observed("kp_scale", unsigned_joints, 1.0), 1.0, 0.0,
               to_engine=lambda env, factors: factors * env.p_gains),
         Drawn("kd_scale", "kd", "kd_range", Observed("kd_scale", unsigned_joints, 1.0), 1.0, 0.0,
               to_engine=lambda env, factors: factors * env.d_gains)),
    ),
    "action delay": Randomized(
        "s", RESET, "fits to Go2 logs 1 ms to 1.35 steps, walk-these-ways-go2 30 ms", _switched("randomize_delay"),
        (Drawn("delay", "delay", "delay_range", Observed("action_delay", same, scale="delay"), 0.0, 0.0,
               draw=draw_physics_steps, check=check_physics_steps),),
    ),
    "pushes": Randomized(
        "m/s, every s", "during episodes", "unitree_rl_lab; legged_gym 1 m/s every 15 s", _switched("push_robots"),
        numbers={"domain_rand.max_push_vel_xy": (0.0, inf), "domain_rand.push_interval_s": (SHORT, LONG)},
    ),
    "start place": Randomized(
        "m in x and y from the middle of the tile, or from the origin", RESET, "legged_gym",
        ("terrain.spawn_radius", 0.0), numbers={"terrain.spawn_radius": (0.0, inf)},
    ),
    "start heading": Randomized(
        "any yaw", RESET, "Isaac Lab's velocity tasks", ("init_state.random_yaw", False),
        fields=("init_state.random_yaw",),
    ),
    "start velocity": Randomized(
        "+- m/s, rad/s per axis", RESET, "legged_gym", ("init_state.velocity_range", 0.0),
        numbers={"init_state.velocity_range": (0.0, inf)},
    ),
    "start joints": Randomized(
        "factor on the default angles", RESET, "legged_gym", ("init_state.joint_range", [1.0, 1.0]),
        ranges={"init_state.joint_range": -inf},
    ),
    "sensor noise": Randomized(
        "+- rad/s, -, rad, rad/s; `policy` only", STEP, "legged_gym", ("noise.add_noise", False),
        fields=tuple(f"noise.noise_scales.{name}" for name in ("ang_vel", "gravity", "dof_pos", "dof_vel")),
    ),
}  # fmt: skip
"""Quantity -> its row."""


def drawn_parameters(when: str | None = None) -> Iterator[tuple[Randomized, Drawn]]:
    """All physics parameters with their rows, in the order in which they are drawn; of one moment only if given."""
    for row in RANDOMIZED.values():
        if when in (None, row.when):
            yield from ((row, drawn) for drawn in row.drawn)


def disable_randomization(cfg: LeggedRobotCfg) -> None:
    """Switch off every quantity of the table: robots with nominal physics that start alike, undisturbed and at rest."""
    for row in RANDOMIZED.values():
        path, off = row.off
        section, _, name = path.rpartition(".")
        setattr(lookup(cfg, section), name, list(off) if isinstance(off, list) else off)
