"""From a run folder to policies that act: shared by play and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from legged_gym_ext.utils.cli import apply_args_to_cfgs
from legged_gym_ext.utils.config import update_from_dict
from legged_gym_ext.utils.runs import find_checkpoint, find_run, load_run_configs


def run_cfgs(task: str, args: Any, change: Callable[[Any], None] | None = None) -> tuple[Any, Any, Path]:
    """Configurations of a trained run: the task's own, then what the run was trained with, then flags and overrides.

    Args:
        task: name of the task.
        args: parsed command line; `experiment_name` and `load_run` choose the run (default: the newest of the task).
        change: edits the environment configuration before flags and overrides are applied.

    Returns:
        Environment configuration, training configuration, run folder.
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.utils.task_registry import log_root

    env_cfg, train_cfg = task_registry.get_cfgs(task)
    run_dir = find_run(log_root(args), args.experiment_name or train_cfg.runner.experiment_name, args.load_run)
    saved_env, saved_train = load_run_configs(run_dir)
    update_from_dict(env_cfg, saved_env)
    update_from_dict(train_cfg, saved_train)
    train_cfg.runner.resume, train_cfg.runner.checkpoint = False, -1
    if change is not None:
        change(env_cfg)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    return env_cfg, train_cfg, run_dir


def load_policies(env: Any, task: str, train_cfg: Any, run_dir: Path) -> tuple[Any, dict[str, Callable[[Any], Any]], Path]:
    """Deterministic policies of a run's checkpoint (`runner.checkpoint`, the newest by default).

    Returns:
        The wrapped environment, policies by name (`policy`, or `teacher` and `student` where a method has both) that
        map observations to actions (N, A), and the checkpoint's path.
    """
    from legged_gym_ext.envs import task_registry

    path = find_checkpoint(run_dir, train_cfg.runner.checkpoint)
    train_cfg.runner.logger = "none"
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    runner.load(str(path), load_cfg={"actor": True, "critic": True})
    named = getattr(runner.alg, "inference_policies", None)
    policies = named() if named is not None else {"policy": runner.get_inference_policy(runner.device)}
    return runner.env, policies, path
