"""A teacher from another run: which checkpoint is meant, and whether it fits this task."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from legged_gym_ext.training.run_settings import flat
from legged_gym_ext.training.runs import (
    CHECKPOINT,
    checkpoints,
    find_checkpoint,
    load_checkpoint,
    load_run_configs,
    newest_run,
    run_age,
    task_of_run,
)
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError

MEANING = (
    *("observations.", "normalization.", "terrain.measured_points", "terrain.scan_points"),
    *("control.action_scale", "control.control_type", "init_state.default_joint_angles."),
)
"""Beginnings of the environment's fields that say what observations and actions mean."""

UNREAD = ("observations.critic",)
"""Those of them that no policy reads."""


def refuse_teacher(args: argparse.Namespace) -> None:
    """Refuse a teacher for a training that is resumed (`UserError`): it has one, or learns its own."""
    field = "runner.teacher"
    given = [f"--teacher={args.teacher}"] if args.teacher is not None else []
    given += [f"--train.{field}={args.train_overrides[field]}"] if field in args.train_overrides else []
    if given:
        raise UserError(f"{given[0]} with --resume: a training keeps the teacher that it began with; leave one out")


def begin_with_stage_2(runner_cfg: Any, given: Collection[str]) -> None:
    """With a teacher a method of two stages has no first one; iterations that a user gave are those of the second.

    Args:
        runner_cfg: section `runner`, changed in place.
        given: dotted fields of the training configuration that the user set.
    """
    if hasattr(runner_cfg, "stage2_iterations"):
        if "runner.max_iterations" in given:
            runner_cfg.stage2_iterations = runner_cfg.max_iterations
        runner_cfg.max_iterations = 0


def use_teacher(runner: Any, env_cfg: Any, wanted: str, log_root: Path) -> Path:
    """Load a teacher into the runner's algorithm, which trains only what follows it.

    Args:
        runner: a runner that has not learnt yet.
        env_cfg: configuration of its environment.
        wanted: run folder or checkpoint, as `find_teacher` reads it.
        log_root: where runs are.

    Returns:
        Path of the checkpoint.

    Raises:
        UserError: there is no such run, it is of another robot, its observations or actions mean something else, or
            the method has no use for it.
    """
    if not hasattr(runner.alg, "load_teacher"):
        raise UserError(f"--teacher={wanted}: the method of task '{runner.task}' has no use for a teacher")
    run_dir, path = find_teacher(wanted, log_root)
    saved_env, saved_train = load_run_configs(run_dir)
    check_meaning(run_dir, saved_env, env_cfg, runner.task)
    env = runner.env
    read = [group for groups in saved_train.get("obs_groups", {}).values() for group in groups]
    env.groups = tuple(dict.fromkeys([*env.groups, *read]))
    try:
        runner.alg.load_teacher(load_checkpoint(path, runner.device), saved_train, env.get_observations())
    except (KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--teacher={wanted}: {reason}") from error
    return path


def find_teacher(wanted: str, log_root: Path) -> tuple[Path, Path]:
    """Run folder and checkpoint that a user names.

    Args:
        wanted: a checkpoint (its iteration counts), a run folder (its newest checkpoint) or the folder of an experiment
            (its newest run), as a path or relative to `log_root`.
        log_root: where runs are.
    """
    for path in (Path(wanted).expanduser(), log_root / wanted):
        if path.is_file():
            if CHECKPOINT.fullmatch(path.name) is None:
                raise UserError(f"--teacher={wanted} is no checkpoint: expected model_<iteration>.pt or a run folder")
            return path.parent, path
        if path.is_dir():
            inside = [run for run in path.iterdir() if run.is_dir() and checkpoints(run)]
            run = path if checkpoints(path) else newest_run(sorted(inside, key=run_age))[0]
            if run is None:
                raise UserError(f"--teacher={wanted}: {path} holds no checkpoint model_<iteration>.pt")
            return run, find_checkpoint(run)
    raise UserError(
        f"--teacher={wanted}: no such run or checkpoint; give a path, or one relative to {log_root}, such as "
        "go2_ts/<run>"
    )


def check_meaning(run_dir: Path, saved_env: dict[str, Any], env_cfg: Any, task: str) -> None:
    """Refuse a teacher of another robot, or whose observations or actions mean something else here (`UserError`)."""
    now = to_dict(env_cfg)
    robots = [values.get("asset", {}).get("name") for values in (saved_env, now)]
    if robots[0] != robots[1]:
        raise UserError(
            f"the teacher's run {run_dir} is of robot '{robots[0]}', task '{task}' trains '{robots[1]}': name a run of "
            "the same robot"
        )
    saved = {"observations": {"layout": "tutorial"}, **saved_env}  # the only layout when runs did not say it
    before, after = dict(flat(saved)), dict(flat(now))
    for field, value in after.items():
        if field in before and field.startswith(MEANING) and field not in UNREAD and before[field] != value:
            raise UserError(
                f"the teacher's run {run_dir} (task {task_of_run(run_dir)}) has env.{field}={before[field]!r}, this "
                f"training {value!r}: the teacher would read or do something else; train with the same setting"
            )
