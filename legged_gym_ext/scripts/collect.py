"""Record what a trained run does as a data set: `collect.py --task=go2_rma --episodes=1000 --out=data/expert`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, pluralize, run_main

if TYPE_CHECKING:
    from legged_gym_ext.training.collection import Collector
    from rsl_rl_ult.storage.dataset import ShardWriter

NUM_ENVS, EPISODES, SEED = 256, 1000, 777
"""Robots, episodes and seed unless flags say otherwise."""

REPORT_INTERVAL = 10.0  # s between two lines of progress


def main(argv: list[str] | None = None) -> int:
    """Record, print what there is and return the exit code."""
    parser = make_parser(
        "Let the policies of a trained run act and write what they see and do to a data set: shards of numpy arrays, "
        "with the teacher's action at every step as the label. Each robot records equally many episodes. Commands, "
        "noise and physics are those of the training; robots are spread over all levels of the ground. Run the same "
        "command again to go on after an interruption."
    )
    add_flags(parser)
    args = parse(parser, argv)
    limit_spinning()
    _check(args)
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine
    from legged_gym_ext.training.output import tolerate_broken_stdout
    from legged_gym_ext.utils.cli import apply_args_to_cfgs

    asked = task_registry.get_cfgs(args.task)
    task_registry.require_robot(args.task, "collect.py records robots")
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before the next line imports torch
    from legged_gym_ext.training.policies import run_cfgs
    from legged_gym_ext.training.stopping import GracefulStop

    args.num_envs = min(args.num_envs or NUM_ENVS, args.episodes)
    args.seed = SEED if args.seed is None else args.seed
    cfgs = run_cfgs(args.task, args, _spread_levels)
    with tolerate_broken_stdout("the recording"), GracefulStop() as stop:
        _collect(args, cfgs, stop)
    return 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of recording."""
    add = parser.add_argument
    add("--out", metavar="FOLDER", help="folder of the data set; an existing one is continued")
    add("--episodes", type=int, default=EPISODES, metavar="N", help=f"episodes in the data set in all ({EPISODES})")
    add(
        "--policy",
        choices=("teacher", "student", "mixed", "deployed"),
        default="teacher",
        help="who acts (teacher); deployed: the student, or the only policy",
    )
    add(
        "--labels",
        choices=("teacher", "own"),
        default="teacher",
        help="mean actions of the teacher whoever acts (default), or of who acts: own",
    )
    add(
        "--mix",
        choices=("per_step", "per_episode"),
        help="with --policy=mixed: drawn for each episode (default) or step",
    )
    add("--mix_ratio", type=float, metavar="P", help="with --policy=mixed: probability that the teacher acts (0.5)")
    add(
        "--actions",
        choices=("mean", "sampled"),
        default="mean",
        help="execute mean actions (default), or draw them with the deviation of the training",
    )
    pretrained.add_flag(parser, "record the policies that are part of this package, instead of one of your runs")
    add("--rows_per_shard", type=int, default=65536, metavar="N", help="rows of one shard, about 1 kB each (65536)")


def _check(args: argparse.Namespace) -> None:
    """Raise a `UserError` for invalid flags, before anything is loaded."""
    if not args.out:
        raise UserError("--out is missing: expected the folder of the data set, such as --out=data/expert")
    if Path(args.out).is_file():
        raise UserError(f"--out={args.out} is a file: expected a folder")
    for flag in ("episodes", "rows_per_shard"):
        if getattr(args, flag) < 1:
            raise UserError(f"--{flag}={getattr(args, flag)}: expected at least 1")
    for flag in ("mix", "mix_ratio"):
        if getattr(args, flag) is not None and args.policy != "mixed":
            raise UserError(f"--{flag} says who acts in mixed data: add --policy=mixed")
    if args.mix_ratio is not None and not 0.0 <= args.mix_ratio <= 1.0:
        raise UserError(f"--mix_ratio={args.mix_ratio}: a probability, expected in [0, 1]")


def _spread_levels(env_cfg: Any) -> None:
    """Robots stay on their levels, evenly over all of them."""
    env_cfg.terrain.curriculum = False


