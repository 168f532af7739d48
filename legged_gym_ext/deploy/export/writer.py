"""Writes trained policies as files that run without this package: ONNX, TorchScript, Unitree's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from legged_gym_ext.deploy.contract import Contract
from legged_gym_ext.deploy.export.parity import (
    STEPS,
    Reference,
    Runnable,
    TorchScriptFile,
    UnitreeFile,
    check,
    largest_differences,
)
from legged_gym_ext.deploy.export.run_contract import PolicyStep, metadata, plain_metadata
from legged_gym_ext.deploy.export.unitree import UnitreeGraph, deploy_yaml, unsupported_reason
from legged_gym_ext.deploy.policy_file import ExportedPolicy
from legged_gym_ext.utils.errors import UserError, install_command

if TYPE_CHECKING:
    from tensordict import TensorDict

    from legged_gym_ext.training.policies import Policy

OPSET = 18
SCRATCH = ".export."
"""Temporary folders in the folder of an export begin with this."""

UNITREE_MODEL, UNITREE_YAML = "unitree/exported/policy.onnx", "unitree/params/deploy.yaml"


def check_packages() -> None:
    """Raise a `UserError` that says how to install it when a package is missing."""
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UserError(f"exporting needs the package '{missing[0]}': {install_command('export')}")


class PolicyGraph(nn.Module):
    """The graph of an exported file: obs [, privileged] [, state] -> clipped actions, joint targets [, next state]."""

    def __init__(self, step: PolicyStep, contract: Contract) -> None:
        """Wrap a step; see contract.py for the inputs and outputs."""
        super().__init__()
        self.step, self.clip, self.scale = step, contract.clip_actions, contract.action_scale
        self.offset: torch.Tensor
        self.register_buffer("offset", torch.tensor(contract.default_joint_pos))
        self._privileged, self._stateful = step.num_privileged > 0, step.state_size > 0
        names = {"obs": True, "privileged": self._privileged, "state": self._stateful}
        self.input_names = [name for name, there in names.items() if there]
        self.output_names = ["actions", "targets"] + ["next_state"] * self._stateful

    def forward(self, obs: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        nothing = obs[:, :0]
        privileged = others[0] if self._privileged else nothing
        actions, state = self.step(obs, privileged, others[-1] if self._stateful else nothing)
        actions = actions.clamp(-self.clip, self.clip)
        outputs = actions, self.offset + self.scale * actions
        return (*outputs, state) if self._stateful else outputs

    def example(self) -> tuple:
        """Inputs of the right shapes."""
        there = (True, self._privileged, self._stateful)
        return tuple(values for values, wanted in zip(self.step.example(), there) if wanted)


def write_onnx(module: nn.Module, example: tuple, names: tuple, texts: Mapping[str, str], path: Path) -> None:
    """Write a graph with fixed shapes and its metadata into one file.

    Args:
        module: what to trace.
        example: its inputs.
        names: of inputs and of outputs.
        texts: metadata.
        path: to write.
    """
    import onnx

    with _quiet(), torch.no_grad():
        # The other exporter of torch puts the weights into a second file.
        torch.onnx.export(
            module.cpu().eval(),
            example,
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(names[0]),
            output_names=list(names[1]),
        )
    model = onnx.load(str(path))
    for key, value in texts.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide torch's warnings about tracing: the files are compared with the policy afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@dataclass
class Source:
    """One policy to export.

    Attributes:
        name: of its files, "policy" or "teacher".
        contract: of the policy.
        step: one control step of it, on the CPU.
        live: the policy that the files are compared with, as `load_policies` returns it.
        template: observation groups (1, ...) of its environment.
    """

    name: str
    contract: Contract
    step: PolicyStep
    live: Policy
    template: TensorDict


@dataclass
class Report:
    """What was written: files in order, results of their comparison, and remarks for the user."""

    files: list[Path] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def export_policies(sources: list[Source], out: Path, steps: int = STEPS) -> Report:
    """Write all files of all policies, compare them with the policies, and only then put them in place.

    Args:
        sources: the policies.
        out: folder; files of an earlier export are replaced.
        steps: length of each comparison.

    Raises:
        UserError: the folder cannot be written, or a file does not act like its policy.
    """
    report = Report()
    with _scratch(out) as folder:
        for source in sources:
            report.statements += _write(source, folder, report, steps)
        for number, path in enumerate(report.files):
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            report.files[number] = target
    return report


def check_folder(out: Path) -> None:
    """Raise a `UserError` when the folder cannot be written."""
    with _scratch(out):
        pass


@contextlib.contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A temporary folder inside `out`; removed afterwards, and `out` too if it is new and stayed empty."""
    created = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_left(out)
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=out))
        lock = _lock(folder)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}; choose another folder with --out=FOLDER") from error
    try:
        yield folder
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        if created and not any(out.iterdir()):
            out.rmdir()


