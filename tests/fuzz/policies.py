"""Programs that read an exported policy: its graph and the contract in its metadata."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.fuzz.inputs import damaged, edited_json
from tests.fuzz.worker import program

POLICY = Path("policy.onnx")
WORDS = ["--policy=policy.onnx", "--headless", "--duration=0.1"]
whole: dict[str, bytes] = {}


def prepare() -> None:
    """A policy of one layer, and one with a memory that the package ships."""
    from legged_gym_ext.training import pretrained
    from tests import policy_files
    from tests.robot_policies import make_contract, write_policy

    write_policy(POLICY)
    whole["hold"] = POLICY.read_bytes()
    policy_files.write(POLICY, make_contract(), weights=policy_files.network())
    whole["layers"] = POLICY.read_bytes()
    shutil.copy(pretrained.FOLDER / "go2_ult" / "policy.onnx", POLICY)
    whole["shipped"] = POLICY.read_bytes()


def with_metadata(edit: tuple[str, Any], which: str = "hold") -> None:
    """Simulate, and prepare to drive, with a contract that was edited."""
    import onnx

    from legged_gym_ext.deploy.contract import KEY

    model = onnx.load_from_string(whole[which])
    entry = next(one for one in model.metadata_props if one.key == KEY)
    text = edited_json(entry.value.encode(), edit)
    entry.value = text.decode("utf-8", errors="replace")
    POLICY.write_bytes(model.SerializeToString())
    _use()


def with_bytes(which: str, edits: list[tuple]) -> None:
    """The same with a file that was damaged."""
    POLICY.write_bytes(damaged(whole[which], edits))
    _use()


def with_index(which: str, value: int) -> None:
    """The same with a graph that takes entry `value` of something smaller, which shows when it runs."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(whole[which])
    index = next(node.input[1] for node in model.graph.node if node.op_type == "Gather")
    constant = next(node for node in model.graph.node if index in node.output)
    constant.attribute[0].t.CopyFrom(numpy_helper.from_array(np.array(value)))
    POLICY.write_bytes(model.SerializeToString())
    _use()


def _use() -> None:
    from legged_gym_ext.deploy.go2 import program as robot
    from legged_gym_ext.deploy.go2.runtime import JointMap
    from legged_gym_ext.deploy.go2.safety import Supervisor
    from legged_gym_ext.deploy.policy_file import ExportedPolicy
    from legged_gym_ext.scripts import sim2sim

    program(sim2sim.main, WORDS)
    contract = robot.check_policy(ExportedPolicy(POLICY))
    options, limits = robot.make_settings(robot.make_parser().parse_args(["--command=0,0,0"]), contract)
    assert options.command == (0.0, 0.0, 0.0)
    Supervisor(contract, limits)
    JointMap(contract)
