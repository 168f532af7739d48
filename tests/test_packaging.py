"""What is installed: package data, console scripts, and a wheel that is used from an empty folder, without a clone."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from importlib import import_module, metadata
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import legged_gym_ext
from legged_gym_ext.training import next_step
from legged_gym_ext.utils import errors
from tests.small_trainings import SMALL

ROOT = Path(__file__).resolve().parents[1]
PARTS = {"multi_task_steps"}  # modules of scripts that are none themselves
PACKAGES = ("legged_gym_ext", "rsl_rl_ult")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")  # of the first page


@pytest.fixture
def metadata_of_setup(monkeypatch) -> dict[str, Any]:
    """What setup.py hands to setuptools."""
    handed: dict[str, Any] = {}
    double = SimpleNamespace(setup=lambda **given: handed.update(given), find_packages=lambda include: include)
    monkeypatch.setitem(sys.modules, "setuptools", double)
    runpy.run_path(str(ROOT / "setup.py"))
    return handed


# Package data and entry points


def test_every_file_that_is_not_python_is_package_data(metadata_of_setup):
    for package in PACKAGES:
        patterns = metadata_of_setup["package_data"][package]
        files = [path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*") if path.is_file()]
        others = {PurePosixPath(path) for path in files if path.suffix not in (".py", ".pyc")}
        assert PurePosixPath("py.typed") in others
        missing = [str(path) for path in others if not any(path.match(pattern) for pattern in patterns)]
        assert missing == []


def test_every_script_is_a_console_script_that_runs_its_main(metadata_of_setup, monkeypatch):
    names = {path.stem for path in (ROOT / "legged_gym_ext/scripts").glob("*.py")} - {"__init__", "console"}
    names -= {"benchmark", *PARTS}  # the former name of sweep.py
    entries = dict(line.split(" = ") for line in metadata_of_setup["entry_points"]["console_scripts"])
    assert set(entries) == {f"ult-{name}" for name in names}
    for name in names:
        module, attribute = entries[f"ult-{name}"].split(":")
        monkeypatch.setattr(import_module(f"legged_gym_ext.scripts.{name}"), "main", lambda argv, name=name: name)
        with pytest.raises(SystemExit) as left:
            getattr(import_module(module), attribute)()
        assert left.value.code == name


def test_neither_the_packages_nor_the_help_of_any_script_import_torch():
    names = sorted({path.stem for path in (ROOT / "legged_gym_ext/scripts").glob("*.py")} - PARTS)
    code = (
        "import contextlib, importlib, io, sys\nimport legged_gym_ext, rsl_rl_ult\nassert 'numpy' not in sys.modules\n"
        f"for name in {names}:\n"
        "    main = getattr(importlib.import_module(f'legged_gym_ext.scripts.{name}'), 'main', None)\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):\n"
        "        main and main(['--help'])\n"
        "    assert main is None or 'usage:' in shown.getvalue(), name\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# Files of configurations


def test_root_is_the_package_and_the_repository_for_what_only_that_has(tmp_path, monkeypatch):
    package, repository = tmp_path / "repository/package", tmp_path / "repository"
    monkeypatch.setattr(legged_gym_ext, "PACKAGE_DIR", package)
    monkeypatch.setattr(legged_gym_ext, "ROOT_DIR", repository)
    for file in (package / "both.xml", repository / "both.xml", repository / "mine.xml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = legged_gym_ext.find_file
    assert found("{ROOT}/both.xml") == package / "both.xml"
    assert found("{ROOT}/mine.xml") == repository / "mine.xml"
    assert found("{ROOT}/none.xml") == package / "none.xml"
    assert found("mine.xml") == Path("mine.xml")


# Printed commands of an installation without a repository


def test_the_console_script_of_this_installation_is_printed(tmp_path, monkeypatch):
    script = tmp_path / "bin" / "ult-play"
    script.parent.mkdir()
    script.touch()
    file = SimpleNamespace(name="ult-play", locate=lambda: tmp_path / "lib/../bin/ult-play")
    monkeypatch.setattr(next_step, "IN_REPOSITORY", False)
    monkeypatch.setattr(next_step.metadata, "files", lambda name: [file])
    monkeypatch.setattr(next_step.shutil, "which", lambda name: str(script))
    assert next_step.script_command("play", ["--task=my task"]) == "ult-play '--task=my task'"
    other = tmp_path / "ult-play"
    other.touch()
    monkeypatch.setattr(next_step.shutil, "which", lambda name: str(other))  # another environment's comes first
    assert next_step.script_command("play", []) == shlex.quote(str(script))
    monkeypatch.chdir(tmp_path)
    assert next_step.script_command("play", []) == "bin/ult-play"


@pytest.mark.parametrize("installed", [None, []], ids=["no metadata", "no console script"])
def test_without_a_console_script_the_file_is_printed(monkeypatch, installed):
    def files(name: str) -> list[Any]:
        if installed is None:
            raise metadata.PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(next_step, "IN_REPOSITORY", False)
    monkeypatch.setattr(next_step.metadata, "files", files)
    program = shlex.split(next_step.script_command("play", ["--web"]))[1:]
    assert program == [errors.display_path(next_step.SCRIPTS / "play.py"), "--web"]


def test_an_environment_without_pip_is_served_by_uv(monkeypatch):
    monkeypatch.setattr(errors.PathFinder, "find_spec", lambda package: None)
    python = errors.python_command()
    assert errors.install_command("x").startswith(shlex.join(["uv", "pip", "install", "--python", python]))


# The wheel


@pytest.fixture(scope="module")
def installed_wheel(tmp_path_factory) -> Path:
    """The `bin` folder of an environment that has the wheel, and everything else from the running one."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(source)]
    subprocess.run([*pip, *build], check=True, timeout=300)
    venv.create(folder / "venv")
    executable = folder / "venv/bin/python"
    (wheel,) = folder.glob("*.whl")
    install = ["--python", str(executable), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True, timeout=300)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    # Its own .pth files, that of an editable installation among them, are not read there.
    (site / "parent.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n", encoding="utf-8")
    shutil.rmtree(source)
    return executable.parent


