"""Text and files of others: one line, no deep nesting, no code of other modules."""

from __future__ import annotations

import subprocess
import sys

import pytest

from legged_gym_ext.foreign import LONGEST, one_line, parse_json, refuse_code
from legged_gym_ext.utils.config import update_from_dict
from legged_gym_ext.utils.errors import UserError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is: 3 m/s, größer", "as it is: 3 m/s, größer"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u2028b\udcff", "a\\u2028b\\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert one_line(text) == shown
    assert str(UserError(text)) == shown


def test_a_long_line_keeps_its_beginning_and_the_advice_at_its_end():
    shown = one_line("found " + "7" * 100_000 + "; use another")
    assert len(shown) <= LONGEST + 5
    assert shown.startswith("found 777") and shown.endswith("777; use another")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[", "1" * 5000])
def test_json_that_is_none_or_nested_without_end_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithm": {"class_name": "antigravity:fly_away"}},
        {"algorithm": {"symmetry_cfg": {"data_augmentation_func": "antigravity.fly_away"}}},
        {"actor": [{"class_name": "antigravity.x:y"}]},
    ],
)
def test_a_run_names_no_code_of_a_module_that_the_user_did_not_import(settings):
    assert "antigravity" not in sys.modules
    with pytest.raises(ValueError, match=r"'antigravity.*--import"):
        refuse_code(settings, "train.json")
    assert "antigravity" not in sys.modules


def test_a_run_names_code_of_ours_of_upstreams_and_of_what_is_imported():
    names = ["rsl_rl_ult.algorithms:PPO_ULT", "rsl_rl.algorithms:PPO", "PPO", "json:dumps", "legged_gym_ext.x:y"]
    refuse_code([{"class_name": name} for name in names], "train.json")


def test_an_error_of_the_system_is_one_line_of_a_program():
    code = "from legged_gym_ext.scripts import report; from legged_gym_ext.utils.errors import run_main; "
    words = ["7" * 5000]
    done = subprocess.run(
        [sys.executable, "-c", f"{code}run_main(report.main)", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: File name too long: 777") and done.stderr.count("\n") == 1


def test_a_home_folder_that_nobody_has_is_a_path_like_others():
    from legged_gym_ext.training.runs import find_run, log_root

    class Args:
        log_root = "~nobody-has-this-name/logs"

    with pytest.raises(UserError, match="no runs of experiment"):
        find_run(log_root(Args), "go2")


def test_a_whole_number_that_no_float_can_hold_is_refused():
    from legged_gym_ext.envs import task_registry

    env_cfg, _ = task_registry.get_cfgs("go2")
    with pytest.raises(UserError, match="expected float"):
        update_from_dict(env_cfg, {"sim": {"dt": 10**400}})
