"""Plays a task step by step: holds a command, records tracking, and processes the requests of users between steps."""

from __future__ import annotations

import math
import queue
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from legged_gym_ext.envs.base.randomization import disable_randomization
from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.training.policies import hold_command
from legged_gym_ext.utils.errors import UserError, did_you_mean
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.commands import Command, clamp, in_numbers
from legged_gym_ext.viewer.controls import ACTIONS, BY_NAME, is_finite_number

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg

LEVEL = 3  # default level of the ground
PLOT_SECONDS = 10.0  # s of tracking that plots show
STOP: Command = (0.0, 0.0, 0.0)


def nominal(env_cfg: LeggedRobotCfg) -> None:
    """One undisturbed robot with nominal physics, which starts at rest in the middle of its tile, without time-out."""
    disable_randomization(env_cfg)
    env_cfg.env.num_envs, env_cfg.env.episode_length_s, env_cfg.terrain.curriculum = 1, 1e6, False


def choose_ground(env: LeggedRobot, task: str, tile: str | None, level: int | None) -> None:
    """Put all robots on a kind of tile at a level.

    Args:
        env: the robots.
        task: name of the task, for the message.
        tile: kind of tile; None: the first of the map.
        level: of difficulty; None: `LEVEL`, or the last one of a smaller map.

    Raises:
        UserError: a tile or level was given and the ground is flat, or there is no such tile or level.
    """
    terrain = env.terrain
    if isinstance(terrain, RoughTerrain):
        hardest = terrain.map.rows - 1
        terrain.place_on(tile or terrain.kinds[0], min(LEVEL, hardest) if level is None else level)
    elif tile is not None or level is not None:
        raise UserError(f"--tile and --level: task '{task}' is on flat ground; leave out '_flat' for other ground")


