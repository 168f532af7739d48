"""The script that runs the project under other versions of Python says what it could not run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def matrix(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import python_matrix

    return python_matrix


def test_an_interpreter_that_does_not_start_is_passed_over(matrix, monkeypatch, tmp_path):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = tmp_path / "bin" / f"python{version}"  # as pyenv's commands on the PATH: there, and of no use
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    command.chmod(0o755)
    pyenv = tmp_path / "versions" / f"{version}.0" / "bin" / "python"
    pyenv.parent.mkdir(parents=True)
    pyenv.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(command.parent))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert matrix.find_python(version) == str(pyenv)


def test_a_version_that_is_not_there_is_not_run_and_no_failure(matrix, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    row = matrix.row_of("3.99", tmp_path)
    assert row["run with"] == "not run: no Python 3.99 on the PATH, in pyenv or from uv"
    assert {row[column] for column in matrix.COLUMNS} == {"not run"}
    assert not matrix.failed(row) and matrix.failed({**row, "tests": "failed: 1 failed, 3 passed"})


def test_what_goes_wrong_is_told_by_its_last_line(matrix):
    program = "import sys; print('done'); sys.exit('error: no such task')"
    assert matrix.run([sys.executable, "-c", program]) == "failed: error: no such task"
    assert matrix.run([sys.executable, "-c", "print('5 passed, 1 warning in 3 s')"], last_line=True) == "5 passed"


def test_pins_of_a_row_take_the_place_of_the_tested_versions(matrix, tmp_path):
    lines = matrix.constraints(("torch==2.6.0", "numpy==1.23.5"), tmp_path).read_text(encoding="utf-8").splitlines()
    tested = (matrix.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    left_out = [line for line in tested if line not in lines]
    assert [line.partition("==")[0] for line in left_out] == ["torch", "numpy", "numpy"]  # numpy: one for Python 3.10
    assert matrix.constraints((), tmp_path).read_text(encoding="utf-8").splitlines() == tested
