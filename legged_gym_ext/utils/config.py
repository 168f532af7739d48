"""Nested configuration classes in the style of legged_gym, without shared state and with checked overrides.

A configuration is a class with nested classes; an instance has copies of everything. A nested class extends the one of
the same name in a parent, whether or not it inherits from it.

A field accepts values of the type of its present value. A field that is None accepts anything; one that is annotated
`motor: "str | None" = None` accepts a string, and None also after it was set.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from functools import reduce
from itertools import takewhile
from typing import Any

from legged_gym_ext.utils.errors import UserError, did_you_mean

TRUE, FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")
NONE = ("none", "null")
SAMPLES = {"bool": False, "int": 0, "float": 0.0, "str": "", "list": [], "dict": {}}
"""Type in an optional annotation -> a value of that type; other types accept anything."""


class Section:
    """One level of a configuration: fields and further sections as attributes."""

    __slots__ = ("__dict__", "_optional")  # so that `vars(section)` holds the fields and nothing else
    _optional: dict[str, str]  # field annotated as optional -> name of its type

    def __init__(self) -> None:
        self._optional = {}

    def __repr__(self) -> str:
        """Fields in one line."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


class BaseConfig(Section):
    """Base of all configurations; instantiate the subclass to get an independent copy."""

    def __init__(self) -> None:
        """Copy every field of the class and of its nested classes."""
        super().__init__()
        _fill(self, [type(self)])


def _fill(target: Section, classes: list[type]) -> None:
    """Give `target` the fields of `classes`, most derived class first, nested classes merged."""
    lines = [base for cls in classes for base in cls.__mro__ if base not in (BaseConfig, Section, object)]
    # A class that is reached twice counts where it comes last: `class env(Base.env)` in a grandchild of Base must not
    # take precedence over the child in between.
    lines = list(dict.fromkeys(reversed(lines)))[::-1]
    for base in reversed(lines):
        target._optional.update(_optional_fields(base))
    for name in dict.fromkeys(name for base in reversed(lines) for name in vars(base) if not name.startswith("_")):
        values = [vars(base)[name] for base in lines if name in vars(base)]
        if isinstance(values[0], type):
            section = Section()
            _fill(section, list(takewhile(lambda value: isinstance(value, type), values)))
            setattr(target, name, section)
        elif not callable(values[0]) and not isinstance(values[0], (staticmethod, classmethod, property)):
            setattr(target, name, copy.deepcopy(values[0]))


def _optional_fields(cls: type) -> dict[str, str]:
    """Fields annotated as `X | None` or `Optional[X]` -> name of X; "" for several types."""
    found = {}
    for name, annotation in getattr(cls, "__annotations__", {}).items():
        text = re.sub(r"^(?:typing\.)?Optional\[(.+)\]$", r"\1 | None", str(annotation).strip("'\" "))
        parts = [part.strip() for part in text.split("|")]
        if "None" in parts:
            others = [part.partition("[")[0] for part in parts if part != "None"]
            found[name] = others[0] if len(others) == 1 else ""
    return found


