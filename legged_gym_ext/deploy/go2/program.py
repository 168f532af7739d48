"""Run an exported policy on a Unitree Go2.

    python -m legged_gym_ext.deploy.go2 --policy policy.onnx --interface eth0

Read docs/safety.md first. This has run on simulated robots only, never on a real one.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import select
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.controller import Controller, projected_gravity
from legged_gym_ext.deploy.go2.messages import GO2_MOTORS, LowState
from legged_gym_ext.deploy.go2.policy_process import Guard, PolicyProcess
from legged_gym_ext.deploy.go2.remote import decode
from legged_gym_ext.deploy.go2.runtime import DAMP, RUN, WAIT, Options, Robot, Runtime, loop
from legged_gym_ext.deploy.go2.safety import Limits, Supervisor
from legged_gym_ext.deploy.go2.sdk2 import Go2, Publisher, check_interface, check_sdk
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.training.runs import atomic_write
from legged_gym_ext.utils.cli import Parser, parse
from legged_gym_ext.utils.errors import UserError

COMMAND_PERIOD = 0.002
"""s between two commands.

The robot sends states at 500 Hz and Unitree's own examples answer each. A lost message is then replaced, and a fault
acted on, within 2 ms, although the policy's targets change only every control step.
"""

STATE_RATE = 500.0
"""States per second that a Go2 sends."""

OPERATOR_CHECKS = (
    "the robot hangs from a hoist or stands on a stand, its feet in the air (first runs), or lies on flat ground",
    "nobody and nothing is within two metres",
    "the wireless remote is on and in someone's hand; L2 + B stops",
    "this program was run with --dry_run first and the targets looked right",
)


def make_parser() -> Parser:
    """All flags."""
    parser = Parser(
        prog="python -m legged_gym_ext.deploy.go2",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--policy", metavar="FILE", help="policy.onnx as written by export.py (a student, or a method with one policy)")
    add("--interface", metavar="NAME", help="network interface to the robot, e.g. eth0 (see: ip -br addr)")
    add("--command", metavar="VX,VY,YAW", help="walk at this velocity [m/s, m/s, rad/s] instead of the remote's sticks")
    add("--dry_run", action="store_true", help="read states and print targets; nothing is sent")
    add("--yes", action="store_true", help="do not ask for confirmation")
    add(
        "--no_remote",
        action="store_true",
        help="allow no wireless remote: needs --command; Enter starts, Enter or Ctrl-C stops",
    )
    add(
        "--keep_service", action="store_true", help="do not switch the robot's motion service off (it was done by hand)"
    )
    add("--duration", type=float, metavar="S", help="stop after this many seconds of walking")
    add(
        "--wait", type=float, default=5.0, metavar="S", help="how long to wait for the robot's first state (default: 5)"
    )
    add(
        "--max_tilt", type=float, default=math.degrees(Limits.tilt), metavar="DEG", help="tilt that stops (default: 57)"
    )
    add(
        "--max_temperature",
        type=float,
        default=Limits.temperature,
        metavar="C",
        help="motor temperature that stops (default: 80)",
    )
    add(
        "--stale_ms",
        type=float,
        default=1e3 * Limits.state_age,
        metavar="MS",
        help="age of a state that stops (default: 40)",
    )
    add(
        "--policy_ms",
        type=float,
        default=1e3 * Limits.policy_age,
        metavar="MS",
        help="answer time of the policy that stops (default: 40)",
    )
    add(
        "--domain",
        type=int,
        default=0,
        metavar="N",
        help="DDS domain (default: 0, the robots'; 1 is the simulated robot's)",
    )
    add("--report", metavar="FILE", help="write how punctual the loop was, and why it stopped, as JSON")
    return parser


def check_policy(policy: ExportedPolicy) -> Contract:
    """The contract of a policy that a Go2 can run.

    Raises:
        UserError: a teacher, another robot, or joints that are not this robot's.
    """
    contract = policy.contract
    if contract.robot != "go2":
        raise UserError(f"{policy.path} was trained for the robot '{contract.robot}'; this program drives a 'go2'")
    Controller(policy)
    if tuple(contract.sdk_joint_order) != GO2_MOTORS:
        raise UserError(
            f"{policy.path}: its sdk_joint_order starts with {', '.join(contract.sdk_joint_order[:3]) or 'nothing'}, "
            "a Go2's motors are "
            f"{', '.join(GO2_MOTORS[:3])}, ...; export the policy again"
        )
    low, high = np.asarray(contract.joint_pos_limits).T
    if not (low < high).all() or not ((low <= contract.default_joint_pos) & (contract.default_joint_pos <= high)).all():
        raise UserError(
            f"{policy.path}: joint_pos_limits and default_joint_pos contradict each other; export the policy again"
        )
    return contract


def parse_command(text: str | None, contract: Contract) -> tuple[float, float, float] | None:
    """`VX,VY,YAW` within the trained ranges."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        raise UserError(f"--command={text}: expected three numbers VX,VY,YAW, e.g. --command=0.5,0,0")
    for value, name in zip(values, ("lin_vel_x", "lin_vel_y", "ang_vel_yaw")):
        low, high = contract.commands[name]
        if not low <= value <= high:
            raise UserError(f"--command={text}: {name} was trained from {low:g} to {high:g}")
    return values[0], values[1], values[2]


