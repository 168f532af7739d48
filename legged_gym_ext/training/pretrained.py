"""Policies that are part of the package: `resources/policies/<task>/`. Standard library only.

Such a folder is a run folder without curves: `params/`, one `model_<iteration>.pt` with the weights (no optimizer, no
robots), and beside them `policy.onnx` and `card.json`: where the policy comes from and what was measured.
`benchmarks/ship.py` makes it from a run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from legged_gym_ext import PACKAGE_DIR
from legged_gym_ext.foreign import parse_json
from legged_gym_ext.utils.errors import UserError, did_you_mean, user_errors

FOLDER = PACKAGE_DIR / "resources" / "policies"
PREFIX = "pretrained:"
"""Beginning of its name where a file or run is expected: `sim2sim.py --policy pretrained:go2_ult`, `--teacher`."""


def add_flag(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--pretrained` to a program's flags."""
    parser.add_argument("--pretrained", action="store_true", help=f"{help}; known: {', '.join(tasks()) or 'none'}")


def tasks() -> list[str]:
    """Names of the tasks that have a shipped policy, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/card.json"))


def teachers() -> list[str]:
    """Names of those whose policy has a teacher, sorted; the checkpoint of rsl-rl-lib's own PPO cannot be one."""
    with user_errors(f"a card.json in {FOLDER} is damaged, install the package again"):
        return [task for task in tasks() if read_card(FOLDER / task).get("policy") == "student"]


def find(task: str | None) -> Path:
    """The folder of a task's shipped policy.

    Raises:
        UserError: there is none; names those that exist.
    """
    if task not in tasks():
        raise UserError(
            f"no policy of task '{task}' is part of this package{did_you_mean(str(task), tasks())}; there are "
            f"{', '.join(tasks()) or 'none'}"
        )
    return FOLDER / str(task)


def find_for(task: str | None, args: argparse.Namespace, runner_cfg: Any) -> Path | None:
    """The folder that `--pretrained` selects; None without that flag.

    Args:
        task: name of the task.
        args: parsed command line.
        runner_cfg: section `runner` with the command line applied.

    Raises:
        UserError: no such policy, or another run, checkpoint or teacher is asked for, too.
    """
    if not getattr(args, "pretrained", False):
        return None
    others = {
        "--resume": runner_cfg.resume,
        "--load_run": runner_cfg.load_run not in (None, -1, "-1", ""),
        "--checkpoint": runner_cfg.checkpoint not in (None, -1),
        "--teacher": getattr(runner_cfg, "teacher", None),
        "--start_from": getattr(runner_cfg, "start_from", None),
    }
    given = [flag for flag, there in others.items() if there]
    if given:
        raise UserError(f"--pretrained takes the policy of this package, {given[0]} one of your runs: leave one out")
    return find(task)


def policy_file(name: str) -> Path:
    """The ONNX file that a user names: a path, or `pretrained:TASK`.

    Raises:
        UserError: there is no such shipped policy, or the prefix is missing.
    """
    if name.startswith(PREFIX):
        return find(name[len(PREFIX) :]) / "policy.onnx"
    if name in tasks() and not Path(name).exists():
        raise UserError(f"policy not found: {name}; the policy of that task in this package is {PREFIX}{name}")
    return Path(name)


def read_card(folder: Path) -> dict[str, Any]:
    """What is known of a shipped policy; see `benchmarks/ship.py` for its entries."""
    try:
        return parse_json((folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder / 'card.json'}: {error}; install the package again") from error


def describe(folder: Path) -> str:
    """A shipped policy in one line: how long it was trained, and what its student (or only policy) does."""
    card = read_card(folder)
    with user_errors(f"{folder / 'card.json'} is damaged, install the package again"):
        ladder = f", ladder {card['ladder']['score']:.2f}" if card.get("ladder") else ""
        began = f" after {card['began_with']}" if card.get("began_with") else ""
        steps = f"{card['steps'] / 1e6:.1f} M steps"
        return f"shipped policy of {card['task']}: {steps}{began}, seed {card['seed']}{ladder}"
