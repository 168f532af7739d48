"""Run folders `logs/<experiment>/<date>_<run>/` and the checkpoints `model_<iteration>.pt` in them."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Callable

from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError, did_you_mean

CHECKPOINT = re.compile(r"model_(\d+)\.pt")


def new_run_dir(log_root: Path, experiment: str, run_name: str = "") -> Path:
    """Create a run folder whose name starts with the date and time, so that names sort by age; never an existing one."""
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


def checkpoints(run_dir: Path) -> dict[int, Path]:
    """Iteration -> file of all checkpoints in a run folder, in numerical order."""
    found = {
        int(match.group(1)): path for path in run_dir.glob("model_*.pt") if (match := CHECKPOINT.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def find_run(log_root: Path, experiment: str, load_run: str | int | None = None) -> Path:
    """A run folder: by name or path, or the newest one that has a checkpoint (None or -1)."""
    folder = log_root / experiment
    if load_run not in (None, -1, "-1", ""):
        for path in (folder / str(load_run), Path(str(load_run)).expanduser()):
            if path.is_dir():
                return path
        names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        raise UserError(
            f"no run '{load_run}' in {folder}{did_you_mean(str(load_run), names)}; runs are {sorted(names) or 'none'}"
        )
    runs = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    trained = [path for path in runs if checkpoints(path)]
    if not trained:
        raise UserError(f"no trained run in {folder}; train one first, or name another --experiment_name or --load_run")
    return trained[-1]


def find_checkpoint(run_dir: Path, checkpoint: int | None = None) -> Path:
    """The checkpoint of an iteration, or the one with the highest (None or -1)."""
    found = checkpoints(run_dir)
    if not found:
        raise UserError(f"no checkpoint model_<iteration>.pt in {run_dir}")
    if checkpoint in (None, -1):
        return list(found.values())[-1]
    if checkpoint not in found:
        raise UserError(f"no checkpoint of iteration {checkpoint} in {run_dir}; there are {list(found)}")
    return found[checkpoint]


def load_checkpoint(path: Path, map_location: Any) -> dict[str, Any]:
    """Read a checkpoint; a file that is missing, truncated or not a checkpoint is a `UserError`."""
    import torch

    if not path.is_file():
        raise UserError(f"checkpoint not found: {path}")
    try:
        checkpoint = torch.load(path, map_location=map_location, weights_only=False)
    except Exception as error:  # torch raises half a dozen types for broken files
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"checkpoint {path} is damaged or not a checkpoint ({reason}); use another --checkpoint"
        ) from error
    if not isinstance(checkpoint, dict) or "iter" not in checkpoint:
        raise UserError(f"{path} is not a training checkpoint: expected a dictionary with the key 'iter'")
    return checkpoint


def atomic_write(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` fill a temporary file beside `path`, then rename it: `path` is complete or as it was before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        writer(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_run_configs(run_dir: Path, env_cfg: Any, train_cfg: Any) -> None:
    """Write the merged configurations to `params/env.json` and `params/train.json`."""
    folder = run_dir / "params"
    folder.mkdir(exist_ok=True)
    for name, cfg in (("env", env_cfg), ("train", train_cfg)):
        text = json.dumps(to_dict(cfg), indent=2)
        atomic_write(folder / f"{name}.json", lambda target, text=text: target.write_text(text + "\n"))


def load_run_configs(run_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configurations a run was trained with; missing or broken files are a `UserError`."""
    result = []
    for name in ("env", "train"):
        path = run_dir / "params" / f"{name}.json"
        try:
            result.append(json.loads(path.read_text()))
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"cannot read the run's configuration {path}: {error}") from error
    return result[0], result[1]
