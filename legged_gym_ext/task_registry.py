"""Tasks by name, with legged_gym's three verbs: `register`, `make_env`, `make_alg_runner`.

A task is registered by itself, or as a product: `register_robot`, `register_method` and `register_ground` register the
combinations with all that is known of the other two, in whatever order they are called.

Importing this module is cheap: environments and runners are named as "module:attribute" and imported when they are
made, so that command lines answer at once.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from legged_gym_ext.user_tasks import source_of
from legged_gym_ext.utils.config import BaseConfig, flatten
from legged_gym_ext.utils.errors import UserError, did_you_mean, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

LEGGED_ROBOT = "legged_gym_ext.envs.base.legged_robot:LeggedRobot"
MIRROR = "legged_gym_ext.envs.base.symmetry:mirror"
MAKE_RUNNER = "legged_gym_ext.training.make_runner:make_runner"


@dataclass(frozen=True)
class Task:
    """A registered task: environment class (or "module:Class") and configuration classes.

    `source` is the file or module that registered it, as `--import` takes it; None for this package's own.
    """

    env_class: type | str
    env_cfg: type[Any]
    train_cfg: type[Any]
    source: str | None = None


@dataclass(frozen=True, eq=False)
class Ground:
    """What robots walk on.

    Attributes:
        name: last part of the names of its tasks; empty: none, as for the ground that robots are configured for.
        sections: class with configuration sections that replace fields of a robot's.
    """

    name: str
    sections: type | None = None


@dataclass(frozen=True, eq=False)
class Method:
    """A way to learn.

    Attributes:
        name: in the names of its tasks; empty: none.
        cfg: training configuration for any robot.
        on: name of a ground -> section, of the training or of the environment -> fields that differ there:
            `{"flat": {"env": {"num_envs": 128}, "runner": {"max_iterations": 1200}}}`.
        only: names of the grounds that it is registered for; None: all.
    """

    name: str
    cfg: type[LeggedRobotCfgPPO]
    on: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    only: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Robot:
    """A robot.

    Attributes:
        name: first part of the names of its tasks.
        cfg: its configuration.
        mirror: "module:function" that mirrors its samples; None: what envs.base.symmetry makes from `cfg`.
        env_class: class of its environment, or its name.
    """

    name: str
    cfg: type[LeggedRobotCfg]
    mirror: str | None = None
    env_class: type | str = LEGGED_ROBOT

    def task(self, method: Method, ground: Ground) -> str:
        """Name of the task, e.g. "go2_ult_flat"; also of the folder of its runs."""
        return "_".join(part for part in (self.name, method.name, ground.name) if part)

    def env_cfg(self, method: Method, ground: Ground) -> type[Any]:
        """Class of the environment's configuration on `ground`, for a training with `method`."""
        bases = (self.cfg,) if ground.sections is None else (ground.sections, self.cfg)
        own = self._differences(method, ground)[0]
        if len(bases) == 1 and not own:
            return self.cfg
        return _subclass(f"{self.name}_{ground.name}", "Cfg", bases, **_classes(own))

    def _differences(self, method: Method, ground: Ground) -> tuple[dict[str, dict], dict[str, dict]]:
        """What `Method.on` names of the environment's configuration, and of the training's; or a `ValueError`."""
        sections = {section: dict(fields) for section, fields in method.on.get(ground.name, {}).items()}
        env = {name: fields for name, fields in sections.items() if hasattr(self.cfg, name)}
        train = {name: fields for name, fields in sections.items() if name not in env}
        for cfg, named in ((self.cfg, env), (method.cfg, train)):
            for section, fields in named.items():
                _check_fields(cfg(), section, fields, f"method '{method.name}' on '{ground.name}'")
        return env, train

    def train_cfg(self, method: Method, ground: Ground) -> type[Any]:
        """Class of the training configuration; `ValueError` for what `Method.on` names and the method does not have."""
        name, cfg = self.task(method, ground), method.cfg()
        sections = self._differences(method, ground)[1]
        sections.setdefault("runner", {})["experiment_name"] = name
        symmetry = cfg.algorithm.symmetry_cfg
        if symmetry and symmetry["data_augmentation_func"] == MIRROR:
            symmetry = {**symmetry, "data_augmentation_func": self.mirror or f"{MIRROR}_{self.name}"}
            sections.setdefault("algorithm", {})["symmetry_cfg"] = symmetry
        return _subclass(name, "CfgPPO", (method.cfg,), **_classes(sections))


def _classes(sections: dict[str, dict[str, Any]]) -> dict[str, type]:
    """Sections of a configuration class."""
    return {section: type(section, (), fields) for section, fields in sections.items()}


def _check_fields(cfg: BaseConfig, section: str, fields: dict[str, Any], where: str) -> None:
    known = [path for path, _ in flatten(cfg)]
    for path in (f"{section}.{name}" for name in fields):
        if path not in known:
            raise ValueError(f"{where}: unknown setting '{path}'{did_you_mean(path, known)}")


def _subclass(name: str, suffix: str, bases: tuple[type, ...], **sections: Any) -> type[Any]:
    """A configuration class, e.g. `Go2UltFlatCfgPPO` for "go2_ult_flat"."""
    camel = "".join(part.capitalize() for part in name.split("_")) + suffix
    doc = f"`{name}`, composed from {', '.join(base.__name__ for base in bases)}."
    return type(camel, bases, {"__module__": bases[-1].__module__, "__doc__": doc, **sections})


