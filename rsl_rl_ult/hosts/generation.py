"""Which `rsl_rl` this interpreter would import, found out without importing it.

Published versions (`rsl-rl-lib`) and forks (`rsl_rl`) share one import name. The copy that is found first hides the
others without a word, also the editable installation of a fork, because site-packages is searched before what editable
installations add. Standard library only.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator, NamedTuple
from urllib.parse import unquote, urlparse

PACKAGE = "rsl_rl"
PUBLISHED = ("rsl-rl-lib", "rsl-rl")
"""Distributions whose version is that of the package; others that contain a copy have versions of their own."""

DISTRIBUTION = {"git": "GitPython"}
"""Import name -> name for pip, where they differ."""

NESTED_CONFIG = re.compile(r"""\[\s*["']runner["']\s*\]""")
"""Runners of 1.0.2 read a section `runner`; all later ones have its fields on top."""


class Generation(NamedTuple):
    """What `import rsl_rl` would give.

    Attributes:
        generation: "v1" (1.0.2 and its forks), "v2" (2.0 to 2.2), "v2.3", "v3", "v4" or "v5"; "none" where there is no
            `rsl_rl` with runners.
        version: of the distribution that the copy belongs to; None for a copy without one, such as a folder on
            PYTHONPATH.
        path: folder of the copy; also set for a folder or file of this name that is no package.
        distributions: (name, version, folder of its `rsl_rl`) of every installed distribution that provides one;
            version and folder may be None.
        shadowed: folders of further copies, which cannot be imported while this one is found first.
        problem: why the import would fail or give something unexpected, in one line; None when nothing was found.
    """

    generation: str
    version: str | None
    path: str | None
    distributions: list[tuple[str, str | None, str | None]]
    shadowed: list[str]
    problem: str | None


def rsl_rl_generation() -> Generation:
    """Look for every copy and every distribution of `rsl_rl`, and say what the first copy is."""
    copies, distributions = _copies(), _distributions()
    if not copies:
        hidden = [folder for _, _, folder in distributions if folder and _is_package(folder)]
        problem = "installed, but not where Python looks for packages" if hidden else None
        return Generation("none", None, None, distributions, hidden, problem)
    path = copies[0]
    others = [*copies[1:], *(folder for _, _, folder in distributions if folder)]
    shadowed = [other for other in _different([path, *others])[1:] if _is_package(other)]
    shape = generation_by_shape(path)
    owners = [(name, version) for name, version, folder in distributions if folder == path]
    version, generation = _by_owner(owners, shape)
    problem = _not_a_package(path, shadowed) or _mixed(owners) or _import_problem(path)
    return Generation(generation or shape or "none", version, path, distributions, shadowed, problem)


def generation_by_version(version: str | None) -> str | None:
    """Generation of a published version such as "5.5.1"; None for one that no release has."""
    match = re.match(r"(\d+)\.(\d+)", version or "")
    if match is None:
        return None
    major, minor = int(match[1]), int(match[2])
    if major == 2:
        return "v2.3" if minor >= 3 else "v2"
    return f"v{major}" if major in (1, 3, 4, 5) else None


def generation_by_shape(path: str) -> str | None:
    """Generation that the files of a copy look like; None when there are no runners among them.

    Forks add and rename files, so only what a generation cannot do without counts. The configuration that the runners
    read comes first: a fork of
    1.0.2 may have borrowed any file from later versions.
    """
    folder = Path(path)
    runners = "".join(_text(file) for file in sorted((folder / "runners").glob("*.py")))
    if NESTED_CONFIG.search(runners):
        return "v1"
    if not runners.strip():
        return None
    if (folder / "models" / "mlp_model.py").is_file():
        return "v5" if (folder / "modules" / "distribution.py").is_file() else "v4"
    if "obs_groups" in runners:
        return "v3"
    if (folder / "algorithms" / "distillation.py").is_file():
        return "v2.3"
    if (folder / "modules" / "normalizer.py").is_file():
        return "v2"
    return "v1" if "init_storage" in runners else None


def _by_owner(owners: list[tuple[str, str | None]], shape: str | None) -> tuple[str | None, str | None]:
    """Version and generation by metadata; of several distributions in one folder, those of the one that fits."""
    versions = [version for name, version in owners if _normal(name) in PUBLISHED]
    if len({_normal(name) for name, _ in owners}) > 1:
        versions = [version for version in versions if generation_by_version(version) == shape]
    version = versions[0] if versions else None
    return version, generation_by_version(version)


def _copies() -> list[str]:
    """Folders (or single files) named rsl_rl, in the order in which an import would look; the first wins."""
    found = []
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None:  # what is imported already stays, wherever the search would lead now
        found += list(getattr(loaded, "__path__", []))[:1]
    for finder in list(sys.meta_path):
        found += _path_copies() if finder is PathFinder else _places(finder, None)[0]
    return _different(found)


def _path_copies() -> list[str]:
    """Copies on sys.path; without a package a bare folder counts: it hides what later finders know."""
    packages, folders = [], []
    for entry in sys.path:
        package, folder = _places(PathFinder, [entry])
        packages += package
        folders += folder
    return packages or folders


def _places(finder: Any, path: list[str] | None) -> tuple[list[str], list[str]]:
    """Places of packages and of bare folders that a finder knows."""
    try:
        spec = finder.find_spec(PACKAGE, path)
    except Exception:  # a broken finder is a broken import of something else, or of nothing
        return [], []
    if spec is None:
        return [], []
    folders = list(spec.submodule_search_locations or [])
    if spec.origin is None:
        return [], [str(folder) for folder in folders]
    return [str(folders[0] if folders else spec.origin)], []


def _distributions() -> list[tuple[str, str | None, str | None]]:
    """Name, version and folder of every distribution with an rsl_rl; one with unreadable metadata is left out."""
    found = []
    for distribution in metadata.distributions():
        try:
            provides, folder = _provided(distribution)
            if not provides:
                continue
            row = (str(distribution.metadata["Name"]), _version(distribution), folder and os.path.realpath(folder))
        except Exception:
            continue
        # Source folders often hold the metadata of their own editable installation a second time.
        if row not in found:
            found.append(row)
    return found


def _version(distribution: metadata.Distribution) -> str | None:
    try:
        return distribution.version or None
    except Exception:  # newer Pythons raise where older ones return None
        return None


def _provided(distribution: metadata.Distribution) -> tuple[bool, str | None]:
    """Whether a distribution has an rsl_rl, and its folder if known."""
    top_level = distribution.read_text("top_level.txt")
    if top_level is not None and PACKAGE not in top_level.split():
        return False, None
    record = distribution.read_text("RECORD")
    if record is not None and f"{PACKAGE}/__init__.py," in record.replace("\\", "/"):
        return True, str(distribution.locate_file(PACKAGE))
    if record is not None:
        folder = _editable_folder(distribution, record)
        return top_level is not None or folder is not None, folder
    beside = str(distribution.locate_file(PACKAGE))  # an egg-info lies in the source folder
    return top_level is not None, beside if os.path.isdir(beside) else None


def _editable_folder(distribution: metadata.Distribution, record: str) -> str | None:
    """Folder of an editable installation: from its finder, its .pth file or the address that it was installed from."""
    for line in record.splitlines():
        name = line.split(",")[0]
        if name.endswith("_finder.py"):
            mapped = _mapping(_text(Path(str(distribution.locate_file(name))))).get(PACKAGE)
            if mapped:
                return str(mapped)
        elif name.endswith(".pth"):
            for entry in _text(Path(str(distribution.locate_file(name)))).splitlines():
                if os.path.isdir(os.path.join(entry, PACKAGE)):
                    return os.path.join(entry, PACKAGE)
    address = json.loads(distribution.read_text("direct_url.json") or "{}")
    if address.get("dir_info", {}).get("editable"):
        project = unquote(urlparse(address["url"]).path)
        for folder in (os.path.join(project, PACKAGE), os.path.join(project, "src", PACKAGE)):
            if os.path.isfile(os.path.join(folder, "__init__.py")):
                return folder
    return None


def _mapping(source: str) -> dict:
    """The table package -> folder in setuptools' finder module."""
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "MAPPING":
            return ast.literal_eval(node.value)  # type: ignore
    return {}


def _is_package(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "__init__.py"))


def _not_a_package(path: str, shadowed: list[str]) -> str | None:
    if _is_package(path):
        return None
    if os.path.isfile(path):
        return f"{path} is a file, not the package"
    # Seen in site-packages after an uninstallation, and where the clone of a fork is in the working directory.
    hides = f" and hides {shadowed[0]}" if shadowed else ""
    return f"{path} is a folder without __init__.py{hides}"


def _mixed(owners: list[tuple[str, str | None]]) -> str | None:
    """Two distributions in one folder: the later one has overwritten files of the earlier one."""
    names = {_normal(name): f"{name} {version or ''}".strip() for name, version in reversed(owners)}
    return (
        f"{' and '.join(sorted(names.values()))} are mixed in one folder: the later has overwritten files of the "
        "earlier"
        if len(names) > 1
        else None
    )


def _import_problem(path: str) -> str | None:
    """Why `import rsl_rl.runners` would fail, as far as its import statements tell."""
    missing: set[str] = set()
    seen: set[str] = set()
    waiting = [PACKAGE, f"{PACKAGE}.runners"]
    while waiting:
        module = waiting.pop()
        file = _file_of(path, module)
        if module in seen or file is None:
            continue
        seen.add(module)
        try:
            tree = ast.parse(_text(file))
        except (SyntaxError, ValueError) as error:
            return f"{file} cannot be read by Python {sys.version_info[0]}.{sys.version_info[1]}: {error}"
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        for name in _imported(tree, package):
            if name.split(".")[0] == PACKAGE:
                parts = name.split(".")
                waiting += [".".join(parts[: end + 1]) for end in range(len(parts))]
            elif not _installed(name.split(".")[0]):
                missing.add(name.split(".")[0])
    if missing:
        names = sorted(DISTRIBUTION.get(package, package) for package in missing)
        return f"its import needs {', '.join(names)}, not installed here"
    return None


def _file_of(path: str, module: str) -> Path | None:
    """File of a module of the copy at `path`; None for what is no module (a name inside one)."""
    place = Path(path).joinpath(*module.split(".")[1:])
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Modules that must be there when a file is imported: those in statements outside of functions, `if` and `try`."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield base
            if base.split(".")[0] == PACKAGE:
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except Exception:  # imported in an unusual way, but there
        return package in sys.modules


def _text(file: Path) -> str:
    """Contents, empty for a file that cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _different(paths: list[str]) -> list[str]:
    """Paths without symbolic links, each once."""
    return list(dict.fromkeys(os.path.realpath(path) for path in paths))
