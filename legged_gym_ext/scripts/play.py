"""Watch a robot: `play.py --task=go2` in a window, with `--web` in a browser, with `--video out.mp4` in a file."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.errors import UserError, run_main
from legged_gym_ext.viewer.controls import AGENTS, TRAINED, keys_help

if TYPE_CHECKING:
    from viser import ViserServer

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg
    from legged_gym_ext.viewer.commands import Command
    from legged_gym_ext.viewer.player import Player

DESCRIPTION = "Watch a trained policy in a window or a browser, or write a video of it.\n"
WITHOUT_DISPLAY = "--video out.mp4, or --web for a page in a browser"
WIDTH = 1280  # px, default of files
GAP = 0.8  # m between student and teacher on the page


def main(argv: list[str] | None = None) -> int:
    """Show a robot and return the exit code."""
    args = _parse(argv)
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine, prepare_view

    cfgs = task_registry.get_cfgs(args.task)
    task_registry.require_robot(args.task, "play.py shows robots", "report.py draws where its policies go")
    apply_args_to_cfgs(args, *cfgs)
    prepare_engine(cfgs[0].sim.engine)  # before the next lines import torch
    with contextlib.ExitStack() as stack:
        server = None
        if args.web:
            from legged_gym_ext.viewer.web import page_server

            server = stack.enter_context(page_server(*args.web))
        from legged_gym_ext.training.policies import run_cfgs
        from legged_gym_ext.viewer import player as players
        from legged_gym_ext.viewer.agents import Agent

        def change(env_cfg: LeggedRobotCfg) -> None:
            spread = env_cfg.terrain.spawn_radius
            players.nominal(env_cfg)
            if args.agent == "both":
                env_cfg.env.num_envs = 2
            elif args.num_envs not in (None, 1):
                env_cfg.terrain.spawn_radius = spread  # at one point they would hide each other

        env_cfg, train_cfg, run_dir = run_cfgs(args.task, args, change, trained=args.agent in TRAINED)
        if args.agent == "both" and env_cfg.env.num_envs != 2:
            raise UserError(f"--agent=both shows two robots, not {env_cfg.env.num_envs}: leave out --num_envs")
        if server is None:
            prepare_view(window=not (args.video or args.strip), otherwise=WITHOUT_DISPLAY)
        env = _make_env(args, env_cfg, train_cfg.seed)
        weights = None
        if args.follow and run_dir is not None:
            from legged_gym_ext.viewer.watch import newest_weights

            weights = newest_weights(run_dir)
        agent = Agent(args.agent, env, args.task, train_cfg, run_dir, weights)
        player = players.Player(env, agent, GAP if server and args.agent == "both" else 0.0)
        _show(args, player, server, run_dir)
    return 0


def _make_env(args: argparse.Namespace, env_cfg: LeggedRobotCfg, seed: int) -> LeggedRobot:
    """The environment, with the robots on the selected ground."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.viewer.player import choose_ground

    torch.set_num_threads(1)  # few robots: more threads would only wait for each other
    set_seed(seed)
    env, _ = task_registry.make_env(args.task, env_cfg)
    choose_ground(env, args.task, args.tile, args.level)
    return env


def _show(args: argparse.Namespace, player: Player, server: ViserServer | None, run_dir: Path | None) -> None:
    """Show the robots on the page, in files or in a window."""
    from legged_gym_ext.viewer import frontends

    command = _bounded(tuple(args.command), player.env) if args.command else None
    start = command or (0.0, 0.0, 0.0)
    if server is not None:
        follower = None
        if args.follow and run_dir is not None:
            from legged_gym_ext.viewer.watch import Follower

            follower = Follower(player.agent, run_dir)
        frontends.play_page(player, server, start, follower)
    elif args.video or args.strip:
        frontends.record(player, args.video, args.strip, args.video_length, args.width, command)
    else:
        frontends.play_window(player, start)


