"""A teacher from another run: which checkpoint is meant, and whether it fits this task."""

from __future__ import annotations

import argparse
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from legged_gym_ext.foreign import refuse_code
from legged_gym_ext.training import pretrained
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
from legged_gym_ext.utils.errors import UserError, user_errors

BY_JOINT = ("init_state.default_joint_angles.", "control.stiffness.", "control.damping.")
"""Beginnings of fields whose names are joints, or parts of them."""

MEANING = (
    *("observations.", "normalization.", "terrain.measured_points", "terrain.scan_points", "terrain.foot_points"),
    *("rewards.base_height_target", "asset.penalize_contacts_on", "env.critic_frames", "sim.dt"),
    *("control.action_scale", "control.control_type", "control.decimation", *BY_JOINT),
)
"""Beginnings of the environment's fields that say what observations and actions mean."""

OF_CRITIC = "observations.critic"
"""The one of them that no policy reads, unless one of its observation sets names the group `critic`."""


def refuse_other_runs(args: argparse.Namespace) -> None:
    """Refuse another run's networks for a training that is resumed (`UserError`): it has what it began with."""
    for flag in ("teacher", "start_from"):
        field = f"runner.{flag}"
        given = [f"--{flag}={getattr(args, flag)}"] if getattr(args, flag) is not None else []
        given += [f"--train.{field}={args.train_overrides[field]}"] if field in args.train_overrides else []
        if given:
            kept = "the teacher" if flag == "teacher" else "the networks"
            raise UserError(f"{given[0]} with --resume: a training keeps {kept} that it began with; leave one out")


def set_stages(runner_cfg: Any, given: Collection[str]) -> None:
    """Set the iterations of a training with two stages, new or with a teacher, as the user means them.

    With a teacher there is no first stage, and iterations that a user gave are those of the second. Without one, a
    second stage that the user said nothing of is no longer than the first that they asked for.

    Args:
        runner_cfg: section `runner`, changed in place.
        given: dotted fields of the training configuration that the user set.
    """
    if not hasattr(runner_cfg, "stage2_iterations"):
        return
    chosen = "runner.max_iterations" in given
    if runner_cfg.teacher:
        if chosen:
            runner_cfg.stage2_iterations = runner_cfg.max_iterations
        runner_cfg.max_iterations = 0
    elif chosen and "runner.stage2_iterations" not in given and runner_cfg.max_iterations > 0:
        runner_cfg.stage2_iterations = min(runner_cfg.stage2_iterations, runner_cfg.max_iterations)


def use_teacher(runner: Any, env_cfg: Any, wanted: str, log_root: Path) -> Path:
    """Load a teacher into the runner's algorithm, which trains only what follows it.

    Args:
        runner: a runner that has not learnt yet.
        env_cfg: configuration of its environment.
        wanted: run folder or checkpoint, as `find_source` reads it.
        log_root: where runs are.

    Returns:
        Path of the checkpoint.

    Raises:
        UserError: there is no such run, it is of another robot, its observations or actions mean something else, or
            the method has no use for it.
    """
    if not hasattr(runner.alg, "load_teacher"):
        raise UserError(f"--teacher={wanted}: the method of task '{runner.task}' has no use for a teacher")
    run_dir, path = find_source(wanted, log_root, "--teacher")
    saved_env, saved_train = load_run_configs(run_dir)
    with user_errors(f"--teacher={wanted}"):
        refuse_code(saved_train, f"{run_dir}/params/train.json")
        sets = saved_train.get("obs_groups", {})
        critic_is_read = policy_reads("critic", sets, runner.cfg["obs_groups"])
        check_meaning(run_dir, saved_env, env_cfg, runner.task, critic_is_read)
        runner.alg.load_teacher(load_teacher(path, runner.device), saved_train, observations(runner.env, sets))
    return path


