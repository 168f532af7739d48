"""Measures policies of the colour maze: one episode in every maze, without exploration."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.training.uncertainty import standard_errors
from legged_gym_ext.utils.errors import pluralize
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

if TYPE_CHECKING:
    from legged_gym_ext.envs.colour_maze.colour_maze import ColourMaze
    from legged_gym_ext.envs.colour_maze.colour_maze_config import ColourMazeCfg
    from legged_gym_ext.training.policies import Policy

SEED = 54321
UNITS = {
    "success": "share of mazes whose target is reached in the first episode",
    "lava": "share that ends in lava",
    "return": "sum of rewards of the episode",
    "path_cells": "cells of the path that are visited",
    "episode_length": "steps",
}
"""Metric -> unit."""


def prepare(env_cfg: ColourMazeCfg) -> None:
    """Let an evaluation begin at the start, in mazes that the run, whose configuration this still is, has not seen."""
    env_cfg.maze.exploring_starts = 0.0
    env_cfg.maze.unlike_seed, env_cfg.maze.unlike_envs = env_cfg.seed, env_cfg.env.num_envs


def describe_episodes(env: ColourMaze) -> str:
    """What an evaluation runs, in words."""
    return f"in {pluralize(env.num_envs, 'maze')} that it was not trained on, {env.max_episode_length} steps at most"


@dataclass
class Outcome:
    """What a policy made of the first episode in every maze."""

    success: torch.Tensor
    """(N,) bool, the target was reached."""
    lava: torch.Tensor
    """(N,) bool, the episode ended in lava."""
    returns: torch.Tensor
    """(N,) sums of rewards."""
    lengths: torch.Tensor
    """(N,) steps."""
    visits: torch.Tensor
    """(N, 21, 21) bool, the cells that were entered."""
    path: torch.Tensor
    """(N, 21, 21) bool, the cells of the path."""

    @functools.cached_property
    def path_cells(self) -> torch.Tensor:
        """(N,) cells of the path that were visited; to be read when the episodes have ended."""
        return (self.visits & self.path).flatten(1).sum(-1)

    def metrics(self, rows: torch.Tensor | slice = slice(None)) -> dict[str, float]:
        """The metrics of `UNITS` over the mazes `rows` (mask or slice)."""
        return {
            "success": float(self.success[rows].float().mean()),
            "lava": float(self.lava[rows].float().mean()),
            "return": float(self.returns[rows].mean()),
            "path_cells": float(self.path_cells[rows].float().mean()),
            "episode_length": float(self.lengths[rows].mean()),
        }


@torch.inference_mode()
def run_mazes(vec_env: Any, policy: Any) -> Outcome:
    """Run `policy`, observations -> actions (N, A), for the first episode in every maze."""
    env = vec_env.env
    env.reset()
    alive = torch.ones(env.num_envs, dtype=torch.bool)
    getattr(policy, "reset", lambda dones: None)(alive)
    zeros, path = torch.zeros(env.num_envs), env.grids == 2
    result = Outcome(~alive, ~alive, zeros, zeros.clone(), torch.zeros_like(path), path)
    for _ in range(env.max_episode_length):
        _, rewards, dones, _ = vec_env.step(policy(vec_env.get_observations()))
        getattr(policy, "reset", lambda dones: None)(dones)
        result.returns += rewards * alive
        result.lengths += alive
        result.success |= alive & env.success_buf
        result.lava |= alive & env.lava_buf
        result.visits |= env.visited & alive[:, None, None]
        alive &= ~env.reset_buf
        if not bool(alive.any()):
            break
    return result


def evaluate_policy(vec_env: Any, policy: Any, on_step: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """The metrics of `UNITS` for `policy`, over the first episode in every maze, and their "standard_error"."""
    found = run_mazes(vec_env, policy)
    return {**found.metrics(), "standard_error": standard_errors(found.metrics, len(found.success))}


class Comparison:
    """Teacher and student in mazes of their own while they learn; training is not affected."""

    def __init__(self, env: ColourMaze, groups: tuple[str, ...], num_envs: int) -> None:
        """Draw `num_envs` mazes that `env` has not."""
        cfg = copy.deepcopy(env.cfg)
        prepare(cfg)
        cfg.env.num_envs, cfg.seed = num_envs, SEED
        self._env = RslRlVecEnv(type(env)(cfg), groups)  # pyright: ignore[reportArgumentType]

    def run(self, policies: dict[str, Policy]) -> dict[str, dict[str, float]]:
        """Metrics of each policy, all in the same mazes."""
        return {name: run_mazes(self._env, policy).metrics() for name, policy in policies.items()}
