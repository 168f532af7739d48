"""Watch a robot: `play.py --task=go2` in a window, or `play.py --task=go2 --video out.mp4`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path
from typing import Any, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.errors import UserError, run_main

Command = Tuple[float, float, float]  # vx, vy [m/s], yaw rate [rad/s]

AGENTS = ("policy", "teacher", "zero", "random")
TRAINED = ("policy", "teacher")
FPS = 25  # of videos, at most
LEVEL = 3  # of the ground, unless asked for another
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
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine

    asked = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before the next line imports torch
    from legged_gym_ext.utils.policies import run_cfgs

    env_cfg, train_cfg, run_dir = run_cfgs(args.task, args, nominal, trained=args.agent in TRAINED)
    window = not (args.video or args.strip)

    from legged_gym_ext.simulators import prepare_view

    prepare_view(window=window)
    import torch

    from legged_gym_ext.utils.task_registry import set_seed

    torch.set_num_threads(1)  # a few robots: more threads only wait for each other
    set_seed(train_cfg.seed)
    env, _ = task_registry.make_env(args.task, env_cfg)
    choose_ground(env, args.task, args.tile, args.level)
    player = Player(env, Agent(args.agent, env, args.task, train_cfg, run_dir))
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
    add(
        "--agent",
        choices=AGENTS,
        default="policy",
        help="who acts: the policy to deploy (a student, where there is one), its teacher, or nobody trained",
    )
    add("--command", type=float, nargs=3, metavar=("VX", "VY", "YAW"), help="fixed command [m/s, m/s, rad/s]")
    add("--tile", metavar="KIND", help="kind of ground to start on, e.g. stairs_up; default: the first of the map")
    add("--level", type=int, metavar="N", help="how hard that ground is; default: 3")
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
    env_cfg.env.num_envs, env_cfg.terrain.curriculum = 1, False
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
        raise UserError(f"--tile and --level: task '{task}' is on flat ground")


class Agent:
    """Chooses actions: a trained policy, zeros (hold the default pose) or random ones."""

    def __init__(self, kind: str, env: Any, task: str, train_cfg: Any, run_dir: Path | None) -> None:
        """Act in `env` (a `LeggedRobot`); a `kind` among `TRAINED` is loaded from `run_dir`."""
        import torch

        self.kind, self.env, self.policy = kind, env, None
        self._actions = torch.zeros(env.num_envs, env.num_actions, device=env.device)
        if kind in TRAINED:
            from legged_gym_ext.utils.policies import load_policies

            self._groups, policies, path = load_policies(env, task, train_cfg, run_dir)
            name = "student" if "student" in policies else next(iter(policies))  # what a real robot could run
            if kind == "teacher":
                name = kind
            if name not in policies:
                raise UserError(f"--agent=teacher: task '{task}' has no teacher; it has {', '.join(policies)}")
            self.policy = policies[name]
            print(f"{name}: {path}")

    def act(self) -> Any:
        """Actions (N, A) for the environment as it is now."""
        if self.policy is not None:
            return self.policy(self._groups.get_observations())
        return self._actions.normal_() if self.kind == "random" else self._actions

    def reset(self, dones: Any) -> None:
        """Forget what robots with `dones` (N,) remember."""
        if self.policy is not None:
            self.policy.reset(dones)


class Player:
    """Steps an environment with an agent under given commands, and reports falls."""

    def __init__(self, env: Any, agent: Agent) -> None:
        """Put the robots at their start, commanded to stand."""
        from legged_gym_ext.utils.policies import hold_command

        self.env, self.agent = env, agent
        self.command: Command = (0.0, 0.0, 0.0)
        self.steps = 0
        hold_command(env, self.command)
        env.reset()  # the very first observation was made under a random command

    def step(self, command: Command) -> None:
        """One control step; the agent reads a new command in the next one."""
        import torch

        from legged_gym_ext.utils.policies import hold_command

        env = self.env
        if command != self.command:
            hold_command(env, command)
            self.command = command
        with torch.inference_mode():
            env.step(self.agent.act())
            self.agent.reset(env.reset_buf)
        self.steps += 1
        for flags, what in ((env.fault_buf, "physics became non-finite"), (env.fall_buf, "fell")):
            if flags.any():
                who = "robot" if env.num_envs == 1 else f"{int(flags.sum())} of {env.num_envs} robots"
                print(f"{self.steps * env.dt:.2f} s: {who} {what} and starts again")

    def velocities(self) -> tuple[str, str]:
        """Commanded and actual velocity of robot 0, in words."""
        env = self.env
        actual = (*env.base_lin_vel[0, :2].tolist(), float(env.base_ang_vel[0, 2]))
        wanted = env.commands[0, :3].tolist()
        commanded, measured = (
            f"x {vx:+.2f}  y {vy:+.2f} m/s   yaw {yaw:+.2f} rad/s" for vx, vy, yaw in (wanted, actual)
        )
        return commanded, measured


def describe_command(command: Command) -> str:
    """A command in words, e.g. "forward 0.8 m/s, turn left 0.5 rad/s"."""
    words = (("forward", "back", "m/s"), ("left", "right", "m/s"), ("turn left", "turn right", "rad/s"))
    parts = [
        f"{up if value > 0 else down} {abs(value):.1f} {unit}"
        for value, (up, down, unit) in zip(command, words)
        if abs(value) >= 0.05
    ]
    return ", ".join(parts) or "stop"


def command_bounds(env: Any) -> list[list[float]]:
    """Lower and upper bound of vx, vy and yaw rate that the task trains."""
    ranges = env.cfg.commands.ranges
    return [ranges.lin_vel_x, ranges.lin_vel_y, ranges.ang_vel_yaw]


def scripted(env: Any, share: float) -> Command:
    """The command of `SCRIPT` when `share` (0..1) of the video is over."""
    chosen = SCRIPT[-1][1]
    for length, shares in SCRIPT:
        if share < length:
            chosen = shares
            break
        share -= length
    vx, vy, yaw = (part * bounds[1] for part, bounds in zip(chosen, command_bounds(env)))
    return vx, vy, yaw


def record(player: Player, args: argparse.Namespace) -> None:
    """Write the video, the strip or both."""
    from legged_gym_ext.simulators import make_view
    from legged_gym_ext.utils.video import draw_caption, video_file, write_strip

    env = player.env
    every = max(1, round(1.0 / (FPS * env.dt)))
    fps = 1.0 / (every * env.dt)
    frames = max(1, round(args.video_length * fps))
    wanted = {int((panel + 0.5) / PANELS * frames) for panel in range(PANELS)}
    panels = []
    print(f"recording {frames / fps:.1f} s, {frames} frames")
    with contextlib.ExitStack() as stack:
        view = make_view(env, window=False, fps=fps)
        stack.callback(view.close)
        append = stack.enter_context(video_file(args.video, fps)) if args.video else None
        for index in range(frames):
            command = tuple(args.command) if args.command else scripted(env, (index + 0.5) / frames)
            for _ in range(every):
                player.step(command)
            view.follow()
            if append is None and index not in wanted:
                continue
            picture = view.render()
            if args.strip and index in wanted:
                panels.append((picture, describe_command(command)))
            if append is not None:
                labels = zip(view.colours, ("command", "actual"), player.velocities())
                append(draw_caption(picture, [(colour, f"{label}  {text}") for colour, label, text in labels]))
        if args.strip:
            write_strip(args.strip, panels)
    for path in filter(None, (args.video, args.strip)):
        print(f"wrote {path}")


def play_window(player: Player, command: Command) -> None:
    """Play in real time until the window is closed; keys change the command."""
    from legged_gym_ext.simulators import make_view

    env = player.env
    current = [command]

    def on_key(name: str) -> None:
        if name == "enter":
            current[0] = (0.0, 0.0, 0.0)
        elif name in KEYS:
            moved = (old + change for old, change in zip(current[0], KEYS[name]))
            vx, vy, yaw = (
                round(min(max(value, low), high), 3) for value, (low, high) in zip(moved, command_bounds(env))
            )
            current[0] = (vx, vy, yaw)
        else:
            return
        print(f"command: {describe_command(current[0])}")

    view = make_view(env, window=True, on_key=on_key)
    print(KEYS_HELP)
    due = time.perf_counter()
    try:
        while view.is_running():
            player.step(current[0])
            view.show(list(zip(("command", "actual"), player.velocities())))
            due = max(due + env.dt, time.perf_counter() - 0.2)  # never run to catch up with more than a moment
            time.sleep(max(0.0, due - time.perf_counter()))
    finally:
        view.close()


if __name__ == "__main__":
    run_main(main)
