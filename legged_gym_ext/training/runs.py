"""Run folders `logs/<experiment>/<date>_<run>/` and the checkpoints `model_<iteration>.pt` in them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from legged_gym_ext import IN_REPOSITORY, ROOT_DIR
from legged_gym_ext.foreign import parse_json
from legged_gym_ext.utils import distributed
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError, did_you_mean

LOG_ROOT = (ROOT_DIR if IN_REPOSITORY else Path.cwd()) / "logs"
"""Where runs are kept by default: in the repository, or in the working directory of an installation without one."""

CHECKPOINT = re.compile(r"model_(\d+)\.pt")
DATED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
RUN_FILE = "params/run.json"
"""Metadata of a run besides its configurations: its task."""


class WriteError(UserError):
    """A file could not be written; its previous version is intact."""


def log_root(args: Any) -> Path:
    """Where runs are kept: `--log_root` (relative to the working directory) or `LOG_ROOT`."""
    if getattr(args, "log_root", None) == "":
        raise UserError("--log_root=: expected a folder")
    return LOG_ROOT if getattr(args, "log_root", None) is None else Path(os.path.expanduser(args.log_root)).resolve()


def new_run_dir(log_root: Path, experiment: str, run_name: str = "") -> Path:
    """Create a new run folder whose name starts with the date and time, so that names sort by age.

    Raises:
        UserError: a name is not a valid folder name, or the folder cannot be created.
    """
    _check_names(experiment, run_name)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    name = f"{stamp}_{run_name}" if run_name else stamp
    for attempt in range(100):
        path = log_root / experiment / (name if attempt == 0 else f"{name}-{attempt}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot create the run folder {path}: {error.strerror}") from error
    raise UserError(f"cannot find a free name for {log_root / experiment / name}")


def _check_names(experiment: str, run_name: str) -> None:
    """Raise a `UserError` for names that are not one level of folders, which `find_run` could not find again."""
    for flag, name in (("experiment_name", experiment), ("run_name", run_name)):
        if "/" in name or "\\" in name or name in (".", ".."):
            raise UserError(f"--{flag}={name}: expected a name without slashes; --log_root chooses another folder")
    if not experiment:
        raise UserError("the experiment has no name; give --experiment_name=NAME")


def discard_run(run_dir: Path) -> bool:
    """Remove the folder of a run without checkpoints, and empty folders above it; returns whether it did."""
    if checkpoints(run_dir):
        return False
    shutil.rmtree(run_dir, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty
        run_dir.parent.rmdir()  # the experiment
        run_dir.parent.parent.rmdir()  # the log folder
    return True


def checkpoints(run_dir: Path) -> dict[int, Path]:
    """Iteration -> file of all checkpoints in a run folder, in numerical order."""
    found = {
        int(match[1]): path
        for path in run_dir.glob("model_*.pt")
        if (match := CHECKPOINT.fullmatch(path.name)) and path.is_file()
    }
    return dict(sorted(found.items()))


def find_run(log_root: Path, experiment: str, load_run: str | int | Path | None = None) -> Path:
    """A run folder: by name or path, or the newest trained one (None, -1 or ""), see `newest_run`.

    Raises:
        UserError: no such run (with the nearest names), no such experiment, or nothing trained in it.
    """
    folder = log_root / experiment
    runs = sorted((path for path in folder.iterdir() if path.is_dir()), key=run_age) if folder.is_dir() else []
    if load_run not in (None, -1, "-1", ""):
        return _named_run(folder, [path.name for path in runs], str(load_run))
    if not folder.is_dir():
        others = [path.name for path in log_root.iterdir() if path.is_dir()] if log_root.is_dir() else []
        raise UserError(
            f"no runs of experiment '{experiment}' in {log_root}{did_you_mean(experiment, others)}; train one first, "
            "or name another --experiment_name or --log_root"
        )
    chosen, skipped = newest_run(runs)
    if chosen is None:
        raise UserError(
            f"no run in {folder} has a checkpoint; train one first, or name another --experiment_name or --load_run"
        )
    if skipped and distributed.rank() == 0:
        names = ", ".join(path.name for path in skipped)
        print(
            f"note: taking run {chosen.name}; newer, but ended after their first iteration: {names}; "
            "--load_run takes one of them",
            file=sys.stderr,
        )
    return chosen


def newest_run(runs: list[Path]) -> tuple[Path | None, list[Path]]:
    """The newest of `runs` (oldest first) that was trained, and the newer ones that were skipped.

    A training that was aborted after its first iteration leaves `model_0.pt` only; an older run with more is preferred.
    """
    trained = [path for path in runs if checkpoints(path)]
    for index in reversed(range(len(trained))):
        if not _ended_at_start(trained[index]):
            return trained[index], trained[index + 1 :]
    return (trained[-1] if trained else None), []


def _ended_at_start(run_dir: Path) -> bool:
    """Whether a run has only `model_0.pt` although its configuration has more iterations."""
    if list(checkpoints(run_dir)) != [0]:
        return False
    try:
        runner = load_run_configs(run_dir)[1].get("runner", {})
        return runner.get("max_iterations", 0) + runner.get("stage2_iterations", 0) > 1
    except (UserError, AttributeError, TypeError):  # of another program
        return False


def run_age(run_dir: Path) -> tuple[bool, list[tuple[int, str]]]:
    """Sort key of run folders, oldest first: by name, numbers by value; names without a date come first."""
    parts = re.split(r"(\d+)", run_dir.name)
    return DATED.match(run_dir.name) is not None, [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _named_run(folder: Path, names: list[str], wanted: str) -> Path:
    """The run that a user names: a folder of the experiment, or a path."""
    for path in (folder / wanted, Path(os.path.expanduser(wanted))):
        if path.is_dir():
            return path
        if path.is_file():
            raise UserError(f"--load_run={wanted} is a file; give its folder, and the iteration as --checkpoint")
    newest = ", ".join(names[-5:]) or "none"
    raise UserError(f"no run '{wanted}' in {folder}{did_you_mean(wanted, names)}; its newest runs: {newest}")


def find_checkpoint(run_dir: Path, checkpoint: int | str | None = None) -> Path:
    """The checkpoint of an iteration (50, "50", "model_50.pt"), or the one with the highest (None or -1).

    Raises:
        UserError: no such checkpoint, or none at all.
    """
    found = checkpoints(run_dir)
    if not found:
        raise UserError(f"no checkpoint model_<iteration>.pt in {run_dir}; choose another run with --load_run")
    if checkpoint in (None, -1, "-1", ""):
        return list(found.values())[-1]
    match = re.fullmatch(r"(?:model_)?(\d+)(?:\.pt)?", str(checkpoint))
    if match is None or int(match[1]) not in found:
        raise UserError(f"no checkpoint {checkpoint} in {run_dir}; its iterations: {', '.join(map(str, found))}")
    return found[int(match[1])]


def load_checkpoint(path: Path, map_location: Any) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain data only, so that a foreign file cannot run code.

    Raises:
        UserError: the file is missing, empty, truncated or not a checkpoint.
    """
    import torch

    advice = "use another --checkpoint or --load_run"
    try:
        if not path.is_file():
            raise UserError(f"checkpoint not found: {path}; {advice}")
        if path.stat().st_size == 0:
            raise UserError(f"checkpoint {path} is empty; {advice}")
        checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError as error:
        raise UserError(f"checkpoint {path} cannot be read: {error.strerror}") from error
    except UserError:
        raise
    except Exception as error:  # torch raises half a dozen types for broken files
        reason = " ".join(str(error).split())[:120]
        if "deserialize object on" in reason:  # the file is fine, the device is not there
            raise UserError(
                f"checkpoint {path} cannot be loaded to '{map_location}': {reason}; set --rl_device"
            ) from error
        raise UserError(f"checkpoint {path} is damaged or not a checkpoint ({reason}); {advice}") from error
    if not isinstance(checkpoint, dict) or type(checkpoint.get("iter")) is not int:
        raise UserError(f"{path} is not a training checkpoint: expected a dictionary with a number 'iter'; {advice}")
    return checkpoint


