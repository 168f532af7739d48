"""Shell commands for the next step, complete with interpreter, script, folder and task."""

from __future__ import annotations

import os
import shlex
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from legged_gym_ext import IN_REPOSITORY, PACKAGE_DIR
from legged_gym_ext.user_tasks import imported
from legged_gym_ext.utils.errors import display_path, python_command

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO

OFFLINE = {
    "rsl_rl_ult.offline:BC": ("distill", "--dataset=FOLDER"),
    "rsl_rl_ult.offline:BC_ULT": ("distill", "--dataset=FOLDER"),
    "rsl_rl_ult.offline:MULTI": ("multi_task", "--out=FOLDER"),
}
"""`algorithm.class_name` of methods that learn from data -> the script that trains them, and what it needs."""

SCRIPTS = PACKAGE_DIR / "scripts"


def script_command(script: str, flags: list[str]) -> str:
    """Shell command that runs scripts/`script`.py of this package with `flags`.

    In a clone it names the file, and where the package is installed without one the console script.
    """
    console = None if IN_REPOSITORY else _console_script(f"ult-{script}")
    program = [python_command(), display_path(SCRIPTS / f"{script}.py")] if console is None else [console]
    return shlex.join([*program, *flags])


def _console_script(name: str) -> str | None:
    """A console script as one would type it; None where pip has installed none, as with `--target`."""
    try:
        files = metadata.files("rsl_rl_ult") or []
    except metadata.PackageNotFoundError:
        return None
    # From the list of what was installed: a script of that name on the PATH may be another environment's.
    paths = [os.path.normpath(str(file.locate())) for file in files if file.name == name]
    if not paths or not os.path.isfile(paths[0]):
        return None
    found = shutil.which(name)
    return name if found is not None and os.path.samefile(found, paths[0]) else display_path(paths[0])


def task_flags(
    task: str, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path, run_dir: Path | None = None
) -> list[str]:
    """Flags that select a task and its runs.

    Args:
        task: name of the task.
        runner_cfg: section `runner` of its training configuration; the experiment's name is read.
        log_root: folder of all experiments.
        run_dir: a run; a flag names it unless it is the default, the newest one.
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.runs import LOG_ROOT, newest_run, run_age

    source = task_registry.source(task)
    # Also what registers no task: an engine, a kind of ground.
    sources = [*([] if source is None else [source]), *(name for name in imported if name != source)]
    flags = [f"--import={display_path(name) if name.endswith('.py') else name}" for name in sources]
    flags.append(f"--task={task}")
    if log_root != LOG_ROOT:
        flags.append(f"--log_root={display_path(log_root)}")
    if runner_cfg.experiment_name != task_registry.get_cfgs(task)[1].runner.experiment_name:
        flags.append(f"--experiment_name={runner_cfg.experiment_name}")
    if run_dir is not None:
        siblings = sorted((path for path in run_dir.parent.iterdir() if path.is_dir()), key=run_age)
        if newest_run(siblings)[0] != run_dir:
            flags.append(f"--load_run={run_dir.name}")
    return flags


def training_command(task: str, train_cfg: LeggedRobotCfgPPO, log_root: Path) -> str:
    """Shell command that trains a task: train.py, or the script that teaches a student from data."""
    flags = task_flags(task, train_cfg.runner, log_root)
    name = getattr(train_cfg.algorithm, "class_name", None)
    if name not in OFFLINE:
        return script_command("train", flags)
    script, needed = OFFLINE[name]
    if script == "multi_task":  # told the task of the teachers, not of the student
        flags = ["--task=TEACHERS" if flag.startswith("--task=") else flag for flag in flags]
    return script_command(script, [needed, *flags])
