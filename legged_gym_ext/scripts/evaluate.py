"""Evaluate a trained run: `evaluate.py --task=go2 --json result.json`; the most difficult ground: `--ladder`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, pluralize, run_main

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from legged_gym_ext.training.policies import Policy
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

NUM_ENVS, SEED = 512, 12345
"""Robots and seed of an evaluation; the seed gives other commands, physics and noise than in training."""


def main(argv: list[str] | None = None) -> int:
    """Evaluate, print a table and return the exit code."""
    parser = make_parser(
        "Run the deterministic policies of a trained run for one full episode per robot, with commands over the whole "
        "training range, observation noise and domain randomisation, and print how they do."
    )
    pretrained.add_flag(parser, "evaluate the policy that is part of this package")
    parser.add_argument("--json", metavar="FILE", help="also write the metrics to FILE")
    _add_ladder_flags(parser)
    args = parse(parser, argv)
    limit_spinning()
    _check_flags(args)

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine

    cfgs = task_registry.get_cfgs(args.task)
    if args.ladder:
        task_registry.require_robot(args.task, "--ladder: robots climb it", "leave that out")
    apply_args_to_cfgs(args, *cfgs)
    prepare_engine(cfgs[0].sim.engine)  # before the next line imports torch
    args.seed = SEED if args.seed is None else args.seed
    results, show = _ladder(args) if args.ladder else _evaluation(args)
    if args.json is not None:
        _write_json(Path(args.json), results)  # first: the reader of the table may have ended
    show()
    return 0


def _add_ladder_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--ladder",
        action="store_true",
        help="instead: on every level of every kind of tile of the task's map, the share of robots that get half a "
        "tile (4 m) away in 20 s without a fall; added to the metrics in --json if these are of the same checkpoint",
    )
    add("--robots_per_level", type=int, metavar="N", help="with --ladder: robots on each level of each kind (64)")
    add(
        "--friction",
        type=float,
        metavar="F",
        help="with --ladder: friction of all feet, e.g. 0.4; default: as in training",
    )


def _check_flags(args: argparse.Namespace) -> None:
    """Raise a `UserError` for invalid flags, before anything is loaded."""
    if args.json is not None and (not args.json or Path(args.json).is_dir()):
        raise UserError(f"--json={args.json}: expected the name of a file")
    if args.json is not None and not Path(args.json).resolve().parent.is_dir():
        raise UserError(f"--json={args.json}: there is no folder {Path(args.json).resolve().parent}")
    for flag in ("robots_per_level", "friction"):
        if getattr(args, flag) is not None and not args.ladder:
            raise UserError(f"--{flag} belongs to the ladder: add --ladder")
    if args.ladder and args.num_envs is not None:
        raise UserError("--num_envs: the ladder has as many robots on each level as --robots_per_level says; use that")
    if args.robots_per_level is not None and args.robots_per_level < 1:
        raise UserError(f"--robots_per_level={args.robots_per_level}: expected at least 1")
    if args.friction is not None and not 0.0 < args.friction < float("inf"):
        raise UserError(f"--friction={args.friction}: expected a positive coefficient, such as 0.4")


def _evaluation(args: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], None]]:
    """Evaluate; returns the metrics and a function that prints them."""
    from legged_gym_ext.training.policies import run_cfgs

    args.num_envs = args.num_envs or NUM_ENVS
    how = _how(args.task)
    results = evaluate(args.task, *run_cfgs(args.task, args, how.prepare))
    return results, lambda: _show(results, how.UNITS)


def _how(task: str | None) -> Any:
    """The module that measures policies of the task's environment."""
    import importlib

    from legged_gym_ext.envs import task_registry

    return importlib.import_module(task_registry.env_class(task).evaluation)


