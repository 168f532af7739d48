"""Show what a task is made of: `describe.py --task=go2`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.errors import run_main

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

READS = {
    "privilege_encoder": ["privileged"],
    "history_encoder": ["actor"],
    "proxy_encoder": ["actor", "privileged"],
    "frame_tokenizer": ["actor"],
    "privilege_tokenizer": ["privileged"],
}
"""Network -> observation sets, where it is not the set of the same name."""

READS_TOKENS = {
    "transformer": "tokens H and E",
    "actor": "output of H_t",
    "teacher_head": "output of E_t",
    "prediction_head": "outputs of H",
}
"""Network -> what it reads, in tasks with a transformer."""

DRAWN_WINDOW, DRAWN_STEPS, DRAWN_END = 4, 5, 2
"""The segment that shows who attends to whom: frames of the window at most, steps, and those before an episode ends."""


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
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    from legged_gym_ext.simulators import prepare_engine

    prepare_engine(env_cfg.sim.engine)
    description = describe(args.task, env_cfg, train_cfg)
    if args.json:
        import json

        print(json.dumps(description, indent=2))
    else:
        _show(description, args.fields)
    return 0


def describe(task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> dict[str, Any]:
    """Everything that is decided when a task is built, as plain data; builds one robot and the networks."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.config import flatten

    fields = {
        **{f"env.{name}": value for name, value in flatten(env_cfg)},
        **{f"train.{name}": value for name, value in flatten(train_cfg)},
    }
    # Enough to look at; `fields` says what a training gets.
    env_cfg.env.num_envs, train_cfg.runner.logger = 1, "none"
    env: Any = task_registry.make_env(task, env_cfg)[0]
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    return {
        "task": task,
        "engine": env.sim.description,
        **(_robot(env, env_cfg) if hasattr(env_cfg, "asset") else env.describe()),
        "networks": _networks(runner.alg),
        "attention": describe_attention(getattr(runner.alg, "network", None), env.dt),
        "obs_groups": {name: list(groups) for name, groups in flatten(train_cfg.obs_groups)},
        "fields": fields,
    }


def _robot(env: LeggedRobot, env_cfg: LeggedRobotCfg) -> dict[str, Any]:
    """What a robot's environment is made of."""
    from legged_gym_ext.envs.base.randomization import RANDOMIZED
    from legged_gym_ext.utils.config import flatten

    return {
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
        "terrain": _terrain(env.terrain),
        "randomization": {name: row.describe(env_cfg) for name, row in RANDOMIZED.items()},
    }


def _group(env: LeggedRobot, group: str) -> dict[str, Any]:
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


def _terrain(terrain: Any) -> dict[str, Any] | None:
    """The map: its size, how many columns each kind of tile has, and the difficulty of its levels; None on a plane."""
    if terrain.is_flat:
        return None
    ground = terrain.map
    return {
        "size_m": list(ground.size),
        "tile_m": list(ground.tile_size),
        "columns": {kind: ground.kinds.count(kind) for kind in ground.kinds},
        "difficulty": [row / ground.rows for row in range(ground.rows)],
        "boxes": len(ground.boxes),
        "fields": len(ground.fields),
    }


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


def describe_attention(network: Any, dt: float) -> dict[str, Any] | None:
    """Sizes of the transformer of `network`, and `lines` that show who attends to whom; None without a transformer.

    Args:
        network: of the algorithm, None where it has none.
        dt: seconds between frames.
    """
    transformer = getattr(network, "transformer", None)
    if transformer is None:
        return None
    from legged_gym_ext.reports.attention_picture import draw_mask, token_lines

    layers, window = len(transformer.blocks), transformer.window
    numbers = {
        "window": window,
        "layers": layers,
        "heads": transformer.heads,
        "width": transformer.width,
        "context_frames": transformer.context,
        "reach_s": round(transformer.context * dt, 6),
        "cache_floats": (window - 1) * layers * 2 * transformer.width,
        "frame_dim": network.dims["actor"],
        "action_dim": network.num_actions,
        "privileged_dim": network.dims["privileged"],
        "shared_action_head": network.teacher_head is None,
        "head_reads_frame": network.head_reads_frame,
        "critic_input": network.critic_input,
    }
    drawn = min(window, DRAWN_WINDOW)
    context = drawn - 1
    head = [f"drawn with T = {drawn}; this task has T = {window}"]
    if context:
        head.append(f"H_{-context} to H_-1 are frames from before the rollout; older ones are left out")
    picture = draw_mask(_segment_mask(drawn, context), DRAWN_STEPS, (context + DRAWN_END,))
    return {**numbers, "lines": [*head, *picture, "", *token_lines(numbers)]}


