"""Every method under the stock runner of several versions of rsl-rl-lib: train 3 iterations, save, load, resume, infer.

Each version gets a virtual environment of its own (`pip install --no-deps`, torch and the rest from the environment
that runs this script) and each method a process (tests/host_worker.py). "1.0.2" is that generation's contract
(tests/rsl_rl_ult/hosts/test_host_v1.py), and the files that its forks write
(tests/rsl_rl_ult/hosts/test_host_v1_exports.py, tests/legged_gym_ext/deploy/test_export_steps.py): with Python 3.8 and
torch 1.10.2 in an environment of their own, where there is a Python 3.8.

    python benchmarks/host_matrix.py --json result.json
    python benchmarks/host_matrix.py --versions 1.0.2 --python /where/torch/numpy/and/pytest/are/bin/python
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from interpreters import OLDEST, clean_environment, find_python
from interpreters import make_environment as make_plain_environment

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("1.0.2", "3.1.3", "3.3.0", "4.0.1", "5.0.1", "5.4.2", "5.5.1")
METHODS = ("TS", "CTS", "RMA", "SITT", "ULT")
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider")
ALSO = ("GitPython", "gitdb", "smmap")  # what 3.x imports and later versions do without

CONTRACT = (
    "rsl_rl_ult/hosts/test_host_v1.py::test_two_names_in_the_configuration_train_save_load_resume_and_infer",
    "rsl_rl_ult/hosts/test_host_v1_exports.py::test_the_forks_jit_file_acts_as_the_policy_and_remembers",
    "rsl_rl_ult/hosts/test_host_v1_exports.py::test_an_onnx_file_can_be_written",
)
"""Tests of each method."""

EXPORTED = {
    "TS": ("ts student", "tcn student", "gru student", "ts teacher"),
    "CTS": ("cts student", "cts teacher"),
    "SITT": ("sitt student", "sitt student, latent alone", "sitt teacher, latent alone"),
    "ULT": ("ult student", "ult teacher", "ult teacher, shared head, frame", "ult student, one frame"),
}
"""Policies of each method that are traced; those of RMA are TS's."""


def main() -> int:
    """Parse flags, run, print the table; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="X.Y.Z")
    parser.add_argument("--python", help="interpreter of the 1.0.2 contract, used as it is")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    rows = []
    for version in args.versions:
        rows.append(old_contract(args.python) if version == "1.0.2" else row_of(version))
        print(f"{version}: {', '.join(f'{name} {found}' for name, found in rows[-1]['methods'].items())}", flush=True)
    print(table(rows))
    if args.json:
        result = {"date": datetime.date.today().isoformat(), "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if all(found == "ok" for row in rows for found in row["methods"].values()) else 1


def row_of(version: str) -> dict:
    """All methods under one version of rsl-rl-lib."""
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(Path(folder), version)
        found = {
            method: run(
                [python, str(ROOT / "tests/host_worker.py"), method], "trained, saved, loaded, resumed, inferred"
            )
            for method in METHODS
        }
    return {"host": f"rsl-rl-lib {version}", "python": platform_of(sys.executable), "methods": found}


def make_environment(folder: Path, version: str) -> str:
    """A virtual environment with that version and, behind it, everything of this one; its interpreter."""
    venv.create(folder, with_pip=False)
    python = str(folder / "bin/python")
    packages = [f"rsl-rl-lib=={version}", *(ALSO if version.startswith("3.") else ())]
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", *packages]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n{ROOT}\n", encoding="utf-8")
    return python


def old_contract(python: str | None) -> dict:
    """The tests of the 1.0.2 contract and of what is exported there, method by method."""
    with tempfile.TemporaryDirectory() as folder:
        python = python or make_oldest_environment(Path(folder)) or sys.executable
        found = {
            method: run([python, *PYTEST, *tests_of(method)], f"{len(tests_of(method))} passed") for method in METHODS
        }
        return {"host": "rsl_rl 1.0.2 (contract)", "python": platform_of(python), "methods": found}


def make_oldest_environment(folder: Path) -> str | None:
    """Python 3.8 with what old forks have; None, and a line that says so, where that is not to be had."""
    found = find_python("3.8")
    if found is None:
        print(f"no Python 3.8 here: the 1.0.2 contract runs with {sys.executable}", flush=True)
        return None
    python = make_plain_environment(found, folder / "oldest")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *OLDEST]
    result = subprocess.run(install, capture_output=True, text=True, env=clean_environment())
    if result.returncode:
        reason = (result.stderr.strip() or "no output").splitlines()[-1]
        print(f"{OLDEST[0]} cannot be installed ({reason}): the 1.0.2 contract runs with {sys.executable}", flush=True)
        return None
    return python


def tests_of(method: str) -> list[str]:
    """What pytest calls them."""
    traced = (
        "legged_gym_ext/deploy/test_export_steps.py::"
        "test_torchscript_equals_the_policy_through_resets_and_clips_what_it_returns"
    )
    names = [f"{name}[{method}]" for name in CONTRACT] + [f"{traced}[{policy}]" for policy in EXPORTED.get(method, ())]
    return [str(ROOT / "tests" / name) for name in names]


def platform_of(python: str) -> str:
    """Versions of Python and torch."""
    program = "import platform, torch; print('Python', platform.python_version() + ', torch', torch.__version__)"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def run(command: list[str], promise: str) -> str:
    """Either "ok", when the last line of the output keeps the promise, or the last line of what went wrong."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)} if "pytest" in command else os.environ
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=600)
    lines = result.stdout.strip().splitlines() or [""]
    if result.returncode == 0 and promise in lines[-1]:
        return "ok"
    return (result.stderr.strip() or result.stdout.strip() or "no output").splitlines()[-1]


def table(rows: list[dict]) -> str:
    """Markdown."""
    lines = [f"| host | {' | '.join(METHODS)} | run with |", "|" + "---|" * (len(METHODS) + 2)]
    lines += [f"| {row['host']} | {' | '.join(row['methods'].values())} | {row['python']} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
