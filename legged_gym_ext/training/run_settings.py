"""The settings a run was trained with: applied to configurations, and compared with them when it is resumed."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

from legged_gym_ext.foreign import refuse_code
from legged_gym_ext.training.runs import checkpoints, find_run, load_checkpoint, load_run_configs, task_of_run
from legged_gym_ext.utils.cli import apply_args_to_cfgs
from legged_gym_ext.utils.config import to_dict, update_from_dict
from legged_gym_ext.utils.errors import UserError, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

CHECKPOINT_FIELDS = ("train.runner.resume", "train.runner.load_run", "train.runner.checkpoint")
"""Fields that select the checkpoint to load; they are not settings of a run."""

RATES = (
    "learning_rate",
    "max_learning_rate",
    "attention_lr_scale",
    "encoder_learning_rate",
    "proxy_learning_rate",
)
"""Fields of `algorithm` whose values a checkpoint stores, too."""

Changes = Mapping[str, tuple]
"""Dotted field -> (value of the run, value now)."""

NO_EFFECT = {
    "env.seed": "random numbers continue from the checkpoint",
    "train.seed": "random numbers continue from the checkpoint",
    "train.actor.distribution_cfg.init_std": "the networks are those of the checkpoint",
}
"""Fields that a resumed training ignores -> reason."""


RETIRED = {
    ("actor", "head_gain"): 1.0,
    ("algorithm", "symmetry_images"): "all",
    ("algorithm", "encoder_samples"): "student",
}
"""Options of older versions -> the value that they had by default, and that is what happens now."""

MIRROR_LOSS = {"use_mirror_loss": False, "mirror_loss_coeff": 0.0}
"""Keys of `symmetry_cfg` that older runs do not name -> what they did; the command line sets known keys only."""


def apply_run(run_dir: Path, task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> None:
    """Set all fields to the values that a run was trained with.

    Args:
        run_dir: folder of the run.
        task: name of the task of the configurations.
        env_cfg: environment configuration, changed in place.
        train_cfg: training configuration, changed in place.

    Raises:
        UserError: the run is of another task, its files are broken, or this version has no such settings.
    """
    saved = load_run_configs(run_dir)
    _check_task(run_dir, task, task_of_run(run_dir))
    with user_errors(f"the settings of run {run_dir} are refused"):
        refuse_code(saved[1], "params/train.json")
    if "observations" not in saved[0] and hasattr(env_cfg, "observations"):  # of a version with this layout only
        saved[0]["observations"] = {"layout": "tutorial"}
    for (section, name), value in RETIRED.items():
        fields = saved[1].get(section)
        if isinstance(fields, dict) and fields.get(name) == value:
            del fields[name]
    algorithm = saved[1].get("algorithm")
    if isinstance(algorithm, dict) and isinstance(algorithm.get("symmetry_cfg"), dict):
        algorithm["symmetry_cfg"] = {**MIRROR_LOSS, **algorithm["symmetry_cfg"]}
    try:
        for cfg, values in zip((env_cfg, train_cfg), saved):
            update_from_dict(cfg, values)
    except UserError as error:
        _check_task(run_dir, task, _task_of_checkpoint(run_dir))
        raise UserError(
            f"the settings of run {run_dir} are not those of this version of task '{task}': {error}; "
            "use the version that it was trained with"
        ) from error


def _check_task(run_dir: Path, task: str, found: str | None) -> None:
    if found not in (None, task):
        raise UserError(
            f"run {run_dir} is of task '{found}', not of task '{task}': give --task={found}, or another --load_run"
        )


def _task_of_checkpoint(run_dir: Path) -> str | None:
    """The task in the newest checkpoint, for runs of older versions that have no `params/run.json`."""
    try:
        infos = load_checkpoint(list(checkpoints(run_dir).values())[-1], "cpu").get("infos")
    except (UserError, IndexError):
        return None
    return infos.get("task") if isinstance(infos, dict) else None


def resumed_cfgs(
    task: str, args: argparse.Namespace, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path
) -> tuple[LeggedRobotCfg, LeggedRobotCfgPPO]:
    """Configurations to resume a run: the task's, overwritten by the run's, then by the command line.

    Args:
        task: name of the task.
        args: parsed command line.
        runner_cfg: section `runner` with the command line applied; selects the run.
        log_root: folder of all experiments.
    """
    from legged_gym_ext.envs import task_registry

    run_dir = find_run(log_root, runner_cfg.experiment_name, runner_cfg.load_run)
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    untouched = {field: getattr(train_cfg.runner, field) for field in ("resume", "load_run", "checkpoint")}
    apply_run(run_dir, task, env_cfg, train_cfg)
    for field, value in untouched.items():
        setattr(train_cfg.runner, field, value)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    # By name, which reports follow: "the newest" would mean another run once a newer one begins.
    same_experiment = run_dir.parent.resolve() == (log_root / train_cfg.runner.experiment_name).resolve()
    train_cfg.runner.load_run = run_dir.name if same_experiment else str(run_dir.resolve())
    return env_cfg, train_cfg


def fine_tuning_cfgs(task: str, args: argparse.Namespace, shipped: Path) -> tuple[LeggedRobotCfg, LeggedRobotCfgPPO]:
    """Configurations to train a shipped policy further: the task's, overwritten by its own, then by the flags.

    How long and with how much output, section `runner` and the length of ULT's mixing schedule, is the task's: a
    training of its own begins.
    """
    from legged_gym_ext.envs import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(task)
    algorithm: Any = train_cfg.algorithm
    runner, schedule = to_dict(train_cfg.runner), getattr(algorithm, "mix_iterations", None)
    apply_run(shipped, task, env_cfg, train_cfg)
    update_from_dict(train_cfg, {"runner": runner})
    if hasattr(algorithm, "mix_iterations"):
        algorithm.mix_iterations = schedule
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    return env_cfg, train_cfg


def changes_since(run_dir: Path, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> Changes:
    """Fields whose values differ from those of a run; empty if the run's configuration cannot be read."""
    try:
        saved_env, saved_train = load_run_configs(run_dir)
    except UserError:
        return {}
    before = dict(flat({"env": saved_env, "train": saved_train}))
    now = dict(flat({"env": to_dict(env_cfg), "train": to_dict(train_cfg)}))
    fields = [field for field in now if field in before and field not in CHECKPOINT_FIELDS]
    return {field: (before[field], now[field]) for field in fields if before[field] != now[field]}


