"""Show that a change of the code changes nothing that is learnt.

Every task is trained for a few iterations with fixed seeds on one thread; all weights, optimizer states and the
environment's state of the last checkpoint are hashed. Two trees that print the same hashes compute the same, to the
bit. Hashes depend on the processor and on torch, so they are compared on one machine and not committed:

    python benchmarks/frozen.py --out before.json              # in the tree before the change
    python benchmarks/frozen.py --compare before.json          # in the tree after it

Checkpoints of `before` are kept beside its file; with --compare they are loaded and trained on by the tree after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMALL = ("--num_envs=16", "--logger=none", "--env.sim.num_threads=1", "--seed=3", "--headless")
MORE = ("--train.algorithm.use_mixed_precision=False",)  # the same arithmetic whatever the processor can do


def tensors(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors and numbers of nested containers with their paths."""
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from tensors(value[key], f"{path}/{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors(item, f"{path}/{index}")
    else:
        yield path, value


def digest(checkpoint: Path) -> str:
    """SHA-256 of the numbers of a checkpoint in the order of their paths; names are free to change, values are not."""
    import torch

    found = torch.load(checkpoint, weights_only=False, map_location="cpu")
    hashes = sorted(
        hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        for _, value in tensors(found)
        if torch.is_tensor(value)
    )
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def run(script: str, *flags: str) -> None:
    """One of the project's commands on one thread; its output on failure."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "legged_gym_ext/scripts" / script), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def newest(task_root: Path) -> Path:
    """Last checkpoint of the newest run."""
    folder = sorted(path for path in task_root.iterdir() if path.is_dir())[-1]
    return max(folder.glob("model_*.pt"), key=lambda path: int(path.stem.split("_")[1]))


def train(task: str, logs: Path, iterations: int) -> str:
    """Hash of what a new training of `task` has become."""
    stages = ("--train.runner.stage2_iterations=2",) if "rma" in task else ()
    if "dagger" in task:
        teacher = task.replace("dagger", "ts")
        train(teacher, logs / "teacher", 1)
        stages = (f"--teacher={newest(logs / 'teacher' / teacher)}",)
    plain = task.removesuffix("_flat") in ("go2", "go2_blind")
    flags = (*SMALL, *(() if plain else MORE), *stages)
    run("train.py", f"--task={task}", f"--log_root={logs}", f"--max_iterations={iterations}", *flags)
    return digest(newest(logs / task))


def resume(task: str, logs: Path, iterations: int) -> str:
    """Hash after the newest run of `task` under `logs` has trained on to `iterations`."""
    flags = ("--resume", "--headless", "--logger=none")
    run("train.py", f"--task={task}", f"--log_root={logs}", f"--max_iterations={iterations}", *flags)
    return digest(newest(logs / task))


def main() -> None:
    """Print and write hashes, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", help="default: all")
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--out", type=Path, help="file for the hashes; checkpoints go to a folder beside it")
    parser.add_argument("--compare", type=Path, help="file that --out has written in another tree")
    args = parser.parse_args()
    from legged_gym_ext.envs import task_registry

    before = json.loads(args.compare.read_text(encoding="utf-8")) if args.compare else {}
    tasks = args.tasks or (list(before) if before else task_registry.names)
    kept = args.out.with_suffix("") if args.out else None
    result, different = {}, []
    for task in tasks:
        with tempfile.TemporaryDirectory() as scratch:
            logs = kept if kept else Path(scratch)
            found = {"trained": train(task, logs, args.iterations)}
            if before:
                # A copy: resuming writes a run folder beside the one that it goes on from.
                old = Path(scratch) / "old"
                subprocess.run(["cp", "-r", str(args.compare.with_suffix("")), str(old)], check=True)
                found["resumed"] = resume(task, old, before[task]["until"])
            else:
                with tempfile.TemporaryDirectory() as copy:
                    subprocess.run(["cp", "-r", str(logs), f"{copy}/old"], check=True)
                    found["until"] = args.iterations + (4 if "rma" in task else 2)
                    found["resumed"] = resume(task, Path(copy) / "old", found["until"])
        result[task] = found
        same = not before or all(found[key] == before[task][key] for key in ("trained", "resumed"))
        if not same:
            different.append(task)
        print(
            f"{task:20s} trained {found['trained']} resumed {found['resumed']} {'' if same else 'DIFFERENT'}",
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if different:
        raise SystemExit(f"different from {args.compare}: {', '.join(different)}")


if __name__ == "__main__":
    main()
