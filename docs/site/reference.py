"""The page of all options: fields of the configurations with their defaults and the comments beside them."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

METHODS = ("go2", "go2_ts", "go2_cts", "go2_rma", "go2_sitt", "go2_dagger", "go2_ult", "go2_bc")
"""Tasks whose sections `actor` and `algorithm` are listed, a method each."""


def comments(path: str) -> dict[tuple[str, ...], str]:
    """Comment of every field in a file of configurations: behind it, else the lines right above it.

    Keys are the names of the nested classes and of the field: ("LeggedRobotCfg", "env", "num_envs").
    """
    text = Path(path).read_text(encoding="utf-8")
    lines, found = text.splitlines(), {}

    def above(number: int) -> str:
        block = []
        while number > 0 and lines[number - 1].lstrip().startswith("#"):
            block.insert(0, lines[number - 1].strip("# "))
            number -= 1
        return " ".join(block)

    def walk(node: ast.Module | ast.ClassDef, names: tuple[str, ...]) -> None:
        for part in node.body:
            if isinstance(part, ast.ClassDef):
                walk(part, (*names, part.name))
            elif isinstance(part, (ast.Assign, ast.AnnAssign)) and part.end_lineno is not None:
                target = part.targets[0] if isinstance(part, ast.Assign) else part.target
                rest = lines[part.end_lineno - 1][part.end_col_offset or 0 :]
                beside = rest.partition("#")[2].replace("fmt: skip", "").strip()
                if isinstance(target, ast.Name):
                    found[(*names, target.id)] = beside or above(part.lineno - 1)

    walk(ast.parse(text), ())
    return found


def meanings(cfg: object) -> dict[tuple[str, ...], str]:
    """Comment of every field of a configuration, from the nearest class of its ancestors that has one."""
    found: dict[tuple[str, ...], str] = {}
    for ancestor in type(cfg).__mro__:
        try:
            own = comments(inspect.getfile(ancestor))
        except (OSError, TypeError):  # made by the registry, or built in
            continue
        for (name, *path), comment in own.items():
            if name == ancestor.__name__ and comment:
                found.setdefault(tuple(path), comment)
    return found


def table(prefix: str, cfg: Any, sections: tuple[str, ...] | None = None) -> list[str]:
    """Markdown lines: a row for every option of a configuration, or of some of its sections."""
    from legged_gym_ext.utils.config import flatten

    told, lines = meanings(cfg), ["| option | default | meaning |", "|---|---|---|"]
    for name, value in flatten(cfg):
        path = tuple(name.split("."))
        if sections is None or path[0] in sections:
            cells = (f"`--{prefix}.{name}`", f"`{value}`" if value != "" else "", told.get(path, ""))
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def page() -> str:
    """The whole page, in Markdown."""
    from legged_gym_ext.envs import task_registry

    env, train = task_registry.get_cfgs("go2")
    lines = [
        "# Options",
        "",
        "Every field of a configuration, as `train.py` takes it. `describe.py --task=NAME --fields` prints those of one"
        " task. This page is made from the code.",
        "",
        "## Environment: `go2`",
        "",
        *table("env", env),
        "",
        "## Training, all methods",
        "",
        *table("train", train, ("seed", "runner", "critic", "obs_groups")),
    ]
    for task in METHODS:
        _, cfg = task_registry.get_cfgs(task)
        lines += ["", f"## Method of `{task}`", "", *table("train", cfg, ("actor", "algorithm"))]
    return "\n".join(lines) + "\n"
