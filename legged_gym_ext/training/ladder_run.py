"""Lets policies climb the ladder (ladder.py): every robot once, all policies from the same starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from legged_gym_ext.envs.base.commands import Commands
from legged_gym_ext.envs.base.events import randomize_startup
from legged_gym_ext.training.ladder import SLOWER, SPEED, Plan, ladder_figures
from legged_gym_ext.utils.math import yaw_of

NEAR_STOP = 0.01  # of a joint's range
SHOWN_EVERY = 5.0  # s of simulated time between lines of progress


class StraightOn(Commands):
    """Tells every robot to walk forward at its own speed and to keep the heading it starts with."""

    def __init__(self, env: Any, speed: torch.Tensor) -> None:
        """Speeds (N,) [m/s]."""
        super().__init__(env)
        self.speed, self.interval = speed, env.max_episode_length + 1  # longer than an episode: the way never changes

    def resample(self, ids: torch.Tensor) -> None:
        """Robots `ids` (M,) have just been put on their feet, facing anywhere: that way it goes."""
        super().resample(ids)
        env = self.env
        env.commands[ids] = 0.0
        env.commands[ids, 0] = self.speed[ids]
        env.commands[ids, 3] = yaw_of(env.sim.root_quat[ids])
        env.standing[ids] = False


class Ladder:
    """An environment whose robots stand on all levels of all kinds, see `Plan`."""

    def __init__(self, vec_env: Any, plan: Plan, seed: int) -> None:
        """Place the robots of `vec_env` (a `RslRlVecEnv` of `plan.num_envs` on a map of tiles)."""
        self.vec_env, self.env, self.plan, self.seed = vec_env, vec_env.env, plan, seed
        env = self.env
        robots = torch.arange(env.num_envs, device=env.device)
        self.cells = torch.div(robots, plan.at_once, rounding_mode="floor")  # kind * levels + level
        self.turns = robots % plan.at_once
        kinds = torch.div(self.cells, plan.levels, rounding_mode="floor")
        terrain = env.terrain
        for index, kind in enumerate(plan.kinds):
            columns = torch.tensor([c for c, name in enumerate(terrain.kinds) if name == kind], device=env.device)
            on = kinds == index
            terrain.types[on] = columns[self.turns[on] % len(columns)]  # over all tiles of the kind
        terrain.place(robots, self.cells % plan.levels)
        speeds = torch.tensor([SLOWER.get(kind, SPEED) for kind in plan.kinds], device=env.device)
        env.command_sampler = StraightOn(env, speeds[kinds])
        self.distance = 0.5 * min(terrain.map.tile_size)  # m from the start: half a tile, 4 m

    @torch.inference_mode()
    def climb(self, policy: Any, say: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
        """Let `policy` (observations -> actions) drive every robot once: the figures of `ladder_figures` and, as "ladder_effort", `EFFORT`."""
        plan, tally = self.plan, Tally(self.env, self.distance)
        passed = torch.zeros(len(plan.kinds) * plan.levels, device=self.env.device)
        started = time.monotonic()
        for number in range(plan.rounds):
            taking_part = self.turns + number * plan.at_once < plan.robots
            self._start(number)
            tally.begin(taking_part)
            self._walk(policy, tally, lambda line, n=number: say(f"round {n + 1}/{plan.rounds}  {line}"), started)
            passed.index_add_(0, self.cells, tally.succeeded.float())
        rates = (passed / plan.robots).view(len(plan.kinds), plan.levels).tolist()
        return {**ladder_figures(dict(zip(plan.kinds, rates))), "ladder_effort": tally.effort()}

    def _start(self, number: int) -> None:
        """New robots in new states, the same for all policies."""
        env = self.env
        env.rng.manual_seed(int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]))
        env.sim.let_sleep(None)
        randomize_startup(env)
        # Pushes come to everybody at once; rounds get them early or late, as episodes do in training.
        env.common_step_counter = round((number + 0.5) / self.plan.rounds * env.push_interval)
        env.reset()

    def _walk(self, policy: Any, tally: Tally, say: Callable[[str], None], started: float) -> None:
        """One round, until every robot has succeeded or failed."""
        env = self.env
        forget = getattr(policy, "reset", lambda dones: None)
        forget(torch.ones(env.num_envs, dtype=torch.bool, device=env.device))
        observations, every = self.vec_env.get_observations(), max(1, round(SHOWN_EVERY / env.dt))
        for step in range(1, env.max_episode_length + 1):
            observations, _, dones, _ = self.vec_env.step(policy(observations).to(env.device))
            forget(dones)
            tally.add()
            left = int(tally.undecided.sum())
            if step % every == 0 or not left:
                spent = time.monotonic() - started
                say(f"{step * env.dt:.0f} s walked, {left} of {env.num_envs} robots undecided, {spent:.0f} s")
            if not left:
                break
            env.sim.let_sleep(~tally.undecided)


class Tally:
    """Who has succeeded or failed in a round, and what walking cost over all rounds.

    Attributes:
        undecided, succeeded: (N,) bool, of this round.
    """

    def __init__(self, env: Any, distance: float) -> None:
        """Success is `distance` [m] from where a robot started."""
        self.env, self.distance = env, distance
        low, high = env.sim.dof_pos_limits.unbind(-1)
        self._low, self._high = low + NEAR_STOP * (high - low), high - NEAR_STOP * (high - low)
        self._robots = self._falls = self._steps = self._changes = 0
        self._power = self._change = self._at_stop = 0.0

    def begin(self, taking_part: torch.Tensor) -> None:
        """A round of the robots in the mask (N,)."""
        self.undecided, self.succeeded = taking_part.clone(), torch.zeros_like(taking_part)
        self._torques: torch.Tensor | None = None
        self._robots += int(taking_part.sum())

    def add(self) -> None:
        """Read the environment after a step: robots that it has just put back have fallen or run out of time."""
        env = self.env
        running = self.undecided & ~env.reset_buf
        self._add_effort(running)
        self._falls += int((self.undecided & (env.fall_buf | env.fault_buf)).sum())
        way = (env.sim.root_pos[:, :2] - env.terrain.origins[:, :2]).norm(dim=-1)
        self.succeeded |= running & (way >= self.distance)
        self.undecided = running & ~self.succeeded

    def _add_effort(self, running: torch.Tensor) -> None:
        env = self.env
        torques, dof_pos, steps = env.torques.clone(), env.dof_pos, int(running.sum())
        if not steps:
            return
        self._steps += steps
        self._power += float((torques * env.dof_vel).abs().sum(-1)[running].double().sum())
        at_stop = ((dof_pos < self._low) | (dof_pos > self._high)).any(-1)
        self._at_stop += int((at_stop & running).sum())
        if self._torques is not None:
            self._changes += steps
            self._change += float((torques - self._torques).square().mean(-1)[running].double().sum())
        self._torques = torques

    def effort(self) -> dict[str, float]:
        """The figures of `EFFORT`."""
        steps = max(1, self._steps)
        return {
            "power": self._power / steps,
            "torque_change": (self._change / max(1, self._changes)) ** 0.5,
            "limit_share": self._at_stop / steps,
            "fall_rate": self._falls / max(1, self._robots),
        }