def _ladder(args: argparse.Namespace) -> tuple[dict[str, Any], Callable[[], None]]:
    """Run the ladder on the task's own map; returns the metrics and a function that prints them."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.ladder import FRICTION, ROBOTS, configure_ladder
    from legged_gym_ext.training.policies import run_cfgs

    own, _ = task_registry.get_cfgs(args.task)
    terrain = own.terrain  # of the task, not of the run: comparable between runs
    if terrain.mesh_type == "plane":
        print(f"'{args.task}' is trained on a plane; its ladder is on the map of tiles of the tasks on rough ground")
    cfgs = run_cfgs(args.task, args, lambda env_cfg: configure_ladder(env_cfg, terrain, args.friction))
    results = climb(args.task, *cfgs, robots=args.robots_per_level or ROBOTS)
    kept = dict(results)
    if args.friction is not None:  # stored beside the metrics with the friction of training
        key = f"{FRICTION}{args.friction:g}"
        kept["policies"] = {name: {key: metrics} for name, metrics in results["policies"].items()}
    return kept, lambda: _show_ladder(results)


def evaluate(task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, run_dir: Path | None) -> dict[str, Any]:
    """Evaluate every policy of a run: {"policies": {name: metrics}, ...}."""
    how = _how(task)
    vec_env, policies, checkpoint = _load(task, env_cfg, train_cfg, run_dir)
    env = vec_env.env
    print(f"evaluating {checkpoint} {how.describe_episodes(env)}")
    results = {name: how.evaluate_policy(vec_env, policy) for name, policy in policies.items()}
    return {
        "task": task,
        "checkpoint": str(checkpoint),
        "num_envs": env.num_envs,
        "seed": env_cfg.seed,
        "notes": env.notes,
        "policies": results,
    }


def climb(
    task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, run_dir: Path | None, robots: int
) -> dict[str, Any]:
    """Run the ladder for every policy of a run: {"policies": {name: metrics}, ...}.

    Args:
        task: name of the task.
        env_cfg: see `training.ladder.configure_ladder`.
        train_cfg: configuration of the training.
        run_dir: folder of the run.
        robots: on each level of each kind of tile.

    Raises:
        UserError: an override contradicts the ladder.
    """
    from legged_gym_ext.training.ladder import make_plan
    from legged_gym_ext.training.ladder_run import Ladder

    if env_cfg.terrain.mesh_type != "rough":
        raise UserError(f"--env.terrain.mesh_type={env_cfg.terrain.mesh_type}: the ladder needs tiles; leave that out")
    if env_cfg.terrain.curriculum:
        raise UserError("--env.terrain.curriculum=true: on the ladder robots stay on their levels; leave that out")
    plan = make_plan(env_cfg.terrain, robots)
    env_cfg.env.num_envs = plan.num_envs
    vec_env, policies, checkpoint = _load(task, env_cfg, train_cfg, run_dir)
    ladder = Ladder(vec_env, plan, env_cfg.seed)
    print(
        f"ladder of {checkpoint}: {pluralize(robots, 'robot')} on each of {plan.levels} levels of "
        f"{pluralize(len(plan.kinds), 'kind')}, "
        f"{ladder.distance:g} m to walk",
        flush=True,
    )
    setup, metrics = {"robots_per_level": robots, "seed": env_cfg.seed, "distance": ladder.distance}, {}
    for name, policy in policies.items():
        found = ladder.climb(policy, lambda line, name=name: print(f"{name}  {line}", flush=True))
        metrics[name] = {**found, "ladder_setup": setup}
    return {"task": task, "checkpoint": str(checkpoint), "policies": metrics}


def _load(
    task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, run_dir: Path | None
) -> tuple[RslRlVecEnv, dict[str, Policy], Path]:
    """Wrapped environment, policies by name and their checkpoint."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.policies import load_policies
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    set_seed(env_cfg.seed)
    env, _ = task_registry.make_env(task, env_cfg)
    return load_policies(env, task, train_cfg, run_dir)


