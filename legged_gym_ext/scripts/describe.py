"""Show what a task is made of: `describe.py --task=go2`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.errors import run_main

READS = {"privilege_encoder": "privileged", "history_encoder": "actor"}
"""Network -> observation set, where it is not the set of the same name."""


def main(argv: list[str] | None = None) -> int:
    """Print the description and return the exit code."""
    parser = make_parser("Show the observation groups, rewards, randomisation and networks of a task, and its fields.")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--fields", action="store_true", help="also list every field that an override can set")
    parser.add_argument("--list", action="store_true", help="only list the registered tasks")
    args = parse(parser, argv)

    from legged_gym_ext.envs import task_registry

    if args.list:
        print("\n".join(task_registry.names))
        return 0
    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    args.num_envs = 1
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    description = describe(args.task, env_cfg, train_cfg)
    if args.json:
        import json

        print(json.dumps(description, indent=2))
    else:
        _show(description, args.fields)
    return 0


def describe(task: str, env_cfg: Any, train_cfg: Any) -> dict[str, Any]:
    """Everything that is decided when a task is built, as plain data; builds one robot and the networks."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.config import flatten

    train_cfg.runner.logger = "none"
    env, _ = task_registry.make_env(task, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    return {
        "task": task,
        "engine": env.sim.description,
        "control": {
            "rate_hz": round(1.0 / env.dt, 6),
            "physics_dt_s": env.sim.dt,
            "decimation": env.cfg.control.decimation,
            "action_scale": env.cfg.control.action_scale,
            "motor": env.cfg.control.motor,
            "joints": env.sim.joint_names,
            "default_pose_rad": [round(float(angle), 6) for angle in env.default_dof_pos],
            "base_height_target_m": round(float(env.base_height_target), 4),
        },
        "groups": {group: _group(env, group) for group in env.group_dims},
        "rewards": dict(flatten(env_cfg.rewards.scales)),
        "randomization": _randomization(env_cfg.domain_rand),
        "networks": _networks(runner.alg),
        "obs_groups": {name: list(groups) for name, groups in flatten(train_cfg.obs_groups)},
        "fields": {
            **{f"env.{name}": value for name, value in flatten(env_cfg)},
            **{f"train.{name}": value for name, value in flatten(train_cfg)},
        },
    }


def _group(env: Any, group: str) -> dict[str, Any]:
    observations = env.observations
    noise = env.cfg.noise.noise_level if env.cfg.noise.add_noise and group == "policy" else 0.0
    terms = []
    for name, columns in observations.slices(group).items():
        term = observations.terms[name]
        terms.append(
            {
                "name": name,
                "dim": term.dim,
                "slice": [columns.start, columns.stop],
                "scale": list(term.scale) if isinstance(term.scale, tuple) else term.scale,
                "noise": noise * term.noise,
                "unit": term.unit,
            }
        )
    return {"dim": observations.dim(group), "terms": terms}


def _randomization(cfg: Any) -> dict[str, Any]:
    """Switch, range and unit of every randomised quantity."""
    from legged_gym_ext.envs.base.events import RANDOMIZED

    table = {}
    for name, (switch, fields, unit, when) in RANDOMIZED.items():
        table[name] = {
            "on": getattr(cfg, switch),
            "switch": f"env.domain_rand.{switch}",
            "range": {field: getattr(cfg, field) for field in fields},
            "unit": unit,
            "when": when,
        }
    return table


def _networks(alg: Any) -> dict[str, Any]:
    """Modules of the algorithm, as torch prints them, with the number of trainable parameters."""
    import torch

    # Our algorithms hold one network of named parts, rsl-rl-lib's hold the parts themselves.
    parts = dict(alg.network.named_children()) if hasattr(alg, "network") else vars(alg)
    modules = {
        name: module
        for name, module in parts.items()
        if isinstance(module, torch.nn.Module)
        and not name.startswith("_")
        and any(
            True for layer in module.modules() if isinstance(layer, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.GRU))
        )
    }
    return {
        name: {
            "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
            "layers": [list(layer.weight.shape) for layer in module.modules() if isinstance(layer, torch.nn.Linear)],
        }
        for name, module in modules.items()
    }


def _show(description: dict[str, Any], fields: bool) -> None:
    control = description["control"]
    print(f"task {description['task']} on {description['engine']}")
    print(
        f"control {control['rate_hz']:g} Hz = {control['decimation']} x {1e3 * control['physics_dt_s']:g} ms; motor {control['motor']}; "
        f"action scale {control['action_scale']:g}; standing height {control['base_height_target_m']:g} m"
    )
    for group, table in description["groups"].items():
        print(f"\nobservations '{group}' ({table['dim']})")
        for term in table["terms"]:
            start, stop = term["slice"]
            noise = f"  noise +-{term['noise']:g}" if term["noise"] else ""
            print(
                f"  [{start:>3}:{stop:>3}]  {term['name']:<18} {term['dim']:>3}  [{term['unit']}]  scale {term['scale']}{noise}"
            )
    print("\nrewards per second (weight 0 is left out)")
    for name, weight in description["rewards"].items():
        if weight:
            print(f"  {name:<20} {weight:g}")
    print("\nrandomisation")
    for name, row in description["randomization"].items():
        values = ", ".join(str(value) for value in row["range"].values()) if row["on"] else "off"
        print(
            f"  {name:<18} {values}  [{row['unit']}]  {row['when']}; --{row['switch']}={str(not row['on']).lower()} changes it"
        )
    print("\nnetworks")
    sets, frames = description["obs_groups"], description["fields"].get("train.actor.history_length")
    for name, row in description["networks"].items():
        reads = ", ".join(sets.get(READS.get(name, name), [])) or "-"
        if name == "history_encoder":
            reads = f"{frames} frames of {reads}"
        print(f"  {name}: reads {reads}; {row['parameters']} parameters; layers {row['layers']}")
    if fields:
        print("\nfields")
        for name, value in description["fields"].items():
            print(f"  --{name}={value}")


if __name__ == "__main__":
    run_main(main)
