"""collect.py, dataset.py and distill.py as a user runs them: from a run to data, to a student, to its evaluation."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("rsl_rl")

from legged_gym_ext.envs import task_registry  # noqa: E402
from legged_gym_ext.scripts import collect, dataset, distill, evaluate, export, train  # noqa: E402
from legged_gym_ext.training import pretrained  # noqa: E402
from legged_gym_ext.training.runs import checkpoints  # noqa: E402
from legged_gym_ext.utils.errors import UserError  # noqa: E402
from rsl_rl_ult.storage.dataset import Dataset, read_card  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
SHORT = ("--env.env.episode_length_s=0.3", "--env.sim.num_threads=1")  # 15 steps
FAST = ("--max_iterations=2", "--train.algorithm.batch_size=64", "--train.algorithm.held_out=0.3")


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Runs of a method with teacher and student, and of one with a single policy."""
    root = tmp_path_factory.mktemp("logs")
    for task in ("go2_rma_flat", "go2_flat"):
        options = ["--max_iterations=1", "--num_envs=8", "--train.runner.num_steps_per_env=8", "--logger=none"]
        extra = ["--train.runner.stage2_iterations=0", "--train.runner.eval_interval=0"] if "rma" in task else []
        train.main([f"--task={task}", f"--log_root={root}", "--env.sim.num_threads=1", *options, *extra])
    return root


def record(logs, out, *flags, task="go2_rma_flat", episodes=12):
    options = [f"--task={task}", f"--log_root={logs}", f"--out={out}", f"--episodes={episodes}", "--num_envs=6"]
    assert collect.main([*options, *SHORT, *flags]) == 0


@pytest.fixture(scope="module")
def data(logs, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "mixed"
    record(logs, out, "--policy=mixed", "--actions=sampled", "--rows_per_shard=64")
    return out


def test_what_is_recorded(data):
    found = Dataset(data)
    card, segments = found.card, list(found.segments({"student": None, "privileged": None}))
    assert len(segments) == 12 and len(found.shards) > 1
    lengths = [int(one["transition"].sum()) for one in segments]
    assert max(lengths) == 15 and sum(one["truncations"].sum() + one["terminations"].sum() for one in segments) == 12
    drivers = {one["driver"][0] for one in segments}
    assert drivers == {0, 1} and all(len(set(one["driver"][:-1])) == 1 for one in segments)  # for whole episodes
    assert card["task"] == "go2_rma_flat" and card["robot"] == "go2" and card["kinds"] == ["plane"]
    part = slice(*card["terms"]["policy"]["last_action"])
    commands = slice(*card["terms"]["policy"]["commands"])
    for one in segments:
        # The next row is the next observation: it shows the action, also after the last one.
        assert np.allclose(one["policy"][1:, part], one["actions"][:-1], atol=1e-6)
        scaled = one["policy"][:-1, commands] / np.array([2.0, 2.0, 0.25])
        assert np.allclose(scaled, one["command"][:-1], atol=1e-5)
        assert not np.array_equal(one["actions"][:-1], one["teacher_actions"][:-1])


def test_labels_are_the_teachers_mean_actions_whoever_acted(logs, tmp_path):
    record(logs, tmp_path / "a", "--policy=teacher")
    record(logs, tmp_path / "b", "--policy=student")
    teacher, student = (
        np.concatenate([s["actions"] - s["teacher_actions"] for s in Dataset(tmp_path / name).segments()])
        for name in ("a", "b")
    )
    assert not teacher.any() and np.abs(student).max() > 1e-4


def test_own_labels_are_the_mean_actions_of_who_acted(logs, tmp_path):
    record(logs, tmp_path / "a", "--policy=student", "--labels=own")
    assert all(np.array_equal(s["actions"], s["teacher_actions"]) for s in Dataset(tmp_path / "a").segments())
    record(logs, tmp_path / "b", "--policy=deployed", "--labels=own", "--actions=sampled")
    noise = np.concatenate([s["actions"] - s["teacher_actions"] for s in Dataset(tmp_path / "b").segments()])
    assert 0.8 < noise.std() < 1.2  # executed with the deviation 1 of the start of a training, labelled without
    with pytest.raises(UserError, match=r"another folder"):  # labels of two kinds do not mix
        record(logs, tmp_path / "b", "--policy=student", episodes=24)


def test_what_is_deployed_is_the_student_or_the_only_policy(logs, tmp_path):
    for task, driver in (("go2_rma_flat", 1), ("go2_flat", 0)):
        record(logs, tmp_path / task, "--policy=deployed", task=task, episodes=6)
        assert {int(one["driver"][0]) for one in Dataset(tmp_path / task).segments()} == {driver}


def test_running_it_again_goes_on_with_other_episodes(logs, tmp_path, capsys):
    record(logs, tmp_path / "a", episodes=6)
    record(logs, tmp_path / "a", episodes=9)
    found = [one["policy"][0].tolist() for one in Dataset(tmp_path / "a").segments()]
    assert len(found) == 9 and len({str(frame) for frame in found}) == 9
    record(logs, tmp_path / "a", episodes=9)
    assert "nothing left to do" in capsys.readouterr().out


def test_a_run_with_one_policy_is_recorded_as_its_own_teacher(logs, tmp_path):
    record(logs, tmp_path / "a", task="go2_flat", episodes=6)
    assert all(np.array_equal(s["actions"], s["teacher_actions"]) for s in Dataset(tmp_path / "a").segments())
    record(logs, tmp_path / "b", "--actions=sampled", task="go2_flat", episodes=6)
    noise = np.concatenate([s["actions"] - s["teacher_actions"] for s in Dataset(tmp_path / "b").segments()])
    assert 0.8 < noise.std() < 1.2  # deviation 1 at the start of a training


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--out="], "--out is missing"),
        (["--out={tmp}/x", "--episodes=0"], "--episodes=0: expected at least 1"),
        (["--out={tmp}/x", "--mix=per_step"], "--mix says who acts in mixed data: add --policy=mixed"),
        (["--out={tmp}/x", "--policy=mixed", "--mix_ratio=2"], "expected in [0, 1]"),
        (["--out={tmp}/x", "--policy=learner"], "--policy"),
        (["--out={tmp}/x", "--load_run=nothing"], "no run 'nothing'"),
        (["--out={tmp}/x", "--task=go2_flat", "--policy=student"], "the run has one policy and no student"),
    ],
)
def test_a_mistake_in_recording_is_one_line_and_leaves_nothing(logs, tmp_path, flags, message):
    options = ["--task=go2_rma_flat", f"--log_root={logs}", "--num_envs=2", *SHORT]
    with pytest.raises(UserError) as error:
        collect.main([*options, *(flag.format(tmp=tmp_path) for flag in flags)])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "x").exists()


