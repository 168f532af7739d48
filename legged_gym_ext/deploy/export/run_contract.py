"""The contract of an exported policy, and plain metadata beside it, from the environment it was trained in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from legged_gym_ext import ROOT_DIR, __version__
from legged_gym_ext.deploy.contract import KEY, Contract, Term
from legged_gym_ext.envs.base.commands import RANGES
from legged_gym_ext.envs.base.robot_checks import trained_physics
from legged_gym_ext.training.runs import load_checkpoint
from legged_gym_ext.utils.config import match_joint
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
    from legged_gym_ext.simulators.base import Simulator

INPUTS = {"obs": "policy", "privileged": "privileged"}
"""Input of an exported graph -> observation group of the environment."""

READABLE = {"actor": ["policy"], "privileged": ["privileged"], "history": ["history"]}
"""Observation set -> the groups that an exported policy can be given for it."""


class PolicyStep(Protocol):
    """One control step of a policy as a pure function: its memory is an argument and a result.

    Attributes:
        num_privileged: columns of the privileged observations; 0 without.
        state_kind: see `Contract.state`.
        state_size: numbers of the memory; 0 without.
        history_length: frames that can matter for an action.
    """

    num_privileged: int
    state_kind: str
    state_size: int
    history_length: int

    def __call__(
        self, obs: torch.Tensor, privileged: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Observations (1, D), (1, P) and state (1, M) -> actions (1, A) and the next state (1, M)."""
        ...

    def example(self) -> tuple[torch.Tensor, ...]:
        """Inputs of the right shapes."""
        ...

    def as_window(self, last_action: slice) -> nn.Module:
        """The policy on windows (1, T, D) of frames, of which columns `last_action` are the action before."""
        ...

    def stateful(self, offset: Sequence[float], scale: float, clip: float) -> nn.Module:
        """The policy with its memory inside, which returns joint targets too; for TorchScript."""
        ...


def check_groups(task: str, train_cfg: LeggedRobotCfgPPO) -> None:
    """Check that the policy reads only observation groups that an exported one can be given.

    Raises:
        UserError: it reads others.
    """
    for name, groups in READABLE.items():
        found = getattr(train_cfg.obs_groups, name, groups)
        if list(found) != groups:
            raise UserError(
                f"task '{task}' cannot be exported: its observation set '{name}' is {list(found)}, an exported policy "
                f"is given {groups}"
            )


def make_contract(
    env: LeggedRobot,
    task: str,
    train_cfg: LeggedRobotCfgPPO,
    role: str,
    step: PolicyStep,
    commands: dict,
    provenance: dict,
) -> Contract:
    """The contract of one policy.

    Args:
        env: the environment, a `LeggedRobot` with the run's configuration; its nominal values are taken.
        task: registered name.
        train_cfg: training configuration of the run.
        role: "policy", "student" or "teacher".
        step: of the policy.
        commands: trained ranges, see `trained_commands`.
        provenance: see `provenance`.
    """
    cfg, sim = env.cfg, env.sim
    inputs = INPUTS if step.num_privileged else {"obs": INPUTS["obs"]}
    return Contract(
        robot=cfg.asset.name,
        task=task,
        method=train_cfg.algorithm.class_name.rpartition(":")[2].rpartition(".")[2],
        role=role,
        control_dt=_short(env.dt),
        physics_dt=_short(sim.dt),
        joint_names=tuple(sim.joint_names),
        default_joint_pos=_shorts(sim.default_dof_pos),
        joint_pos_limits=tuple((_short(low), _short(high)) for low, high in sim.dof_pos_limits.tolist()),
        stiffness=_shorts(env.p_gains),
        damping=_shorts(env.d_gains),
        torque_limits=_shorts(sim.torque_limits),
        velocity_limits=tuple(match_joint(cfg.asset.velocity_limits, n, "velocity_limits") for n in sim.joint_names),
        motor=cfg.control.motor,
        action_scale=float(cfg.control.action_scale),
        clip_actions=float(cfg.normalization.clip_actions),
        clip_observations=float(cfg.normalization.clip_observations),
        observations={name: _terms(env, group) for name, group in inputs.items()},
        commands=commands,
        standing_height=_short(sim.standing_height),
        sdk_joint_order=tuple(cfg.asset.sdk_joint_order),
        state=step.state_kind,
        state_size=step.state_size,
        history_length=step.history_length,
        model=trained_model(cfg, sim),
        provenance=provenance,
    )


