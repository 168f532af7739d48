"""Commands that programs print for the next step run as they are printed; tasks of users are known to every program."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from legged_gym_ext import user_tasks
from legged_gym_ext.envs import task_registry
from legged_gym_ext.training import next_step
from legged_gym_ext.user_tasks import import_tasks, parse, source_of
from legged_gym_ext.utils import errors
from legged_gym_ext.utils.cli import make_parser
from legged_gym_ext.utils.errors import UserError
from tests.small_trainings import SMALL

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
COMMAND = re.compile(r"\S*python\S* \S+/scripts/\w+\.py .*")

MY_TASKS = """
from legged_gym_ext.envs import task_registry
from legged_gym_ext.envs.go2.go2_config import Go2FlatCfg, Go2FlatCfgPPO

class MyCfgPPO(Go2FlatCfgPPO):
    class runner(Go2FlatCfgPPO.runner):
        experiment_name = "mine"

task_registry.register("my task", "legged_gym_ext.envs.base.legged_robot:LeggedRobot", Go2FlatCfg, MyCfgPPO)

if __name__ == "__main__":
    from legged_gym_ext.scripts import train
    from legged_gym_ext.utils.errors import run_main
    run_main(train.main)
"""


def run(command: str | list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, or words, without a display."""
    known = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=cwd,
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def commands(output: str) -> list[str]:
    """The commands in what a program printed."""
    return COMMAND.findall(output)


def trained(folder: Path, *command: str, **environment: str) -> list[str]:
    """Train there; returns the commands that are printed."""
    done = run([sys.executable, *command, *SMALL, "--max_iterations=1"], folder, **environment)
    assert done.returncode == 0, done.stderr
    return commands(done.stdout)