def test_another_teacher_does_not_go_into_the_same_folder(logs, data):
    before = {path.name: path.stat().st_mtime_ns for path in data.glob("shard*")}
    with pytest.raises(UserError, match=r"has task=go2_rma_flat, expected go2_flat: .* another folder"):
        record(logs, data, task="go2_flat", episodes=99)
    assert {path.name: path.stat().st_mtime_ns for path in data.glob("shard*")} == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_what_is_finished_and_the_same_command_goes_on(logs, tmp_path, number):
    out = tmp_path / "a"
    flags = [f"--out={out}", "--episodes=400", "--num_envs=4", "--rows_per_shard=60", *SHORT]
    program = [sys.executable, str(ROOT / "legged_gym_ext" / "scripts" / "collect.py")]
    command = [*program, "--task=go2_rma_flat", f"--log_root={logs}", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 120
    while not (out / "shard-000001.npz").exists() and time.monotonic() < limit and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert "the same command goes on" in output
    kept = Dataset(out)
    episodes = len(list(kept.segments()))
    assert 1 < episodes < 400 and not kept.skipped
    record(logs, out, "--rows_per_shard=60", episodes=episodes + 3)
    assert len(list(Dataset(out).segments())) == episodes + 3


def test_dataset_shows_what_it_holds(data, capsys):
    assert dataset.main([f"--dataset={data}"]) == 0
    text = capsys.readouterr().out
    assert "12 episodes" in text and "acted by teacher" in text and "privileged: privileged float32[" in text


def test_dataset_exports_and_imports(data, tmp_path, capsys):
    file, back = tmp_path / "mixed.npz", tmp_path / "back"
    assert dataset.main([f"--dataset={data}", "--to=d4rl", f"--file={file}", "--privileged"]) == 0
    assert dataset.main([f"--dataset={back}", "--from=d4rl", f"--file={file}"]) == 0
    assert Dataset(back).transitions() == Dataset(data).transitions()
    capsys.readouterr()
    assert {**read_card(back), "created": 0} == {**read_card(data), "created": 0}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--dataset is missing"),
        (["--dataset=nowhere"], "no data set in nowhere"),
        (["--dataset={data}", "--to=minari"], "--id is missing: expected, for example, --id=go2/expert-v0"),
        (["--dataset={data}", "--file=a.npz"], "--file belongs to the format d4rl"),
        (["--dataset={data}", "--to=d4rl", "--file=a.csv"], "expected a file that ends in .npz"),
        (["--dataset={data}", "--to=d4rl", "--from=d4rl", "--file=a.npz"], "one at a time"),
        (["--dataset={data}", "--privileged"], "--privileged says what is exported"),
        (["--dataset={data}", "--to=lerobot"], "--folder is missing: expected, for example, --folder=expert_lerobot"),
        (["--dataset={data}", "--folder=x"], "--folder belongs to the format lerobot: add --to=lerobot"),
        (["--dataset={data}", "--from=lerobot"], "--from"),
        (["--dataset={data}", "--to=minari", "--id=walk"], "'walk' is no name of Minari's: expected (namespace/)name"),
        (["--dataset={data}/meta.json"], "no data set in"),
        (["--dataset={data}", "--env.x=1"], "no configuration to override"),
    ],
)
def test_a_mistake_with_dataset_is_one_line(data, flags, message):
    with pytest.raises(UserError) as error:
        dataset.main([flag.format(data=data) for flag in flags])
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "student", ["MLP", *(pytest.param(name, marks=pytest.mark.slow) for name in ("TCN", "GRU", "ULT"))]
)
def test_a_cloned_student_is_evaluated_and_exported_like_any_other(data, tmp_path, student, capsys):
    logs, task = tmp_path / "logs", "go2_bc_ult_flat" if student == "ULT" else "go2_bc_flat"
    assert distill.main([f"--dataset={data}", f"--student={student}", f"--log_root={logs}", *FAST]) == 0
    output = capsys.readouterr().out
    assert f"cloning {task}" in output and "evaluate.py" in output
    (run,) = (logs / task).iterdir()
    assert (
        len(checkpoints(run)) == 1
        and json.loads((run / "params" / "run.json").read_text(encoding="utf-8"))["task"] == task
    )
    printed, shown = (shlex.split(line) for line in output.splitlines()[-2:])
    assert [Path(words[1]).name for words in (printed, shown)] == ["evaluate.py", "play.py"]
    assert Path(printed[0]).name.startswith("python") and Path(printed[1]).is_file() and Path(shown[1]).is_file()
    assert evaluate.main([*printed[2:], "--num_envs=2", *SHORT]) == 0  # as printed, in this process
    look = [f"--task={task}", f"--log_root={logs}"]
    assert evaluate.main([*look, "--num_envs=2", f"--json={tmp_path / 'a.json'}", *SHORT]) == 0
    assert list(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["policies"]) == ["student"]
    if student == "MLP":
        pytest.importorskip("onnxruntime")
        assert export.main([*look, f"--out={tmp_path / 'out'}"]) == 0
        assert (tmp_path / "out" / "policy.onnx").is_file()


