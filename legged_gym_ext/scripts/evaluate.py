"""Measure a trained run: `evaluate.py --task=go2 --json result.json`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.cpus import wait_passively
from legged_gym_ext.utils.errors import UserError, run_main

NUM_ENVS, SEED = 512, 12345
"""Robots and seed of an evaluation: other commands, physics and noise than in training."""


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print a table and return the exit code."""
    parser = make_parser(
        "Run the deterministic policies of a trained run for one full episode per robot, with commands over the whole "
        "training range, observation noise and domain randomisation, and print how they do."
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    args = parse(parser, argv)
    wait_passively()
    if args.json is not None and (not args.json or Path(args.json).is_dir()):
        raise UserError(f"--json={args.json}: expected the name of a file")
    if args.json is not None and not Path(args.json).resolve().parent.is_dir():
        raise UserError(f"--json={args.json}: there is no folder {Path(args.json).resolve().parent}")

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine

    asked = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before the next line imports torch
    from legged_gym_ext.utils.policies import run_cfgs

    args.num_envs = args.num_envs or NUM_ENVS
    args.seed = SEED if args.seed is None else args.seed
    env_cfg, train_cfg, run_dir = run_cfgs(args.task, args, spread_levels)
    results = evaluate(args.task, env_cfg, train_cfg, run_dir)
    _show(results)
    if args.json is not None:
        _write_json(Path(args.json), results)
    return 0


def spread_levels(env_cfg: Any) -> None:
    """Robots stay on tiles of all levels, as many on each."""
    env_cfg.terrain.curriculum = False


def evaluate(task: str, env_cfg: object, train_cfg: object, run_dir: Path | None) -> dict:
    """Figures of every policy of a run: {"policies": {name: metrics}, ...}."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.cpus import usable_cpus
    from legged_gym_ext.utils.evaluation import evaluate_policy
    from legged_gym_ext.utils.policies import load_policies
    from legged_gym_ext.utils.task_registry import set_seed

    torch.set_num_threads(usable_cpus())
    set_seed(env_cfg.seed)
    env, _ = task_registry.make_env(task, env_cfg)
    vec_env, policies, checkpoint = load_policies(env, task, train_cfg, run_dir)
    print(f"evaluating {checkpoint} with {env.num_envs} robots for {env.cfg.env.episode_length_s:.0f} s each")
    results = {name: evaluate_policy(vec_env, policy) for name, policy in policies.items()}
    return {
        "task": task,
        "checkpoint": str(checkpoint),
        "num_envs": env.num_envs,
        "seed": env_cfg.seed,
        "notes": env.notes,
        "policies": results,
    }


def _show(results: dict) -> None:
    from legged_gym_ext.utils.evaluation import UNITS

    names = list(results["policies"])
    print(f"{'':<18}" + "".join(f"{name:>12}" for name in names))
    for metric, unit in UNITS.items():
        row = "".join(f"{results['policies'][name][metric]:>12.3f}" for name in names)
        print(f"{metric:<18}{row}   {unit}")
    for group in ("kinds", "levels"):
        if group in results["policies"][names[0]]:
            _show_group(results["policies"], names, group)


def _show_group(policies: dict, names: list[str], group: str) -> None:
    """Progress, linear tracking and falls on each kind of tile, or on each level."""
    print(f"\n{'progress / tracking / falls':<28}" + "".join(f"{name:>24}" for name in names))
    for part in policies[names[0]][group]:
        figures = (policies[name][group][part] for name in names)
        row = "".join(f"{f['progress']:>10.2f} /{f['linear_tracking']:>5.2f} /{f['fall_rate']:>5.2f}" for f in figures)
        print(f"{group[:-1] + ' ' + part:<28}{row}")


def _write_json(path: Path, results: dict) -> None:
    import json

    from legged_gym_ext.utils.runs import atomic_write

    atomic_write(path, lambda target: target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8"))


if __name__ == "__main__":
    run_main(main)
