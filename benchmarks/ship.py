"""Make a policy part of the package: `ship.py --task=go2_rma --load_run=RUN --checkpoint=2441`.

Writes `legged_gym_ext/resources/policies/<task>/`: the weights, rounded to half precision, and settings as a run
folder, `policy.onnx`, compared with the policy, and `card.json` with what was measured of it. TorchScript would be the
weights once more: `export.py --task=go2_rma --pretrained --out=FOLDER` writes it. Entries of a card:

    task, method, policy   name, algorithm, and who acts: "policy", or "student" where there is one
    checkpoint, seed       iteration, seed of the training
    steps, hours           control steps of all robots; collecting and learning
    date, commit           of the training's end; of the code that exported
    command                that trains it: the settings in which the run differs from the task
    resumed_from           run that it continued, with whose settings up to there; null
    parts                  of a training that was resumed, oldest first: run, last iteration, command (null: unknown)
    began_with             another policy whose networks it began with; null
    shipped_with           this command
    evaluation             `evaluate.py`: robots, seed, metrics by policy
    ladder                 `evaluate.py --ladder` on rough ground: robots, seed, levels by policy; null on flat ground
    sim2sim                `sim2sim.py --episodes` on the plane: flags, metrics, and the tolerance of the test of them

Evaluations that exist are not repeated: `--measured FILE ...` names what `evaluate.py --json` wrote of this checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.errors import UserError, run_main

METRICS = ("linear_tracking", "yaw_tracking", "linear_rmse", "yaw_rmse", "fall_rate", "energy")
EPISODES, SECONDS = 8, 8.0  # of the trial in sim2sim
MATRIX = 1024  # numbers, from which on it is worth the rounding
TOLERANCE = {"linear_tracking": 0.05, "yaw_tracking": 0.05, "fall_rate": 2 / EPISODES}
"""How far another machine's trial may be from the card's: contacts amplify rounding, so episodes differ."""

OF_MACHINE = {
    "env": ("sim.engine", "sim.device", "sim.num_threads"),
    "train": ("runner.device", "runner.resume", "runner.load_run", "runner.checkpoint", "runner.run_name",
              "runner.experiment_name", "runner.logger", "runner.video"),
}  # fmt: skip
"""Settings of a run that a shipped folder has from its task: they name a machine or a run, not a policy."""


def main(argv: list[str] | None = None) -> int:
    """Write the folder and return the exit code."""
    parser = make_parser("Make a folder of legged_gym_ext/resources/policies from a run.")
    parser.add_argument("--measured", nargs="*", default=[], metavar="FILE", help="what evaluate.py --json wrote of it")
    parser.add_argument("--began_with", metavar="WORDS", help='whose networks it began with: "go2_rma\'s 30.0 M steps"')
    parser.add_argument("--robots_per_level", type=int, default=16, metavar="N", help="of the ladder; default: 16")
    args = parse(parser, argv)
    from legged_gym_ext.scripts import sim2sim
    from legged_gym_ext.simulators import prepare_engine

    prepare_engine("mujoco")
    from legged_gym_ext.training.policies import run_cfgs
    from legged_gym_ext.training.runs import find_checkpoint

    _, train_cfg, run_dir = run_cfgs(args.task, args)
    assert run_dir is not None
    checkpoint = find_checkpoint(run_dir, train_cfg.runner.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, args.task)
        card = {**write_run(args.task, run_dir, checkpoint, made), "began_with": args.began_with}
        card.update(export(args.task, made, f"{run_dir.parent.name}/{run_dir.name}"))
        card["shipped_with"] = f"python benchmarks/ship.py --task={args.task} --load_run={run_dir.name} " + (
            f"--checkpoint={card['checkpoint']}"
        )
        card.update(measure(args, made, checkpoint))
        flags = [f"--episodes={EPISODES}", f"--duration={SECONDS:g}", "--seed=12345"]
        result = Path(folder, "sim2sim.json")
        sim2sim.main([f"--policy={made / 'policy.onnx'}", *flags, "--headless", f"--json={result}"])
        found = json.loads(result.read_text(encoding="utf-8"))
        card["sim2sim"] = {"flags": flags, **_rounded(found), "tolerance": TOLERANCE}
        (made / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        target = pretrained.FOLDER / args.task
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in pretrained.FOLDER.rglob("*") if path.is_file())
    print(f"wrote {target}: {size / 1e6:.2f} MB; all shipped policies together: {total / 1e6:.2f} MB")
    return 0


def write_run(task: str, run_dir: Path, checkpoint: Path, made: Path) -> dict[str, Any]:
    """Write weights and settings of a checkpoint to the folder `made`; returns what a card says of the training."""
    import torch

    from legged_gym_ext.training.runs import load_checkpoint, load_run_configs, save_run_configs

    cfgs = settings(task, run_dir)
    made.mkdir()
    save_run_configs(made, *cfgs, task=task)
    saved = load_checkpoint(checkpoint, "cpu")
    steps, seconds = saved["infos"]["total"]
    saved.pop("optimizer_state_dict", None)
    saved["infos"] = {"task": task, "env": {"command_ranges": saved["infos"]["env"]["command_ranges"]}}
    torch.save(rounded(saved, {}), made / checkpoint.name)
    runner = load_run_configs(run_dir)[1]["runner"]
    ended = datetime.datetime.fromtimestamp(checkpoint.stat().st_mtime)
    return {
        "task": task,
        "method": cfgs[1].algorithm.class_name.rpartition(":")[2],
        "checkpoint": saved["iter"],
        "seed": cfgs[1].seed,
        "steps": steps,
        "hours": round(seconds / 3600.0, 2),
        "date": f"{ended:%Y-%m-%d}",
        "command": command(task, run_dir),
        "resumed_from": Path(str(runner["load_run"])).name if runner.get("resume") else None,
        "parts": parts(task, run_dir, saved["iter"]),
    }


def rounded(value: Any, done: dict[tuple, Any]) -> Any:
    """`value` with the matrices of its networks in half precision, which loading makes float32 again; half the size.

    Relative errors of the weights are below 0.05 %: `policy.onnx` is exported from them, and its actions are off by a
    thousandth. Statistics of normalisers, biases and deviations stay as they are.

    Args:
        value: content of a checkpoint.
        done: tensors that stand at several places, by where their memory is; stay one.
    """
    import torch

    if isinstance(value, dict):
        return {name: rounded(item, done) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(rounded(item, done) for item in value)
    if not isinstance(value, torch.Tensor) or value.dtype != torch.float32 or value.dim() < 2 or value.numel() < MATRIX:
        return value
    place = value.data_ptr(), value.shape, value.stride()
    return done.setdefault(place, value.half())


def store_halves(path: Path) -> None:
    """Store the weights of an ONNX file in half precision where that loses nothing; it casts them when it is loaded."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    for weights in list(graph.initializer):
        values = numpy_helper.to_array(weights)
        if values.dtype != np.float32 or values.size < MATRIX:
            continue
        halves = values.astype(np.float16)
        if not np.array_equal(halves, values):
            continue
        graph.initializer.remove(weights)
        graph.initializer.append(numpy_helper.from_array(halves, f"{weights.name}_half"))
        cast = helper.make_node("Cast", [f"{weights.name}_half"], [weights.name], to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def settings(task: str, run_dir: Path) -> tuple[Any, Any]:
    """Configurations of environment and training of a run, with what names its machine as the task has it."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.run_settings import apply_run
    from legged_gym_ext.utils.config import lookup

    own, cfgs = task_registry.get_cfgs(task), task_registry.get_cfgs(task)
    apply_run(run_dir, task, *cfgs)
    for group, cfg, default in zip(("env", "train"), cfgs, own):
        for field in OF_MACHINE[group]:
            section, _, name = field.rpartition(".")
            if hasattr(lookup(cfg, section), name):
                setattr(lookup(cfg, section), name, getattr(lookup(default, section), name))
    runner = cfgs[1].runner
    for field in ("teacher", "start_from"):
        if getattr(runner, field, ""):
            setattr(runner, field, shipped_name(getattr(runner, field)))
    return cfgs


def shipped_name(run: str) -> str:
    """`pretrained:TASK` for the folder of a run that is shipped, otherwise where it would be in a clone."""
    if run.startswith(pretrained.PREFIX):
        return run
    for task in pretrained.tasks():
        if f"--load_run={Path(run).name} " in pretrained.read_card(pretrained.find(task))["shipped_with"]:
            return f"{pretrained.PREFIX}{task}"
    return f"logs/{Path(run).parent.name}/{Path(run).name}"


def command(task: str, run_dir: Path, *more: str) -> str:
    """The command that trains with the settings of a run, and the flags `more`."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.run_settings import flat
    from legged_gym_ext.utils.config import to_dict

    own, cfgs = task_registry.get_cfgs(task), settings(task, run_dir)
    before, now = (dict(flat({"env": to_dict(env), "train": to_dict(train)})) for env, train in (own, cfgs))
    skipped = ("env.seed", "train.seed", "env.domain_rand.seed")
    changed = [f"--{name}={_text(now[name])}" for name in now if name not in skipped and now[name] != before.get(name)]
    flags = [f"--task={task}", "--headless", f"--seed={cfgs[1].seed}", *more, *changed]
    return shlex.join(["python", "legged_gym_ext/scripts/train.py", *flags])


def parts(task: str, run_dir: Path, until: int) -> list[dict[str, Any]]:
    """What a training that was resumed consists of, oldest first; empty for one that was not.

    Args:
        task: name of the task.
        run_dir: the last run; those before it are looked for where it says, and beside it.
        until: last iteration that counts.
    """
    from legged_gym_ext.training.runs import find_checkpoint, load_run_configs

    found: list[dict[str, Any]] = []
    while True:
        runner = load_run_configs(run_dir)[1]["runner"]
        part: dict[str, Any] = {"run": run_dir.name, "until": until, "command": command(task, run_dir)}
        found.insert(0, part)
        if not runner.get("resume"):
            return found if len(found) > 1 else []
        named = Path(str(runner["load_run"]))
        run_dir = named if named.is_absolute() and named.is_dir() else run_dir.parent / named.name
        if not run_dir.is_dir():
            return [{"run": named.name, "until": None, "command": None}, *found]
        until = int(find_checkpoint(run_dir, runner["checkpoint"]).stem.rpartition("_")[2])
        resumed = ("--resume", f"--load_run={run_dir.name}", f"--checkpoint={until}")
        part["command"] = command(task, Path(run_dir.parent, part["run"]), *resumed)


def _text(value: Any) -> str:
    """A value as the command line takes it."""
    return ",".join(map(_text, value)) if isinstance(value, (list, tuple)) else str(value)


def export(task: str, made: Path, run: str) -> dict[str, Any]:
    """Write `policy.onnx`, which names the run as `run`; returns the policy's role and the commit."""
    from legged_gym_ext.deploy.export.writer import export_policies
    from legged_gym_ext.scripts.export import NUM_ENVS, level_ground, make_sources
    from legged_gym_ext.training.policies import run_cfgs

    parser = make_parser("")
    args = parse(parser, [f"--task={task}", f"--load_run={made}", f"--num_envs={NUM_ENVS}", "--rl_device=cpu"])
    env_cfg, train_cfg, run_dir = run_cfgs(task, args, level_ground)
    assert run_dir is not None
    sources, _ = make_sources(task, env_cfg, train_cfg, run_dir)
    first = sources[0]  # the one to deploy
    contract = dataclasses.replace(first.contract, provenance={**first.contract.provenance, "run": run})
    with tempfile.TemporaryDirectory() as folder:
        report = export_policies([dataclasses.replace(first, contract=contract)], Path(folder) / "exported")
        for line in report.statements:
            print(line)
        shutil.copy(Path(folder, "exported", "policy.onnx"), made)
    store_halves(made / "policy.onnx")
    return {"policy": contract.role, "commit": contract.provenance["git_commit"]}


def measure(args: argparse.Namespace, made: Path, checkpoint: Path) -> dict[str, Any]:
    """Evaluation and ladder of the folder, as a card has them; what `--measured` has is not measured again."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.scripts import evaluate

    found: dict[str, Any] = {}
    for name in args.measured:
        values = json.loads(Path(name).read_text(encoding="utf-8"))
        if (values["task"], Path(values["checkpoint"]).name) != (args.task, checkpoint.name):
            raise UserError(f"--measured {name} is of {values['checkpoint']}, not of {checkpoint}; leave it out")
        found = evaluate.merge_results({**found, "checkpoint": values["checkpoint"]}, values) if found else values
    result, flags = made.parent / "evaluation.json", [f"--task={args.task}", f"--load_run={made}"]
    policies = found.get("policies", {})
    rough = task_registry.get_cfgs(args.task)[0].terrain.mesh_type != "plane"
    if not policies or any("linear_tracking" not in metrics for metrics in policies.values()):
        robots = [] if args.num_envs is None else [f"--num_envs={args.num_envs}"]
        evaluate.main([*flags, *robots, f"--json={result}"])
    ladders = [metrics.get("ladder_level") for metrics in policies.values()]
    if rough and (not ladders or not all(ladders)):
        evaluate.main([*flags, "--ladder", f"--robots_per_level={args.robots_per_level}", f"--json={result}"])
    if result.is_file():
        now = json.loads(result.read_text(encoding="utf-8"))
        for name, metrics in now["policies"].items():
            policies.setdefault(name, {}).update(metrics)
        found = {**found, **now}
    evaluation = {"robots": found["num_envs"], "seed": found["seed"]}
    evaluation["policies"] = {name: _rounded(metrics) for name, metrics in policies.items()}
    deployed = policies.get("student", next(iter(policies.values())))
    if not rough:
        return {"evaluation": evaluation, "ladder": None}
    setup, by_policy = deployed["ladder_setup"], {}
    for name, metrics in policies.items():
        by_policy[name] = {"score": round(metrics["ladder_score"], 4), "level": metrics["ladder_level"]}
    ladder = {"score": round(deployed["ladder_score"], 4), **setup, "policies": by_policy}
    return {"evaluation": evaluation, "ladder": ladder}


def _rounded(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: round(metrics[name], 4) for name in METRICS}


if __name__ == "__main__":
    run_main(main)
