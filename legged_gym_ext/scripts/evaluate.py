"""Measure a trained run: `evaluate.py --task=go2 --json result.json`; how hard the ground may be: `evaluate.py --task=go2 --ladder`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
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
    _add_ladder_flags(parser)
    args = parse(parser, argv)
    wait_passively()
    _check_flags(args)

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import prepare_engine

    asked = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, *asked)
    prepare_engine(asked[0].sim.engine)  # before the next line imports torch
    args.seed = SEED if args.seed is None else args.seed
    results, show = _ladder(args) if args.ladder else _evaluation(args)
    if args.json is not None:
        _write_json(Path(args.json), results)  # first: whoever reads the table may be gone
    show()
    return 0


def _add_ladder_flags(parser: Any) -> None:
    add = parser.add_argument
    add(
        "--ladder",
        action="store_true",
        help="instead: on every level of every kind of tile of the task's map, the share of robots that get half a tile (4 m) away within 20 s without "
        "a fall; added to the figures in --json when they are of the same checkpoint",
    )
    add("--robots_per_level", type=int, metavar="N", help="with --ladder: robots on each level of each kind (64)")
    add(
        "--friction",
        type=float,
        metavar="F",
        help="with --ladder: friction of all feet, e.g. 0.4; default: as in training",
    )


def _check_flags(args: Any) -> None:
    """Flags that make no sense together, or a file that cannot be written, are found before anything is loaded."""
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


def _evaluation(args: Any) -> tuple[dict, Callable[[], None]]:
    """Evaluate; returns the figures and what shows them."""
    from legged_gym_ext.training.policies import run_cfgs

    args.num_envs = args.num_envs or NUM_ENVS
    results = evaluate(args.task, *run_cfgs(args.task, args, spread_levels))
    return results, lambda: _show(results)


def _ladder(args: Any) -> tuple[dict, Callable[[], None]]:
    """Climb the ladder of the task's own map; returns the figures and what shows them."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.ladder import FRICTION, ROBOTS, set_ladder
    from legged_gym_ext.training.policies import run_cfgs

    own, _ = task_registry.get_cfgs(args.task)
    terrain = own.terrain  # of the task and not of the run, so that runs can be compared
    if terrain.mesh_type == "plane":
        print(
            f"'{args.task}' is trained on a plane; its ladder is on the map of tiles that the tasks on rough ground have"
        )
    cfgs = run_cfgs(args.task, args, lambda env_cfg: set_ladder(env_cfg, terrain, args.friction))
    results = climb(args.task, *cfgs, robots=args.robots_per_level or ROBOTS)
    kept = dict(results)
    if args.friction is not None:  # beside the figures with the friction of training, not in their place
        key = f"{FRICTION}{args.friction:g}"
        kept["policies"] = {name: {key: figures} for name, figures in results["policies"].items()}
    return kept, lambda: _show_ladder(results)


def spread_levels(env_cfg: Any) -> None:
    """Robots stay on tiles of all levels, as many on each."""
    env_cfg.terrain.curriculum = False


def evaluate(task: str, env_cfg: Any, train_cfg: Any, run_dir: Path | None) -> dict:
    """Figures of every policy of a run: {"policies": {name: metrics}, ...}."""
    from legged_gym_ext.training.evaluation import evaluate_policy
    from legged_gym_ext.utils.errors import count

    vec_env, policies, checkpoint = _load(task, env_cfg, train_cfg, run_dir)
    env = vec_env.env
    robots, seconds = count(env.num_envs, "robot"), env.cfg.env.episode_length_s
    print(f"evaluating {checkpoint} with {robots} for {seconds:.0f} s each")
    results = {name: evaluate_policy(vec_env, policy) for name, policy in policies.items()}
    return {
        "task": task,
        "checkpoint": str(checkpoint),
        "num_envs": env.num_envs,
        "seed": env_cfg.seed,
        "notes": env.notes,
        "policies": results,
    }


def climb(task: str, env_cfg: Any, train_cfg: Any, run_dir: Path | None, robots: int) -> dict:
    """The ladder of every policy of a run, `env_cfg` as `utils.ladder.set_ladder` leaves it: {"policies": {name: figures}, ...}."""
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
        f"ladder of {checkpoint}: {robots} robots on each of {plan.levels} levels of {len(plan.kinds)} kinds, {ladder.distance:g} m to walk",
        flush=True,
    )
    setup, figures = {"robots_per_level": robots, "seed": env_cfg.seed, "distance": ladder.distance}, {}
    for name, policy in policies.items():
        found = ladder.climb(policy, lambda line, name=name: print(f"{name}  {line}", flush=True))
        figures[name] = {**found, "ladder_setup": setup}
    return {"task": task, "checkpoint": str(checkpoint), "policies": figures}


def _load(task: str, env_cfg: Any, train_cfg: Any, run_dir: Path | None) -> tuple[Any, dict[str, Any], Path]:
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


def _show(results: dict) -> None:
    from legged_gym_ext.training.evaluation import UNITS

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


def _show_ladder(results: dict) -> None:
    """Success in percent by kind and level, then what it comes to."""
    from legged_gym_ext.training.ladder import EFFORT

    for name, figures in results["policies"].items():
        levels = range(max(len(rates) for rates in figures["ladder"].values()))
        print(
            f"\n{name + ': % that get 4 m away, by level':<36}"
            + "".join(f"{level:>5}" for level in levels)
            + "   climbed"
        )
        for kind, rates in figures["ladder"].items():
            row = "".join(f"{100 * rate:>5.0f}" for rate in rates)
            print(f"{kind:<36}{row}   {figures['ladder_level'][kind]}")
        heights = figures["ladder_heights"]
        said = [
            f"score {figures['ladder_score']:.3f}",
            *(f"{key.replace('_', ' ')} {heights[key]:.3f}" for key in heights),
        ]
        print(", ".join(said))
        for key, meaning in EFFORT.items():
            print(f"{key:<18}{figures['ladder_effort'][key]:>8.3f}   {meaning}")


def _write_json(path: Path, results: dict) -> None:
    """Write the figures; what the file has of the same checkpoint and was not measured now stays."""
    import json

    from legged_gym_ext.training.runs import atomic_write

    merged = merge_results(_read_json(path, Path(results["checkpoint"])), results)
    atomic_write(path, lambda target: target.write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8"))


def _read_json(path: Path, checkpoint: Path) -> Any:
    """Contents of a file that is not older than the checkpoint; None without."""
    import json

    try:
        return (
            json.loads(path.read_text(encoding="utf-8")) if path.stat().st_mtime >= checkpoint.stat().st_mtime else None
        )
    except (OSError, ValueError):
        return None


def merge_results(before: Any, now: dict) -> dict:
    """`now`, and what `before`, the contents of a file, says of the same checkpoint: an evaluation keeps ladders, a ladder everything else."""
    same = isinstance(before, dict) and all(before.get(key) == now[key] for key in ("task", "checkpoint"))
    if not same or not isinstance(before.get("policies"), dict):
        return now
    ladder = all(key.startswith("ladder") for figures in now["policies"].values() for key in figures)
    policies = {}
    for name, figures in now["policies"].items():
        old = before["policies"].get(name, {})
        policies[name] = {**{key: value for key, value in old.items() if ladder or key.startswith("ladder")}, **figures}
    return {**(before if ladder else {}), **now, "policies": policies}


if __name__ == "__main__":
    run_main(main)
