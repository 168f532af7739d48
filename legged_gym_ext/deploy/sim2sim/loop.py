"""Runs an exported policy on a simulated robot: the loop, its disturbances, and when a robot has fallen.

The order within a control step is the environment's: the policy reads sensors and command, the physics runs, errors are
taken against the command that the policy saw, then the robot is pushed and the next command counts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.controller import Controller, Reading
from legged_gym_ext.deploy.policy_file import PolicyError
from legged_gym_ext.deploy.sim2sim.simulated import SimulatedRobot, Start
from legged_gym_ext.training.metrics import Fall, Metrics
from legged_gym_ext.utils.errors import pluralize
from legged_gym_ext.viewer.commands import Command, Random

if TYPE_CHECKING:
    from legged_gym_ext.deploy.sim2sim.robot import PlainRobot

MAX_TILT, CONTACT_FORCE = 1.0, 1.0  # rad, N on the base; `termination` of the tasks
EPISODE = 20.0  # s, as in the tasks, like all that follows
JOINT_RANGE, START_SPEED = (0.5, 1.5), 0.5  # factor on the default angles, m/s and rad/s of random starts
PUSH_INTERVAL = 10.0  # s
SAME_MASS = 1e-3  # share that files of one robot may differ by
FEW_ITERATIONS = 10  # of a solver, with which contacts may not converge; files made for MJX have 1
JOINT_VALUES = {
    "joint_damping": ("of joint damping", "N m s/rad"),
    "joint_friction": ("of joint friction", "N m"),
    "joint_stiffness": ("of joint stiffness", "N m/rad"),
    "armature": ("of joint armature", "kg m^2"),
}
"""What is compared of the joints -> in words, and its unit."""

NOISE = {"gravity": 0.05, "ang_vel": 0.2, "dof_pos": 0.01, "dof_vel": 1.5}
"""Half widths of the tasks' uniform sensor noise [rad, rad/s, rad, rad/s].

