"""Commands for the user's next step, as they run where the user stands, with interpreter, script, folder and task."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.utils.errors import here, python

SCRIPTS = ROOT_DIR / "legged_gym_ext" / "scripts"


def script_command(script: str, flags: list[str]) -> str:
    """A line for the shell that runs scripts/`script`.py of this package with `flags`."""
    return shlex.join([python(), here(SCRIPTS / f"{script}.py"), *flags])


def task_flags(task: str, runner_cfg: Any, log_root: Path, run_dir: Path | None = None) -> list[str]:
    """Flags with which a script finds a task and its runs.

    Args:
        task: its name.
        runner_cfg: section `runner` of its training configuration, with the experiment's name.
        log_root: where runs are.
        run_dir: a run; it is named where it is not the one that is taken by default.
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.runs import LOG_ROOT, newest_run, run_age

    source = task_registry.source(task)
    flags = [f"--import={here(source)}"] if source else []
    flags.append(f"--task={task}")
    if log_root != LOG_ROOT:
        flags.append(f"--log_root={here(log_root)}")
    if runner_cfg.experiment_name != task_registry.get_cfgs(task)[1].runner.experiment_name:
        flags.append(f"--experiment_name={runner_cfg.experiment_name}")
    if run_dir is not None:
        siblings = sorted((path for path in run_dir.parent.iterdir() if path.is_dir()), key=run_age)
        if newest_run(siblings)[0] != run_dir:
            flags.append(f"--load_run={run_dir.name}")
    return flags
