"""Tasks by name, with legged_gym's three verbs: `register`, `make_env`, `make_alg_runner`.

Importing this module is cheap: the environment class may be given as "module:Class" and is imported when it is made, so
that command lines answer at once.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.utils import processes
from legged_gym_ext.utils.config import BaseConfig, to_dict
from legged_gym_ext.utils.errors import UserError, did_you_mean, user_errors
from legged_gym_ext.utils.next_step import install_command
from legged_gym_ext.utils.probes import installed
from legged_gym_ext.utils.run_settings import changes_since, describe_changes, given_rates
from legged_gym_ext.utils.runs import discard_run, find_checkpoint, find_run, new_run_dir, save_run_configs
from legged_gym_ext.utils.user_tasks import source_of

LOG_ROOT = ROOT_DIR / "logs"


@dataclass(frozen=True)
class Task:
    """A registered task: environment class (or "module:Class") and configuration classes.

    `source` is the file or module that registered it, as `--import` takes it; None for this package's own.
    """

    env_class: type | str
    env_cfg: type[BaseConfig]
    train_cfg: type[BaseConfig]
    source: str | None = None


class TaskRegistry:
    """Holds the tasks; every configuration it hands out is a fresh copy."""

    def __init__(self) -> None:
        """No tasks yet."""
        self._tasks: dict[str, Task] = {}

    def register(
        self, name: str, env_class: type | str, env_cfg: type[BaseConfig], train_cfg: type[BaseConfig]
    ) -> None:
        """Add a task. A name that is taken is a `ValueError`: a silent replacement would train the wrong thing."""
        if name in self._tasks:
            raise ValueError(f"task '{name}' is registered already")
        for cfg in (env_cfg, train_cfg):
            if not (isinstance(cfg, type) and issubclass(cfg, BaseConfig)):
                raise ValueError(
                    f"task '{name}': configurations are subclasses of BaseConfig (not instances), found {cfg!r}"
                )
        self._tasks[name] = Task(env_class, env_cfg, train_cfg, source_of(sys._getframe(1).f_globals))

    @property
    def names(self) -> list[str]:
        """All task names, sorted."""
        return sorted(self._tasks)

    def source(self, name: str) -> str | None:
        """What `--import` takes to know this task; None where it is known anyway, or where no file registered it."""
        return self._get(name).source

    def _get(self, name: str | None) -> Task:
        if name is None:
            raise UserError(f"no task given; use --task=NAME with one of: {', '.join(self.names)}")
        if name not in self._tasks:
            raise UserError(
                f"unknown task '{name}'{did_you_mean(name, self.names)}; tasks are: {', '.join(self.names)}"
            )
        return self._tasks[name]

    def get_cfgs(self, name: str | None) -> tuple[Any, Any]:
        """Fresh environment and training configurations of a task."""
        task = self._get(name)
        return task.env_cfg(), task.train_cfg()

    def make_env(self, name: str, env_cfg: Any = None) -> tuple[Any, Any]:
        """The task's environment, with `env_cfg` or its own configuration; returns environment and configuration.

        Raises:
            UserError: there is no such task, or it cannot be built.
        """
        task = self._get(name)
        env_cfg = task.env_cfg() if env_cfg is None else env_cfg
        env_class = task.env_class
        if isinstance(env_class, str):
            module, _, attribute = env_class.partition(":")
            env_class = getattr(importlib.import_module(module), attribute)
        with user_errors(f"task '{name}': the environment cannot be built"):
            return env_class(env_cfg), env_cfg

    def make_alg_runner(
        self,
        env: Any,
        name: str,
        train_cfg: Any = None,
        log_root: Path | None = LOG_ROOT,
        given: Collection[str] = (),
    ) -> tuple[Any, Any]:
        """A runner on `env` that trains as `train_cfg` says; resumes when `runner.resume` is set.

        Args:
            env: a `LeggedRobot`.
            name: of the task.
            train_cfg: its own configuration by default.
            log_root: runs go to `log_root/<experiment>/<date>_<run>`; None writes nothing.
            given: fields of `train_cfg` that the user gave, dotted; learning rates among them win over a checkpoint's.

        Returns:
            Runner and training configuration; `runner.logger.log_dir` is the run folder.
        """
        try:
            from legged_gym_ext.utils.runner import TrainRunner
            from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
        except ModuleNotFoundError as error:
            # rsl-rl-lib, or what it imports whatever the logger is: tensorboard, git, tensordict.
            package = str(error.name).partition(".")[0]
            raise UserError(
                f"trainings and trained policies need the package '{package}': {install_command('train')}"
            ) from error

        train_cfg = self._get(name).train_cfg() if train_cfg is None else train_cfg
        runner_cfg = train_cfg.runner
        _check_device(runner_cfg.device)
        resumed = checkpoint = None
        if runner_cfg.resume:
            if log_root is None:
                raise UserError("resuming needs a log_root")
            resumed = find_run(log_root, runner_cfg.experiment_name, runner_cfg.load_run)
            checkpoint = find_checkpoint(resumed, runner_cfg.checkpoint)
        rsl_cfg = to_rsl_cfg(train_cfg)
        _check_training(train_cfg, env.num_envs)
        groups = [group for names in rsl_cfg["obs_groups"].values() for group in names]
        runner = TrainRunner(RslRlVecEnv(env, groups), rsl_cfg, None, runner_cfg.device, task=name)
        if resumed is not None:
            changes = changes_since(resumed, env.cfg, train_cfg)
            rates = given_rates(train_cfg, given)
            note = runner.resume(str(checkpoint), changes, rates)
            if processes.rank() == 0:
                print(f"resumed from {checkpoint}" + (f"; {note}" if note else ""))
                for line in describe_changes(changes, runner.alg.learning_rate, note is None, rates):
                    print(line)
        if log_root is not None and processes.rank() == 0:
            # Only now: a run that cannot start leaves no empty folder behind.
            run_dir = new_run_dir(log_root, runner_cfg.experiment_name, runner_cfg.run_name)
            try:
                save_run_configs(run_dir, env.cfg, train_cfg, name)
            except UserError:
                discard_run(run_dir)
                raise
            runner.logger.log_dir = str(run_dir)
        return runner, train_cfg


def _check_training(train_cfg: Any, num_envs: int) -> None:
    """Numbers that would only fail in the middle of a training are a `UserError` before it."""
    runner, algorithm = train_cfg.runner, train_cfg.algorithm
    for name in ("num_steps_per_env", "save_interval"):
        if getattr(runner, name) < 1:
            raise UserError(f"--train.runner.{name}={getattr(runner, name)}: expected at least 1")
    samples, batches = num_envs * runner.num_steps_per_env, getattr(algorithm, "num_mini_batches", 1)
    if not 1 <= batches <= samples:
        raise UserError(
            f"--train.algorithm.num_mini_batches={batches}: expected 1 to {samples}, the samples of a rollout"
        )
    alone = getattr(algorithm, "normalize_advantage_per_mini_batch", False)
    if samples // (batches if alone else 1) < 2:
        where = f"a minibatch of {batches}" if alone else "a rollout"
        raise UserError(
            f"--num_envs={num_envs} with --train.runner.num_steps_per_env={runner.num_steps_per_env}: "
            f"{where} has one sample, whose advantage has no deviation; expected at least 2 samples"
        )
    if getattr(runner, "eval_interval", 0) > 0 and runner.eval_envs < 2:
        raise UserError(f"--train.runner.eval_envs={runner.eval_envs}: expected at least 2, one robot per policy")
    if getattr(runner, "stage2_iterations", 0) < 0:
        raise UserError(f"--train.runner.stage2_iterations={runner.stage2_iterations}: expected at least 0")
    if getattr(algorithm, "schedule", "fixed") not in ("adaptive", "fixed"):
        raise UserError(f"--train.algorithm.schedule={algorithm.schedule}: expected adaptive or fixed")


def _check_device(name: str) -> None:
    """A device that torch does not know, or a GPU that is not there, is a `UserError`."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--rl_device={name}: torch knows no such device; use cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--rl_device={name}: torch sees no CUDA device here; use --rl_device=cpu")


