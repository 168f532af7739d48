"""What differs between robots and episodes, for people: ranges, units, sources, and how to switch each off (`describe.py` prints it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from legged_gym_ext.utils.config import lookup

START, RESET, STEP = "once per robot", "at every reset", "every step"


@dataclass(frozen=True)
class Randomized:
    """One randomised quantity.

    Attributes:
        fields: of the environment's configuration, where its range stands.
        unit: of the range.
        when: it is drawn.
        source: where the range comes from, or what others use.
        switch: field and the value that switches it off.
    """

    fields: tuple[str, ...]
    unit: str
    when: str
    source: str
    switch: tuple[str, Any]

    def describe(self, cfg: Any) -> dict[str, Any]:
        """Plain data for the configuration `cfg` (a `LeggedRobotCfg`)."""
        field, off = self.switch
        return {
            "on": lookup(cfg, field) != off,
            "switch_off": f"--env.{field}={str(off).lower().replace(' ', '')}",
            "range": {name: lookup(cfg, name) for name in self.fields},
            "unit": self.unit,
            "when": self.when,
            "source": self.source,
        }


def _domain(switch: str, fields: tuple[str, ...], unit: str, when: str, source: str) -> Randomized:
    """A quantity of the section `domain_rand`."""
    paths = tuple(f"domain_rand.{field}" for field in fields)
    return Randomized(paths, unit, when, source, (f"domain_rand.{switch}", False))


FITS = "fits to Go2 logs (IIT DLS PACE, ours)"
NOISE = tuple(f"noise.noise_scales.{name}" for name in ("ang_vel", "gravity", "dof_pos", "dof_vel"))
RANDOMIZED: dict[str, Randomized] = {
    "friction": _domain(
        "randomize_friction", ("friction_range",), "-", START, "unitree_rl_lab 0.3 to 1.2, legged_gym 0.5 to 1.25"
    ),
    "base mass": _domain(
        "randomize_base_mass", ("added_mass_range",), "kg added", START, "unitree_rl_lab, walk-these-ways-go2"
    ),
    "centre of mass": _domain(
        "randomize_com", ("com_shift_range",), "m per axis", START, "genesis_lr; mjlab 2.5 to 3 cm"
    ),
    "armature": _domain("randomize_armature", ("armature_range",), "factor", START, FITS),
    "joint friction": _domain("randomize_joint_friction", ("joint_friction_range",), "factor", START, FITS),
    "joint damping": _domain(
        "randomize_joint_damping",
        ("joint_damping_range",),
        "N m s/rad",
        START,
        "fits to Go2 logs 0.07 to 0.47, genesis_lr to 0.3",
    ),
    "joint stiffness": _domain(
        "randomize_joint_stiffness", ("joint_stiffness_range",), "N m/rad", START, "ours: the pull of cables, small"
    ),
    "motor gains": _domain("randomize_gains", ("kp_range", "kd_range"), "factor per joint", RESET, "genesis_lr"),
    "action delay": _domain(
        "randomize_delay",
        ("delay_range",),
        "s",
        RESET,
        "fits to Go2 logs 1 ms to 1.35 steps, walk-these-ways-go2 30 ms",
    ),
    "pushes": _domain(
        "push_robots",
        ("max_push_vel_xy", "push_interval_s"),
        "m/s, every s",
        "during episodes",
        "unitree_rl_lab; legged_gym 1 m/s every 15 s",
    ),
    "start place": Randomized(
        ("terrain.spawn_radius",),
        "m in x and y from the middle of the tile, or from the origin",
        RESET,
        "legged_gym",
        ("terrain.spawn_radius", 0.0),
    ),
    "start heading": Randomized(
        ("init_state.random_yaw",), "any yaw", RESET, "Isaac Lab's velocity tasks", ("init_state.random_yaw", False)
    ),
    "start velocity": Randomized(
        ("init_state.velocity_range",),
        "+- m/s, rad/s per axis",
        RESET,
        "legged_gym",
        ("init_state.velocity_range", 0.0),
    ),
    "start joints": Randomized(
        ("init_state.joint_range",),
        "factor on the default angles",
        RESET,
        "legged_gym",
        ("init_state.joint_range", [1.0, 1.0]),
    ),
    "sensor noise": Randomized(
        NOISE, "+- rad/s, -, rad, rad/s; `policy` only", STEP, "legged_gym", ("noise.add_noise", False)
    ),
}
"""Quantity -> what `describe.py` says about it."""
