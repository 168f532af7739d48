"""Watch a robot: `play.py --task=go2` in a window, or `play.py --task=go2 --video out.mp4`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.utils.cli import make_parser, parse  # noqa: E402
from legged_gym_ext.utils.errors import UserError, run_main  # noqa: E402

Command = tuple[float, float, float]  # vx, vy [m/s], yaw rate [rad/s]

AGENTS = ("policy", "zero", "random")
FPS = 25  # of videos, at most
PANELS = 6  # of strips
SCRIPT = ((0.30, (0.8, 0.0, 0.0)), (0.20, (0.0, 0.8, 0.0)), (0.30, (0.4, 0.0, 0.8)), (0.20, (0.0, 0.0, 0.0)))
"""What a video shows: share of its length, and the command as shares of the upper bounds of commands.ranges."""

KEYS = {
    "up": (0.1, 0.0, 0.0),
    "down": (-0.1, 0.0, 0.0),
    "left": (0.0, 0.0, 0.1),
    "right": (0.0, 0.0, -0.1),
    "7": (0.0, 0.1, 0.0),
    "9": (0.0, -0.1, 0.0),
}
"""Change of the command per key press; letters and most other keys belong to the viewer."""

KEYS_HELP = "keys: up/down forward speed, left/right turn, 7/9 sideways left/right, enter stop; close the window to end"


def main(argv: list[str] | None = None) -> int:
    """Show a robot and return the exit code."""
    args = _parse(argv)
    from legged_gym_ext.utils.policies import run_cfgs

    env_cfg, train_cfg, _ = run_cfgs(args.task, args, adjust=nominal, trained=args.agent == "policy")
    window = not (args.video or args.strip)

    from legged_gym_ext.simulators import prepare_view

    prepare_view(window=window)
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.task_registry import set_seed

    torch.set_num_threads(1)  # a few robots: more threads only wait for each other
    set_seed(train_cfg.seed)
    env, _ = task_registry.make_env(args.task, env_cfg)
    player = Player(env, make_agent(args.agent, env, args.task, train_cfg))
    if window:
        play_window(player, tuple(args.command) if args.command else (0.0, 0.0, 0.0))
    else:
        record(player, args)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """Flags, checked as far as possible before anything slow happens."""
    from legged_gym_ext.utils.video import PICTURE_SUFFIXES, VIDEO_SUFFIXES, check_output

    parser = make_parser("Watch a trained policy in a window or write a video of it.\n" + KEYS_HELP)
    add = parser.add_argument
    add("--agent", choices=AGENTS, default="policy", help="who acts; zero and random need no checkpoint")
    add("--command", type=float, nargs=3, metavar=("VX", "VY", "YAW"), help="fixed command [m/s, m/s, rad/s]")
    add("--video", type=Path, metavar="FILE", help="write a video (.mp4) instead of opening a window")
    add(
        "--strip",
        type=Path,
        metavar="FILE",
        help=f"write {PANELS} frames side by side (.png) instead of opening a window",
    )
    add("--video_length", type=float, default=10.0, metavar="S", help="seconds of video or strip; default: 10")
    args = parse(parser, argv)
    if not args.video_length > 0.0:
        raise UserError(f"--video_length={args.video_length}: expected more than 0 seconds")
    if args.headless and not (args.video or args.strip):
        raise UserError("--headless leaves nothing to show; add --video out.mp4")
    if args.video:
        args.video = check_output(args.video, VIDEO_SUFFIXES, ("imageio", "imageio_ffmpeg"))
    if args.strip:
        args.strip = check_output(args.strip, PICTURE_SUFFIXES, ("PIL",))
    return args


def nominal(env_cfg: Any) -> None:
    """One undisturbed robot with nominal physics that starts at rest and plays without end."""
    env_cfg.env.num_envs = 1
    env_cfg.env.episode_length_s = 1e6
    env_cfg.noise.add_noise = False
    env_cfg.domain_rand.push_robots = False
    for name in vars(env_cfg.domain_rand):
        if name.startswith("randomize_"):
            setattr(env_cfg.domain_rand, name, False)
    start = env_cfg.init_state
    start.joint_range, start.velocity_range, start.random_yaw = [1.0, 1.0], 0.0, False


class Player:
    """Steps an environment with an agent under given commands, and reports falls."""

    def __init__(self, env: Any, agent: Callable[[], Any]) -> None:
        """`agent` returns actions (N, A) for the environment as it is now."""
        self.env, self.agent = env, agent
        self.seconds = 0.0
        self.started = False

    def step(self, command: Command) -> None:
        """One control step; the agent sees a new command at once."""
        import torch

        from legged_gym_ext.utils.policies import hold_command

        env = self.env
        hold_command(env, command)
        with torch.inference_mode():
            if not self.started:
                env.reset()  # the first observation was made under a random command
                self.started = True
            _, _, _, dones, _ = env.step(self.agent())
            reset = getattr(self.agent, "reset", None)
            if reset is not None:
                reset(dones)
        self.seconds += env.dt
        for flags, what in ((env.fault_buf, "physics became non-finite"), (env.fall_buf & ~env.fault_buf, "fell")):
            if flags.any():
                who = "the robot" if env.num_envs == 1 else f"{int(flags.sum())} of {env.num_envs} robots"
                print(f"{self.seconds:.2f} s: {who} {what} and starts again")

    def rows(self) -> list[str]:
        """Commanded and actual velocity of robot 0, in words."""
        env = self.env
        actual = (*env.base_lin_vel[0, :2].tolist(), float(env.base_ang_vel[0, 2]))
        wanted = env.commands[0, :3].tolist()
        return [f"{vx:+.2f} m/s   {vy:+.2f} m/s   {yaw:+.2f} rad/s" for vx, vy, yaw in (wanted, actual)]
