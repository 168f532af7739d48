"""Observation groups, declared as tables of terms and checked against the environment.

`policy`: what the robot's own sensors tell, the only group with noise. `privileged`: what a teacher may see besides.
`critic`: the policy terms without noise and the privileged truth. Which terms a group has is configuration
(`observations`): a named layout, or lists of terms. Sizes follow from the terms; `describe.py` prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.utils.math import rotate_by_yaw

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

FRICTION_OFFSET = 0.8  # nominal foot friction, subtracted so that the term is centred
MAX_HEIGHT = 1.0  # m, height terms are clipped to +- this


@dataclass(frozen=True)
class ObsTerm:
    """One block of an observation group.

    Attributes:
        dim: columns.
        read: environment -> (N, dim) in SI units.
        scale: factor, a number or one per column.
        noise: half width of uniform noise in the unit of `read`, before scaling; used in the `policy` group only.
        unit: of the value before scaling.
    """

    dim: int
    read: Callable[[LeggedRobot], torch.Tensor]
    scale: float | tuple[float, ...] = 1.0
    noise: float = 0.0
    unit: str = "-"


def scan_heights(env: LeggedRobot) -> torch.Tensor:
    """(N, P) base height above each scan point minus the target height, clipped [m]."""
    return (env.measured_clearance - env.base_height_target).clamp(-MAX_HEIGHT, MAX_HEIGHT)


def terrain_scan(env: LeggedRobot) -> torch.Tensor:
    """(N, P) as `scan_heights`, at the points of `terrain.scan_points_x` and `_y`, which reach ahead of the feet [m]."""
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


def make_terms(env: LeggedRobot, cfg: Any) -> dict[str, ObsTerm]:
    """All known terms with the scales and noises of `cfg` (`normalization.obs_scales`, `noise.noise_scales`)."""
    scale, noise, joints = cfg.normalization.obs_scales, cfg.noise.noise_scales, env.num_dof
    feet, grid = env.num_feet, len(env.foot_points)
    params = env.params
    return {
        "commands": ObsTerm(
            3, lambda e: e.commands[:, :3], (scale.lin_vel, scale.lin_vel, scale.ang_vel), unit="m/s, m/s, rad/s"
        ),
        "projected_gravity": ObsTerm(3, lambda e: e.projected_gravity, noise=noise.gravity),
        "base_ang_vel": ObsTerm(3, lambda e: e.base_ang_vel, scale.ang_vel, noise.ang_vel, "rad/s"),
        "dof_pos": ObsTerm(joints, lambda e: e.dof_pos - e.default_dof_pos, scale.dof_pos, noise.dof_pos, "rad"),
        "dof_vel": ObsTerm(joints, lambda e: e.dof_vel, scale.dof_vel, noise.dof_vel, "rad/s"),
        "last_action": ObsTerm(env.num_actions, lambda e: e.actions),
        "base_lin_vel": ObsTerm(3, lambda e: e.base_lin_vel, scale.lin_vel, unit="m/s"),
        "friction": ObsTerm(1, lambda e: params["friction"][:, None] - FRICTION_OFFSET),
        "added_mass": ObsTerm(1, lambda e: params["added_mass"][:, None], unit="kg"),
        "com_shift": ObsTerm(3, lambda e: params["com_shift"], unit="m"),
        "push_velocity": ObsTerm(2, lambda e: e.push_velocity, unit="m/s"),
        "kp_scale": ObsTerm(joints, lambda e: params["kp_scale"] - 1.0),
        "kd_scale": ObsTerm(joints, lambda e: params["kd_scale"] - 1.0),
        "joint_armature": ObsTerm(1, lambda e: params["armature_scale"][:, None] - 1.0),
        "joint_stiffness": ObsTerm(1, lambda e: params["joint_stiffness"][:, None], unit="N m/rad"),
        "joint_damping": ObsTerm(1, lambda e: params["joint_damping"][:, None], unit="N m s/rad"),
        "joint_friction": ObsTerm(1, lambda e: params["joint_friction_scale"][:, None] - 1.0),
        "action_delay": ObsTerm(1, lambda e: params["delay"][:, None], scale.delay, unit="s"),
        "foot_heights": ObsTerm(feet * grid, foot_heights, scale.height_measurements, unit="m"),
        "foot_normals": ObsTerm(feet * 3, foot_normals),
        "contact_states": ObsTerm(env.num_contact_states, lambda e: e.contact_states[:, e.reported_contacts]),
        "height_scan": ObsTerm(len(env.measured_points), scan_heights, scale.height_measurements, unit="m"),
        "terrain_scan": ObsTerm(len(env.scan_points), terrain_scan, scale.height_measurements, unit="m"),
    }


PROPRIOCEPTION = ("commands", "projected_gravity", "base_ang_vel", "dof_pos", "dof_vel", "last_action")
DOMAIN = (
    "friction", "added_mass", "com_shift", "push_velocity", "kp_scale", "kd_scale", "joint_armature", "joint_stiffness",
    "joint_damping",
)  # fmt: skip
HIDDEN = ("base_lin_vel", *DOMAIN, "joint_friction", "action_delay", "contact_states")
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

"full" shows teacher and critic everything that is randomised, the velocity of the base and the ground ahead of the feet.
"tutorial" is that of genesis_lr's teacher-student tutorial, which hides velocity, delay, joint friction and the ground ahead.
"""


def group_terms(cfg: Any) -> dict[str, tuple[str, ...]]:
    """Group -> its terms in order, for a `LeggedRobotCfg`: those of the layout, where no list of its own is given.

    Raises:
        UserError: no such layout.
    """
    section = cfg.observations
    if section.layout not in LAYOUTS:
        raise UserError(
            f"observations.layout={section.layout}{did_you_mean(section.layout, LAYOUTS)}; known: {', '.join(LAYOUTS)}"
        )
    return {group: tuple(getattr(section, group) or names) for group, names in LAYOUTS[section.layout].items()}


class Observations:
    """Computes all groups; each term is read once per step."""

    def __init__(self, env: LeggedRobot) -> None:
        """Read every term once and compare it with its declaration; a wrong shape is an error naming the term."""
        self.env = env
        self.terms = make_terms(env, env.cfg)
        self.groups = group_terms(env.cfg)
        self._names = list(dict.fromkeys(name for names in self.groups.values() for name in names))
        for name in self._names:
            if name not in self.terms:
                hint = did_you_mean(name, self.terms)
                raise UserError(f"observations: no term '{name}'{hint}; known: {', '.join(self.terms)}")
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

    def compute(self) -> dict[str, torch.Tensor]:
        """One frame of every group, scaled and clipped: group -> (N, dim); noise on `policy`."""
        values = {name: self.terms[name].read(self.env) for name in self._names}
        frames = {}
        for group, names in self.groups.items():
            frame = torch.cat([values[name] for name in names], dim=-1).mul_(self._scales[group])
            frames[group] = frame
        if self._noisy:
            policy = frames["policy"]
            uniform = torch.rand(policy.shape, generator=self.env.rng, device=policy.device)
            policy.addcmul_(uniform.sub_(0.5), self._noise)
        for frame in frames.values():
            frame.clamp_(-self._clip, self._clip)
        return frames
