"""The legged-robot environment: step, reset and buffers.

Observations, rewards, commands, randomisation and terminations are in observations.py, rewards.py, commands.py,
events.py and terminations.py. Buffers have legged_gym's names. N environments, J joints, F feet; base frame x forward,
y left, z up; quaternions w x y z.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.envs.base import events, snapshot
from legged_gym_ext.envs.base.commands import Commands
from legged_gym_ext.envs.base.legs import find_corners
from legged_gym_ext.envs.base.limits import check_limits
from legged_gym_ext.envs.base.observations import Observations
from legged_gym_ext.envs.base.rewards import RewardSum, note_signs
from legged_gym_ext.envs.base.robot_checks import check_robot
from legged_gym_ext.envs.base.terminations import check_terminations
from legged_gym_ext.simulators import make_simulator
from legged_gym_ext.terrain import make_terrain
from legged_gym_ext.utils.config import match_joint, to_dict
from legged_gym_ext.utils.distributed import rank
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.math import projected_gravity, quat_rotate_inverse, rotate_by_yaw, yaw_of

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

CONTACT_FORCE = 1.0  # N, more than this is contact, as in legged_gym


class LeggedRobot:
    """N robots on one engine.

    Attributes:
        group_dims: columns of one frame of each observation group.
        obs_buf: (N, group_dims["policy"]) noisy.
        privileged_obs_buf: (N, group_dims["privileged"]) what a teacher may see.
        critic_obs_buf: (N, group_dims["critic"] * env.critic_frames) truth for the critic.
        obs_history: (N, env.num_history, group_dims["policy"]), oldest first, zeros before the start; None without
            `env.num_history`.
        rew_buf, reset_buf, time_out_buf, episode_length_buf: (N,).
        commands: (N, 4) vx, vy [m/s], yaw rate [rad/s], heading [rad].
        notes: lines about settings that are valid and yet surprising: values of the robot's file that training does not
            use, weights of unusual sign.
        extras: "time_outs" (N,), "step_metrics" with the tracking kernels (N,) of this step and, when robots were
            reset, "episode" with one value per finished episode.
        last_groups: after `keep_last_observations`, group -> (N, dim) frame before the resets of the latest step that
            ended an episode; other rows mean nothing. None without.
    """

    evaluation = "legged_gym_ext.training.evaluation"
    """Module that measures policies of this environment."""

    comparison = "legged_gym_ext.training.comparison:Comparison"
    """What compares teacher and student while they learn."""

    def __init__(self, cfg: LeggedRobotCfg) -> None:
        """Build terrain, engine and managers, and reset all robots; invalid values are a `UserError`."""
        check_limits(cfg)
        self.cfg = cfg
        self.num_envs, self.num_actions = int(cfg.env.num_envs), int(cfg.env.num_actions)
        self.device = torch.device(cfg.sim.device)
        try:
            self.rng = torch.Generator(device=self.device)
        except RuntimeError:
            raise UserError(
                f"sim.device '{cfg.sim.device}' is not available here; use --sim_device=cpu, without --preset"
            ) from None
        self.rng.manual_seed(int(cfg.seed))
        self.dt = cfg.control.decimation * cfg.sim.dt  # s, control step
        self.max_episode_length = max(1, round(cfg.env.episode_length_s / self.dt))
        self.push_interval = max(1, round(cfg.domain_rand.push_interval_s / self.dt))
        self.terrain = make_terrain(cfg.terrain, self.num_envs, self.rng)
        self.sim = make_simulator(cfg, self.terrain, self.num_envs)
        self.notes = check_robot(cfg, self.sim) + note_signs(to_dict(cfg.rewards.scales))
        if self.notes and rank() == 0:
            print("\n".join(self.notes))
        self._set_robot(cfg)
        self._allocate()
        events.randomize_startup(self)
        self._read_state()
        self.command_sampler = Commands(self)
        self.rewards = RewardSum(self, to_dict(cfg.rewards.scales))
        # Reward terms that are also reported as they are, and what they are called there.
        kernels = (("tracking_lin_vel", "linear"), ("tracking_ang_vel", "yaw"))
        self._kernels = [(name, label) for name, label in kernels if name in self.rewards.names]
        self.observations = Observations(self)
        self.group_dims = {g: self.observations.dim(g) for g in ("policy", "privileged", "critic")}
        self._critic_frames = torch.zeros(
            self.num_envs, cfg.env.critic_frames, self.group_dims["critic"], device=self.device
        )
        self.obs_history = None
        if cfg.env.num_history > 0:
            self.obs_history = torch.zeros(
                self.num_envs, cfg.env.num_history, self.group_dims["policy"], device=self.device
            )
        self.reset()

    def _set_robot(self, cfg: LeggedRobotCfg) -> None:
        """Constants of the robot: names to indices, gains, limits, query points."""
        sim, names = self.sim, self.sim.joint_names
        self.num_dof, self.num_feet = len(names), sim.foot_pos.shape[1]
        self.default_dof_pos = sim.default_dof_pos
        target = cfg.rewards.base_height_target
        self.base_height_target: float = sim.standing_height if target is None else target
        self.foot_radius = sim.foot_radius
        self.p_gains = self._per_joint(cfg.control.stiffness, "control.stiffness")
        self.d_gains = self._per_joint(cfg.control.damping, "control.damping")
        middle, half = sim.dof_pos_limits.mean(-1), 0.5 * (sim.dof_pos_limits[:, 1] - sim.dof_pos_limits[:, 0])
        soft = cfg.rewards.soft_dof_pos_limit * half
        self.soft_dof_pos_limits = torch.stack((middle - soft, middle + soft), dim=-1)
        contacts, feet = sim.contact_names, list(range(len(sim.contact_names) - self.num_feet, len(sim.contact_names)))

        def pick(parts: list[str]) -> list[int]:
            return [i for i, name in enumerate(contacts) if i not in feet and any(part in name for part in parts)]

        # Tensors, because a list as an index is copied to a GPU in every use, and waits for it.
        index = lambda values: torch.tensor(values, dtype=torch.long, device=self.device)  # noqa: E731
        self.hip_joints = index([i for i, name in enumerate(names) if cfg.asset.hip_name in name])
        self.foot_contacts = index(feet)
        self.termination_contacts = index(pick(cfg.asset.terminate_after_contacts_on))
        self.penalised_contacts = index(pick(cfg.asset.penalize_contacts_on))
        # Grouped by kind (all thighs, all calves, all feet), in the order of the configuration.
        self.contact_groups = [*(pick([part]) for part in cfg.asset.penalize_contacts_on), feet]
        self.reported_contacts = index([contact for group in self.contact_groups for contact in group])
        self.num_contact_states = len(self.reported_contacts)
        grid = lambda xs, ys: torch.cartesian_prod(torch.tensor(xs), torch.tensor(ys)).to(self.device)  # noqa: E731
        self.measured_points = grid(cfg.terrain.measured_points_x, cfg.terrain.measured_points_y)
        self.scan_points = grid(cfg.terrain.scan_points_x, cfg.terrain.scan_points_y)
        self.foot_points = grid(cfg.terrain.foot_points, cfg.terrain.foot_points)

    @cached_property
    def corners(self) -> list[int]:
        """The feet at the front left, front right, rear left and rear right, in this order.

        Raises:
            UserError: not two legs on each side.
        """
        return list(find_corners(self.sim.legs))

    def _per_joint(self, values: dict[str, float], what: str) -> torch.Tensor:
        return torch.tensor([match_joint(values, n, what) for n in self.sim.joint_names], device=self.device)

    def _allocate(self) -> None:
        """Persistent buffers; they are only ever written in place, so they survive `torch.inference_mode`."""
        zeros = lambda *shape: torch.zeros(self.num_envs, *shape, device=self.device)  # noqa: E731
        flags = lambda: torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)  # noqa: E731
        self.rew_buf, self.commands, self.standing = zeros(), zeros(4), flags()
        self.fall_buf, self.fault_buf, self.time_out_buf, self.reset_buf = flags(), flags(), flags(), flags()
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self.actions, self.last_actions, self.last_last_actions = (zeros(self.num_actions) for _ in range(3))
        self.last_dof_vel, self.push_velocity = zeros(self.num_dof), zeros(2)
        self.feet_air_time, self.last_foot_contact = zeros(self.num_feet), zeros(self.num_feet)
        self.last_foot_pos = zeros(self.num_feet, 3)
        self.start_pos, self.commanded_way = zeros(2), zeros(2)  # [m] world: of this episode
        self.params = events.nominal_parameters(self)
        self.common_step_counter = 0
        self._nan_resets = torch.zeros((), dtype=torch.long, device=self.device)
        self.extras: dict[str, Any] = {}
        self.last_groups: dict[str, torch.Tensor] | None = None
        self._last_rng: torch.Generator | None = None

    @property
    def nan_resets(self) -> int:
        """Robots reset so far because their physics became non-finite."""
        return int(self._nan_resets)

    @nan_resets.setter
    def nan_resets(self, count: int) -> None:
        """Go on counting from what a snapshot had."""
        self._nan_resets.fill_(count)

    def keep_last_observations(self, seed: int = 0) -> None:
        """From now on keep the last observation of ended episodes, which resets hide; see `last_groups`.

        Its noise has a generator of its own: the robots meet the same random numbers as without it.
        """
        self._last_rng = torch.Generator(device=self.device).manual_seed(seed)

    def take_snapshot(self) -> dict[str, Any]:
        """All state, as checkpoints hold it."""
        return snapshot.take_snapshot(self)

    def restore_snapshot(self, taken: dict[str, Any], changed: Collection[str] = ()) -> str | None:
        """Continue from a snapshot; see `snapshot.restore_snapshot`."""
        return snapshot.restore_snapshot(self, taken, changed)

    def uniform(self, *shape: int, low: float, high: float) -> torch.Tensor:
        """Uniform numbers in [low, high) from the environment's own generator."""
        return torch.rand(*shape, generator=self.rng, device=self.device) * (high - low) + low

    # -- stepping ------------------------------------------------------------------------------------------------

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Reset all robots; returns policy and privileged observations."""
        self.reset_idx(torch.arange(self.num_envs, device=self.device))
        self._read_state()
        self._store_last_state()
        self._compute_observations()
        return self.obs_buf, self.privileged_obs_buf

    def step(
        self, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Apply actions (N, A) for one control step.

        Returns:
            Policy observations, privileged observations, rewards, resets, extras, as in legged_gym.
        """
        self._act(actions)
        self.episode_length_buf += 1
        self.common_step_counter += 1
        self._read_state()
        self._update_feet()
        self._add_commanded_way()
        check_terminations(self)
        self.rew_buf.copy_(self.rewards.compute(self.fault_buf))
        self.feet_air_time *= self._swinging  # after touch-down was paid for
        self.extras = {
            "step_metrics": {f"{label}_tracking": self.rewards.latest(name) for name, label in self._kernels}
        }
        ids = self.reset_buf.nonzero().flatten()
        if len(ids):
            self.command_sampler.widen(ids)
            self.extras["episode"] = self._episode_summary(ids)
            if self._last_rng is not None:
                self.last_groups = self.observations.compute(self._last_rng)
            self._update_levels(ids)
            self.reset_idx(ids)
            self._read_state()
        self.extras["time_outs"] = self.time_out_buf.clone()
        self.command_sampler.update()
        events.push_robots(self)
        self._compute_observations()
        self._store_last_state()
        return self.obs_buf, self.privileged_obs_buf, self.rew_buf, self.reset_buf, self.extras

    def _act(self, actions: torch.Tensor) -> None:
        """Clip the actions, mark non-finite ones as faults, and run the physics."""
        if actions.shape != self.actions.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {tuple(self.actions.shape)}")
        limit = self.cfg.normalization.clip_actions
        actions = actions.to(self.device)
        self.fault_buf.copy_(~torch.isfinite(actions.sum(-1)))
        self.last_last_actions.copy_(self.last_actions)
        self.last_actions.copy_(self.actions)
        self.actions.copy_(actions.clamp(-limit, limit).nan_to_num_(nan=0.0))
        targets = torch.add(self.default_dof_pos, self.actions, alpha=self.cfg.control.action_scale)
        self.sim.step(targets, self.cfg.control.decimation)

    def _read_state(self) -> None:
        """What follows from the engine's state, fresh tensors."""
        sim = self.sim
        self.dof_pos, self.dof_vel, self.torques = sim.dof_pos, sim.dof_vel, sim.torques
        self.base_ang_vel = sim.root_ang_vel
        self.base_lin_vel = quat_rotate_inverse(sim.root_quat, sim.root_lin_vel)
        self.projected_gravity = projected_gravity(sim.root_quat)
        yaw = yaw_of(sim.root_quat)
        self.cos_yaw, self.sin_yaw = torch.cos(yaw), torch.sin(yaw)
        self.measured_clearance = self.clearance(self.measured_points)
        self.base_height = self.measured_clearance.mean(dim=-1)
        self.contact_states = (sim.contact_forces.square().sum(-1) > CONTACT_FORCE**2).float()
        self.foot_contact = self.contact_states[:, self.foot_contacts]
        self.foot_height = sim.foot_pos[..., 2] - self.terrain.heights(sim.foot_pos[..., :2])
        self.moving = (self.commands[:, :3].abs().amax(-1) > 0.1).float()

    def clearance(self, points: torch.Tensor) -> torch.Tensor:
        """(N, P) height of the base above the ground at `points` (P, 2), offsets from the base in its yaw frame [m]."""
        around = rotate_by_yaw(self.cos_yaw, self.sin_yaw, points) + self.sim.root_pos[:, None, :2]
        return self.sim.root_pos[:, 2:3] - self.terrain.heights(around)

    def _update_feet(self) -> None:
        """Swing times, touch-downs and horizontal foot speeds [m/s] of this step."""
        self.foot_speed = (self.sim.foot_pos[..., :2] - self.last_foot_pos[..., :2]).norm(dim=-1) / self.dt
        # A foot that lost contact for a single step is still standing.
        contact = torch.maximum(self.foot_contact, self.last_foot_contact)
        self.first_contact = contact * (self.feet_air_time > 0.0)
        self.feet_air_time += self.dt
        self._swinging = 1.0 - contact

    def _store_last_state(self) -> None:
        """Keep what the next step compares with."""
        self.last_dof_vel.copy_(self.dof_vel)
        self.last_foot_pos.copy_(self.sim.foot_pos)
        self.last_foot_contact.copy_(self.foot_contact)

    def reset_idx(self, ids: torch.Tensor) -> None:
        """Start new episodes in environments `ids` (M,)."""
        events.randomize_motors(self, ids)
        events.reset_states(self, ids)
        self.start_pos[ids] = self.sim.root_pos[ids, :2]
        for buffer in (
            self.commanded_way,
            self.actions,
            self.last_actions,
            self.last_last_actions,
            self.push_velocity,
            self.feet_air_time,
            self._critic_frames,
        ):
            buffer.index_fill_(0, ids, 0.0)  # `buffer[ids] = 0.0` would make a GPU wait for the number
        if self.obs_history is not None:
            self.obs_history.index_fill_(0, ids, 0.0)
        self.episode_length_buf.index_fill_(0, ids, 0)
        self.rewards.episode_sums.index_fill_(1, ids, 0.0)
        self.command_sampler.resample(ids)

    def _add_commanded_way(self) -> None:
        """Integrate the commanded velocity in the world frame: where an obedient robot would be."""
        forward, left = self.commands[:, 0], self.commands[:, 1]
        along_x, along_y = self.cos_yaw * forward - self.sin_yaw * left, self.sin_yaw * forward + self.cos_yaw * left
        self.commanded_way += self.dt * torch.stack((along_x, along_y), dim=-1)

    def _update_levels(self, ids: torch.Tensor) -> None:
        """Curriculum of the ground: up for leaving the tile, down for a fall or less than half the commanded way."""
        position = self.sim.root_pos[ids, :2]
        way, commanded = (position - self.start_pos[ids]).norm(dim=-1), self.commanded_way[ids].norm(dim=-1)
        failed = self.fall_buf[ids] | self.fault_buf[ids] | (way < 0.5 * commanded)
        self.terrain.update_levels(ids, position, failed)

    def _episode_summary(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Per finished episode: rewards per second of a full episode, mean kernels, how it ended, command range."""
        seconds = self.cfg.env.episode_length_s
        sums = self.rewards.episode_sums[:, ids] / seconds
        summary = {f"rew_{name}": sums[row] for row, name in enumerate(self.rewards.names)}
        steps = self.episode_length_buf[ids].clamp(min=1)
        for name, label in self._kernels:
            row = self.rewards.names.index(name)
            mean_kernel = self.rewards.episode_sums[row, ids] / (self.rewards.weights[row] * steps)
            summary[f"Metrics/{label}_tracking"] = mean_kernel
        self._nan_resets += self.fault_buf[ids].sum()
        summary["Metrics/fall_rate"] = self.fall_buf[ids].float()
        summary["Metrics/nan_resets"] = self._nan_resets.float()[None]
        for name, level in self.terrain.level_statistics().items():
            summary[f"Terrain/{name}"] = level[None]
        if self.cfg.commands.curriculum:
            summary["max_command_x"] = self.command_sampler.ranges[0, 1:].clone()
        return summary

    def _compute_observations(self) -> None:
        """Fill the group buffers; histories shift by one frame."""
        frames = self.observations.compute()
        self.obs_buf, self.privileged_obs_buf = frames["policy"], frames["privileged"]
        if self.cfg.env.critic_frames == 1:
            self.critic_obs_buf = frames["critic"]
        else:
            self._critic_frames.copy_(torch.cat((self._critic_frames[:, 1:], frames["critic"][:, None]), dim=1))
            self.critic_obs_buf = self._critic_frames.flatten(1).clone()
        if self.obs_history is not None:
            self.obs_history.copy_(torch.cat((self.obs_history[:, 1:], self.obs_buf[:, None]), dim=1))
