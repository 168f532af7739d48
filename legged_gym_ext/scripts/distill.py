"""Clone a student from a data set, without a simulator: `distill.py --dataset=data/expert --student=TCN`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.foreign import parse_json
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, pluralize, run_main, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from legged_gym_ext.training.stopping import GracefulStop
    from rsl_rl_ult.offline import Cloning
    from rsl_rl_ult.storage.dataset import Dataset

STUDENTS = {"MLP": "bc", "TCN": "bc", "GRU": "bc", "ULT": "bc_ult"}
"""Student -> method of its task."""

STATE, SOURCE = "cloning.pt", "params/dataset.json"
"""In a run folder: the state to resume from, and what it learns from."""

REPORT_INTERVAL = 30.0  # s between two lines inside a pass


def main(argv: list[str] | None = None) -> int:
    """Clone and return the exit code."""
    parser = make_parser(
        "Teach a student the teacher's actions in a data set of collect.py, without an environment. Stops when the "
        "error on held-out episodes no longer falls, and writes the best student to a run folder that evaluate.py, "
        "play.py, export.py, sim2sim.py and report.py read like any other. One iteration is one pass over the data."
    )
    add_flags(parser)
    args = parse(parser, argv)
    limit_spinning()
    _check(args)
    from legged_gym_ext.training.output import tolerate_broken_stdout
    from legged_gym_ext.training.stopping import GracefulStop

    with tolerate_broken_stdout("the cloning"), GracefulStop() as stop:
        _distill(args, stop)
    return 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of cloning."""
    add = parser.add_argument
    add("--dataset", action="append", metavar="FOLDER", help="data set of collect.py; may be given several times")
    add(
        "--student",
        choices=tuple(STUDENTS),
        help="network: history encoder MLP (default), TCN or GRU; or a transformer",
    )
    add("--transitions", type=int, metavar="N", help="learn from the first shards only, with this many transitions")
    add("--target", choices=("teacher", "executed"), help="actions to learn: the teacher's (default) or the executed")
    add("--max_iterations", type=int, metavar="N", help="most passes over the data, those before --resume included")
    add("--resume", action="store_true", help="continue a run (newest, or --load_run), exactly as if never interrupted")
    add("--logger", choices=("tensorboard", "none"), help="where scalars go")


def _check(args: argparse.Namespace) -> None:
    """Raise a `UserError` for invalid flags."""
    if not args.dataset and not args.resume:
        raise UserError("--dataset is missing: expected a folder that collect.py wrote")
    if args.task is not None:
        from legged_gym_ext.envs import task_registry

        task_registry.require_robot(args.task, "distill.py clones teachers of robots")
    if args.resume:
        for flag in ("dataset", "student", "transitions", "target"):
            if getattr(args, flag) is not None:
                raise UserError(f"--{flag} with --resume: a run keeps what it began with; leave one out")
        if args.task is None:
            raise UserError("--resume needs the run's --task, such as --task=go2_bc")
    for flag in ("transitions", "max_iterations"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag}={value}: expected at least 1")


def _distill(args: argparse.Namespace, stop: GracefulStop) -> None:
    import torch

    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.runs import discard_run, log_root, new_run_dir, save_run_configs
    from legged_gym_ext.utils.cpus import usable_cpus

    root = log_root(args)
    torch.set_num_threads(usable_cpus())
    task, env_cfg, train_cfg, source, run_dir = _resumed(args, root) if args.resume else _new(args)
    dataset = _open(source)
    set_seed(train_cfg.seed)
    cloning = _make_cloning(dataset, env_cfg, train_cfg, source)
    state = None if run_dir is None else _load_state(run_dir)
    if run_dir is None:
        run_dir = new_run_dir(root, train_cfg.runner.experiment_name, train_cfg.runner.run_name)
        try:
            save_run_configs(run_dir, env_cfg, train_cfg, task)
            _write(run_dir / SOURCE, json.dumps({**source, "teacher": dataset.card.get("teacher")}, indent=2).encode())
        except UserError:
            discard_run(run_dir)
            raise
    else:
        try:
            cloning.load_state_dict(state or {})
        except Exception as error:  # contents of another form fail wherever they are used
            raise UserError(f"cannot resume {run_dir}: {' '.join(str(error).split())[:200]}") from error
    sizes = pluralize(cloning.transitions, "transition"), pluralize(len(dataset.shards), "shard")
    print(f"cloning {task}: {_kind(train_cfg)} student from {' in '.join(sizes)}\nrun folder: {run_dir}")
    stop.defer()
    try:
        _train(task, cloning, dataset, train_cfg, run_dir, stop)
    except (KeyboardInterrupt, ValueError) as ended:
        kept = f"kept {_checkpoint(run_dir, cloning)}" if cloning.best_pass else "there is nothing to keep"
        if not cloning.best_pass:
            discard_run(run_dir)
        if isinstance(ended, ValueError):
            raise UserError(f"{ended}; {kept}") from ended
        print(f"\nended early in pass {cloning.passes + 1}, which is lost; {kept}")
        raise
    print(_next_steps(task, train_cfg, root, run_dir, cloning))


