"""What the owner of an old fork imports runs under Python 3.8.

That is both packages, but for what only newer hosts and engines use.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for folder in ("legged_gym_ext", "rsl_rl_ult") for path in (ROOT / folder).rglob("*.py"))
BUILTINS = {"tuple", "list", "dict", "set", "frozenset", "type"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def generic_aliases(tree: ast.AST) -> Iterator[int]:
    """Lines where running code subscripts a builtin or a class of collections.abc, which Python 3.8 cannot do."""
    abstract = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "collections.abc"
        for alias in node.names
    }
    hints = {id(node) for hint in annotations(tree) for node in ast.walk(hint)}
    for node in ast.walk(tree):
        runs = isinstance(node, ast.Subscript) and id(node) not in hints
        if runs and isinstance(node.value, ast.Name) and node.value.id in BUILTINS | abstract:
            yield node.lineno


def annotations(tree: ast.AST) -> Iterator[ast.AST]:
    """Type hints, which are never evaluated under `from __future__ import annotations`."""
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            hint = getattr(node, field, None)
            if hint is not None:
                yield hint


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("x: tuple[int] = ()\ndef f(a: list[int]) -> dict[str, int]: ...", []),
        ("Command = tuple[float, float]", [1]),
        ("from collections.abc import Callable\n\nType = Callable[[int], int]", [3]),
        ("from typing import Callable\nType = Callable[[int], int]", []),
    ],
)
def test_the_check_tells_hints_from_running_code(source, lines):
    assert list(generic_aliases(ast.parse(source))) == lines


def newer_syntax(path: Path) -> Iterator[str]:
    """What Python 3.8 cannot run or, for lack of the future import, would evaluate."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    yield from (f"line {line}: a subscripted builtin" for line in generic_aliases(tree))
    if any(True for _ in annotations(tree)) and "from __future__ import annotations" not in source:
        yield "type hints without the future import"


def test_syntax_and_type_aliases_are_those_of_python_3_8():
    found = {name(path): list(newer_syntax(path)) for path in FILES}
    assert {path: faults for path, faults in found.items() if faults} == {}


def vermin(*folders: Path) -> subprocess.CompletedProcess[str]:
    """The tool that knows which version brought what."""
    program = "import sys, vermin; sys.exit(vermin.main())"
    command = [sys.executable, "-c", program, "--target=3.8-", "--violations", "--no-tips", *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_standard_library_is_used_as_python_3_8_has_it():
    result = vermin(ROOT / "rsl_rl_ult", ROOT / "legged_gym_ext")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_standard_library_check_sees_newer_names(tmp_path):
    (tmp_path / "new.py").write_text("import itertools\nitertools.pairwise([])\n", encoding="utf-8")
    result = vermin(tmp_path)
    assert result.returncode == 1 and "itertools.pairwise" in result.stdout