def test_after_training_evaluate_and_play_run_as_printed(tmp_path):
    script = ROOT / "legged_gym_ext/scripts/train.py"
    lines = trained(
        tmp_path, str(script), "--task=go2_flat", "--log_root=my logs", "--experiment_name=first try", DISPLAY=":9"
    )
    assert [Path(shlex.split(line)[1]).stem for line in lines] == ["evaluate", "play"]
    short = " --num_envs=2 --env.env.episode_length_s=0.2"
    done = run(lines[0] + short, tmp_path)
    assert done.returncode == 0 and "my logs/first try" in done.stdout, done.stderr
    # A window cannot be opened here: that this is all that is missing shows that the run was found.
    done = run(lines[1], tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: no display"), done.stderr


def test_without_a_display_play_is_printed_with_the_page(tmp_path):
    lines = trained(tmp_path, str(ROOT / "legged_gym_ext/scripts/train.py"), "--task=go2_flat", "--log_root=logs")
    assert shlex.split(lines[1])[-1] == "--web"


def test_after_ctrl_c_what_continues_measures_and_shows_the_run_does_as_printed(tmp_path):
    words = [sys.executable, str(ROOT / "legged_gym_ext/scripts/train.py"), "--task=go2_flat", "--log_root=my logs"]
    with subprocess.Popen(
        [*words, *SMALL, "--max_iterations=500"],
        cwd=tmp_path,
        env={**os.environ, "DISPLAY": ":9"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any(line.startswith("it 1/500") for line in lines)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 130
    (saved,) = re.findall(r"^ended early; saved (.*)$", output, re.MULTILINE)
    assert Path(saved).is_file()
    resume, evaluate, play = commands(output)
    done = run(f"{evaluate} --num_envs=2 --env.env.episode_length_s=0.2", tmp_path)
    assert done.returncode == 0 and Path(saved).name in done.stdout, done.stderr
    done = run(play, tmp_path)  # as above
    assert done.returncode == 2 and done.stderr.startswith("error: no display"), done.stderr
    iteration = int(re.findall(r"model_(\d+)", saved)[0])
    done = run(f"{resume} --max_iterations={iteration + 2}", tmp_path)
    assert done.returncode == 0 and f"resumed from {saved}" in done.stdout, done.stderr


def test_the_report_names_evaluations_that_it_then_reads(tmp_path):
    pytest.importorskip("matplotlib")
    flags = [flag for flag in SMALL if not flag.startswith("--logger")]
    words = [sys.executable, str(ROOT / "legged_gym_ext/scripts/train.py"), "--task=go2_flat", "--log_root=my logs"]
    done = run([*words, *flags, "--max_iterations=1"], tmp_path)
    (curves,) = re.findall(r"^curves: (.*)$", done.stdout, re.MULTILINE)
    assert run(f"{curves} --version_tb", tmp_path).returncode == 0
    report = [sys.executable, str(ROOT / "legged_gym_ext/scripts/report.py"), "go2_flat", "--log_root=my logs"]
    done = run([*report, "--no_rollout"], tmp_path)
    (line,) = commands(done.stdout)
    assert run(f"{line} --num_envs=2 --env.env.episode_length_s=0.2", tmp_path).returncode == 0
    done = run([*report, "--no_rollout"], tmp_path)
    assert done.returncode == 0 and commands(done.stdout) == [], done.stdout


def test_the_export_prints_a_sim2sim_that_runs(tmp_path):
    pytest.importorskip("onnx")
    trained(tmp_path, str(ROOT / "legged_gym_ext/scripts/train.py"), "--task=go2_flat", "--log_root=my logs")
    done = run(
        [sys.executable, str(ROOT / "legged_gym_ext/scripts/export.py"), "--task=go2_flat", "--log_root=my logs"],
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (line,) = commands(done.stdout)
    done = run(line + " --duration=0.5", tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_missing_run_names_a_training_that_writes_it_where_it_is_looked_for(tmp_path):
    script = str(ROOT / "legged_gym_ext/scripts/evaluate.py")
    done = run([sys.executable, script, "--task=go1_flat", "--log_root=my logs"], tmp_path)
    (line,) = commands(done.stderr.replace(")", ""))
    done = run(f"{line} {' '.join(SMALL)} --max_iterations=1", tmp_path)
    assert done.returncode == 0 and len(list(tmp_path.glob("my logs/go1_flat/*/model_0.pt"))) == 1, done.stderr


def test_a_task_of_a_users_own_file_is_trained_and_evaluated_as_printed(tmp_path):
    (tmp_path / "my tasks.py").write_text(MY_TASKS, encoding="utf-8")
    lines = trained(tmp_path, "my tasks.py", "--task=my task", "--log_root=logs")
    assert shlex.split(lines[0])[2:4] == ["--import=my tasks.py", "--task=my task"]
    done = run(lines[0] + " --num_envs=2 --env.env.episode_length_s=0.2", tmp_path)
    assert done.returncode == 0 and "logs/mine" in done.stdout, done.stderr


def test_a_run_is_named_where_another_one_would_be_taken(tmp_path):
    _, train_cfg = task_registry.get_cfgs("go2_flat")
    older, newer = tmp_path / "go2_flat" / "2026-01-01_00-00-00", tmp_path / "go2_flat" / "2026-01-02_00-00-00"
    for folder in (older, newer):
        folder.mkdir(parents=True)
        (folder / "model_5.pt").touch()
    flags = next_step.task_flags("go2_flat", train_cfg.runner, tmp_path, older)
    assert flags == ["--task=go2_flat", f"--log_root={errors.display_path(tmp_path)}", f"--load_run={older.name}"]
    assert f"--load_run={newer.name}" not in next_step.task_flags("go2_flat", train_cfg.runner, tmp_path, newer)


def test_what_was_imported_besides_the_task_is_imported_again(tmp_path):
    (tmp_path / "my_engine.py").write_text("x = 1\n", encoding="utf-8")
    import_tasks(str(tmp_path / "my_engine.py"))
    _, train_cfg = task_registry.get_cfgs("go2_flat")
    flags = next_step.task_flags("go2_flat", train_cfg.runner, tmp_path)
    assert f"--import={errors.display_path(tmp_path / 'my_engine.py')}" in flags
    user_tasks.imported.clear()


def test_the_interpreter_is_the_one_that_runs_and_python_where_the_shell_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(errors.shutil, "which", lambda name: "/usr/bin/python")
    assert errors.python_command() == ".venv/bin/python"
    monkeypatch.setattr(errors.shutil, "which", lambda name: str(tmp_path / ".venv/bin/python"))
    assert errors.python_command() == "python"


def test_installing_names_the_folder_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert errors.install_command("train").endswith(f"-m pip install -c {ROOT}/constraints.txt -e '{ROOT}[train]'")
    monkeypatch.chdir(ROOT)
    assert errors.install_command("train").endswith("-m pip install -c constraints.txt -e '.[train]'")
    monkeypatch.setattr(errors, "IN_REPOSITORY", False)  # as from a wheel
    assert errors.install_command("train").endswith("-m pip install 'rsl_rl_ult[train]'")


def test_looking_for_pip_leaves_setuptools_fit_for_torch_compile():
    code = "from legged_gym_ext.utils.errors import install_command as c; c('all'); import setuptools"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# -- tasks of users ----------------------------------------------------------------------------------------------------


def test_tasks_of_this_package_need_no_import():
    assert {task_registry.source(name) for name in task_registry.names} == {None}


@pytest.mark.parametrize(
    ("namespace", "source"),
    [
        ({"__name__": "__main__", "__file__": "/somewhere/a.py", "__spec__": None}, "/somewhere/a.py"),
        ({"__name__": "a", "__file__": "/somewhere/a.py"}, "/somewhere/a.py"),
        ({"__name__": "pkg.a", "__file__": "/somewhere/pkg/a.py"}, "pkg.a"),  # its relative imports need the package
        ({"__name__": "__main__"}, None),  # typed into an interpreter
        ({"__name__": "legged_gym_ext.envs", "__file__": "/x.py"}, None),
    ],
)
def test_what_registered_a_task_is_what_import_takes(namespace, source):
    assert source_of(namespace) == source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        (
            "from legged_gym_ext.scripts import train; train.main([])",
            "starts a program when it is imported; put that below",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "broken_tasks.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        parse(make_parser(""), [f"--import={path}"])
    assert str(path.resolve()) not in user_tasks.imported  # printed commands would name it


def test_a_file_that_is_imported_twice_registers_once(tmp_path, monkeypatch):
    monkeypatch.setattr(user_tasks, "imported", {})  # printed commands of other tests do not import it
    path = tmp_path / "counted_tasks.py"
    path.write_text("import builtins; builtins.counted = getattr(builtins, 'counted', 0) + 1", encoding="utf-8")
    import builtins

    for _ in range(2):
        import_tasks(str(path))
    assert builtins.counted == 1  # type: ignore[attr-defined]


def test_an_engine_that_is_not_the_usual_one_is_named_for_the_next_command(tmp_path):
    from types import SimpleNamespace

    from legged_gym_ext.scripts import train

    env_cfg, train_cfg = task_registry.get_cfgs("go2_flat")
    run_dir = tmp_path / "go2_flat" / "2026-01-01_00-00-00"
    run_dir.mkdir(parents=True)
    (run_dir / "model_5.pt").touch()
    runner = SimpleNamespace(env=SimpleNamespace(env=SimpleNamespace(cfg=env_cfg)))
    usual = train._flags("go2_flat", runner, train_cfg.runner, tmp_path, run_dir)
    env_cfg.sim.engine, env_cfg.sim.device = "isaac_gym", "cuda:0"
    other = train._flags("go2_flat", runner, train_cfg.runner, tmp_path, run_dir)
    assert other == [*usual, "--sim=isaac_gym", "--sim_device=cuda:0"]
