"""The whole state of an environment as one dictionary, so that a resumed training continues where it stopped."""

from __future__ import annotations

from collections.abc import Collection
from operator import index
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.envs.base import events

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot

BUFFERS = (
    "commands", "standing", "episode_length_buf", "actions", "last_actions", "last_last_actions", "last_dof_vel",
    "push_velocity", "feet_air_time", "last_foot_contact", "last_foot_pos", "start_pos",
    "commanded_way", "_critic_frames",
    "obs_buf", "privileged_obs_buf", "critic_obs_buf",
)  # fmt: skip

DRAWN_FROM = ("domain_rand.", "terrain.", "asset.", "init_state.", "commands.ranges.")
"""Settings that a snapshot holds draws of, or positions on: with others it describes robots that there cannot be."""


def take_snapshot(env: LeggedRobot) -> dict[str, Any]:
    """Copies of all state: buffers, physics and its parameters, curriculum, random generator."""
    snapshot: dict[str, Any] = {
        "num_envs": env.num_envs,
        "buffers": {name: getattr(env, name).clone() for name in BUFFERS},
        "params": {name: value.clone() for name, value in env.params.items()},
        "episode_sums": dict(zip(env.rewards.names, env.rewards.episode_sums.clone())),
        "command_ranges": env.command_sampler.ranges.clone(),
        "terrain_levels": env.terrain.levels.clone(),
        "rng": env.rng.get_state(),
        "common_step_counter": env.common_step_counter,
        "nan_resets": env.nan_resets,
        "sim": env.sim.state_dict(),
    }
    if env.obs_history is not None:
        snapshot["obs_history"] = env.obs_history.clone()
    return snapshot


def restore_snapshot(env: LeggedRobot, snapshot: dict[str, Any], changed: Collection[str] = ()) -> str | None:
    """Put `env` into a state taken by `take_snapshot`.

    Args:
        env: the environment.
        snapshot: of an environment of the same task.
        changed: fields of the configuration that are not as they were then.

    Returns:
        None when everything was restored; otherwise what was not: with another number of environments (or another
        physics model, or after a change of what episodes are drawn from) only the curriculum and the counters carry
        over.
    """
    redrawn = [field for field in changed if field.startswith(DRAWN_FROM)]
    restore_curriculum(env, snapshot, ranges=not any(field.startswith("commands.ranges.") for field in redrawn))
    # index: a damaged file's counters may be no whole numbers, which would be noticed only in a later step
    env.common_step_counter, env.nan_resets = (index(snapshot[name]) for name in ("common_step_counter", "nan_resets"))
    if redrawn:
        env.reset()  # they still stand where they were, on other tiles perhaps
        return f"robots start new episodes: {', '.join(redrawn)} changed"
    own = take_snapshot(env)
    if _shapes(own) != _shapes(snapshot):
        env.reset()
        return (
            "robots start new episodes: the checkpoint was written with another number of environments or another model"
        )
    for name, value in snapshot["buffers"].items():
        if name in ("obs_buf", "privileged_obs_buf", "critic_obs_buf"):
            setattr(env, name, value.to(env.device))
        else:
            getattr(env, name).copy_(value)
    for name, value in snapshot["params"].items():
        env.params[name].copy_(value)
    for row, name in enumerate(env.rewards.names):
        env.rewards.episode_sums[row].copy_(snapshot["episode_sums"].get(name, torch.zeros(1)))
    if env.obs_history is not None:
        env.obs_history.copy_(snapshot["obs_history"])
    events.apply_parameters(env)
    env.sim.load_state_dict(snapshot["sim"])
    env.rng.set_state(snapshot["rng"].cpu())
    return None


def restore_curriculum(env: LeggedRobot, snapshot: dict[str, Any], ranges: bool = True) -> None:
    """Put robots on the levels of the ground that they had reached, and widen commands as they were.

    Args:
        env: the environment, whose robots still have to be reset.
        snapshot: of an environment with the same kinds of ground; its number of robots may be another.
        ranges: whether the ranges of commands carry over, too.
    """
    if ranges:
        env.command_sampler.ranges.copy_(snapshot["command_ranges"])
    robots = torch.arange(env.num_envs, device=env.device)
    # With another number of robots each takes the level of one that was on the same column.
    levels = snapshot["terrain_levels"].to(env.device)
    env.terrain.place(robots, levels[robots * index(snapshot["num_envs"]) // env.num_envs])


def _shapes(snapshot: dict[str, Any]) -> dict[str, Any]:
    groups = ("buffers", "params", "sim")
    shapes = {f"{g}.{n}": tuple(v.shape) for g in groups for n, v in snapshot[g].items() if isinstance(v, torch.Tensor)}
    shapes["history"] = tuple(snapshot["obs_history"].shape) if "obs_history" in snapshot else ()
    return shapes
