"""Command lines made at random: each is understood or refused in one line, and values survive being typed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts.train import add_training_flags
from legged_gym_ext.utils.cli import apply_args_to_cfgs, make_parser, parse
from legged_gym_ext.utils.config import flatten
from legged_gym_ext.utils.errors import UserError

FIELDS = {group: dict(flatten(cfg)) for group, cfg in zip(("env", "train"), task_registry.get_cfgs("go2_ult"))}
NAMES = sorted(f"--{group}.{path}" for group, fields in FIELDS.items() for path in fields)
FLAGS = ("--task", "--num_envs", "--seed", "--headless", "--resume", "--checkpoint", "--logger", "--max_iterations")
WORDS = st.one_of(
    st.sampled_from([*NAMES, *FLAGS]),
    st.text(max_size=12),
    st.builds("{}={}".format, st.sampled_from([*NAMES, *FLAGS]), st.text(max_size=12)),
    st.builds("{}={}".format, st.sampled_from([*NAMES, *FLAGS]), st.floats().map(str) | st.integers().map(str)),
    st.builds("--{}.{}={}".format, st.sampled_from(["env", "train"]), st.text(max_size=8), st.text(max_size=8)),
)


def applied(words: list[str]) -> tuple[Any, Any]:
    """The configurations of `go2_ult` after a command line."""
    parser = make_parser("test")
    add_training_flags(parser)
    cfgs = task_registry.get_cfgs("go2_ult")
    apply_args_to_cfgs(parse(parser, words), *cfgs)
    return cfgs


@given(words=st.lists(WORDS, max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_command_line_is_understood_or_refused_in_one_line(words):
    try:
        applied(words)
    except UserError as error:
        assert str(error) and "Traceback" not in str(error)
    except SystemExit as leaving:  # --help
        assert leaving.code == 0


def typed(value: Any) -> str:
    """How a value is given on the command line."""
    return ",".join(map(typed, value)) if isinstance(value, (list, tuple)) else str(value)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_numbers_and_switches_arrive_as_they_were_typed(data):
    kinds = {bool: st.booleans(), int: st.integers(1, 10**6), float: st.floats(1e-6, 1e6)}
    group = data.draw(st.sampled_from(["env", "train"]))
    flagged = {"seed", "num_envs", "max_iterations", "checkpoint"}  # have ranges of their own
    paths = [p for p, v in FIELDS[group].items() if type(v) in kinds and p.rpartition(".")[2] not in flagged]
    path = data.draw(st.sampled_from(sorted(paths)))
    value = data.draw(kinds[type(FIELDS[group][path])])
    cfg = applied([f"--{group}.{path}={typed(value)}"])[("env", "train").index(group)]
    after = dict(flatten(cfg))
    assert after.pop(path) == value
    before = dict(FIELDS[group])
    before.pop(path)
    assert after == before


def test_not_a_number_is_refused():
    with pytest.raises(UserError, match="torques"):
        applied(["--env.rewards.scales.torques=nan"])
