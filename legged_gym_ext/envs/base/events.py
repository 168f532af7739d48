"""What happens to robots besides their own actions: start states, domain randomisation, pushes.

Which physics parameters are drawn, from what and when: randomization.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from legged_gym_ext.envs.base.randomization import RESET, START, drawn_parameters
from legged_gym_ext.simulators.base import RobotState
from legged_gym_ext.utils.math import quat_from_yaw, quat_mul

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot


def reset_states(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Put robots `ids` (M,) near their origins with random joints, heading and velocity."""
    cfg, count = env.cfg.init_state, len(ids)
    # One tensor, because each one is copied to a GPU, which waits for it.
    start = torch.tensor([*cfg.pos, *cfg.rot, *cfg.lin_vel, *cfg.ang_vel], device=env.device)
    start_pos, start_quat, lin_vel, ang_vel = start.split((3, 4, 3, 3))
    pos = start_pos + env.terrain.origins[ids]
    radius = env.cfg.terrain.spawn_radius
    pos[:, :2] += env.uniform(count, 2, low=-radius, high=radius)
    # Above the highest ground that the robot may stand over, so that it starts on steps and not in them.
    around = pos[:, None, :2] + env.measured_points
    pos[:, 2] += env.terrain.heights(around).amax(dim=-1) - env.terrain.origins[ids, 2]
    quat = start_quat.expand(count, 4)
    if cfg.random_yaw:
        quat = quat_mul(quat_from_yaw(env.uniform(count, low=-torch.pi, high=torch.pi)), quat)
    speed = env.uniform(count, 6, low=-cfg.velocity_range, high=cfg.velocity_range)
    low, high = cfg.joint_range
    dof_pos = env.default_dof_pos * env.uniform(count, env.num_dof, low=low, high=high)
    dof_pos = torch.minimum(torch.maximum(dof_pos, env.sim.dof_pos_limits[:, 0]), env.sim.dof_pos_limits[:, 1])
    state = RobotState(
        root_pos=pos,
        root_quat=quat,
        root_lin_vel=lin_vel + speed[:, :3],
        root_ang_vel=ang_vel + speed[:, 3:],
        dof_pos=dof_pos,
        dof_vel=torch.zeros_like(dof_pos),
    )
    env.sim.reset(ids, state)
    _lift_feet(env, ids, state)


def _lift_feet(env: LeggedRobot, ids: torch.Tensor, state: RobotState) -> None:
    """Raise robots whose random joint angles would put a foot into the ground."""
    foot = env.sim.foot_pos[ids]
    depth = (env.terrain.heights(foot[..., :2]) + env.foot_radius - foot[..., 2]).amax(dim=-1)
    rows = (depth > 0.0).nonzero().flatten()
    if len(rows):
        raised = RobotState(**{name: value[rows] for name, value in vars(state).items()})
        raised.root_pos[:, 2] += depth[rows]
        env.sim.reset(ids[rows], raised)


def nominal_parameters(env: LeggedRobot) -> dict[str, torch.Tensor]:
    """Physics parameters before randomisation, as the observations read them: (N,) or (N, columns)."""
    return {
        drawn.name: torch.full(drawn.shape(env.num_envs, env.num_dof), drawn.nominal_value(env.sim), device=env.device)
        for _, drawn in drawn_parameters()
    }


def randomize_startup(env: LeggedRobot) -> None:
    """Draw what stays with an environment for its whole life and hand it to the engine."""
    for row, drawn in drawn_parameters(START):
        if row.is_on(env.cfg):
            value, (low, high) = env.params[drawn.name], drawn.bounds(env.cfg)
            value.copy_(drawn.draw(env, tuple(value.shape), low, high))
    apply_parameters(env)


def apply_parameters(env: LeggedRobot) -> None:
    """Hand all randomised parameters to the engine."""
    for row, drawn in drawn_parameters(START):
        if row.is_on(env.cfg):
            env.sim.set_parameter(drawn.engine, drawn.to_engine(env, env.params[drawn.name]))
    env.sim.commit()
    apply_motor_parameters(env, torch.arange(env.num_envs, device=env.device))


def randomize_motors(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Draw gains and delays of robots `ids` (M,), at every reset."""
    for row, drawn in drawn_parameters(RESET):
        if row.is_on(env.cfg):
            low, high = drawn.bounds(env.cfg)
            shape = drawn.shape(len(ids), env.num_dof)
            env.params[drawn.name][ids] = drawn.draw(env, shape, low, high)
    apply_motor_parameters(env, ids)


def apply_motor_parameters(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Hand the gains and delays of robots `ids` to the engine."""
    for row, drawn in drawn_parameters(RESET):
        if row.is_on(env.cfg):
            env.sim.set_parameter(drawn.engine, drawn.to_engine(env, env.params[drawn.name][ids]), ids)


def push_robots(env: LeggedRobot) -> None:
    """Every `push_interval_s`, give all robots a random horizontal base velocity, as legged_gym does."""
    cfg = env.cfg.domain_rand
    if not cfg.push_robots or env.common_step_counter % env.push_interval != 0:
        return
    env.push_velocity.copy_(env.uniform(env.num_envs, 2, low=-cfg.max_push_vel_xy, high=cfg.max_push_vel_xy))
    velocity = env.sim.root_lin_vel.clone()
    velocity[:, :2] = env.push_velocity
    env.sim.set_root_lin_vel(velocity)
