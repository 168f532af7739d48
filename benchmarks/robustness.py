"""Millions of steps of random actions on the map: does anybody fall through the ground, start in it, break physics?

Robots are on all levels of all kinds of tiles, holes included, with the full randomisation and pushes. A robot is
through the ground when the middle of its base is below all of the ground it is over, and starts in it when a foot does.
Ten million steps take 25 minutes to an hour and a half; Ctrl-C ends the run early with the counts so far. Each run has
a seed of its own and is added to those in the file, with the sums of all.

    python benchmarks/robustness.py --steps 10 --json benchmarks/results/robustness.json
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZES = (0.3, 1.0, 3.0)
"""Standard deviations of the random actions, a third of the robots each.

Trembling, as at the start of a training, and flailing.
"""

COUNTED = ("falls", "time_outs", "nan_resets", "through_the_ground", "started_in_the_ground")


def main() -> None:
    """Parse flags, run, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=float, default=10.0, help="millions of control steps of all robots together")
    parser.add_argument("--num_envs", type=int, default=1020)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="default: another one each time")
    parser.add_argument("--json", metavar="FILE", type=Path, help="add the run to this file")
    args = parser.parse_args()
    found = run(round(1e6 * args.steps / args.num_envs), args.num_envs, args.seed)
    print(json.dumps(found, indent=1))
    if args.json:
        runs = json.loads(args.json.read_text(encoding="utf-8"))["runs"] if args.json.exists() else []
        args.json.write_text(json.dumps(with_sums([*runs, found]), indent=1) + "\n", encoding="utf-8")


def with_sums(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All runs, and their counts together.

    Raises:
        ValueError: a seed comes twice, whose steps would be the same ones.
    """
    seeds = [found["seed"] for found in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seed {seeds[-1]} is in the file already; choose another --seed")
    sums = {name: sum(found[name] for found in runs) for name in (*COUNTED, "control_steps")}
    return {**sums, "deepest_start_m": min(found["deepest_start_m"] for found in runs), "runs": runs}


def run(steps: int, num_envs: int, seed: int) -> dict[str, Any]:
    """Counts over `steps` control steps of `num_envs` robots."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.terrain.tiles import TILE_TYPES
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    torch.manual_seed(seed)
    cfg, _ = task_registry.get_cfgs("go2")
    cfg.env.num_envs, cfg.terrain.curriculum = num_envs, False
    cfg.seed = cfg.terrain.seed = seed  # another map, too
    for kind in TILE_TYPES:
        setattr(cfg.terrain.proportions, kind, 1.0)
    env, _ = task_registry.make_env("go2", cfg)
    size = torch.tensor(SIZES).repeat(num_envs // len(SIZES) + 1)[:num_envs, None]
    counts = dict.fromkeys(COUNTED, 0)
    deepest = 0.0
    begin, done = time.perf_counter(), 0
    with contextlib.suppress(KeyboardInterrupt), torch.inference_mode():
        for _ in range(steps):
            env.step(size * torch.randn(num_envs, env.num_actions))
            counts["falls"] += int(env.fall_buf.sum())
            counts["time_outs"] += int(env.time_out_buf.sum())
            counts["through_the_ground"] += int((env.measured_clearance.amax(dim=-1) < 0.0).sum())
            started = (env.foot_height - env.foot_radius)[env.reset_buf]
            counts["started_in_the_ground"] += int((started < -1e-3).any(dim=-1).sum())
            deepest = min(deepest, float(started.min()) if len(started) else 0.0)
            counts["nan_resets"] = env.nan_resets
            done += 1
            if done % max(1, steps // 20) == 0:
                print(
                    f"{1e-6 * done * num_envs:.1f} M steps, {time.perf_counter() - begin:.0f} s: {counts}",
                    file=sys.stderr,
                    flush=True,
                )
    return {
        "date": datetime.date.today().isoformat(),
        "seed": seed,
        **counts,
        "deepest_start_m": deepest,
        "control_steps": done * num_envs,
        "num_envs": num_envs,
        "seconds": time.perf_counter() - begin,
        "engine": env.sim.description,
    }


if __name__ == "__main__":
    main()
