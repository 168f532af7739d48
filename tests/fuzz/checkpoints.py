"""Programs that read checkpoints: evaluations, resumed trainings, teachers and cloned students."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.fuzz import worker
from tests.fuzz.inputs import damaged, edited

FILE = Path("model_0.pt")
whole: dict[str, bytes] = {}
runners: dict[str, Any] = {}


def prepare() -> None:
    """Checkpoints, and for each a runner that loads them."""
    import torch

    from legged_gym_ext.envs import task_registry

    torch.set_num_threads(1)
    shutil.copytree(worker.MATERIAL[0] / "logs", "logs")
    for task in ("go2_flat", "go2_cts_flat", "go2_ult_flat"):
        env_cfg, train_cfg = task_registry.get_cfgs(task)
        run = Path("logs", task, "2026-01-01_00-00-00")
        _apply(run, task, env_cfg, train_cfg)
        env, _ = task_registry.make_env(task, env_cfg)
        runners[task] = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)[0]
        whole[task] = (run / "model_0.pt").read_bytes()
    whole["clone"] = Path("logs/go2_bc_flat/2026-01-01_00-00-00/cloning.pt").read_bytes()


def _apply(run: Path, task: str, env_cfg: Any, train_cfg: Any) -> None:
    from legged_gym_ext.training.run_settings import apply_run

    apply_run(run, task, env_cfg, train_cfg)
    train_cfg.runner.logger = "none"


def write_edited(which: str, edits: list[tuple], path: Path = FILE) -> None:
    """A checkpoint whose contents were edited; values that are tensors may be replaced, cut, or get other types."""
    import io

    import torch

    saved = torch.load(io.BytesIO(whole[which]), weights_only=True)
    found = edited(saved, [(action, place, _as_tensor(new, place)) for action, place, new in edits])
    torch.save(found, path)


def _as_tensor(value: Any, place: int) -> Any:
    """Every third number or list becomes a tensor, if it can."""
    import torch

    if place % 3 or isinstance(value, (str, bool, type(None), dict)):
        return value
    try:
        found = torch.as_tensor(value)
        return found.to((torch.float32, torch.int64, torch.uint8, torch.bool)[place % 4]) if place % 2 else found
    except (ValueError, TypeError, RuntimeError, OverflowError):
        return torch.full((3, 2), float("nan"))


def evaluate_edited(which: str, edits: list[tuple]) -> None:
    """Load the networks of an edited checkpoint, and act."""
    from legged_gym_ext.training.policies import WEIGHTS_ONLY

    write_edited(which, edits)
    runner = runners[which]
    runner.load(str(FILE), load_cfg=dict(WEIGHTS_ONLY))
    runner.get_inference_policy("cpu")(runner.env.get_observations())


def resume_edited(which: str, edits: list[tuple]) -> None:
    """Resume from an edited checkpoint, and take a step."""
    write_edited(which, edits)
    _resume(which)


def resume_damaged(which: str, edits: list[tuple]) -> None:
    """Resume from a checkpoint with damaged bytes, and take a step."""
    FILE.write_bytes(damaged(whole[which], edits))
    _resume(which)


def _resume(which: str) -> None:
    import torch

    runner = runners[which]
    runner.current_learning_iteration = 0
    runner.resume(str(FILE))
    with torch.inference_mode():
        runner.env.step(torch.zeros(runner.env.num_envs, 12))


def teach_edited(edits: list[tuple]) -> None:
    """Train a student with an edited checkpoint as its teacher."""
    from legged_gym_ext.scripts import train

    path = Path("logs/go2_cts_flat/2026-01-01_00-00-00/model_0.pt")
    write_edited("go2_cts_flat", edits, path)
    train._print_header = _stop
    words = ["--task=go2_dagger_flat", "--log_root=logs", "--teacher=go2_cts_flat", "--num_envs=2", "--logger=none"]
    try:
        worker.program(train.main, words)
    finally:
        shutil.rmtree("logs/go2_dagger_flat", ignore_errors=True)


def clone_edited(edits: list[tuple]) -> None:
    """Resume a cloning from an edited state."""
    write_edited("clone", edits, Path("logs/go2_bc_flat/2026-01-01_00-00-00/cloning.pt"))
    _clone()


def clone_damaged(edits: list[tuple]) -> None:
    """Resume a cloning from a state with damaged bytes."""
    Path("logs/go2_bc_flat/2026-01-01_00-00-00/cloning.pt").write_bytes(damaged(whole["clone"], edits))
    _clone()


def _clone() -> None:
    from legged_gym_ext.scripts import distill

    distill._train = _stop
    worker.program(distill.main, ["--task=go2_bc_flat", "--log_root=logs", "--resume"])


def _stop(*_: Any, **__: Any) -> Any:
    raise worker.Resolved


def load(data: bytes) -> None:
    """Read a file of somebody else as a checkpoint."""
    from legged_gym_ext.training.runs import load_checkpoint

    FILE.write_bytes(data)
    load_checkpoint(FILE, "cpu")
