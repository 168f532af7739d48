"""Tasks by name, with legged_gym's three verbs: `register`, `make_env`, `make_alg_runner`.

Importing this module is cheap: environments and runners are named as "module:attribute" and imported when they are
made, so that command lines answer at once.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any

from legged_gym_ext.user_tasks import source_of
from legged_gym_ext.utils.config import BaseConfig
from legged_gym_ext.utils.errors import UserError, did_you_mean, user_errors

MAKE_RUNNER = "legged_gym_ext.training.make_runner:make_runner"


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
        env_class = resolve(task.env_class)
        with user_errors(f"task '{name}': the environment cannot be built"):
            return env_class(env_cfg), env_cfg

    def make_alg_runner(
        self, env: Any, name: str, train_cfg: Any = None, *args: Any, **options: Any
    ) -> tuple[Any, Any]:
        """A runner on `env` that trains as `train_cfg` says, and its configuration.

        Args:
            env: a `LeggedRobot`.
            name: of the task.
            train_cfg: its own training configuration by default.
            *args: `log_root` and `given` of `training.make_runner.make_runner`.
            **options: the same by name.
        """
        train_cfg = self._get(name).train_cfg() if train_cfg is None else train_cfg
        return resolve(MAKE_RUNNER)(env, name, train_cfg, *args, **options)


def resolve(name: type | str) -> Any:
    """What "module:attribute" names; anything that is no text is itself."""
    if not isinstance(name, str):
        return name
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


task_registry = TaskRegistry()