def _remove_left(out: Path) -> None:
    """Remove the temporary folders of exports that were killed: nobody locks them any more."""
    for folder in out.glob(f"{SCRATCH}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed, or its process ends in whatever way; None where that fails."""
    try:
        import fcntl
    except ModuleNotFoundError:  # not on this system: what is left stays
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _write(source: Source, folder: Path, report: Report, steps: int) -> list[str]:
    """Write the files of one policy to `folder` and return the results of the comparison."""
    contract, step, name = source.contract, source.step, source.name
    graph, script = folder / f"{name}.onnx", folder / f"{name}.pt"
    module = PolicyGraph(step, contract)
    write_onnx(module, module.example(), (module.input_names, module.output_names), metadata(contract), graph)
    with _quiet():
        remembering = step.stateful(contract.default_joint_pos, contract.action_scale, contract.clip_actions)
        torch.jit.save(torch.jit.script(remembering), str(script), _extra_files={"contract.json": contract.to_json()})
    report.files += [graph, script]
    files: dict[str, Runnable] = {graph.name: ExportedPolicy(graph), script.name: TorchScriptFile(script)}
    if contract.role != "teacher":
        reason = unsupported_reason(contract)
        if reason is None:
            report.files += write_unitree(step, contract, folder)
            files[UNITREE_MODEL] = UnitreeFile(folder / UNITREE_MODEL, contract)
        else:
            report.remarks.append(f"no folder unitree/: {reason}")
    trained = Reference(source.live, contract, source.template)
    return check(largest_differences(trained, files, contract, steps), contract, steps)


def write_unitree(step: PolicyStep, contract: Contract, folder: Path) -> list[Path]:
    """Write model and deploy.yaml for Unitree's controllers below `folder`; returns both paths."""
    model, text = folder / UNITREE_MODEL, folder / UNITREE_YAML
    for path in (model, text):
        path.parent.mkdir(parents=True)
    (columns,) = (slice(t.start, t.stop) for t in contract.observations["obs"] if t.name == "last_action")
    module = UnitreeGraph(step.as_window(columns), contract)
    example = (torch.zeros(1, contract.history_length * contract.dim("obs")),)
    origin = {name: str(value) for name, value in contract.provenance.items()}
    write_onnx(module, example, (["obs"], ["actions"]), {**plain_metadata(contract), **origin}, model)
    text.write_text(deploy_yaml(contract), encoding="utf-8")
    return [model, text]


def describe_file(path: Path) -> str:
    """Size of a written file and, of a graph, its inputs and outputs."""
    size = f"{path.stat().st_size / 1e3:.0f} kB"
    if path.suffix != ".onnx":
        return size
    import onnx

    graph = onnx.load(str(path)).graph
    ends = [
        ", ".join(
            f"{node.name} ({', '.join(str(d.dim_value) for d in node.type.tensor_type.shape.dim)})" for node in nodes
        )
        for nodes in (graph.input, graph.output)
    ]
    return f"{size}: {' -> '.join(ends)}"
