"""Command line of scripts/sim2sim.py: flags and what can be checked about them at once. Standard library only."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

from legged_gym_ext.training.pretrained import policy_file, tasks
from legged_gym_ext.utils.errors import UserError

LEVEL = 3  # of the ground, unless asked for another


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add all flags to `parser`."""
    _add_run(parser)
    _add_disturbances(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--policy",
        type=policy_file,
        required=True,
        metavar="FILE",
        help="policy.onnx, as export.py writes it; or pretrained:TASK, a policy that is part of this package: "
        f"{', '.join(tasks()) or 'none'}",
    )
    add(
        "--model",
        type=Path,
        metavar="FILE",
        help="MJCF of the robot; default: the package's own for the policy's robot",
    )
    add(
        "--joint_map",
        nargs="+",
        metavar="POLICY=MODEL",
        help="joints that the model names differently; or a file with one such pair per line",
    )
    commands = parser.add_mutually_exclusive_group()
    commands.add_argument(
        "--command", type=float, nargs=3, metavar=("VX", "VY", "YAW"), help="fixed command [m/s, m/s, rad/s]"
    )
    commands.add_argument("--script", type=Path, metavar="FILE", help="timed commands, per line: SECONDS VX VY YAW")
    commands.add_argument(
        "--episodes", type=int, metavar="N", help="N times 20 s of random starts and commands, as evaluate.py"
    )
    add("--seed", type=int, default=12345, metavar="N", help="of commands, starts, noise and pushes; default: 12345")
    add(
        "--duration",
        type=float,
        metavar="S",
        help="seconds; default: the script's, 20 of a fixed command, endless in a window",
    )
    add(
        "--terrain",
        default="flat",
        metavar="KIND",
        help="flat (default), a kind of tile such as stairs_up, or model: the file's own",
    )
    add("--level", type=int, metavar="N", help=f"how hard that tile is, 0 to 9; default: {LEVEL}")
    add("--headless", action="store_true", help="no window, metrics only")
    add("--video", type=Path, metavar="FILE", help="write a video (.mp4) instead of opening a window")
    add("--json", type=Path, metavar="FILE", help="also write the metrics to FILE")


def _add_disturbances(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("to try robustness (nothing is changed by default)").add_argument
    add("--delay", type=float, default=0.0, metavar="MS", help="between a target and the motors acting on it [ms]")
    add("--friction", type=float, metavar="MU", help="sliding friction of the robot's geoms")
    add("--added_mass", type=float, default=0.0, metavar="KG", help="added to the base [kg]")
    add("--joint_damping", type=float, metavar="D", help="of the joints, in place of the model's [N m s/rad]")
    add("--kp_scale", type=float, default=1.0, metavar="F", help="factor on the motors' position gains")
    add("--kd_scale", type=float, default=1.0, metavar="F", help="factor on the motors' damping gains")
    add(
        "--push",
        type=float,
        default=0.0,
        metavar="V",
        help="every 10 s a random horizontal velocity up to V per axis [m/s]",
    )
    add(
        "--noise",
        type=float,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="F",
        help="sensor noise of the tasks, times F (1)",
    )
    add("--physics_dt", type=float, metavar="S", help="physics step [s]; default: that of the training")
    add("--solver", metavar="NAME", help="pgs, newton or cg; default: the model's")
    add("--iterations", type=int, metavar="N", help="of the solver; default: the model's")


def check(args: argparse.Namespace) -> None:
    """Refuse invalid values and files that cannot be written, before anything is computed.

    Raises:
        UserError: names the flag.
    """
    for name, lowest in (
        ("episodes", 1),
        ("seed", 0),
        ("iterations", 1),
        ("push", 0.0),
        ("noise", 0.0),
        ("friction", 0.0),
        ("joint_damping", 0.0),
    ):
        value = getattr(args, name)
        if value is not None and not lowest <= value < math.inf:
            raise UserError(f"--{name}={value}: expected at least {lowest}")
    for name in ("duration", "kp_scale", "kd_scale", "physics_dt"):
        value = getattr(args, name)
        if value is not None and not 0.0 < value < math.inf:
            raise UserError(f"--{name}={value}: expected more than 0")
    for name in ("delay", "added_mass"):
        if not math.isfinite(getattr(args, name)):
            raise UserError(f"--{name}={getattr(args, name)}: expected a number")
    if args.command is not None and not all(map(math.isfinite, args.command)):
        raise UserError(f"--command={args.command}: expected three numbers")
    if args.level is not None and args.terrain in ("flat", "model"):
        raise UserError(f"--level={args.level}: --terrain {args.terrain} has no levels")
    if args.episodes and args.video:
        raise UserError("--episodes runs without pictures; leave out --video, or give --command or --script instead")
    if args.video:
        from legged_gym_ext.viewer.video import VIDEO_SUFFIXES, check_output

        args.video = check_output(args.video, VIDEO_SUFFIXES, ("imageio", "imageio_ffmpeg"))
    if args.json is not None and (args.json.is_dir() or not args.json.resolve().parent.is_dir()):
        raise UserError(f"--json={args.json}: expected the name of a file in a folder that exists")


def read_joint_map(words: list[str] | None) -> dict[str, str]:
    """Policy's joint -> model's joint, of `--joint_map`: pairs, or a file with one pair per line.

    Raises:
        UserError: no such file, or no pair.
    """
    pairs = list(words or [])
    if len(pairs) == 1 and "=" not in pairs[0]:
        path = Path(os.path.expanduser(pairs[0]))
        try:
            pairs = [
                text
                for line in path.read_text(encoding="utf-8").splitlines()
                if (text := line.partition("#")[0].strip())
            ]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "no text file"
            raise UserError(
                f"--joint_map={path}: {reason}; expected POLICY=MODEL pairs or a file with one per line"
            ) from error
    found = {}
    for pair in pairs:
        policy, equals, model = (part.strip() for part in pair.partition("="))
        if not (policy and equals and model):
            raise UserError(f"--joint_map: expected POLICY=MODEL, found '{pair}'")
        found[policy] = model
    return found
