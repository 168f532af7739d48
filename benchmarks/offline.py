"""Students cloned from recorded data: what they are worth beside their teacher and its online student.

Records expert data (the teacher acts), sampled data (its actions are drawn, as in training) and mixed data (teacher or
student, drawn for each episode; the run needs a trained one), clones students from the first 0.25, 1 and 4 million
transitions of each, and evaluates all of them over full episodes, on all levels of the ground. Everything is kept in
the working folder, and the results in the JSON file: run it again to go on.

    python benchmarks/offline.py --teacher logs/go2_rma/<run> --work /tmp/offline --json benchmarks/results/offline.json
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from legged_gym_ext.utils.errors import run_main  # noqa: E402
from rsl_rl_ult.storage.dataset import Dataset, read_card, shard_paths  # noqa: E402

POLICIES = {
    "expert": ["--policy=teacher"],
    "sampled": ["--policy=teacher", "--actions=sampled"],
    "mixed": ["--policy=mixed", "--mix=per_episode", "--mix_ratio=0.5"],
}
METRICS = ("return", "progress", "linear_tracking", "fall_rate", "episode_length")


def run(script: str, *flags: str) -> str:
    """Run a script of the package; its output is shown and returned."""
    command = [sys.executable, str(ROOT / "legged_gym_ext" / "scripts" / f"{script}.py"), *flags]
    print(" ".join(command), flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        print(f"  {line}", end="", flush=True)
        lines.append(line)
    if process.wait():
        raise SystemExit(f"{script}.py failed")
    return "".join(lines)


def recorded(folder: Path) -> int:
    """Transitions of a data set so far."""
    return Dataset(folder).transitions() if folder.is_dir() and shard_paths(folder) else 0


def collect(args: argparse.Namespace, kind: str, wanted: int) -> None:
    """Record until there are at least `wanted` transitions."""
    folder = args.work / kind
    episodes = 0
    while (have := recorded(folder)) < wanted:
        # Episodes have up to 1000 steps; of those on the hardest levels many are short.
        episodes = max(episodes, count_episodes(folder)) + max(args.num_envs, -(-(wanted - have) // 900))
        flags = [f"--load_run={args.teacher}", f"--episodes={episodes}", f"--num_envs={args.num_envs}"]
        run("collect", f"--task={args.task}", f"--out={folder}", "--rows_per_shard=32768", *flags, *POLICIES[kind])


def count_episodes(folder: Path) -> int:
    """Episodes of a data set that ended."""
    if not folder.is_dir() or not shard_paths(folder):
        return 0
    dataset = Dataset(folder)
    names = ["terminations", "truncations"]
    return sum(int(sum(rows[n].sum() for n in names)) for p in dataset.shards if (rows := dataset.read(p, names)))


def clone(args: argparse.Namespace, kind: str, size: int, student: str, seed: int) -> dict[str, Any]:
    """Clone and evaluate one student."""
    folder, name = args.work / kind, f"{kind}_{size}_{student}_s{seed}"
    begin = time.monotonic()
    flags = [f"--train.{override}" for override in args.train]
    text = run(
        "distill",
        *(f"--dataset={folder}", f"--student={student}", f"--transitions={size}", f"--seed={seed}"),
        *(f"--log_root={args.work / 'logs'}", f"--experiment_name={name}", "--logger=none", *flags),
    )
    done = next(line for line in text.splitlines() if line.startswith("done after"))
    found = Dataset(folder)
    found.limit(size)
    task = read_task(args.work / "logs" / name)
    return {
        "data": kind,
        "transitions": found.transitions(),
        "student": student,
        "seed": seed,
        "passes": int(done.split()[2]),
        "held_out_error": float(done.split()[6]),
        "seconds": round(time.monotonic() - begin, 1),
        **evaluate(args, task, [f"--log_root={args.work / 'logs'}", f"--experiment_name={name}"])["student"],
    }


def read_task(experiment: Path) -> str:
    """Task of the newest run of an experiment."""
    newest = sorted(experiment.iterdir())[-1]
    return json.loads((newest / "params" / "run.json").read_text(encoding="utf-8"))["task"]


def evaluate(args: argparse.Namespace, task: str, flags: list[str]) -> dict[str, dict[str, float]]:
    """Metrics of every policy of a run."""
    path = args.work / "evaluation.json"
    path.unlink(missing_ok=True)
    run("evaluate", f"--task={task}", f"--json={path}", f"--num_envs={args.eval_envs}", *flags)
    policies = json.loads(path.read_text(encoding="utf-8"))["policies"]
    return {name: {metric: round(found[metric], 4) for metric in METRICS} for name, found in policies.items()}


def main(argv: list[str] | None = None) -> None:
    """Record, clone and evaluate what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--task", default="go2_rma")
    parser.add_argument("--teacher", required=True, help="run folder of the teacher")
    parser.add_argument("--work", type=Path, required=True, help="folder for data and runs")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "offline.json")
    parser.add_argument("--sizes", type=int, nargs="+", default=[250_000, 1_000_000, 4_000_000])
    parser.add_argument("--data", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    parser.add_argument("--students", nargs="+", default=["MLP", "TCN", "GRU", "ULT"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--num_envs", type=int, default=300, help="robots that record")
    parser.add_argument("--eval_envs", type=int, default=512)
    parser.add_argument("--train", nargs="*", default=[], help="overrides, such as runner.max_iterations=12")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = (
        json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else {"students": []}
    )

    def save() -> None:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    for size in args.sizes:
        for kind in args.data:
            collect(args, kind, size)
            results["teacher_sha256"] = read_card(args.work / kind)["teacher"]["sha256"]
            for seed in args.seeds:
                for student in args.students:
                    done = {(r["data"], r["wanted"], r["student"], r["seed"]) for r in results["students"]}
                    if (kind, size, student, seed) not in done:
                        found = clone(args, kind, size, student, seed)
                        results["students"].append({"wanted": size, **found})
                        save()
        if "online" not in results:
            results["online"] = evaluate(args, args.task, [f"--load_run={args.teacher}"])
            results["setup"] = {"task": args.task, "eval_envs": args.eval_envs, "train": args.train}
            results["machine"] = (
                f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}"
            )
            save()
    save()


if __name__ == "__main__":
    run_main(main)