def _kind(train_cfg: LeggedRobotCfgPPO) -> str:
    return getattr(train_cfg.actor, "history_encoder", "ULT")


def _new(args: argparse.Namespace) -> tuple[str, LeggedRobotCfg, LeggedRobotCfgPPO, dict[str, Any], None]:
    """Task, configurations, and what to learn from, of a new run."""
    from rsl_rl_ult.storage.dataset import read_card

    try:
        card = read_card(Path(args.dataset[0]))
    except ValueError as error:
        raise UserError(f"--dataset={args.dataset[0]}: {error}") from error
    with user_errors(f"--dataset={args.dataset[0]}: its card cannot be used"):
        return _settings_for(args, card)


def _settings_for(
    args: argparse.Namespace, card: dict[str, Any]
) -> tuple[str, LeggedRobotCfg, LeggedRobotCfgPPO, dict[str, Any], None]:
    """As `_new`, for a data set with this card."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.config import update_from_dict

    method = STUDENTS[args.student or "MLP"]
    task = args.task or task_registry.with_method(card["task"], method)
    if task is None and card["task"] is None:
        raise UserError(
            f"--dataset={args.dataset[0]} comes from {card.get('source')}, which does not say what the data are of: "
            "name the task, such as --task=go2_bc"
        )
    if task is None:
        raise UserError(
            f"the data set is of task '{card['task']}', for which there is no task of the method '{method}': give one "
            "with --task, and --import what registers it"
        )
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    if not hasattr(train_cfg.algorithm, "cloning_rate"):
        raise UserError(f"--task={task} is not learnt from data: expected a task such as go2_bc, or leave --task out")
    if env_cfg.asset.name != card.get("robot", env_cfg.asset.name):
        raise UserError(
            f"the data set is of robot '{card['robot']}', task '{task}' is of '{env_cfg.asset.name}': name a data set "
            "of the same robot"
        )
    try:
        update_from_dict(env_cfg, card.get("env", {}))
    except UserError as error:
        raise UserError(f"--dataset={args.dataset[0]}: recorded with another version: {error}") from error
    if hasattr(train_cfg.actor, "history_encoder"):
        if args.student == "ULT":
            raise UserError(
                f"--student=ULT: task '{task}' has a history encoder; use --task=...bc_ult, or leave it out"
            )
        train_cfg.actor.history_encoder = args.student or "MLP"  # pyright: ignore
    elif args.student not in (None, "ULT"):
        raise UserError(f"--student={args.student}: task '{task}' is a transformer; leave one out")
    if args.target is not None:
        train_cfg.algorithm.target = args.target  # pyright: ignore
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    source = {"folders": [str(Path(os.path.expanduser(folder)).resolve()) for folder in args.dataset]}
    return task, env_cfg, train_cfg, {**source, "transitions": args.transitions}, None


def _resumed(
    args: argparse.Namespace, root: Path
) -> tuple[str, LeggedRobotCfg, LeggedRobotCfgPPO, dict[str, Any], Path]:
    """Task, configurations, and what to learn from, of a run that goes on in its own folder."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.run_settings import apply_run
    from legged_gym_ext.training.runs import find_run

    asked = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, *asked)
    run_dir = find_run(root, asked[1].runner.experiment_name, asked[1].runner.load_run)
    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    apply_run(run_dir, args.task, env_cfg, train_cfg)
    if args.max_iterations is not None:
        train_cfg.runner.max_iterations = args.max_iterations
    try:
        source = parse_json((run_dir / SOURCE).read_text(encoding="utf-8"))
        if not all(isinstance(folder, str) for folder in source["folders"]):
            raise TypeError("folders")
        if not isinstance(source["transitions"], (int, type(None))):
            raise TypeError("transitions")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot resume {run_dir}: {SOURCE} cannot be read; it was not written by distill.py"
        ) from error
    return args.task, env_cfg, train_cfg, source, run_dir


def _open(source: dict[str, Any]) -> Dataset:
    from rsl_rl_ult.storage.dataset import Dataset

    try:
        dataset = Dataset(*source["folders"])
        if source["transitions"] is not None:
            dataset.limit(source["transitions"])
    except ValueError as error:
        raise UserError(f"--dataset: {error}") from error
    return dataset


def _make_cloning(
    dataset: Dataset, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, source: dict[str, Any]
) -> Cloning:
    """The networks of the task, and what trains their student."""
    from dataclasses import fields

    import torch

    from legged_gym_ext.envs.base.observations import group_dims
    from legged_gym_ext.training.make_runner import check_device, to_rsl_cfg
    from rsl_rl_ult.algorithms import construct
    from rsl_rl_ult.offline import Cloning
    from rsl_rl_ult.offline.behaviour_cloning import CloningSettings

    check_device(train_cfg.runner.device)
    card, cfg = dataset.card, to_rsl_cfg(train_cfg)
    with user_errors(f"--dataset={source['folders'][0]}"):
        dims = group_dims(env_cfg)
        if "groups" in card:
            dims = {**card["groups"], "critic": card["groups"]["critic"] * env_cfg.env.critic_frames}
        obs = {name: torch.zeros(1, dim) for name, dim in dims.items()}
        settings = CloningSettings(**{f.name: cfg["algorithm"][f.name] for f in fields(CloningSettings)})
        method: Any = construct.resolve(cfg["algorithm"]["class_name"], "rsl_rl_ult.algorithms")
        network, sets = construct.make_network(method, obs, env_cfg.env.num_actions, cfg)
        network.to(train_cfg.runner.device)
        return Cloning(network, dataset, settings, sets["actor"], train_cfg.seed)


