"""Checkpoints by time, and what a full disk does: files are whole or not there, and training goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from legged_gym_ext.scripts import train
from legged_gym_ext.training import runner as runners
from legged_gym_ext.training import runs
from legged_gym_ext.training.runs import checkpoints
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import newest, start

ROOT = Path(__file__).resolve().parents[3]

# -- saving by time ----------------------------------------------------------------------------------------------------


def interims(monkeypatch: pytest.MonkeyPatch, root: Path, *flags: str) -> list[list[int]]:
    """Checkpoints that are there after each iteration of a training of seven."""
    found = []
    after = runners.TrainRunner._after_iteration

    def watch(self: Any, it: int) -> None:
        after(self, it)
        found.append(list(checkpoints(Path(self.logger.log_dir))))

    monkeypatch.setattr(runners.TrainRunner, "_after_iteration", watch)
    train.main(start(root, "--max_iterations=7", "--train.runner.save_interval=3", *flags))
    return found


def test_a_checkpoint_by_time_lasts_until_the_next_one_and_the_same_files_stay(tmp_path, monkeypatch):
    # Regular ones come after iterations 0, 3 and 6; this looks before them.
    found = interims(monkeypatch, tmp_path, "--train.runner.save_interval_s=1e-9")
    assert found == [[], [0, 1], [0, 2], [0, 2], [0, 3, 4], [0, 3, 5], [0, 3, 5]]
    assert list(checkpoints(newest(tmp_path))) == [0, 3, 6]


@pytest.mark.parametrize("interval", ["0", "1000"])
def test_without_an_interval_or_before_it_is_over_nothing_is_saved_in_between(tmp_path, monkeypatch, interval):
    found = interims(monkeypatch, tmp_path, f"--train.runner.save_interval_s={interval}")
    assert found == [[], [0], [0], [0], [0, 3], [0, 3], [0, 3]]


# -- full disks --------------------------------------------------------------------------------------------------------


def refuse(monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    """The disk is full for these files, and leaves half of them."""
    write = Path.write_bytes

    def write_bytes(path: Path, data: Any) -> int:
        if any(f".{name}." in path.name for name in files):
            write(path, bytes(data)[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def test_a_checkpoint_that_does_not_fit_is_one_line_and_the_next_one_is_tried(tmp_path, monkeypatch, capsys):
    refuse(monkeypatch, "model_1.pt")
    train.main(start(tmp_path, "--max_iterations=3", "--train.runner.save_interval=1"))
    run = newest(tmp_path)
    assert capsys.readouterr().err.strip().splitlines() == [
        f"cannot write {run / 'model_1.pt'}: No space left on device; "
        "the last whole checkpoint is model_0.pt; the training goes on, and the next "
        "save is tried"
    ]
    assert list(checkpoints(run)) == [0, 2]
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_a_training_whose_last_checkpoint_does_not_fit_ends_with_an_error(tmp_path, monkeypatch):
    refuse(monkeypatch, "model_2.pt")
    with pytest.raises(UserError, match=r"last checkpoint is missing: cannot write .*model_2\.pt: No space left"):
        train.main(start(tmp_path, "--max_iterations=3", "--train.runner.save_interval=2"))
    assert list(checkpoints(newest(tmp_path))) == [0]


def test_a_run_whose_configuration_does_not_fit_leaves_no_folder(tmp_path, monkeypatch):
    def full(path: Path, writer: Any) -> None:
        raise runs.WriteError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(runs, "atomic_write", full)
    with pytest.raises(UserError, match=r"params/env\.json: No space left"):
        train.main(start(tmp_path / "logs", "--max_iterations=1"))
    assert not (tmp_path / "logs").exists()


def test_curves_that_do_not_fit_are_one_line_and_are_tried_again(tmp_path, monkeypatch, capsys):
    from legged_gym_ext.training import tensorboard_writer

    writer = tensorboard_writer.TensorboardWriter(str(tmp_path))
    file, written = writer._writer, []

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(file, "add_scalar", fail)
    for step in range(3):
        writer.add_scalar("a", 1.0, step)
    assert capsys.readouterr().err.strip() == (
        f"cannot write curves to {tmp_path}: No space left on device; the training goes on without them"
    )
    monkeypatch.setattr(tensorboard_writer, "RETRY_AFTER", 0.0)
    writer.add_scalar("a", 1.0, 3)
    monkeypatch.setattr(writer._writer, "add_scalar", lambda *args: written.append(args))
    writer.add_scalar("a", 2.0, 4)
    writer.stop()
    file.close()
    assert written == [("a", 2.0, 4)]


LIMITED = """
import resource, sys
from legged_gym_ext.scripts import train
from legged_gym_ext.utils.errors import run_main
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # the system refuses larger files, as a full disk
run_main(train.main)
"""


def test_what_the_system_refuses_is_told_without_a_traceback(tmp_path):
    pytest.importorskip("resource")
    flags = [word for word in start(tmp_path / "logs", "--max_iterations=2") if "--logger" not in word]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "20000", *flags], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "model_0.pt: File too large; there is no checkpoint yet" in done.stderr
    assert not list((tmp_path / "logs").rglob("*.pt")) and not list((tmp_path / "logs").rglob(".*.tmp"))