def _segment_mask(window: int, context: int) -> list[list[bool]]:
    """Which frame (rows) sees which (columns) by the transformer's mask, in a segment with the end of an episode."""
    import torch

    from rsl_rl_ult.modules.attention import band_mask

    before = range(window, window + context + DRAWN_END)  # long enough for the first frame to have a whole window
    age = torch.tensor([[*before, *range(1, DRAWN_STEPS - DRAWN_END + 1)]])
    return (band_mask(age, window)[0, 0] == 0.0).tolist()


def _reads(name: str, description: dict[str, Any]) -> str:
    """What a network reads, in words."""
    sets, attention = description["obs_groups"], description["attention"]
    found = ", ".join(group for one in READS.get(name, [name]) for group in sets.get(one, [])) or "-"
    if name == "history_encoder":
        return f"{description['fields'].get('train.actor.history_length')} frames of {found}"
    if attention is None:
        return found
    if name == "frame_tokenizer":
        return f"{found}, last action"
    if name == "critic" and attention["critic_input"] == "privilege_token":
        return READS_TOKENS["teacher_head"]
    if name == "actor" and attention["shared_action_head"]:
        tokens = "outputs of H_t and E_t"
    else:
        tokens = READS_TOKENS.get(name, found)
    if attention["head_reads_frame"] and name in ("actor", "teacher_head"):
        tokens += f", {', '.join(sets['actor'])}"
    return tokens


def _show(description: dict[str, Any], fields: bool) -> None:
    print(f"task {description['task']} on {description['engine']}")
    if "control" in description:
        _show_control(description["control"], description["terrain"])
    for group, table in description["groups"].items():
        print(f"\nobservations '{group}' ({table['dim']})")
        for term in table["terms"]:
            start, stop = term["slice"]
            noise = f"  noise +-{term['noise']:g}" if term["noise"] else ""
            print(
                f"  [{start:>3}:{stop:>3}]  {term['name']:<18} {term['dim']:>3}  [{term['unit']}]  "
                f"scale {term['scale']}{noise}"
            )
    print(f"\nrewards {'per second' if 'control' in description else 'per step'} (weight 0 is left out)")
    for name, weight in description["rewards"].items():
        if weight:
            print(f"  {name:<20} {weight:g}")
    if "randomization" in description:
        _show_randomization(description["randomization"])
    _show_networks(description)
    if fields:
        print("\nfields")
        for name, value in description["fields"].items():
            print(f"  --{name}={value}")


def _show_control(control: dict[str, Any], ground: dict[str, Any] | None) -> None:
    print(
        f"control {control['rate_hz']:g} Hz = {control['decimation']} x {1e3 * control['physics_dt_s']:g} ms; "
        f"motor {control['motor']}; action scale {control['action_scale']:g}; "
        f"standing height {control['base_height_target_m']:g} m"
    )
    if ground is not None:
        levels, columns = len(ground["difficulty"]), ground["columns"]
        print(
            f"ground {ground['size_m'][0]:g} x {ground['size_m'][1]:g} m, {levels} levels x {sum(columns.values())} "
            f"columns of tiles of {ground['tile_m'][0]:g} x {ground['tile_m'][1]:g} m: "
            f"{', '.join(f'{count} {kind}' for kind, count in columns.items())}"
        )


def _show_randomization(table: dict[str, Any]) -> None:
    print("\nrandomisation")
    for name, row in table.items():
        values = ", ".join(str(value) for value in row["range"].values()) if row["on"] else "off"
        print(f"  {name:<16} {values}  [{row['unit']}]  {row['when']}")
        print(f"  {'':<16} {row['source']}; off with {row['switch_off']}")


def _show_networks(description: dict[str, Any]) -> None:
    print("\nnetworks")
    attention = description["attention"]
    for name, row in description["networks"].items():
        layers = row["layers"]
        if name == "transformer" and attention is not None:  # of one block; all are alike
            layers = f"{attention['layers']} x {layers[: len(layers) // attention['layers']]}"
        print(f"  {name}: reads {_reads(name, description)}; {row['parameters']} parameters; layers {layers}")
    if attention is not None:
        print("\nattention")
        for line in attention["lines"]:
            print(f"  {line}".rstrip())


if __name__ == "__main__":
    run_main(main)
