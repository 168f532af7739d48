"""What a GPU does with MuJoCo Warp: physics alone, `env.step`, training, memory; one call of eight minutes.

    python benchmarks/gpu.py --out gpu_results           # a machine with an NVIDIA GPU
    python benchmarks/gpu.py --out gpu_results --tiny    # any machine: four robots on the CPU, to see that it runs

Writes `gpu.json` and `gpu.md` to the folder. Rows are measured in the order of their worth; those for which the time
(`--minutes`) was over are listed as not run. A row that fails names its error, the next one is measured, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SIZES = (4096, 1024, 16384)
METHODS = ("go2", "go2_ult", "go2_rma", "go2_ts", "go2_cts", "go2_sitt")
GIB = 2.0**30
LATE = "time was over"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        device: of physics and learning.
        sizes: numbers of robots.
        steps: control steps of a timing, after as many to warm up.
        iterations: timed iterations of a training, after one to warm up.
    """

    device: str = "cuda"
    sizes: tuple[int, ...] = SIZES
    steps: int = 50
    iterations: int = 3
    methods: tuple[str, ...] = METHODS
    grounds: tuple[str, ...] = ("rough", "flat")


TINY = Plan("cpu", (4,), 2, 1, ("go2", "go2_ult"), ("flat",))


def main() -> None:
    """Parse flags, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where gpu.json and gpu.md are written")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no other row is begun")
    parser.add_argument("--tiny", action="store_true", help="four robots on the CPU")
    args = parser.parse_args()
    plan = TINY if args.tiny else Plan()
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine(plan), "rows": []}
    end = time.monotonic() + 60.0 * args.minutes
    for name, measure in rows(plan):
        row: dict[str, Any] = {"what": name}
        if time.monotonic() > end:
            row["not_run"] = LATE
        else:
            try:
                row.update(measure())
            except Exception as error:  # the next row may work
                row["not_run"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        result["rows"].append(row)
        print(json.dumps(row), flush=True)
        (args.out / "gpu.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (args.out / "gpu.md").write_text(page(result), encoding="utf-8")
    sys.exit(any(row.get("not_run", LATE) != LATE for row in result["rows"]))


def machine(plan: Plan) -> dict[str, str]:
    """Device and versions."""
    from importlib import metadata

    import torch

    card = torch.cuda.get_device_name() if plan.device == "cuda" else platform.processor() or platform.machine()
    versions = {name: metadata.version(name) for name in ("torch", "mujoco", "mujoco-warp", "warp-lang")}
    return {"device": card, "python": platform.python_version(), **versions}


def rows(plan: Plan) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Name and measurement of each row, the most wanted first."""
    first = plan.sizes[0]
    for method in plan.methods:
        task = name_of(method, plan.grounds[0])
        if method != "go2_ult":
            yield f"training {task}, {first}", lambda m=method: training(plan, m, first)
            continue
        for name, mixed in (("bfloat16", True), ("float32", False)):
            yield (
                f"training {task} in {name}, {first}",
                lambda m=method, on=mixed: training(plan, m, first, use_mixed_precision=on),
            )
    for count in plan.sizes:
        for ground in plan.grounds:
            yield f"physics and env.step, {ground}, {count}", lambda g=ground, n=count: stepping(plan, g, n)
    for count in plan.sizes[1:]:
        yield f"training {name_of('go2', plan.grounds[0])}, {count}", lambda n=count: training(plan, "go2", n)
    if plan.device == "cuda":  # compiles for a minute
        task = name_of("go2_ult", plan.grounds[0])
        yield f"training {task}, compiled, {first}", lambda: training(plan, "go2_ult", first, "default")


def name_of(method: str, ground: str) -> str:
    """Task of a method on a ground."""
    return method if ground == "rough" else f"{method}_flat"


def make_env(plan: Plan, task: str, num_envs: int) -> Any:
    """The robots of a task on MuJoCo Warp."""
    from legged_gym_ext.envs import task_registry

    cfg, _ = task_registry.get_cfgs(task)
    cfg.env.num_envs, cfg.sim.engine, cfg.sim.device = num_envs, "mujoco_warp", plan.device
    return task_registry.make_env(task, cfg)[0]


def clock(plan: Plan) -> float:
    """Seconds, after all work on the device is done."""
    import torch

    if plan.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def used_memory(plan: Plan) -> float:
    """GiB in use on the whole card; 0 on a CPU."""
    import torch

    if plan.device != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info()
    return (total - free) / GIB