def _collect(args: argparse.Namespace, cfgs: tuple, stop: Any) -> None:
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.policies import load_policies
    from legged_gym_ext.utils.cpus import usable_cpus

    env_cfg, train_cfg, run_dir = cfgs
    torch.set_num_threads(usable_cpus())
    groups = train_cfg.obs_groups
    for name in ("policy", "privileged"):  # what is recorded, whatever the policies read
        if name not in {group for names in vars(groups).values() if isinstance(names, list) for group in names}:
            groups.recorded = [*getattr(groups, "recorded", []), name]
    # Another seed for each part of a data set: the same episodes twice would teach nothing.
    part = _finished_shards(Path(args.out))
    env_cfg.seed = args.seed + part
    set_seed(env_cfg.seed)
    env, _ = task_registry.make_env(args.task, env_cfg)
    vec_env, policies, checkpoint = load_policies(env, args.task, train_cfg, run_dir)
    writer, collector = _open(args, vec_env, policies, checkpoint, env_cfg.seed)
    try:
        with writer:  # its end writes what is left
            if collector is None:
                episodes = pluralize(writer.episodes, "episode")
                print(f"nothing left to do: {args.out} has {episodes}; --episodes=N asks for more")
                return
            robots = pluralize(env.num_envs, "robot")
            print(f"recording {args.policy} of {checkpoint} with {robots} to {args.out}", flush=True)
            stop.defer()
            _run(args, writer, collector, stop)
    except OSError as error:
        raise UserError(
            f"--out={args.out}: a shard could not be written ({error.strerror or error}); what was finished is whole, "
            "the same command goes on"
        ) from error
    print(_summary(args, writer))


def _finished_shards(folder: Path) -> int:
    from rsl_rl_ult.storage.dataset import shard_paths

    return max(shard_paths(folder), default=-1) + 1 if folder.is_dir() else 0


def _open(
    args: argparse.Namespace, vec_env: Any, policies: dict, checkpoint: Path, seed: int
) -> tuple[ShardWriter, Collector | None]:
    """The writer, and what records into it; None where the data set has all its episodes."""
    import numpy as np

    from legged_gym_ext.training.collection import DRIVERS, DTYPES, Collector, by_role, columns, describe
    from rsl_rl_ult.algorithms.mixing import Mixing, spread
    from rsl_rl_ult.storage.dataset import ShardWriter, make_card
    from rsl_rl_ult.storage.recorder import Recorder

    env = vec_env.env
    if args.policy == "deployed":
        args.policy = "student" if "student" in policies else "teacher"
    roles = by_role(policies, args.policy)
    own = args.labels == "own"
    labeller = roles["student" if own and args.policy == "student" else "teacher"]
    streams = columns(env)
    card = make_card(
        streams["student"],
        streams["privileged"],
        DRIVERS,
        DTYPES,
        **describe(env, args.task, checkpoint, labeller),
        **({"labels": "own"} if own else {}),
    )
    try:
        writer = ShardWriter(args.out, card, args.rows_per_shard)
    except ValueError as error:
        raise UserError(f"--out={args.out}: {error}") from error
    except OSError as error:
        raise UserError(f"--out={args.out}: cannot write there ({error.strerror or error})") from error
    left = args.episodes - writer.episodes
    if left <= 0:
        return writer, None
    each, more = divmod(left, env.num_envs)
    quota = np.full(env.num_envs, each) + spread(env.num_envs, more).numpy()
    ratio = {"teacher": 1.0, "student": 0.0, "mixed": 0.5 if args.mix_ratio is None else args.mix_ratio}[args.policy]
    mixing = Mixing(env.num_envs, ratio, args.mix or "per_episode", seed=seed, device=env.device)
    recorder = Recorder(writer, env.num_envs, env.max_episode_length, episodes_per_env=quota)
    return writer, Collector(vec_env, roles, mixing, recorder, seed, args.actions == "sampled", own)


def _run(args: argparse.Namespace, writer: ShardWriter, collector: Collector, stop: Any) -> None:
    """Record until all episodes are there; a signal ends it after the step, with what is finished on disk."""
    begin = shown = time.monotonic()
    robots = collector.vec_env.num_envs

    def on_step(steps: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if stop.request is not None:
            stop.begin_saving()
            writer.flush()
            print(f"\nended early; {_summary(args, writer)}; the same command goes on", flush=True)
            raise stop.request
        if now - shown >= REPORT_INTERVAL:
            shown = now
            done = args.episodes - collector.recorder.unfinished
            print(
                f"episodes {done}/{args.episodes}  transitions {writer.recorded}  "
                f"{steps * robots / (now - begin):.0f} steps/s  elapsed {now - begin:.0f} s",
                flush=True,
            )

    collector.run(on_step)


def _summary(args: argparse.Namespace, writer: ShardWriter) -> str:
    dropped = f", {pluralize(writer.dropped, 'segment')} dropped" if writer.dropped else ""
    return (
        f"{args.out}: {pluralize(writer.episodes, 'episode')}, {pluralize(writer.transitions, 'transition')} in "
        f"{pluralize(writer.shards, 'shard')}{dropped}"
    )


if __name__ == "__main__":
    run_main(main)
