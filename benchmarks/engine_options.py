"""What each MuJoCo option of the Go2 model buys and costs.

Every variant simulates the same robots from the same states with the same joint targets. Reported: control steps per
second of all environments (median, interleaved), the ratio to the default, and how far the joints are from a converged
reference (Newton, 100 iterations, same contact model) after 0.2 s.

    python benchmarks/engine_options.py --json result.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WARM_UP, STEPS = 25, 10  # control steps: half a second to settle, then 0.2 s


def main() -> None:
    """Parse flags, measure, print a table and optionally write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_envs", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", help="write the rows to FILE")
    args = parser.parse_args()
    rows = measure(args.num_envs, args.rounds)
    print("| variant | control steps/s | ratio to default | joint error after 0.2 s [rad] |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['variant']} | {row['steps_per_s']:.0f} | {row['ratio']:.2f} | {row['joint_error_rad']:.4f} |")
    if args.json:
        Path(args.json).write_text(
            json.dumps({"num_envs": args.num_envs, "rounds": args.rounds, "rows": rows}, indent=2) + "\n",
            encoding="utf-8",
        )


def variants() -> dict[str, Callable[[Any], None]]:
    """Name -> edit of the environment configuration."""

    def option(**values: Any) -> Callable[[Any], None]:
        def edit(cfg: Any) -> None:
            for name, value in values.items():
                setattr(cfg.sim.mujoco, name, value)

        return edit

    def ideal(cfg: Any) -> None:
        cfg.control.motor = "ideal"

    def no_delay(cfg: Any) -> None:
        cfg.domain_rand.randomize_delay = False

    def delay(cfg: Any) -> None:
        cfg.domain_rand.randomize_delay = True

    def self_collisions(cfg: Any) -> None:
        cfg.asset.self_collisions = True

    return {
        "default": lambda cfg: None,
        "pgs, 2 iterations": option(solver="pgs", iterations=2),
        "pgs, 10 iterations": option(solver="pgs", iterations=10),
        "cg, 4 iterations": option(solver="cg", iterations=4),
        "newton, 2 iterations": option(solver="newton", iterations=2),
        "newton, 5 iterations": option(solver="newton", iterations=5),
        "newton, to convergence": option(solver="newton", iterations=100, ls_iterations=50),
        "elliptic cone, newton to convergence": option(
            solver="newton", iterations=100, ls_iterations=50, cone="elliptic"
        ),
        "islands on": option(islands=True),
        "euler integrator": option(integrator="euler"),
        "ideal motor": ideal,
        "delay line off": no_delay,
        "delay line on": delay,
        "self-collisions on": self_collisions,
    }


class Variant:
    """One engine with its settled states."""

    def __init__(self, edit: Callable[[Any], None], num_envs: int) -> None:
        """Build the engine and let the robots settle under random targets."""
        import torch

        from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg
        from legged_gym_ext.simulators import make_simulator
        from legged_gym_ext.terrain import PlaneTerrain

        cfg = Go2FlatCfg()
        edit(cfg)
        self.decimation = cfg.control.decimation
        self.sim = make_simulator(cfg, PlaneTerrain(num_envs, torch.device("cpu")), num_envs)
        self.seconds: list[float] = []
        rng = torch.Generator().manual_seed(0)
        noise = torch.randn(WARM_UP + STEPS, num_envs, 12, generator=rng)
        self.targets = self.sim.default_dof_pos + 0.1 * noise
        self.height = self.sim.standing_height

    def start(self, pose: Any = None) -> None:
        """Put all robots on their feet, or into the state of another engine (motors hold the default pose)."""
        import torch

        from legged_gym_ext.simulators.base import RobotState

        sim, n = self.sim, self.sim.num_envs
        if pose is None:
            zeros = torch.zeros(n, 3)
            root = torch.tensor([0.0, 0.0, self.height]).repeat(n, 1)
            quat = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1)
            pose = RobotState(root, quat, zeros, zeros, sim.default_dof_pos.repeat(n, 1), torch.zeros(n, 12))
        sim.reset(torch.arange(n), pose)

    def state(self) -> Any:
        """A copy of where the robots are."""
        from legged_gym_ext.simulators.base import RobotState

        sim = self.sim
        parts = (sim.root_pos, sim.root_quat, sim.root_lin_vel, sim.root_ang_vel, sim.dof_pos, sim.dof_vel)
        return RobotState(*(part.clone() for part in parts))

    def run(self, first: int, count: int) -> float:
        """Seconds for `count` control steps."""
        begin = time.perf_counter()
        for target in self.targets[first : first + count]:
            self.sim.step(target, self.decimation)
        return time.perf_counter() - begin


def measure(num_envs: int, rounds: int) -> list[dict[str, Any]]:
    """Time all variants in turn, `rounds` times, from states that the reference settled into."""
    edits = variants()
    engines = {name: Variant(edit, num_envs) for name, edit in edits.items()}
    reference = engines["newton, to convergence"]
    reference.start()
    reference.run(0, WARM_UP)
    settled = reference.state()
    ends: dict[str, Any] = {}
    for _ in range(rounds):
        for name, engine in engines.items():
            engine.start(settled)
            engine.seconds.append(engine.run(WARM_UP, STEPS))
            ends[name] = engine.sim.dof_pos.clone()
    default = engines["default"].seconds
    rows = []
    for name, engine in engines.items():
        rows.append(
            {
                "variant": name,
                "steps_per_s": num_envs * STEPS / statistics.median(engine.seconds),
                "ratio": statistics.median(d / s for d, s in zip(default, engine.seconds)),
                "joint_error_rad": float((ends[name] - ends["newton, to convergence"]).abs().mean()),
            }
        )
    return rows


if __name__ == "__main__":
    main()
