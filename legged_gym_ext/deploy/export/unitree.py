"""What Unitree's C++ controllers load: `exported/policy.onnx` on a window of frames, and `params/deploy.yaml`.

The format is taken from the public repositories unitreerobotics/unitree_rl_lab and unitreerobotics/unitree_rl_mjlab
(some headers from forks of them), folder deploy/:

- include/isaaclab/envs/manager_based_rl_env.h: `joint_ids_map` (motor of each joint of the policy), `step_dt`,
  `default_joint_pos` in the policy's order, `stiffness` and `damping` in the order of the motors (see also
  include/isaaclab/assets/articulation/articulation.h, and the script that writes the file,
  source/unitree_rl_lab/unitree_rl_lab/utils/export_deploy_cfg.py).
- include/isaaclab/envs/mdp/observations/observations.h: names of observation terms, and commands, clamped to
  `commands.base_velocity.ranges`.
- include/isaaclab/manager/observation_manager.h: terms are entries of `observations`; the first entry must be a term
  with `params`. Their group is called `obs`. With `use_gym_history` the window is frame by frame, oldest first,
  otherwise term by term.
- include/isaaclab/manager/manager_term_cfg.h: at a reset each term's history is filled with copies of its value at that
  moment; values are clipped before they are scaled.
- include/isaaclab/envs/mdp/actions/joint_actions.h: targets = scale * action + offset; `last_action` is the network's
  output.
- include/isaaclab/algorithms/algorithms.h: every input of the graph must be a group, sizes are fixed, the first output
  is taken, and its second dimension is the number of actions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

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
"""Our name of an observation term -> its name in Unitree's controllers."""


def unsupported_reason(contract: Contract) -> str | None:
    """Why Unitree's controllers cannot run this policy; None where they can."""
    unknown = [term.name for term in contract.observations["obs"] if term.name not in TERMS]
    if unknown:
        return f"Unitree's controllers have no observation {', '.join(unknown)}"
    if not contract.sdk_joint_order:
        return "the order of the robot's motors is not known (asset.sdk_joint_order)"
    return None


def deploy_cfg(contract: Contract) -> dict[str, Any]:
    """Contents of `params/deploy.yaml`: nested dictionaries, in the order in which they are to be written."""
    motors = [contract.sdk_joint_order.index(name) for name in contract.joint_names]
    by_joint = [contract.joint_names.index(name) for name in contract.sdk_joint_order]
    ranges = contract.commands
    observations: dict[str, Any] = {
        TERMS[term.name]: {
            "params": {"command_name": "base_velocity"} if term.name == "commands" else {},
            "clip": None,
            "scale": term.scale,
            "history_length": contract.history_length,
        }
        for term in contract.observations["obs"]
    }
    if contract.history_length > 1:
        observations["use_gym_history"] = True  # not first: the first entry tells controllers one group from several
    return {
        "joint_ids_map": motors,
        "step_dt": contract.control_dt,
        "stiffness": [contract.stiffness[joint] for joint in by_joint],
        "damping": [contract.damping[joint] for joint in by_joint],
        "default_joint_pos": contract.default_joint_pos,
        "commands": {
            "base_velocity": {
                "ranges": {
                    "lin_vel_x": ranges["lin_vel_x"],
                    "lin_vel_y": ranges["lin_vel_y"],
                    "ang_vel_z": ranges["ang_vel_yaw"],
                    "heading": None,
                }
            }
        },
        "actions": {
            "JointPositionAction": {
                "clip": None,
                "joint_names": [".*"],
                "scale": [contract.action_scale] * len(motors),
                "offset": contract.default_joint_pos,
                "joint_ids": None,
            }
        },
        "observations": observations,
    }


def deploy_yaml(contract: Contract) -> str:
    """The text of `params/deploy.yaml`: two lines of comment, then `deploy_cfg`."""
    origin = contract.provenance
    comment = (
        f"# {contract.task}, {contract.method}: {origin.get('run')}/{origin.get('checkpoint')}",
        "# Only for exported/policy.onnx beside it: with the gains or scales of another file the robot falls.",
    )
    return "\n".join((*comment, *_yaml_lines(deploy_cfg(contract)))) + "\n"


def _yaml_lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Nested dictionaries as YAML; all other values are written as JSON, which YAML includes."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:"
            yield from _yaml_lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {json.dumps(value)}"


class UnitreeGraph(nn.Module):
    """Window of frames, flattened (1, T * D), oldest first -> actions (1, A), clipped.

    Unitree's controllers start an episode with a window of copies of one frame. Training starts with zeros, so all but
    the last of these copies become zeros here; a window that starts with zeros stays as it is. The frames are clipped
    here, because the controllers clip before they scale.
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
