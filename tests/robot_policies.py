"""Small exported policies, made by hand, for tests and benchmarks of deployment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.deploy.contract import KEY, Contract
from legged_gym_ext.deploy.go2.messages import GO2_MOTORS
from tests import policy_files


def make_contract(**changes: Any) -> Contract:
    """The contract of a Go2 at 50 Hz with every sensed term at scale 1, and the maker's order of motors."""
    terms = tuple(replace(term, scale=(1.0,) * len(term.scale)) for term in policy_files.terms())
    fields: dict[str, Any] = {"task": "go2_hold", "observations": {"obs": terms}, "sdk_joint_order": GO2_MOTORS}
    return policy_files.contract(**{**fields, **changes})


def write_policy(path: Path, kind: str = "hold", contract: Contract | None = None) -> Path:
    """An ONNX file whose targets are the default pose, and which misbehaves once the forward command is above 0.5 m/s.

    Args:
        path: of the file.
        kind: "hold" never misbehaves; "nan" returns NaN; "limits" asks for 10 rad beyond; "crouch" bends its legs
            instead, as an action would.
        contract: stored in the file; default `make_contract()`.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    contract = contract or make_contract()
    joints, columns = len(contract.joint_names), contract.dim("obs")
    pick = np.zeros((columns, 1), np.float32)
    pick[0] = 1.0  # forward command
    ways = {"hold": 0.0, "nan": np.nan, "limits": 10.0, "crouch": 0.2}
    constants = {
        "pick": pick,
        "half": np.array(0.5, np.float32),
        "none": np.zeros((1, joints), np.float32),
        "wrong": np.full((1, joints), ways[kind], np.float32),
        "default": np.array([contract.default_joint_pos], np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["obs", "pick"], ["forward"]),
        helper.make_node("Greater", ["forward", "half"], ["fast"]),
        helper.make_node("Where", ["fast", "wrong", "none"], ["actions"]),
        helper.make_node("Add", ["actions", "default"], ["targets"]),
    ]
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, joints]) for name in ("actions", "targets")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {KEY: contract.to_json()})
    onnx.save(model, str(path))
    return path