def _load_state(run_dir: Path) -> dict[str, Any]:
    import torch

    try:
        return torch.load(run_dir / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for broken files
        raise UserError(f"cannot resume {run_dir}: {STATE} is missing or damaged; begin a new run") from error


def _train(
    task: str, cloning: Cloning, dataset: Dataset, train_cfg: LeggedRobotCfgPPO, run_dir: Path, stop: GracefulStop
) -> None:
    """Passes until the held-out error no longer falls; saves after each."""
    writer = _logger(train_cfg, run_dir)
    try:
        while cloning.passes < train_cfg.runner.max_iterations and not cloning.done:
            begin = shown = time.monotonic()
            losses: list[float] = []
            for loss in cloning.train_pass():
                losses.append(loss)
                if stop.request is not None:
                    raise stop.request
                if time.monotonic() - shown >= REPORT_INTERVAL:
                    shown = time.monotonic()
                    print(f"  pass {cloning.passes + 1}: step {len(losses)}  loss {loss:.4f}", flush=True)
            error, mean = cloning.end_pass(), sum(losses) / len(losses)
            seconds = time.monotonic() - begin
            _save(task, cloning, dataset, train_cfg, run_dir)
            rates = {"Loss/cloning": mean, "Loss/held_out": error, "Loss/waited": cloning.waited}
            for tag, value in {**rates, "Perf/learning_time": seconds, "Perf/collection_time": 0.0}.items():
                if writer is not None:
                    writer.add_scalar(tag, value, cloning.passes - 1)
            best = "  best" if cloning.best_pass == cloning.passes else f"  (best {cloning.best_error:.5f})"
            print(
                f"pass {cloning.passes}/{train_cfg.runner.max_iterations}  loss {mean:.5f}  held out {error:.5f}"
                f"{best}  {seconds:.0f} s, {cloning.waited:.0%} waiting for data",
                flush=True,
            )
            if stop.request is not None:
                raise stop.request
    finally:
        if writer is not None:
            writer.stop()


def _logger(train_cfg: LeggedRobotCfgPPO, run_dir: Path) -> Any:
    """Writer of tensorboard's files; None without one."""
    if train_cfg.runner.logger != "tensorboard":
        return None
    try:
        from legged_gym_ext.training.tensorboard_writer import TensorboardWriter

        return TensorboardWriter(str(run_dir))
    except (ImportError, OSError) as error:
        print(f"no curves are written: {error}", file=sys.stderr)
        return None


def _save(task: str, cloning: Cloning, dataset: Dataset, train_cfg: LeggedRobotCfgPPO, run_dir: Path) -> None:
    """The best student as the run's only checkpoint, and the state to resume from."""
    import torch

    from legged_gym_ext.training.runs import checkpoints

    path = _checkpoint(run_dir, cloning)
    method = train_cfg.algorithm.class_name.rpartition(":")[2]
    ranges = dataset.card.get("command_ranges")  # trained commands, for the contract of an export
    infos = {"task": task, "env": {} if ranges is None else {"command_ranges": torch.tensor(ranges)}}
    if cloning.best_pass == cloning.passes:
        _save_file(path, {**cloning.checkpoint(method), "iter": cloning.best_pass, "infos": infos})
    _save_file(run_dir / STATE, cloning.state_dict())
    for other in checkpoints(run_dir).values():
        if other != path:
            other.unlink()


def _checkpoint(run_dir: Path, cloning: Cloning) -> Path:
    return run_dir / f"model_{cloning.best_pass}.pt"


def _save_file(path: Path, content: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    from legged_gym_ext.training.runs import atomic_write

    atomic_write(path, lambda target: target.write_bytes(content))


def _next_steps(task: str, train_cfg: LeggedRobotCfgPPO, root: Path, run_dir: Path, cloning: Cloning) -> str:
    """What came out, and the commands that evaluate and show it."""
    from legged_gym_ext.simulators import has_display
    from legged_gym_ext.training.next_step import script_command, task_flags

    flags = task_flags(task, train_cfg.runner, root, run_dir)
    display = [] if has_display() else ["--web"]
    passes = "1 pass" if cloning.passes == 1 else f"{cloning.passes} passes"
    return (
        f"done after {passes}: held-out error {cloning.best_error:.5f} in pass {cloning.best_pass}. "
        "Next:\n"
        f"  {script_command('evaluate', flags)}\n  {script_command('play', [*flags, *display])}"
    )


if __name__ == "__main__":
    run_main(main)