def _bounded(command: Command, env: LeggedRobot) -> Command:
    """`command` clamped to the trained range; prints a line if that changed it."""
    from legged_gym_ext.viewer.commands import RANGES, clamp, in_numbers, outside
    from legged_gym_ext.viewer.player import command_bounds

    bounds = command_bounds(env)
    untrained = outside(command, {name: (low, high) for name, (low, high) in zip(RANGES, bounds)})
    if not untrained:
        return command
    within = clamp(command, *zip(*bounds))
    print(f"--command: bounded to {in_numbers(within)}, because of {untrained}")
    return within


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse and check the flags, before anything slow happens."""
    from legged_gym_ext.viewer.web import PORT, parse_address

    parser = make_parser(f"{DESCRIPTION}\n{keys_help()}")
    pretrained.add_flag(parser, "show the policy that is part of this package, instead of one of your runs")
    add = parser.add_argument
    add(
        "--agent",
        choices=AGENTS,
        default="policy",
        help="who acts: the policy to deploy (a student, where there is one), its teacher, both beside each other "
        "(--video, --web), or nobody trained; default: policy",
    )
    add(
        "--command",
        type=float,
        nargs=3,
        metavar=("VX", "VY", "YAW"),
        help="first command [m/s, m/s, rad/s], within the trained range; of videos the only one",
    )
    add("--tile", metavar="KIND", help="kind of ground to start on, e.g. stairs_up; default: the first of the map")
    add("--level", type=int, metavar="N", help="how hard that ground is; default: 3")
    add(
        "--web",
        nargs="?",
        const=str(PORT),
        metavar="[HOST:]PORT",
        help=f"serve a page for browsers on this machine, without a window; default: {PORT}, 0: any free port; "
        "other hosts than 127.0.0.1: with a token",
    )
    add(
        "--follow",
        action="store_true",
        help="with --web: load newer policies of the run as they appear, of a training that is running",
    )
    add("--video", type=Path, metavar="FILE", help="write a video (.mp4) instead of opening a window")
    add("--strip", type=Path, metavar="FILE", help="write 6 frames side by side (.png) instead of opening a window")
    add("--video_length", type=float, default=10.0, metavar="S", help="seconds of video or strip; default: 10")
    add("--width", type=int, metavar="PX", help="width of the pictures in files, 16:9; default: 1280")
    args = parse(parser, argv)
    args.web = parse_address(args.web) if args.web is not None else None
    _check(args)
    return args


def _check(args: argparse.Namespace) -> None:
    """Raise a `UserError` for invalid flags."""
    from legged_gym_ext.viewer.video import PICTURE_SUFFIXES, VIDEO_SUFFIXES, check_output, check_width

    files = bool(args.video or args.strip)
    if args.web and files:
        raise UserError("--web shows and --video or --strip writes: use one of the two")
    if args.follow and not (args.web and args.agent in TRAINED):
        raise UserError("--follow loads newer policies onto the page: it needs --web, and a trained --agent")
    if args.follow and args.checkpoint is not None:
        raise UserError("--follow shows the newest policy: leave out --checkpoint")
    if not args.video_length > 0.0:
        raise UserError(f"--video_length={args.video_length}: expected more than 0 seconds")
    if args.command and not all(map(math.isfinite, args.command)):
        raise UserError(f"--command={args.command}: expected three numbers")
    args.width = args.width or WIDTH
    check_width(args.width, "--width")
    if args.headless and not (files or args.web):
        raise UserError("--headless leaves nothing to show; add --video out.mp4, or --web")
    if args.agent == "both" and (args.strip or not (files or args.web)):
        raise UserError("--agent=both needs --video or --web; in the window, key 6 changes between the two")
    if args.video:
        args.video = check_output(args.video, VIDEO_SUFFIXES, ("imageio", "imageio_ffmpeg"))
    if args.strip:
        args.strip = check_output(args.strip, PICTURE_SUFFIXES, ("PIL",))


if __name__ == "__main__":
    run_main(main)
