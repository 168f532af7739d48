"""Command lines: legged_gym's flags plus dotted overrides of every configuration field. Standard library only."""

from __future__ import annotations

import argparse
import re
import sys
from functools import reduce
from typing import Any, NoReturn

from legged_gym_ext.utils.config import BaseConfig, apply_overrides, lookup
from legged_gym_ext.utils.errors import UserError, did_you_mean

EPILOG = """Every field of the configuration can be set, typed and checked, after all other flags:
  --env.rewards.scales.feet_air_time=0.5   --train.algorithm.learning_rate=5e-4
`describe.py --task=NAME --fields` lists the fields and their values."""

OF_RUNNER = ("experiment_name", "run_name", "load_run", "checkpoint", "max_iterations", "logger")
FIELDS = {
    "num_envs": ("env.env.num_envs",),
    "seed": ("env.seed", "train.seed"),
    "sim": ("env.sim.engine",),
    "sim_device": ("env.sim.device",),
    "rl_device": ("train.runner.device",),
    "video_of_training": ("train.runner.video",),
    **{flag: (f"train.runner.{flag}",) for flag in (*OF_RUNNER, "resume", "teacher", "start_from")},
}
"""Flag -> configuration fields that it sets."""

RANGES: dict[str, tuple[int, int | None]] = {
    "num_envs": (1, None),
    "seed": (0, 2**32 - 1),  # what numpy takes
    "checkpoint": (-1, None),
    "max_iterations": (0, None),
}
"""Flag -> lowest and highest value; None: no limit."""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises a `UserError` instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message."""
        raise UserError(f"{message}; see --help")


def make_parser(description: str, *, prog: str | None = None) -> Parser:
    """A parser with the flags that all programs share; a flag that is not given is None: keep the configuration."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=prog, description=description, epilog=EPILOG, formatter_class=raw, allow_abbrev=False)
    add = parser.add_argument
    add("--task", metavar="NAME", help="task to use, e.g. go2")
    add("--num_envs", type=int, metavar="N", help="number of environments")
    add("--seed", type=int, metavar="N", help="seed of environment and learning")
    add("--headless", action="store_true", help="accepted for legged_gym users: training never opens a window")
    add("--sim", metavar="ENGINE", help="physics engine: mujoco (default), mujoco_warp, isaac_gym")
    add("--sim_device", metavar="DEVICE", help="where the physics runs: cpu; cuda:0, ... for mujoco_warp and isaac_gym")
    add("--rl_device", metavar="DEVICE", help="where the networks run: cpu, cuda, cuda:1, ...")
    add("--experiment_name", metavar="NAME", help="folder of the runs under logs/")
    add("--run_name", metavar="NAME", help="added to the date in the name of the run folder")
    add("--load_run", metavar="RUN", help="run folder to load; default: the newest")
    add("--checkpoint", type=_iteration, metavar="IT", help="iteration to load; default: the newest")
    add("--log_root", metavar="DIR", help="where runs are written and looked for; default: logs/ (a clone has its own)")
    add_import_flag(parser)
    return parser


def add_import_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--import`, for tasks that are not part of this package; `user_tasks.parse` imports them."""
    text = "Python file or module that registers tasks of your own; may be given several times"
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="FILE", help=text)


def _iteration(text: str) -> int:
    """Iteration of `50` or of a file name, `model_50.pt`."""
    match = re.fullmatch(r"model_(\d+)(?:\.pt)?|(-?\d+)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"expected an iteration such as 50, or model_50.pt, got '{text}'")
    return int(match[1] or match[2])


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parse `argv`, by default the command line; adds `env_overrides` and `train_overrides` (dotted path -> text).

    Raises:
        UserError: unknown flag (with the nearest ones), stray argument, missing value or wrong type.
    """
    rest, overrides = _split_overrides(sys.argv[1:] if argv is None else list(argv))
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    dashed = {option.replace("_", "-"): option for option in known}
    args, unknown = parser.parse_known_args([_underscored(word, dashed) for word in rest])
    for word in unknown:
        name = word.partition("=")[0]
        if name in ("--env", "--train"):
            raise UserError(f"{word}: overrides name a field: {name}.SECTION.FIELD=VALUE")
        if re.match(r"-(?!\.?\d)", word):  # not a negative number
            # With underscores, so that --num-env is as near to --num_envs as --num_env is.
            raise UserError(f"unknown flag {name}{did_you_mean(name[:2] + name[2:].replace('-', '_'), known)}")
    if unknown:
        near = did_you_mean(f"--{unknown[0].partition('=')[0]}", known)
        raise UserError(f"stray argument '{unknown[0]}'{near or '; flags look like --name=value'}")
    args.env_overrides, args.train_overrides = overrides["env"], overrides["train"]
    return args


def _underscored(word: str, dashed: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    return dashed.get(name, name) + equals + value if word.startswith("--") else word


def _split_overrides(argv: list[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Separate overrides such as `--env.x=1`, `--env.x 1` or `--train.x=1` from the other arguments."""
    rest: list[str] = []
    overrides: dict[str, dict[str, str]] = {"env": {}, "train": {}}
    words = iter(argv)
    for word in words:
        match = re.match(r"--(env|train)\.([^=]*)(=?)(.*)", word, re.DOTALL)
        if match is None:
            rest.append(word)
            continue
        group, name, equals, value = match.groups()
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise UserError(f"--{group}.{name} needs a value: --{group}.{name}=VALUE")
        overrides[group][name] = value
    return rest, overrides


def apply_args_to_cfgs(args: argparse.Namespace, env_cfg: BaseConfig, train_cfg: BaseConfig) -> None:
    """Set the fields of all flags, then of the dotted overrides.

    Args:
        args: see `parse`; a flag that the program does not have, or that is None, changes nothing.
        env_cfg: environment configuration, changed in place.
        train_cfg: training configuration, changed in place.

    Raises:
        UserError: a value out of range or of the wrong type, or a field that the configuration does not have.
    """
    cfgs = {"env": env_cfg, "train": train_cfg}
    for flag, fields in FIELDS.items():
        value = getattr(args, flag, None)
        if value is None or value is False:
            continue
        _check_range(flag, value, f"--{flag}={value}")
        for field in fields:
            group, *parents, name = field.split(".")
            owner = reduce(lambda section, part: getattr(section, part, None), parents, cfgs[group])
            if not hasattr(owner, name):
                raise UserError(f"--{flag}={value}: the configuration of this task has no field '{field}'")
            setattr(owner, name, value)
    apply_overrides(env_cfg, args.env_overrides, "env")
    apply_overrides(train_cfg, args.train_overrides, "train")
    overridden = {f"{group}.{path}" for group in cfgs for path in getattr(args, f"{group}_overrides")}
    for flag in RANGES:
        for field in overridden.intersection(FIELDS[flag]):
            group, _, path = field.partition(".")
            value = lookup(cfgs[group], path)
            _check_range(flag, value, f"--{field}={value}")


def _check_range(flag: str, value: Any, shown: str) -> None:
    lowest, highest = RANGES.get(flag, (None, None))
    if lowest is not None and value < lowest:
        raise UserError(f"{shown}: expected at least {lowest}")
    if highest is not None and value > highest:
        raise UserError(f"{shown}: expected at most {highest}")
