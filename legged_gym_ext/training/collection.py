"""Records what the policies of a run do: who acts, what is recorded of each step, and the card of the data set."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.training.evaluation import use_full_command_range
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.training.policies import Policy
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

DRIVERS = ("teacher", "student")
"""Who can act; a run with one policy has a teacher only."""

OF_THE_RUN = (("seed",), ("env", "num_envs"), ("sim", "num_threads"), ("sim", "device"))
"""Fields of the environment's configuration that do not change what data mean."""


def by_role(policies: Mapping[str, Policy], wanted: str) -> dict[str, Policy]:
    """Teacher and, where there is one, student of a run.

    Args:
        policies: of the run, by name.
        wanted: "teacher", "student" or "mixed".

    Raises:
        UserError: a student shall act, and the run has none.
    """
    names = {"teacher": next(iter(policies)), **({"student": "student"} if "student" in policies else {})}
    found = {role: policies[name] for role, name in names.items()}
    if "teacher" not in policies and "student" in policies:
        raise UserError("the run has a student and no teacher, whose actions are the labels; name the teacher's run")
    if wanted != "teacher" and "student" not in found:
        raise UserError(f"--policy={wanted}: the run has one policy and no student; use --policy=teacher")
    return found if wanted != "teacher" else {"teacher": found["teacher"]}


def columns(env: LeggedRobot) -> dict[str, dict[str, tuple[int, ...]]]:
    """Stream -> column -> shape of a row, of what `Collector.step` records."""
    actions = (env.num_actions,)
    student = {
        "policy": (env.group_dims["policy"],),
        "actions": actions,
        "teacher_actions": actions,
        "command": (3,),
    }
    return {"student": student, "privileged": {"privileged": (env.group_dims["privileged"],), "level": (), "kind": ()}}


DTYPES = {"level": "int16", "kind": "int16"}
"""Columns that are not float32."""


def kinds_of(env: LeggedRobot) -> list[str]:
    """Kinds of ground; the column `kind` is an index into them."""
    return list(dict.fromkeys(env.terrain.kinds)) if isinstance(env.terrain, RoughTerrain) else ["plane"]


def describe(env: LeggedRobot, task: str, checkpoint: Path, teacher: Policy) -> dict[str, Any]:
    """Fields of the card, besides its columns."""
    network = teacher.network
    inner = getattr(network, "network", network)
    return {
        "task": task,
        "robot": env.cfg.asset.name,
        "groups": {name: int(dim) for name, dim in env.group_dims.items()},
        "terms": {
            group: {name: [part.start, part.stop] for name, part in env.observations.slices(group).items()}
            for group in ("policy", "privileged")
        },
        "kinds": kinds_of(env),
        "num_actions": env.num_actions,
        "joint_names": list(env.sim.joint_names),
        "default_joint_pos": env.default_dof_pos.tolist(),
        "action_scale": env.cfg.control.action_scale,
        "dt": env.dt,
        "max_episode_length": env.max_episode_length,
        "command_ranges": env.command_sampler.ranges.tolist(),
        "normalizers": _normalizers(inner),
        "teacher": {
            "run": checkpoint.parent.name,
            "checkpoint": checkpoint.name,
            "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "policy": type(network).__name__,
            "observations": {name: list(groups) for name, groups in getattr(network, "sets", {}).items()},
        },
        "env": _env_settings(env),
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": _versions(),
    }


def _normalizers(network: Any) -> dict[str, dict[str, Any]]:
    """Observation set -> statistics with which the teacher normalises it: (x - mean) / (std + eps)."""
    found = {}
    for name, part in getattr(network, "normalizers", {}).items():
        if hasattr(part, "mean"):
            mean, std = (values.flatten().tolist() for values in (part.mean, part.std))
            found[name] = {"mean": mean, "std": std, "eps": part.eps, "count": int(part.count)}
    return found


def _env_settings(env: LeggedRobot) -> dict[str, Any]:
    settings = to_dict(env.cfg)
    for *path, name in OF_THE_RUN:
        section = settings
        for part in path:
            section = section[part]
        section.pop(name, None)
    return settings


