"""Every program, in place of its expensive part something that ends it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from tests.fuzz.worker import Resolved, program

EXPENSIVE = {
    "train": ("legged_gym_ext.scripts.train", "train"),
    "play": ("legged_gym_ext.scripts.play", "_make_env"),
    "evaluate": ("legged_gym_ext.scripts.evaluate", "_load"),
    "export": ("legged_gym_ext.scripts.export", "make_sources"),
    "sim2sim": ("legged_gym_ext.deploy.sim2sim.loop", "Trial"),
    "report": ("legged_gym_ext.scripts.report", "write_report"),
    "describe": ("legged_gym_ext.scripts.describe", "describe"),
    "doctor": ("legged_gym_ext.scripts.doctor", "examine"),
    "sweep": ("legged_gym_ext.scripts.sweep", "fill"),
    "benchmark": ("legged_gym_ext.scripts.sweep", "fill"),
    "collect": ("legged_gym_ext.scripts.collect", "_collect"),
    "dataset": ("legged_gym_ext.scripts.dataset", "_show"),
    "distill": ("legged_gym_ext.scripts.distill", "_make_cloning"),
    "multi_task": ("legged_gym_ext.scripts.multi_task_steps", "Pipeline"),
    "robot": ("legged_gym_ext.deploy.go2.program", "check_sdk"),
    "simulated_robot": ("legged_gym_ext.deploy.simulated_go2.program", "SimulatedGo2"),
}
"""Program -> module and name of what takes long, or needs a robot or a screen."""

MAINS = {"robot": "legged_gym_ext.deploy.go2.program", "simulated_robot": "legged_gym_ext.deploy.simulated_go2.program"}


def stop(*_: Any, **__: Any) -> Any:
    """In place of what is expensive."""
    raise Resolved


def prepare() -> None:
    """Replace what is expensive, and make the files that command lines may name."""
    from legged_gym_ext.scripts import sweep
    from legged_gym_ext.simulators.mujoco import gl
    from legged_gym_ext.training import runs
    from tests.offline_data import write_episodes
    from tests.report_runs import write_run
    from tests.robot_policies import write_policy

    for module, name in EXPENSIVE.values():
        setattr(importlib.import_module(module), name, stop)
    gl.check_window = gl.choose_offscreen = lambda *_: None  # what it finds depends on the machine
    sweep._show = stop
    runs.LOG_ROOT = Path("logs").resolve()
    write_run(runs.LOG_ROOT, "go2_flat")
    (runs.LOG_ROOT / "go2_flat" / "2026-01-01_00-00-00_seed1" / "model_9.pt").write_bytes(b"")
    write_policy(Path("policy.onnx"))
    write_episodes(Path("data"), episodes=2)
    Path("file").write_text("1 0.5 0 0\n", encoding="utf-8")


def run(name: str, words: list[str]) -> None:
    """Run a program."""
    main = importlib.import_module(MAINS.get(name, f"legged_gym_ext.scripts.{name}")).main
    program(main, words)
