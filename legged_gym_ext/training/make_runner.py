"""Makes a runner from a training configuration."""

from __future__ import annotations

import random
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legged_gym_ext.training.run_settings import changes_since, describe_changes, given_rates
from legged_gym_ext.training.runs import LOG_ROOT, discard_run, find_checkpoint, find_run, new_run_dir, save_run_configs
from legged_gym_ext.training.start_from import start_from
from legged_gym_ext.training.teacher import set_stages, use_teacher
from legged_gym_ext.utils import distributed
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError, install_command, installed

AGGREGATE = "aggregate"
"""Folder of a run in which a method keeps the rollouts that it goes on learning from."""

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO
    from legged_gym_ext.training.runner import TrainRunner


def make_runner(
    env: LeggedRobot,
    name: str,
    train_cfg: LeggedRobotCfgPPO,
    log_root: Path | None = LOG_ROOT,
    given: Collection[str] = (),
) -> tuple[TrainRunner, LeggedRobotCfgPPO]:
    """A runner that trains on `env`; resumes a run when `runner.resume` is set.

    Args:
        env: the robots.
        name: name of the task.
        train_cfg: training configuration of the task.
        log_root: runs go to `log_root/<experiment>/<date>_<run>`; None: nothing is written.
        given: dotted fields of `train_cfg` set by the user; learning rates among them replace the checkpoint's, and
            for `runner.max_iterations` among them see `set_stages`.

    Returns:
        Runner and training configuration; `runner.logger.log_dir` is the run folder.

    Raises:
        UserError: a package, a device or a checkpoint is missing, or a setting is invalid.
    """
    try:
        from legged_gym_ext.training.runner import TrainRunner
        from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
    except ModuleNotFoundError as error:
        # rsl-rl-lib, or what it imports with any logger: tensorboard, git, tensordict.
        package = str(error.name).partition(".")[0]
        raise UserError(
            f"trainings and trained policies need the package '{package}': {install_command('train')}"
        ) from error

    runner_cfg = train_cfg.runner
    check_device(runner_cfg.device)
    resumed = checkpoint = None
    if runner_cfg.resume:
        if log_root is None:
            raise UserError("resuming needs a log_root")
        resumed = find_run(log_root, runner_cfg.experiment_name, runner_cfg.load_run)
        checkpoint = find_checkpoint(resumed, runner_cfg.checkpoint)
    if resumed is None and runner_cfg.teacher and runner_cfg.start_from:
        raise UserError(
            f"--teacher={runner_cfg.teacher} with --start_from={runner_cfg.start_from}: a teacher is frozen, and its "
            "student begins anew; leave one out"
        )
    if log_root is not None and (resumed is None or runner_cfg.teacher):
        set_stages(runner_cfg, given)
    rsl_cfg = to_rsl_cfg(train_cfg)
    _check_training(train_cfg, env.num_envs)
    groups = [group for names in rsl_cfg["obs_groups"].values() for group in names]
    runner = TrainRunner(RslRlVecEnv(env, groups), rsl_cfg, None, runner_cfg.device, task=name)
    if resumed is not None:
        changes = changes_since(resumed, env.cfg, train_cfg)
        rates = given_rates(train_cfg, given)
        note = runner.resume(str(checkpoint), changes, rates)
        if distributed.rank() == 0:
            print(f"resumed from {checkpoint}" + (f"; {note}" if note else ""))
            for line in describe_changes(changes, runner.alg.learning_rate, note is None, rates):
                print(line)
            if note is not None and hasattr(runner.alg, "keep_in"):
                print("what was aggregated belongs to the robots that were: the aggregate starts anew")
    elif log_root is not None and not runner_cfg.teacher and getattr(runner.alg, "needs_teacher", False):
        raise UserError(
            f"task '{name}' learns from a trained teacher: add --teacher=RUN, a run folder or checkpoint of the same "
            "robot, such as --teacher=logs/go2_rma/<run> or --teacher=pretrained:go2_rma"
        )
    elif runner_cfg.teacher and log_root is not None:
        path = use_teacher(runner, env.cfg, runner_cfg.teacher, log_root)
        if distributed.rank() == 0:
            print(f"teacher: {path}, frozen")
    elif runner_cfg.start_from and log_root is not None:
        lines = start_from(runner, env.cfg, runner_cfg.start_from, log_root, given)
        if distributed.rank() == 0:
            print("\n".join(lines))
    if log_root is not None and distributed.rank() == 0:
        # Only now: a run that cannot start leaves no empty folder behind.
        run_dir = new_run_dir(log_root, runner_cfg.experiment_name, runner_cfg.run_name)
        try:
            save_run_configs(run_dir, env.cfg, train_cfg, name)
        except UserError:
            discard_run(run_dir)
            raise
        if hasattr(runner.alg, "keep_in"):
            try:
                runner.alg.keep_in(run_dir / AGGREGATE, None if resumed is None else resumed / AGGREGATE)
            except Exception as error:  # rounds of another form fail wherever they are used
                discard_run(run_dir)
                raise UserError(f"cannot resume: {' '.join(str(error).split())}") from error
        runner.logger.log_dir = str(run_dir)
    return runner, train_cfg


