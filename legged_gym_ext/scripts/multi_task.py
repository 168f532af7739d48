"""Many teachers, one small student: `multi_task.py --task=go2_rma --out=logs/multi`, see docs/multi_task.md.

Records six regimes of walking, trains a transformer on each data set, distils a student from all of them in several
orders, evaluates, and draws. Every step that is done is kept in --out: the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, run_main

ORDERS = ("novelty", "novelty-unprojected", "cyclic", "uniform", "pcgrad")
"""Names of --orders; `novelty-unprojected` is novelty without projection."""

SIZES: dict[str, dict[str, Any]] = {
    "small": {"width": 64, "feedforward_ratio": 4.0, "token_hidden_dims": [64], "hidden_dims": [64]},
    "large": {"width": 128, "feedforward_ratio": 4.0, "token_hidden_dims": [128], "hidden_dims": [128]},
}
"""Names of --sizes -> options of the student: about 66 and 250 thousand weights."""


def main(argv: list[str] | None = None) -> int:
    """Do what is left to do and return the exit code."""
    parser = make_parser(
        "Distil a small student from transformers that were taught on the data of a trained run, one per regime of "
        "walking. Run the same command again to go on after an interruption; what is in --out is kept."
    )
    add_flags(parser)
    args = parse(parser, argv)
    limit_spinning()
    _check(args)
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.scripts.multi_task_steps import Pipeline
    from legged_gym_ext.simulators import prepare_engine
    from legged_gym_ext.training.output import tolerate_broken_stdout
    from legged_gym_ext.utils.cli import apply_args_to_cfgs

    asked = task_registry.get_cfgs(args.task)
    task_registry.require_robot(args.task, "multi_task.py distils policies of robots")
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before torch is imported
    with tolerate_broken_stdout("the distillation"):
        Pipeline(args).run()
    return 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the whole."""
    add = parser.add_argument
    add("--out", metavar="FOLDER", help="everything goes there: data, teachers, students, results.json, pictures")
    add(
        "--policy",
        choices=("deployed", "teacher"),
        default="deployed",
        help="who is recorded: what is deployed, a method's student or its only policy (default), or its teacher, who "
        "sees more than those who learn from it",
    )
    add("--actions", choices=("mean", "sampled"), default="sampled", help="executed while recording (sampled)")
    pretrained.add_flag(parser, "record the policy that is part of this package, instead of one of your runs")
    add("--regimes", default="all", metavar="A,B", help="forward,backward,sideways,turning,slopes,stairs (all)")
    add("--quality", choices=("expert", "medium", "mixed"), default="expert", help="of the data (expert)")
    add("--medium_checkpoint", type=int, metavar="IT", help="with medium and mixed: an early checkpoint of the run")
    add("--episodes", type=int, default=256, metavar="N", help="recorded per regime (256)")
    add("--teacher_updates", type=int, default=3000, metavar="N", help="gradient steps of each teacher (3000)")
    add("--teacher_rate", type=float, default=1e-3, metavar="F", help="their learning rate at its highest (1e-3)")
    add("--teacher_head", choices=("gaussian", "mse"), default="gaussian", help="of the teachers (gaussian)")
    add("--returns", action="store_true", help="teachers are told a return to go; expert data need none")
    add("--teacher_rtg", choices=("data", "target"), default="data", help="with --returns: what it is in distillation")
    add("--orders", default="novelty,cyclic,uniform,pcgrad", metavar="A,B", help=", ".join(ORDERS))
    add("--sizes", default="small,large", metavar="A,B", help=f"of the student: {', '.join(SIZES)}")
    add("--seeds", type=int, default=3, metavar="N", help="students of each order and size (3)")
    add("--rounds", type=int, default=200, metavar="N", help="of a distillation (200)")
    add("--round_updates", type=int, default=50, metavar="N", help="gradient steps of a round (50)")
    add("--projection", choices=("none", "previous", "previous_other", "all"), default="previous_other", help=DEFAULT)
    add("--distance", choices=("raw", "relative", "std"), default="relative", help="of novelty (relative)")
    add("--eval_envs", type=int, default=64, metavar="N", help="robots of an evaluation (64)")


DEFAULT = "of novelty and cyclic (previous_other)"


def _check(args: argparse.Namespace) -> None:
    """Raise a `UserError` for invalid flags, before anything is loaded; lists become lists."""
    from legged_gym_ext.training.regimes import REGIMES, overrides

    if not args.out:
        raise UserError("--out is missing: expected a folder, such as --out=logs/multi")
    if Path(args.out).is_file():
        raise UserError(f"--out={args.out} is a file: expected a folder")
    for flag in ("episodes", "teacher_updates", "seeds", "rounds", "round_updates", "eval_envs"):
        if getattr(args, flag) < 1:
            raise UserError(f"--{flag}={getattr(args, flag)}: expected at least 1")
    if args.episodes < 10:
        raise UserError(f"--episodes={args.episodes}: expected at least 10, a tenth of them is held out")
    if not args.teacher_rate > 0.0:
        raise UserError(f"--teacher_rate={args.teacher_rate}: expected a positive number")
    if args.quality != "expert" and args.medium_checkpoint is None:
        raise UserError(f"--quality={args.quality} needs --medium_checkpoint=IT, an early checkpoint of the run")
    if args.pretrained and args.quality != "expert":
        raise UserError(f"--quality={args.quality} needs checkpoints of a training: the package has one; name a run")
    args.regimes = list(REGIMES) if args.regimes == "all" else args.regimes.split(",")
    for regime in args.regimes:
        overrides(regime)
    for flag, known in (("orders", ORDERS), ("sizes", tuple(SIZES))):
        setattr(args, flag, getattr(args, flag).split(","))
        for name in getattr(args, flag):
            if name not in known:
                raise UserError(f"--{flag}: '{name}' is none of {', '.join(known)}")


if __name__ == "__main__":
    run_main(main)