def command_bounds(env: LeggedRobot) -> list[list[float]]:
    """Lower and upper bounds of vx, vy [m/s] and yaw rate [rad/s] that the task trains."""
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
    """Steps an environment with an agent and prints falls.

    Attributes:
        command: of all robots.
        paused: whether the caller of `step` should wait.
        steps, falls: control steps since the start, and falls in them.
        kinds, num_levels: kinds of tiles and number of levels of the map; empty and 0 on a plane.
    """

    def __init__(self, env: LeggedRobot, agent: Agent, gap: float = 0.0) -> None:
        """Reset the robots, with a command to stand; they start side by side, `gap` m apart."""
        self.env, self.agent, self._gap = env, agent, gap
        self.command, self.paused, self.steps, self.falls = STOP, False, 0, 0
        self._terrain = env.terrain if isinstance(env.terrain, RoughTerrain) else None
        self.kinds = [] if self._terrain is None else list(dict.fromkeys(self._terrain.kinds))
        self.num_levels = 0 if self._terrain is None else self._terrain.map.rows
        self._samples: deque[np.ndarray] = deque(maxlen=max(2, round(PLOT_SECONDS / env.dt)))
        self._feet = env.corners if len(env.sim.legs) == 4 else []
        self._requests: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._rewards: deque[np.ndarray] = deque(maxlen=self._samples.maxlen)
        hold_command(env, self.command)
        self._spread()
        self.reset()  # the first observation has a random command

    # -- stepping ------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset all robots."""
        with torch.inference_mode():
            self.env.reset()
            self.agent.reset(torch.ones_like(self.env.reset_buf))

    def _spread(self) -> None:
        """Move the places where the robots start apart; to be called once after they were put on a tile."""
        if self._gap:
            robots = torch.arange(self.env.num_envs, device=self.env.device)
            origins = self.env.terrain.origins.clone()
            origins[:, 1] -= self._gap * (robots - (self.env.num_envs - 1) / 2)
            self.env.terrain.origins = origins

    def set_command(self, command: Command) -> None:
        """Change the command; the observation after the next step is the first that holds it."""
        if command != self.command:
            hold_command(self.env, command)
            self.command = command

    def step(self) -> None:
        """Make one control step."""
        env = self.env
        with torch.inference_mode():
            env.step(self.agent.act())
            self.agent.reset(env.reset_buf)
        self.steps += 1
        actual = torch.cat((env.base_lin_vel[:, :2], env.base_ang_vel[:, 2:]), dim=-1)
        self._samples.append(torch.cat((env.commands[:, :3], actual), dim=-1).cpu().numpy())
        self._rewards.append(env.rew_buf.cpu().numpy().copy())
        for flags, what in ((env.fault_buf, "physics became non-finite"), (env.fall_buf, "fell")):
            if flags.any():
                self.falls += int(flags.sum())
                print(f"{self.seconds:.2f} s: {self._who(flags)} {what} and starts again")

    def _who(self, flags: torch.Tensor) -> str:
        if self.agent.kind == "both":
            return " and ".join(self.agent.label(robot) for robot in flags.nonzero().flatten().tolist())
        return "robot" if len(flags) == 1 else f"{int(flags.sum())} of {len(flags)} robots"

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Simulated time since the start."""
        return self.steps * self.env.dt

    def tracking(self, robot: int = 0) -> np.ndarray:
        """(T, 6) commanded, then actual vx, vy [m/s] and yaw rate [rad/s] of the last T steps, newest last."""
        return np.array([sample[robot] for sample in self._samples], dtype=np.float32).reshape(-1, 6)

    def rewards(self, robot: int = 0) -> np.ndarray:
        """(T,) reward of the steps of `tracking`."""
        return np.array([reward[robot] for reward in self._rewards], dtype=np.float32)

    def velocities(self, robot: int = 0) -> tuple[str, str]:
        """Commanded and actual velocity of a robot, as text."""
        env = self.env
        actual = (*env.base_lin_vel[robot, :2].tolist(), float(env.base_ang_vel[robot, 2]))
        return in_numbers(env.commands[robot, :3].tolist()), in_numbers(actual)

    def contacts(self, robot: int = 0) -> list[bool]:
        """Contacts of the feet of a quadruped: front left, front right, rear left, rear right."""
        return [bool(value) for value in self.env.foot_contact[robot, self._feet].tolist()]

    def ground(self, robot: int = 0) -> str:
        """The ground under a robot, e.g. "stairs_up, level 3"."""
        if self._terrain is None:
            return "flat ground"
        tiles, place = self._terrain.map, self.env.sim.root_pos[robot, :2].tolist()
        row, column = (math.floor(part / size) for part, size in zip(place, tiles.tile_size))
        if not (0 <= row < tiles.rows and 0 <= column < tiles.columns):
            return "flat ground around the map"
        return f"{tiles.kinds[column]}, level {row}"

    def start_tile(self) -> tuple[str, int] | None:
        """Kind and level of the tile on which the robots start; None on a plane."""
        terrain = self._terrain
        return None if terrain is None else (terrain.kinds[int(terrain.types[0])], int(terrain.levels[0]))

    # -- requests of users, from any thread ----------------------------------------------------------------------------

    def press(self, name: str) -> None:
        """Request the action of the key `name`, if it has one; errors are printed."""
        if name in BY_NAME:
            try:
                self.request(BY_NAME[name].action, BY_NAME[name].value)
            except UserError as error:
                print(error)

    def request(self, action: str, value: Any = None) -> None:
        """Queue one of `controls.ACTIONS` for `process_requests`; returns at once.

        Raises:
            UserError: there is no such action, or it is not possible with this value.
        """
        if action not in ACTIONS:
            raise UserError(
                f"unknown action '{action}'{did_you_mean(str(action), ACTIONS)}; known: {', '.join(ACTIONS)}"
            )
        self._check(action, value)
        self._requests.put((action, value))

    def _check(self, action: str, value: Any) -> None:
        """Raise a `UserError` for an action that is not possible."""
        if action in ("command", "move"):
            if not (isinstance(value, (list, tuple)) and len(value) == 3 and all(map(is_finite_number, value))):
                raise UserError(f"{action}: expected three finite numbers [vx, vy, yaw rate], got {value!r}")
        elif action == "agent":
            self.agent.check(self.agent.active if value is None else value)
        elif action in ("kind", "level", "harder"):
            if self._terrain is None:
                raise UserError("this task is on flat ground: there is no other")
            if action == "kind" and value is not None and value not in self.kinds:
                near = did_you_mean(str(value), self.kinds)
                raise UserError(f"no tile of kind '{value}'{near}; this map has {', '.join(self.kinds)}")
            if action == "kind":
                return
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(f"{action}: expected a whole number, got {value!r}")
            if action == "level" and not 0 <= value < self.num_levels:
                raise UserError(f"no level {value}: this map has 0 to {self.num_levels - 1}")

    def process_requests(self) -> None:
        """Carry out the queued requests in order; to be called between steps."""
        while True:
            try:
                action, value = self._requests.get_nowait()
            except queue.Empty:
                return
            print(self._do(action, value))

    def _do(self, action: str, value: Any) -> str:
        """Carry out one action; returns what changed, as text."""
        if action == "pause":
            self.paused = not self.paused if value is None else bool(value)
            return "paused" if self.paused else "goes on"
        if action == "agent":
            self.agent.active = self.agent.next_name() if value is None else value
            return f"{self.agent.active} acts"
        if action == "reset":
            self.reset()
            return "starts again"
        if action in ("kind", "level", "harder") and self._terrain is not None:
            return self._move_to_tile(self._terrain, action, value)
        wanted = STOP if action == "stop" else value
        if action == "move":
            wanted = [old + change for old, change in zip(self.command, value)]
        self.set_command(clamp(wanted, *zip(*command_bounds(self.env))))
        return f"command: {describe_command(self.command)}"

    def _move_to_tile(self, terrain: RoughTerrain, action: str, value: Any) -> str:
        kind, level = self.start_tile() or ("", 0)
        if action == "kind":
            kind = self.kinds[(self.kinds.index(kind) + 1) % len(self.kinds)] if value is None else value
        else:
            wanted = value if action == "level" else level + value
            level = min(max(wanted, 0), self.num_levels - 1)
        terrain.place_on(kind, level)
        self._spread()
        self.reset()
        return f"ground: {kind}, level {level}"
