"""Run an exported policy in plain MuJoCo: `sim2sim.py --policy policy.onnx`; `--model robot.xml` for your file."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.deploy.sim2sim.flags import LEVEL, add_flags, check, read_joint_map
from legged_gym_ext.utils.cli import Parser, parse
from legged_gym_ext.utils.errors import UserError, run_main
from legged_gym_ext.viewer import controls

if TYPE_CHECKING:
    from legged_gym_ext.deploy.contract import Contract
    from legged_gym_ext.deploy.controller import Controller
    from legged_gym_ext.deploy.sim2sim.loop import Moment, Trial
    from legged_gym_ext.deploy.sim2sim.robot import PlainRobot
    from legged_gym_ext.viewer.commands import Command, Fixed, Script

FPS = 25  # of videos, at most
DURATION = 20.0  # s of a fixed command
KEYS = {key.name: key.value for key in controls.KEYS if key.action == "move"}
"""Change of the command per key press."""

KEYS_HELP = "keys: up/down forward speed, left/right turn, 7/9 sideways left/right, enter stop; close the window to end"


def main(argv: list[str] | None = None) -> int:
    """Run the policy, print the metrics and return the exit code."""
    args = _parse(argv)
    from legged_gym_ext.deploy.controller import Controller
    from legged_gym_ext.deploy.policy_file import ExportedPolicy
    from legged_gym_ext.deploy.sim2sim.loop import Disturbances, Trial, model_notes

    controller = Controller(ExportedPolicy(args.policy))
    command = _command(args, controller.contract.commands)
    window = not (args.episodes or args.video or args.headless)
    _prepare_pictures(args, window)
    robot = _robot(args, controller.contract, pictures=window or args.video is not None)
    trial = Trial(controller, robot, Disturbances(args.noise, args.push), args.seed)
    notes = model_notes(controller.contract.model, robot, args.added_mass, chosen=args.model is not None)
    commands = _describe_commands(args, command, window)
    _introduce(controller, robot, notes, commands)
    if args.episodes:
        _run_episodes(trial, args)
    elif window:
        _run_window(trial, command, args)
    else:
        _run_headless(trial, command, args)
    _report(trial, args, {"commands": commands, "notes": notes})
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """Flags, checked as far as possible before anything slow happens."""
    parser = Parser(
        description="Run an exported policy on a robot in plain MuJoCo and print how it does. Without --episodes, "
        "--video or --headless a window opens.\n" + KEYS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_flags(parser)
    args = parse(parser, argv)
    overrides = [f"--env.{name}" for name in args.env_overrides] + [f"--train.{name}" for name in args.train_overrides]
    if overrides:
        raise UserError(f"{overrides[0]}: an exported policy has no configuration to override; see --help")
    check(args)
    return args


def _command(args: argparse.Namespace, ranges: Mapping[str, tuple[float, float]]) -> Fixed | Script:
    """Where commands come from: a function of time. Keys change the one of a window."""
    from legged_gym_ext.viewer.commands import Fixed, outside, read_script, tour

    if args.script:
        return read_script(args.script)
    if args.command:
        never = outside(tuple(args.command), ranges)
        if never:
            print(f"note: the policy never had this command in training: {never}")
        return Fixed(tuple(args.command))
    return tour(ranges) if args.headless or args.video else Fixed((0.0, 0.0, 0.0))


def _prepare_pictures(args: argparse.Namespace, window: bool) -> None:
    """Find out whether pictures can be drawn, before MuJoCo is imported."""
    from legged_gym_ext.simulators import prepare_view

    if window:
        prepare_view(window=True, otherwise="--video out.mp4, or --headless, which only prints the metrics")
    elif args.video:
        prepare_view(window=False)


def _robot(args: argparse.Namespace, contract: Contract, *, pictures: bool) -> PlainRobot:
    """The robot of the command line on its ground."""
    from legged_gym_ext.simulators import require

    require("mujoco")
    from legged_gym_ext.deploy.sim2sim.robot import Physics, PlainRobot
    from legged_gym_ext.terrain.map import map_of_one_kind

    ground, origin, add_visuals = None, (0.0, 0.0, 0.0), None
    if args.terrain == "model":
        ground = "model"
    elif args.terrain != "flat":
        ground = map_of_one_kind(args.terrain)
        level = LEVEL if args.level is None else args.level
        if not 0 <= level < ground.rows:
            raise UserError(f"--level={level}: there are levels 0 to {ground.rows - 1}")
        origin = tuple(ground.origins[level, ground.columns // 2])
    if pictures:
        from legged_gym_ext.deploy.sim2sim.view import add_plain_visuals, allow_large_frames

        add_visuals = allow_large_frames if ground == "model" else add_plain_visuals
    physics = Physics(
        dt=args.physics_dt,
        delay=1e-3 * args.delay,
        friction=args.friction,
        added_mass=args.added_mass,
        kp_scale=args.kp_scale,
        kd_scale=args.kd_scale,
        solver=args.solver,
        iterations=args.iterations,
        joint_damping=args.joint_damping,
    )
    return PlainRobot(
        contract,
        args.model,
        physics=physics,
        ground=ground,
        origin=origin,
        joint_map=read_joint_map(args.joint_map),
        add_visuals=add_visuals,
    )


def _describe_commands(args: argparse.Namespace, command: Fixed | Script, window: bool) -> str:
    """Which commands the policy gets, in words."""
    if args.episodes:
        return "random within the trained ranges, new every 10 s"
    if args.script:
        return f"{args.script}: {command}"
    if args.command:
        return f"{command}, until keys change it" if window else str(command)
    return f"those of keys, from {command} on" if window else f"a tour within the trained ranges: {command}"


def _introduce(controller: Controller, robot: PlainRobot, notes: list[str], commands: str) -> None:
    contract = controller.contract
    print(f"{contract.method} {contract.role} of task {contract.task}: {controller.policy.path}")
    print(f"robot of {robot.mass:.3f} kg, {1.0 / contract.control_dt:.0f} Hz control, {1e3 * robot.dt:g} ms physics")
    for line in notes:
        print(line)
    if robot.free_joints:
        print(f"note: joints that the policy does not know, and nothing moves: {', '.join(robot.free_joints)}")
    print(f"commands: {commands}")


def _run_episodes(trial: Trial, args: argparse.Namespace) -> None:
    from legged_gym_ext.deploy.sim2sim.loop import EPISODE, run_episodes
    from legged_gym_ext.utils.errors import pluralize

    duration = args.duration or EPISODE
    print(f"{pluralize(args.episodes, 'episode')} of {duration:g} s")
    for _ in run_episodes(trial, args.episodes, args.seed, duration):
        pass


def _run_headless(trial: Trial, command: Fixed | Script, args: argparse.Namespace) -> None:
    """A script or a command, with a video where one is asked for."""
    duration = args.duration or getattr(command, "duration", DURATION)
    if not args.video:
        for moment in trial.run(command, duration):
            _tell(moment)
        return
    from legged_gym_ext.deploy.sim2sim.view import COLOURS, PlainVideo
    from legged_gym_ext.viewer.overlay import draw_caption
    from legged_gym_ext.viewer.video import video_file

    every = max(1, round(1.0 / (FPS * trial.control_dt)))
    fps = 1.0 / (every * trial.control_dt)
    with contextlib.ExitStack() as stack:
        robot: Any = trial.robot
        view = PlainVideo(robot, fps)
        stack.callback(view.close)
        append = stack.enter_context(video_file(args.video, fps))
        for step, moment in enumerate(trial.run(command, duration)):
            _tell(moment)
            if step % every == 0:
                frame, title = view.frame(moment.command), f"{trial.controller.contract.method}, {moment.seconds:.1f} s"
                append(draw_caption(frame, title, _velocities(trial, moment.command), COLOURS))
    print(f"wrote {args.video}")


def _run_window(trial: Trial, command: Fixed | Script, args: argparse.Namespace) -> None:
    """In real time until the window is closed or time is over; keys change a fixed command."""
    from legged_gym_ext.deploy.sim2sim.view import PlainWindow
    from legged_gym_ext.viewer.commands import Fixed

    def on_key(name: str) -> None:
        if isinstance(command, Fixed):
            press(command, name, trial.controller.contract.commands)

    robot: Any = trial.robot
    window = PlainWindow(robot, on_key)
    print(KEYS_HELP if isinstance(command, Fixed) else "close the window to end")
    due = time.perf_counter()
    try:
        for moment in trial.run(command, args.duration or getattr(command, "duration", math.inf)):
            if not window.is_running():
                return
            _tell(moment)
            window.show(moment.command, list(zip(("command", "actual"), _velocities(trial, moment.command))))
            due = max(
                due + trial.control_dt, time.perf_counter() - 0.2
            )  # never run to catch up with more than a moment
            time.sleep(max(0.0, due - time.perf_counter()))
    finally:
        window.close()


def press(command: Fixed, key: str, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Change `command` by what the key called `key` does, within the trained ranges."""
    from legged_gym_ext.viewer.commands import bounds, clamp

    if key == "enter":
        command.command = (0.0, 0.0, 0.0)
    elif key in KEYS:
        command.command = clamp(map(sum, zip(command.command, KEYS[key])), *bounds(ranges))


