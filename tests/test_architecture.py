"""The import rules and the house style that keep the packages apart."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINES = {"mujoco", "mjbatch", "mujoco_warp", "isaacgym", "warp"}
ALGORITHM_SIDE = (
    "modules/",
    "losses.py",
    "distributed.py",
    "storage/",
    "policies/",
    "algorithms/",
)  # of rsl_rl_ult: tensors and nothing else
FILES = sorted(path for folder in ("legged_gym_ext", "rsl_rl_ult") for path in (ROOT / folder).rglob("*.py"))
OTHERS = sorted(path for folder in ("benchmarks", "tests") for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports anywhere, by statement or by `import_module("name")`."""
    yield from imports_of(ast.parse(read(path)), path)


def imports_of(source: ast.Module, path: Path) -> Iterator[str]:
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: relative imports would escape the rules below"
            yield node.module or ""
            # `from package import module` imports package.module too.
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (full for full in names if (ROOT / f"{full.replace('.', '/')}.py").is_file())
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


def foreign(path: Path) -> set[str]:
    """Roots that the algorithm side may not import."""
    return roots(path) - {"torch", "numpy", "rsl_rl_ult"} - set(sys.stdlib_module_names)


def opened_in_the_locales_encoding(source: str) -> list[str]:
    """Calls that open text files without an encoding; ruff's rule (PLW1514) sees only paths of a plain type."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
            continue
        owner, _, called = ast.unparse(node.func).rpartition(".")
        mode = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}.get("mode", "")
        # Not files of text: descriptors, pictures, and what pip wrote about a package, which is read as UTF-8.
        if owner in ("os", "image", "Image", "distribution") or called not in ("open", "read_text", "write_text"):
            continue
        modes = [mode, *(ast.unparse(argument) for argument in node.args)] if called == "open" else []
        if not any(re.fullmatch(r"'[rwax+]*b[rwax+]*'", text) for text in modes):
            found.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("open(path)", True),
        ("open(path, 'a')", True),
        ("Path('a').read_text()", True),
        ("(a / 'b').write_text(x)", True),
        ("path.open('w')", True),
        ("open(path, encoding='utf-8')", False),
        ("open(path, 'ab', buffering=0)", False),
        ("path.open(mode='rb')", False),
        ("a.write_text(x, encoding='utf-8')", False),
        ("os.open(path, flags)", False),
    ],
)
def test_the_rule_sees_every_way_to_open_a_text_file(source, named):
    assert bool(opened_in_the_locales_encoding(source)) == named


def test_text_files_are_opened_with_an_encoding():
    found = {name(path): opened_in_the_locales_encoding(read(path)) for path in (*FILES, *OTHERS)}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_there_are_files_to_check():
    assert len(FILES) > 20


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import mujoco.viewer as v", {"mujoco.viewer"}),
        ("def f():\n    from mjbatch import Batch", {"mjbatch"}),
        ("import importlib\nimportlib.import_module('isaacgym')", {"importlib", "isaacgym"}),
        (
            "from legged_gym_ext.simulators import make_simulator, base",
            {"legged_gym_ext.simulators", "legged_gym_ext.simulators.base"},
        ),
    ],
)
def test_the_rules_see_every_way_to_import(tmp_path, source, seen):
    path = tmp_path / "file.py"
    path.write_text(source, encoding="utf-8")
    assert set(imports(path)) == seen


def test_the_rules_refuse_relative_imports(tmp_path):
    path = tmp_path / "file.py"
    path.write_text("from ..simulators import base", encoding="utf-8")
    with pytest.raises(AssertionError, match="relative"):
        list(imports(path))


def test_only_torch_numpy_and_the_standard_library_are_native_to_algorithms(tmp_path):
    path = tmp_path / "file.py"
    path.write_text(
        "import math, torch.nn, numpy, rsl_rl_ult.losses, rsl_rl, tensordict, mujoco, legged_gym_ext", encoding="utf-8"
    )
    assert foreign(path) == {"rsl_rl", "tensordict", "mujoco", "legged_gym_ext"}


def test_algorithms_networks_losses_and_storage_import_torch_numpy_and_the_standard_library_only():
    files = [path for path in FILES if name(path).removeprefix("rsl_rl_ult/").startswith(ALGORITHM_SIDE)]
    assert {name(path): foreign(path) for path in files if foreign(path)} == {}


def test_the_two_packages_do_not_import_each_other_outside_scripts():
    other = {"rsl_rl_ult": "legged_gym_ext", "legged_gym_ext": "rsl_rl_ult"}
    own = [path for path in FILES if not name(path).startswith("legged_gym_ext/scripts/")]
    assert [name(path) for path in own if other[name(path).split("/")[0]] in roots(path)] == []


def test_engines_are_imported_only_where_robots_are_simulated():
    places = ("legged_gym_ext/simulators/", "legged_gym_ext/deploy/sim2sim/")
    assert [name(p) for p in FILES if roots(p) & ENGINES and not name(p).startswith(places)] == []


def test_algorithms_import_no_host_and_parse_as_python_3_8():
    for path in (path for path in FILES if name(path).startswith("rsl_rl_ult/")):
        ast.parse(read(path), feature_version=(3, 8))
        assert name(path).startswith("rsl_rl_ult/hosts/") or not roots(path) & {"rsl_rl", "tensordict"}, name(path)


def test_environments_see_only_the_simulator_protocol():
    allowed = {"legged_gym_ext.simulators", "legged_gym_ext.simulators.base"}
    for path in (path for path in FILES if "/envs/" in name(path)):
        seen = {module for module in imports(path) if module.startswith("legged_gym_ext.simulators")}
        assert seen <= allowed, name(path)


FLOORS = {
    "rsl_rl_ult": (
        *("losses", "distributed", "storage", "modules", "policies", "algorithms"),
        *("offline", "interchange", "hosts"),
    ),
    "legged_gym_ext": (
        *("foreign", "utils", "user_tasks", "terrain", "simulators", "task_registry", "envs", "wrappers"),
        *("training", "viewer", "deploy", "reports", "doctor", "scripts"),
    ),
}
"""Rooms of each package from the ground up: a room imports from below, never from above."""


def room(module: str) -> tuple[str, int] | None:
    """Package and floor of a dotted module name; None for a package itself and what is not ours."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    return (package, FLOORS[package].index(first)) if package in FLOORS and first in FLOORS[package] else None