def variables(programs: Path) -> dict[str, str]:
    """The environment of a shell without a display in which that environment is active."""
    left_out = ("DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH", "PYTHONHOME")
    known = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**known, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}


@pytest.mark.slow
def test_the_wheel_trains_evaluates_exports_and_plays_from_an_empty_folder(installed_wheel, tmp_path):
    def run(line: str) -> str:
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env=variables(installed_wheel), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    trained = run(f"ult-train --task=go2_ult_flat --headless --max_iterations=1 {' '.join(SMALL)}")
    assert len(list(tmp_path.glob("logs/go2_ult_flat/*/model_0.pt"))) == 1
    evaluate, play = re.findall(r"^  (ult-.*)$", trained, re.MULTILINE)
    assert "linear_tracking" in run(f"{evaluate} --num_envs=2 --env.env.episode_length_s=0.2")
    exported = run("ult-export --task=go2_ult_flat --out=my_policy")
    (sim2sim,) = re.findall(r"^next: (ult-sim2sim .*)$", exported, re.MULTILINE)
    assert "latency_median" in run(f"{sim2sim} --duration=0.5")
    assert "observations 'policy' (45)" in run("ult-describe --task=go2_ult_flat")
    assert f"in {installed_wheel.parent}" in run("ult-doctor")
    assert "latency_median" in run("ult-sim2sim --policy=pretrained:go2_ult --headless --duration=0.5")
    shipped = run("ult-evaluate --task=go2_ult --pretrained --num_envs=2 --env.env.episode_length_s=0.2")
    assert "shipped policy of go2_ult" in shipped and "linear_tracking" in shipped
    assert play.endswith(" --web")
    shown(f"{play} 0", tmp_path, variables(installed_wheel))


def shown(line: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command that serves a page until the page has been read; nothing can be drawn without OpenGL."""
    with subprocess.Popen(
        shlex.split(line), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            while not (match := re.search(r"http://\S+", "".join(lines))):
                lines.append(process.stdout.readline())
                assert lines[-1], "".join(lines)
                if re.search("OpenGL|cannot draw here", lines[-1]):
                    return
            with urllib.request.urlopen(match[0], timeout=60) as answer:
                assert b"<html" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)


def test_every_pin_exists_for_all_pythons_that_it_is_for():
    """A pin that needs a newer Python than the README asks for would make the README's install command fail there."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    installed = {found.name.lower(): found for found in metadata.distributions()}
    checked, wrong = 0, []
    for pin in pins:
        found = installed.get(pin.name.lower())
        if found is None or found.version not in pin.specifier:
            continue  # of another Python, or not part of [all]
        needed = SpecifierSet(found.metadata.get("Requires-Python") or "")
        for python in PYTHONS:
            if pin.marker is None or pin.marker.evaluate({"python_version": python, "python_full_version": python}):
                checked += 1
                wrong += [f"{pin} needs Python {needed}"] if f"{python}.20" not in needed else []
    assert wrong == []
    assert checked > 100
