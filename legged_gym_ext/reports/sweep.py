"""A table of methods times seeds: its settings, the run folders of each cell, and what each cell has to do next."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legged_gym_ext.foreign import parse_json
from legged_gym_ext.training.runs import atomic_write, checkpoints, load_checkpoint, load_run_configs
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

FILE = "benchmark.json"
ENDLESS = 10**6
"""Iterations of a training that the clock ends."""

UNITS = {"it": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "steps": 1.0, "ksteps": 1e3, "Msteps": 1e6, "Gsteps": 1e9}
KINDS = {"it": "iterations", "s": "seconds", "min": "seconds", "h": "seconds"}


@dataclass(frozen=True)
class Budget:
    """How long each cell trains: `amount` of "iterations", "seconds" or (control) "steps"."""

    amount: float
    kind: str


def parse_budget(text: str) -> Budget:
    """`300it`, `60min`, `1.5h`, `5Msteps`.

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]+)", text.strip())
    if match is None or match[2] not in UNITS or float(match[1]) <= 0.0:
        raise UserError(
            f"--budget={text}: expected a positive number and one of {', '.join(UNITS)}, such as 300it, 60min or "
            "5Msteps"
        )
    if match[2] == "it" and not float(match[1]).is_integer():
        raise UserError(f"--budget={text}: expected whole iterations")
    return Budget(float(match[1]) * UNITS[match[2]], KINDS.get(match[2], "steps"))


