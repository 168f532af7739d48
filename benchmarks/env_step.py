"""How much of the physics' speed is left when observations, rewards, resets and randomisation are added.

One run measures, alternating: `env.step` of a task, and bare stepping of the very same model and states: the physics
calls of the preceding `env.step` segment are replayed from the same start states with the same joint targets, so both
sides simulate the same contacts. With `--terrain rough` the two sides are `env.step` on the 200-tile map, robots on all
levels of all kinds of tiles, and on the plane, with the same actions. Prints the median of the paired ratios.

    python benchmarks/env_step.py --json result.json
    python benchmarks/env_step.py --terrain rough --json result.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TURN = 10  # control steps before the other side takes over


def main() -> None:
    """Parse flags, measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--task", default="go2_flat", help="on the plane; with --terrain rough the task on the map as well is `go2`"
    )
    parser.add_argument("--terrain", choices=("flat", "rough"), default="flat")
    parser.add_argument("--num_envs", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=100, help="control steps per side of a pair")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    args = parser.parse_args()
    if args.terrain == "rough":
        result = measure_ground(args.num_envs, args.steps, args.pairs)
    else:
        result = measure(args.task, args.num_envs, args.steps, args.pairs)
    text = json.dumps(result, indent=2)
    if args.json in (None, "-"):
        print(text)
    else:
        Path(args.json).write_text(text + "\n", encoding="utf-8")


def measure(task: str, num_envs: int, steps: int, pairs: int) -> dict[str, Any]:
    """Run `pairs` pairs of segments after a warm-up; speeds in control steps of all environments per second."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    torch.manual_seed(0)
    env_cfg, _ = task_registry.get_cfgs(task)
    env_cfg.env.num_envs = num_envs
    env, _ = task_registry.make_env(task, env_cfg)
    actions = small_actions(env, steps)
    recorder = Recorder(env)
    rows = []
    with torch.inference_mode():
        env_segment(env, recorder, actions)
        for _ in range(pairs):
            full = bare = 0.0
            # Short turns, so that a slow moment of the machine hits both sides.
            for first in range(0, steps, TURN):
                full += env_segment(env, recorder, actions[first : first + TURN])
                bare += recorder.replay()
            rows.append((num_envs * steps / full, num_envs * steps / bare))
    return {
        "ratio": statistics.median(full / bare for full, bare in rows),
        "env_steps_per_s": statistics.median(full for full, _ in rows),
        "bare_steps_per_s": statistics.median(bare for _, bare in rows),
        "pairs": [{"env_steps_per_s": full, "bare_steps_per_s": bare, "ratio": full / bare} for full, bare in rows],
        "task": task,
        "num_envs": num_envs,
        "steps_per_side": steps,
        "decimation": env.cfg.control.decimation,
        "engine": env.sim.description,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def small_actions(env: Any, steps: int) -> list[Any]:
    """Random actions that keep most robots on their feet, as a policy in training does."""
    import torch

    return [0.4 * torch.randn(env.num_envs, env.num_actions) for _ in range(steps)]


def measure_ground(num_envs: int, steps: int, pairs: int) -> dict[str, Any]:
    """`env.step` on the map against `env.step` on the plane, in turns.

    Speeds are in control steps of all environments per second.
    """
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    torch.manual_seed(0)
    envs, build_s = {}, {}
    for task in ("go2_flat", "go2"):
        env_cfg, _ = task_registry.get_cfgs(task)
        env_cfg.env.num_envs, env_cfg.terrain.curriculum = num_envs, False
        begin = time.perf_counter()
        envs[task], _ = task_registry.make_env(task, env_cfg)
        build_s[task] = time.perf_counter() - begin
    actions = small_actions(envs["go2"], steps)
    rows = []
    with torch.inference_mode():
        for pair in range(pairs + 1):  # the first warms up
            seconds = dict.fromkeys(envs, 0.0)
            for first in range(0, steps, TURN):
                for task, env in envs.items():
                    begin = time.perf_counter()
                    for action in actions[first : first + TURN]:
                        env.step(action)
                    seconds[task] += time.perf_counter() - begin
            if pair:
                rows.append({task: num_envs * steps / s for task, s in seconds.items()})
    ground = envs["go2"].terrain.map
    return {
        "ratio": statistics.median(row["go2"] / row["go2_flat"] for row in rows),
        "rough_steps_per_s": statistics.median(row["go2"] for row in rows),
        "flat_steps_per_s": statistics.median(row["go2_flat"] for row in rows),
        "pairs": rows,
        "tiles": len(ground.tiles),
        "boxes": len(ground.boxes),
        "fields": len(ground.fields),
        "build_s": build_s,
        "num_envs": num_envs,
        "steps_per_side": steps,
        "engine": envs["go2"].sim.description,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


class Recorder:
    """Remembers the joint targets and the first states of a segment, and replays them on a bare batch."""

    def __init__(self, env: Any) -> None:
        """Listen to the engine of `env`; what it copies costs well under a percent of a step.

        The bare batch has the same model and number of threads, no bound outputs and no per-environment parameters.
        """
        from mjbatch import Batch

        self.env, self._engine_step = env, env.sim.step
        self.targets: list[Any] = []
        self.bare = Batch(env.sim.model, env.num_envs, num_threads=env.sim.batch.num_threads)
        self.start: Any = None
        env.sim.step = self._step

    def _step(self, targets: Any, num_steps: int) -> None:
        self.targets.append(targets.numpy().astype("float64"))
        self._engine_step(targets, num_steps)

    def begin(self) -> None:
        """Start a segment."""
        self.start, self.targets = self.env.sim.state_dict()["state"].numpy(), []

    def replay(self) -> float:
        """Seconds that the physics of the last segment takes alone."""
        decimation = self.env.cfg.control.decimation
        control = self.bare.bind("ctrl")
        self.bare.bind("state")[:] = self.start
        begin = time.perf_counter()
        for target in self.targets:
            control[:] = target
            self.bare.step(nstep=decimation)
        return time.perf_counter() - begin


def env_segment(env: Any, recorder: Recorder, actions: list[Any]) -> float:
    """Seconds that a segment of `env.step` takes."""
    recorder.begin()
    begin = time.perf_counter()
    for action in actions:
        env.step(action)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