class TaskRegistry:
    """Holds the tasks; every configuration it hands out is a fresh copy."""

    def __init__(self) -> None:
        """No tasks yet."""
        self._tasks: dict[str, Task] = {}
        self._robots: dict[str, Robot] = {}
        self._methods: list[Method] = []
        self._grounds: list[Ground] = []

    def register(
        self, name: str, env_class: type | str, env_cfg: type[BaseConfig], train_cfg: type[BaseConfig]
    ) -> None:
        """Add a task. A name that is taken is a `ValueError`: a silent replacement would train the wrong thing."""
        self._add(name, env_class, env_cfg, train_cfg, source_of(sys._getframe(1).f_globals))

    def register_robot(self, robot: Robot) -> list[str]:
        """Add a robot with all methods on all grounds; returns the names of the new tasks."""
        names = self._add_products([robot], self._methods, self._grounds, source_of(sys._getframe(1).f_globals))
        self._robots[robot.name] = robot
        return names

    def robot(self, name: str) -> Robot:
        """A registered robot; another name is a `UserError`."""
        if name not in self._robots:
            raise UserError(
                f"unknown robot '{name}'{did_you_mean(name, self._robots)}; known: {', '.join(self._robots)}"
            )
        return self._robots[name]

    def register_method(self, method: Method) -> list[str]:
        """Add a method for all robots on all grounds; returns the names of the new tasks."""
        robots, source = list(self._robots.values()), source_of(sys._getframe(1).f_globals)
        names = self._add_products(robots, [method], self._grounds, source)
        self._methods.append(method)
        return names

    def register_ground(self, ground: Ground) -> list[str]:
        """Add a ground for all robots and methods; returns the names of the new tasks."""
        robots, source = list(self._robots.values()), source_of(sys._getframe(1).f_globals)
        names = self._add_products(robots, self._methods, [ground], source)
        self._grounds.append(ground)
        return names

    def _add_products(
        self, robots: list[Robot], methods: list[Method], grounds: list[Ground], source: str | None
    ) -> list[str]:
        new = [
            (
                robot.task(method, ground),
                robot.env_class,
                robot.env_cfg(method, ground),
                robot.train_cfg(method, ground),
            )
            for robot, method, ground in itertools.product(robots, methods, grounds)
            if method.only is None or ground.name in method.only
        ]
        names = [task[0] for task in new]
        for name in names:  # before the first one is added: all of them or none
            if name in self._tasks or names.count(name) > 1:
                raise ValueError(f"task '{name}' is registered already")
        for task in new:
            self._add(*task, source)
        return names

    def _add(
        self,
        name: str,
        env_class: type | str,
        env_cfg: type[BaseConfig],
        train_cfg: type[BaseConfig],
        source: str | None,
    ) -> None:
        if name in self._tasks:
            raise ValueError(f"task '{name}' is registered already")
        for cfg in (env_cfg, train_cfg):
            if not (isinstance(cfg, type) and issubclass(cfg, BaseConfig)):
                raise ValueError(
                    f"task '{name}': configurations are subclasses of BaseConfig (not instances), found {cfg!r}"
                )
        self._tasks[name] = Task(env_class, env_cfg, train_cfg, source)

    @property
    def names(self) -> list[str]:
        """All task names, sorted."""
        return sorted(self._tasks)

    @property
    def robot_tasks(self) -> list[str]:
        """Names of the tasks that have a robot, sorted."""
        return [name for name in self.names if hasattr(self._tasks[name].env_cfg, "asset")]

    def source(self, name: str) -> str | None:
        """What `--import` takes to know this task; None where it is known anyway, or where no file registered it."""
        return self._get(name).source

    def with_method(self, name: str, method: str) -> str | None:
        """The task of another method with the robot and the ground of task `name`; None where that is no product."""
        for robot, ground in itertools.product(self._robots.values(), self._grounds):
            tasks = {known.name: robot.task(known, ground) for known in self._methods}
            if name in tasks.values():
                return tasks.get(method)
        return None

    def _get(self, name: str | None) -> Task:
        if name is None:
            raise UserError(f"no task given; use --task=NAME with one of: {', '.join(self.names)}")
        if name not in self._tasks:
            near = did_you_mean(name, self.names)
            others = "`describe.py --list` names all tasks" if near else f"tasks are: {', '.join(self.names)}"
            raise UserError(f"unknown task '{name}'{near}; {others}")
        return self._tasks[name]

    def get_cfgs(self, name: str | None) -> tuple[LeggedRobotCfg, LeggedRobotCfgPPO]:
        """Fresh environment and training configurations of a task."""
        task = self._get(name)
        return task.env_cfg(), task.train_cfg()

    def env_class(self, name: str | None) -> Any:
        """The class of a task's environment, imported."""
        return resolve(self._get(name).env_class)

    def require_robot(self, name: str | None, what: str, instead: str = "") -> None:
        """Refuse a task without a robot (`UserError`).

        Args:
            name: of the task.
            what: what needs a robot, the beginning of the message.
            instead: what there is for such tasks.
        """
        if not hasattr(self._get(name).env_cfg, "asset"):
            raise UserError(f"{what}, task '{name}' has none" + (f": {instead}" if instead else ""))

    def make_env(self, name: str, env_cfg: LeggedRobotCfg | None = None) -> tuple[LeggedRobot, LeggedRobotCfg]:
        """The task's environment, with `env_cfg` or its own configuration; returns environment and configuration.

        Raises:
            UserError: there is no such task, or it cannot be built.
        """
        task = self._get(name)
        cfg: LeggedRobotCfg = task.env_cfg() if env_cfg is None else env_cfg
        env_class = resolve(task.env_class)
        with user_errors(f"task '{name}': the environment cannot be built"):
            return env_class(cfg), cfg

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
