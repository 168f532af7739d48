"""What an update costs: our PPO against rsl-rl-lib's on the same rollout, TS and CTS against our PPO.

And TS, whose windows are rows of the rollout, against TS that looks them up by plain indexing.

Each pair collects one rollout per side from the same made-up observations with the sizes of the Go2 tasks, then times
`update()` of both, in alternating order. Prints medians of the paired ratios. Also the memory of a rollout with long
histories.

    python benchmarks/update.py --json result.json
    python benchmarks/update.py --device cuda --num_envs 4096
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tensordict import TensorDict

from legged_gym_ext.envs.base.observations import group_dims
from legged_gym_ext.envs.go2.go2_config import Go2Cfg

DIMS = group_dims(Go2Cfg())
ACTIONS, STEPS = 12, 24
GIB = 2**30


class MadeUpEnv:
    """Random observations of the right sizes."""

    def __init__(self, num_envs: int, device: str) -> None:
        """`num_envs` environments (N) on `device`."""
        self.num_envs, self.num_actions, self.device = num_envs, ACTIONS, device
        self.observations = [
            TensorDict(
                {name: torch.randn(num_envs, dim, device=device) for name, dim in DIMS.items()}, batch_size=[num_envs]
            )
            for _ in range(STEPS + 1)
        ]
        self.rewards = torch.randn(STEPS, num_envs, device=device)
        self.dones = (torch.rand(STEPS, num_envs, device=device) < 0.01).long()

    def fill(self, alg: Any) -> None:
        """One rollout into the algorithm's storage."""
        with torch.inference_mode():
            for step in range(STEPS):
                alg.act(self.observations[step])
                alg.process_env_step(self.observations[step + 1], self.rewards[step], self.dones[step], {})
            alg.compute_returns(self.observations[-1])


SIZES = {
    "legged_gym": {"hidden": [512, 256, 128], "privilege": [256, 128], "history": [256, 128], "epochs": 5},
    "go2": {"hidden": [128, 128, 64], "privilege": [128, 64], "history": [128, 64], "epochs": 4},
}
"""Networks of the field (legged_gym's, with our default encoders), and those of the Go2 tasks (envs/methods.py)."""


def make_cfg(sizes: str, class_name: str, actor: str, **options: Any) -> dict[str, Any]:
    """A training configuration with networks of the given sizes; no mirrored samples."""
    size = SIZES[sizes]
    network = {"hidden_dims": size["hidden"], "activation": "elu", "obs_normalization": True}
    cfg = {
        "num_steps_per_env": STEPS,
        "multi_gpu": None,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": {**network, "class_name": actor, "distribution_cfg": {"class_name": "GaussianDistribution"}},
        "critic": {**network, "class_name": "MLPModel"},
        "algorithm": {"class_name": class_name, "num_learning_epochs": size["epochs"], "num_mini_batches": 4},
    }
    if actor != "MLPModel":
        cfg["obs_groups"]["privileged"] = ["privileged"]
        encoders = {"privilege_hidden_dims": size["privilege"], "history_hidden_dims": size["history"]}
        cfg["actor"].update({**encoders, **options})
    return cfg


METHODS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rsl-rl-lib PPO": ("rsl_rl.algorithms:PPO", "MLPModel", {}),
    "PPO": ("rsl_rl_ult.algorithms:PPO", "MLPModel", {}),
    "TS, MLP, T=20": ("rsl_rl_ult.algorithms:PPO_TS", "ActorCriticTS", {}),
    "CTS, MLP, T=20": ("rsl_rl_ult.algorithms:PPO_CTS", "ActorCriticCTS", {}),
    "TS, MLP, T=100": ("rsl_rl_ult.algorithms:PPO_TS", "ActorCriticTS", {"history_length": 100}),
}
PLAIN = ", plain indexing"
"""End of the name of a side that looks up `values[rows]` instead of copying rows."""

PAIRS = [
    ("PPO", "rsl-rl-lib PPO"),
    ("TS, MLP, T=20", "PPO"),
    ("CTS, MLP, T=20", "PPO"),
    ("TS, MLP, T=100", "PPO"),
    ("TS, MLP, T=20", f"TS, MLP, T=20{PLAIN}"),
    ("TS, MLP, T=100", f"TS, MLP, T=100{PLAIN}"),
]


