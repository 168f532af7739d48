"""Plays a task step by step: holds a command, keeps the last seconds of tracking, and does what users ask for between steps."""

from __future__ import annotations

import math
import queue
from collections import deque
from typing import Any

import numpy as np
import torch

from legged_gym_ext.training.policies import hold_command
from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.commands import Command, clamp, in_numbers
from legged_gym_ext.viewer.controls import ACTIONS, BY_NAME

LEVEL = 3  # of the ground, unless asked for another
REMEMBERED = 10.0  # s of tracking that plots show
STOP: Command = (0.0, 0.0, 0.0)


def nominal(env_cfg: Any) -> None:
    """One undisturbed robot with nominal physics that starts at rest in the middle of its tile and plays without end."""
    env_cfg.env.num_envs, env_cfg.terrain.curriculum, env_cfg.terrain.spawn_radius = 1, False, 0.0
    env_cfg.env.episode_length_s = 1e6
    env_cfg.noise.add_noise = False
    env_cfg.domain_rand.push_robots = False
    for name in vars(env_cfg.domain_rand):
        if name.startswith("randomize_"):
            setattr(env_cfg.domain_rand, name, False)
    start = env_cfg.init_state
    start.joint_range, start.velocity_range, start.random_yaw = [1.0, 1.0], 0.0, False


def choose_ground(env: Any, task: str, tile: str | None, level: int | None) -> None:
    """Put all robots on a kind of tile at a level; on a plane there is nothing to choose."""
    if not env.terrain.is_flat:
        hardest = env.terrain.map.rows - 1
        env.terrain.place_on(tile or env.terrain.kinds[0], min(LEVEL, hardest) if level is None else level)
    elif tile is not None or level is not None:
        raise UserError(f"--tile and --level: task '{task}' is on flat ground; leave out '_flat' for other ground")


def command_bounds(env: Any) -> list[list[float]]:
    """Lower and upper bound of vx, vy and yaw rate that the task trains."""
    ranges = env.cfg.commands.ranges
    return [list(ranges.lin_vel_x), list(ranges.lin_vel_y), list(ranges.ang_vel_yaw)]


def describe_command(command: Command) -> str:
    """A command in words, e.g. "forward 0.8 m/s, turn left 0.5 rad/s"."""
    words = (("forward", "back", "m/s"), ("left", "right", "m/s"), ("turn left", "turn right", "rad/s"))
    parts = [
        f"{up if value > 0 else down} {abs(value):.1f} {unit}"
        for value, (up, down, unit) in zip(command, words)
        if abs(value) >= 0.05
    ]
    return ", ".join(parts) or "stop"


