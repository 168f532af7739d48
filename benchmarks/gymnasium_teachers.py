"""Decision Transformers on gymnasium's hopper, halfcheetah and walker2d, with data of our own PPO.

For each task: trains PPO, records it with drawn actions, trains a Decision Transformer on that (returns to go, the
published scale of 1000), and scores it at a given return. Scores are percent: 0 acts at random, 100 is the mean return
of the data set. What is finished in the working folder is kept: run it again to go on.

    python benchmarks/gymnasium_teachers.py --work /tmp/gymnasium --json benchmarks/results/gymnasium_teachers.json

Needs the extra `gymnasium`: pip install -c constraints.txt -e ".[gymnasium]"
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legged_gym_ext.training.runs import atomic_write
from rsl_rl_ult.offline.decision_transformer import (
    DecisionSettings,
    DecisionTraining,
    make_decision_transformer,
    mean_return,
    normalized_return,
)
from rsl_rl_ult.offline.gymnasium_tasks import (
    TASKS,
    GymnasiumTask,
    RandomPolicy,
    make_ppo,
    record,
    returns_of,
    train_ppo,
)
from rsl_rl_ult.policies.decision import DecisionPolicy
from rsl_rl_ult.storage.returns import RETURNS, ReturnsDataset

ROOT = Path(__file__).resolve().parents[1]
SAVE_INTERVAL = 200  # gradient steps between two states to go on from


def make_data(name: str, folder: Path, args: argparse.Namespace) -> ReturnsDataset:
    """PPO's data, recorded once."""
    if not (folder / "recorded").exists():
        task, weights = GymnasiumTask(name, args.num_envs, args.seed), folder / "ppo.pt"
        ppo = make_ppo(task)
        if weights.exists():
            ppo.network.load_state_dict(torch.load(weights, weights_only=True))
        else:
            train_ppo(ppo, task, args.ppo_updates)
            atomic_write(weights, partial(torch.save, ppo.network.state_dict()))
        count = record(task, ppo.get_policy(), folder / "data", args.episodes, sampled=True, seed=1000 + args.seed)
        task.close()
        (folder / "recorded").write_text(f"{count}\n", encoding="utf-8")
    return ReturnsDataset(folder / "data")


def teach(dataset: ReturnsDataset, folder: Path, args: argparse.Namespace) -> DecisionTraining:
    """A Decision Transformer, from the last saved state on."""
    columns = dataset.card["columns"]["student"]
    settings = DecisionSettings(
        return_scale=1000.0, learning_rate=args.learning_rate, warmup_updates=max(1, args.updates // 10),
        batch_size=args.batch_size, returns=not args.no_returns,
    )  # fmt: skip
    torch.manual_seed(args.seed)
    network = make_decision_transformer(columns["policy"]["shape"][0], columns["actions"]["shape"][0], settings)
    training, state = DecisionTraining(network, dataset, settings, args.seed), folder / "teacher.pt"
    if state.exists():
        training.load_state_dict(torch.load(state, weights_only=True))
    while training.updates < args.updates:
        losses = list(training.train(min(SAVE_INTERVAL, args.updates - training.updates)))
        atomic_write(state, partial(torch.save, training.state_dict()))
        print(f"  update {training.updates}/{args.updates}  loss {np.mean(losses):.3f}", flush=True)
    return training


def score(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """All of one task."""
    begin, folder = time.monotonic(), args.work / name
    folder.mkdir(parents=True, exist_ok=True)
    dataset = make_data(name, folder, args)
    training = teach(dataset, folder, args)
    error = training.evaluate()
    recorded = [
        float(arrays[RETURNS][row, 0])
        for path in dataset.shards
        if (arrays := dataset.read(path, [RETURNS, "step"])) is not None
        for row in np.flatnonzero(arrays["step"] == 0)
    ]
    task = GymnasiumTask(name, args.num_envs, args.seed)
    low, high = float(np.mean(returns_of(task, RandomPolicy(task), args.eval_episodes))), mean_return(dataset)
    targets = {"mean of the data": high, "best tenth of the data": float(np.quantile(recorded, 0.9))}
    found: dict[str, Any] = {
        "transitions": training.transitions, "held_out_error": error, "random": low, "data": high, "targets": {},
    }  # fmt: skip
    for label, target in targets.items():
        returns = returns_of(task, DecisionPolicy(training.network, target), args.eval_episodes, seed=500)
        mean = float(np.mean(returns))
        percent = normalized_return(mean, low, high)
        found["targets"][label] = {"target": target, "return": mean, "std": float(np.std(returns)), "score": percent}
        print(f"{name}: target {target:.0f} ({label})  return {mean:.0f}  score {percent:.1f} %", flush=True)
    task.close()
    return {**found, "seconds": time.monotonic() - begin}


def main() -> None:
    """Run all tasks that are asked for and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and states")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "gymnasium_teachers.json")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--num_envs", type=int, default=8)
    parser.add_argument("--ppo_updates", type=int, default=300, help="of 128 steps in each environment")
    parser.add_argument("--episodes", type=int, default=400, help="to record")
    parser.add_argument("--updates", type=int, default=3000, help="gradient steps of the transformer")
    parser.add_argument("--batch_size", type=int, default=1280, help="steps per gradient step")
    parser.add_argument("--learning_rate", type=float, default=5e-4)
    parser.add_argument("--no_returns", action="store_true", help="clone, without returns to go")
    parser.add_argument("--eval_episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = {name: value for name, value in vars(args).items() if name not in ("work", "json")}
    results = {name: score(name, args) for name in args.tasks}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(json.dumps({"settings": settings, "tasks": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
