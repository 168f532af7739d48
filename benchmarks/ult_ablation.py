"""Ablations of `go2_ult_flat`: one short training per variant, each an override of the shipped task, at equal steps.

Variants run as many at a time as there are `--jobs`, each on a CPU core of its own. Every finished one is written to
the JSON file at once; a later call skips what is there, so that the work can be cut into pieces. The table shows when a
student begins to walk, and the last comparisons of both (64 robots, 5 s). Seeds differ by as much as many variants do:
the JSON file takes any number of them (`--seed`).

    python benchmarks/ult_ablation.py --json benchmarks/results/ult_ablation.json --jobs 2
    python benchmarks/ult_ablation.py --json benchmarks/results/ult_imitation.json --only "no imitation" "imitation 2"
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

TRAIN = ROOT / "legged_gym_ext" / "scripts" / "train.py"
LAST = 2  # comparisons whose mean is shown
EVERY = 10  # iterations between comparisons
WALKS = 11.0  # return of 5 s between standing still (8) and walking (15); the curve is steep there
STEPS = 512 * 24  # control steps of one iteration of `go2_ult_flat`, robots x steps

VARIANTS: dict[str, dict[str, Any]] = {
    "shipped": {},
    "no prediction": {"algorithm.prediction_coef": 0.0},
    "prediction 0.5": {"algorithm.prediction_coef": 0.5},
    "prediction 1": {"algorithm.prediction_coef": 1.0},
    "no imitation": {"algorithm.imitation_coef": 0.0},
    "imitation 0.5": {"algorithm.imitation_coef": 0.5},
    "imitation 2": {"algorithm.imitation_coef": 2.0},
    "imitation 5": {"algorithm.imitation_coef": 5.0},
    "imitation 10": {"algorithm.imitation_coef": 10.0},
    "mix ratio 0.25": {"algorithm.mix_ratio": 0.25},
    "mix ratio 0.75": {"algorithm.mix_ratio": 0.75},
    "mix ratio 1": {"algorithm.mix_ratio": 1.0},
    "per_episode": {"algorithm.mix_mode": "per_episode", "algorithm.policy_samples": "acted"},
    "per_env": {"algorithm.mix_mode": "per_env", "algorithm.policy_samples": "acted"},
    "T = 8": {"actor.history_length": 8},
    "T = 32": {"actor.history_length": 32},
    "3 layers": {"actor.num_layers": 3},
    "4 layers": {"actor.num_layers": 4},
    "shared action head": {"actor.shared_action_head": True},
    "student also learns from the teacher's samples": {"algorithm.policy_samples": "student_from_teacher"},
    "each learns from its own samples": {"algorithm.policy_samples": "acted"},
    "heads read tokens only": {"actor.head_reads_frame": False},
    "imitation by mse": {"algorithm.imitation_loss": "mse"},
    "branches not zero at the start": {"actor.zero_init": False},
    "0.3 x learning rate on attention": {"algorithm.attention_lr_scale": 0.3},
    "larger minibatches, fewer epochs": {"algorithm.num_learning_epochs": 3, "algorithm.num_mini_batches": 2},
    "value from the privilege token": {"actor.critic_input": "privilege_token"},
    "width 128, feed-forward 4": {"actor.width": 128, "actor.feedforward_ratio": 4.0},
}
"""Name -> fields of the training configuration that differ from the task's."""


def train(name: str, core: int, iterations: int, seed: int) -> dict[str, Any]:
    """One training on one core; raises a RuntimeError with the end of its output where it fails."""
    changes = [f"--train.{field}={json.dumps(value).strip(chr(34))}" for field, value in VARIANTS[name].items()]
    with tempfile.TemporaryDirectory() as root:
        command = [
            *("taskset", "-c", str(core), sys.executable, str(TRAIN), "--task=go2_ult_flat", "--headless"),
            *(f"--log_root={root}", f"--max_iterations={iterations}", f"--seed={seed}"),
            *(f"--train.runner.eval_interval={EVERY}", *changes),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"{name}: train.py failed:\n{done.stdout[-500:]}\n{done.stderr[-2000:]}")
        (run,) = Path(root, "go2_ult_flat").iterdir()
        figures = read(run, iterations)
    return {"name": name, "changes": VARIANTS[name], "iterations": iterations, "seed": seed, "every": EVERY, **figures}


def read(run: Path, iterations: int) -> dict[str, Any]:
    """What a run logged: curves of both returns, last figures, seconds per iteration."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    values = {tag: [point.value for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    found: dict[str, Any] = {"steps": iterations * STEPS}
    for role in ("teacher", "student"):
        for metric in ("return", "linear_tracking", "yaw_tracking"):
            found[f"{role}_{metric}"] = statistics.mean(values[f"Comparison/{metric}_{role}"][-LAST:])
        found[f"{role}_curve"] = [round(value, 3) for value in values[f"Comparison/return_{role}"]]
    for name in ("imitation", "prediction"):
        found[name] = values[f"Loss/{name}"][-1]
    for name in ("collection", "learning"):
        found[f"{name}_s"] = statistics.median(values[f"Perf/{name}_time"])
    return found


def walks_after(row: dict[str, Any]) -> str:
    """Millions of steps until the student's return passes `WALKS`, interpolated between comparisons."""
    curve, every = row["student_curve"], row["every"]
    for index in range(1, len(curve)):
        low, high = curve[index - 1], curve[index]
        if high >= WALKS:
            return f"{(index + (WALKS - low) / (high - low)) * every * STEPS / 1e6:.2f} M"
    return f"> {len(curve) * every * STEPS / 1e6:.2f} M"


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, in the order of `VARIANTS`."""
    lines = [
        "| variant | seed | student walks after | teacher / student return | student linear / yaw tracking "
        "| imitation loss | prediction loss | s per iteration |",
        "|" + "---|" * 8,
    ]
    for name in VARIANTS:
        for row in (row for row in rows if row["name"] == name):
            tracking = f"{row['student_linear_tracking']:.3f} / {row['student_yaw_tracking']:.3f}"
            losses = f"{row['imitation']:.4f} | {row['prediction']:.2f}"
            seconds = f"{row['collection_s']:.1f} + {row['learning_s']:.1f}"
            lines.append(
                f"| {name} | {row['seed']} | {walks_after(row)} "
                f"| {row['teacher_return']:.2f} / {row['student_return']:.2f} "
                f"| {tracking} | {losses} | {seconds} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Parse flags, run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one core each")
    parser.add_argument("--first_core", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=110)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS], default=[*VARIANTS], help="names of variants")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    finished = {(row["name"], row["iterations"], row["seed"]) for row in rows}
    cores: Queue[int] = Queue()
    for core in range(args.first_core, args.first_core + args.jobs):
        cores.put(core)

    def run(name: str) -> None:
        core = cores.get()
        try:
            row = train(name, core, args.iterations, args.seed)
        finally:
            cores.put(core)
        rows.append(row)
        written = args.json.with_suffix(".tmp")
        written.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        written.replace(args.json)
        print(table([row]).splitlines()[-1], flush=True)

    missing = [name for name in args.only if (name, args.iterations, args.seed) not in finished]
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, missing))
    print(table(rows))


if __name__ == "__main__":
    main()
