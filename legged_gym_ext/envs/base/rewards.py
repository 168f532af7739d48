"""Reward terms: each takes the environment and returns (N,) in the unit that it is declared with.

The name of a function is the name of its weight in `rewards.scales`. Weights are per second: the environment multiplies
by the control step. A subclass of `LeggedRobot` adds or replaces a term with a method `_reward_<name>(self)`.
Terms and weights follow legged_gym and its descendants; formulas are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

import torch

from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

REWARD, PENALTY = 1, -1


@dataclass(frozen=True)
class RewardTerm:
    """One reward term.

    Attributes:
        function: environment -> (N,).
        unit: of its values.
        sign: that its weight should have, `REWARD` or `PENALTY`.
    """

    function: Callable[[LeggedRobot], torch.Tensor]
    unit: str
    sign: int


TERMS: dict[str, RewardTerm] = {}
"""Every reward by its name."""


def term(unit: str, sign: int) -> Callable[[Callable], Callable]:
    """Declare a function as the reward of its name; the weight goes into `rewards.scales`.

    Args:
        unit: of what it returns.
        sign: `REWARD` or `PENALTY`; a weight of the other sign is noted when an environment is made.
    """

    def declare(function: Callable) -> Callable:
        TERMS[function.__name__] = RewardTerm(function, unit, sign)
        return function

    return declare


def note_signs(scales: dict[str, float]) -> list[str]:
    """Lines about weights that pay for a penalty, or punish a reward."""
    words = {REWARD: "a reward", PENALTY: "a penalty"}
    return [
        f"note: rewards.scales.{name}={weight:g}, and '{name}' is {words[TERMS[name].sign]}: expected the other sign"
        for name, weight in scales.items()
        if name in TERMS and weight * TERMS[name].sign < 0.0
    ]


@term("-", REWARD)
def tracking_lin_vel(env: LeggedRobot) -> torch.Tensor:
    """Kernel in [0, 1] of the horizontal velocity error: exp(-|v_xy - command|^2 / sigma)."""
    error = (env.commands[:, :2] - env.base_lin_vel[:, :2]).square().sum(-1)
    return torch.exp(-error / env.cfg.rewards.tracking_sigma)


@term("-", REWARD)
def tracking_ang_vel(env: LeggedRobot) -> torch.Tensor:
    """Kernel in [0, 1] of the yaw rate error: exp(-(w_z - command)^2 / sigma)."""
    error = (env.commands[:, 2] - env.base_ang_vel[:, 2]).square()
    return torch.exp(-error / env.cfg.rewards.tracking_sigma)


@term("m^2/s^2", PENALTY)
def lin_vel_z(env: LeggedRobot) -> torch.Tensor:
    """Squared vertical base velocity."""
    return env.base_lin_vel[:, 2].square()


@term("rad^2/s^2", PENALTY)
def ang_vel_xy(env: LeggedRobot) -> torch.Tensor:
    """Squared roll and pitch rates."""
    return env.base_ang_vel[:, :2].square().sum(-1)


@term("-", PENALTY)
def orientation(env: LeggedRobot) -> torch.Tensor:
    """Squared sine of the tilt: horizontal part of the gravity direction."""
    return env.projected_gravity[:, :2].square().sum(-1)


@term("m^2", PENALTY)
def base_height(env: LeggedRobot) -> torch.Tensor:
    """Squared distance of the base from its target height above ground."""
    return (env.base_height - env.base_height_target).square()


@term("rad^2/s^4", PENALTY)
def dof_acc(env: LeggedRobot) -> torch.Tensor:
    """Sum of squared joint accelerations between control steps."""
    return ((env.dof_vel - env.last_dof_vel) / env.dt).square().sum(-1)


@term("rad^2/s^2", PENALTY)
def dof_vel(env: LeggedRobot) -> torch.Tensor:
    """Sum of squared joint velocities."""
    return env.dof_vel.square().sum(-1)


@term("W", PENALTY)
def dof_power(env: LeggedRobot) -> torch.Tensor:
    """Sum of absolute mechanical joint powers."""
    return (env.torques * env.dof_vel).abs().sum(-1)


@term("N^2 m^2", PENALTY)
def torques(env: LeggedRobot) -> torch.Tensor:
    """Sum of squared joint torques."""
    return env.torques.square().sum(-1)


@term("-", PENALTY)
def action_rate(env: LeggedRobot) -> torch.Tensor:
    """Sum of squared first differences of the actions."""
    return (env.actions - env.last_actions).square().sum(-1)


@term("-", PENALTY)
def action_smoothness(env: LeggedRobot) -> torch.Tensor:
    """Sum of squared second differences of the actions."""
    return (env.actions - 2.0 * env.last_actions + env.last_last_actions).square().sum(-1)


@term("rad", PENALTY)
def dof_pos_limits(env: LeggedRobot) -> torch.Tensor:
    """Sum of joint angles beyond the soft limits."""
    below = (env.soft_dof_pos_limits[:, 0] - env.dof_pos).clamp(min=0.0)
    above = (env.dof_pos - env.soft_dof_pos_limits[:, 1]).clamp(min=0.0)
    return (below + above).sum(-1)


@term("-", PENALTY)
def collision(env: LeggedRobot) -> torch.Tensor:
    """Number of penalised bodies that touch something."""
    return env.contact_states[:, env.penalised_contacts].sum(-1)


@term("s", REWARD)
def feet_air_time(env: LeggedRobot) -> torch.Tensor:
    """Swing time beyond the target, paid at touch-down, while commanded to move."""
    late = (env.feet_air_time - env.cfg.rewards.air_time_target) * env.first_contact
    return late.sum(-1) * env.moving


@term("m^3/s", PENALTY)
def foot_clearance(env: LeggedRobot) -> torch.Tensor:
    """Squared height error of each foot weighted with its horizontal speed."""
    error = (env.foot_height - env.cfg.rewards.foot_clearance_target).square()
    return (error * env.foot_speed).sum(-1)


@term("-", REWARD)
def trot(env: LeggedRobot) -> torch.Tensor:
    """1 while exactly one diagonal pair of feet is on the ground and the robot is commanded to move.

    Random actions lift a diagonal pair now and then, so this is felt long before the robot moves
    at all, which is when the velocity kernel is blind.
    """
    touching = (env.foot_contact > 0.0).unbind(-1)
    front_left, front_right, rear_left, rear_right = (touching[foot] for foot in env.corners)
    return (front_left == rear_right) & (front_right == rear_left) & (front_left != front_right) & (env.moving > 0.0)


@term("m^2/s^2", PENALTY)
def feet_slip(env: LeggedRobot) -> torch.Tensor:
    """Squared horizontal speed of feet in contact."""
    return (env.foot_speed.square() * env.foot_contact).sum(-1)


@term("N", PENALTY)
def feet_contact_forces(env: LeggedRobot) -> torch.Tensor:
    """Foot forces beyond `max_contact_force`."""
    force = env.sim.contact_forces[:, env.foot_contacts].norm(dim=-1)
    return (force - env.cfg.rewards.max_contact_force).clamp(min=0.0).sum(-1)


@term("rad", PENALTY)
def stand_still(env: LeggedRobot) -> torch.Tensor:
    """Joint deviation from the default pose while commanded to stand."""
    return (env.dof_pos - env.default_dof_pos).abs().sum(-1) * (1.0 - env.moving)


@term("rad^2", PENALTY)
def hip_pos(env: LeggedRobot) -> torch.Tensor:
    """Squared abduction angles from the default pose."""
    return (env.dof_pos - env.default_dof_pos)[:, env.hip_joints].square().sum(-1)


@term("-", PENALTY)
def termination(env: LeggedRobot) -> torch.Tensor:
    """1 in the step of a fall, time-outs excluded."""
    return env.fall_buf.float()


@term("-", REWARD)
def alive(env: LeggedRobot) -> torch.Tensor:
    """1 in every step."""
    return torch.ones_like(env.base_height)


class RewardSum:
    """Weighted sum of the terms with non-zero weight, and its parts per episode.

    Attributes:
        names: active terms, R of them.
        weights: (R,) weight per second times the control step.
        episode_sums: (R, N) weighted rewards since each reset.
    """

    def __init__(self, env: LeggedRobot, scales: dict[str, float]) -> None:
        """Resolve every name in `scales`, also those at weight zero; an unknown one is a `UserError`."""
        functions = {name: _resolve(env, name) for name in scales}
        self.names = [name for name, scale in scales.items() if scale != 0.0]
        self._functions = [functions[name] for name in self.names]
        self.weights = torch.tensor([scales[n] * env.dt for n in self.names], device=env.device)
        self.episode_sums = torch.zeros(len(self.names), env.num_envs, device=env.device)
        self._terms = torch.zeros_like(self.episode_sums)
        self._clip = env.cfg.rewards.only_positive_rewards
        # A fall must stay visible under clipping, as in legged_gym.
        after_clip = [i for i, n in enumerate(self.names) if n == "termination"]
        self._after_clip = torch.tensor(after_clip, dtype=torch.long, device=env.device)

    def compute(self, faults: torch.Tensor) -> torch.Tensor:
        """Rewards (N,) of this step; environments in `faults` (N,) bool get zero."""
        terms = self._terms
        for row, name, function in zip(terms, self.names, self._functions):
            value = function()
            if not isinstance(value, torch.Tensor) or value.shape != row.shape:
                found = tuple(value.shape) if isinstance(value, torch.Tensor) else repr(value)
                raise UserError(f"reward '{name}' returned {found}, expected a tensor of shape {tuple(row.shape)}")
            row.copy_(value)
        terms.mul_(self.weights[:, None])
        terms.masked_fill_(faults, 0.0)
        self.episode_sums.add_(terms)
        total = terms.sum(0)
        if not self._clip:
            return total
        late = terms[self._after_clip].sum(0)
        return (total - late).clamp(min=0.0) + late

    @property
    def parts(self) -> torch.Tensor:
        """(R, N) weighted terms of the last step."""
        return self._terms

    def latest(self, name: str) -> torch.Tensor:
        """(N,) what the term `name` was in the last step, without its weight."""
        row = self.names.index(name)
        return self._terms[row] / self.weights[row]


def _resolve(env: LeggedRobot, name: str) -> Callable[[], torch.Tensor]:
    method = getattr(env, f"_reward_{name}", None)
    if method is not None:
        return method
    if name not in TERMS:
        own = [found[len("_reward_") :] for found in dir(env) if found.startswith("_reward_")]
        known = [*own, *(term for term in TERMS if term not in own)]
        raise UserError(
            f"unknown reward '{name}' in rewards.scales{did_you_mean(name, known)}; known: {', '.join(known)}"
        )
    return lambda: TERMS[name].function(env)
