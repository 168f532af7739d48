"""Train a task: `train.py --task=go2 --headless`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.training import pretrained
from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, run_main
from legged_gym_ext.viewer.web import PORT

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from legged_gym_ext.training.runner import TrainRunner
    from legged_gym_ext.viewer.watch import WatchPage


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code.

    Raises:
        UserError: any mistake up to the end of the first iteration, or a last checkpoint that could not be written.
        KeyboardInterrupt: training was interrupted; a last checkpoint has been written.
    """
    parser = make_parser("Train a task and write checkpoints to logs/<experiment>/<date>_<run>.")
    add_training_flags(parser)
    pretrained.add_flag(parser, "begin with the networks and settings of the policy that is part of this package")
    args = parse(parser, argv)
    limit_spinning()

    from legged_gym_ext.envs import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    if args.preset is not None:
        _use_preset(args, env_cfg, train_cfg)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    from legged_gym_ext.simulators import prepare_engine
    from legged_gym_ext.training import run_settings
    from legged_gym_ext.training.next_step import OFFLINE, training_command
    from legged_gym_ext.training.output import tolerate_broken_stdout
    from legged_gym_ext.training.runs import log_root
    from legged_gym_ext.training.teacher import refuse_other_runs

    root = log_root(args)
    if train_cfg.algorithm.class_name in OFFLINE:
        script, _ = OFFLINE[train_cfg.algorithm.class_name]
        first = "its command records one, too: " if script == "multi_task" else "record one with collect.py, then: "
        raise UserError(
            f"task '{args.task}' learns from a data set, not in a simulator; {first}"
            + training_command(args.task, train_cfg, root)
        )
    shipped = pretrained.find_for(args.task, args, train_cfg.runner)
    if shipped is not None:
        env_cfg, train_cfg = run_settings.fine_tuning_cfgs(args.task, args, shipped)
    if train_cfg.runner.resume:
        refuse_other_runs(args)
        env_cfg, train_cfg = run_settings.resumed_cfgs(args.task, args, train_cfg.runner, root)
    prepare_engine(env_cfg.sim.engine)
    if getattr(train_cfg.runner, "video", False):
        task_registry.require_robot(args.task, "--video films robots", "leave that out")
        from legged_gym_ext.viewer.training_video import prepare_recording

        prepare_recording(env_cfg.sim.engine, train_cfg.runner)
    given = [*args.train_overrides, *(["runner.max_iterations"] if args.max_iterations is not None else [])]
    with tolerate_broken_stdout("the training"):
        train(args.task, env_cfg, train_cfg, root, given, shipped, _watch_page(args))
    return 0


def _watch_page(args: argparse.Namespace) -> WatchPage | None:
    """The page of `--watch`, of which process 0 has one."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils import distributed

    if args.watch is None:
        return None
    from legged_gym_ext.viewer.watch import WatchPage
    from legged_gym_ext.viewer.web import parse_address

    task_registry.require_robot(args.task, "--watch shows robots", "leave that out")
    address = parse_address(args.watch, "--watch")
    return WatchPage(*address) if distributed.rank() == 0 else None


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of training."""
    add = parser.add_argument
    add(
        "--max_iterations",
        type=int,
        metavar="N",
        help="iterations to train in all, those before --resume included; "
        "with two stages those of the first, and the second gets no more than as many",
    )
    add(
        "--resume",
        action="store_true",
        help="continue a run (newest, or --load_run and --checkpoint) with its settings and what else is given here",
    )
    add(
        "--preset",
        metavar="NAME",
        help="sizes for another machine: gpu (4096 robots in MuJoCo Warp, wide networks); other flags come after it",
    )
    add(
        "--teacher",
        metavar="RUN",
        help="run folder or checkpoint of a teacher of the same robot, or pretrained:TASK: only its student is trained "
        "(TS, RMA, DAgger)",
    )
    add(
        "--start_from",
        metavar="RUN",
        help="run folder or checkpoint of the same robot, or pretrained:TASK: a new training begins with its networks "
        "on its levels; it may be of another method with the same parts (TS, RMA, CTS, SITT, DAgger)",
    )
    add(
        "--logger",
        choices=("tensorboard", "wandb", "none"),
        help="where scalars go; wandb stays offline unless WANDB_MODE is set",
    )
    add(
        "--watch",
        nargs="?",
        const=str(PORT),
        metavar="[HOST:]PORT",
        help="show the newest policy on one robot on a page for browsers on this machine, in a process of low "
        f"priority; default: {PORT}, 0: any free port; other hosts than 127.0.0.1: with a token",
    )
    add(
        "--video",
        dest="video_of_training",  # play.py's --video is a file
        action="store_true",
        help="film the policy every train.runner.video_interval iterations (50), into videos/ of the run",
    )