def _show(results: dict, units: dict[str, str]) -> None:
    names = list(results["policies"])
    print(f"{'':<18}" + "".join(f"{name:>12}{'':<8}" for name in names) + "  (+- standard error)")
    for metric, unit in units.items():
        row = "".join(_figure(results["policies"][name], metric) for name in names)
        print(f"{metric:<18}{row}  {unit}")
    for group in ("kinds", "levels"):
        if group in results["policies"][names[0]]:
            _show_group(results["policies"], names, group)


def _figure(metrics: dict, metric: str) -> str:
    """A value and its standard error, which a single robot does not have."""
    error = metrics["standard_error"].get(metric)
    return f"{metrics[metric]:>12.3f}" + ("" if error is None else f" +-{error:.3f}").ljust(8)


def _show_group(policies: dict, names: list[str], group: str) -> None:
    """Progress, linear tracking and falls on each kind of tile, or on each level."""
    print(f"\n{'progress / tracking / falls':<28}" + "".join(f"{name:>24}" for name in names))
    for part in policies[names[0]][group]:
        cells = (policies[name][group][part] for name in names)
        row = "".join(f"{f['progress']:>10.2f} /{f['linear_tracking']:>5.2f} /{f['fall_rate']:>5.2f}" for f in cells)
        print(f"{group[:-1] + ' ' + part:<28}{row}")


def _show_ladder(results: dict) -> None:
    """Success in percent by kind and level, then the score and the effort."""
    from legged_gym_ext.training.ladder import EFFORT

    for name, metrics in results["policies"].items():
        levels = range(max(len(rates) for rates in metrics["ladder"].values()))
        print(
            f"\n{name + ': % that get 4 m away, by level':<36}"
            + "".join(f"{level:>5}" for level in levels)
            + "   climbed"
        )
        for kind, rates in metrics["ladder"].items():
            row = "".join(f"{100 * rate:>5.0f}" for rate in rates)
            print(f"{kind:<36}{row}   {metrics['ladder_level'][kind]}")
        heights = metrics["ladder_heights"]
        summary = [
            f"score {metrics['ladder_score']:.3f}",
            *(f"{key.replace('_', ' ')} {heights[key]:.3f}" for key in heights),
        ]
        print(", ".join(summary))
        for key, meaning in EFFORT.items():
            print(f"{key:<18}{metrics['ladder_effort'][key]:>8.3f}   {meaning}")


def _write_json(path: Path, results: dict) -> None:
    """Write the metrics; others of the same checkpoint that the file has are kept."""
    import json

    from legged_gym_ext.training.runs import atomic_write

    merged = merge_results(_read_json(path, Path(results["checkpoint"])), results)
    atomic_write(path, lambda target: target.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8"))


def _read_json(path: Path, checkpoint: Path) -> Any:
    """Contents of a file that is not older than the checkpoint; None if there is none."""
    from legged_gym_ext.foreign import parse_json

    try:
        return (
            parse_json(path.read_text(encoding="utf-8")) if path.stat().st_mtime >= checkpoint.stat().st_mtime else None
        )
    except (OSError, ValueError):
        return None


def merge_results(before: Any, now: dict) -> dict:
    """`now` with metrics from `before`, the contents of a file, of the same checkpoint.

    An evaluation keeps the metrics of ladders, a ladder keeps all others.
    """
    same = isinstance(before, dict) and all(before.get(key) == now[key] for key in ("task", "checkpoint"))
    if not same or not isinstance(before.get("policies"), dict):
        return now
    ladder = all(key.startswith("ladder") for metrics in now["policies"].values() for key in metrics)
    policies = {}
    for name, metrics in now["policies"].items():
        old = before["policies"].get(name, {})
        policies[name] = {**{key: value for key, value in old.items() if ladder or key.startswith("ladder")}, **metrics}
    return {**(before if ladder else {}), **now, "policies": policies}


if __name__ == "__main__":
    run_main(main)
