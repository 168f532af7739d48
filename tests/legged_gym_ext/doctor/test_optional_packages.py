"""Optional packages: where one is missing, one line says which and how to get it, and nothing is written.

That each of them does its work where it is installed is tested with what uses it: wandb in test_wandb.py, tensorboard
and matplotlib in test_report.py, imageio, ffmpeg and Pillow in test_play.py, onnx and onnxruntime in test_export.py,
the SDK in test_robot_go2.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.report_runs import write_run
from tests.robot_policies import write_policy

for needed in ("mujoco", "rsl_rl", "onnx", "onnxruntime"):
    pytest.importorskip(needed)
if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = """
import contextlib, importlib, json, os, sys
from importlib.machinery import PathFinder
import numpy, torch  # once; the programs are forked from here

def run(hidden, module, argv):
    find = PathFinder.find_spec
    PathFinder.find_spec = classmethod(
        lambda cls, name, *rest: None if name.split(".")[0] == hidden else find(name, *rest)
    )
    assert hidden not in sys.modules
    from legged_gym_ext.utils.errors import run_main
    sys.argv = [module, *argv]
    run_main(importlib.import_module(f"legged_gym_ext.{module}").main)

answers = []
for index, case in enumerate(json.load(sys.stdin)):
    path = f"stderr{index}"
    child = os.fork()
    if child == 0:
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 99
        try:
            run(*case)
        except SystemExit as leaving:
            code = leaving.code
        except BaseException:
            import traceback
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answers.append((code, open(path).read()))
    os.remove(path)
print(json.dumps(answers))
"""
TASK = ("--task=go2_flat", "--log_root={logs}")
TRAIN = (*TASK, "--headless", "--num_envs=4", "--max_iterations=1")
NEW = "--log_root={new}"  # comes last, and counts


def extra(name: str) -> str:
    """How an extra is installed, without interpreter and folder, which depend on the machine (`without_paths`)."""
    return f"python -m pip install -e '[{name}]'"


def without_paths(said: str) -> str:
    """A message without the paths in its command; that the command itself runs is tested in test_next_steps.py."""
    return re.sub(r"\S+ -m pip install (?:-c \S+ )?-e \S*\[(\w+)\]'?", r"python -m pip install -e '[\1]'", said)


LEARNING = f"trainings and trained policies need the package '{{}}': {extra('train')}"
ENGINE = f"the package '{{}}' is not installed: {extra('mujoco')}"
VIDEO = f"writing out.mp4 needs the package '{{}}': {extra('video')}"
RUNTIME = "running policy.onnx needs the package 'onnxruntime': pip install \"onnxruntime>=1.18\""
SDK = (
    "a robot needs the package 'unitree_sdk2py': install Unitree's SDK: "
    "git clone https://github.com/unitreerobotics/unitree_sdk2_python && pip install -e unitree_sdk2_python "
    "(for Python 3.11 and newer: docs/robot.md)"
)
ISAAC = (
    "simulator 'isaac_gym' needs the package 'isaacgym': it is not on PyPI; get Isaac Gym Preview 4 from "
    'https://developer.nvidia.com/isaac-gym and "pip install -e isaacgym/python" in a Python from 3.6 to 3.8'
)
CASES = [
    (
        "wandb", "scripts.train", (*TRAIN, NEW, "--logger=wandb"),
        f"--logger=wandb needs the package 'wandb': {extra('wandb')}",
    ),
    *[(name, "scripts.train", (*TRAIN, NEW), LEARNING) for name in ("rsl_rl", "tensordict", "tensorboard", "git")],
    ("tensorboard", "scripts.train", (*TRAIN, NEW, "--logger=none"), LEARNING),
    *[(name, "scripts.train", (*TRAIN, NEW), ENGINE) for name in ("mujoco", "mjbatch")],
    ("isaacgym", "scripts.train", (*TRAIN, NEW, "--sim=isaac_gym"), ISAAC),
    *[
        (n, "scripts.train", (*TRAIN, NEW, "--video"), f"--video needs the package '{n}': {extra('video')}")
        for n in ("imageio", "imageio_ffmpeg")
    ],
    ("rsl_rl", "scripts.evaluate", TASK, LEARNING),
    ("mjbatch", "scripts.evaluate", TASK, ENGINE),
    *[(name, "scripts.play", (*TASK, "--video=out.mp4"), VIDEO) for name in ("imageio", "imageio_ffmpeg")],
    ("mujoco", "scripts.play", (*TASK, "--video=out.mp4"), f"pictures need the package 'mujoco': {extra('mujoco')}"),
    ("PIL", "scripts.play", (*TASK, "--strip=out.png"), f"writing out.png needs the package 'PIL': {extra('video')}"),
    ("glfw", "scripts.play", (*TASK, "--agent=zero"), f"a window needs the package 'glfw': {extra('mujoco')}"),
    *[
        (n, "scripts.export", (*TASK, "--out=out"), f"exporting needs the package '{n}': {extra('export')}")
        for n in ("onnx", "onnxruntime")
    ],
    ("onnxruntime", "scripts.sim2sim", ("--policy=policy.onnx", "--headless"), RUNTIME),
    ("mujoco", "scripts.sim2sim", ("--policy=policy.onnx", "--headless"), ENGINE),
    ("imageio", "scripts.sim2sim", ("--policy=policy.onnx", "--video=out.mp4"), VIDEO),
    (
        "matplotlib", "scripts.report", ("{run}", "--out={run}"),
        f"pictures need the package 'matplotlib' (No module named 'matplotlib'): {extra('report')}",
    ),
    (
        "tensorboard", "scripts.report", ("{run}", "--out={run}"),
        f"reading event files needs the package 'tensorboard' (No module named 'tensorboard'): {extra('train')}",
    ),
    ("onnxruntime", "deploy.go2.program", ("--policy=policy.onnx", "--interface=lo"), RUNTIME),
    ("unitree_sdk2py", "deploy.go2.program", ("--policy=policy.onnx", "--interface=lo"), SDK),
    ("unitree_sdk2py", "deploy.simulated_go2.program", ("--interface=lo",), SDK),
    ("mujoco", "deploy.simulated_go2.program", ("--interface=lo",), ENGINE),
]  # fmt: skip
"""Package, program, flags, what is said after "error: "."""


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> list[tuple[int, str]]:
    """Exit code and standard error of every case."""
    folder = tmp_path_factory.mktemp("programs")
    run = write_run(folder / "logs", name="2026-01-01_00-00-00")
    (run / "model_0.pt").write_bytes(b"not read: the packages come first")
    write_policy(folder / "policy.onnx")
    names = {"logs": folder / "logs", "new": folder / "new", "run": run}
    cases = [(package, program, [flag.format(**names) for flag in flags]) for package, program, flags, _ in CASES]
    before = contents(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISPLAY": ":99"}
    command: dict[str, Any] = {"input": json.dumps(cases), "capture_output": True, "text": True, "timeout": 600}
    done = subprocess.run([sys.executable, "-c", PROGRAMS], cwd=folder, env=environment, **command)
    assert done.returncode == 0, done.stderr
    assert contents(folder) == before
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "index", range(len(CASES)), ids=[f"{i} {case[1]} without {case[0]}" for i, case in enumerate(CASES)]
)
def test_a_missing_package_is_one_line_that_says_how_to_get_it(answers, index):
    package, _, _, message = CASES[index]
    code, said = answers[index]
    assert (code, without_paths(said)) == (2, f"error: {message.format(package)}\n")
