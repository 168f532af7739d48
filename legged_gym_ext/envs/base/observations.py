"""Observation groups: tables of terms, each declared once and checked against the environment.

`policy`: what the robot's own sensors tell, the only group with noise. `privileged`: what a teacher may see besides.
`critic`: the policy terms without noise and the privileged truth. Which terms a group has is configuration
(`observations`): a named layout, or lists of terms. Sizes follow from the terms; `describe.py` prints them.

A new term is one entry of `TERMS`; a randomised physics parameter has its term in its row of randomization.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Union

import torch

from legged_gym_ext.envs.base import mirror
from legged_gym_ext.envs.base.randomization import Drawn, drawn_parameters
from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.utils.math import rotate_by_yaw

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

MAX_HEIGHT = 1.0  # m, height terms are clipped to +- this


@dataclass(frozen=True)
class Sizes:
    """Counts on which the sizes of terms depend."""

    joints: int
    actions: int
    feet: int
    contacts: int  # columns of `contact_states`
    foot_points: int  # around each foot
    height_points: int  # of the term `height_scan`
    scan_points: int  # of the term `terrain_scan`


def sizes_of(env: LeggedRobot) -> Sizes:
    """The counts of an environment."""
    return Sizes(
        joints=env.num_dof,
        actions=env.num_actions,
        feet=env.num_feet,
        contacts=env.num_contact_states,
        foot_points=len(env.foot_points),
        height_points=len(env.measured_points),
        scan_points=len(env.scan_points),
    )


def configured_sizes(cfg: LeggedRobotCfg) -> Sizes:
    """The counts without an environment, for hosts that do not show theirs.

    Every leg is taken to have one abduction joint (`asset.hip_name`) and one body of each kind in
    `asset.penalize_contacts_on`.
    """
    names, terrain = list(cfg.init_state.default_joint_angles), cfg.terrain
    feet = sum(cfg.asset.hip_name in name for name in names)
    return Sizes(
        joints=len(names),
        actions=cfg.env.num_actions,
        feet=feet,
        contacts=feet * (len(cfg.asset.penalize_contacts_on) + 1),
        foot_points=len(terrain.foot_points) ** 2,
        height_points=len(terrain.measured_points_x) * len(terrain.measured_points_y),
        scan_points=len(terrain.scan_points_x) * len(terrain.scan_points_y),
    )


Dim = Union[int, Callable[[Sizes], int]]


@dataclass(frozen=True)
class ObsTerm:
    """Declaration of one block of an observation group.

    Attributes:
        dim: columns, a number or a function of the counts of the robot.
        read: environment -> (N, dim) in SI units.
        scale: field of `normalization.obs_scales`, or one per column; empty: 1.
        noise: field of `noise.noise_scales`: half width of uniform noise in the unit of `read`, before scaling; used
            in the `policy` group only. Empty: none.
        unit: of the value before scaling.
        mirror: left-right mirror image, see mirror.py; without one, trainings with mirrored samples are refused.
    """

    dim: Dim
    read: Callable[[LeggedRobot], torch.Tensor]
    scale: str | tuple[str, ...] = ""
    noise: str = ""
    unit: str = "-"
    mirror: mirror.Mirror | None = None

    def resolve(self, cfg: LeggedRobotCfg, sizes: Sizes) -> ResolvedTerm:
        """The term in numbers."""
        scales, names = cfg.normalization.obs_scales, self.scale
        scale = tuple(getattr(scales, name) for name in names) if isinstance(names, tuple) else _field(scales, names)
        return ResolvedTerm(
            dim=self.dim if isinstance(self.dim, int) else self.dim(sizes),
            read=self.read,
            scale=scale,
            noise=_field(cfg.noise.noise_scales, self.noise) if self.noise else 0.0,
            unit=self.unit,
            mirror=self.mirror,
        )


def _field(section: object, name: str) -> float:
    return getattr(section, name) if name else 1.0


@dataclass(frozen=True)
class ResolvedTerm:
    """An `ObsTerm` in the numbers of a robot and a configuration; attributes as there."""

    dim: int
    read: Callable[[LeggedRobot], torch.Tensor]
    scale: float | tuple[float, ...]
    noise: float
    unit: str
    mirror: mirror.Mirror | None


def scan_heights(env: LeggedRobot) -> torch.Tensor:
    """(N, P) base height above each scan point minus the target height, clipped [m]."""
    return (env.measured_clearance - env.base_height_target).clamp(-MAX_HEIGHT, MAX_HEIGHT)


def terrain_scan(env: LeggedRobot) -> torch.Tensor:
    """(N, P) as `scan_heights`, at the points of `terrain.scan_points_x` and `_y`, which reach beyond the feet [m]."""
    return (env.clearance(env.scan_points) - env.base_height_target).clamp(-MAX_HEIGHT, MAX_HEIGHT)


def foot_heights(env: LeggedRobot) -> torch.Tensor:
    """(N, F * 9) height of each foot above the points of a 3 x 3 grid around it, clipped [m]."""
    foot = env.sim.foot_pos
    offsets = rotate_by_yaw(env.cos_yaw, env.sin_yaw, env.foot_points)
    ground = env.terrain.heights(foot[:, :, None, :2] + offsets[:, None])
    clearance = foot[:, :, 2:3] - env.foot_radius - ground
    return clearance.clamp(-MAX_HEIGHT, MAX_HEIGHT).flatten(1)


def foot_normals(env: LeggedRobot) -> torch.Tensor:
    """(N, F * 3) unit ground normal under each foot, yaw frame."""
    x, y, z = env.terrain.normals(env.sim.foot_pos[..., :2]).unbind(-1)
    cos, sin = env.cos_yaw[:, None], env.sin_yaw[:, None]
    return torch.stack((cos * x + sin * y, cos * y - sin * x, z), dim=-1).flatten(1)


def _drawn_term(drawn: Drawn, unit: str) -> ObsTerm:
    """The term of a randomised physics parameter."""
    observed = drawn.observed

    def read(env: LeggedRobot) -> torch.Tensor:
        values = env.params[drawn.name]
        values = values[:, None] if values.dim() == 1 else values
        return values - observed.centre if observed.centre else values

    return ObsTerm(lambda sizes: drawn.columns(sizes.joints), read, observed.scale, "", unit, observed.mirror)


TERMS: dict[str, ObsTerm] = {
    "commands": ObsTerm(
        3, lambda e: e.commands[:, :3], ("lin_vel", "lin_vel", "ang_vel"), unit="m/s, m/s, rad/s",
        mirror=mirror.signs(1.0, -1.0, -1.0),
    ),
    "projected_gravity": ObsTerm(
        3, lambda e: e.projected_gravity, noise="gravity", mirror=mirror.signs(1.0, -1.0, 1.0)
    ),
    "base_ang_vel": ObsTerm(
        3, lambda e: e.base_ang_vel, "ang_vel", "ang_vel", "rad/s", mirror.signs(-1.0, 1.0, -1.0)
    ),
    "dof_pos": ObsTerm(
        lambda n: n.joints, lambda e: e.dof_pos - e.default_dof_pos, "dof_pos", "dof_pos", "rad", mirror.joints
    ),
    "dof_vel": ObsTerm(lambda n: n.joints, lambda e: e.dof_vel, "dof_vel", "dof_vel", "rad/s", mirror.joints),
    "last_action": ObsTerm(lambda n: n.actions, lambda e: e.actions, mirror=mirror.joints),
    "base_lin_vel": ObsTerm(
        3, lambda e: e.base_lin_vel, "lin_vel", unit="m/s", mirror=mirror.signs(1.0, -1.0, 1.0)
    ),
    "push_velocity": ObsTerm(2, lambda e: e.push_velocity, unit="m/s", mirror=mirror.signs(1.0, -1.0)),
    "foot_heights": ObsTerm(
        lambda n: n.feet * n.foot_points, foot_heights, "height_measurements", unit="m",
        mirror=mirror.foot_grids("foot_points"),
    ),
    "foot_normals": ObsTerm(lambda n: 3 * n.feet, foot_normals, mirror=mirror.foot_vectors),
    "contact_states": ObsTerm(
        lambda n: n.contacts, lambda e: e.contact_states[:, e.reported_contacts], mirror=mirror.contacts
    ),
    "height_scan": ObsTerm(
        lambda n: n.height_points, scan_heights, "height_measurements", unit="m",
        mirror=mirror.grid("measured_points_y"),
    ),
    "terrain_scan": ObsTerm(
        lambda n: n.scan_points, terrain_scan, "height_measurements", unit="m", mirror=mirror.grid("scan_points_y")
    ),
    **{drawn.observed.term: _drawn_term(drawn, drawn.unit) for _, drawn in drawn_parameters()},
}  # fmt: skip
"""Every observation term by its name."""


PROPRIOCEPTION = ("commands", "projected_gravity", "base_ang_vel", "dof_pos", "dof_vel", "last_action")
DOMAIN = (
    "friction", "added_mass", "com_shift", "push_velocity", "kp_scale", "kd_scale", "joint_armature", "joint_stiffness",
    "joint_damping",
)  # fmt: skip
LATER = ("joint_friction", "action_delay")
OTHERS = tuple(drawn.observed.term for _, drawn in drawn_parameters() if drawn.observed.term not in (*DOMAIN, *LATER))
"""Terms of randomised quantities that nobody has put into an order yet: "full" has them too."""

HIDDEN = ("base_lin_vel", *DOMAIN, *LATER, *OTHERS, "contact_states")
LAYOUTS: dict[str, dict[str, tuple[str, ...]]] = {
    "full": {
        "policy": PROPRIOCEPTION,
        "privileged": (*HIDDEN, "foot_heights", "foot_normals", "terrain_scan"),
        "critic": (*PROPRIOCEPTION, *HIDDEN, "terrain_scan"),
    },
    "tutorial": {
        "policy": PROPRIOCEPTION,
        "privileged": (*DOMAIN, "foot_heights", "foot_normals", "contact_states"),
        "critic": (*PROPRIOCEPTION, *DOMAIN, "contact_states", "height_scan"),
    },
}
"""Layout -> group -> its terms in order.

