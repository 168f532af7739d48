"""What happens to robots besides their own actions: start states, domain randomisation, pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from legged_gym_ext.simulators.base import RobotState
from legged_gym_ext.utils.math import quat_from_yaw, quat_mul

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

STARTUP = (
    ("friction", "randomize_friction", "friction_range", 1, 0.8),
    ("added_mass", "randomize_base_mass", "added_mass_range", 1, 0.0),
    ("com_shift", "randomize_com", "com_shift_range", 3, 0.0),
    ("armature_scale", "randomize_armature", "armature_range", 1, 1.0),
    ("joint_friction_scale", "randomize_joint_friction", "joint_friction_range", 1, 1.0),
    ("joint_damping", "randomize_joint_damping", "joint_damping_range", 1, 0.15),
    ("joint_stiffness", "randomize_joint_stiffness", "joint_stiffness_range", 1, 0.0),
)
"""Engine parameter, its switch and range in `domain_rand`, columns, nominal value. Drawn once."""


def reset_states(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Put robots `ids` (M,) near their origins with random joints, heading and velocity."""
    cfg, count = env.cfg.init_state, len(ids)
    pos = torch.tensor(cfg.pos, device=env.device) + env.terrain.origins[ids]
    radius = env.cfg.terrain.spawn_radius
    pos[:, :2] += env.uniform(count, 2, low=-radius, high=radius)
    # Above the highest ground that the robot may stand over, so that it starts on steps and not in them.
    around = pos[:, None, :2] + env.measured_points
    pos[:, 2] += env.terrain.heights(around).amax(dim=-1) - env.terrain.origins[ids, 2]
    quat = torch.tensor(cfg.rot, device=env.device).expand(count, 4)
    if cfg.random_yaw:
        quat = quat_mul(quat_from_yaw(env.uniform(count, low=-torch.pi, high=torch.pi)), quat)
    speed = env.uniform(count, 6, low=-cfg.velocity_range, high=cfg.velocity_range)
    low, high = cfg.joint_range
    dof_pos = env.default_dof_pos * env.uniform(count, env.num_dof, low=low, high=high)
    dof_pos = torch.minimum(torch.maximum(dof_pos, env.sim.dof_pos_limits[:, 0]), env.sim.dof_pos_limits[:, 1])
    state = RobotState(
        root_pos=pos,
        root_quat=quat,
        root_lin_vel=torch.tensor(cfg.lin_vel, device=env.device) + speed[:, :3],
        root_ang_vel=torch.tensor(cfg.ang_vel, device=env.device) + speed[:, 3:],
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
    params = {}
    for name, _, _, columns, nominal in STARTUP:
        shape = (env.num_envs,) if columns == 1 else (env.num_envs, columns)
        params[name] = torch.full(shape, nominal, device=env.device)
    for name in ("friction", "joint_damping", "joint_stiffness"):  # absolute: what the robot's file says
        params[name].fill_(sum(env.sim.nominal[name]) / 2.0)
    for name in ("kp_scale", "kd_scale"):
        params[name] = torch.ones(env.num_envs, env.num_dof, device=env.device)
    params["delay"] = torch.zeros(env.num_envs, device=env.device)
    return params


def randomize_startup(env: LeggedRobot) -> None:
    """Draw what stays with an environment for its whole life and hand it to the engine."""
    cfg = env.cfg.domain_rand
    for name, switch, range_name, _, _ in STARTUP:
        if not getattr(cfg, switch):
            continue
        low, high = getattr(cfg, range_name)
        value = env.params[name]
        value.copy_(env.uniform(*value.shape, low=low, high=high))
    apply_parameters(env)


def apply_parameters(env: LeggedRobot) -> None:
    """Hand all randomised parameters to the engine."""
    cfg = env.cfg.domain_rand
    for name, switch, _, _, _ in STARTUP:
        if getattr(cfg, switch):
            env.sim.set_parameter(name, env.params[name])
    env.sim.commit()
    apply_motor_parameters(env, torch.arange(env.num_envs, device=env.device))


def randomize_motors(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Draw gains and delays of robots `ids` (M,), at every reset."""
    cfg, count = env.cfg.domain_rand, len(ids)
    if cfg.randomize_gains:
        for name in ("kp", "kd"):
            low, high = getattr(cfg, f"{name}_range")
            env.params[f"{name}_scale"][ids] = env.uniform(count, env.num_dof, low=low, high=high)
    if cfg.randomize_delay:
        low, high = (round(bound / env.sim.dt) for bound in cfg.delay_range)  # whole ones, see robot_checks.py
        steps = torch.randint(low, high + 1, (count,), generator=env.rng, device=env.device)
        env.params["delay"][ids] = steps * env.sim.dt
    apply_motor_parameters(env, ids)


def apply_motor_parameters(env: LeggedRobot, ids: torch.Tensor) -> None:
    """Hand the gains and delays of robots `ids` to the engine."""
    cfg = env.cfg.domain_rand
    if cfg.randomize_gains:
        env.sim.set_parameter("kp", env.params["kp_scale"][ids] * env.p_gains, ids)
        env.sim.set_parameter("kd", env.params["kd_scale"][ids] * env.d_gains, ids)
    if cfg.randomize_delay:
        env.sim.set_parameter("delay", env.params["delay"][ids], ids)


def push_robots(env: LeggedRobot) -> None:
    """Every `push_interval_s`, give all robots a random horizontal base velocity, as legged_gym does."""
    cfg = env.cfg.domain_rand
    if not cfg.push_robots or env.common_step_counter % env.push_interval != 0:
        return
    env.push_velocity.copy_(env.uniform(env.num_envs, 2, low=-cfg.max_push_vel_xy, high=cfg.max_push_vel_xy))
    velocity = env.sim.root_lin_vel.clone()
    velocity[:, :2] = env.push_velocity
    env.sim.set_root_lin_vel(velocity)
