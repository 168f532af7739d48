"""Count what the structure of the code is judged by; README and docs/architecture.md quote it.

python benchmarks/structure.py [TREE ...]      # default: this one; several trees give several columns
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("legged_gym_ext", "rsl_rl_ult")


def sources(tree: Path, *folders: str) -> list[Path]:
    """Python files below some folders of a tree."""
    return sorted(path for folder in folders for path in (tree / folder).rglob("*.py"))


def lines(path: Path) -> int:
    """Lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def classes(tree: Path) -> dict[str, ast.ClassDef]:
    """All algorithms of the plugin by name."""
    found = {}
    for path in sources(tree, "rsl_rl_ult/algorithms"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
    return found


def methods(node: ast.ClassDef) -> set[str]:
    """Methods of a class, without its constructor."""
    return {item.name for item in node.body if isinstance(item, ast.FunctionDef)} - {"__init__"}


def overridden(tree: Path, name: str) -> int:
    """Methods of a class of the plugin that one of its bases has, too."""
    known = classes(tree)
    bases, todo = set(), list(known[name].bases)
    while todo:
        base = known.get(ast.unparse(todo.pop()).split(".")[-1])
        if base is not None:
            bases |= methods(base)
            todo += base.bases
    return len(methods(known[name]) & bases)


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports when it is imported, without what only type checkers read."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def cycles(tree: Path) -> int:
    """Pairs of folders that import each other anywhere but for type checkers."""
    seen = set()
    for path in sources(tree, *PACKAGES):
        own = path.parent.relative_to(tree).as_posix()
        text = re.sub(r"if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", "", path.read_text(encoding="utf-8"))
        for module in re.findall(r"^\s*from ((?:legged_gym_ext|rsl_rl_ult)[\w.]*) import", text, re.MULTILINE):
            full = module.replace(".", "/")
            other = full if (tree / full).is_dir() else full.rpartition("/")[0]
            nested = other.startswith(f"{own}/") and path.name == "__init__.py"
            if other != own and not nested and other not in PACKAGES and own not in PACKAGES:
                seen.add((own, other))
    return sum((b, a) in seen for a, b in seen) // 2


def places(tree: Path, quantity: str) -> int:
    """Files of the package that name a randomised quantity in their code, whether as a text or as a field."""
    word = re.compile(rf"\b(randomize_)?{quantity}(_range|_scale)?\b")
    return sum(bool(word.search(path.read_text(encoding="utf-8"))) for path in sources(tree, "legged_gym_ext"))


def words(path: Path) -> int:
    """Words of a page."""
    return len(path.read_text(encoding="utf-8").split())


COUNTS: dict[str, Callable[[Path], int]] = {
    "lines of both packages": lambda tree: sum(map(lines, sources(tree, *PACKAGES))),
    "lines of utils/": lambda tree: sum(map(lines, sources(tree, "legged_gym_ext/utils"))),
    "longest file": lambda tree: max(map(lines, sources(tree, *PACKAGES))),
    "methods that PPO_ULT overrides": lambda tree: overridden(tree, "PPO_ULT"),
    "methods that PPO_TS overrides": lambda tree: overridden(tree, "PPO_TS"),
    "pairs of folders that import each other": cycles,
    "files that name joint_stiffness": lambda tree: places(tree, "joint_stiffness"),
    "files that name joint_friction": lambda tree: places(tree, "joint_friction"),
    "words of the README": lambda tree: words(tree / "README.md"),
    "longest line of README and docs": lambda tree: max(
        len(line)
        for path in (tree / "README.md", *(tree / "docs").rglob("*.md"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if not line.startswith("|")
    ),
    "longest line of the code": lambda tree: max(
        len(line) for path in sources(tree, *PACKAGES) for line in path.read_text(encoding="utf-8").splitlines()
    ),
}


def main() -> None:
    """Print a Markdown table, a column per tree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="*", type=Path, default=[ROOT])
    args = parser.parse_args()
    print(f"| | {' | '.join(tree.resolve().name for tree in args.trees)} |")
    print("|---|" + "---|" * len(args.trees))
    for name, count in COUNTS.items():
        print(f"| {name} | {' | '.join(str(count(tree.resolve())) for tree in args.trees)} |")


if __name__ == "__main__":
    main()