def trained_model(cfg: LeggedRobotCfg, sim: Simulator) -> dict[str, Any]:
    """The robot of a training, see `Contract.model`."""
    physics = {name: bounds for name, bounds in trained_physics(cfg, sim).items() if name != "friction"}
    joints = {name: (_short(low), _short(high)) for name, (low, high) in physics.items()}
    return {"file": Path(cfg.asset.file).name, "mass": _short(sim.mass), "joints": joints}


def _terms(env: LeggedRobot, group: str) -> tuple[Term, ...]:
    """The terms of an observation group with a factor for each column."""
    found = []
    for name, columns in env.observations.slices(group).items():
        term = env.observations.terms[name]
        scale = term.scale if isinstance(term.scale, tuple) else (term.scale,) * term.dim
        found.append(Term(name, columns.start, columns.stop, tuple(float(s) for s in scale), term.unit))
    return tuple(found)


def _short(value: float) -> float:
    """Seven digits, what a float32 holds: 0.1 and not 0.10000000149."""
    return float(f"{float(value):.7g}")


def _shorts(values: torch.Tensor) -> tuple[float, ...]:
    return tuple(_short(value) for value in values.tolist())


def trained_commands(cfg: LeggedRobotCfg, checkpoint: Path) -> dict[str, tuple[float, float]]:
    """Ranges of the commands [m/s, rad/s] when the checkpoint was written.

    A curriculum may have widened those of the configuration `cfg`.
    """
    infos = load_checkpoint(checkpoint, "cpu").get("infos")
    saved = infos.get("env", {}).get("command_ranges") if isinstance(infos, dict) else None
    ranges = [getattr(cfg.commands.ranges, name) for name in RANGES] if saved is None else saved.tolist()
    return {name: (_short(low), _short(high)) for name, (low, high) in zip(RANGES, ranges) if name != "heading"}


def provenance(run_dir: Path, checkpoint: Path) -> dict[str, Any]:
    """Run, checkpoint, versions and date of a policy; informative."""
    return {
        "run": str(run_dir.resolve()),
        "checkpoint": checkpoint.name,
        "iteration": int(checkpoint.stem.rpartition("_")[2]),
        "git_commit": _git_commit(),
        "version": __version__,
        "torch": str(torch.__version__),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _git_commit() -> str | None:
    """Commit of the repository that exports; None outside of git."""
    if not (ROOT_DIR / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "-C", str(ROOT_DIR), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def plain_metadata(contract: Contract) -> dict[str, str]:
    """Comma-separated texts under the names that mjlab gives its exported policies.

    Keys as in mjlab, src/mjlab/rl/exporter_utils.py, which writes them for tools that run its policies. Observations
    have our names and factors; where the columns of a term have different ones, its factor is a list in brackets.
    """
    terms = contract.observations["obs"]
    factors = [set(term.scale) for term in terms]
    scales = [f.pop() if len(f) == 1 else list(term.scale) for f, term in zip(factors, terms)]
    values = {
        "run_path": [contract.provenance.get("run", "")],
        "joint_names": contract.joint_names,
        "joint_stiffness": contract.stiffness,
        "joint_damping": contract.damping,
        "default_joint_pos": contract.default_joint_pos,
        "command_names": ["commands"],
        "observation_names": [term.name for term in terms],
        "observation_terms_scale": scales,
        "action_scale": [contract.action_scale] * len(contract.joint_names),
    }
    return {name: ",".join(str(value) for value in listed) for name, listed in values.items()}


def metadata(contract: Contract) -> dict[str, str]:
    """Everything that is stored in an ONNX file beside the graph."""
    return {KEY: contract.to_json(), **plain_metadata(contract)}
