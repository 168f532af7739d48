"""Loads policies from run folders, for play, evaluate and export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.training import pretrained
from legged_gym_ext.training.next_step import training_command
from legged_gym_ext.training.run_settings import apply_run
from legged_gym_ext.training.runs import find_checkpoint, find_run
from legged_gym_ext.utils.cli import apply_args_to_cfgs
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from tensordict import TensorDict

    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from legged_gym_ext.training.runner import TrainRunner
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

WEIGHTS_ONLY = {"actor": True, "critic": True, "optimizer": False, "iteration": False}
"""Parts of a checkpoint that inference needs, as rsl-rl-lib's `load` names them."""


class Policy:
    """A deterministic policy: observation groups (N, ...) -> actions (N, A); may have a state, see `reset`.

    Runs any network or policy that is called with observations and has, if it is stateful, `reset(dones)`: without
    gradients, and on its own device where observations are on another one.
    """

    def __init__(self, network: Any, device: torch.device | str) -> None:
        """Run `network`, whose parameters are on `device`."""
        self.network, self.device = network, device

    def __call__(self, observations: TensorDict) -> torch.Tensor:
        """Actions (N, A) on the device of `observations`."""
        with torch.inference_mode():
            return self.network(observations.to(self.device)).to(observations.device)

    def reset(self, dones: torch.Tensor) -> None:
        """Reset the state (histories, recurrent states) of robots with `dones` (N,); to be called after each step."""
        if hasattr(self.network, "reset"):
            self.network.reset(dones.to(self.device))

    def on_acted(self, actions: torch.Tensor) -> None:
        """Tell a policy that remembers its actions that `actions` (N, A) were executed instead of its last ones."""
        if hasattr(self.network, "on_acted"):
            self.network.on_acted(actions.to(self.device))

    @property
    def std(self) -> torch.Tensor:
        """(A,) standard deviation of the actions in training."""
        distribution = getattr(self.network, "distribution", None)  # of rsl-rl-lib's models, which know it by name only
        if distribution is None:
            return self.network.output_std
        log_std = getattr(distribution, "log_std_param", None)
        return (distribution.std_param if log_std is None else log_std.exp()).detach()


def run_cfgs(
    task: str | None,
    args: argparse.Namespace,
    change: Callable[[LeggedRobotCfg], None] | None = None,
    *,
    trained: bool = True,
) -> tuple[LeggedRobotCfg, LeggedRobotCfgPPO, Path | None]:
    """Configurations for a look at a run: the task's, overwritten by the run's, by `change`, then by the flags.

    Args:
        task: name of the task.
        args: parsed command line; `log_root`, `experiment_name` and `load_run` choose the run (default: the newest),
            `pretrained` the shipped policy.
        change: edits the environment configuration before flags and overrides are applied.
        trained: load the run's configurations; without, those of the task are the base.

    Returns:
        Environment configuration, training configuration, run folder (None without a run).
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.runs import log_root

    cli_env, cli_train = task_registry.get_cfgs(task)
    apply_args_to_cfgs(args, cli_env, cli_train)  # these select the run
    env_cfg, train_cfg = task_registry.get_cfgs(task)
    run_dir = None
    if trained:
        shipped = pretrained.find_for(task, args, cli_train.runner)
        if shipped is not None:
            print(pretrained.describe(shipped))
        run_dir = shipped or _find_run(task, args, cli_train, log_root(args))
        apply_run(run_dir, str(task), env_cfg, train_cfg)
    # Which checkpoint is loaded, and on which engine and devices, is not a setting of the run.
    for field in ("engine", "device", "num_threads"):
        setattr(env_cfg.sim, field, getattr(cli_env.sim, field))
    for field in ("device", "experiment_name", "load_run", "checkpoint"):
        setattr(train_cfg.runner, field, getattr(cli_train.runner, field))
    if change is not None:
        change(env_cfg)
    apply_args_to_cfgs(args, env_cfg, train_cfg)
    train_cfg.runner.resume, train_cfg.runner.logger = False, "none"
    return env_cfg, train_cfg, run_dir


def _find_run(task: str | None, args: argparse.Namespace, train_cfg: LeggedRobotCfgPPO, log_root: Path) -> Path:
    """The run to load; if there is none, the error names the command that trains one, and a shipped policy."""
    runner_cfg = train_cfg.runner
    try:
        return find_run(log_root, runner_cfg.experiment_name, runner_cfg.load_run)
    except UserError as error:
        command = training_command(str(task), train_cfg, log_root)
        # Not every program has the flag, export.py for one.
        flag = hasattr(args, "pretrained") and runner_cfg.load_run in (None, -1, "-1", "")
        shipped = "; without training: add --pretrained" if flag and task in pretrained.tasks() else ""
        raise UserError(f"{error} (to train: {command}{shipped})") from error


def load_policies(
    env: LeggedRobot, task: str, train_cfg: LeggedRobotCfgPPO, run_dir: Path | None
) -> tuple[RslRlVecEnv, dict[str, Policy], Path]:
    """Load the policies of a run's checkpoint (`runner.checkpoint`, the newest by default).

    Returns:
        The wrapped environment, policies by name (`policy`, or `teacher` and `student` where a method has both), and
        the checkpoint's path.
    """
    if run_dir is None:
        raise ValueError("a policy is loaded from a run folder: call run_cfgs with trained=True")
    path = find_checkpoint(run_dir, train_cfg.runner.checkpoint)
    runner, policies = load_networks(env, task, train_cfg, path)
    return runner.env, policies, path


def load_networks(
    env: LeggedRobot, task: str, train_cfg: LeggedRobotCfgPPO, path: Path
) -> tuple[TrainRunner, dict[str, Policy]]:
    """A runner with the networks of a file, and its policies by name, which change with what it loads later."""
    from legged_gym_ext.envs import task_registry

    runner, _ = task_registry.make_alg_runner(env, task, train_cfg, log_root=None)
    runner.load(str(path), load_cfg=dict(WEIGHTS_ONLY))
    named = getattr(runner.alg, "inference_policies", None)
    networks = named() if named is not None else {"policy": runner.get_inference_policy(runner.device)}
    return runner, {name: Policy(network, runner.device) for name, network in networks.items()}


def hold_command(env: LeggedRobot, command: tuple[float, float, float]) -> None:
    """Command all robots vx, vy [m/s] and yaw rate [rad/s] from the next observation on, across resets."""
    commands = env.cfg.commands
    commands.heading_command = commands.curriculum = False
    commands.zero_fraction = commands.min_lin_vel = 0.0
    values = torch.tensor(command, dtype=torch.float32, device=env.device)
    env.command_sampler.ranges[:3] = values[:, None]  # every sample is this command
    env.commands[:, :3] = values
    env.standing[:] = False
