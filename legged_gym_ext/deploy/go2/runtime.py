"""The loop between a robot and a policy: stand up, wait, walk, and damping on every fault.

`Runtime.tick(now)` is one pass of the command loop; it reads no clock, sleeps nowhere and starts nothing, so that tests
drive it through any sequence of times, states and answers. `loop` calls it at a fixed rate on the monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.controller import Reading
from legged_gym_ext.deploy.go2.messages import LowCommand, LowState, damping_command
from legged_gym_ext.deploy.go2.policy_process import Link
from legged_gym_ext.deploy.go2.remote import RateLimit, Remote, decode, stick_command
from legged_gym_ext.deploy.go2.safety import Limits, Supervisor
from legged_gym_ext.deploy.go2.timing import Timing

STAND, WAIT, RUN, DAMP = "stand up", "wait", "run", "damping"


class Robot(Protocol):
    """A robot of the maker's joint order; errors of either call are faults."""

    def read(self) -> LowState | None:
        """The newest state, None where none has arrived since the last call."""
        ...

    def write(self, command: LowCommand) -> None:
        """Send a command."""
        ...


@dataclass(frozen=True)
class Options:
    """How to drive.

    Attributes:
        command: fixed (vx, vy [m/s], yaw rate [rad/s]); None takes the remote's sticks.
        remote: False drives without a wireless remote.
        dry_run: read and compute, send nothing; the policy runs from the start.
        stand_time: s from the measured pose to the default pose; longer where a joint would exceed `stand_speed`.
        stand_speed: rad/s.
        stand_stiffness: N m / rad while standing up and waiting; the policy's gains are too soft to rise with.
        stand_damping: N m s / rad.
        blend_time: s in which gains rise from zero, and change to the policy's when it starts.
        command_rates: m/s^2, m/s^2 and rad/s^2 by which the command may change.
        damping_kd: N m s / rad of damping.
        damping_time: s for which damping is sent before the program ends.
    """

    command: tuple[float, float, float] | None = None
    remote: bool = True
    dry_run: bool = False
    stand_time: float = 3.0
    stand_speed: float = 0.8
    stand_stiffness: float = 40.0
    stand_damping: float = 2.0
    blend_time: float = 0.5
    command_rates: tuple[float, float, float] = (1.0, 1.0, 2.0)
    damping_kd: float = 3.0
    damping_time: float = 5.0


def stand_up_pose(start: np.ndarray, goal: np.ndarray, progress: float) -> np.ndarray:
    """(J,) rad between `start` and `goal`: `progress` 0 to 1, at rest at both ends (3 s^2 - 2 s^3)."""
    share = min(max(progress, 0.0), 1.0)
    return start + (3.0 * share**2 - 2.0 * share**3) * (goal - start)


class JointMap:
    """The contract's order of joints and the motors' order, matched by names."""

    def __init__(self, contract: Contract) -> None:
        self.to_sdk = np.array([contract.joint_names.index(name) for name in contract.sdk_joint_order])
        """`values_of_the_contract[to_sdk]` are in the motors' order."""
        self.to_contract = np.array([contract.sdk_joint_order.index(name) for name in contract.joint_names])
        """`values_of_the_motors[to_contract]` are in the contract's order."""

    def reading(self, state: LowState) -> Reading:
        """The state as the policy's controller takes it."""
        return Reading(state.quat, state.ang_vel, state.q[self.to_contract], state.dq[self.to_contract])


