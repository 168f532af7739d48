"""Packages that move and draw robots and cannot be imported: one line with the cure, whichever program asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from legged_gym_ext.utils.errors import install_command
from tests import policy_files as exported

ROOT = Path(__file__).resolve().parents[3]
PAIR = "pip install mujoco==3.14.0 mjbatch==0.1.4"
BROKEN = "raise ImportError('libmujoco.so.3: no such file')"


def run(*program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    path = os.pathsep.join(part for part in (variables.pop("PYTHONPATH", ""), str(ROOT)) if part)
    environment = {**environment, "PYTHONPATH": path, **variables}
    return subprocess.run([sys.executable, *program], env=environment, capture_output=True, text=True, timeout=120)


def failing(*program: str, **variables: str) -> str:
    """The one line of a program that ends with code 2."""
    result = run(*program, **variables)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    "program",
    [
        ("train.py", "--task=go2_flat", "--num_envs=1", "--max_iterations=1", "--log_root=logs"),
        ("play.py", "--task=go2_flat", "--agent=zero", "--web=0"),
        ("sim2sim.py", "--policy=hold.onnx", "--headless"),
    ],
    ids=lambda program: program[0],
)
def test_a_bogus_mujoco_gl_is_one_line_in_every_program(tmp_path, monkeypatch, program):
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems choose by themselves")
    monkeypatch.chdir(tmp_path)
    exported.write(tmp_path / "hold.onnx", exported.contract())
    name, *flags = program
    line = failing(str(ROOT / "legged_gym_ext/scripts" / name), *flags, MUJOCO_GL="bogus")
    assert line.startswith("error: ") and "unset MUJOCO_GL" in line and "bogus" in line


REQUIRE = """
from legged_gym_ext.simulators import require
from legged_gym_ext.utils.errors import run_main
run_main(lambda _: require("mujoco", "mjbatch"))
"""


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"mjbatch": BROKEN}, f"'mjbatch' cannot be imported (ImportError: libmujoco.so.3: no such file): {PAIR}"),
        ({"mujoco": BROKEN}, f"'mujoco' cannot be imported (ImportError: libmujoco.so.3: no such file): {PAIR}"),
        (
            {"mujoco": "raise ModuleNotFoundError('no', name='mujoco')"},
            f"'mujoco' is not installed: {install_command('mujoco')}",
        ),
        ({"mujoco": "import absent"}, "'mujoco' cannot be imported (ModuleNotFoundError: No module named 'absent')"),
        # Newer than mjbatch: both can be imported, and the first batch would end the process.
        ({"mujoco": "__version__ = '9.9'", "mjbatch": ""}, f"mujoco is 9.9, this mjbatch is made for 3.14.0: {PAIR}"),
    ],
)  # fmt: skip
def test_a_package_that_does_not_work_is_one_line_with_the_cure(tmp_path, files, said):
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    assert said in failing("-c", REQUIRE, PYTHONPATH=str(tmp_path))


def test_packages_that_work_are_taken():
    assert run("-c", REQUIRE).returncode == 0