def to_rsl_cfg(train_cfg: Any) -> dict[str, Any]:
    """The flat dictionary that rsl-rl-lib's runner reads: runner fields on top, every other section under its name."""
    cfg = to_dict(train_cfg)
    flat = {**cfg.pop("runner"), **cfg}
    flat["logger"] = _logger_cfg(flat.pop("logger"), flat.pop("wandb_project"))
    return flat


def _logger_cfg(name: str, project: str) -> str | dict[str, str]:
    """Upstream's logger configuration; a missing package is a `UserError`, before anything was built."""
    if name == "none":
        return {"class_name": "legged_gym_ext.utils.runner:NullWriter"}
    if name not in ("tensorboard", "wandb"):
        raise UserError(f"unknown logger '{name}'; known: tensorboard, wandb, none")
    if name == "tensorboard":
        return {"class_name": "legged_gym_ext.utils.scalars:TensorboardWriter"}
    # A folder `wandb` that another program left behind can be imported, too, but is no package.
    if not installed("wandb"):
        raise UserError(f"--logger=wandb needs the package 'wandb': {install_command('wandb')}")
    return {"class_name": "legged_gym_ext.utils.wandb_writer:WandbWriter", "project_name": project}


def log_root(args: Any) -> Path:
    """Where runs are kept: `--log_root` (relative to the working directory) or `logs/` of the repository."""
    if getattr(args, "log_root", None) == "":
        raise UserError("--log_root=: expected a folder")
    return LOG_ROOT if getattr(args, "log_root", None) is None else Path(args.log_root).expanduser().resolve()


def process_seed(seed: int, rank: int) -> int:
    """The seed of process `rank` of a distributed training: `seed` itself in the first, unrelated ones in the others.

    Adding the rank would give process 1 of seed 1 the robots of process 0 of seed 2; seed sequences do not overlap.
    """
    import numpy as np

    if rank == 0:
        return seed
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(rank,)).generate_state(1)[0])


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch; environments seed their own generator from `env_cfg.seed`."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


task_registry = TaskRegistry()