def atomic_write(path: Path, writer: Callable[[Path], object]) -> None:
    """Write a file with `writer` under a temporary name, then rename it: `path` is complete or unchanged.

    Raises:
        WriteError: the write failed, for example because the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer(temporary)
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())  # a power cut must not leave an empty file with the final name
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {os_error_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def os_error_reason(error: OSError) -> str:
    """The system's reason for an error, in a few words."""
    return error.strerror or str(error)


def save_run_configs(run_dir: Path, env_cfg: Any, train_cfg: Any, task: str | None = None) -> None:
    """Write the merged configurations to `params/env.json` and `params/train.json`, and the task's name beside them.

    Raises:
        WriteError: a file cannot be written.
    """
    folder = run_dir / "params"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise WriteError(f"cannot write {folder}: {os_error_reason(error)}") from error
    values = {"env": to_dict(env_cfg), "train": to_dict(train_cfg)}
    if task is not None:
        values["run"] = {"task": task}
    for name, value in values.items():
        text = json.dumps(value, indent=2)
        atomic_write(
            folder / f"{name}.json", lambda target, text=text: target.write_text(text + "\n", encoding="utf-8")
        )


def task_of_run(run_dir: Path) -> str | None:
    """Name of the task of a run; None if it is not recorded."""
    try:
        task = parse_json((run_dir / RUN_FILE).read_text(encoding="utf-8"))["task"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return task if isinstance(task, str) else None


def load_run_configs(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment and training configurations of a run; missing or broken files are a `UserError`."""
    result = []
    for name in ("env", "train"):
        path = run_dir / "params" / f"{name}.json"
        try:
            values = parse_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:  # ValueError: not JSON, or not text
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"cannot read the run's configuration {path}: {reason}; use another --load_run") from error
        if not isinstance(values, dict):
            raise UserError(f"{path} is not a configuration: expected a JSON object; use another --load_run")
        result.append(values)
    return result[0], result[1]