def make_settings(args: argparse.Namespace, contract: Contract) -> tuple[Options, Limits]:
    """Options and limits of the command line.

    Raises:
        UserError: invalid values.
    """
    for flag, low, high in (
        ("max_tilt", 5.0, 90.0),
        ("max_temperature", 30.0, 100.0),
        ("stale_ms", 5.0, 1000.0),
        ("policy_ms", 5.0, 1000.0),
        ("wait", 0.1, 600.0),
    ):
        if not low <= getattr(args, flag) <= high:
            raise UserError(f"--{flag}={getattr(args, flag):g}: expected {low:g} to {high:g}")
    if args.no_remote and args.command is None and not args.dry_run:
        raise UserError("--no_remote needs --command=VX,VY,YAW: there are no sticks to steer with")
    options = Options(command=parse_command(args.command, contract), remote=not args.no_remote, dry_run=args.dry_run)
    limits = Limits(
        tilt=math.radians(args.max_tilt),
        temperature=args.max_temperature,
        state_age=args.stale_ms / 1e3,
        policy_age=args.policy_ms / 1e3,
        loop_gap=max(Limits.loop_gap, args.stale_ms / 1e3),
    )
    return options, limits


def first_state(robot: Robot, wait: float, interface: str, domain: int, seconds: float = 0.5) -> tuple[LowState, float]:
    """The newest state and the states per second, measured over `seconds` after the first.

    Raises:
        UserError: nothing arrives for `wait` seconds.
    """
    state, count, end = None, 0, time.monotonic() + wait
    while time.monotonic() < end:
        new = robot.read()
        if new is not None:
            if state is None:
                end = time.monotonic() + seconds
            state, count = new, count + 1
        time.sleep(0.001)
    if state is None:
        raise UserError(
            f"no robot answers on interface '{interface}' (domain {domain}) within {wait:g} s: is it on, is the cable "
            "in, is this computer's "
            "address 192.168.123.x?"
        )
    return state, count / seconds


def check_list(contract: Contract, state: LowState, rate: float, options: Options, limits: Limits) -> list[str]:
    """Lines about policy and robot, after checking that the robot can be driven.

    Raises:
        UserError: states too seldom, a state that would be a fault, or no remote where one is needed.
    """
    supervisor, remote = Supervisor(contract, limits), decode(state.remote)
    supervisor.check_state(state)
    if supervisor.fault is not None:
        raise UserError(f"the robot cannot be driven: {supervisor.fault.reason}")
    if rate * contract.control_dt < 1.0:
        raise UserError(
            f"the robot's states come at {rate:.0f} Hz, a policy at {1.0 / contract.control_dt:.0f} Hz needs one for "
            "each step: is the network "
            "busy or wireless, or this computer?"
        )
    if options.remote and not options.dry_run and not remote.connected:
        raise UserError(
            "no wireless remote: switch it on, or use --no_remote with --command (then only this computer can stop "
            "the robot)"
        )
    tilt = math.degrees(math.acos(min(1.0, max(-1.0, -projected_gravity(state.quat)[2]))))
    order = [contract.joint_names.index(name) for name in contract.sdk_joint_order]
    ranges = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in contract.commands.items())
    slow = "" if rate > 0.8 * STATE_RATE else f" (SLOW: expected {STATE_RATE:.0f})"
    lines = [
        f"policy: task {contract.task}, {contract.method} {contract.role}, {1.0 / contract.control_dt:.0f} Hz; "
        f"trained commands: {ranges}",
        f"provenance: {', '.join(f'{key} {value}' for key, value in contract.provenance.items()) or 'unknown'}",
        f"robot: {rate:.0f} states per second{slow}, battery {state.battery} % at {state.voltage:.1f} V, "
        f"tilt {tilt:.0f} degrees, motors up to {state.temperature.max():.0f} degrees, "
        f"{int(state.lost.sum())} messages to them lost, remote {'on' if remote.connected else 'NOT FOUND'}",
        "motor  joint            now     stand up to  kp    kd    limits [rad]",
    ]
    for motor, (name, index) in enumerate(zip(contract.sdk_joint_order, order)):
        low, high = contract.joint_pos_limits[index]
        lines.append(
            f"{motor:5d}  {name:15s} {state.q[motor]:7.3f}  {contract.default_joint_pos[index]:7.3f}      "
            f"{contract.stiffness[index]:<5g} "
            f"{contract.damping[index]:<5g} {low:.2f} to {high:.2f}"
        )
    return lines