def test_a_cloning_is_resumed_in_its_folder(data, tmp_path):
    weights = []
    for logs, counts in (("whole", (3,)), ("parts", (1, 3))):
        root = tmp_path / logs
        for index, count in enumerate(counts):
            options = ["--resume", "--task=go2_bc_flat"] if index else [f"--dataset={data}"]
            distill.main(
                [*options, f"--log_root={root}", f"--max_iterations={count}", *(FAST[1:] if not index else [])]
            )
        (run,) = (root / "go2_bc_flat").iterdir()
        weights.append(torch.load(run / "cloning.pt", weights_only=True)["network"])
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_cloning_whose_gradient_breaks_is_one_line_and_learns_nothing_from_it(data, tmp_path):
    with pytest.raises(UserError) as error:
        distill.main([f"--dataset={data}", f"--log_root={tmp_path}", *FAST, "--train.algorithm.cloning_rate=1e30"])
    assert "pass 1, step 2, loss" in str(error.value) and ": the gradient is not finite; try a" in str(error.value)
    assert "lower algorithm.cloning_rate than 1e+30; there is nothing to keep" in str(error.value)
    assert not list(tmp_path.glob("*/*"))


def test_a_cloned_student_can_be_recorded_and_taught_from(data, tmp_path):
    """A run of one student is no teacher, and collect.py says so."""
    distill.main([f"--dataset={data}", f"--log_root={tmp_path}", *FAST])
    with pytest.raises(UserError, match="the run has a student and no teacher"):
        record(tmp_path, tmp_path / "out", task="go2_bc_flat")
    flags = ["--task=go2_ts_flat", "--num_envs=4", "--teacher=go2_bc_flat", "--logger=none"]
    with pytest.raises(UserError, match="a run of BC has a student and no teacher: name the run that its data"):
        train.main([*flags, f"--log_root={tmp_path}"])


@pytest.mark.parametrize(
    ("task", "command"),
    [
        ("go2_bc_flat", r"distill\.py --dataset=FOLDER --task=go2_bc_flat"),
        ("go2_bc_ult", r"distill\.py --dataset=FOLDER --task=go2_bc_ult"),
        ("go2_multi", r"multi_task\.py --out=FOLDER --task=TEACHERS"),
    ],
)
def test_what_learns_from_data_is_not_trained_by_train_and_the_error_has_the_right_command(
    task, command, tmp_path, monkeypatch, capsys
):
    """Before anything is built, whether it is to be trained or looked at."""
    monkeypatch.setattr(task_registry, "make_env", lambda *_: pytest.fail("an environment was built"))
    flags = [f"--task={task}", "--num_envs=4", f"--log_root={tmp_path / 'logs'}"]
    with pytest.raises(UserError, match=rf"learns from a data set, not in a simulator; .*{command}"):
        train.main([*flags, "--logger=none"])
    with pytest.raises(UserError, match=rf"no runs of experiment '{task}'.*\(to train: .*{command}"):
        evaluate.main(flags)
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "logs").exists()


