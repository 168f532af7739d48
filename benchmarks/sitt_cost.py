"""Time of an iteration of SITT against TS: both train in one process and take turns, an iteration each.

    python benchmarks/sitt_cost.py [--robots 512] [--pairs 12] [--ground flat] [--json FILE]

One thread. Printed are medians over the pairs: seconds to collect and to learn, and the ratio of the two iterations of
a pair. CPU seconds are shown besides the clock's, because other programs disturb them less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from legged_gym_ext.envs import task_registry
from legged_gym_ext.training.make_runner import set_seed

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PARTS = ("collect", "learn", "iteration")
SETTLED = 2  # iterations that do not count: caches, allocations


class Timed:
    """A training whose iterations are timed."""

    def __init__(self, task: str, robots: int, log_root: Path) -> None:
        """`robots` of `task`; nothing is written to `log_root`."""
        configured: Any = task_registry.get_cfgs(task)
        env_cfg, train_cfg = configured
        env_cfg.env.num_envs, env_cfg.sim.num_threads = robots, 1
        train_cfg.runner.logger, train_cfg.runner.eval_interval = "none", 0
        set_seed(1)
        env, _ = task_registry.make_env(task, env_cfg)
        self.runner: Any = task_registry.make_alg_runner(env, task, train_cfg, log_root)[0]
        self.alg, self.env = self.runner.alg, self.runner.env
        self.obs = self.env.get_observations()

    def iteration(self) -> dict[str, dict[str, float]]:
        """Seconds of one iteration by clock and part."""
        marks = [self._now()]
        for _ in range(self.runner.cfg["num_steps_per_env"]):
            actions = self.alg.act(self.obs)
            self.obs, rewards, dones, extras = self.env.step(actions)
            self.alg.process_env_step(self.obs, rewards, dones, extras)
        self.alg.compute_returns(self.obs)
        marks.append(self._now())
        self.alg.update()
        marks.append(self._now())
        found = {}
        for clock in CLOCKS:
            start, middle, end = (mark[clock] for mark in marks)
            found[clock] = dict(zip(PARTS, (middle - start, end - middle, end - start)))
        return found

    def _now(self) -> dict[str, float]:
        return {name: clock() for name, clock in CLOCKS.items()}


def main() -> None:
    """Measure, print a Markdown table and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robots", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--ground", choices=("rough", "flat"), default="flat")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    end = "" if args.ground == "rough" else "_flat"
    trainings = {name: Timed(f"go2_{name}{end}", args.robots, Path("logs")) for name in ("ts", "sitt")}
    found: dict[str, list] = {name: [] for name in trainings}
    for pair in range(SETTLED + args.pairs):
        for name in list(trainings)[:: 1 if pair % 2 == 0 else -1]:
            seconds = trainings[name].iteration()
            if pair >= SETTLED:
                found[name].append(seconds)
    print("| clock | part | TS [s] | SITT [s] | SITT / TS |\n|---|---|---|---|---|")
    result = {}
    for clock in CLOCKS:
        for part in PARTS:
            ts, sitt = ([seconds[clock][part] for seconds in found[name]] for name in ("ts", "sitt"))
            row = {
                "ts_s": statistics.median(ts),
                "sitt_s": statistics.median(sitt),
                "ratio": statistics.median(mine / theirs for mine, theirs in zip(sitt, ts)),
            }
            result[f"{clock} {part}"] = row
            print(f"| {clock} | {part} | {row['ts_s']:.2f} | {row['sitt_s']:.2f} | {row['ratio']:.2f} |")
    if args.json:
        found_with = {"robots": args.robots, "pairs": args.pairs, "ground": args.ground, "seconds": result}
        args.json.write_text(json.dumps(found_with, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
