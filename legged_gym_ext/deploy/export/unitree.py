"""A policy in the form that Unitree's C++ controllers load: `exported/policy.onnx` on a window of frames, and `params/deploy.yaml`.

Read in the public repositories unitreerobotics/unitree_rl_lab and unitreerobotics/unitree_rl_mjlab (and, where a header was not at hand, in forks of
them that carry it), folder deploy/:

- include/isaaclab/envs/manager_based_rl_env.h: `joint_ids_map` (motor of each joint of the policy), `step_dt`, `default_joint_pos` in the policy's
  order, `stiffness` and `damping` in the order of the motors (so say include/isaaclab/assets/articulation/articulation.h, and
  source/unitree_rl_lab/unitree_rl_lab/utils/export_deploy_cfg.py, which writes the file).
- include/isaaclab/envs/mdp/observations/observations.h: names of observation terms, and commands, clamped to `commands.base_velocity.ranges`.
- include/isaaclab/manager/observation_manager.h: terms stand under `observations`, the first entry must be a term with `params`; their group is
  called `obs`. With `use_gym_history` the window is frame by frame, oldest first, otherwise term by term.
- include/isaaclab/manager/manager_term_cfg.h: at a reset each term's history is filled with copies of its value at that moment; clip comes before
  scale.
- include/isaaclab/envs/mdp/actions/joint_actions.h: targets = scale * action + offset; `last_action` is the network's output.
- include/isaaclab/algorithms/algorithms.h: every input of the graph must be a group, sizes are fixed, the first output is taken, and its second
  dimension is the number of actions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torch import nn

from legged_gym_ext.deploy.contract import Contract

TERMS = {
    "commands": "velocity_commands",
    "projected_gravity": "projected_gravity",
    "base_ang_vel": "base_ang_vel",
    "dof_pos": "joint_pos_rel",
    "dof_vel": "joint_vel_rel",
    "last_action": "last_action",
}
"""Our name of an observation term -> that of Unitree's controllers."""


def obstacle(contract: Contract) -> str | None:
    """Why this policy has no form for Unitree's controllers; None where it has one."""
    foreign = [term.name for term in contract.observations["obs"] if term.name not in TERMS]
    if foreign:
        return f"Unitree's controllers have no observation {', '.join(foreign)}"
    if not contract.sdk_joint_order:
        return "the order of the robot's motors is not known (asset.sdk_joint_order)"
    return None


def deploy_yaml(contract: Contract) -> str:
    """The text of `params/deploy.yaml`."""
    joints, frames = list(contract.joint_names), contract.history_length
    ids = [contract.sdk_joint_order.index(name) for name in joints]
    ranges = {
        "lin_vel_x": contract.commands["lin_vel_x"],
        "lin_vel_y": contract.commands["lin_vel_y"],
        "ang_vel_z": contract.commands["ang_vel_yaw"],
    }
    origin = contract.provenance
    lines = [
        f"# {contract.task}, {contract.method}: {origin.get('run')}/{origin.get('checkpoint')}",
        "# Belongs to exported/policy.onnx beside it and to no other: a policy with another file's gains or scales falls.",
        f"joint_ids_map: {_flow(ids)}",
        f"step_dt: {contract.control_dt}",
        f"stiffness: {_flow(_by_motor(contract.stiffness, ids))}",
        f"damping: {_flow(_by_motor(contract.damping, ids))}",
        f"default_joint_pos: {_flow(contract.default_joint_pos)}",
        "commands:",
        "  base_velocity:",
        "    ranges:",
        *(f"      {name}: {_flow(bounds)}" for name, bounds in ranges.items()),
        "      heading: null",
        "actions:",
        "  JointPositionAction:",
        "    clip: null",
        "    joint_names: ['.*']",
        f"    scale: {_flow([contract.action_scale] * len(joints))}",
        f"    offset: {_flow(contract.default_joint_pos)}",
        "    joint_ids: null",
        "observations:",
    ]
    for term in contract.observations["obs"]:
        params = "{command_name: base_velocity}" if term.name == "commands" else "{}"
        lines += [
            f"  {TERMS[term.name]}:",
            f"    params: {params}",
            "    clip: null",
            f"    scale: {_flow(term.scale)}",
            f"    history_length: {frames}",
        ]
    if frames > 1:
        lines.append("  use_gym_history: true")  # not the first: controllers tell one group from several by that one
    return "\n".join(lines) + "\n"


def _by_motor(values: Sequence[float], ids: list[int]) -> list[float]:
    """Values of joints, one for each motor."""
    found = [0.0] * len(ids)
    for motor, value in zip(ids, values):
        found[motor] = value
    return found


def _flow(values: Sequence[float]) -> str:
    return json.dumps(list(values))


class UnitreePolicy(nn.Module):
    """Window of frames, flattened (1, T * D), oldest first -> actions (1, A), clipped.

    Unitree's controllers start with a window of copies of one frame. Training starts with zeros, so all but the last of such copies become zeros
    here; a window that starts with zeros stays as it is. The frames are clipped here, because controllers clip before they scale.
    """

    def __init__(self, policy: nn.Module, contract: Contract) -> None:
        """`policy` maps windows (1, T, D) with zeros before the episode to actions (1, A)."""
        super().__init__()
        self.policy = policy
        self.shape = (contract.history_length, contract.dim("obs"))
        self.clip_observations, self.clip_actions = contract.clip_observations, contract.clip_actions

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        """(1, T * D) -> (1, A)."""
        window = obs.reshape(-1, *self.shape).clamp(-self.clip_observations, self.clip_observations)
        if self.shape[0] > 1:
            changes = (window[:, 1:] - window[:, :-1]).abs().sum(-1) > 0.0  # (1, T - 1): the next frame is another one
            changes = torch.cat((changes, torch.ones_like(changes[:, :1])), dim=1)
            # The episode starts with the first frame that is not followed by a copy of itself.
            window = window * (changes.float().cumsum(1) > 0.5).float()[..., None]
        return self.policy(window).clamp(-self.clip_actions, self.clip_actions)
