"""Run folders and checkpoints: which one is found, and what is said when it is missing or broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO
from legged_gym_ext.training import runs
from legged_gym_ext.training.runs import (
    WriteError,
    atomic_write,
    discard_run,
    find_checkpoint,
    find_run,
    load_checkpoint,
    load_run_configs,
    new_run_dir,
    save_run_configs,
)
from legged_gym_ext.utils.config import to_dict
from legged_gym_ext.utils.errors import UserError


class FrozenClock:
    """A datetime class whose `now` stands still."""

    @classmethod
    def now(cls) -> object:
        """2026-01-02 03:04:05."""
        from datetime import datetime

        return datetime(2026, 1, 2, 3, 4, 5)


def make_run(root: Path, name: str, *iterations: int, experiment: str = "go2") -> Path:
    """A run folder with (empty) checkpoints."""
    folder = root / experiment / name
    folder.mkdir(parents=True)
    for iteration in iterations:
        (folder / f"model_{iteration}.pt").touch()
    return folder


# Run folders


def test_a_run_folder_is_date_and_name_without_a_trailing_underscore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "datetime", FrozenClock)
    assert new_run_dir(tmp_path, "go2", "test") == tmp_path / "go2" / "2026-01-02_03-04-05_test"
    assert new_run_dir(tmp_path, "go2", "") == tmp_path / "go2" / "2026-01-02_03-04-05"


def test_runs_of_the_same_second_get_folders_that_sort_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "datetime", FrozenClock)
    folders = [new_run_dir(tmp_path, "go2", "a") for _ in range(12)]
    assert len(set(folders)) == 12 and all(folder.is_dir() for folder in folders)
    for folder in folders:
        (folder / "model_0.pt").touch()
        assert find_run(tmp_path, "go2") == folder  # also the eleventh, "...-10", after "...-9"


@pytest.mark.parametrize(
    ("experiment", "run_name"), [("go2", "a/b"), ("go2", ".."), ("../go2", ""), ("/tmp", ""), ("", "")]
)
def test_names_that_would_leave_the_log_folder_are_refused(tmp_path: Path, experiment: str, run_name: str) -> None:
    with pytest.raises(UserError, match="name"):
        new_run_dir(tmp_path / "logs", experiment, run_name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_log_folder_should_be_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    with pytest.raises(UserError, match="cannot create the run folder"):
        new_run_dir(tmp_path / "logs", "go2", "")


# Finding runs


@pytest.mark.parametrize("latest", [None, -1, "-1", ""])
def test_the_newest_run_with_a_checkpoint_is_the_default(tmp_path: Path, latest: str | int | None) -> None:
    make_run(tmp_path, "2026-01-01_10-00-00_zebra", 50)
    newest = make_run(tmp_path, "2026-01-02_10-00-00_ant", 0)
    make_run(tmp_path, "2026-01-03_10-00-00")  # died before its first checkpoint
    make_run(tmp_path, "renamed", 100)  # sorts after the dates as text
    assert find_run(tmp_path, "go2", latest) == newest


def began(run: Path, asked: int) -> Path:
    """Say how many iterations a run was asked for."""
    (run / "params").mkdir()
    (run / "params/env.json").write_text("{}", encoding="utf-8")
    (run / "params/train.json").write_text(json.dumps({"runner": {"max_iterations": asked}}), encoding="utf-8")
    return run


def test_a_newer_run_that_ended_in_its_first_iterations_is_passed_over_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = began(make_run(tmp_path, "2026-01-01_10-00-00", 0, 50), 300)
    newer = began(make_run(tmp_path, "2026-01-02_10-00-00", 0), 300)
    assert find_run(tmp_path, "go2") == older
    assert capsys.readouterr().err == (
        f"note: taking run {older.name}; newer, but ended after their first iteration: {newer.name}; "
        "--load_run takes one of them\n"
    )
    assert find_run(tmp_path, "go2", newer.name) == newer and capsys.readouterr().err == ""


def test_a_training_of_one_iteration_is_a_whole_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began(make_run(tmp_path, "2026-01-01_10-00-00", 0, 50), 300)
    newer = began(make_run(tmp_path, "2026-01-02_10-00-00", 0), 1)
    assert find_run(tmp_path, "go2") == newer and capsys.readouterr().err == ""


def test_a_run_that_hardly_began_is_found_when_there_is_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("2026-01-01_10-00-00", "2026-01-02_10-00-00"):
        last = began(make_run(tmp_path, name, 0), 300)
    assert find_run(tmp_path, "go2") == last and capsys.readouterr().err == ""


def test_a_discarded_run_takes_empty_folders_with_it_and_nothing_else(tmp_path: Path) -> None:
    kept, logs = make_run(tmp_path / "logs", "a", 0), tmp_path / "logs"
    assert not discard_run(kept) and kept.is_dir()
    other = make_run(logs, "b")
    (other / "params").mkdir()
    assert discard_run(other) and not other.exists() and kept.is_dir()
    (kept / "model_0.pt").unlink()
    assert discard_run(kept) and not logs.exists()


def test_folders_without_a_date_are_found_when_there_are_no_others(tmp_path: Path) -> None:
    make_run(tmp_path, "run9", 50)
    assert find_run(tmp_path, "go2") == tmp_path / "go2" / "run9"
    make_run(tmp_path, "run10", 50)
    assert find_run(tmp_path, "go2") == tmp_path / "go2" / "run10"  # numbers count by value


def test_a_run_is_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, "2026-01-01_10-00-00", 50)
    make_run(tmp_path, "2026-01-02_10-00-00", 50)
    assert find_run(tmp_path, "go2", run.name) == run
    assert find_run(tmp_path, "go2", str(run)) == run
    assert find_run(tmp_path / "elsewhere", "other", str(run)) == run
    monkeypatch.chdir(run.parent)
    assert find_run(tmp_path / "elsewhere", "other", run.name).resolve() == run.resolve()


def test_a_mistyped_run_names_the_nearest(tmp_path: Path) -> None:
    make_run(tmp_path, "2026-01-01_10-00-00_walk", 50)
    make_run(tmp_path, "2026-01-01_10-00-00_trot", 50)
    with pytest.raises(UserError, match=r"no run '2026-01-01_10-00-00_wlak' .* did you mean 2026-01-01_10-00-00_walk"):
        find_run(tmp_path, "go2", "2026-01-01_10-00-00_wlak")


def test_naming_a_checkpoint_file_as_run_says_which_flags_to_use(tmp_path: Path) -> None:
    run = make_run(tmp_path, "2026-01-01_10-00-00", 50)
    with pytest.raises(UserError, match="is a file; give its folder, and the iteration as --checkpoint"):
        find_run(tmp_path, "go2", str(run / "model_50.pt"))


def test_a_missing_experiment_says_what_to_train_and_what_was_meant(tmp_path: Path) -> None:
    make_run(tmp_path, "2026-01-01_10-00-00", 50, experiment="go2_blind")
    with pytest.raises(UserError, match=r"did you mean go2_blind\?; train one first, or name another"):
        find_run(tmp_path, "go2_blnd")
    with pytest.raises(UserError, match=r"no runs of experiment 'go2' in .*; train one first"):
        find_run(tmp_path / "nowhere", "go2")


def test_an_experiment_without_checkpoints_is_a_user_error(tmp_path: Path) -> None:
    make_run(tmp_path, "2026-01-01_10-00-00")
    with pytest.raises(UserError, match=r"no run in .* has a checkpoint"):
        find_run(tmp_path, "go2")


# Finding checkpoints


@pytest.mark.parametrize("latest", [None, -1, "-1"])
def test_the_highest_iteration_is_the_default_by_number_not_by_text(tmp_path: Path, latest: str | int | None) -> None:
    run = make_run(tmp_path, "r", 0, 50, 100, 99)
    for name in ("model_best.pt", "model_200.pt.tmp", ".model_300.pt.1.tmp", "xmodel_400.pt", "model_600.pt.old.pt"):
        (run / name).touch()
    (run / "model_500.pt").mkdir()
    assert find_checkpoint(run, latest) == run / "model_100.pt"


@pytest.mark.parametrize("wanted", [50, "50", "model_50.pt", "model_50"])
def test_a_checkpoint_is_found_by_number_and_by_name(tmp_path: Path, wanted: str | int) -> None:
    run = make_run(tmp_path, "r", 0, 50, 100)
    assert find_checkpoint(run, wanted) == run / "model_50.pt"


@pytest.mark.parametrize("wanted", [51, "last", "model_5.pt", -2])
def test_a_missing_checkpoint_lists_those_there_are(tmp_path: Path, wanted: str | int) -> None:
    run = make_run(tmp_path, "r", 50, 100, 0)
    with pytest.raises(UserError, match=rf"no checkpoint {wanted} in .*; its iterations: 0, 50, 100"):
        find_checkpoint(run, wanted)


def test_a_run_without_checkpoints_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no checkpoint model_<iteration>.pt in .*--load_run"):
        find_checkpoint(make_run(tmp_path, "r"))


# Loading checkpoints


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "model_3.pt"
    torch.save({"iter": 3, "weights": torch.tensor([1.0, 2.0]), "infos": {"total": (5, 0.5)}}, path)
    loaded = load_checkpoint(path, "cpu")
    assert torch.equal(loaded["weights"], torch.tensor([1.0, 2.0]))
    assert (loaded["iter"], loaded["infos"]) == (3, {"total": (5, 0.5)})


@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "truncated", "text", "tensor", "no_iter", "code"])
def test_a_broken_or_foreign_file_is_a_user_error_with_path_and_advice(tmp_path: Path, damage: str) -> None:
    torch = pytest.importorskip("torch")
    path, victim = tmp_path / "model_3.pt", tmp_path / "victim"
    if damage == "folder":
        path.mkdir()
    elif damage == "empty":
        path.touch()
    elif damage == "truncated":
        torch.save({"iter": 3, "weights": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    elif damage == "tensor":
        torch.save(torch.zeros(3), path)
    elif damage == "no_iter":
        torch.save({"model": 1}, path)
    elif damage == "code":
        torch.save({"iter": 3, "trap": Trap(str(victim))}, path)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path, "cpu")
    message = str(caught.value)
    assert str(path) in message and "--checkpoint" in message and "\n" not in message
    assert damage != "empty" or "is empty" in message
    assert not victim.exists()  # reading a file that somebody sent must not run what is in it


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


# Writing


def test_atomic_write_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")
    seen = []

    def writer(target: Path) -> None:
        target.write_text("new", encoding="utf-8")
        seen.append((target.parent, path.read_text(encoding="utf-8")))

    atomic_write(path, writer)
    assert path.read_text(encoding="utf-8") == "new" and list(tmp_path.iterdir()) == [path]
    assert seen == [(tmp_path, "old")]  # same folder, and the old file is whole until the end


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError(28, "No space left on device"), WriteError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_atomic_write_keeps_the_old_file_when_the_writer_fails(
    tmp_path: Path, error: BaseException, raised: type[BaseException]
) -> None:
    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")

    def writer(target: Path) -> None:
        target.write_text("half", encoding="utf-8")
        raise error

    with pytest.raises(raised) as caught:
        atomic_write(path, writer)
    assert raised is not WriteError or str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_saved_configurations_are_json_and_come_back(tmp_path: Path) -> None:
    env_cfg, train_cfg = LeggedRobotCfg(), LeggedRobotCfgPPO()
    env_cfg.env.num_envs, train_cfg.algorithm.learning_rate = 7, 5e-4
    save_run_configs(tmp_path, env_cfg, train_cfg)
    assert json.loads((tmp_path / "params" / "env.json").read_text(encoding="utf-8"))["env"]["num_envs"] == 7
    assert load_run_configs(tmp_path) == (to_dict(env_cfg), to_dict(train_cfg))


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe\x00"])
def test_missing_or_broken_configurations_are_a_user_error_naming_the_file(
    tmp_path: Path, content: bytes | None
) -> None:
    save_run_configs(tmp_path, LeggedRobotCfg(), LeggedRobotCfgPPO())
    path = tmp_path / "params" / "train.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"train\.json.*--load_run"):
        load_run_configs(tmp_path)


def test_importing_the_modules_loads_no_array_library() -> None:
    program = (
        "import sys; import legged_gym_ext.training.runs, legged_gym_ext.utils.cli\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT_DIR, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
