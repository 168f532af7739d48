"""`train.py --start_from`: a new training that begins with the networks of another run, of any method that has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from legged_gym_ext.envs.base.snapshot import restore_curriculum
from legged_gym_ext.foreign import refuse_code
from legged_gym_ext.training.run_settings import flat
from legged_gym_ext.training.runs import load_checkpoint, load_run_configs
from legged_gym_ext.training.teacher import check_meaning, find_source, observations
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError, user_errors

FLAG = "--start_from"
LEARNING_RATE = 2e-4
"""Where an adaptive schedule begins: after steps of the usual 1e-3 a trained policy falls."""

TOLERANCE = 1e-4
"""Difference of mean actions, before `control.action_scale`, up to which two policies act alike: float32 rounding."""


def start_from(runner: Any, env_cfg: Any, wanted: str, log_root: Path, given: Collection[str] = ()) -> list[str]:
    """Begin with the networks of another run, on its levels of the ground, and with a low learning rate.

    Args:
        runner: a runner that has not learnt yet.
        env_cfg: configuration of its environment.
        wanted: run folder or checkpoint, as `teacher.find_source` reads it.
        log_root: where runs are.
        given: dotted fields of the training configuration that the user set; a learning rate among them stays.

    Returns:
        Lines for the user: what was taken over, and what was not.

    Raises:
        UserError: there is no such run, it is of another robot, its observations or actions mean something else, or
            its networks have other shapes.
    """
    if not hasattr(runner.alg, "begin_with"):
        raise UserError(
            f"{FLAG}={wanted}: task '{runner.task}' is trained by rsl-rl-lib's own PPO, which goes on with --resume or "
            "begins with --pretrained"
        )
    run_dir, path = find_source(wanted, log_root, FLAG)
    saved_env, saved_train = load_run_configs(run_dir)
    with user_errors(f"{FLAG}={wanted}"):
        refuse_code(saved_train, f"{run_dir}/params/train.json")
        check_meaning(run_dir, saved_env, env_cfg, runner.task, critic_is_read=True)
        sets = saved_train.get("obs_groups", {})
        saved = load_checkpoint(path, runner.device)
        taken = runner.alg.begin_with(saved, saved_train, observations(runner.env, sets))
        levels = _restore_levels(runner.env.env, saved, saved_env)
    rate = begin_gently(runner, given)
    return [f"beginning with the networks of {path}{levels}", rate, *_notes(taken, saved_train, runner)]


def begin_gently(runner: Any, given: Collection[str]) -> str:
    """Bring an adaptive learning rate down to `LEARNING_RATE` where the user did not give one; the line that says so.

    Args:
        runner: a runner with trained networks and a new optimizer.
        given: dotted fields of the training configuration that the user set.
    """
    alg = runner.alg
    adaptive = getattr(alg, "adaptive", getattr(alg, "schedule", "") == "adaptive")  # rsl-rl-lib's own has the latter
    if adaptive and "algorithm.learning_rate" not in given:
        runner.set_learning_rates({"learning_rate": min(LEARNING_RATE, alg.learning_rate)})
    return f"learning rate: {alg.learning_rate:.2g} at first"


def _restore_levels(env: Any, saved: dict[str, Any], saved_env: dict[str, Any]) -> str:
    """Put the robots on the levels of the checkpoint; how that is said, "" where there are none."""
    snapshot = saved["infos"]["env"]
    if "terrain_levels" not in snapshot or env.cfg.terrain.mesh_type == "plane":
        return ""
    restore_curriculum(env, snapshot, ranges=saved_env["commands"]["ranges"] == to_dict(env.cfg.commands.ranges))
    env.reset()
    return f"; robots begin on its levels of the ground, {float(env.terrain.levels.float().mean()):.1f} on average"


def _notes(taken: Any, saved_train: dict[str, Any], runner: Any) -> Iterator[str]:
    """What a user should know of the beginning: new parts, policies that act in another way."""
    if taken.new:
        yield f"not in the run, and new: {', '.join(taken.new)}"
    if "critic" in taken.new:
        yield "a new critic undoes much of a trained policy in its first updates"
    gaps = {name: gap for name, gap in taken.gaps.items() if gap > TOLERANCE}
    if gaps:
        found = " and ".join(f"{name} by up to {gap:.2g}" for name, gap in gaps.items())
        before, now = (dict(flat(cfg["actor"])) for cfg in (saved_train, runner.cfg))
        fields = [name for name in now if name != "class_name" and (name not in before or before[name] != now[name])]
        changed = [f"actor.{name}={now[name]!r} (there {before.get(name, 'no such field')!r})" for name in fields]
        yield f"note: actions differ from the run's, {found}; settings that differ: {', '.join(changed) or 'none'}"