def _velocities(trial: Trial, command: Command) -> tuple[str, str]:
    """Commanded and actual velocity in words."""
    from legged_gym_ext.viewer.commands import in_numbers

    robot = trial.robot
    return in_numbers(command), in_numbers((*robot.lin_vel[:2], robot.read().ang_vel[2]))


def _tell(moment: Moment) -> None:
    fall = moment.fall
    if fall is not None:
        print(f"{fall.time:.2f} s: {fall.reason} at x {fall.x:.2f} m, y {fall.y:.2f} m; starts again")


def _report(trial: Trial, args: argparse.Namespace, introduction: dict[str, Any]) -> None:
    """Print the metrics as a table and write the file of --json, with `introduction` in it."""
    from legged_gym_ext.training.metrics import table

    report = trial.metrics.report()
    print(table(report))
    if args.episodes:
        for fall in trial.metrics.falls[:10]:
            print(
                f"episode {fall.episode}: {fall.reason} after {fall.time:.2f} s at x {fall.x:.2f} m, y {fall.y:.2f} m"
            )
        more = len(trial.metrics.falls) - 10
        if more > 0:
            print(f"and {more} more falls")
    if args.json is not None:
        import json

        from legged_gym_ext.training.runs import atomic_write

        settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        settings = {name: value for name, value in settings.items() if not name.endswith("_overrides")}
        text = json.dumps({"settings": settings, **introduction, **report}, indent=2)
        atomic_write(args.json, lambda target: target.write_text(text + "\n", encoding="utf-8"))


if __name__ == "__main__":
    run_main(main)
