"""Commands for the user's next step, as they run where the user stands, with interpreter, script, folder and task."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from legged_gym_ext import ROOT_DIR

SCRIPTS = ROOT_DIR / "legged_gym_ext" / "scripts"


def here(path: str | Path) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    relative = os.path.relpath(path) if Path(path).is_absolute() else str(path)
    return str(path) if relative.startswith(os.pardir) else relative


def python() -> str:
    """The interpreter that runs this: `python` where that is what the shell would find."""
    executable = sys.executable or "python"
    found = shutil.which("python")
    # As it is spelt: the interpreter of a virtual environment is a link to one that has no packages.
    return "python" if found is not None and os.path.abspath(found) == executable else here(executable)


def script_command(script: str, flags: list[str]) -> str:
    """A line for the shell that runs scripts/`script`.py of this package with `flags`."""
    return shlex.join([python(), here(SCRIPTS / f"{script}.py"), *flags])


def has_display() -> bool:
    """Whether a window can be expected to open."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)


def install_command(extra: str) -> str:
    """A line for the shell that installs this package with an extra."""
    wanted = ["-e", f"{here(ROOT_DIR)}[{extra}]"] if (ROOT_DIR / "setup.py").is_file() else [f"rsl_rl_ult[{extra}]"]
    return shlex.join([python(), "-m", "pip", "install", *wanted])


def task_flags(task: str, runner_cfg: Any, log_root: Path, run_dir: Path | None = None) -> list[str]:
    """Flags with which a script finds a task and its runs.

    Args:
        task: its name.
        runner_cfg: section `runner` of its training configuration, with the experiment's name.
        log_root: where runs are.
        run_dir: a run; it is named where it is not the one that is taken by default.
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.runs import newest_run, run_age
    from legged_gym_ext.utils.task_registry import LOG_ROOT

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
