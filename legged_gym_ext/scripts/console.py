"""The scripts as console scripts: `ult-train`, `ult-play`, ... are installed beside the interpreter; see setup.py."""

from __future__ import annotations

import importlib
from functools import partial
from typing import NoReturn

from legged_gym_ext.utils.errors import run_main


def run(script: str) -> NoReturn:
    """Run the script of that name and exit with its code."""
    run_main(importlib.import_module(f"legged_gym_ext.scripts.{script}").main)


train, play, evaluate = partial(run, "train"), partial(run, "play"), partial(run, "evaluate")
export, sim2sim, report = partial(run, "export"), partial(run, "sim2sim"), partial(run, "report")
describe, doctor, sweep = partial(run, "describe"), partial(run, "doctor"), partial(run, "sweep")
collect, dataset, distill = partial(run, "collect"), partial(run, "dataset"), partial(run, "distill")
multi_task = partial(run, "multi_task")
