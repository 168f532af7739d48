"""The whole project under several versions of Python, and the plugin alone under 3.8, as old forks have it.

Each version gets a fresh virtual environment, with the pip that it brings and the README's install command. Then two
tasks are trained for two iterations, and a few core tests run. Python 3.8, with torch 1.10.2, runs the contract of
rsl_rl 1.0.2 and writes every policy that can be exported. Interpreters are those of the system, of pyenv or of uv; a
version that is not to be had is "not run". Needs some 6 GB of disk where pip brings torch with CUDA.

    python benchmarks/python_matrix.py --json benchmarks/results/python_matrix.json
    python benchmarks/python_matrix.py --pythons 3.12 --folder /tmp/matrix
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
VERSIONS = ("3.8", "3.10", "3.11", "3.12", "3.13")
EXTRAS = "train,mujoco"
TASKS = ("go2_flat", "go2_ult_flat")
CORE = ("test_losses", "test_storage", "test_transformer", "test_ppo_faithful", "test_environment")
CONTRACT = ("test_host_v1", "test_host_v1_exports", "test_export_steps", "test_fork")
PYTEST = ("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider")
COLUMNS = ("install", *TASKS, "tests")
NOT_RUN = "not run"


def main() -> int:
    """Parse flags, run, print the table; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=VERSIONS, metavar="3.X")
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
            ordered = sorted(rows.values(), key=lambda row: int(row["version"].split(".")[1]))
            args.json.write_text(json.dumps({"rows": ordered}, indent=1) + "\n", encoding="utf-8")
    print(table([rows[version] for version in args.pythons]))
    return 1 if any(failed(rows[version]) for version in args.pythons) else 0


def row_of(version: str, folder: Path | None) -> dict[str, str]:
    """Everything for one version of Python."""
    row = {"version": version, "date": datetime.date.today().isoformat(), "run with": NOT_RUN}
    row.update(dict.fromkeys(COLUMNS, NOT_RUN))
    found = find_python(version)
    if found is None:
        return {**row, "run with": f"{NOT_RUN}: no Python {version} on the PATH, in pyenv or from uv"}
    place = Path(tempfile.mkdtemp(dir=folder, prefix=f"python{version}-"))
    try:
        python = make_environment(found, place / "venv")
        row["install"] = install(python, version)
        if row["install"].startswith("ok"):
            row["run with"] = versions_of(python)
            row.update(checks(python, version, place))
    finally:
        shutil.rmtree(place)
    return row


def install(python: str, version: str) -> str:
    """The README's command, with the pip that this Python brings; 3.8 gets what forks have, and the plugin alone."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if version == "3.8":
        commands = [[*pip, *OLDEST], [*pip, "--no-deps", "-e", "."]]
    else:
        constraints = ["-c", "constraints.txt"]
        commands = [[*pip, *constraints, "-e", f".[{EXTRAS}]"], [*pip, *constraints, "pytest"]]
    start, found = time.monotonic(), "ok"
    for command in commands:
        found = run(command, timeout=3600)
        if found != "ok":
            return found
    pip_version = output([python, "-c", "import pip; print(pip.__version__)"])
    return f"ok, pip {pip_version}, {(time.monotonic() - start) / 60:.0f} min"


def checks(python: str, version: str, place: Path) -> dict[str, str]:
    """Trainings and tests in an environment that is ready; the plugin's Python 3.8 has no engine to train on."""
    names = CONTRACT if version == "3.8" else CORE
    found = {
        "tests": run(
            [python, *PYTEST, *(str(next((ROOT / "tests").rglob(f"{name}.py"))) for name in names)], last_line=True
        )
    }
    if version != "3.8":
        flags = ["--headless", "--num_envs=16", "--max_iterations=2", f"--log_root={place / 'logs'}"]
        for task in TASKS:
            found[task] = run([python, "legged_gym_ext/scripts/train.py", f"--task={task}", *flags])
    return found


def versions_of(python: str) -> str:
    """Versions of Python and torch."""
    return output(
        [
            python,
            "-c",
            "import platform, torch; print('Python', platform.python_version() + ', torch', torch.__version__)",
        ]
    )


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
