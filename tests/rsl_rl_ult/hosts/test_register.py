"""`register()`: our names in a host's namespace, and the hosts that it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from rsl_rl_ult import algorithms, modules, register
from rsl_rl_ult.hosts import register as registration
from rsl_rl_ult.hosts import rsl_rl_v1, rsl_rl_v3
from rsl_rl_ult.hosts.generation import Generation

ROOT = Path(__file__).resolve().parents[3]
NAMES = [
    *("ActorCriticTS", "ActorCriticCTS", "ActorCriticSITT", "ActorCriticULT"),
    *("DAgger", "PPO_CTS", "PPO_RMA", "PPO_SITT", "PPO_TS", "PPO_ULT"),
]

RUNNERS = {
    "v1": "self.cfg = train_cfg['runner']; policy = eval(self.cfg['policy_class_name'])",
    "v2": "policy = eval(train_cfg['policy'].pop('class_name'))",
    "v3": "groups = train_cfg['obs_groups']; policy = eval(train_cfg['policy'].pop('class_name'))",
    "v5": "self.alg = resolve(train_cfg['algorithm']['class_name']).construct_algorithm(None, None, train_cfg, None)",
}
"""The line of each generation's runner that tells it apart."""


def runner_module(host: str, name: str = "somewhere.on_policy_runner") -> ModuleType:
    module = ModuleType(name)
    source = f"""
        class OnPolicyRunner:
            def __init__(self, train_cfg):
                def build():
                    {RUNNERS[host]}
                build()
        """
    exec(textwrap.dedent(source), module.__dict__)
    return module


@pytest.mark.parametrize("host", RUNNERS)
def test_a_host_is_known_by_its_runner(host):
    assert registration.host_of(runner_module(host)) == host


def test_a_runner_that_inherits_is_known_by_its_base():
    module = runner_module("v1")
    derived = ModuleType("derived")
    derived.MyRunner = type("MyRunner", (module.OnPolicyRunner,), {})
    assert registration.host_of(derived) == "v1"


@pytest.mark.parametrize(("host", "source"), [("v1", rsl_rl_v1), ("v3", rsl_rl_v3)])
def test_names_get_the_classes_of_their_host(host, source):
    module = runner_module(host)
    assert register(module) == NAMES
    assert {name: getattr(module, name) for name in NAMES} == {name: getattr(source, name) for name in NAMES}


def test_hosts_that_build_algorithms_themselves_get_the_native_classes():
    module = runner_module("v5")
    register(module)
    assert module.PPO_ULT is algorithms.PPO_ULT and module.ActorCriticULT is modules.ActorCriticULT


def test_registering_twice_changes_nothing():
    module = runner_module("v1")
    register(module)
    before = dict(vars(module))
    register(module)
    assert dict(vars(module)) == before


@pytest.fixture
def module_with_its_own() -> ModuleType:
    """A fork with a teacher-student method of its own."""
    module = runner_module("v1")
    module.PPO_TS = type("PPO_TS", (), {"__module__": "theirs"})
    return module


def test_a_name_of_the_hosts_own_stays_and_the_others_are_registered(module_with_its_own, capsys):
    module, theirs = module_with_its_own, module_with_its_own.PPO_TS
    free = [name for name in NAMES if name != "PPO_TS"]
    assert register(module) == free
    assert module.PPO_TS is theirs
    assert {name: getattr(module, name) for name in free} == {name: getattr(rsl_rl_v1, name) for name in free}
    (line,) = capsys.readouterr().out.splitlines()
    assert "classes of its own: PPO_TS (theirs); for ours call register(prefix='Ult') and write UltPPO_TS" in line


def test_a_prefix_gives_names_to_all_of_ours(module_with_its_own, capsys):
    module, theirs = module_with_its_own, module_with_its_own.PPO_TS
    assert register(module, prefix="Ult") == [f"Ult{name}" for name in NAMES]
    assert module.PPO_TS is theirs and module.UltPPO_TS is rsl_rl_v1.PPO_TS
    assert not hasattr(module, "PPO_ULT") and capsys.readouterr().out == ""