def _check_training(train_cfg: LeggedRobotCfgPPO, num_envs: int) -> None:
    """Raise a `UserError` for numbers that would otherwise fail in the middle of a training."""
    runner, algorithm = train_cfg.runner, train_cfg.algorithm
    for name in ("num_steps_per_env", "save_interval"):
        if getattr(runner, name) < 1:
            raise UserError(f"--train.runner.{name}={getattr(runner, name)}: expected at least 1")
    samples, batches = num_envs * runner.num_steps_per_env, getattr(algorithm, "num_mini_batches", 1)
    if not 1 <= batches <= samples:
        raise UserError(
            f"--train.algorithm.num_mini_batches={batches}: expected 1 to {samples}, the samples of a rollout"
        )
    per_batch = getattr(algorithm, "normalize_advantage_per_mini_batch", False)
    if samples // (batches if per_batch else 1) < 2:
        where = f"a minibatch of {batches}" if per_batch else "a rollout"
        raise UserError(
            f"--num_envs={num_envs} with --train.runner.num_steps_per_env={runner.num_steps_per_env}: "
            f"{where} has one sample, whose advantage has no deviation; expected at least 2 samples"
        )
    eval_envs, stage2 = getattr(runner, "eval_envs", 0), getattr(runner, "stage2_iterations", 0)
    if getattr(runner, "eval_interval", 0) > 0 and eval_envs < 2:
        raise UserError(f"--train.runner.eval_envs={eval_envs}: expected at least 2, one robot per policy")
    if stage2 < 0:
        raise UserError(f"--train.runner.stage2_iterations={stage2}: expected at least 0")
    if getattr(algorithm, "schedule", "fixed") not in ("adaptive", "fixed"):
        raise UserError(f"--train.algorithm.schedule={algorithm.schedule}: expected adaptive or fixed")


def check_device(name: str) -> None:
    """Raise a `UserError` for a device that torch does not know, or a GPU that is not there."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--rl_device={name}: torch knows no such device; use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--rl_device={name}: torch sees no CUDA device here; use --rl_device=cpu")


def to_rsl_cfg(train_cfg: LeggedRobotCfgPPO) -> dict[str, Any]:
    """Configuration as rsl-rl-lib's runner reads it: fields of `runner` at the top, other sections by name."""
    cfg = to_dict(train_cfg)
    flat = {**cfg.pop("runner"), **cfg}
    flat["logger"] = _logger_cfg(flat.pop("logger"), flat.pop("wandb_project"))
    return flat


def _logger_cfg(name: str, project: str) -> str | dict[str, str]:
    """Logger configuration of rsl-rl-lib; a missing package is a `UserError`."""
    if name == "none":
        return {"class_name": "legged_gym_ext.training.logger:NullWriter"}
    if name not in ("tensorboard", "wandb"):
        raise UserError(f"unknown logger '{name}'; known: tensorboard, wandb, none")
    if name == "tensorboard":
        return {"class_name": "legged_gym_ext.training.tensorboard_writer:TensorboardWriter"}
    if not installed("wandb"):
        raise UserError(f"--logger=wandb needs the package 'wandb': {install_command('wandb')}")
    return {"class_name": "legged_gym_ext.training.wandb_writer:WandbWriter", "project_name": project}


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch; environments seed their own generator from `env_cfg.seed`."""
    import numpy as np
    import torch

    if not 0 <= seed < 2**32:  # what numpy takes
        raise UserError(f"seed {seed}: expected 0 to {2**32 - 1}; set --seed")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