def observations(env: Any, sets: dict[str, list[str]]) -> Any:
    """The present observations, those of `sets` among them, of which the networks of another run can be built."""
    groups = env.groups
    try:
        env.groups = tuple(dict.fromkeys([*groups, *(group for names in sets.values() for group in names)]))
        return env.get_observations()
    finally:
        env.groups = groups


def load_teacher(path: Path, device: str) -> dict[str, Any]:
    """A checkpoint, on `device`; one of this package, which has no totals, with the steps that its card says."""
    saved = load_checkpoint(path, device)
    if path.parent.parent == pretrained.FOLDER:
        card = pretrained.read_card(path.parent)
        saved["infos"]["total"] = (card["steps"], 3600.0 * card["hours"])
    return saved


def find_source(wanted: str, log_root: Path, flag: str) -> tuple[Path, Path]:
    """Run folder and checkpoint that a user names.

    Args:
        wanted: a checkpoint (its iteration counts), a run folder (its newest checkpoint) or the folder of an experiment
            (its newest run), as a path or relative to `log_root`; or `pretrained:TASK`, the policy of this package.
        log_root: where runs are.
        flag: with which they name it, for messages.
    """
    if wanted.startswith(pretrained.PREFIX):
        run = pretrained.find(wanted[len(pretrained.PREFIX) :])
        return run, find_checkpoint(run)
    for path in (Path(os.path.expanduser(wanted)), log_root / wanted):
        if path.is_file():
            if CHECKPOINT.fullmatch(path.name) is None:
                raise UserError(f"{flag}={wanted} is no checkpoint: expected model_<iteration>.pt or a run folder")
            return path.parent, path
        if path.is_dir():
            inside = [run for run in path.iterdir() if run.is_dir() and checkpoints(run)]
            run = path if checkpoints(path) else newest_run(sorted(inside, key=run_age))[0]
            if run is None:
                raise UserError(f"{flag}={wanted}: {path} holds no checkpoint model_<iteration>.pt")
            return run, find_checkpoint(run)
    raise UserError(
        f"{flag}={wanted}: no such run or checkpoint; give a path, or one relative to {log_root}, such as "
        f"go2_ts/<run>, or {pretrained.PREFIX}TASK with one of {', '.join(pretrained.teachers())}"
    )


def check_meaning(
    run_dir: Path, saved_env: dict[str, Any], env_cfg: Any, task: str, critic_is_read: bool = False
) -> None:
    """Refuse a run of another robot, or whose observations or actions mean something else here.

    Args:
        run_dir: folder of the run.
        saved_env: configuration of its environment.
        env_cfg: configuration of the environment of this training.
        task: name of the task that is trained.
        critic_is_read: whether a policy reads the group `critic`.

    Raises:
        UserError: robot or a setting differs.
    """
    now = to_dict(env_cfg)
    robots = [values.get("asset", {}).get("name") for values in (saved_env, now)]
    if robots[0] != robots[1]:
        raise UserError(
            f"run {run_dir} is of robot '{robots[0]}', task '{task}' trains '{robots[1]}': name a run of the same robot"
        )
    saved = {"observations": {"layout": "tutorial"}, **saved_env}  # the only layout when runs did not say it
    before, after = dict(flat(saved)), dict(flat(now))
    for field in dict.fromkeys([*after, *before]):
        # A field that only one of them has is of another version, but a joint that only one of them names counts.
        compared = field.startswith(BY_JOINT) or (field.startswith(MEANING) and field in before and field in after)
        if compared and (critic_is_read or field != OF_CRITIC) and before.get(field) != after.get(field):
            raise UserError(
                f"run {run_dir} (task {task_of_run(run_dir)}) has env.{field}={before.get(field)!r}, this training "
                f"{after.get(field)!r}: its policy would read or do something else here; train with the same setting"
            )


def policy_reads(group: str, *obs_groups: dict[str, list[str]]) -> bool:
    """Whether one of these sections `obs_groups` has a set, other than the critic's, with the group."""
    return any(group in groups for sets in obs_groups for name, groups in sets.items() if name != "critic")