def test_a_prefix_that_is_no_name_is_refused():
    with pytest.raises(ValueError, match="expected the beginning of a class name"):
        register(runner_module("v1"), prefix="my-")


def test_a_policy_of_the_hosts_own_in_our_algorithm_is_named_with_its_module():
    policy = type("ActorCriticTS", (), {"__module__": "theirs"})()
    with pytest.raises(ValueError, match=r"our ActorCriticTS, the configuration names theirs.ActorCriticTS: .*prefix="):
        rsl_rl_v1.PPO_TS(policy)


def run_fork(folder: Path, envs: str, first: str) -> str:
    """The last line of an interpreter that imports a fork whose runner imports `envs`, given as envs/__init__.py."""
    source = "class Robot: ...\n"
    runner = textwrap.dedent(
        """
        from fork.envs import Robot
        class OnPolicyRunner:
            def __init__(self, train_cfg):
                eval(train_cfg['runner']['policy_class_name'])
        """
    )
    files = {"__init__": "", "envs/__init__": envs, "envs/robot": source, "runner": runner}
    for name, text in files.items():
        path = folder / "fork" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    command = [sys.executable, "-c", f"import {first}\nprint('imported')"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    return (result.stderr or result.stdout).splitlines()[-1]


ROBOT, REGISTER = "from fork.envs.robot import Robot", "import rsl_rl_ult; rsl_rl_ult.register('fork.runner')"


def test_as_the_last_line_of_the_environments_it_works_in_a_fork_whose_runner_imports_them(tmp_path):
    assert run_fork(tmp_path, f"{ROBOT}\n{REGISTER}\n", "fork.envs") == "imported"


@pytest.mark.parametrize("first", ["fork.envs", "fork.runner"])
def test_an_import_in_a_circle_is_named_with_the_line_to_move(tmp_path, first):
    line = run_fork(tmp_path, f"{REGISTER}\n{ROBOT}\n", first)
    assert "call register() in the last line of" in line and "envs/__init__.py" in line


def test_what_cannot_be_extended_is_refused_in_one_sentence():
    with pytest.raises(
        ValueError, match=r"of rsl_rl 2.x, which cannot be extended from outside: use rsl-rl-lib 3.0"
    ) as error:
        register(runner_module("v2"))
    assert "\n" not in str(error.value)


def test_a_module_without_runner_is_named():
    with pytest.raises(ValueError, match="module empty has no runner class"):
        register(ModuleType("empty"))


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="cannot import the runner's module 'humanoid"):
        register("humanoid.algo.ppo.on_policy_runner")


def test_a_hidden_copy_of_rsl_rl_is_an_error_unless_the_module_is_named(monkeypatch):
    found = Generation("v5", "5.5.1", "/site/rsl_rl", [], ["/fork/rsl_rl"], None)
    monkeypatch.setattr(registration, "rsl_rl_generation", lambda: found)
    with pytest.raises(
        ValueError, match=r"imported from /site/rsl_rl \(5.5.1\) and hides another copy in /fork/rsl_rl"
    ):
        register()
    assert register("rsl_rl.runners.on_policy_runner") == NAMES


def test_without_rsl_rl_the_error_says_what_to_install(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['rsl_rl'] = None\n", encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    program = "import rsl_rl_ult\nrsl_rl_ult.register()"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert "install rsl-rl-lib or the fork's rsl_rl" in result.stderr.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["TS", "CTS", "RMA", "ULT"])
def test_bare_names_train_save_load_resume_and_infer_under_the_stock_runner(method):
    """Of the installed version; benchmarks/host_matrix.py runs the same for the others."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/host_worker.py"), method], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith("trained, saved, loaded, resumed, inferred")