def build(name: str, env: MadeUpEnv, sizes: str = "legged_gym") -> Any:
    """The algorithm of a side, quietly."""
    from rsl_rl.utils import resolve_callable

    torch.manual_seed(0)
    class_name, actor, options = METHODS[name.replace(PLAIN, "")]
    cfg = make_cfg(sizes, class_name, actor, **options)
    with contextlib.redirect_stdout(io.StringIO()):
        cls: Any = resolve_callable(cfg["algorithm"]["class_name"])
        alg = cls.construct_algorithm(env.observations[0], env, cfg, env.device)
    alg.train_mode()
    return alg


def timed_update(alg: Any, env: MadeUpEnv) -> float:
    """Seconds of one update, after an untimed rollout."""
    env.fill(alg)
    if env.device != "cpu":
        torch.cuda.synchronize()
    start = time.perf_counter()
    alg.update()
    if env.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextlib.contextmanager
def row_lookup(name: str) -> Iterator[None]:
    """The way in which side `name` takes rows of the rollout."""
    from rsl_rl_ult.algorithms import hooks, student
    from rsl_rl_ult.storage import take_rows

    chosen = (lambda values, rows: values[rows]) if name.endswith(PLAIN) else take_rows
    with mock.patch.object(hooks, "take_rows", chosen), mock.patch.object(student, "take_rows", chosen):
        yield


def compare(ours: str, other: str, env: MadeUpEnv, pairs: int, sizes: str) -> dict[str, Any]:
    """Median seconds of both sides and the median of the paired ratios."""
    sides = {name: build(name, env, sizes) for name in (ours, other)}
    for alg in sides.values():
        timed_update(alg, env)  # warm up
    rows = []
    for index in range(pairs):
        order = (ours, other) if index % 2 == 0 else (other, ours)
        found = {}
        for name in order:
            with row_lookup(name):
                found[name] = timed_update(sides[name], env)
        rows.append(found)
    ratios = sorted(row[ours] / row[other] for row in rows)
    return {
        "networks": sizes,
        "side": ours,
        "pairs": pairs,
        "against": other,
        "ratio": statistics.median(ratios),
        "ratio_range": [ratios[0], ratios[-1]],
        "seconds": statistics.median(row[ours] for row in rows),
        "seconds_against": statistics.median(row[other] for row in rows),
    }


def rollout_memory(num_envs: int, length: int) -> dict[str, float]:
    """GiB of a rollout's frames with the context for windows of `length`, and of the same windows stored one by one."""
    from rsl_rl_ult.storage import RolloutStorage

    storage = RolloutStorage(STEPS, num_envs, context={"policy": length - 1})
    storage.add(dones=torch.zeros(num_envs, dtype=torch.long), policy=torch.zeros(num_envs, DIMS["policy"]))
    frames = storage.frames("policy")
    return {
        "num_envs": num_envs,
        "history_length": length,
        "frames_gib": frames.numel() * frames.element_size() / GIB,
        "windows_gib": STEPS * num_envs * length * DIMS["policy"] * 4 / GIB,
    }


def peak_memory(name: str, num_envs: int) -> float:
    """Peak resident memory [GiB] of a fresh process that makes one rollout and one update."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent)!r}); import update, resource;"
        f"env = update.MadeUpEnv({num_envs}, 'cpu'); base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"update.timed_update(update.build({name!r}, env), env);"
        "print(base, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = (int(value) for value in run.stdout.split()[-2:])
    return (after - before) * 1024 / GIB


def main() -> None:
    """Parse flags, measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--num_envs", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device={args.device}: torch sees no CUDA device here; use --device=cpu")
    env = MadeUpEnv(args.num_envs, args.device)
    result = {
        "device": torch.cuda.get_device_name(args.device) if args.device != "cpu" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "num_envs": args.num_envs,
        "steps": STEPS,
        "networks": SIZES,
        "comparisons": [compare(*pair, env, args.pairs, sizes) for sizes in SIZES for pair in PAIRS],
        "memory": rollout_memory(4096, 100),
    }
    if args.device == "cpu":
        result["peak_gib_4096_envs"] = {n: peak_memory(n, 4096) for n in ("PPO", "TS, MLP, T=20", "TS, MLP, T=100")}
    text = json.dumps(result, indent=2)
    if args.json is not None and args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