def to_dict(section: Any) -> dict[str, Any]:
    """Nested dictionary of a configuration, with lists for tuples as in JSON."""
    return {name: _plain(value) for name, value in vars(section).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return to_dict(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return copy.deepcopy(value)


def lookup(section: Section, path: str) -> Any:
    """The field at a dotted path such as "terrain.seed"."""
    return reduce(getattr, path.split("."), section)


def flatten(section: Any, prefix: str = "", *, sections: bool = False) -> Iterator[tuple[str, Any]]:
    """Pairs of dotted path and value of all fields, in order; with `sections`, of sections as well."""
    for name, value in vars(section).items():
        if sections or not isinstance(value, Section):
            yield f"{prefix}{name}", value
        if isinstance(value, Section):
            yield from flatten(value, f"{prefix}{name}.", sections=sections)


def update_from_dict(section: Any, values: dict[str, Any], prefix: str = "") -> None:
    """Set fields from a nested dictionary (as `to_dict` makes it).

    Raises:
        UserError: unknown key (with the nearest ones), or a value of the wrong type; nothing has been set then.
    """
    known = [path for path, _ in flatten(section, prefix, sections=True)]
    for owner, name, value in list(_assignments(section, values, prefix, known)):
        setattr(owner, name, value)


def _assignments(section: Section, values: Any, prefix: str, known: list[str]) -> Iterator[tuple[Section, str, Any]]:
    """Section, field and checked value of everything that `values` sets."""
    if not isinstance(values, dict):
        where = f"configuration key '{prefix[:-1]}' is a section" if prefix else "a configuration is a dictionary"
        raise UserError(f"{where}: expected its fields by name, got {values!r}")
    for name, value in values.items():
        path = f"{prefix}{name}"
        if name not in vars(section):
            raise UserError(f"unknown configuration key '{path}'{did_you_mean(path, known)}")
        present = getattr(section, name)
        if isinstance(present, Section):
            yield from _assignments(present, value, f"{path}.", known)
        else:
            reference, optional = _reference(section, name)
            try:
                yield section, name, None if optional and value is None else _checked(reference, value)
            except _WrongTypeError:
                message = f"configuration key '{path}': expected {_describe(reference)}, got {value!r}"
                raise UserError(message) from None


def apply_overrides(section: Any, overrides: dict[str, str], prefix: str) -> None:
    """Set fields from texts of the command line, converted to the type of the present value.

    Args:
        section: configuration to change.
        overrides: dotted path -> text; a path may end in an existing key of a dictionary.
        prefix: "env" or "train", for messages.

    Raises:
        UserError: unknown path (with the nearest ones), a whole section, or a text of the wrong type.
    """
    for path, text in overrides.items():
        _override(section, path, text, f"--{prefix}.{path}={text}")


def _override(section: Section, path: str, text: str, flag: str) -> None:
    *parents, name = path.split(".")
    owner: Any = section
    for part in parents:
        owner = vars(owner).get(part) if isinstance(owner, Section) else None
    fields = vars(owner) if isinstance(owner, Section) else owner
    if not isinstance(fields, dict) or name not in fields:
        in_dict = isinstance(owner, dict)
        known = [".".join([*parents, str(key)]) for key in owner] if in_dict else [key for key, _ in flatten(section)]
        raise UserError(f"{flag}: there is no field '{path}'{did_you_mean(path, known)}")
    present = fields[name]
    if isinstance(present, Section):
        raise UserError(f"{flag}: '{path}' is a section; its fields are {', '.join(vars(present))}")
    reference, optional = _reference(owner, name) if isinstance(owner, Section) else (present, False)
    if optional and text.lower() in NONE and not (text == "none" and isinstance(reference, str)):  # a word there
        fields[name] = None
        return
    try:
        fields[name] = _checked(reference, _parse(reference, text))
    except _WrongTypeError:
        raise UserError(f"{flag}: expected {_describe(reference)}, got '{text}'") from None


class _WrongTypeError(Exception):
    """A value or text does not fit; the caller knows the name of the field."""


def _reference(section: Section, name: str) -> tuple[Any, bool]:
    """A value of the type of a field (None: any type), and whether the field may be None."""
    present, annotated = vars(section)[name], section._optional.get(name)
    if present is None:
        return SAMPLES.get(annotated or ""), True
    return present, annotated is not None


def _describe(reference: Any) -> str:
    """The type of `reference` in words."""
    if isinstance(reference, bool):
        return "bool (true or false)"
    if isinstance(reference, dict):
        return f"dict such as {reference!r}"
    if isinstance(reference, (list, tuple)):
        kinds = " or ".join(dict.fromkeys(type(_element(reference, i)).__name__ for i in range(len(reference))))
        length = f" {len(reference)}" if isinstance(reference, tuple) else ""
        return f"{type(reference).__name__} of{length} {kinds}" if reference else type(reference).__name__
    return type(reference).__name__


def _element(reference: Any, index: int) -> Any:
    """A value of the type of element `index` in a list or tuple like `reference`."""
    if any(isinstance(item, float) for item in reference) and all(type(item) in (int, float) for item in reference):
        return 0.0  # [0, 0.5] is a list of floats
    return reference[min(index, len(reference) - 1)] if reference else None


def _parse(reference: Any, text: str) -> Any:
    """The value of a text as the type of `reference`."""
    if isinstance(reference, bool):
        if text.lower() not in TRUE + FALSE:
            raise _WrongTypeError
        return text.lower() in TRUE
    if isinstance(reference, str):
        return text
    if isinstance(reference, (int, float)):
        try:
            return type(reference)(text)
        except ValueError:
            raise _WrongTypeError from None
    if isinstance(reference, (list, tuple)):
        return _parse_items(reference, text.strip())
    try:
        return _literal(text)
    except _WrongTypeError:
        if reference is None:
            return text
        raise


def _parse_items(reference: Any, text: str) -> list[Any]:
    """Elements of "[1, 2]", "1,2", "policy,critic" or "[policy, critic]" (shells remove quotes)."""
    try:
        items = _literal(text)
        if isinstance(items, (list, tuple)):
            return list(items)
    except _WrongTypeError:
        pass
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1]
    words = [word.strip().strip("'\"") for word in text.split(",")]
    if not words[-1]:
        words.pop()  # "" is no element, "a," is one
    return [_parse(_element(reference, index), word) for index, word in enumerate(words)]


def _literal(text: str) -> Any:
    """A Python literal; also true, false, none and null."""
    names = {"true": "True", "false": "False", "none": "None", "null": "None"}
    try:
        return ast.literal_eval(names.get(text.lower(), text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _WrongTypeError from None


def _checked(reference: Any, value: Any) -> Any:
    """A copy of `value` as the type of `reference` (None: any type)."""
    if reference is None:
        return copy.deepcopy(value)
    if isinstance(reference, bool) or isinstance(value, bool):
        if type(reference) is not type(value):  # to Python, True is an int
            raise _WrongTypeError
        return value
    if isinstance(reference, float):
        # nan compares false with everything and would pass every check.
        if not isinstance(value, (int, float)) or value != value or (isinstance(value, int) and abs(value) >= 2**1024):
            raise _WrongTypeError
        return float(value)
    if isinstance(reference, (list, tuple)):
        fixed = len(reference) if isinstance(reference, tuple) else None
        if not isinstance(value, (list, tuple)) or fixed not in (None, len(value)):
            raise _WrongTypeError
        return type(reference)([_checked(_element(reference, index), item) for index, item in enumerate(value)])
    if isinstance(reference, dict):
        return _checked_dict(reference, value)
    if not isinstance(value, type(reference)):
        raise _WrongTypeError
    return value


def _checked_dict(reference: dict[Any, Any], value: Any) -> dict[Any, Any]:
    """A copy of `value`; new keys take the type that all values of `reference` share, or any."""
    if not isinstance(value, dict):
        raise _WrongTypeError
    kinds = {type(item) for item in reference.values()}
    sample = next(iter(reference.values())) if len(kinds) == 1 else None
    if isinstance(sample, (list, tuple, dict)):
        sample = type(sample)() if not isinstance(sample, tuple) else None
    if reference and any(type(key) not in {type(known) for known in reference} for key in value):
        raise _WrongTypeError
    return {key: _checked(reference.get(key, sample), item) for key, item in value.items()}


def match_joint(values: dict[str, float], name: str, what: str) -> float:
    """The value with the longest key that is part of joint `name`; none is a `UserError` that names `what`."""
    keys = [key for key in values if key in name]
    if not keys:
        raise UserError(f"{what} has no entry for joint '{name}': keys are {list(values)}, each a part of joint names")
    return float(values[max(keys, key=len)])
