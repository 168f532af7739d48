"""Every method under the stock runner of several versions of rsl-rl-lib: train 3 iterations, save, load, resume, infer.

Each version gets a virtual environment of its own (`pip install --no-deps`, torch and the rest from the environment that runs this script) and each
method a process (tests/host_worker.py). "1.0.2" is that generation's contract (tests/test_host_v1.py), under this interpreter or under another one that has
torch, numpy and pytest.

    python benchmarks/host_matrix.py --json result.json
    python benchmarks/host_matrix.py --versions 1.0.2 --python python3.8
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

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("1.0.2", "3.1.3", "3.3.0", "4.0.1", "5.0.1", "5.4.2", "5.5.1")
METHODS = ("TS", "CTS", "RMA", "ULT")
ALSO = ("GitPython", "gitdb", "smmap")  # what 3.x imports and later versions do without


def main() -> int:
    """Parse flags, run, print the table; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, metavar="X.Y.Z")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the 1.0.2 contract")
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


def old_contract(python: str) -> dict:
    """The tests of the 1.0.2 contract, method by method."""
    test = str(ROOT / "tests/test_host_v1.py")
    options = ["-q", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    name = "test_two_names_in_the_configuration_train_save_load_resume_and_infer"
    found = {
        method: run([python, "-m", "pytest", *options, f"{test}::{name}[{method}]"], "1 passed") for method in METHODS
    }
    return {"host": "rsl_rl 1.0.2 (contract)", "python": platform_of(python), "methods": found}


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
