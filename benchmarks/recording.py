"""What recording costs beside stepping, and how long a student's update waits for its data.

Recording: one environment is stepped by the same policy, in turns with and without a recorder that writes shards (and
keeps the last observations); prints the median of the paired ratios of wall time and of processor time. Feeding: one
pass of cloning over a data set, for each student; prints the share of its time that it waited for minibatches.

    python benchmarks/recording.py --json result.json
    python benchmarks/recording.py --dataset data/expert --transitions 250000
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.utils.errors import run_main


class Standing:
    """A policy that does nothing: what is measured is stepping and recording, not a network."""

    def __init__(self, num_actions: int) -> None:
        """Of `num_actions` (A)."""
        import torch

        self.network, self.std = self, torch.ones(num_actions)
        self._actions = num_actions

    def __call__(self, observations: Any) -> Any:
        """Zeros (N, A)."""
        return observations["policy"].new_zeros(len(observations["policy"]), self._actions)

    def reset(self, dones: Any) -> None:
        """Nothing to do."""

    def on_acted(self, actions: Any) -> None:
        """Nothing to do."""


def measure_recording(task: str, num_envs: int, steps: int, pairs: int) -> dict[str, Any]:
    """Steps per second without a recorder, and the paired ratios with one."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.collection import DRIVERS, DTYPES, Collector, columns
    from legged_gym_ext.utils.cpus import usable_cpus
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
    from rsl_rl_ult.algorithms.mixing import Mixing
    from rsl_rl_ult.storage.dataset import ShardWriter, make_card
    from rsl_rl_ult.storage.recorder import Recorder

    torch.set_num_threads(usable_cpus())
    env_cfg, _ = task_registry.get_cfgs(task)
    env_cfg.env.num_envs, env_cfg.terrain.curriculum = num_envs, False
    env, _ = task_registry.make_env(task, env_cfg)
    vec_env, streams = RslRlVecEnv(env, ("policy", "privileged")), columns(env)
    card = make_card(streams["student"], streams["privileged"], DRIVERS, DTYPES, task=task)
    walls, times, alone = [], [], []
    with tempfile.TemporaryDirectory() as folder, ShardWriter(folder, card, 8192) as writer:
        recorder = Recorder(writer, num_envs, steps)  # so that everything is written within a turn
        mixing = Mixing(num_envs, 1.0, "per_episode")
        policies: Any = {"teacher": Standing(env.num_actions)}
        collector = Collector(vec_env, policies, mixing, recorder, 0, False)
        rng = env._last_rng
        env.episode_length_buf.copy_(torch.randint(env.max_episode_length, (num_envs,)))  # some end in every step

        def turn(recording: bool) -> tuple[float, float]:
            collector.recorder, env._last_rng = (recorder, rng) if recording else (None, None)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(steps):
                collector.step()
            return time.perf_counter() - wall, time.process_time() - cpu

        turn(True), turn(False)
        for pair in range(pairs):
            found = {recording: turn(recording) for recording in ((True, False) if pair % 2 else (False, True))}
            walls.append(found[True][0] / found[False][0])
            times.append(found[True][1] / found[False][1])
            alone.append(num_envs * steps / found[False][0])
        recorded, shards = writer.recorded, writer.shards
    return {
        "task": task,
        "num_envs": num_envs,
        "steps": steps,
        "pairs": pairs,
        "steps_per_second_alone": round(statistics.median(alone)),
        "wall_ratio": round(statistics.median(walls), 4),
        "cpu_ratio": round(statistics.median(times), 4),
        "wall_ratios": [round(ratio, 3) for ratio in walls],
        "recorded": recorded,
        "shards": shards,
    }


def measure_feeding(folder: str, transitions: int) -> dict[str, float]:
    """Share of a pass that each student waited."""
    from rsl_rl_ult.modules import ActorCriticTS, ActorCriticULT
    from rsl_rl_ult.offline import Cloning
    from rsl_rl_ult.offline.behaviour_cloning import CloningSettings
    from rsl_rl_ult.storage.dataset import Dataset

    result = {}
    for student in ("MLP", "TCN", "GRU", "ULT"):
        dataset = Dataset(folder)
        dataset.limit(transitions)
        shapes = {
            name: column["shape"][0] for name, column in dataset.card["columns"]["student"].items() if column["shape"]
        }
        sizes = shapes["policy"], shapes["policy"], shapes["actions"]
        if student == "ULT":
            network: Any = ActorCriticULT(*sizes, num_privileged_obs=8)
        else:
            network = ActorCriticTS(*sizes, num_privileged_obs=8, history_encoder=student)
        cloning = Cloning(network, dataset, CloningSettings())
        for _ in cloning.train_pass():
            pass
        result[student] = round(cloning.waited, 4)
        print(f"{student}: waited {cloning.waited:.1%} of a pass over {cloning.transitions} transitions", flush=True)
    return result


def main(argv: list[str] | None = None) -> None:
    """Measure, print and optionally write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--task", default="go2_ts")
    parser.add_argument("--num_envs", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50, help="control steps per turn")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--dataset", help="measure feeding on this data set instead")
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="add the result to this file")
    args = parser.parse_args(argv)
    if args.dataset:
        result: dict[str, Any] = {"feeding": measure_feeding(args.dataset, args.transitions)}
    else:
        result = {"recording": measure_recording(args.task, args.num_envs, args.steps, args.pairs)}
    if args.json is not None:
        before = json.loads(args.json.read_text(encoding="utf-8")) if args.json.is_file() else {}
        args.json.write_text(json.dumps({**before, **result}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    run_main(main)
