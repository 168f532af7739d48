"""Runs policies on the ladder (ladder.py): every robot once, all policies from the same starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from legged_gym_ext.envs.base.commands import Commands
from legged_gym_ext.envs.base.events import randomize_startup
from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.training.ladder import KIND_SPEEDS, SPEED, Plan, ladder_metrics
from legged_gym_ext.utils.math import yaw_of

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

LIMIT_MARGIN = 0.01  # share of a joint's range that counts as at its limit
PROGRESS_INTERVAL = 5.0  # s of simulated time between lines of progress


class StraightAhead(Commands):
    """Commands every robot to walk forward at its own speed and to keep the heading it starts with."""

    def __init__(self, env: LeggedRobot, speed: torch.Tensor) -> None:
        """Command `speed` (N,) [m/s]."""
        super().__init__(env)
        self.speed, self.interval = speed, env.max_episode_length + 1  # longer than an episode: never resampled

    def resample(self, ids: torch.Tensor) -> None:
        """Command robots `ids` (M,), which were just reset, to keep their present heading."""
        super().resample(ids)
        env = self.env
        env.commands[ids] = 0.0
        env.commands[ids, 0] = self.speed[ids]
        env.commands[ids, 3] = yaw_of(env.sim.root_quat[ids])
        env.standing[ids] = False


class Ladder:
    """An environment with robots on all levels of all kinds of tiles, see `Plan`.

    Attributes:
        distance: [m] from the start that counts as success: half a tile, 4 m.
    """

    def __init__(self, vec_env: RslRlVecEnv, plan: Plan, seed: int) -> None:
        """Place the robots of `vec_env`, which has `plan.num_envs` of them on a map of tiles."""
        self.vec_env, self.env, self.plan, self.seed = vec_env, vec_env.env, plan, seed
        env = self.env
        robots = torch.arange(env.num_envs, device=env.device)
        self.cells = torch.div(robots, plan.per_round, rounding_mode="floor")  # kind * levels + level
        self.indices = robots % plan.per_round  # within the cell
        kinds = torch.div(self.cells, plan.levels, rounding_mode="floor")
        terrain = env.terrain
        assert isinstance(terrain, RoughTerrain), "the ladder needs a map of tiles"
        for index, kind in enumerate(plan.kinds):
            columns = torch.tensor([c for c, name in enumerate(terrain.kinds) if name == kind], device=env.device)
            on = kinds == index
            terrain.types[on] = columns[self.indices[on] % len(columns)]  # over all tiles of the kind
        terrain.place(robots, self.cells % plan.levels)
        speeds = torch.tensor([KIND_SPEEDS.get(kind, SPEED) for kind in plan.kinds], device=env.device)
        env.command_sampler = StraightAhead(env, speeds[kinds])
        self.distance = 0.5 * min(terrain.map.tile_size)

    @torch.inference_mode()
    def climb(self, policy: Any, report: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """Let `policy` drive every robot once.

        Args:
            policy: observations -> actions (N, A); its `reset(dones)`, if any, is called after every step.
            report: called with lines of progress.

        Returns:
            `ladder_metrics` and, as "ladder_effort", the metrics of `EFFORT`.
        """
        plan, tally = self.plan, Tally(self.env, self.distance)
        passed = torch.zeros(len(plan.kinds) * plan.levels, device=self.env.device)
        started = time.monotonic()
        for number in range(plan.rounds):
            active = self.indices + number * plan.per_round < plan.robots
            self._start(number)
            tally.begin(active)
            self._walk(policy, tally, lambda line, n=number: report(f"round {n + 1}/{plan.rounds}  {line}"), started)
            passed.index_add_(0, self.cells, tally.succeeded.float())
        rates = (passed / plan.robots).view(len(plan.kinds), plan.levels).tolist()
        return {**ladder_metrics(dict(zip(plan.kinds, rates))), "ladder_effort": tally.effort()}

    def _start(self, number: int) -> None:
        """Draw robots and start states, the same for all policies."""
        env = self.env
        env.rng.manual_seed(int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]))
        env.sim.let_sleep(None)
        randomize_startup(env)
        # All robots are pushed at once; rounds are pushed at different times, as episodes are in training.
        env.common_step_counter = round((number + 0.5) / self.plan.rounds * env.push_interval)
        env.reset()

    def _walk(self, policy: Any, tally: Tally, report: Callable[[str], None], started: float) -> None:
        """Run one round, until every robot has succeeded or failed."""
        env = self.env
        reset_policy = getattr(policy, "reset", lambda dones: None)
        reset_policy(torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
        observations, every = self.vec_env.get_observations(), max(1, round(PROGRESS_INTERVAL / env.dt))
        for step in range(1, env.max_episode_length + 1):
            observations, _, dones, _ = self.vec_env.step(policy(observations).to(env.device))
            reset_policy(dones)
            tally.add()
            left = int(tally.undecided.sum())
            if step % every == 0 or not left:
                spent = time.monotonic() - started
                report(f"{step * env.dt:.0f} s walked, {left} of {env.num_envs} robots undecided, {spent:.0f} s")
            if not left:
                break
            env.sim.let_sleep(~tally.undecided)


class Tally:
    """Counts successes and failures of a round, and the effort of all rounds.

    Attributes:
        undecided, succeeded: (N,) bool, of this round.
    """

    def __init__(self, env: LeggedRobot, distance: float) -> None:
        """A robot succeeds when it is `distance` [m] from where it started."""
        self.env, self.distance = env, distance
        low, high = env.sim.dof_pos_limits.unbind(-1)
        self._low, self._high = low + LIMIT_MARGIN * (high - low), high - LIMIT_MARGIN * (high - low)
        self._robots = self._falls = self._steps = self._changes = 0
        self._power = self._change = self._at_limit = 0.0

    def begin(self, active: torch.Tensor) -> None:
        """Begin a round of the robots in the mask `active` (N,)."""
        self.undecided, self.succeeded = active.clone(), torch.zeros_like(active)
        self._torques: torch.Tensor | None = None
        self._robots += int(active.sum())

    def add(self) -> None:
        """Read the environment after a step; robots that it has just reset have fallen or run out of time."""
        env = self.env
        running = self.undecided & ~env.reset_buf
        self._add_effort(running)
        self._falls += int((self.undecided & (env.fall_buf | env.fault_buf)).sum())
        moved = (env.sim.root_pos[:, :2] - env.terrain.origins[:, :2]).norm(dim=-1)
        self.succeeded |= running & (moved >= self.distance)
        self.undecided = running & ~self.succeeded

    def _add_effort(self, running: torch.Tensor) -> None:
        env = self.env
        torques, dof_pos, steps = env.torques.clone(), env.dof_pos, int(running.sum())
        if not steps:
            return
        self._steps += steps
        self._power += float((torques * env.dof_vel).abs().sum(-1)[running].double().sum())
        at_limit = ((dof_pos < self._low) | (dof_pos > self._high)).any(-1)
        self._at_limit += int((at_limit & running).sum())
        if self._torques is not None:
            self._changes += steps
            self._change += float((torques - self._torques).square().mean(-1)[running].double().sum())
        self._torques = torques

    def effort(self) -> dict[str, float]:
        """The metrics of `EFFORT`."""
        steps = max(1, self._steps)
        return {
            "power": self._power / steps,
            "torque_change": (self._change / max(1, self._changes)) ** 0.5,
            "limit_share": self._at_limit / steps,
            "fall_rate": self._falls / max(1, self._robots),
        }
