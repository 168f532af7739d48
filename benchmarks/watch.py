"""What `train.py --watch` costs a training whose page a browser has open: time and processor time of an iteration.

    python benchmarks/watch.py [--task go2_flat] [--robots 256] [--iterations 40] [--repeats 3]

Trainings with and without the page alternate; what is printed is the median over repeats of the ratio with / without,
once of real time and once of the processor time of the training's own process. Bind it to the cores it should share,
e.g. `taskset -c 0`: on one core the page has nothing but what the training leaves.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from websockets.exceptions import ConnectionClosed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.viser_client import open_page  # noqa: E402

SETTLED = 2  # iterations that do not count: caches, allocations
SERVED = re.compile(r"watch: http://127\.0\.0\.1:(\d+)/")
ITERATION = re.compile(r"collect/learn ([\d.]+)/([\d.]+)s")


def processor_time(process: int) -> float:
    """Seconds that a process without its children has computed."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def browse(port: int, running: subprocess.Popen[str], frames: list[int]) -> None:
    """Have the page open and read what comes, until the training ends."""
    while running.poll() is None:
        with contextlib.suppress(OSError, ConnectionClosed), open_page(port) as page:
            for _ in page:
                frames[0] += 1
        time.sleep(0.5)


def measure(args: argparse.Namespace, *, watch: bool) -> tuple[float, float]:
    """Median real time of an iteration and mean processor time [s]."""
    command = [sys.executable, str(ROOT / "legged_gym_ext/scripts/train.py"), f"--task={args.task}", "--headless"]
    command += [f"--num_envs={args.robots}", f"--max_iterations={args.iterations}", "--env.sim.num_threads=1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    real, spent, frames = [], [], [0]
    with tempfile.TemporaryDirectory() as logs:
        command += [f"--log_root={logs}", *(["--watch=0"] if watch else [])]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as training:
            assert training.stdout is not None
            for line in training.stdout:
                if found := SERVED.search(line):
                    threading.Thread(target=browse, args=(int(found[1]), training, frames), daemon=True).start()
                if found := ITERATION.search(line):
                    real.append(float(found[1]) + float(found[2]))
                    spent.append(processor_time(training.pid))
    real, spent = real[SETTLED : args.iterations], spent[SETTLED : args.iterations]
    result = statistics.median(real), (spent[-1] - spent[0]) / (len(spent) - 1)
    print(
        f"{'with' if watch else 'without'}: {result[0]:.3f} s, processor {result[1]:.3f} s, {frames[0]} messages read"
    )
    return result


def main() -> None:
    """Measure and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="go2_flat")
    parser.add_argument("--robots", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    ratios = []
    for repeat in range(args.repeats):
        pair = {watch: measure(args, watch=watch) for watch in ((False, True) if repeat % 2 == 0 else (True, False))}
        ratios.append([a / b for a, b in zip(pair[True], pair[False])])
        print("with / without: real time {:.3f}, processor time {:.3f}".format(*ratios[-1]), flush=True)
    print("median: real time {:.3f}, processor time {:.3f}".format(*map(statistics.median, zip(*ratios))))


if __name__ == "__main__":
    main()
