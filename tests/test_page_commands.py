"""Every command on every page: its program takes the flags, its task has the fields.

Those below docs/extending are run by a test of their own. The others name runs, files and machines of their readers:
here a program ends as soon as it has read its command.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from typing import Any

import pytest

from legged_gym_ext.envs import task_registry
from legged_gym_ext.utils import cli
from tests.test_docs import PAGES, ROOT

FOREIGN = ("python3 -m venv", "python -m pip", "pip ", "python -m pytest", "wandb ", "train Mjlab-")
"""How commands begin that are no programs of ours."""
OF_READERS = {"--import=my_tasks.py", "..."}
"""Words for which a reader has something of their own: the rest of the line cannot be read without it."""


class UnderstoodError(Exception):
    """A program has read its command line."""


def commands() -> list[tuple[str, str]]:
    """Page and command, without what is before and after the words of the program."""
    found = []
    for page in PAGES:
        if page.parent.name == "extending":
            continue
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").strip().splitlines():
                for command in re.sub(r"\s#\s.*", "", line).split("&&"):
                    command = re.sub(r"^(\w+=\S+ )+", "", command.strip().replace(".venv/bin/", ""))
                    found.append((str(page.relative_to(ROOT)), command.strip()))
    return found


COMMANDS = [(page, command) for page, command in dict.fromkeys(commands()) if not command.startswith(FOREIGN)]


def program_of(words: list[str]) -> tuple[Any, list[str]]:
    """Module and arguments of a command."""
    if words[0] == "torchrun":
        words = ["python", *words[next(i for i, word in enumerate(words) if word.endswith(".py")) :]]
    assert words[0] == "python", "neither a program of this repository nor one of FOREIGN"
    if words[1] == "-m":
        package = ROOT / words[2].replace(".", "/")
        name = f"{words[2]}.program" if package.is_dir() else words[2]
        return importlib.import_module(name), words[3:]
    assert (ROOT / words[1]).is_file(), f"there is no {words[1]}"
    return importlib.import_module(words[1].removesuffix(".py").replace("/", ".")), words[2:]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_a_page_is_understood(page, command, monkeypatch):
    words = shlex.split(command)
    if OF_READERS & set(words):
        pytest.skip("needs something of the reader")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # programs there import one another
    program, arguments = program_of(words)
    monkeypatch.setattr("sys.argv", [words[0], *arguments])

    def ending(read: Any) -> Any:
        """`read`, which reads a command line, and then the end of the program."""

        def read_and_end(*given: Any) -> None:
            args = read(*given)
            if getattr(args, "task", None) is not None and hasattr(args, "env_overrides"):
                cli.apply_args_to_cfgs(args, *task_registry.get_cfgs(args.task))
            raise UnderstoodError

        return read_and_end

    if hasattr(program, "_parse"):
        monkeypatch.setattr(program, "_parse", ending(program._parse))
    else:
        if getattr(program, "parse", None) is cli.parse:
            monkeypatch.setattr(program, "parse", ending(cli.parse))
        monkeypatch.setattr(cli, "parse", ending(cli.parse))
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", ending(argparse.ArgumentParser.parse_args))
    with pytest.raises(UnderstoodError):
        program.main(*([arguments] if takes_arguments(program.main) else []))


def takes_arguments(main: Any) -> bool:
    """Whether a program takes its words as an argument, or from the command line."""
    return main.__code__.co_argcount > 0


def test_commands_are_found_on_pages():
    assert {"README.md", "docs/usage.md", "docs/robot.md", "docs/reliability.md"} <= {page for page, _ in COMMANDS}
