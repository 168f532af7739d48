"""The doctor, in fabricated environments: which rsl_rl is found, what hides it, and what is said about the rest."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from legged_gym_ext.doctor import diagnosis, probes
from legged_gym_ext.scripts import doctor
from legged_gym_ext.utils.errors import UserError, installed
from rsl_rl_ult.hosts.generation import generation_by_shape, generation_by_version, rsl_rl_generation
from tests.environments import FLAT_RUNNER, SHAPES, found, install_editable, package, publish, report, write

ROOT = Path(__file__).resolve().parents[3]


def rows(data: dict, name: str) -> list[dict]:
    return [row for section in data["sections"].values() for row in section if row["name"] == name]


def test_nothing_installed_is_said_and_the_doctor_still_runs(tmp_path):
    site = tmp_path / "site"
    assert found(site) == {
        "generation": "none", "version": None, "path": None, "distributions": [], "shadowed": [], "problem": None,
    }  # fmt: skip
    data, code = report(site)
    assert code == 1 and data["rsl_rl"]["generation"] == "none"
    for need in ("torch", "numpy", "rsl-rl-lib 5.5", "mujoco 3.14.0 and mjbatch 0.1.4", "tensorboard"):
        assert need in data["summary"]
    assert "pip install" in rows(data, "rsl_rl")[0]["advice"]


@pytest.mark.parametrize(
    ("version", "generation"),
    [("5.5.1", "v5"), ("4.0.1", "v4"), ("3.1.2", "v3"), ("2.3.3", "v2.3"), ("2.2.4", "v2")],
)
def test_a_published_version_is_recognised_without_importing_it(tmp_path, version, generation):
    site = tmp_path / "site"
    path = str(publish(site, version, generation))
    assert found(site) == {
        "generation": generation, "version": version, "path": path, "distributions": [["rsl-rl-lib", version, path]],
        "shadowed": [], "problem": None,
    }  # fmt: skip


@pytest.mark.parametrize("generation", SHAPES)
def test_a_copy_without_metadata_is_recognised_by_its_files(tmp_path, generation):
    path = package(tmp_path / "fork", generation)
    result = found(tmp_path / "site", tmp_path / "fork")
    assert (result["generation"], result["version"], result["path"]) == (generation, None, str(path))


def test_a_fork_of_1_0_2_stays_one_whatever_it_borrows(tmp_path):
    later = {name: "" for shape in ("v2.3", "v5") for name in SHAPES[shape] if not name.startswith("runners/")}
    path = package(tmp_path, "v1", **later, **{"runners/him_runner.py": "obs_groups"})
    assert generation_by_shape(str(path)) == "v1"


@pytest.mark.parametrize(
    ("version", "generation"),
    [
        *[("1.0.2", "v1"), ("2.0.1", "v2"), ("2.3.0", "v2.3"), ("3.3.0", "v3"), ("5.10.0rc1", "v5")],
        *[("6.0.0", None), ("0.2.1", None), ("main", None), (None, None)],
    ],
)
def test_versions_name_generations_and_unknown_ones_name_none(version, generation):
    assert generation_by_version(version) == generation


def test_the_installed_version_and_its_files_agree():
    result = rsl_rl_generation()
    assert result.path is not None and result.version == importlib.metadata.version("rsl-rl-lib")
    assert result.generation == generation_by_shape(result.path) == "v5" and result.problem is None


@pytest.mark.parametrize("version", ["5.5.1", "3.1.2", "2.3.3"])
def test_only_a_version_that_train_py_runs_with_is_ok(tmp_path, version):
    publish(tmp_path / "site", version, generation_by_version(version) or "")
    data, _ = report(tmp_path / "site")
    (row,) = rows(data, "rsl_rl")
    assert row["text"].startswith(f"rsl-rl-lib {version}, generation v{version[0]}")
    assert row["level"] == ("ok" if version == "5.5.1" else "problem")
    assert ("rsl-rl-lib 5.5 or newer, below 6" in data["training_needs"]) == (version != "5.5.1")
    assert ("takes no algorithms from outside" in row["text"]) == (version == "2.3.3")


def test_a_fork_on_pythonpath_hides_the_published_version_and_the_advice_gets_it_back(tmp_path):
    site, fork = tmp_path / "site", tmp_path / "fork"
    hidden, path = str(publish(site, "5.5.1", "v5")), str(package(fork, "v1"))
    data, code = report(site, fork)
    assert data["rsl_rl"] == {
        "generation": "v1", "version": None, "path": path, "distributions": [["rsl-rl-lib", "5.5.1", hidden]],
        "shadowed": [hidden], "problem": None,
    }  # fmt: skip
    (row,) = rows(data, "rsl_rl")
    assert code == 1 and f"take {fork} out of PYTHONPATH" in row["advice"]
    assert rows(data, "hidden")[0]["level"] == "note" and hidden in rows(data, "hidden")[0]["text"]


@pytest.mark.parametrize("how", ["finder", "pth", "develop"])
def test_an_editable_fork_is_found_and_rsl_rl_lib_hides_it(tmp_path, how):
    site, fork = tmp_path / "site", tmp_path / "fork"
    path = str(install_editable(site, fork, how))
    alone = found(site)
    assert (alone["generation"], alone["version"], alone["path"]) == ("v1", "1.0.2", path)
    assert alone["distributions"] == [["rsl_rl", "1.0.2", path]] and alone["shadowed"] == []

    first = str(publish(site, "5.5.1", "v5"))
    data, _ = report(site)
    both = data["rsl_rl"]
    assert (both["generation"], both["version"], both["path"]) == ("v5", "5.5.1", first)
    assert both["shadowed"] == [path] and len(both["distributions"]) == 2
    (row,) = rows(data, "hidden")
    assert row["level"] == "problem" and path in row["text"]
    assert "pip uninstall rsl-rl-lib" in row["advice"] and "--no-deps" in row["advice"]
    assert rows(data, "rsl_rl")[0]["level"] == "ok" and not any("hidden" in need for need in data["training_needs"])


def test_metadata_that_lies_in_the_source_folder_too_counts_once(tmp_path):
    site, fork = tmp_path / "site", tmp_path / "fork"
    path = str(install_editable(site, fork, "finder"))
    write(fork / "rsl_rl.egg-info", {"PKG-INFO": "Name: rsl_rl\nVersion: 1.0.2\n", "top_level.txt": "rsl_rl\n"})
    result = found(site, fork)
    assert result["distributions"] == [["rsl_rl", "1.0.2", path]]
    assert (result["version"], result["shadowed"], result["problem"]) == ("1.0.2", [], None)


def test_a_bare_folder_that_hides_an_editable_fork_is_named(tmp_path):
    site, fork, work = tmp_path / "site", tmp_path / "fork", tmp_path / "work"
    path = str(install_editable(site, fork, "finder"))
    bare = write(work, {"rsl_rl/README.md": "the clone of a fork"}) / "rsl_rl"
    data, _ = report(site, work)
    assert (data["rsl_rl"]["generation"], data["rsl_rl"]["path"]) == ("none", str(bare))
    assert data["rsl_rl"]["shadowed"] == [path] and "without __init__.py" in rows(data, "rsl_rl")[0]["text"]
    assert f"rename or delete {bare}" in rows(data, "rsl_rl")[0]["advice"]


def test_two_distributions_in_one_folder_are_a_problem(tmp_path):
    site = tmp_path / "site"
    publish(site, "1.0.2", "v1", name="rsl_rl")
    publish(site, "5.5.1", "v5")  # its runner is written over the fork's
    data, _ = report(site)
    assert (data["rsl_rl"]["generation"], data["rsl_rl"]["version"]) == ("v5", "5.5.1")
    row = rows(data, "rsl_rl")[1]
    assert "rsl-rl-lib 5.5.1 and rsl_rl 1.0.2 are mixed" in row["text"]
    assert re.search("pip uninstall (rsl_rl rsl-rl-lib|rsl-rl-lib rsl_rl),", row["advice"])


def test_an_editable_fork_whose_folder_is_gone_is_a_problem(tmp_path):
    site, fork = tmp_path / "site", tmp_path / "fork"
    path = install_editable(site, fork, "finder")
    path.rename(tmp_path / "moved")
    data, _ = report(site)
    assert (data["rsl_rl"]["generation"], data["rsl_rl"]["path"]) == ("none", None)
    (row,) = rows(data, "distribution")
    assert row["level"] == "problem" and "gone" in row["text"] and row["advice"] == "pip uninstall rsl_rl"


def test_metadata_without_version_or_without_sense_is_survived(tmp_path):
    site = tmp_path / "site"
    path = str(publish(site, None, "v5"))
    write(site, {"broken-1.dist-info/top_level.txt": "rsl_rl", "broken-1.dist-info/METADATA": "\0", "x.egg-info": "?"})
    result = found(site)
    assert (result["generation"], result["version"]) == ("v5", None)
    assert ["rsl-rl-lib", None, path] in result["distributions"]
    data, _ = report(site)
    assert rows(data, "rsl_rl")[0]["level"] == "note" and "no known version" in rows(data, "rsl_rl")[0]["text"]


def test_what_its_import_lacks_is_named_and_what_it_may_lack_is_not(tmp_path):
    runner = "import git, json\nfrom rsl_rl.utils import logger\n" + FLAT_RUNNER + "        import neptune\n"
    logger = "try:\n    import wandb\nexcept ImportError:\n    pass\nfrom tensordict.nn import x\nfrom . import other\n"
    files = {"runners/on_policy_runner.py": runner, "utils/__init__.py": "", "utils/logger.py": logger}
    package(tmp_path / "fork", "v5", **files, **{"utils/other.py": "import colour", "unused.py": "import unused"})
    result = found(tmp_path / "site", tmp_path / "fork")
    assert result["problem"] == "its import needs GitPython, colour, tensordict, not installed here"
    data, _ = report(tmp_path / "site", tmp_path / "fork")
    assert "an rsl_rl that can be imported" in data["training_needs"]


def test_what_is_imported_already_stays_whatever_the_search_would_find(tmp_path):
    publish(tmp_path / "site", "5.5.1", "v5")
    path = package(tmp_path / "fork", "v1")
    loaded = (
        f"import types\nmodule = sys.modules['rsl_rl'] = types.ModuleType('rsl_rl')\nmodule.__path__ = [{str(path)!r}]"
    )
    result = found(tmp_path / "site", first=loaded)
    assert (result["generation"], result["path"]) == ("v1", str(path)) and len(result["shadowed"]) == 1


def test_a_copy_for_another_python_is_named(tmp_path):
    package(tmp_path / "fork", "v1", **{"runners/__init__.py": "print 'python 2'"})
    result = found(tmp_path / "site", tmp_path / "fork")
    assert "runners/__init__.py cannot be read by Python 3" in result["problem"] and "\n" not in result["problem"]


@pytest.mark.slow
def test_this_environment_can_train(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, doctor.__file__], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0 and result.stderr == "", result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "everything needed to train is here" and result.stdout.isascii()
    assert [line for line in lines if line and not line.startswith(" ")][:-1] == [
        "machine", "learning", "rsl_rl", "engines", "play and video", "optional",
    ]  # fmt: skip
    assert any(re.match(r"  ok +torch +\d+\.\d+", line) for line in lines)
    assert any(re.match(r"  ok +mujoco +mujoco 3\.14\.0, mjbatch 0\.1\.4", line) for line in lines)
    assert not list(tmp_path.iterdir())


def test_help_waits_for_nothing():
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_path({doctor.__file__!r}, run_name='__main__')\n"
        "except SystemExit: print({'torch', 'numpy', 'rsl_rl'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "set()" and "--json" in result.stdout


@pytest.mark.parametrize(("args", "message"), [(["--jsn"], "did you mean --json"), (["--env.x=1"], "no configuration")])
def test_a_mistake_is_one_clear_line(args, message):
    with pytest.raises(UserError, match=message):
        doctor.main(args)


@pytest.mark.parametrize("name", ["scripts/doctor.py", "doctor/diagnosis.py", "doctor/probes.py"])
def test_the_doctor_parses_where_owners_of_old_forks_run_it(name):
    ast.parse((ROOT / "legged_gym_ext" / name).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_a_check_that_fails_is_a_row_and_the_others_are_shown(monkeypatch, capsys):
    for check in ("learning", "engines", "pictures", "optional"):
        monkeypatch.setattr(diagnosis, check, list)
    monkeypatch.setattr(diagnosis, "engines", lambda: [][0])
    doctor.main([])
    text = capsys.readouterr().out
    assert "this check failed: IndexError: list index out of range" in text and "everything needed" in text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('driver\\n too old')", "RuntimeError: driver"),
        ("import os; os.abort()", "ended by signal SIGABRT"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("from nothing import something", "No module named 'nothing'"),
    ],
)
def test_a_broken_package_is_one_line(monkeypatch, tmp_path, source, reason):
    write(tmp_path, {"torch.py": source, "numpy.py": source})
    monkeypatch.syspath_prepend(tmp_path)
    torch, numpy, _ = diagnosis.learning()
    for row in (torch, numpy):
        assert row.level == "problem" and reason in row.text and "\n" not in row.text and row.advice and row.needs


def test_a_package_may_print_what_it_likes(monkeypatch, tmp_path):
    write(tmp_path, {"noisy.py": "print('welcome', flush=True); __version__ = '1.0'"})
    monkeypatch.syspath_prepend(tmp_path)
    assert probes.probe(probes.IMPORT, "noisy") == ("1.0", None)


def test_a_package_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(probes, "SECONDS", 0.2)
    assert probes.probe("import time; time.sleep(60)") == (None, "no answer in 0.2 s")


def test_a_bare_folder_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "run_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed("run_folder") and installed("json")
    assert probes.version_of("run_folder") == "(version unknown)"
