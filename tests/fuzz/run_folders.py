"""Programs that read the settings, evaluations and curves of a run folder, and tables of trainings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.fuzz import worker
from tests.fuzz.inputs import damaged, edited_json
from tests.fuzz.worker import Resolved, program

DATE = "2026-01-01_00-00-00"
CTS, CLONE, TABLE, MULTI, SHIPPED = (
    *(Path("logs/go2_cts_flat", DATE), Path("logs/go2_bc_flat", DATE), Path("table"), Path("multi")),
    Path("policies/go2_cts"),
)
LOGS, OF_CTS = "--log_root=logs", "--task=go2_cts_flat"

READ = [["evaluate", OF_CTS, LOGS], ["train", OF_CTS, LOGS, "--resume"]]
TEACH = [["train", "--task=go2_dagger_flat", LOGS, "--teacher=go2_cts_flat"]]
REPORT = [["report", "go2_cts_flat", LOGS, "--out=report"]]
SWEEP = ["sweep", "--log_root=table"]

PROGRAMS: dict[str, tuple[Path, list[list[str]]]] = {
    "env": (CTS / "params/env.json", READ),
    "train": (CTS / "params/train.json", READ),
    "run": (CTS / "params/run.json", READ),
    "teacher's env": (CTS / "params/env.json", TEACH),
    "teacher's train": (CTS / "params/train.json", TEACH),
    "data": (CLONE / "params/dataset.json", [["distill", "--task=go2_bc_flat", LOGS, "--resume"]]),
    "table": (TABLE / "benchmark.json", [[*SWEEP, "--report"],
                                         [*SWEEP, "--tasks", "go2_flat", "--seeds", "1", "--budget=3it"]]),
    "multi": (MULTI / "results.json", [["multi_task", OF_CTS, LOGS, "--out=multi"]]),
    "card": (SHIPPED / "card.json", [["play", "--task=go2_cts", "--pretrained", "--video=a.mp4"]]),
    "report's env": (CTS / "params/env.json", REPORT),
    "report's train": (CTS / "params/train.json", REPORT),
    "report's run": (CTS / "params/run.json", REPORT),
    "evaluation": (CTS / "evaluation.json", REPORT),
}  # fmt: skip
"""Kind of file -> its place, and command lines of programs that read it."""


def stop(*_: Any, **__: Any) -> Any:
    """In place of what is expensive."""
    raise Resolved


def prepare() -> None:
    """Write the files, whole, and replace what is expensive."""
    from legged_gym_ext.reports.sweep import Table
    from legged_gym_ext.scripts import distill, evaluate, multi_task_steps, play, report, sweep, train
    from legged_gym_ext.simulators.mujoco import gl
    from legged_gym_ext.training import pretrained
    from tests import report_runs

    shutil.copytree(worker.MATERIAL[0] / "logs", "logs")
    shutil.copytree(pretrained.FOLDER / "go2_cts", SHIPPED)
    pretrained.FOLDER = Path("policies")
    figures = report_runs.figures(0.5)
    report_runs.evaluate(CTS, "go2_cts_flat", teacher=figures, student=figures)
    TABLE.mkdir()
    settings = {"tasks": ["go2_flat"], "seeds": [1], "budget": "3it", "num_envs": None, "eval_envs": None}
    table = Table(TABLE, {**settings, "overrides": []})
    table.cells = {"go2_flat/1": [DATE]}
    table.save()
    shutil.copytree(Path("logs/go2_flat"), TABLE / "go2_flat")
    MULTI.mkdir()
    flags = {"task": "go2_cts_flat", "quality": "expert", "episodes": 256}
    (MULTI / "results.json").write_text(json.dumps({"args": flags, "seconds": {"record": 1.0}}), encoding="utf-8")
    for owner, name in (
        *((train, "_print_header"), (sweep, "fill"), (distill, "_make_cloning"), (multi_task_steps, "fit_scales")),
        *((evaluate, "_load"), (report, "_rollout_pictures"), (play, "_make_env")),
    ):
        setattr(owner, name, stop)
    gl.check_window = gl.choose_offscreen = lambda *_: None
    multi_task_steps.Pipeline._record = lambda *_: None  # type: ignore[method-assign]
    multi_task_steps.Pipeline._reference = lambda *_: None  # type: ignore[method-assign]
    sweep.subprocess = SimpleNamespace(run=lambda *_, **__: None)


def read(kind: str, number: int, edit: tuple[str, Any]) -> None:
    """Edit a file of a kind, run one of its programs, and put the file back."""
    path, commands = PROGRAMS[kind]
    whole = path.read_bytes()
    path.write_bytes(edited_json(whole, edit))
    try:
        _run(commands[number % len(commands)])
    finally:
        path.write_bytes(whole)


def read_curves(edits: list[tuple]) -> None:
    """Damage an event file and make a report."""
    path = next(CTS.glob("events.*"))
    whole = path.read_bytes()
    path.write_bytes(damaged(whole, edits))
    try:
        _run(["report", "go2_cts_flat", LOGS, "--out=report"])
    finally:
        path.write_bytes(whole)


def _run(words: list[str]) -> None:
    import importlib

    before = set(Path("logs").glob("*/*"))
    try:
        program(importlib.import_module(f"legged_gym_ext.scripts.{words[0]}").main, words[1:])
    finally:
        for made in set(Path("logs").glob("*/*")) - before:
            shutil.rmtree(made)
        shutil.rmtree("report", ignore_errors=True)
