"""The whole project under several versions of Python, torch, numpy and rsl-rl-lib; the plugin alone under Python 3.8.

Each version gets a fresh virtual environment, with the pip that it brings and the README's install command. Then two
tasks are trained for two iterations, and a few core tests run. Python 3.8, with torch 1.10.2, runs the contract of
rsl_rl 1.0.2 and writes every policy that can be exported. "3.10 oldest" has the oldest of torch, numpy, rsl-rl-lib
and tensordict that the metadata allow, "3.13 newest" what pip takes without constraints. Interpreters are those of the
system, of pyenv or of uv; a version that is not to be had is "not run". Needs some 6 GB of disk where pip brings torch
with CUDA.

    python benchmarks/python_matrix.py --json benchmarks/results/python_matrix.json
    python benchmarks/python_matrix.py --pythons 3.12 "3.10 oldest" --folder /tmp/matrix
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interpreters import OLDEST, clean_environment, find_python, make_environment

ROOT = Path(__file__).resolve().parents[1]
PINS: dict[str, tuple[str, ...] | None] = {
    "3.8": OLDEST,
    "3.8 oldest": ("torch==1.10.0", "numpy==1.17.3", "pytest<8.4"),
    "3.10": (),
    "3.10 oldest": (
        *("torch==2.6.0", "rsl-rl-lib==5.5.0", "tensordict==0.7.0", "numpy==1.23.5"),
        *("sympy==1.13.1", "ml_dtypes==0.5.4"),  # what these need, and what takes this numpy
    ),
    "3.11": (),
    "3.12": (),
    "3.13": (),
    "3.13 newest": None,
}
"""Row -> versions in place of those of constraints.txt; None: the newest of all."""

PRINT_VERSIONS = """
import platform
from importlib import metadata
found = ["Python " + platform.python_version()]
for name in ("torch", "numpy", "rsl-rl-lib"):
    try:
        found.append(name + " " + metadata.version(name))
    except metadata.PackageNotFoundError:
        pass
print(", ".join(found))
"""
EXTRAS = ("all", "train,mujoco")
"""What the README installs; and with the oldest packages, which not all of the tests' take."""
TASKS = ("go2_flat", "go2_ult_flat")
CORE = ("test_losses", "test_storage", "test_transformer", "test_ppo_faithful", "test_environment")
CONTRACT = ("test_host_v1", "test_host_v1_exports", "test_export_steps", "test_fork")
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider")
COLUMNS = ("install", *TASKS, "tests")
NOT_RUN = "not run"


def main() -> int:
    """Parse flags, run, print the table; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=list(PINS), choices=PINS, metavar="3.X")
    parser.add_argument("--folder", type=Path, help="where the environments are made; a temporary folder by default")
    parser.add_argument(
        "--json", type=Path, help="also write the table to this file; rows of other versions in it stay"
    )
    args = parser.parse_args()
    rows = {}
    if args.json and args.json.exists():
        rows = {row["version"]: row for row in json.loads(args.json.read_text(encoding="utf-8"))["rows"]}
    for version in args.pythons:
        rows[version] = row_of(version, args.folder)
        print(f"{version}: {rows[version]}", flush=True)
        if args.json:
            ordered = sorted(rows.values(), key=lambda row: list(PINS).index(row["version"]))
            args.json.write_text(json.dumps({"rows": ordered}, indent=1) + "\n", encoding="utf-8")
    print(table([rows[version] for version in args.pythons]))
    return 1 if any(failed(rows[version]) for version in args.pythons) else 0


def row_of(version: str, folder: Path | None) -> dict[str, str]:
    """Everything for one row."""
    row = {"version": version, "date": datetime.date.today().isoformat(), "run with": NOT_RUN}
    row.update(dict.fromkeys(COLUMNS, NOT_RUN))
    number = version.split()[0]
    found = find_python(number)
    if found is None:
        return {**row, "run with": f"{NOT_RUN}: no Python {number} on the PATH, in pyenv or from uv"}
    place = Path(tempfile.mkdtemp(dir=folder, prefix=f"python{number}-"))
    try:
        python = make_environment(found, place / "venv")
        row["install"] = install(python, version, place)
        if row["install"].startswith("ok"):
            row["run with"] = output([python, "-c", PRINT_VERSIONS])
            row.update(checks(python, version, place))
    finally:
        shutil.rmtree(place)
    return row


def install(python: str, version: str, place: Path) -> str:
    """The README's command, with the pip that this Python brings; 3.8 gets what forks have, and the plugin alone."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = PINS[version]
    if is_old(version):
        commands = [[*pip, *(pins or ())], [*pip, "--no-deps", "-e", "."]]
    else:
        wanted = () if pins is None else (*pins, "-c", str(constraints(pins, place)))
        commands = [[*pip, *wanted, "-e", f".[{EXTRAS[bool(pins)]}]"], [*pip, *wanted, "pytest", "hypothesis"]]
    start, found = time.monotonic(), "ok"
    for command in commands:
        found = run(command, timeout=3600)
        if found != "ok":
            return found
    pip_version = output([python, "-c", "import pip; print(pip.__version__)"])
    return f"ok, pip {pip_version}, {(time.monotonic() - start) / 60:.0f} min"


def constraints(pins: tuple[str, ...], place: Path) -> Path:
    """constraints.txt without the packages that are pinned in another version, in a folder."""
    others = {pin.partition("==")[0] for pin in pins}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    path = place / "constraints.txt"
    path.write_text("\n".join(line for line in lines if line.partition("==")[0] not in others), encoding="utf-8")
    return path


def is_old(version: str) -> bool:
    """Whether a row has the Python of old forks."""
    return version.startswith("3.8")


def checks(python: str, version: str, place: Path) -> dict[str, str]:
    """Trainings and tests in an environment that is ready; the plugin's Python 3.8 has no engine to train on."""
    names = CONTRACT if is_old(version) else CORE
    found = {
        "tests": run(
            [python, *PYTEST, *(str(next((ROOT / "tests").rglob(f"{name}.py"))) for name in names)], last_line=True
        )
    }
    if not is_old(version):
        flags = ["--headless", "--num_envs=16", "--max_iterations=2", f"--log_root={place / 'logs'}"]
        for task in TASKS:
            found[task] = run([python, "legged_gym_ext/scripts/train.py", f"--task={task}", *flags])
    return found


def output(command: list[str]) -> str:
    """What a short command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment()).stdout.strip()


def run(command: list[str], timeout: int = 1800, last_line: bool = False) -> str:
    """Either "ok" (with `last_line` the last line of the output), or the last line of what went wrong."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=clean_environment(), timeout=timeout
        )
    except subprocess.TimeoutExpired:
        return f"failed: not done after {timeout // 60} minutes"
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode == 0:
        return re.sub(r"(, \d+ warnings?)? in .*", "", lines[-1]) if last_line else "ok"
    return "failed: " + ((done.stderr.strip() if not last_line else "") or lines[-1] or "no output").splitlines()[-1]


def failed(row: dict[str, str]) -> bool:
    """Whether something was run and went wrong."""
    return any(row[column].startswith("failed") for column in COLUMNS)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    lines = ["| run with | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    lines += [f"| {row['run with']} | " + " | ".join(row[column] for column in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