A tilt of 0.05 rad moves projected gravity by 0.05.
"""


@dataclass(frozen=True)
class Disturbances:
    """What makes it harder; the defaults disturb nothing.

    Attributes:
        noise: factor on `NOISE`.
        push: m/s; every 10 s the base gets a random horizontal velocity with components up to this.
    """

    noise: float = 0.0
    push: float = 0.0


@dataclass(frozen=True)
class Moment:
    """What just happened: seconds since the episode began, the command, and the fall, if there was one."""

    seconds: float
    command: Command
    fall: Fall | None


def model_notes(trained: Mapping[str, Any], robot: PlainRobot, added_mass: float, *, chosen: bool) -> list[str]:
    """Lines about what differs between the robot that a policy was trained on and the one it is tried on.

    Args:
        trained: `Contract.model`; nothing is known of it where it is empty.
        robot: `file`, `mass` [kg], `joint_values` and `file_iterations`.
        added_mass: kg of `robot.mass` that its file does not have.
        chosen: whether the user chose this file.
    """
    if not trained:
        return []
    here, there, mass = robot.file.name, trained["file"], robot.mass - added_mass
    lines = []
    if abs(mass - trained["mass"]) > SAME_MASS * trained["mass"] or (here != there and not chosen):
        advice = "" if chosen else "; --model takes another file"
        lines.append(f"note: trained on {there} of {trained['mass']:.3f} kg, this is {here} of {mass:.3f} kg{advice}")
    for name, (words, unit) in JOINT_VALUES.items():
        (low, high), (least, most) = trained["joints"].get(name, (0.0, math.inf)), robot.joint_values[name]
        if least < low * (1.0 - 1e-6) or most > high * (1.0 + 1e-6):
            found = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
            advice = f"; --joint_damping {0.5 * (low + high):.4g} tries that" if name == "joint_damping" else ""
            lines.append(f"note: {here} has {found} {unit} {words}, trained were {low:.4g} to {high:.4g}{advice}")
    if robot.file_iterations is not None and robot.file_iterations < FEW_ITERATIONS:
        given = pluralize(robot.file_iterations, "iteration")
        lines.append(f"note: {here} gives its solver {given}; --iterations 100 lets it converge")
    return lines


def fall_reason(robot: SimulatedRobot) -> str | None:
    """What makes this a fall, as the tasks decide it; None while the robot is up."""
    if robot.faulty:
        return "physics became non-finite"
    if robot.base_force > CONTACT_FORCE:
        return "base touched something"
    _, x, y, _ = robot.read().quat
    # Cosine of the angle between the base's z axis and the vertical.
    return "tipped over" if 1.0 - 2.0 * (x * x + y * y) < math.cos(MAX_TILT) else None


def random_start(contract: Contract, rng: np.random.Generator) -> Start:
    """A start as the tasks draw it: heading, joint angles and velocities at random."""
    default, (low, high) = np.asarray(contract.default_joint_pos), np.asarray(contract.joint_pos_limits).T
    joints = np.clip(default * rng.uniform(*JOINT_RANGE, len(default)), low, high)
    linear, angular = rng.uniform(-START_SPEED, START_SPEED, (2, 3))
    return Start(float(rng.uniform(-math.pi, math.pi)), joints, linear, angular)


def run_episodes(trial: Trial, episodes: int, seed: int, duration: float = EPISODE) -> Iterator[int]:
    """Episodes as in an evaluation: random starts and commands, a fall ends one; yields the number done."""
    rng, contract = np.random.default_rng(seed), trial.controller.contract
    for episode in range(episodes):
        start, command = random_start(contract, rng), Random(contract.commands, rng)
        for _ in trial.run(command, duration, start, restart=False):
            pass
        yield episode + 1


class Trial:
    """A policy on a robot, step by step.

    Attributes:
        controller, robot: given.
        metrics: of all steps so far.
        control_dt: s.
    """

    def __init__(
        self, controller: Controller, robot: SimulatedRobot, disturbances: Disturbances | None = None, seed: int = 0
    ) -> None:
        """Nothing moves yet; `seed` draws noise and pushes."""
        self.controller, self.robot = controller, robot
        self.control_dt = controller.contract.control_dt
        self.metrics = Metrics(self.control_dt, robot.mass)
        self._disturbances = disturbances or Disturbances()
        self._rng = np.random.default_rng((seed, 1))
        self._push_every = round(PUSH_INTERVAL / self.control_dt)

    def run(
        self, command: Callable[[float], Command], duration: float, start: Start | None = None, *, restart: bool = True
    ) -> Iterator[Moment]:
        """An episode, a control step per item.

        Args:
            command: seconds since the episode began -> command.
            duration: s; may be infinite.
            start: of the robot, see its `reset`.
            restart: after a fall the robot starts again and goes on; otherwise the episode ends.
        """
        self.metrics.episodes += 1
        self._begin(start)
        for step in count():
            seconds = step * self.control_dt
            if seconds >= duration - 1e-9:
                return
            velocity = command(seconds)
            fall = self._step(velocity, seconds)
            if fall is not None:
                self.metrics.falls.append(fall)
                self._begin(start)
            elif self._disturbances.push > 0.0 and (step + 1) % self._push_every == 0:
                vx, vy = self._rng.uniform(-1.0, 1.0, 2) * self._disturbances.push
                self.robot.push((vx, vy))
            yield Moment(seconds + self.control_dt, velocity, fall)
            if fall is not None and not restart:
                return

    def _begin(self, start: Start | None) -> None:
        self.robot.reset(start)
        self.controller.reset()

    def _step(self, command: Command, seconds: float) -> Fall | None:
        """One control step; the fall it ended in, if any."""
        robot, place = self.robot, self.robot.position
        reading = self._noisy(robot.read())
        begin = time.perf_counter()
        try:
            targets = self.controller.step(reading, np.asarray(command))
        except PolicyError as error:
            return Fall(self.metrics.episodes, seconds, place[0], place[1], str(error))
        latency = time.perf_counter() - begin
        robot.step(targets)
        reason = fall_reason(robot)
        x, y = robot.position[:2].tolist()
        way = math.hypot(x - place[0], y - place[1])
        self.metrics.add(robot, command, way if math.isfinite(way) else 0.0, latency, fell=reason is not None)
        return None if reason is None else Fall(self.metrics.episodes, seconds + self.control_dt, x, y, reason)

    def _noisy(self, reading: Reading) -> Reading:
        level = self._disturbances.noise
        if level <= 0.0:
            return reading
        draw = lambda name, size: level * NOISE[name] * self._rng.uniform(-1.0, 1.0, size)  # noqa: E731
        tilt = draw("gravity", 2)
        return Reading(
            quat=_tilted(reading.quat, *tilt),
            ang_vel=reading.ang_vel + draw("ang_vel", 3),
            dof_pos=reading.dof_pos + draw("dof_pos", len(reading.dof_pos)),
            dof_vel=reading.dof_vel + draw("dof_vel", len(reading.dof_vel)),
        )


def _tilted(quat: np.ndarray, roll: float, pitch: float) -> np.ndarray:
    """Orientation (w x y z) turned by small angles about the base's x and y axes."""
    w, x, y, z = quat
    bw, bx, by = 1.0, roll / 2.0, pitch / 2.0
    turned = np.array(
        [w * bw - x * bx - y * by, w * bx + x * bw - z * by, w * by + y * bw + z * bx, z * bw + x * by - y * bx]
    )
    return turned / np.linalg.norm(turned)
