"""Train a task: `train.py --task=go2 --headless`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, from any directory

from legged_gym_ext.utils.cli import add_training_flags, apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.cpus import wait_passively
from legged_gym_ext.utils.errors import run_main


def main(argv: list[str] | None = None) -> int:
    """Train and return the exit code."""
    parser = make_parser("Train a task and write checkpoints to logs/<experiment>/<date>_<run>.")
    add_training_flags(parser)
    args = parse(parser, argv)
    wait_passively()

    from legged_gym_ext.envs import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    from legged_gym_ext.simulators import prepare_engine
    from legged_gym_ext.utils.task_registry import log_root

    prepare_engine(env_cfg.sim.engine)
    train(args.task, env_cfg, train_cfg, log_root(args))
    return 0


def train(task: str, env_cfg: Any, train_cfg: Any, log_root: Path) -> None:
    """Build environment and runner and learn; an interrupted training saves a last checkpoint."""
    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils import processes
    from legged_gym_ext.utils.cpus import usable_cpus
    from legged_gym_ext.utils.task_registry import process_seed, set_seed

    torch.set_num_threads(usable_cpus())
    # Processes of a torchrun see other robots; their networks start from those of the first.
    set_seed(process_seed(train_cfg.seed, processes.rank()))
    env_cfg.seed = process_seed(env_cfg.seed, processes.rank())
    if processes.world_size() > 1 and train_cfg.runner.device.startswith("cuda"):
        train_cfg.runner.device = f"cuda:{processes.local_rank()}"
    env, _ = task_registry.make_env(task, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root)
    iterations = runner.iterations_to_do()
    say = print if processes.rank() == 0 else lambda text: None
    together = f" in each of {processes.world_size()} processes" if processes.world_size() > 1 else ""
    say(
        f"training {task}: {env.num_envs} environments{together} on {env.sim.description}, learning on {runner.device}, {iterations} iterations"
    )
    say(f"run folder: {runner.logger.log_dir}")
    try:
        runner.learn(iterations, init_at_random_ep_len=not train_cfg.runner.resume)
    except KeyboardInterrupt:
        if processes.rank() == 0:
            path = Path(runner.logger.log_dir) / f"model_{runner.current_learning_iteration}.pt"
            runner.save(str(path))
            print(f"\ninterrupted; saved {path}")
        raise
    if processes.world_size() > 1:
        torch.distributed.destroy_process_group()
    if env.nan_resets:
        say(f"{env.nan_resets} environments were reset because their physics became non-finite")
    say(f"done. Next: python legged_gym_ext/scripts/evaluate.py --task={task}   or   play.py --task={task}")


if __name__ == "__main__":
    run_main(main)