def _use_preset(args: argparse.Namespace, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> None:
    """Apply `--preset` to a new training of robots."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.envs.presets import apply_preset

    if args.resume:
        raise UserError("--preset is for a new training: --resume continues with the settings of the run; leave it out")
    task_registry.require_robot(args.task, "--preset is made for robots", "leave that out")
    apply_preset(args.preset, env_cfg, train_cfg)


def train(
    task: str,
    env_cfg: LeggedRobotCfg,
    train_cfg: LeggedRobotCfgPPO,
    log_root: Path,
    given: Collection[str] = (),
    shipped: Path | None = None,
    page: WatchPage | None = None,
) -> None:
    """Build environment and runner and train; a training that is interrupted saves a last checkpoint.

    Args:
        task: name of the task.
        env_cfg: configuration of the environment.
        train_cfg: configuration of the training.
        log_root: folder of all experiments.
        given: dotted fields of `train_cfg` set by the user; see `make_runner`.
        shipped: folder of a policy of this package (training/pretrained.py), whose networks the training begins with.
        page: shows the newest policy while it learns.

    Raises:
        UserError: see `main`.
        KeyboardInterrupt: see `main`.
    """
    from legged_gym_ext.training.number_watch import BrokenNumberError
    from legged_gym_ext.training.runs import checkpoints, discard_run
    from legged_gym_ext.training.stopping import GracefulStop
    from legged_gym_ext.utils import distributed

    log_once: Callable[[str], None] = print if distributed.rank() == 0 else lambda text: None
    with GracefulStop() as stop:
        runner = _make_runner(task, env_cfg, train_cfg, log_root, given)
        runner.stop = stop
        iterations = runner.iterations_to_do()
        run_dir = Path(runner.logger.log_dir or "") if distributed.rank() == 0 else None
        if shipped is not None:
            _begin_with(runner, shipped, run_dir, given, log_once)
        if train_cfg.runner.resume and iterations == 0:
            if run_dir is not None:
                discard_run(run_dir)
            log_once(_nothing_to_do(runner, train_cfg.runner))
            distributed.shut_down()
            return
        _print_header(task, runner, iterations, log_once)
        if page is not None and run_dir is not None:
            page.attach(runner, [*_flags(task, runner, train_cfg.runner, log_root, None), f"--load_run={run_dir.name}"])
            print(f"watch: {page.url}")
        try:
            runner.learn(iterations, init_at_random_ep_len=not train_cfg.runner.resume)
        except KeyboardInterrupt:
            stop.begin_saving()
            try:
                if run_dir is not None:
                    _save_early(task, runner, train_cfg.runner, log_root, run_dir)
            finally:
                if stop.synchronized:
                    distributed.barrier()  # torchrun kills all when the first one exits
            raise
        except BrokenNumberError as error:
            runner.logger.stop_logging_writer()  # flushes the curves; the folder stays, for the report in it
            if run_dir is None or not checkpoints(run_dir):
                raise
            go_on = _command_to_go_on(task, runner, train_cfg.runner, log_root, run_dir)
            raise UserError(f"{error}; to go on there, with the cause or a learning rate changed: {go_on}") from error
        except UserError:
            if run_dir is not None:
                discard_run(run_dir)
            raise
        finally:
            if page is not None:
                page.close()
    distributed.shut_down()
    if runner.env.env.nan_resets:
        log_once(f"resets of environments whose physics became non-finite: {runner.env.env.nan_resets}")
    if run_dir is not None:
        print("\n  ".join(["done. Next:", *_looks(task, runner, train_cfg.runner, log_root, run_dir)]))


def _make_runner(
    task: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO, log_root: Path, given: Collection[str]
) -> TrainRunner:
    """Environment and runner of this process."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.utils import distributed
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    # Each process of a torchrun has robots of its own; the networks start from those of rank 0.
    set_seed(distributed.process_seed(train_cfg.seed, distributed.rank()))
    env_cfg.seed = distributed.process_seed(env_cfg.seed, distributed.rank())
    for section in (train_cfg.runner, env_cfg.sim) if distributed.world_size() > 1 else ():
        if section.device.startswith("cuda"):  # each process learns and simulates on a GPU of its own
            section.device = f"cuda:{distributed.local_rank()}"
    env, _ = task_registry.make_env(task, env_cfg)
    return task_registry.make_alg_runner(env, task, train_cfg, log_root, given)[0]


def _begin_with(
    runner: TrainRunner,
    shipped: Path,
    run_dir: Path | None,
    given: Collection[str],
    log_once: Callable[[str], None],
) -> None:
    """Load the networks of a shipped policy; where they do not fit, the new run folder is removed."""
    from legged_gym_ext.training.policies import WEIGHTS_ONLY
    from legged_gym_ext.training.runs import discard_run, find_checkpoint
    from legged_gym_ext.training.start_from import begin_gently

    try:
        runner.load(str(find_checkpoint(shipped)), load_cfg=dict(WEIGHTS_ONLY))
    except UserError:
        if run_dir is not None:
            discard_run(run_dir)
        raise
    log_once(
        f"beginning with the {pretrained.describe(shipped)}; the optimizer and the levels of the ground start anew"
    )
    log_once(begin_gently(runner, given))


def _print_header(task: str, runner: TrainRunner, iterations: int, log_once: Callable[[str], None]) -> None:
    """What is trained, on which engine and device, and the run folder."""
    from legged_gym_ext.training.stages import figures_of, legend
    from legged_gym_ext.utils import distributed
    from legged_gym_ext.utils.errors import display_path, pluralize, python_command

    env = runner.env.env
    together = f" in each of {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    precision = " in bfloat16" if getattr(runner.alg, "use_mixed_precision", False) else ""
    log_once(
        f"training {task}: {pluralize(env.num_envs, 'environment')}{together} on {env.sim.description}, "
        f"learning on {runner.device}{precision}, {pluralize(iterations, 'iteration')}"
        f"{_second_stage(runner.cfg, iterations)}"
    )
    log_once(f"run folder: {runner.logger.log_dir}")
    if runner.cfg["logger"]["class_name"].endswith(":TensorboardWriter"):
        folder = display_path(runner.logger.log_dir or "")
        log_once(f"curves: {shlex.join([python_command(), '-m', 'tensorboard.main', f'--logdir={folder}'])}")
    robots = hasattr(env.cfg, "asset")
    levels, compared = robots and env.cfg.terrain.mesh_type != "plane", runner.logger.compare is not None
    log_once(legend(figures_of(robots=robots, levels=levels, compared=compared)))


def _second_stage(runner_cfg: Mapping[str, Any], iterations: int) -> str:
    """How many of the last `iterations` are a second stage, and how to change that; "" where there is one stage."""
    second = runner_cfg.get("stage2_iterations")
    if second is None or runner_cfg.get("teacher"):
        return ""
    return f" ({min(second, iterations)} of them in stage 2, which --train.runner.stage2_iterations=N changes)"


def _nothing_to_do(runner: TrainRunner, runner_cfg: type[LeggedRobotCfgPPO.runner]) -> str:
    """Why a resumed training has no iterations left, and how to continue."""
    first, second = runner_cfg.max_iterations, getattr(runner_cfg, "stage2_iterations", 0)
    done, stages = runner.current_learning_iteration, _second_stage(runner.cfg, first + second)
    more = max(first, done - second) + 100
    if runner_cfg.teacher:  # there is no stage but the student's
        more = done + 100
    return (
        f"nothing left to do: {done} of {first + second} iterations are done{stages}; --max_iterations "
        f"counts from the beginning: for 100 more give --max_iterations={more}"
    )


def _save_early(
    task: str, runner: TrainRunner, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path, run_dir: Path
) -> None:
    """Write a last checkpoint unless it exists; remove the folder of a run without any complete iteration."""
    from legged_gym_ext.training.runs import checkpoints, discard_run

    if runner.iterations_done == 0 and discard_run(run_dir):
        print("\nended before the first iteration was done: there is nothing to save")
        return
    path = run_dir / f"model_{runner.current_learning_iteration}.pt"
    if runner.current_learning_iteration not in checkpoints(run_dir):
        runner.save(str(path))
    runner.logger.stop_logging_writer()  # flushes the curves
    go_on = _command_to_go_on(task, runner, runner_cfg, log_root, run_dir)
    rest = "\n".join(f"  {line}" for line in _looks(task, runner, runner_cfg, log_root, run_dir))
    print(f"\nended early; saved {path}\nto go on: {go_on}\nto measure and to see it:\n{rest}")


def _command_to_go_on(
    task: str, runner: TrainRunner, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path, run_dir: Path
) -> str:
    """Command that resumes the run."""
    from legged_gym_ext.training.next_step import script_command

    return script_command("train", [*_flags(task, runner, runner_cfg, log_root, run_dir), "--resume"])


def _flags(
    task: str, runner: TrainRunner, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path, run_dir: Path | None
) -> list[str]:
    """Flags with which the next command finds the run and uses the same engine."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.next_step import task_flags

    used, default = runner.env.env.cfg.sim, task_registry.get_cfgs(task)[0].sim
    flags = task_flags(task, runner_cfg, log_root, run_dir)
    flags += [f"--sim={used.engine}"] if used.engine != default.engine else []
    return flags + ([f"--sim_device={used.device}"] if used.device != default.device else [])


def _looks(
    task: str, runner: TrainRunner, runner_cfg: type[LeggedRobotCfgPPO.runner], log_root: Path, run_dir: Path
) -> list[str]:
    """Commands that evaluate and show the run."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.simulators import has_display
    from legged_gym_ext.training.next_step import script_command
    from legged_gym_ext.utils.errors import display_path

    flags = _flags(task, runner, runner_cfg, log_root, run_dir)
    if task in task_registry.robot_tasks:
        show = script_command("play", [*flags, *([] if has_display() else ["--web"])])
    else:
        show = script_command("report", [display_path(run_dir)])
    return [script_command("evaluate", flags), show]


if __name__ == "__main__":
    run_main(main)
