"""Exported policies made on the spot: contract and a small graph, without training anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.deploy.contract import KEY, Contract, Term

LEGS = ("FL", "FR", "RL", "RR")
JOINTS = tuple(f"{leg}_{part}_joint" for leg in LEGS for part in ("hip", "thigh", "calf"))
DEFAULT = (0.1, 0.8, -1.5, -0.1, 0.8, -1.5, 0.1, 1.0, -1.5, -0.1, 1.0, -1.5)
LIMITS = ((-1.0472, 1.0472), (-1.5708, 3.4907), (-2.7227, -0.83776))
REAR_LIMITS = ((-1.0472, 1.0472), (-0.5236, 4.5379), (-2.7227, -0.83776))


def terms() -> tuple[Term, ...]:
    """The 45 columns of the Go2 tasks."""
    table = (
        ("commands", (2.0, 2.0, 0.25), "m/s, m/s, rad/s"),
        ("projected_gravity", (1.0,) * 3, "-"),
        ("base_ang_vel", (0.25,) * 3, "rad/s"),
        ("dof_pos", (1.0,) * 12, "rad"),
        ("dof_vel", (0.05,) * 12, "rad/s"),
        ("last_action", (1.0,) * 12, "-"),
    )
    found, start = [], 0
    for name, scale, unit in table:
        found.append(Term(name, start, start + len(scale), scale, unit))
        start += len(scale)
    return tuple(found)


def contract(**changes: Any) -> Contract:
    """What a policy of `go2_flat` says, with some fields replaced."""
    go2 = Contract(
        robot="go2",
        task="go2_flat",
        method="PPO",
        role="policy",
        control_dt=0.02,
        physics_dt=0.005,
        joint_names=JOINTS,
        default_joint_pos=DEFAULT,
        joint_pos_limits=LIMITS * 2 + REAR_LIMITS * 2,
        stiffness=(20.0,) * 12,
        damping=(0.5,) * 12,
        torque_limits=(23.7, 23.7, 45.43) * 4,
        velocity_limits=(30.1, 30.1, 15.7) * 4,
        motor="dc",
        action_scale=0.25,
        clip_actions=100.0,
        clip_observations=100.0,
        observations={"obs": terms()},
        commands={"lin_vel_x": (-1.0, 1.0), "lin_vel_y": (-0.5, 0.5), "ang_vel_yaw": (-1.0, 1.0)},
        standing_height=0.3187,
    )
    return replace(go2, **changes)


def network(seed: int = 0, gain: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """(45, 32) and (32, 12) float32 weights of a random policy `tanh(obs A) B` that moves all joints."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0.0, 1.0 / np.sqrt(45.0), (45, 32))
    return first.astype(np.float32), (gain * rng.normal(0.0, 1.0, (32, 12))).astype(np.float32)


def write(
    path: Path,
    contract: Contract,
    *,
    offset: np.ndarray | float = 0.0,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    metadata: str | None = None,
) -> Path:
    """Write a policy file.

    Args:
        path: of the file.
        contract: stored in it.
        offset: action of every step, a number or (12,); zero holds the default pose.
        weights: of `network`, added to the offset.
        metadata: stored instead of the contract; "" stores none.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    size, joints = contract.dim("obs"), len(contract.joint_names)
    first, second = (np.zeros((size, 1), np.float32), np.zeros((1, joints), np.float32)) if weights is None else weights
    constants = {
        "first": first,
        "second": second,
        "offset": np.broadcast_to(np.asarray(offset, np.float32), (1, joints)).copy(),
        "low": np.float32(-contract.clip_actions),
        "high": np.float32(contract.clip_actions),
        "scale": np.float32(contract.action_scale),
        "default": np.asarray([contract.default_joint_pos], np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["obs", "first"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["bent"]),
        helper.make_node("MatMul", ["bent", "second"], ["raw"]),
        helper.make_node("Add", ["raw", "offset"], ["wanted"]),
        helper.make_node("Clip", ["wanted", "low", "high"], ["actions"]),
        helper.make_node("Mul", ["actions", "scale"], ["moved"]),
        helper.make_node("Add", ["moved", "default"], ["targets"]),
    ]
    values = lambda name, width: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])  # noqa: E731
    graph = helper.make_graph(
        nodes,
        "policy",
        [
            values("obs", size),
            *(values(group, contract.dim(group)) for group in contract.observations if group != "obs"),
        ],
        [values("actions", joints), values("targets", joints)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    text = contract.to_json() if metadata is None else metadata
    if text:
        helper.set_model_props(model, {KEY: text})
    onnx.save(model, str(path))
    return path