"full" shows teacher and critic everything that is randomised, the velocity of the base and the ground ahead of the
feet. "tutorial" is that of genesis_lr's teacher-student tutorial, which hides velocity, delay, joint friction and the
ground ahead.
"""


def group_terms(cfg: LeggedRobotCfg) -> dict[str, tuple[str, ...]]:
    """Group -> names of its terms in order: those of the layout, where the configuration gives no list.

    Raises:
        UserError: no such layout, or no such term.
    """
    section = cfg.observations
    if section.layout not in LAYOUTS:
        raise UserError(
            f"observations.layout={section.layout}{did_you_mean(section.layout, LAYOUTS)}; known: {', '.join(LAYOUTS)}"
        )
    groups = {group: tuple(getattr(section, group) or names) for group, names in LAYOUTS[section.layout].items()}
    for name in (name for names in groups.values() for name in names if name not in TERMS):
        raise UserError(f"observations: no term '{name}'{did_you_mean(name, TERMS)}; known: {', '.join(TERMS)}")
    return groups


def resolve_terms(cfg: LeggedRobotCfg, sizes: Sizes) -> dict[str, ResolvedTerm]:
    """All terms in the numbers of a configuration."""
    return {name: term.resolve(cfg, sizes) for name, term in TERMS.items()}


def group_dims(cfg: LeggedRobotCfg) -> dict[str, int]:
    """Columns of each group without an environment, those of stacked critic frames included."""
    terms = resolve_terms(cfg, configured_sizes(cfg))
    dims = {group: sum(terms[name].dim for name in names) for group, names in group_terms(cfg).items()}
    return {**dims, "critic": dims["critic"] * cfg.env.critic_frames}


class Observations:
    """Computes all groups; each term is read once per step."""

    def __init__(self, env: LeggedRobot) -> None:
        """Read every term once and compare it with its declaration; a wrong shape is an error naming the term."""
        self.env = env
        self.terms = resolve_terms(env.cfg, sizes_of(env))
        self.groups = group_terms(env.cfg)
        self._names = list(dict.fromkeys(name for names in self.groups.values() for name in names))
        for name in self._names:
            found, expected = tuple(self.terms[name].read(env).shape), (env.num_envs, self.terms[name].dim)
            if found != expected:
                raise ValueError(f"observation term '{name}' has shape {found}, declared {expected}")
        self._scales = {group: self._columns(names, "scale") for group, names in self.groups.items()}
        noise = env.cfg.noise
        level = noise.noise_level if noise.add_noise else 0.0
        self._noise = 2.0 * level * self._columns(self.groups["policy"], "noise") * self._scales["policy"]
        self._noisy = bool((self._noise != 0.0).any())
        self._clip = env.cfg.normalization.clip_observations

    def _columns(self, names: tuple[str, ...], field: str) -> torch.Tensor:
        """(D,) value of `field` of each column of a group."""
        columns: list[float] = []
        for name in names:
            value = getattr(self.terms[name], field)
            columns += list(value) if isinstance(value, tuple) else [value] * self.terms[name].dim
        return torch.tensor(columns, device=self.env.device)

    def dim(self, group: str) -> int:
        """Columns of one frame of a group."""
        return sum(self.terms[name].dim for name in self.groups[group])

    def slices(self, group: str) -> dict[str, slice]:
        """Columns of each term of a group."""
        result, start = {}, 0
        for name in self.groups[group]:
            result[name] = slice(start, start + self.terms[name].dim)
            start = result[name].stop
        return result

    def compute(self, rng: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        """One frame of every group, scaled and clipped: group -> (N, dim); noise on `policy`.

        Args:
            rng: draws the noise; None: the environment's own generator.
        """
        values = {name: self.terms[name].read(self.env) for name in self._names}
        frames = {}
        for group, names in self.groups.items():
            frame = torch.cat([values[name] for name in names], dim=-1).mul_(self._scales[group])
            frames[group] = frame
        if self._noisy:
            policy = frames["policy"]
            uniform = torch.rand(policy.shape, generator=self.env.rng if rng is None else rng, device=policy.device)
            policy.addcmul_(uniform.sub_(0.5), self._noise)
        for frame in frames.values():
            frame.clamp_(-self._clip, self._clip)
        return frames
