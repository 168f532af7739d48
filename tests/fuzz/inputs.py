"""Ways to damage files, and values that nobody expects."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
"""Inputs of each kind."""

DEEP = 100_000
"""Levels of nesting, more than any parser's stack."""


def fuzz(share: float = 1.0) -> settings:
    """Settings of a test with `share` of the inputs; a short run always makes the same ones."""
    return settings(
        max_examples=max(10, round(EXAMPLES * share)),
        deadline=None,
        database=None,
        derandomize=EXAMPLES < 1000,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


# -- bytes -------------------------------------------------------------------------------------------------------------

places = st.integers(0, 2**32 - 1)
_edit = st.one_of(
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("flip"), places, st.integers(0, 7)),
    st.tuples(st.just("write"), places, st.sampled_from([b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff"])),
    st.tuples(st.just("insert"), places, st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("drop"), places, st.integers(1, 64)),
    st.tuples(st.just("cut"), places, st.just(0)),
    st.tuples(st.just("double"), places, st.integers(1, 64)),
)
byte_edits = st.lists(_edit, min_size=1, max_size=6)
"""What `damaged` does to a file, one edit after the other."""


def damaged(data: bytes, edits: list[tuple]) -> bytes:
    """`data` after the edits; places count modulo its length."""
    found = bytearray(data)
    for action, place, value in edits:
        at = place % max(1, len(found))
        if action == "flip" and found:
            found[at] ^= 1 << value
        elif action == "write":
            found[at : at + len(value)] = value
        elif action == "insert":
            found[at:at] = value
        elif action == "drop":
            del found[at : at + value]
        elif action == "cut":
            del found[at:]
        elif action == "double":
            found[at:at] = found[at : at + value]
    return bytes(found)


# -- nested values -----------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, -(2**63), 10**400),
    *(0.5, -0.0, 1e-300, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", "x", "nan", "1", "../../x", "~nobody/x", "a\nb", "\x1b[2J", "\x00", "x" * 5000, "\u2028", "\ud800"),
    *([], {}, [None], [0], [[]], [1.5, "a"], {"a": 1}, {"": {}}, {"x": {"y": [1, {"z": None}]}}, [0] * 5000),
)
"""Values that fit nowhere, or only nearly."""

values = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
)
value_edits = st.lists(
    st.tuples(st.sampled_from(("replace", "replace", "delete", "add", "swap", "scale")), places, values),
    min_size=1,
    max_size=4,
)
"""What `edited` does to nested values."""


def edited(value: Any, edits: list[tuple]) -> Any:
    """A copy of nested dictionaries and lists after the edits; places count modulo the number of their entries."""
    holder = [copy.deepcopy(value)]
    for action, place, new in edits:
        new = copy.deepcopy(new)
        nodes = list(_nodes(holder))
        owner, key = nodes[place % len(nodes)]
        present = owner[key]
        if action == "delete" and owner is not holder:
            del owner[key]
        elif action == "add" and isinstance(present, dict):
            present[str(new)[:20]] = new
        elif action == "add" and isinstance(present, list):
            present.append(new)
        elif action == "swap":
            other, place = nodes[(place // len(nodes)) % len(nodes)]
            owner[key] = copy.deepcopy(other[place])
        elif action == "scale" and isinstance(present, (int, float)):
            owner[key] = -present if not isinstance(new, (int, float)) else present * (new if abs(new) < 9 else 7)
        else:
            owner[key] = new
    return holder[0]


def _nodes(owner: Any) -> Any:
    """Container and key of every entry."""
    for key in list(owner) if isinstance(owner, dict) else range(len(owner)):
        yield owner, key
        if isinstance(owner[key], (dict, list)):
            yield from _nodes(owner[key])


special_texts = st.sampled_from(
    [
        b"",
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b"1" * 5000,
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"null",
        b'"x"',
        b"NaN",
        b"{} {}",
        b"\x00" * 1000,
    ]
)
json_edits = st.one_of(
    st.tuples(st.just("values"), value_edits),
    st.tuples(st.just("values"), value_edits),
    st.tuples(st.just("bytes"), byte_edits),
    st.tuples(st.just("text"), special_texts),
)
"""What `edited_json` does to a file."""


def edited_json(text: bytes, edit: tuple[str, Any]) -> bytes:
    """The bytes of a JSON file after an edit."""
    kind, change = edit
    if kind == "values":
        return json.dumps(edited(json.loads(text), change)).encode()
    return damaged(text, change) if kind == "bytes" else change
