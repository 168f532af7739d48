"""Speed of two trees of this repository beside each other: seconds to collect and to learn in an iteration.

    python benchmarks/trees.py BEFORE AFTER [--tasks go2 go2_ult] [--repeats 3] [--json FILE]

Trainings of both trees alternate on one thread; per repeat each counts with the median of its iterations, and what is
printed is the median over repeats of the ratio BEFORE / AFTER: above 1 the second tree is faster.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ITERATION = re.compile(r"collect/learn ([\d.]+)/([\d.]+)s")
TASKS = ("go2", "go2_ts", "go2_cts", "go2_rma", "go2_sitt", "go2_ult")
SETTLED = 2  # iterations that do not count: caches, allocations


def measure(tree: Path, task: str, iterations: int, robots: int) -> tuple[float, float]:
    """Median seconds to collect and to learn in an iteration."""
    with tempfile.TemporaryDirectory() as logs:
        command = [sys.executable, str(tree / "legged_gym_ext/scripts/train.py"), f"--task={task}", "--headless"]
        command += [f"--num_envs={robots}", f"--max_iterations={iterations}", f"--log_root={logs}", "--logger=none"]
        command += ["--train.runner.stage2_iterations=0"] if "_rma" in task else []
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--env.sim.num_threads=1"], env=environment, capture_output=True, text=True, check=True
        )
    found = [(float(a), float(b)) for a, b in ITERATION.findall(done.stdout)][SETTLED:iterations]
    collect, learn = zip(*found)
    return statistics.median(collect), statistics.median(learn)


def main() -> None:
    """Measure, print a Markdown table and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--robots", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    trees = {"before": args.before.resolve(), "after": args.after.resolve()}
    print("| task | collect [s] before / after | ratio | learn [s] before / after | ratio |\n|---|---|---|---|---|")
    result = {}
    for task in args.tasks:
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
        for repeat in range(args.repeats):
            for name in list(trees)[:: 1 if repeat % 2 == 0 else -1]:
                runs[name].append(measure(trees[name], task, args.iterations, args.robots))
        row = [task]
        for part in range(2):
            pairs = [(before[part], after[part]) for before, after in zip(runs["before"], runs["after"])]
            middle = [statistics.median(values) for values in zip(*pairs)]
            row.append(f"{middle[0]:.2f} / {middle[1]:.2f}")
            row.append(f"{statistics.median(before / after for before, after in pairs):.3f}")
        result[task] = runs
        print(f"| {' | '.join(row)} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