class Player:
    """Steps an environment with an agent, and reports falls.

    Attributes:
        command: held by all robots.
        paused: whether whoever calls `step` should wait.
        steps, falls: control steps since the start, and falls among them.
        kinds: kinds of ground to choose from; empty on a plane.
    """

    def __init__(self, env: Any, agent: Agent) -> None:
        """Put the robots at their start, commanded to stand."""
        self.env, self.agent = env, agent
        self.command, self.paused, self.steps, self.falls = STOP, False, 0, 0
        self.kinds = [] if env.terrain.is_flat else list(dict.fromkeys(env.terrain.kinds))
        shown = 2 if agent.kind == "both" else 1
        self._samples: deque[np.ndarray] = deque(maxlen=max(2, round(REMEMBERED / env.dt)))
        self._shown = slice(0, shown)
        self._feet = env.corners if len(env.sim.legs) == 4 else []
        self._asked: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        hold_command(env, self.command)
        self.reset()  # the very first observation was made under a random command

    # -- stepping ----------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Start all robots again."""
        with torch.inference_mode():
            self.env.reset()
            self.agent.reset(torch.ones_like(self.env.reset_buf))

    def set_command(self, command: Command) -> None:
        """Hold another command; the agent reads it in the next step but one."""
        if command != self.command:
            hold_command(self.env, command)
            self.command = command

    def step(self) -> None:
        """One control step."""
        env = self.env
        with torch.inference_mode():
            env.step(self.agent.act())
            self.agent.reset(env.reset_buf)
        self.steps += 1
        actual = torch.cat((env.base_lin_vel[self._shown, :2], env.base_ang_vel[self._shown, 2:]), dim=-1)
        self._samples.append(torch.cat((env.commands[self._shown, :3], actual), dim=-1).cpu().numpy())
        for flags, what in ((env.fault_buf, "physics became non-finite"), (env.fall_buf, "fell")):
            if flags.any():
                self.falls += int(flags.sum())
                print(f"{self.seconds:.2f} s: {self._who(flags)} {what} and starts again")

    def _who(self, flags: torch.Tensor) -> str:
        if self.agent.kind == "both":
            return " and ".join(self.agent.label(robot) for robot in flags.nonzero().flatten().tolist())
        return "robot" if len(flags) == 1 else f"{int(flags.sum())} of {len(flags)} robots"

    # -- what there is to see ----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Simulated time since the start."""
        return self.steps * self.env.dt

    def tracking(self, robot: int = 0) -> np.ndarray:
        """(T, 6) commanded vx, vy [m/s], yaw rate [rad/s] and the actual three of the last T steps, newest last; T can be 0."""
        return np.array([sample[robot] for sample in self._samples], dtype=np.float32).reshape(-1, 6)

    def velocities(self, robot: int = 0) -> tuple[str, str]:
        """Commanded and actual velocity of a robot, in words."""
        env = self.env
        actual = (*env.base_lin_vel[robot, :2].tolist(), float(env.base_ang_vel[robot, 2]))
        return in_numbers(env.commands[robot, :3].tolist()), in_numbers(actual)

    def contacts(self, robot: int = 0) -> list[bool]:
        """Which feet of a quadruped touch something: front left, front right, rear left, rear right."""
        return [bool(value) for value in self.env.foot_contact[robot, self._feet].tolist()]

    def ground(self, robot: int = 0) -> str:
        """What a robot is on, in words, e.g. "stairs_up, level 3"."""
        if not self.kinds:
            return "flat ground"
        tiles, place = self.env.terrain.map, self.env.sim.root_pos[robot, :2].tolist()
        row, column = (math.floor(part / size) for part, size in zip(place, tiles.tile_size))
        if not (0 <= row < tiles.rows and 0 <= column < tiles.columns):
            return "flat ground around the map"
        return f"{tiles.kinds[column]}, level {row}"

    def start(self) -> tuple[str, int] | None:
        """Kind and level of the tile the robots start on; None on a plane."""
        if not self.kinds:
            return None
        terrain = self.env.terrain
        return terrain.kinds[int(terrain.types[0])], int(terrain.levels[0])

    # -- what users ask for, from any thread -------------------------------------------------------------------------

    def press(self, name: str) -> None:
        """Ask for what the key `name` means, if anything; what cannot be done is printed."""
        if name in BY_NAME:
            try:
                self.ask(BY_NAME[name].action, BY_NAME[name].value)
            except UserError as error:
                print(error)

    def ask(self, action: str, value: Any = None) -> None:
        """Have one of `controls.ACTIONS` done before the next step; returns at once.

        Raises:
            UserError: there is no such action, or it cannot be done with this value.
        """
        if action not in ACTIONS:
            raise UserError(
                f"unknown action '{action}'{did_you_mean(str(action), ACTIONS)}; known: {', '.join(ACTIONS)}"
            )
        self._check(action, value)
        self._asked.put((action, value))

    def _check(self, action: str, value: Any) -> None:
        """Refuse what cannot be done."""
        if action in ("command", "move"):
            if not (isinstance(value, (list, tuple)) and len(value) == 3 and all(map(_is_finite, value))):
                raise UserError(f"{action}: expected three finite numbers [vx, vy, yaw rate], got {value!r}")
        elif action == "agent":
            self.agent.check(self.agent.active if value is None else value)
        elif action in ("kind", "level", "harder"):
            if not self.kinds:
                raise UserError("this task is on flat ground: there is no other")
            rows = self.env.terrain.map.rows
            if action == "kind" and value is not None and value not in self.kinds:
                near = did_you_mean(str(value), self.kinds)
                raise UserError(f"no tile of kind '{value}'{near}; this map has {', '.join(self.kinds)}")
            if action == "kind":
                return
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(f"{action}: expected a whole number, got {value!r}")
            if action == "level" and not 0 <= value < rows:
                raise UserError(f"no level {value}: this map has 0 to {rows - 1}")

    def serve(self) -> None:
        """Do what was asked for, in order; to be called between steps by whoever steps."""
        while True:
            try:
                action, value = self._asked.get_nowait()
            except queue.Empty:
                return
            print(self._do(action, value))

    def _do(self, action: str, value: Any) -> str:
        """Do one thing and say what is so now."""
        if action == "pause":
            self.paused = not self.paused if value is None else bool(value)
            return "paused" if self.paused else "goes on"
        if action == "agent":
            self.agent.active = self.agent.next_name() if value is None else value
            return f"{self.agent.active} acts"
        if action == "reset":
            self.reset()
            return "starts again"
        if action in ("kind", "level", "harder"):
            return self._move_to_tile(action, value)
        wanted = STOP if action == "stop" else value
        if action == "move":
            wanted = [old + change for old, change in zip(self.command, value)]
        self.set_command(clamp(wanted, *zip(*command_bounds(self.env))))
        return f"command: {describe_command(self.command)}"

    def _move_to_tile(self, action: str, value: Any) -> str:
        kind, level = self.start() or ("", 0)
        if action == "kind":
            kind = self.kinds[(self.kinds.index(kind) + 1) % len(self.kinds)] if value is None else value
        else:
            wanted = value if action == "level" else level + value
            level = min(max(wanted, 0), self.env.terrain.map.rows - 1)
        self.env.terrain.place_on(kind, level)
        self.reset()
        return f"ground: {kind}, level {level}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
