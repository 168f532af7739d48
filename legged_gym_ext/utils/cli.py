"""Command lines: legged_gym's flags plus dotted overrides of every configuration field. Standard library only."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from legged_gym_ext.utils.config import apply_overrides
from legged_gym_ext.utils.errors import UserError, did_you_mean

EPILOG = """Every field of the configuration can be set, typed and checked, after all other flags:
  --env.rewards.scales.feet_air_time=0.5   --train.algorithm.learning_rate=5e-4
`describe.py --task=NAME` lists the fields and their values."""


class Parser(argparse.ArgumentParser):
    """Reports mistakes as `UserError` instead of printing a usage text."""

    def error(self, message: str) -> NoReturn:
        """Raise argparse's complaint."""
        raise UserError(f"{message}; see --help")


def make_parser(description: str) -> Parser:
    """A parser with the flags that all programs share."""
    parser = Parser(
        description=description, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--task", metavar="NAME", help="task to use, e.g. go2")
    add("--num_envs", type=int, metavar="N", help="number of environments")
    add("--seed", type=int, metavar="N", help="seed of environment and learning")
    add("--headless", action="store_true", help="accepted for legged_gym users: training never opens a window")
    add("--sim", metavar="ENGINE", help="physics engine: mujoco")
    add("--sim_device", metavar="DEVICE", help="where the physics runs: cpu")
    add("--rl_device", metavar="DEVICE", help="where the networks run: cpu, cuda, cuda:1, ...")
    add("--experiment_name", metavar="NAME", help="folder of the runs under logs/")
    add("--run_name", metavar="NAME", help="added to the date in the name of the run folder")
    add("--load_run", metavar="RUN", help="run folder to load; default: the newest")
    add("--checkpoint", type=int, metavar="IT", help="iteration to load; default: the newest")
    add("--log_root", metavar="DIR", help="where runs are written and looked for; default: logs/ of the repository")
    return parser


def add_training_flags(parser: Parser) -> None:
    """Flags of training only."""
    add = parser.add_argument
    add("--max_iterations", type=int, metavar="N", help="iterations to train (with --resume: further iterations)")
    add("--resume", action="store_true", help="continue from a checkpoint (newest, or --load_run and --checkpoint)")
    add(
        "--logger",
        choices=("tensorboard", "wandb", "none"),
        help="where scalars go; wandb stays offline unless WANDB_MODE is set",
    )


def parse(parser: Parser, argv: list[str] | None) -> argparse.Namespace:
    """Parse `argv`; adds `env_overrides` and `train_overrides` (dotted path -> text) to the result.

    Raises:
        UserError: unknown flag (with the nearest ones), stray argument, missing value or wrong type.
    """
    import sys

    rest, overrides = _split_overrides(sys.argv[1:] if argv is None else list(argv))
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    dashed = {option.replace("_", "-"): option for option in known}
    words = [_underscored(word, dashed) for word in rest]
    args, unknown = parser.parse_known_args(words)
    for word in unknown:
        name = word.partition("=")[0]
        if word.startswith("-") and not _is_number(word):
            raise UserError(f"unknown flag {name}{did_you_mean(name, known)}")
    if unknown:
        raise UserError(f"stray argument '{unknown[0]}'; flags look like --name=value")
    args.env_overrides, args.train_overrides = overrides["env"], overrides["train"]
    return args


def _underscored(word: str, dashed: dict[str, str]) -> str:
    name, equals, value = word.partition("=")
    return dashed.get(name, name) + equals + value if word.startswith("--") else word


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _split_overrides(argv: list[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Take `--env.x=1` and `--env.x 1` (also `--train.`) out of `argv`."""
    rest: list[str] = []
    overrides: dict[str, dict[str, str]] = {"env": {}, "train": {}}
    words = iter(argv)
    for word in words:
        group = next((g for g in overrides if word.startswith(f"--{g}.")), None)
        if group is None:
            rest.append(word)
            continue
        name, equals, value = word[len(group) + 3 :].partition("=")
        if not equals:
            following = next(words, None)
            if following is None or following.startswith("--"):
                raise UserError(f"--{group}.{name} needs a value: --{group}.{name}=VALUE")
            value = following
        overrides[group][name] = value
    return rest, overrides


def apply_args_to_cfgs(args: argparse.Namespace, env_cfg: Any, train_cfg: Any) -> None:
    """Write flags into the configurations, then the dotted overrides; values out of range are a `UserError`."""
    _check_range(args, "num_envs", 1)
    _check_range(args, "max_iterations", 0)
    _check_range(args, "seed", 0)
    places = {
        "num_envs": [(env_cfg.env, "num_envs")],
        "seed": [(env_cfg, "seed"), (train_cfg, "seed")],
        "sim": [(env_cfg.sim, "engine")],
        "sim_device": [(env_cfg.sim, "device")],
        "rl_device": [(train_cfg.runner, "device")],
    }
    for name in ("experiment_name", "run_name", "load_run", "checkpoint", "max_iterations", "logger"):
        places[name] = [(train_cfg.runner, name)]
    for name, targets in places.items():
        value = getattr(args, name, None)
        if value is not None:
            for owner, field in targets:
                setattr(owner, field, value)
    if getattr(args, "resume", False):
        train_cfg.runner.resume = True
    apply_overrides(env_cfg, args.env_overrides, "env")
    apply_overrides(train_cfg, args.train_overrides, "train")


def _check_range(args: argparse.Namespace, name: str, lowest: int) -> None:
    value = getattr(args, name, None)
    if value is not None and value < lowest:
        raise UserError(f"--{name}={value}: expected at least {lowest}")
