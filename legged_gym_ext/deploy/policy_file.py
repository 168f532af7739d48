"""An exported policy: `policy.onnx` with its contract, run by onnxruntime on one core."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.deploy.contract import KEY, Contract
from legged_gym_ext.utils.errors import UserError

INSTALL = 'pip install "onnxruntime>=1.18"'


class PolicyError(Exception):
    """An input or output of the policy is not finite: no robot may follow it."""


class ExportedPolicy:
    """A policy in an ONNX file, with its state during an episode.

    Attributes:
        contract: what it expects and returns.
        path: file it was read from.
    """

    def __init__(self, path: Path | str) -> None:
        """Read the file and check that graph and contract agree.

        Raises:
            UserError: missing file, no ONNX, no contract, a contract of another graph, or onnxruntime is not installed.
        """
        self.path = Path(os.path.expanduser(path))
        if not self.path.is_file():
            found = "is a folder" if self.path.is_dir() else "not found"
            raise UserError(f"policy {found}: {self.path}; give the file policy.onnx that export.py writes")
        if find_spec("onnxruntime") is None:
            raise UserError(f"running {self.path.name} needs the package 'onnxruntime': {INSTALL}")
        self._session = open_session(self.path)
        text = _metadata(self._session, self.path)
        if text is None:
            raise UserError(
                f"{self.path} has no metadata '{KEY}': it was not written by export.py, or another tool dropped it"
            )
        self.contract = Contract.from_json(text)
        self._check_graph()
        self.reset()
        self._try_out()

    def _check_graph(self) -> None:
        contract, stateful = self.contract, self.contract.state_size > 0
        joints = len(contract.joint_names)
        expected_in = {group: contract.dim(group) for group in contract.observations}
        expected_out = {"actions": joints, "targets": joints}
        if stateful:
            expected_in["state"] = expected_out["next_state"] = contract.state_size
        for what, found, expected in (
            ("inputs", self._session.get_inputs(), expected_in),
            ("outputs", self._session.get_outputs(), expected_out),
        ):
            shapes = {node.name: node.shape[-1] for node in found}
            if shapes != expected:
                raise UserError(
                    f"{self.path}: the graph's {what} are {shapes}, its contract says {expected}; export the policy "
                    "again"
                )

    def _try_out(self) -> None:
        """One step of zeros, whose results are dropped: a damaged graph may be read, and not run (`UserError`)."""
        joints = len(self.contract.joint_names)
        try:
            feed = {name: np.zeros((1, self.contract.dim(name)), np.float32) for name in self.contract.observations}
            shapes = [output.shape for output in self._run(feed)]
        except Exception as error:  # onnxruntime has an exception type per kind of damage
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"{self.path} cannot be run ({reason}); export the policy again") from error
        expected = [(1, joints)] * 2 + [(1, self.contract.state_size)] * (self.contract.state_size > 0)
        if shapes != expected:
            raise UserError(f"{self.path} returns arrays of {shapes}, expected {expected}; export the policy again")

    def _run(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Actions, targets and, with a memory, the next state."""
        if not self.contract.state_size:
            return self._session.run(["actions", "targets"], feed)
        return self._session.run(["actions", "targets", "next_state"], {**feed, "state": self._state})

    def reset(self) -> None:
        """Start a new episode: clear the state."""
        self._state = np.zeros((1, self.contract.state_size), np.float32)

    def __call__(self, **observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One control step.

        Args:
            observations: every group of `contract.observations` by name, (D,) each, scaled and clipped.

        Returns:
            Actions (A,) and joint targets (J,) [rad].

        Raises:
            PolicyError: an observation, action or target is not finite; the state is left as it was.
        """
        feed = {name: np.asarray(values, np.float32)[None] for name, values in observations.items()}
        for name, values in feed.items():
            if not np.isfinite(values).all():
                raise PolicyError(
                    f"observation '{name}' is not finite at columns "
                    f"{np.flatnonzero(~np.isfinite(values[0]))[:5].tolist()}"
                )
        outputs = self._run(feed)
        if not (np.isfinite(outputs[0]).all() and np.isfinite(outputs[1]).all()):
            raise PolicyError("the policy returned numbers that are not finite")
        if self.contract.state_size:
            self._state = outputs[2]
        return outputs[0][0], outputs[1][0]


def _metadata(session: Any, path: Path) -> str | None:
    """The text that stands under `KEY`; None without one."""
    try:
        return session.get_modelmeta().custom_metadata_map.get(KEY)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: its metadata are no text ({error}); export it again") from error


def open_session(path: Path) -> Any:
    """An onnxruntime session on one thread; a file that is no ONNX model is a `UserError`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised below, in one line
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception type per kind of damage
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{path} cannot be read as an ONNX model ({reason}); give the file policy.onnx that export.py writes"
        ) from error