def given_rates(train_cfg: LeggedRobotCfgPPO, given: Collection[str]) -> dict[str, float]:
    """Learning rates of `train_cfg` among the dotted fields `given`: name -> value."""
    return {name: getattr(train_cfg.algorithm, name) for name in RATES if f"algorithm.{name}" in given}


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted field and value of everything in nested dictionaries."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def describe_changes(
    changes: Changes, rate: float, robots_restored: bool = True, given: Collection[str] = ()
) -> list[str]:
    """One line for each changed field and for each learning rate that the user set.

    Args:
        changes: see `changes_since`.
        rate: learning rate with which the training continues.
        robots_restored: whether robots and random numbers of the environment are those of the checkpoint.
        given: names of learning rates that the user set; those equal to the run's have a line, too.
    """
    same = [name for name in given if f"train.algorithm.{name}" not in changes]
    lines = [f"given: train.algorithm.{name}, in place of the checkpoint's" for name in same]
    for field, (before, now) in changes.items():
        line = f"differs from the run: {field} {before!r} -> {now!r}"
        if field in NO_EFFECT and (robots_restored or field != "env.seed"):
            line += f" (no effect: {NO_EFFECT[field]})"
        if field == "train.algorithm.schedule" and not (
            "train.algorithm.learning_rate" in changes or "learning_rate" in given
        ):
            line += f" (from the learning rate that the checkpoint had, {rate:.3g})"
        lines.append(line)
    return lines
