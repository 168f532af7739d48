"""Train a task: `train.py --task=go2 --headless`."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import add_training_flags, apply_args_to_cfgs, make_parser
from legged_gym_ext.utils.cpus import wait_passively
from legged_gym_ext.utils.errors import UserError, run_main


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code.

    Raises:
        UserError: whatever is wrong until the first iteration is done, and a last checkpoint that could not be written.
        KeyboardInterrupt: it was interrupted, after a last checkpoint was written.
    """
    parser = make_parser("Train a task and write checkpoints to logs/<experiment>/<date>_<run>.")
    add_training_flags(parser)
    args = parse(parser, argv)
    wait_passively()

    from legged_gym_ext.envs import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    from legged_gym_ext.simulators import prepare_engine
    from legged_gym_ext.training.output import outlive_reader
    from legged_gym_ext.training.run_settings import resumed_cfgs
    from legged_gym_ext.training.runs import log_root
    from legged_gym_ext.training.teacher import settle_teacher

    root = log_root(args)
    if train_cfg.runner.resume:
        env_cfg, train_cfg = resumed_cfgs(args.task, args, train_cfg.runner, root)
    settle_teacher(train_cfg.runner, args)
    prepare_engine(env_cfg.sim.engine)
    if getattr(train_cfg.runner, "video", False):
        from legged_gym_ext.viewer.training_video import check_filming

        check_filming(env_cfg.sim.engine, train_cfg.runner)
    with outlive_reader("the training"):
        train(args.task, env_cfg, train_cfg, root, args.train_overrides)
    return 0


def train(task: str, env_cfg: Any, train_cfg: Any, log_root: Path, given: Collection[str] = ()) -> None:
    """Build environment and runner and learn; a training that ends early saves a last checkpoint.

    Args:
        task: its name.
        env_cfg: its environment's configuration.
        train_cfg: its training's.
        log_root: where runs are.
        given: fields of `train_cfg` that the user gave, dotted; see `make_alg_runner`.
    """
    from legged_gym_ext.training.runs import discard_run
    from legged_gym_ext.training.stopping import Stop
    from legged_gym_ext.utils import distributed

    say = print if distributed.rank() == 0 else lambda text: None
    with Stop() as stop:
        runner = _make_runner(task, env_cfg, train_cfg, log_root, given)
        runner.stop = stop
        iterations = runner.iterations_to_do()
        run_dir = Path(runner.logger.log_dir) if distributed.rank() == 0 else None
        if train_cfg.runner.resume and iterations == 0:
            if run_dir is not None:
                discard_run(run_dir)
            say(_nothing_to_do(runner, train_cfg.runner))
            distributed.leave()
            return
        _introduce(task, runner, iterations, say)
        try:
            runner.learn(iterations, init_at_random_ep_len=not train_cfg.runner.resume)
        except KeyboardInterrupt:
            stop.begin_saving()
            try:
                if run_dir is not None:
                    _save_early(task, runner, train_cfg.runner, log_root, run_dir)
            finally:
                if stop.agreed:
                    distributed.wait_for_all()  # torchrun ends all when the first one ends
            raise
        except UserError:
            if run_dir is not None:
                discard_run(run_dir)
            raise
    distributed.leave()
    if runner.env.env.nan_resets:
        say(f"resets of environments whose physics became non-finite: {runner.env.env.nan_resets}")
    if run_dir is not None:
        print(_next_steps(task, runner, train_cfg.runner, log_root, run_dir))


def _make_runner(task: str, env_cfg: Any, train_cfg: Any, log_root: Path, given: Collection[str]) -> Any:
    """Environment and runner of this process."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.utils import distributed
    from legged_gym_ext.utils.cpus import usable_cpus

    torch.set_num_threads(usable_cpus())
    # Processes of a torchrun see other robots; their networks start from those of the first.
    set_seed(distributed.process_seed(train_cfg.seed, distributed.rank()))
    env_cfg.seed = distributed.process_seed(env_cfg.seed, distributed.rank())
    if distributed.world_size() > 1 and train_cfg.runner.device.startswith("cuda"):
        train_cfg.runner.device = f"cuda:{distributed.local_rank()}"
    env, _ = task_registry.make_env(task, env_cfg)
    return task_registry.make_alg_runner(env, task, train_cfg, log_root, given)[0]


def _introduce(task: str, runner: Any, iterations: int, say: Any) -> None:
    from legged_gym_ext.utils import distributed
    from legged_gym_ext.utils.errors import count

    env = runner.env.env
    together = f" in each of {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    precision = " in bfloat16" if getattr(runner.alg, "use_mixed_precision", False) else ""
    say(
        f"training {task}: {count(env.num_envs, 'environment')}{together} on {env.sim.description}, "
        f"learning on {runner.device}{precision}, {count(iterations, 'iteration')}"
    )
    say(f"run folder: {runner.logger.log_dir}")


def _nothing_to_do(runner: Any, runner_cfg: Any) -> str:
    """Why a resumed training does not begin, and how to go on."""
    asked, second = runner_cfg.max_iterations, getattr(runner_cfg, "stage2_iterations", None)
    done = runner.current_learning_iteration
    stages = (
        "" if second is None else f" ({second} of them in stage 2, which --train.runner.stage2_iterations=N changes)"
    )
    return (
        f"nothing left to do: {done} of {asked + (second or 0)} iterations are done{stages}; --max_iterations "
        f"counts from the beginning: for 100 more give --max_iterations={max(asked, done - (second or 0)) + 100}"
    )


def _save_early(task: str, runner: Any, runner_cfg: Any, log_root: Path, run_dir: Path) -> None:
    """Write a last checkpoint, unless that of the last whole iteration is there; a run without one leaves no folder."""
    from legged_gym_ext.training.next_step import script_command
    from legged_gym_ext.training.runs import checkpoints, discard_run

    if runner.iterations_done == 0 and discard_run(run_dir):
        print("\nended before the first iteration was done: there is nothing to save")
        return
    path = run_dir / f"model_{runner.current_learning_iteration}.pt"
    if runner.current_learning_iteration not in checkpoints(run_dir):
        runner.save(str(path))
    runner.logger.stop_logging_writer()  # the last curves, too
    flags = _flags(task, runner, runner_cfg, log_root, run_dir)
    print(f"\nended early; saved {path}\nto go on: {script_command('train', [*flags, '--resume'])}")


def _flags(task: str, runner: Any, runner_cfg: Any, log_root: Path, run_dir: Path) -> list[str]:
    """What the next command needs to find the run and the engine that is there."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.next_step import task_flags

    used, usual = runner.env.env.cfg.sim, task_registry.get_cfgs(task)[0].sim
    flags = task_flags(task, runner_cfg, log_root, run_dir)
    flags += [f"--sim={used.engine}"] if used.engine != usual.engine else []
    return flags + ([f"--sim_device={used.device}"] if used.device != usual.device else [])


def _next_steps(task: str, runner: Any, runner_cfg: Any, log_root: Path, run_dir: Path) -> str:
    """What to do with the run, as commands that run from here."""
    from legged_gym_ext.simulators import has_display
    from legged_gym_ext.training.next_step import script_command

    flags = _flags(task, runner, runner_cfg, log_root, run_dir)
    look = [] if has_display() else ["--web"]
    return f"done. Next:\n  {script_command('evaluate', flags)}\n  {script_command('play', [*flags, *look])}"


if __name__ == "__main__":
    run_main(main)
