"""Trained policies, ready to act: what `play.py` and `evaluate.py` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import torch

from legged_gym_ext.utils.cli import apply_args_to_cfgs
from legged_gym_ext.utils.config import update_from_dict
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.runs import find_checkpoint, find_run, load_run_configs
from legged_gym_ext.utils.task_registry import LOG_ROOT

if TYPE_CHECKING:
    from tensordict import TensorDict

WEIGHTS_ONLY = {"actor": True, "critic": True, "optimizer": False, "iteration": False}
"""What acting needs of a checkpoint, in the words of rsl-rl-lib's `load`."""


class Policy:
    """Observation groups (N, ...) -> actions (N, A), deterministic, on whatever device the networks are."""

    def __init__(self, network: Any, device: torch.device | str, source: Path) -> None:
        """Wrap `network`, which lives on `device` and was read from `source`."""
        self.network, self.device, self.source = network, device, source

    def __call__(self, observations: TensorDict) -> torch.Tensor:
        """Actions (N, A) on the device of `observations`."""
        with torch.inference_mode():
            return self.network(observations.to(self.device)).to(observations.device)

    def reset(self, dones: torch.Tensor) -> None:
        """Forget what robots with `dones` (N,) remember (recurrent networks, histories); call it after every step."""
        if hasattr(self.network, "reset"):
            self.network.reset(dones.to(self.device))


def load_policies(env: Any, task: str, train_cfg: Any, log_root: Path | None = None) -> dict[str, Policy]:
    """The policies of a trained run by name: {"policy": ...}; a method with several ways to act returns several.

    Args:
        env: a `LeggedRobot`.
        task: its task.
        train_cfg: as `run_cfgs` returns it; runner.experiment_name, load_run and checkpoint choose the file.
        log_root: folder of the experiments, by default `logs/`.

    Raises:
        UserError: no such checkpoint, or it does not fit the task.
    """
    from legged_gym_ext.envs import task_registry

    runner_cfg = train_cfg.runner
    run_dir = find_run(log_root or LOG_ROOT, runner_cfg.experiment_name, runner_cfg.load_run)
    path = find_checkpoint(run_dir, runner_cfg.checkpoint)
    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    runner.load(str(path), load_cfg=dict(WEIGHTS_ONLY))
    return {"policy": Policy(runner.get_inference_policy(runner.device), runner.device, path)}


def run_cfgs(
    task: str | None,
    args: argparse.Namespace,
    *,
    adjust: Callable[[Any], None] | None = None,
    trained: bool = True,
    log_root: Path | None = None,
) -> tuple[Any, Any, Path | None]:
    """Configurations to look at a trained run: the task's, then what the run saved, then `adjust`, then the flags.

    Args:
        task: name in the registry.
        args: parsed flags; they also say which run.
        adjust: changes the environment's configuration, so that the user's overrides still win.
        trained: whether a run is wanted; otherwise the task's own configurations are the start.
        log_root: folder of the experiments, by default `logs/`.

    Returns:
        Environment and training configurations, and the run folder (None without a run).
    """
    from legged_gym_ext.envs import task_registry

    asked_env, asked_train = task_registry.get_cfgs(task)
    apply_args_to_cfgs(args, asked_env, asked_train)  # says which run, before its configuration is known
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    run_dir = None
    if trained:
        run_dir = _find_run(task, asked_train.runner, log_root or LOG_ROOT)
        saved_env, saved_train = load_run_configs(run_dir)
        update_from_dict(env_cfg, saved_env)
        update_from_dict(train_cfg, saved_train)
    # A run knows what was learned; where it is shown is decided here and now.
    for field in ("engine", "device", "num_threads"):
        setattr(env_cfg.sim, field, getattr(asked_env.sim, field))
    for field in ("device", "experiment_name", "load_run", "checkpoint"):
        setattr(train_cfg.runner, field, getattr(asked_train.runner, field))
    if adjust is not None:
        adjust(env_cfg)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    train_cfg.runner.resume, train_cfg.runner.logger = False, "none"
    if run_dir is not None:
        train_cfg.runner.load_run = str(run_dir)  # the newest run may be another one by the time it is loaded
    return env_cfg, train_cfg, run_dir


def _find_run(task: str | None, runner_cfg: Any, log_root: Path) -> Path:
    """The run to load; where there is none yet, the error says how to train one."""
    try:
        return find_run(log_root, runner_cfg.experiment_name, runner_cfg.load_run)
    except UserError as error:
        raise UserError(f"{error} (train: python legged_gym_ext/scripts/train.py --task={task})") from error


def hold_command(env: Any, command: tuple[float, float, float]) -> None:
    """Command all robots vx, vy [m/s] and yaw rate [rad/s] from the next observation on, also after resets."""
    commands = env.cfg.commands
    commands.heading_command = commands.curriculum = False
    commands.zero_fraction = commands.min_lin_vel = 0.0
    values = torch.tensor(command, dtype=torch.float32, device=env.device)
    env.command_sampler.ranges[:3] = values[:, None]  # whatever is sampled is this
    env.commands[:, :3] = values
    env.standing[:] = False
