"""Files of strangers run no code: nothing is unpickled, and checkpoints are read as tensors and plain data only."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.test_architecture import FILES, OTHERS, imports, name, read

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
OWN_FILES = ("benchmarks/frozen.py",)  # compares checkpoints that it has just made


def unsafe(source: str) -> Iterator[str]:
    """Calls that could run what stands in a file: torch.load, numpy.load and yaml.load with their unsafe options."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called == "torch.load" and options.get("weights_only") != "True" and options.get(None) != "options":
            yield f"{node.lineno}: {called} without weights_only=True"
        if called in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
            yield f"{node.lineno}: {called} without allow_pickle=False"
        if called in ("yaml.load", "yaml.unsafe_load", "eval", "exec", "pd.read_pickle", "builtins.eval"):
            yield f"{node.lineno}: {called}"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=safe)", True),
        ("torch.load(path, map_location='cpu', weights_only=True)", False),
        ("np.load(path)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("yaml.load(text)", True),
        ("yaml.safe_load(text)", False),
    ],
)
def test_the_rule_sees_every_way_to_run_a_file(source, found):
    assert bool(list(unsafe(source))) == found


def test_no_file_is_read_in_a_way_that_could_run_it():
    benchmarks = [path for path in OTHERS if name(path).startswith("benchmarks/")]
    found = {name(path): list(unsafe(read(path))) for path in (*FILES, *benchmarks) if name(path) not in OWN_FILES}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_nothing_imports_what_unpickles():
    assert [name(path) for path in FILES if PICKLES & {module.split(".")[0] for module in imports(path)}] == []


def test_the_one_place_that_asks_whether_torch_can_be_told_says_true():
    source = next(read(path) for path in FILES if name(path) == "rsl_rl_ult/storage/aggregate.py")
    assert '{"weights_only": True}' in source


def test_paths_of_users_are_expanded_in_a_way_that_cannot_fail():
    """`Path.expanduser` raises a RuntimeError for `~name` where there is no such user; os.path's does not."""
    found = [
        f"{name(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(read(path)))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(".expanduser")
        and ast.unparse(node.func) != "os.path.expanduser"
    ]
    assert found == []