def _versions() -> dict[str, str]:
    from importlib import metadata

    found = {"python": platform.python_version(), "torch": torch.__version__}
    for package in ("numpy", "mujoco", "mjbatch", "rsl-rl-lib", "rsl_rl_ult"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class Collector:
    """Steps the robots with the policies of a run and hands every step to a recorder."""

    def __init__(
        self,
        vec_env: RslRlVecEnv,
        policies: Mapping[str, Policy],
        mixing: Any,
        recorder: Any,
        seed: int,
        sampled: bool,
        own_labels: bool = False,
    ) -> None:
        """Reset the robots.

        Args:
            vec_env: robots with the groups `policy` and `privileged` and what the policies read.
            policies: from `by_role`.
            mixing: `draw()` says where the teacher acts (N,); `on_reset(dones)`.
            recorder: `add(values, after)`, see `rsl_rl_ult.storage.recorder`; None: nothing is recorded.
            seed: of the generator that draws actions, and of the noise on last observations.
            sampled: actions are drawn around the mean ones with the deviation of the training.
            own_labels: labels are the mean actions of who acts, instead of the teacher's.
        """
        self.vec_env, self.policies, self.mixing, self.recorder = vec_env, policies, mixing, recorder
        self.sampled, self.own_labels = sampled, own_labels
        env = vec_env.env
        self._generator = torch.Generator(device=env.device).manual_seed(seed)
        use_full_command_range(env)
        if recorder is not None:
            env.keep_last_observations(seed)
        kinds = kinds_of(env)
        of_column = [kinds.index(kind) for kind in env.terrain.kinds] if isinstance(env.terrain, RoughTerrain) else [0]
        self._kind = torch.tensor(of_column, dtype=torch.int16, device=env.device)
        env.episode_length_buf.zero_()
        env.reset()
        everywhere = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        for policy in policies.values():
            policy.reset(everywhere)
        self._observations = vec_env.get_observations()

    @torch.inference_mode()
    def step(self) -> None:
        """One control step of all robots."""
        env, obs = self.vec_env.env, self._observations
        means = {role: policy(obs).to(env.device) for role, policy in self.policies.items()}
        by_teacher = self.mixing.draw().to(env.device)
        actions = means["teacher"]
        if "student" in means:
            actions = torch.where(by_teacher[:, None], actions, means["student"])
        labels = actions if self.own_labels else means["teacher"]
        if self.sampled:
            actions = actions + self._deviation(by_teacher) * torch.randn(
                actions.shape, generator=self._generator, device=env.device
            )
        limit = env.cfg.normalization.clip_actions
        actions = actions.clamp(-limit, limit)
        for policy in self.policies.values():
            policy.on_acted(actions)
        recorded = {} if self.recorder is None else self._before(obs, actions, labels, by_teacher)
        after, rewards, dones, extras = self.vec_env.step(actions)
        if self.recorder is not None:
            truncations = extras["time_outs"].clone()
            recorded.update(rewards=rewards, truncations=truncations, terminations=dones.bool() & ~truncations)
            self.recorder.add(recorded, self._after(after, dones))
        for policy in self.policies.values():
            policy.reset(dones)
        self.mixing.on_reset(dones)
        self._observations = after

    def _deviation(self, by_teacher: torch.Tensor) -> torch.Tensor:
        """(N, A) of who acts."""
        stds = {role: policy.std.to(by_teacher.device) for role, policy in self.policies.items()}
        return torch.where(by_teacher[:, None], stds["teacher"], stds.get("student", stds["teacher"]))

    def _before(
        self, obs: Any, actions: torch.Tensor, labels: torch.Tensor, by_teacher: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        env = self.vec_env.env
        levels = torch.zeros_like(self._kind[:1]).expand(env.num_envs)
        kind = levels
        if isinstance(env.terrain, RoughTerrain):
            levels, kind = env.terrain.levels.to(torch.int16), self._kind[env.terrain.types]
        return {
            "policy": obs["policy"],
            "privileged": obs["privileged"],
            "actions": actions,
            "teacher_actions": labels,
            "command": env.commands[:, :3].clone(),
            "driver": (~by_teacher).to(torch.uint8),
            "level": levels,
            "kind": kind,
        }

    def _after(self, after: Any, dones: torch.Tensor) -> dict[str, torch.Tensor]:
        """Observations after the step; those of episodes that ended are from before the reset."""
        groups = {name: after[name] for name in ("policy", "privileged")}
        last = self.vec_env.env.last_groups
        if last is not None and bool(dones.any()):
            ended = dones.bool()[:, None]
            groups = {name: torch.where(ended, last[name], values) for name, values in groups.items()}
        return groups

    def run(self, on_step: Callable[[int], None] | None = None) -> None:
        """Step until the recorder has all the episodes that it wants; `on_step` gets the number of steps."""
        steps = 0
        while self.recorder.unfinished:
            self.step()
            steps += 1
            if on_step is not None:
                on_step(steps)
