"""Nested configuration classes, legged_gym style, without shared state and with checked overrides.

A configuration is a class with nested classes; an instance has fresh copies of everything. A nested class that repeats a
parent's name adds to it, whether or not it inherits from it, so a forgotten base class loses nothing.
"""

from __future__ import annotations

import ast
import copy
from typing import Any, Iterator

from legged_gym_ext.utils.errors import UserError, did_you_mean

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class Section:
    """One level of a configuration: fields and further sections as attributes."""

    def __repr__(self) -> str:
        """Fields in one line."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class BaseConfig(Section):
    """Base of all configurations; instantiate the subclass to get an independent copy."""

    def __init__(self) -> None:
        """Copy every field of the class and of its nested classes."""
        _fill(self, [type(self)])


def _fill(target: Section, classes: list[type]) -> None:
    """Give `target` the fields of `classes`, most derived class first, nested classes merged."""
    lines = [base for cls in classes for base in cls.__mro__ if base not in (BaseConfig, Section, object)]
    for name in dict.fromkeys(name for base in reversed(lines) for name in vars(base) if not name.startswith("_")):
        values = [vars(base)[name] for base in lines if name in vars(base)]
        nested = [value for value in values if isinstance(value, type)]
        if isinstance(values[0], type):
            section = Section()
            _fill(section, nested)
            setattr(target, name, section)
        elif not callable(values[0]) and not isinstance(values[0], (staticmethod, classmethod, property)):
            setattr(target, name, copy.deepcopy(values[0]))


def to_dict(section: Any) -> dict[str, Any]:
    """Plain nested dictionary of a configuration; tuples become lists, so that it survives JSON."""
    return {name: _plain(value) for name, value in vars(section).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return copy.deepcopy(value)


def flatten(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted path and value of all fields, in order."""
    for name, value in vars(section).items():
        if isinstance(value, Section):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def update_from_dict(section: Any, values: dict[str, Any], prefix: str = "") -> None:
    """Set fields from a nested dictionary (as `to_dict` makes it); unknown keys and wrong types are a `UserError`."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if name not in vars(section):
            raise UserError(f"unknown configuration key '{path}'{did_you_mean(name, vars(section))}")
        present = getattr(section, name)
        if isinstance(present, Section):
            if not isinstance(value, dict):
                raise UserError(f"configuration key '{path}' is a section, found {value!r}")
            update_from_dict(present, value, f"{path}.")
        else:
            setattr(section, name, _checked(present, value, path))


def apply_overrides(section: Any, overrides: dict[str, str], prefix: str) -> None:
    """Set fields from command-line texts, typed by what is there.

    Args:
        section: configuration to change.
        overrides: dotted path -> text.
        prefix: "env" or "train", for messages.

    Raises:
        UserError: unknown path (with the nearest ones), a whole section, or a text of the wrong type.
    """
    for path, text in overrides.items():
        flag = f"--{prefix}.{path}={text}"
        *parents, name = path.split(".")
        owner = section
        for part in parents:
            owner = getattr(owner, part, None) if isinstance(owner, Section) else None
        if not isinstance(owner, Section) or name not in vars(owner):
            known = [key for key, _ in flatten(section)]
            raise UserError(f"{flag}: there is no field '{path}'{did_you_mean(path, known)}")
        present = getattr(owner, name)
        if isinstance(present, Section):
            raise UserError(f"{flag}: '{path}' is a section; its fields are {', '.join(vars(present))}")
        setattr(owner, name, _checked(present, _parse(present, text, flag), flag))


def _parse(present: Any, text: str, flag: str) -> Any:
    """The value a text stands for, given the value it replaces."""
    if isinstance(present, bool):
        if text.lower() not in TRUE + FALSE:
            raise UserError(f"{flag}: expected true or false, got '{text}'")
        return text.lower() in TRUE
    if isinstance(present, str):
        return text
    try:
        return ast.literal_eval(
            {"true": "True", "false": "False", "none": "None", "null": "None"}.get(text.lower(), text)
        )
    except (ValueError, SyntaxError):
        if isinstance(present, (list, tuple)):
            return [_item(item.strip()) for item in text.split(",")]
        if present is None:
            return text
        raise UserError(f"{flag}: expected {type(present).__name__}, got '{text}'") from None


def _item(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _checked(present: Any, value: Any, where: str) -> Any:
    """`value` as the type of `present`, or a `UserError`; a field that is None accepts anything."""
    wrong = UserError(f"{where}: expected {type(present).__name__} like {present!r}, got {value!r}")
    if present is None:
        return value
    if value is None:
        # A field whose default is None may have been set before; only such fields take None back.
        raise wrong
    if isinstance(present, bool) or isinstance(value, bool):
        if type(present) is not type(value):
            raise wrong
        return value
    if isinstance(present, float) and isinstance(value, int):
        return float(value)
    if isinstance(present, (list, tuple)):
        items = list(value) if isinstance(value, (list, tuple)) else None
        if items is None or (isinstance(present, tuple) and len(items) != len(present)):
            raise wrong
        if present:
            items = [_checked(present[min(i, len(present) - 1)], item, where) for i, item in enumerate(items)]
        return type(present)(items)
    if isinstance(present, dict):
        if not isinstance(value, dict):
            raise wrong
        return copy.deepcopy(value)
    if not isinstance(value, type(present)):
        raise wrong
    return value