def release(plan: Plan) -> None:
    """Give back what the last row took."""
    import gc

    import torch

    gc.collect()
    if plan.device == "cuda":
        torch.cuda.empty_cache()


def stepping(plan: Plan, ground: str, num_envs: int) -> dict[str, Any]:
    """Control steps per second of all robots, physics alone and with everything around it; random actions."""
    import torch

    from legged_gym_ext.simulators.mujoco.warp_checks import OVERFLOWS

    release(plan)
    before = used_memory(plan)
    env = make_env(plan, name_of("go2", ground), num_envs)
    generator = torch.Generator(device=plan.device).manual_seed(0)
    actions = torch.randn(num_envs, env.num_actions, generator=generator, device=plan.device)
    targets = env.default_dof_pos + env.cfg.control.action_scale * actions

    def rate(step: Callable[[], Any]) -> float:
        for _ in range(plan.steps):
            step()
        start = clock(plan)
        for _ in range(plan.steps):
            step()
        return num_envs * plan.steps / (clock(plan) - start)

    with torch.inference_mode():
        whole = rate(lambda: env.step(actions))
        physics = rate(lambda: env.sim.step(targets, env.cfg.control.decimation))
    flags = env.sim._overflow & sum(int(bits) for bits in OVERFLOWS.values())
    return {
        "physics_steps_per_s": round(physics),
        "env_steps_per_s": round(whole),
        "memory_gib": round(used_memory(plan) - before, 2),
        "robots_with_overflow": int(flags.ne(0).sum()),
    }


def training(
    plan: Plan, method: str, num_envs: int, compile_mode: str | None = None, **algorithm: Any
) -> dict[str, Any]:
    """Control steps per second of training with the preset `gpu`, and seconds of an update."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.envs.presets import apply_preset

    release(plan)
    before = used_memory(plan)
    task = name_of(method, plan.grounds[0])
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    apply_preset("gpu", env_cfg, train_cfg)
    env_cfg.env.num_envs, env_cfg.sim.device = num_envs, plan.device
    env = task_registry.make_env(task, env_cfg)[0]
    train_cfg.runner.device, train_cfg.runner.logger = plan.device, "none"
    if hasattr(train_cfg.runner, "eval_interval"):
        train_cfg.runner.eval_interval = 0  # pyright: ignore
    train_cfg.runner.torch_compile_mode = compile_mode  # pyright: ignore
    for name, value in algorithm.items():
        setattr(train_cfg.algorithm, name, value)
    runner = task_registry.make_alg_runner(env, task, train_cfg, None)[0]
    updates: list[float] = []
    update = runner.alg.update

    def timed() -> Any:
        start = clock(plan)
        losses = update()
        updates.append(clock(plan) - start)
        return losses

    runner.alg.update = timed
    runner.learn(1)
    start = clock(plan)
    runner.learn(plan.iterations)
    seconds = (clock(plan) - start) / plan.iterations
    learning = sum(updates[-plan.iterations :]) / plan.iterations
    samples = num_envs * train_cfg.runner.num_steps_per_env
    return {
        "training_steps_per_s": round(samples / seconds),
        "collect_s": round(seconds - learning, 3),
        "update_s": round(learning, 3),
        "memory_gib": round(used_memory(plan) - before, 2),
    }


COLUMNS = (
    "training_steps_per_s", "collect_s", "update_s", "physics_steps_per_s", "env_steps_per_s", "memory_gib",
)  # fmt: skip
NEXT = """
A training with its ladder, in a call of its own:

```bash
python legged_gym_ext/scripts/train.py --task=go2_ult --sim=mujoco_warp --sim_device=cuda --rl_device=cuda \\
  --num_envs=4096 --headless
python legged_gym_ext/scripts/evaluate.py --task=go2_ult --sim=mujoco_warp --sim_device=cuda --rl_device=cuda --ladder
```
"""


def page(result: dict[str, Any]) -> str:
    """The rows as a Markdown page."""
    lines = ["# MuJoCo Warp on this machine", "", ", ".join(f"{k} {v}" for k, v in result["machine"].items()), ""]
    lines += [f"| | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row in result["rows"]:
        cells = [str(row.get(name, "")) for name in COLUMNS]
        if "not_run" in row:
            cells[0] = f"not run: {row['not_run']}"
        lines.append(f"| {row['what']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + NEXT


if __name__ == "__main__":
    main()
