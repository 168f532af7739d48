"""A short roll-out of a run's newest checkpoint on flat ground: tracking of a grid of commands, legs, motors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from legged_gym_ext.reports.attention import attention_by_distance, is_transformer, prediction_errors
from legged_gym_ext.reports.records import Run
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.policies import hold_command, load_policies, run_cfgs
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.config import match_joint
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from tensordict import TensorDict

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

SECONDS, SETTLED = 5.0, 1.5  # length of a roll-out, and from when on it counts
GRID = (7, 5)  # forward speeds, and yaw rates or sideways speeds
WATCHED = 8  # robots whose observations are kept for attention and prediction
GAIT_SECONDS = 2.0


@dataclass
class Rollout:
    """What was measured; N robots, S control steps after the start, J joints, F feet.

    Attributes:
        policy: which one acted.
        commands: (N, 3) vx, vy [m/s], yaw rate [rad/s].
        linear, yaw: (N,) root mean square errors of the velocities [m/s, rad/s]; nan where the robot fell.
        fell: (N,) whether it fell.
        rows: the grids: "yaw" and "vy" -> rows of `commands`, (5, 7).
        gait: (G, F) foot contacts of robot `gait_robot` in the last seconds.
        feet: names.
        gait_robot: row of `commands`.
        torques, speeds: (M, J) [N m, rad/s] at control steps, after the start, of robots that did not fall.
        limits: joint kind -> columns of its joints, torque limit [N m], speed limit [rad/s].
        motor: "dc" or "ideal".
        dt: control step [s].
        prediction: term -> error and error of no change (S,), mean over robots; None without a prediction.
        attention: (L, h, T) and (L, h, T + 1); None without a transformer.
        network: that acted.
    """

    policy: str
    commands: np.ndarray
    linear: np.ndarray
    yaw: np.ndarray
    fell: np.ndarray
    rows: dict[str, np.ndarray]
    gait: np.ndarray
    feet: list[str]
    gait_robot: int
    torques: np.ndarray
    speeds: np.ndarray
    limits: dict[str, tuple[list[int], float, float]]
    motor: str
    dt: float
    prediction: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
    attention: tuple[np.ndarray, np.ndarray] | None = None
    network: Any = None


def command_grid(cfg: type[LeggedRobotCfg.commands]) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """A grid of commands over the training range.

    Args:
        cfg: section `commands` of an environment's configuration.

    Returns:
        Commands (N, 3); name of each grid -> rows (5, 7) of the commands; the row of a brisk walk forward.
    """
    ranges = cfg.ranges
    low, high = ranges.lin_vel_x
    if cfg.curriculum:
        low, high = min(low, -cfg.max_curriculum), max(high, cfg.max_curriculum)
    forward = np.linspace(low, high, GRID[0])
    commands, rows = [], {}
    for name, column, bounds in (("yaw", 2, ranges.ang_vel_yaw), ("vy", 1, ranges.lin_vel_y)):
        grid = np.zeros((GRID[1], GRID[0], 3))
        grid[..., 0], grid[..., column] = forward, np.linspace(bounds[0], bounds[1], GRID[1])[:, None]
        rows[name] = np.arange(grid[..., 0].size).reshape(GRID[1], GRID[0]) + sum(len(part) for part in commands)
        commands.append(grid.reshape(-1, 3))
    return np.concatenate(commands), rows, int(rows["yaw"][GRID[1] // 2, GRID[0] - 2])


def measure(run: Run, nominal: Callable[[LeggedRobotCfg], None], seconds: float = SECONDS) -> Rollout:
    """Let the run's deployed policy walk; `nominal(env_cfg)` removes noise, pushes and randomisation.

    Raises:
        UserError: no checkpoint, or one that today's task cannot load.
    """
    if run.checkpoint is None:
        raise UserError(f"{run.path} has no checkpoint")
    flags = [f"--task={run.task}", f"--load_run={run.checkpoint.parent}", f"--checkpoint={run.checkpoint.stem}"]

    def change(env_cfg: LeggedRobotCfg) -> None:
        nominal(env_cfg)
        env_cfg.terrain.mesh_type = "plane"
        env_cfg.commands.resampling_time = env_cfg.env.episode_length_s
        env_cfg.env.num_envs = 2 * GRID[0] * GRID[1]

    env_cfg, train_cfg, run_dir = run_cfgs(run.task, parse(make_parser(""), flags), change)
    return _walk(run.task, env_cfg, train_cfg, run_dir, seconds)


def _walk(
    task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, run_dir: Path | None, seconds: float
) -> Rollout:
    from legged_gym_ext.envs import task_registry

    set_seed(train_cfg.seed)
    env, _ = task_registry.make_env(task, env_cfg)
    vec_env, policies, _ = load_policies(env, task, train_cfg, run_dir)
    name = "student" if "student" in policies else next(iter(policies))
    policy, network = policies[name], getattr(policies[name].network, "network", None)
    commands, rows, gait_robot = command_grid(env_cfg.commands)
    recorder = _Recorder(env, policies[name].network if is_transformer(network) else None)
    hold_command(env, (0.0, 0.0, 0.0))
    env.reset()
    commanded = torch.tensor(commands, dtype=torch.float32, device=env.device)
    with torch.inference_mode():
        for _ in range(round(seconds / env.dt)):
            env.commands[:, :3] = commanded
            observations = vec_env.get_observations()
            actions = policy(observations)
            recorder.before(observations, actions)
            vec_env.step(actions)
            policy.reset(env.reset_buf)
            recorder.after(commanded)
    return recorder.result(name, commands, rows, gait_robot, seconds)


class _Recorder:
    """Keeps what is drawn later."""

    def __init__(self, env: LeggedRobot, watched: Any) -> None:
        """`watched` is the policy of a transformer, None without."""
        self.env, self.watched = env, watched
        self.fell = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self.linear, self.yaw, self.torques, self.speeds, self.contacts = [], [], [], [], []
        self.frames, self.privileged, self.actions = [], [], []

    def before(self, observations: TensorDict, actions: torch.Tensor) -> None:
        """Keep what a transformer saw and did."""
        if self.watched is None:
            return
        sets, rows = self.watched.sets, slice(None, None, max(1, self.env.num_envs // WATCHED))
        for kept, groups in ((self.frames, sets["actor"]), (self.privileged, sets["privileged"])):
            kept.append(torch.cat([observations[group][rows] for group in groups], dim=-1).clone())
        self.actions.append(actions[rows].clone())

    def after(self, commanded: torch.Tensor) -> None:
        """Keep what the robots did in this step."""
        env = self.env
        self.fell |= env.reset_buf
        self.linear.append((commanded[:, :2] - env.base_lin_vel[:, :2]).square().sum(-1))
        self.yaw.append((commanded[:, 2] - env.base_ang_vel[:, 2]).square())
        for kept, value in ((self.torques, env.torques), (self.speeds, env.dof_vel), (self.contacts, env.foot_contact)):
            kept.append(value.clone())

    def result(
        self, name: str, commands: np.ndarray, rows: dict[str, np.ndarray], gait_robot: int, seconds: float
    ) -> Rollout:
        """Everything as numpy arrays."""
        env, start = self.env, round(min(SETTLED, 0.5 * seconds) / self.env.dt)
        errors = [torch.stack(part[start:]).mean(0).sqrt() for part in (self.linear, self.yaw)]
        linear, yaw = (torch.where(self.fell, torch.full_like(e, torch.nan), e).cpu().numpy() for e in errors)
        torques, speeds = (
            torch.stack(part[start:])[:, ~self.fell].flatten(0, 1) for part in (self.torques, self.speeds)
        )
        gait = torch.stack(self.contacts)[-round(GAIT_SECONDS / env.dt) :, gait_robot]
        names = [env.sim.contact_names[index] for index in env.foot_contacts]
        found = Rollout(
            policy=name,
            commands=commands,
            linear=linear,
            yaw=yaw,
            fell=self.fell.cpu().numpy(),
            rows=rows,
            gait=gait.cpu().numpy() > 0.5,
            feet=[foot.replace("_foot", "") for foot in names],
            gait_robot=gait_robot,
            torques=torques.cpu().numpy(),
            speeds=speeds.cpu().numpy(),
            limits=_limits(env),
            motor=env.cfg.control.motor,
            dt=env.dt,
        )
        if self.watched is not None:
            self._look_inside(found)
        return found

    def _look_inside(self, found: Rollout) -> None:
        """Attention and prediction of the robots that did not fall."""
        upright = ~self.fell[:: max(1, self.env.num_envs // WATCHED)]
        if not bool(upright.any()):
            return
        assert self.watched is not None
        network = found.network = self.watched.network
        device = next(network.parameters()).device
        frames, privileged, actions = (
            torch.stack(part, dim=1)[upright].to(device) for part in (self.frames, self.privileged, self.actions)
        )
        last = torch.cat((torch.zeros_like(actions[:, :1]), actions[:, :-1]), dim=1)
        terms = self.env.observations.slices("policy") if self.watched.sets["actor"] == ["policy"] else {}
        errors = prediction_errors(network, frames, last, terms)
        found.prediction = {
            name: (missed.mean(0).cpu().numpy(), changed.mean(0).cpu().numpy())
            for name, (missed, changed) in errors.items()
        }
        if frames.shape[1] >= network.transformer.window:
            with torch.no_grad():
                tokens = network.frame_tokenizer(network.frame_actions(frames, last))
                privileged_tokens = network.privilege_tokenizer(network.normalizers["privileged"](privileged))
            of_frames, of_privileged = attention_by_distance(network.transformer, tokens, privileged_tokens)
            found.attention = of_frames.cpu().numpy(), of_privileged.cpu().numpy()


def _limits(env: LeggedRobot) -> dict[str, tuple[list[int], float, float]]:
    """Joints that share limits: kind (key of the configuration) -> columns, torque [N m], speed [rad/s]."""
    asset, names = env.cfg.asset, env.sim.joint_names
    found: dict[str, tuple[list[int], float, float]] = {}
    for kind in asset.torque_limits:
        columns = [index for index, name in enumerate(names) if kind in name]
        if columns:
            speed = match_joint(asset.velocity_limits, names[columns[0]], "asset.velocity_limits")
            found[kind] = columns, float(asset.torque_limits[kind]), speed
    return found
