"""Text and files that others wrote: read without trust, shown in one line. Standard library only."""

from __future__ import annotations

import json
import sys
from typing import Any

LONGEST = 1000  # characters of a line that somebody reads


def one_line(text: str) -> str:
    """`text` as one line for a terminal: control characters are escaped, the middle of a long one is left out."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST * 2 // 3]} ... {text[-LONGEST // 3 :]}"  # at its end it says what to do
    parts = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in text)
    return "".join(parts)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: no JSON, or nested more deeply than anything that is written here.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


OWN = ("rsl_rl_ult", "legged_gym_ext", "rsl_rl")
"""Packages whose code the files of a run may name."""


def refuse_code(values: Any, where: object) -> None:
    """Refuse settings from a file that name code of a module which is not ours and was not imported by the user.

    To look a name up its module is imported, which runs it: files of strangers must not choose it.

    Args:
        values: nested settings; `class_name` and what ends in `_func` name code, as "module:name" or module.name.
        where: the file, for the message.

    Raises:
        ValueError: such a name.
    """
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (dict, list)):
            refuse_code(value, where)
        elif isinstance(value, str) and (key == "class_name" or str(key).endswith("_func")):
            module = value.partition(":")[0] if ":" in value else value.rpartition(".")[0]
            if module and module.partition(".")[0] not in OWN and module not in sys.modules:
                raise ValueError(
                    f"{where} names code of the module '{module}' ({key} '{value}'): only that of "
                    f"{', '.join(OWN)} is looked up; if you trust it, import it with --import"
                )