@dataclass(frozen=True)
class Method:
    """The training of a task, from its configuration.

    Attributes:
        iterations: of stage 1 by default.
        stage2: iterations of a second stage, 0 without one.
        steps_per_iteration: control steps of all robots.
        scheduled: whether something follows a schedule over the whole training.
    """

    iterations: int
    stage2: int
    steps_per_iteration: int
    scheduled: bool

    @staticmethod
    def of(env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> Method:
        """Read it from configurations."""
        runner, algorithm = train_cfg.runner, train_cfg.algorithm
        constant = getattr(algorithm, "mix_schedule", "constant") == "constant"
        return Method(
            iterations=runner.max_iterations,
            stage2=getattr(runner, "stage2_iterations", 0),
            steps_per_iteration=runner.num_steps_per_env * env_cfg.env.num_envs,
            scheduled=not constant and getattr(algorithm, "mix_iterations", None) is None,
        )


@dataclass(frozen=True)
class State:
    """How far a cell is, by its newest checkpoint.

    Attributes:
        run: folder of that checkpoint; None before there is one.
        iterations: done.
        seconds: of collecting and learning; only known where it was asked for.
        stage1: iterations of stage 1, where the clock has ended that stage.
    """

    run: Path | None = None
    iterations: int = 0
    seconds: float = 0.0
    stage1: int | None = None

    @property
    def checkpoint(self) -> Path | None:
        """The newest one."""
        return None if self.run is None else checkpoints(self.run)[self.iterations - 1]


@dataclass(frozen=True)
class Training:
    """The next training of a cell.

    Attributes:
        flags: of train.py.
        seconds: of training after which to interrupt it; None: it ends by itself.
    """

    flags: list[str]
    seconds: float | None = None


def total_iterations(budget: Budget, method: Method) -> int:
    """Iterations of all stages that a budget in iterations or steps allows."""
    if budget.kind == "steps":
        return max(1, math.ceil(budget.amount / method.steps_per_iteration))
    return int(budget.amount)


def check_budget(task: str, budget: Budget, method: Method) -> None:
    """A budget that the method cannot use is a `UserError`."""
    if budget.kind != "seconds" and method.stage2 and total_iterations(budget, method) <= method.stage2:
        raise UserError(
            f"task '{task}' has a second stage of {method.stage2} iterations, the budget allows "
            f"{total_iterations(budget, method)} in all: give a larger "
            "--budget or a smaller --train.runner.stage2_iterations"
        )


def next_training(budget: Budget, method: Method, state: State) -> Training | None:
    """What to train next; None when the budget is used up. A second stage is part of the budget.

    Of a budget of time, stage 1 gets the share that it has of the task's own iterations, and a schedule takes as many
    updates as these are.
    """
    flags = []
    if state.run is not None:
        flags = ["--resume", f"--load_run={state.run.name}", f"--checkpoint={state.iterations - 1}"]
    if budget.kind == "seconds":
        return _next_by_clock(budget.amount, method, state, flags)
    total = total_iterations(budget, method)
    if state.iterations >= total:
        return None
    if method.scheduled:
        flags.append(f"--train.algorithm.mix_iterations={total}")
    # train.py counts from the beginning, also when it resumes.
    if method.stage2:
        return Training([*flags, *_stages(total - method.stage2, method.stage2)])
    return Training([*flags, f"--max_iterations={total}"])


def _next_by_clock(limit: float, method: Method, state: State, flags: list[str]) -> Training | None:
    if state.seconds >= limit:
        return None
    if method.scheduled:
        flags = [*flags, f"--train.algorithm.mix_iterations={method.iterations}"]
    if not method.stage2:
        return Training([*flags, f"--max_iterations={ENDLESS}"], limit)
    stage1_limit = limit * method.iterations / (method.iterations + method.stage2)
    if state.stage1 is None and state.seconds < stage1_limit:
        return Training([*flags, *_stages(ENDLESS, method.stage2)], stage1_limit)
    return Training([*flags, *_stages(state.stage1 or state.iterations, ENDLESS)], limit)


def _stages(first: int, second: int) -> list[str]:
    return [f"--max_iterations={first}", f"--train.runner.stage2_iterations={second}"]


def _check_table(settings: dict[str, Any], cells: dict[str, Any]) -> None:
    """Refuse settings and cells of another form than those that are written (`TypeError`)."""
    for name, kind in (("tasks", str), ("seeds", int)):
        if not isinstance(settings[name], list) or not all(isinstance(item, kind) for item in settings[name]):
            raise TypeError(f"settings.{name}: expected a list of {kind.__name__}")
    for name, runs in cells.items():
        if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
            raise TypeError(f"cells.{name}: expected a list of names")


class Table:
    """`benchmark.json` of a log folder: settings, and the run folders of each cell."""

    def __init__(self, root: Path, settings: dict[str, Any] | None) -> None:
        """Open the table below `root`, or start it with `settings`.

        Raises:
            UserError: the table has other settings, is damaged, or (without `settings`) does not exist.
        """
        self.root, self.path = root, root / FILE
        self.settings, self.cells = settings or {}, {}
        if self.path.is_file():
            self._read()
            if settings is not None:
                self._compare(settings)
        elif settings is None:
            raise UserError(
                f"there is no table in {root}: expected {FILE}; start one with --tasks, --seeds and --budget"
            )

    def _read(self) -> None:
        try:
            saved = parse_json(self.path.read_text(encoding="utf-8"))
            self.settings, self.cells = dict(saved["settings"]), dict(saved["cells"])
            _check_table(self.settings, self.cells)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path} is damaged ({type(error).__name__}: {error}); restore it, or use another --log_root"
            ) from error

    def _compare(self, settings: dict[str, Any]) -> None:
        """Tasks and seeds may be added, nothing else may change."""
        for name, value in settings.items():
            before = self.settings.get(name)
            if name in ("tasks", "seeds"):
                missing = [item for item in before or [] if item not in value]
                if missing:
                    raise UserError(
                        f"the table in {self.root} also has {name} {', '.join(map(str, missing))}: name them too, or "
                        "use another --log_root"
                    )
            elif before != value:
                raise UserError(
                    f"the table in {self.root} was started with {name} {before!r}, now it is {value!r}: give the "
                    "same, or use another --log_root"
                )
        self.settings = settings

    def save(self) -> None:
        """Write the file."""
        text = json.dumps({"settings": self.settings, "cells": self.cells}, indent=2)
        atomic_write(self.path, lambda target: target.write_text(text + "\n", encoding="utf-8"))

    def add_run(self, task: str, seed: int, run: str) -> None:
        """A run folder (its name) now belongs to a cell."""
        self.cells.setdefault(f"{task}/{seed}", []).append(run)
        self.save()

    def folders(self, task: str, seed: int) -> list[Path]:
        """Existing run folders of a cell, oldest first."""
        found = (self.root / task / name for name in self.cells.get(f"{task}/{seed}", []))
        return [folder for folder in found if folder.is_dir()]

    def state(self, task: str, seed: int, clock: bool = False) -> State:
        """How far a cell is; with `clock` also its seconds, for which the checkpoint is read."""
        run = next((folder for folder in reversed(self.folders(task, seed)) if checkpoints(folder)), None)
        if run is None:
            return State()
        iteration, path = list(checkpoints(run).items())[-1]
        if not clock:
            return State(run, iteration + 1)
        infos = load_checkpoint(path, "cpu").get("infos")
        if not isinstance(infos, dict) or "total" not in infos:
            raise UserError(
                f"checkpoint {path} does not say how long it was trained: it was not written by this train.py"
            )
        first = load_run_configs(run)[1].get("runner", {}).get("max_iterations", ENDLESS)
        return State(run, iteration + 1, float(infos["total"][1]), None if first == ENDLESS else first)


def is_evaluated(checkpoint: Path) -> bool:
    """Whether `evaluation.json` beside a checkpoint is of this checkpoint, and not older than it."""
    path = checkpoint.parent / "evaluation.json"
    try:
        evaluation = parse_json(path.read_text(encoding="utf-8"))
        same, policies = Path(evaluation["checkpoint"]).name == checkpoint.name, list(evaluation["policies"].values())
        # A file that has nothing but a ladder is no evaluation yet.
        return (
            same
            and bool(policies)
            and all("return" in metrics for metrics in policies)
            and path.stat().st_mtime >= checkpoint.stat().st_mtime
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
