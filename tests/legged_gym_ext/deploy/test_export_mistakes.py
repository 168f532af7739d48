"""What can go wrong while exporting: one clear line, and nothing that looks like a good file."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.deploy.export import parity
from legged_gym_ext.deploy.export import writer as writing
from legged_gym_ext.scripts import export
from legged_gym_ext.utils.errors import UserError, install_command
from tests.exported import make_run, sources

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("logs"), "go2_ts_flat")


def message(*args: str) -> str:
    """The one line that a command ends with."""
    with pytest.raises(UserError) as error:
        export.main(list(args))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_that_is_not_there_says_how_to_train_one(tmp_path):
    found = message("--task=go2_flat", f"--log_root={tmp_path}")
    assert "no runs of experiment 'go2_flat'" in found and "train.py --task=go2_flat" in found
    assert "--pretrained" in message("--task=go2_ult", f"--log_root={tmp_path}")
    assert "--pretrained" not in message("--task=go1_ult", f"--log_root={tmp_path}")  # the package has none
    assert "unknown task 'go2_ulf'; did you mean go2_ult" in message("--task=go2_ulf")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_says_how_to_install_it(package, run, monkeypatch):
    there = writing.find_spec
    monkeypatch.setattr(writing, "find_spec", lambda name: None if name == package else there(name))
    found = message("--task=go2_ts_flat", f"--load_run={run}")
    assert found == f"exporting needs the package '{package}': {install_command('export')}"


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_built(run, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for out, text in ((tmp_path / "file", "expected the name of a folder"), (tmp_path / "file/out", "cannot write to")):
        assert text in message("--task=go2_ts_flat", f"--load_run={run}", f"--out={out}")
    assert "expected the name of a folder" in message("--task=go2_ts_flat", f"--load_run={run}", "--out=")


def test_what_a_killed_export_left_is_removed_and_what_another_one_is_writing_is_not(tmp_path):
    (tmp_path / f"{writing.SCRATCH}killed").mkdir()
    with writing._scratch(tmp_path) as other:
        (other / "policy.onnx").write_bytes(b"half")
        writing.check_folder(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [other.name]
        assert (other / "policy.onnx").is_file()
    assert list(tmp_path.iterdir()) == []


def test_a_broken_checkpoint_is_named_and_nothing_is_written(run, tmp_path):
    (run / "model_8.pt").write_bytes((run / "model_7.pt").read_bytes()[:2000])
    try:
        found = message("--task=go2_ts_flat", f"--load_run={run}", f"--out={tmp_path / 'out'}")
    finally:
        (run / "model_8.pt").unlink()
    assert "model_8.pt is damaged" in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("actor=['policy','privileged']", r"its observation set 'actor' is ['policy', 'privileged']"),
        ("privileged=['critic']", "its observation set 'privileged' is ['critic']"),
    ],
)
def test_other_observation_groups_are_refused(override, text, run):
    found = message("--task=go2_ts_flat", f"--load_run={run}", f"--train.obs_groups.{override}")
    assert found.startswith("task 'go2_ts_flat' cannot be exported") and text in found


def test_a_recurrent_policy_of_another_package_is_refused():
    class RNNModel:
        is_recurrent = True

        def as_jit(self) -> None: ...

    with pytest.raises(UserError, match="task 'mine' cannot be exported: its policy RNNModel keeps a memory"):
        export.as_step("mine", RNNModel(), None)


def test_a_file_that_acts_differently_is_an_error_and_leaves_the_old_files(run, tmp_path):
    source = sources(run, "go2_ts_flat")[0]
    out = tmp_path / "out"
    writing.export_policies([source], out, 30)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with torch.no_grad():
        source.step.policy.actor[-1].bias[0] += 2e-4
    with pytest.raises(
        UserError,
        match=r"policy.onnx does not act like .*: largest difference 2.0e-04 in 30 steps, .*nothing was written",
    ):
        writing.export_policies([source], out, 30)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in out.iterdir()) == ["policy.onnx", "policy.pt", "unitree"]


def test_a_difference_that_is_not_a_number_is_no_agreement():
    class Fixed:
        def __init__(self, value: float) -> None:
            self.value = value

        def reset(self) -> None: ...

        def __call__(self, **_: Any) -> tuple:
            return torch.full((12,), self.value).numpy(), torch.zeros(12).numpy()

    contract = sources_contract()
    worst = parity.largest_differences(Fixed(0.0), {"bad": Fixed(float("nan")), "good": Fixed(1e-5)}, contract, 5)
    assert worst == {"bad": float("inf"), "good": pytest.approx(1e-5)}
    with pytest.raises(UserError, match="bad does not act like"):
        parity.check(worst, contract, 5)


def sources_contract() -> Any:
    """Just enough of a contract for a comparison."""
    from legged_gym_ext.deploy.contract import Term

    return type(
        "Some",
        (),
        {
            "observations": {"obs": (Term("last_action", 0, 12, (1.0,) * 12),)},
            "clip_observations": 100.0,
            "joint_names": tuple("abcdefghijkl"),
            "history_length": 1,
        },
    )()


def test_help_answers_without_torch_and_a_run_is_exported_from_the_command_line(run):
    code = (
        "import sys\nfrom legged_gym_ext.scripts import export\ntry:\n    export.main(['--help'])\n"
        "except SystemExit:\n    sys.exit('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT_DIR)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 0
    program = [
        sys.executable,
        str(ROOT_DIR / "legged_gym_ext/scripts/export.py"),
        "--task=go2_ts_flat",
        f"--load_run={run}",
    ]
    done = subprocess.run(program, cwd=run, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"exporting {run / 'model_7.pt'} to {run / 'exported'}"
    assert any(
        "obs (1, 45), state (1, 900) -> actions (1, 12), targets (1, 12), next_state (1, 900)" in x for x in lines
    )
    assert any(x.startswith("policy.onnx: 1000 steps, 4 resets: largest difference ") for x in lines)
    assert lines[-1].startswith("next: ")
    assert shlex.split(lines[-1])[2:4] == [
        str(ROOT_DIR / "legged_gym_ext/scripts/sim2sim.py"),
        "--policy=exported/policy.onnx",
    ]
    assert done.stderr == ""
