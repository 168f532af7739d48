r"""Exported policies in plain MuJoCo, robot as trained and altered: a table, as JSON and Markdown.

Every cell is N episodes of 20 s with random starts and commands, the same for all policies: unaltered, base + 2 kg,
friction 0.5, 20 ms of delay, a file with the legs in another order, and the solver of the training.

    python benchmarks/sim2sim.py go2=a/policy.onnx go2_ult=b/policy.onnx --episodes 64 \
        --json result.json --markdown result.md

With --models, on other people's files of the robot instead: each as it is, and once more with the joint damping and a
solver that converges, where those of the file are not the training's.

    python benchmarks/sim2sim.py pretrained:go2_ult --models menagerie=unitree_go2/go2.xml --episodes 8 --duration 8
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.training.pretrained import policy_file
from legged_gym_ext.utils.errors import run_main

SEED = 12345


def main(argv: list[str] | None = None) -> int:
    """Parse flags, run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+", metavar="[NAME=]FILE", help="exported policies, or pretrained:TASK")
    parser.add_argument("--episodes", type=int, default=64, metavar="N")
    parser.add_argument("--conditions", nargs="+", metavar="NAME", choices=list(conditions()), help="default: all")
    parser.add_argument("--duration", type=float, default=20.0, metavar="S", help="of an episode")
    parser.add_argument("--models", nargs="+", metavar="[NAME=]FILE", help="MJCF files instead of the conditions")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    chosen: dict[str, dict[str, Any]] = {}
    for word in args.models or ():
        model, _, file = word.rpartition("=")
        chosen[model or Path(file).stem] = {"model": Path(file)}
    rows = []
    for word in args.policies:
        name, _, path = word.rpartition("=")
        name, path = name or path.rpartition(":")[2], policy_file(path)
        tried = [(each, conditions()[each]) for each in args.conditions or conditions()]
        for condition, changes in tried if not chosen else both(path, chosen):
            row = run(name, path, condition, changes, args.episodes, args.duration)
            rows.append(row)
            print(
                " ".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()),
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = markdown(rows)
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    return 0


def conditions() -> dict[str, dict[str, Any]]:
    """Condition -> fields of `Physics`, or "legs" for the file with other joint order."""
    return {
        "unaltered": {},
        "base + 2 kg": {"added_mass": 2.0},
        "friction 0.5": {"friction": 0.5},
        "delay 20 ms": {"delay": 0.02},
        "legs in another order": {"legs": True},
        "solver of the training": {"solver": "pgs", "iterations": 4},
    }


def both(path: Path, chosen: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each file as it is, and with what the notes of sim2sim.py advise."""
    from legged_gym_ext.deploy.policy_file import ExportedPolicy
    from legged_gym_ext.deploy.sim2sim.loop import FEW_ITERATIONS
    from legged_gym_ext.deploy.sim2sim.robot import PlainRobot

    contract, found = ExportedPolicy(path).contract, []
    low, high = contract.model["joints"]["joint_damping"]
    for name, changes in chosen.items():
        robot, advised = PlainRobot(contract, changes["model"]), {}
        if not low <= robot.joint_values["joint_damping"][0] <= robot.joint_values["joint_damping"][1] <= high:
            advised["joint_damping"] = 0.5 * (low + high)
        if (robot.file_iterations or FEW_ITERATIONS) < FEW_ITERATIONS:
            advised["iterations"] = 100
        words = ", ".join(f"--{flag} {value:.4g}" for flag, value in advised.items())
        found += [(name, changes)] + ([(f"{name} {words}", {**changes, **advised})] if advised else [])
    return found


def permuted(source: Path, target: Path) -> Path:
    """Write the MJCF `source` with the base's child bodies, its legs, in the opposite order."""
    tree = ET.parse(source)
    (base,) = (body for body in tree.iter("body") if body.find("freejoint") is not None)
    legs = base.findall("body")
    for leg in legs:
        base.remove(leg)
    base.extend(legs[::-1])
    tree.write(target)
    return target


def run(
    name: str, path: Path, condition: str, changes: dict[str, Any], episodes: int, duration: float
) -> dict[str, Any]:
    """One row of the table."""
    from legged_gym_ext import PACKAGE_DIR
    from legged_gym_ext.deploy.controller import Controller
    from legged_gym_ext.deploy.policy_file import ExportedPolicy
    from legged_gym_ext.deploy.sim2sim.loop import Trial, run_episodes
    from legged_gym_ext.deploy.sim2sim.robot import Physics, PlainRobot

    controller, changes = Controller(ExportedPolicy(path)), dict(changes)
    robot_name = controller.contract.robot
    with tempfile.TemporaryDirectory() as folder:
        model = changes.pop("model", None)
        if changes.pop("legs", False):
            source = PACKAGE_DIR / "resources" / "robots" / robot_name / f"{robot_name}.xml"
            model = permuted(source, Path(folder) / "permuted.xml")
        robot = PlainRobot(controller.contract, model, physics=Physics(**changes))
    trial = Trial(controller, robot, seed=SEED)
    begin = time.perf_counter()
    for _ in run_episodes(trial, episodes, SEED, duration):
        pass
    figures = trial.metrics.compute()
    return {
        "policy": name,
        "condition": condition,
        "episodes": episodes,
        "seconds": duration,
        **figures,
        "wall_seconds": time.perf_counter() - begin,
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """What matters of `rows` as a Markdown table."""
    lines = [
        "| policy | robot | linear tracking | yaw tracking | falls | power, W | cost of transport | at torque limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cost = row["cost_of_transport"]
        values = (
            f"{row['linear_tracking']:.3f}",
            f"{row['yaw_tracking']:.3f}",
            f"{100.0 * row['fall_rate']:.1f} %",
            f"{row['energy']:.0f}",
            "-" if cost is None else f"{cost:.2f}",
            f"{100.0 * row['saturation']:.2f} %",
        )
        lines.append(f"| {row['policy']} | {row['condition']} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_main(main)