def confirm(args: argparse.Namespace) -> None:
    """Ask whether the operator has checked what the program cannot see."""
    print("Before anything is sent:")
    for item in OPERATOR_CHECKS:
        print(f"  [ ] {item}")
    if args.yes:
        return
    try:
        answer = input("All true? Type yes to let the robot lie down and stand up: ")
    except EOFError as error:
        raise UserError("no confirmation on standard input; give --yes to go on without") from error
    if answer.strip().lower() != "yes":
        raise UserError("not confirmed; nothing was sent")


class Operator:
    """Called after each tick: signals, the Enter key, the end of `--duration`, and the output of a dry run."""

    def __init__(self, runtime: Runtime, duration: float | None) -> None:
        self._runtime, self._duration, self._walking = runtime, duration, None
        self._signal = ""
        self._printed = -math.inf
        self._keys = sys.stdin is not None and sys.stdin.isatty()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def _stop(self, number: int, _: object) -> None:
        self._signal = signal.Signals(number).name

    def __call__(self, now: float) -> None:
        """After each tick."""
        runtime = self._runtime
        if self._signal:
            runtime.stop("operator", f"{'Ctrl-C' if self._signal == 'SIGINT' else self._signal} on this computer")
        if self._keys and select.select([sys.stdin], [], [], 0.0)[0]:
            sys.stdin.readline()
            if runtime.phase == WAIT:
                runtime.request_start()
            else:
                runtime.stop("operator", "Enter on this computer")
        if runtime.phase == RUN and self._walking is None:
            self._walking = now
        if self._duration is not None and self._walking is not None and now - self._walking >= self._duration:
            runtime.stop("operator", f"--duration={self._duration:g} is over")
        if runtime.options.dry_run and now - self._printed >= 1.0 and runtime.phase != DAMP:
            self._printed = now
            print("targets [rad]: " + " ".join(f"{target:.2f}" for target in runtime.targets))


def drive(
    args: argparse.Namespace, contract: Contract, robot: Go2, policy: PolicyProcess, options: Options, limits: Limits
) -> dict[str, Any]:
    """Run from the check list to the end of damping; returns the contents of `--report`."""
    state, rate = first_state(robot, args.wait, args.interface, args.domain)
    print("\n".join(check_list(contract, state, rate, options, limits)))
    print(f"policy process {policy.pid}")
    if not options.dry_run:
        confirm(args)
        if not args.keep_service:
            robot.release_motors()
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection in the loop would be a pause, and before its first pass the state would be old by then
    if not options.dry_run:
        state = first_state(robot, args.wait, args.interface, args.domain, seconds=0.05)[0]
    runtime = Runtime(contract, robot, policy, state, options, limits, log=lambda line: print(line, flush=True))
    operator = Operator(runtime, args.duration)
    loop(runtime, COMMAND_PERIOD, operator)
    fault = runtime.supervisor.fault
    report = {"stopped_by": fault and {"name": fault.name, "reason": fault.reason}, **runtime.timing.summary()}
    print(f"{report['control_steps']} control steps, {report['deadline_misses']} deadlines missed")
    return report


def main(argv: list[str] | None = None) -> int:
    """Run; returns 0 when the operator ended it, 1 after a fault."""
    args = parse(make_parser(), argv)
    if args.policy is None or args.interface is None:
        raise UserError("give --policy=FILE and --interface=NAME; see --help")
    contract = check_policy(ExportedPolicy(args.policy))
    options, limits = make_settings(args, contract)
    check_sdk()
    check_interface(args.interface)
    joints = len(contract.joint_names)
    robot = Go2(args.interface, args.domain, joints, sends=not args.dry_run)
    standby = None if args.dry_run else partial(Publisher, args.interface, args.domain, joints)
    guard = Guard(silence=2.0 * limits.loop_gap, damping_kd=options.damping_kd, period=COMMAND_PERIOD)
    with PolicyProcess(Path(args.policy), standby, guard) as policy:
        report = drive(args, contract, robot, policy, options, limits)
    if args.report:
        text = json.dumps(report, indent=2) + "\n"
        atomic_write(Path(args.report), lambda path: path.write_text(text, encoding="utf-8"))
    return 0 if report["stopped_by"] and report["stopped_by"]["name"] == "operator" else 1