class Runtime:
    """Decides what to send at each tick. Arrays are in the motors' order unless a name says otherwise."""

    def __init__(
        self,
        contract: Contract,
        robot: Robot,
        link: Link,
        first: LowState,
        options: Options | None = None,
        limits: Limits | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        """`first` is a state that was just read; nothing is sent before the first `tick`."""
        self.contract, self.robot, self.link, self.log = contract, robot, link, log
        self.options = options or Options()
        self.supervisor = Supervisor(contract, limits or Limits())
        self.joints = JointMap(contract)
        self.timing = Timing(contract.control_dt)
        self.phase = RUN if self.options.dry_run else STAND
        self.state, self.remote = first, Remote()
        self.command = RateLimit(self.options.command_rates)
        self.targets = first.q.copy()
        self.damping_since: float | None = None
        self._default = np.asarray(contract.default_joint_pos)[self.joints.to_sdk]
        self._kp = np.asarray(contract.stiffness)[self.joints.to_sdk]
        self._kd = np.asarray(contract.damping)[self.joints.to_sdk]
        self._start_pose = first.q.copy()
        way = float(np.abs(self._default - first.q).max())
        # The steepest point of 3 s^2 - 2 s^3 is 1.5 times as fast as the mean.
        self._stand_time = max(self.options.stand_time, 1.5 * way / self.options.stand_speed)
        self._since: float | None = None  # start of the phase
        self._asked: float | None = None  # when the open question was put
        self._next_step: float | None = None
        self._last_tick: float | None = None
        self._fault_logged = False

    def request_start(self) -> None:
        """Let the policy begin; ignored before the robot stands."""
        if self.phase == WAIT and self.supervisor.fault is None:
            self._enter(RUN)

    def stop(self, name: str, reason: str) -> None:
        """Go into damping at the next tick."""
        self.supervisor.raise_fault(name, reason)

    def tick(self, now: float) -> None:
        """Read, check, ask the policy when it is time, send one command. Never raises: every exception is a fault."""
        command: LowCommand | None = None
        try:
            if self.phase == DAMP:
                self._send_poll_answertbeat(now)
            else:
                command = self._step(now)
        except Exception as error:
            self.supervisor.raise_fault("error", f"{type(error).__name__}: {' '.join(str(error).split())}")
        self._last_tick = now
        fault = self.supervisor.fault
        if fault is not None and self.phase != DAMP:
            self.phase, self.damping_since = DAMP, now
        if self.phase == DAMP or command is None:
            command = damping_command(len(self._default), self.options.damping_kd)
        if not self.options.dry_run:
            self._send(command)
        if fault is not None and not self._fault_logged:
            self._fault_logged = True
            self._log(f"DAMPING ({fault.name}): {fault.reason}")

    def _log(self, line: str) -> None:
        """Print a line; a closed terminal is no reason to stop sending."""
        try:
            self.log(line)
        except Exception:
            pass

    def _send_poll_answertbeat(self, now: float) -> None:
        """While damping, show the policy's process that this one is alive: otherwise it would send damping too."""
        if self.link.answer() is not None:
            self._asked = None
        if self._asked is None and self._next_step is not None and now >= self._next_step:
            self._asked, self._next_step = now, now + self.contract.control_dt
            self.link.ask(self.joints.reading(self.state), np.zeros(3), False)

    def done(self, now: float) -> bool:
        """Has damping been sent long enough?"""
        wait = 0.0 if self.options.dry_run else self.options.damping_time
        return self.damping_since is not None and now - self.damping_since >= wait

    def _send(self, command: LowCommand) -> None:
        try:
            self.robot.write(command)
        except Exception as error:
            # Logged once, through the fault; damping is tried again at every tick.
            self.supervisor.raise_fault("communication", str(error))

    def _step(self, now: float) -> LowCommand:
        """One pass without a fault so far; faults are latched in the supervisor."""
        if self._last_tick is not None:
            self.supervisor.check_gap(self._last_tick, now)
        if (state := self.robot.read()) is not None:
            self.state = state
            self.supervisor.check_state(state)
            self.remote = decode(state.remote)
        self.supervisor.check_age(self.state.received, now)
        self.supervisor.check_remote(self.remote, now, self.options.remote and not self.options.dry_run)
        self._poll_answer(now)
        self.supervisor.check_policy(self._asked, now)
        if self._since is None:
            self._since = now
        if self.phase == STAND and now - self._since >= self._stand_time:
            self._enter(WAIT, now)
        if self.phase == WAIT and self.remote.start:
            self.request_start()
        if self._since is None:
            self._since = now
        if self._next_step is None or now >= self._next_step:
            self._ask(now)
        return self._make_command(now - self._since)

    def _enter(self, phase: str, now: float | None = None) -> None:
        self.phase, self._since = phase, now
        if phase in (WAIT, RUN):
            self._log("standing; press START to let the policy begin" if phase == WAIT else "the policy runs")
        if phase == RUN:
            self.targets = self._default.copy()

    def _ask(self, now: float) -> None:
        """Put the next question, on the grid of control steps."""
        dt = self.contract.control_dt
        due = now if self._next_step is None else self._next_step
        # After a pause the grid goes on in the future: steps are skipped, never made up for in a burst.
        passed = int((now - due) / dt)
        self._next_step = due + dt * (1 + passed)
        run = self.phase == RUN
        if run:
            self.timing.skipped(passed + (self._asked is not None))
        if self._asked is not None:
            return
        if self.options.command is None:
            wanted = stick_command(self.remote, self.contract.commands)
        else:
            wanted = np.asarray(self.options.command, float)
        self.command.step(wanted if run else np.zeros(3), dt)
        self._asked = now
        self.link.ask(self.joints.reading(self.state), self.command.value, run)
        if run:
            self.timing.asked(due + dt * passed, now)

    def _poll_answer(self, now: float) -> None:
        """Take the policy's answer if there is one."""
        answer = self.link.answer()
        if answer is None:
            return
        if answer.error:
            self.supervisor.raise_fault("policy", answer.error)
        elif answer.targets is not None:
            targets = self.supervisor.check_targets(np.asarray(answer.targets)[self.joints.to_sdk])
            if self.phase == RUN:
                self.targets = targets
            if self._asked is not None:
                self.timing.answered(now - self._asked)
        self._asked = None

    def _make_command(self, elapsed: float) -> LowCommand:
        """The command of a phase, `elapsed` seconds after its start."""
        zero = np.zeros_like(self._default)
        blend = min(elapsed / self.options.blend_time, 1.0)
        stiff, damped = np.full_like(zero, self.options.stand_stiffness), np.full_like(zero, self.options.stand_damping)
        if self.phase == STAND:
            pose = stand_up_pose(self._start_pose, self._default, elapsed / self._stand_time)
            return LowCommand(self.supervisor.clip(pose), zero, zero, blend * stiff, damped)
        if self.phase == WAIT:
            return LowCommand(self.supervisor.clip(self._default), zero, zero, stiff, damped)
        kp, kd = stiff + blend * (self._kp - stiff), damped + blend * (self._kd - damped)
        return LowCommand(self.targets, zero, zero, kp, kd)


def loop(
    runtime: Runtime, period: float, every: Callable[[float], None], clock: Callable[[], float] = time.monotonic
) -> None:
    """Call `runtime.tick` every `period` seconds until damping has been sent long enough.

    `every(now)` is called after each tick, until it raises: that is a fault like any other. Late ticks are not made up
    for.
    """
    due = clock()
    while True:
        try:
            now = clock()
            runtime.tick(now)
            if runtime.done(now):
                return
            every(now)
            due = max(due + period, clock() - period)
            if (pause := due - clock()) > 0:
                time.sleep(pause)
        except BaseException as error:  # KeyboardInterrupt too, where the signal is not handled
            runtime.stop("error", f"{type(error).__name__}: {' '.join(str(error).split())}")
            every = _nothing


def _nothing(now: float) -> None:
    """What is done beside the loop once that failed."""
