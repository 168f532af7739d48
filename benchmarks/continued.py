r"""Several methods continued from one trained run: the same networks, robots and ground, other ways to go on.

A run of RMA leaves a teacher, a student, a critic and robots that stand where they can just walk. TS, CTS and SITT have
networks of the same shapes, so that each can begin with them (`train.py --start_from`), with an optimizer and random
numbers of its own, and go on for a while. What differs afterwards is the method. CTS's critic also reads a latent: its
columns begin at zero.

Every arm is a task with overrides of train.py. Rows that the result file has are not trained again, so the command may
be interrupted and repeated.

    python benchmarks/continued.py --start logs/go2_rma/RUN/model_2441.pt --work /tmp/continued \
        --json benchmarks/results/sitt_go2.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARMS = {
    "go2_ts": ["--task=go2_ts"],
    "go2_sitt": ["--task=go2_sitt"],
    "go2_sitt, kl_weight 0.2": ["--task=go2_sitt", "--train.algorithm.kl_weight=0.2"],
    "go2_cts": ["--task=go2_cts"],  # with latents on the unit sphere, other than the run that it starts from
}
METRICS = ("return", "linear_tracking", "yaw_tracking", "progress", "fall_rate", "episode_length", "energy")


def run(script: str, *flags: str) -> None:
    """Run a script of the package, or end with its error."""
    command = [sys.executable, str(ROOT / "legged_gym_ext" / "scripts" / f"{script}.py"), *flags]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True)


def newest(log_root: Path, name: str) -> Path:
    """Last checkpoint of the last run of that name."""
    folder = sorted(log_root.glob(f"*/*_{name}"))[-1]
    return max(folder.glob("model_*.pt"), key=lambda path: int(path.stem.split("_")[1]))


def train(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Continue with one method; returns its last checkpoint."""
    name = f"{arm.replace(', ', '_').replace(' ', '_')}_{seed}"
    flags = [*ARMS[arm], "--headless", f"--log_root={args.work}", "--env.sim.num_threads=1", f"--seed={seed}"]
    run("train", *flags, f"--start_from={args.start}", f"--max_iterations={args.iterations}", f"--run_name={name}")
    return newest(args.work, name)


def evaluate(args: argparse.Namespace, arm: str, checkpoint: Path) -> dict[str, dict[str, float]]:
    """Metrics of teacher and student over full episodes on all levels alike."""
    path = args.work / "evaluation.json"
    where = [f"--log_root={args.work}", f"--load_run={checkpoint.parent.name}"]
    where += [f"--checkpoint={checkpoint.stem.split('_')[1]}", "--env.sim.num_threads=1"]
    run("evaluate", ARMS[arm][0], *where, f"--num_envs={args.robots}", f"--json={path}")
    policies = json.loads(path.read_text(encoding="utf-8"))["policies"]
    return {role: {metric: round(found[metric], 4) for metric in METRICS} for role, found in policies.items()}


def main() -> None:
    """Continue and evaluate what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of go2_rma")
    parser.add_argument("--work", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks/results/sitt_go2.json")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=150, help="of 512 robots x 24 steps")
    parser.add_argument("--robots", type=int, default=400, help="that evaluate, on all levels alike")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else {}
    rows = results.setdefault("rows", [])
    for seed in args.seeds:
        for arm in args.arms:
            if any((row["arm"], row["seed"]) == (arm, seed) for row in rows):
                continue
            policies = evaluate(args, arm, train(args, arm, seed))
            rows.append({"arm": arm, "seed": seed, "iterations": args.iterations, "policies": policies})
            args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