def test_every_room_has_a_floor():
    found = {name(path).split("/")[1].removesuffix(".py") for path in FILES} - {"__init__"}
    assert found == {one for rooms in FLOORS.values() for one in rooms}


def runtime_imports(path: Path) -> Iterator[str]:
    """As `imports`, without what only type checkers read."""
    source = ast.parse(read(path))
    for node in ast.walk(source):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    yield from imports_of(source, path)


def test_no_import_runs_upwards():
    wrong = []
    for path in FILES:
        own = room(name(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        for module in runtime_imports(path):
            other = room(module)
            if own and other and own[0] == other[0] and other[1] > own[1]:
                wrong.append(f"{name(path)} imports {module}")
    assert wrong == []


def folder(module: str) -> str:
    """Folder of a dotted module name; a package and each file beside its `__init__` stand for themselves."""
    path = ROOT / module.replace(".", "/")
    return module if path.is_dir() or module.count(".") == 1 else module.rpartition(".")[0]


def test_no_two_folders_import_each_other():
    seen = set()
    for path in FILES:
        own = folder(name(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        others = {folder(m) for m in runtime_imports(path) if m.split(".")[0] in FLOORS} - {own}
        if path.name == "__init__.py":  # a package names what its folders hold
            others = {other for other in others if not other.startswith(f"{own}.")}
        seen |= {(own, other) for other in others}
    assert {(a, b) for a, b in seen if (b, a) in seen} == set()


def test_no_eval_and_no_star_import():
    for path in FILES:
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.ImportFrom):
                assert all(alias.name != "*" for alias in node.names), f"{name(path)}:{node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec"), f"{name(path)}:{node.lineno}"


def test_files_stay_small_enough_to_read():
    lines = {name(path): len(read(path).splitlines()) for path in FILES}
    assert {path: count for path, count in lines.items() if count > 425} == {}


def test_helpers_stay_few():
    folder = ROOT / "legged_gym_ext" / "utils"
    assert {path.stem for path in folder.glob("*.py")} == {
        *("__init__", "errors", "config", "cli", "math", "cpus", "distributed")
    }
    assert sum(len(read(path).splitlines()) for path in folder.glob("*.py")) < 800


def undocumented(path: Path) -> Iterator[str]:
    """Public classes, functions and methods of a file without a docstring."""
    tree = ast.parse(read(path))
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and any(ast.unparse(mark) == "overload" for mark in node.decorator_list):
            continue
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                yield node.name
            methods = [m for m in node.body if isinstance(node, ast.ClassDef) and isinstance(m, ast.FunctionDef)]
            yield from (f"{node.name}.{m.name}" for m in methods if m.name[0] != "_" and not ast.get_docstring(m))


def test_everything_public_is_documented():
    found = {name(path): list(undocumented(path)) for path in FILES}
    assert {path: names for path, names in found.items() if names} == {}