def test_a_task_without_runs_offers_the_policy_of_the_package_where_there_is_one(tmp_path):
    for task, offered in (("go2_rma", True), ("go1_rma", False)):
        with pytest.raises(UserError, match="no runs of experiment") as error:
            record(tmp_path, tmp_path / "out", task=task)
        assert ("add --pretrained" in str(error.value)) == offered


def test_the_policy_of_the_package_is_recorded(tmp_path, capsys):
    flags = ["--task=go2_rma", "--pretrained", "--num_envs=2", "--episodes=2", "--env.env.episode_length_s=0.2"]
    collect.main([*flags, f"--out={tmp_path / 'out'}"])
    assert "shipped policy of go2_rma" in capsys.readouterr().out
    dataset = Dataset(tmp_path / "out")
    assert dataset.card["task"] == "go2_rma"
    assert (pretrained.find("go2_rma") / dataset.card["teacher"]["checkpoint"]).is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--dataset is missing"),
        (["--dataset=nowhere"], "no data set in nowhere"),
        (["--dataset={data}", "--task=go1_bc_flat"], "is of robot 'go2', task 'go1_bc_flat' is of 'go1'"),
        (
            ["--dataset={data}", "--task=go2_ts"],
            "--task=go2_ts is not learnt from data: expected a task such as go2_bc",
        ),
        (["--dataset={data}", "--student=CNN"], "--student"),
        (["--dataset={data}", "--resume"], "--dataset with --resume"),
        (["--resume"], "--resume needs the run's --task"),
        (["--dataset={data}", "--transitions=0"], "--transitions=0: expected at least 1"),
        (["--dataset={data}", "--max_iterations=0"], "--max_iterations=0: expected at least 1"),
        (["--dataset={data}/meta.json"], "no data set in {data}/meta.json: cannot read meta.json"),
        (["--dataset={data}", "--train.algorithm.held_out=2"], "algorithm.held_out=2.0: a share of the episodes"),
        (
            ["--dataset={data}", "--train.algorithm.held_out=0.0001"],
            " held out (held_out=0.0001), expected one of each; record about 46050",
        ),
        (["--dataset={data}", "--train.algorithm.batchsize=2"], "did you mean algorithm.batch_size"),
    ],
)
def test_a_mistake_in_cloning_is_one_line_and_leaves_nothing(data, tmp_path, flags, message):
    with pytest.raises(UserError) as error:
        distill.main([f"--log_root={tmp_path / 'logs'}", *(flag.format(data=data) for flag in flags)])
    assert message.format(data=data) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("damage", ["truncated", "not finite"])
def test_cloning_from_shards_that_cannot_be_read_is_one_line_and_leaves_nothing(data, tmp_path, damage, capsys):
    shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data").glob("shard-??????.npz"):
        if damage == "truncated":
            path.write_bytes(path.read_bytes()[:500])
        else:
            arrays = dict(np.load(path))
            arrays["policy"][0, 0] = np.nan
            np.savez(path, **arrays)
    with pytest.raises(UserError, match="no shard with transitions that can be read"):
        distill.main([f"--dataset={tmp_path / 'data'}", f"--log_root={tmp_path / 'logs'}", *FAST])
    assert not (tmp_path / "logs").exists() and damage[:9] in capsys.readouterr().err
    with pytest.raises(UserError, match="no shard with transitions can be read"):
        dataset.main([f"--dataset={tmp_path / 'data'}"])


def test_data_without_a_card_need_a_task(data, tmp_path):
    file, back = tmp_path / "a.npz", tmp_path / "back"
    dataset.main([f"--dataset={data}", "--to=d4rl", f"--file={file}"])
    with np.load(file) as arrays:
        np.savez(file, **{name: values for name, values in arrays.items() if "/" not in name})
    dataset.main([f"--dataset={back}", "--from=d4rl", f"--file={file}"])
    with pytest.raises(UserError, match="does not say what the data are of: name the task"):
        distill.main([f"--dataset={back}", f"--log_root={tmp_path / 'logs'}"])
    flags = [f"--dataset={back}", f"--log_root={tmp_path / 'logs'}", "--task=go2_bc_flat", *FAST]
    with pytest.raises(UserError, match="has no column 'teacher_actions'"):
        distill.main(flags)
    assert distill.main([*flags, "--target=executed"]) == 0
