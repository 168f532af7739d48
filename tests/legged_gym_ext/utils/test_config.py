"""Configurations: merging of nested classes, independence of instances, strict updates and typed overrides."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from legged_gym_ext.utils.config import BaseConfig, apply_overrides, flatten, to_dict, update_from_dict
from legged_gym_ext.utils.errors import UserError, did_you_mean, nearest


class RobotCfg(BaseConfig):
    seed = 1

    class env:
        num_envs = 100
        length_s = 20.0

    class control:
        stiffness = {"hip": 20.0, "knee": 30.0}
        motor: str | None = None
        gear: float | None = 2.0
        note = None
        kind = "P"

    class rewards:
        positive = True

        class scales:
            torques = 0.0
            feet_air_time = 0.5

    class sim:
        dt = 0.005
        gravity = (0.0, 0.0, -9.81)
        widths = [256, 128]
        range = [0, 0.5]
        groups = ["policy"]
        points = [[0.0, 1.0]]


class ChildCfg(RobotCfg):
    class env:  # forgets to inherit
        num_envs = 5

    class rewards(RobotCfg.rewards):
        class scales:
            torques = -1e-4


class GrandchildCfg(ChildCfg):
    class env(RobotCfg.env):  # names the grandparent, as people do who copy from the base file
        length_s = 7.0


def override(path: str, text: str) -> Any:
    """The value of field `path` after `--env.<path>=<text>` on a fresh RobotCfg."""
    cfg = RobotCfg()
    apply_overrides(cfg, {path: text}, "env")
    return dict(flatten(cfg))[path]


def refusal(path: str, text: str) -> str:
    """The message that refuses `--env.<path>=<text>`; also shows that nothing has changed."""
    cfg = RobotCfg()
    with pytest.raises(UserError) as caught:
        apply_overrides(cfg, {path: text}, "env")
    assert to_dict(cfg) == to_dict(RobotCfg())
    return str(caught.value)


# Instances


def test_a_section_that_forgets_its_base_keeps_the_other_fields() -> None:
    assert to_dict(ChildCfg())["env"] == {"num_envs": 5, "length_s": 20.0}


def test_a_section_that_inherits_explicitly_merges_two_levels_deep() -> None:
    assert to_dict(ChildCfg())["rewards"] == {"positive": True, "scales": {"torques": -1e-4, "feet_air_time": 0.5}}


def test_naming_the_grandparents_section_keeps_what_the_parent_changed() -> None:
    assert to_dict(GrandchildCfg())["env"] == {"num_envs": 5, "length_s": 7.0}


def test_a_mixin_merges_in_the_order_of_the_outer_mro() -> None:
    class Slow(BaseConfig):
        class sim:
            dt = 0.02
            extra = 1

    class Both(Slow, RobotCfg):
        pass

    assert (Both().sim.dt, Both().sim.extra, Both().sim.widths) == (0.02, 1, [256, 128])


def test_instances_share_no_mutable_state_with_each_other_or_the_class() -> None:
    first = ChildCfg()
    first.sim.widths.append(7)
    first.sim.points[0].append(7.0)
    first.control.stiffness["hip"] = 7.0
    first.env.num_envs = 7
    second = ChildCfg()
    assert second.sim.widths == [256, 128] and second.sim.points == [[0.0, 1.0]]
    assert second.control.stiffness["hip"] == 20.0 and second.env.num_envs == 5
    assert RobotCfg.sim.widths == [256, 128]


def test_methods_and_private_names_are_no_fields() -> None:
    class Cfg(RobotCfg):
        _hidden = 1

        def helper(self) -> int:
            return 1

    assert list(to_dict(Cfg())) == ["seed", "env", "control", "rewards", "sim"]


def test_repr_of_a_section_shows_its_fields() -> None:
    assert repr(ChildCfg().env) == "Section(num_envs=5, length_s=20.0)"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg))])
def test_copies_keep_fields_and_optional_annotations(duplicate) -> None:
    cfg = duplicate(RobotCfg())
    apply_overrides(cfg, {"control.gear": "none"}, "env")
    assert cfg.control.gear is None and cfg.sim.dt == 0.005


# Dictionaries


def test_to_dict_survives_json_unchanged() -> None:
    values = to_dict(RobotCfg())
    assert json.loads(json.dumps(values)) == values
    assert values["sim"]["gravity"] == [0.0, 0.0, -9.81]


def test_to_dict_shares_nothing_with_the_configuration() -> None:
    cfg = RobotCfg()
    to_dict(cfg)["control"]["stiffness"]["hip"] = 0.0
    assert cfg.control.stiffness["hip"] == 20.0


def test_flatten_gives_dotted_paths_with_dictionaries_and_lists_as_leaves() -> None:
    flat = dict(flatten(RobotCfg()))
    assert flat["rewards.scales.feet_air_time"] == 0.5
    assert flat["control.stiffness"] == {"hip": 20.0, "knee": 30.0}
    assert "rewards.scales" not in flat


def test_a_saved_configuration_restores_values_and_types() -> None:
    changed = ChildCfg()
    changed.sim.gravity, changed.control.note, changed.control.gear = (0.0, 0.0, -1.6), "moon", None
    restored = RobotCfg()
    update_from_dict(restored, json.loads(json.dumps(to_dict(changed))))
    assert to_dict(restored) == to_dict(changed)
    assert restored.sim.gravity == (0.0, 0.0, -1.6)  # a tuple again


def test_update_from_dict_does_not_keep_references_to_its_argument() -> None:
    cfg, values = RobotCfg(), {"control": {"note": [1], "stiffness": {"hip": 1.0}}}
    update_from_dict(cfg, values)
    values["control"]["note"].append(2)
    values["control"]["stiffness"]["hip"] = 9.0
    assert cfg.control.note == [1] and cfg.control.stiffness == {"hip": 1.0}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rewards": {"scales": {"feet_airtime": 1.0}}}, ["'rewards.scales.feet_airtime'", "rewards.scales.feet_air_"]),
        ({"env": {"dt": 0.1}}, ["'env.dt'", "sim.dt"]),  # the right name in the wrong section
        ({"envs": {}}, ["'envs'", "did you mean env"]),
        ({"env": 5}, ["'env' is a section", "5"]),
        ({"env": {"num_envs": "5"}}, ["'env.num_envs'", "expected int", "'5'"]),
        ({"env": {"num_envs": True}}, ["expected int", "True"]),
        ({"env": {"num_envs": None}}, ["expected int", "None"]),
        ({"rewards": {"positive": 1}}, ["expected bool", "1"]),
        ({"sim": {"dt": float("nan")}}, ["expected float", "nan"]),
        ({"sim": {"gravity": [0.0, 0.0]}}, ["expected tuple of 3 float"]),
        ({"sim": {"groups": "policy"}}, ["expected list of str"]),
        ([1], ["dictionary"]),
    ],
)
def test_update_from_dict_refuses_what_does_not_fit_and_names_the_path(values, words) -> None:
    cfg = RobotCfg()
    with pytest.raises(UserError) as caught:
        update_from_dict(cfg, values)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_refused_update_changes_nothing() -> None:
    cfg = RobotCfg()
    with pytest.raises(UserError):
        update_from_dict(cfg, {"seed": 9, "env": {"num_envs": 9, "nonsense": 1}})
    assert to_dict(cfg) == to_dict(RobotCfg())


# Overrides


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("seed", "-3", -3),
        ("env.length_s", "5", 5.0),
        ("sim.dt", "5e-4", 0.0005),
        ("sim.dt", "-1.0", -1.0),
        ("sim.dt", "inf", float("inf")),
        ("rewards.positive", "false", False),
        ("rewards.positive", "No", False),
        ("rewards.positive", "0", False),
        ("rewards.positive", "TRUE", True),
        ("rewards.scales.feet_air_time", "2", 2.0),
        ("control.kind", "none", "none"),  # a string field takes every text
        ("control.kind", "12", "12"),
        ("control.kind", "a=b", "a=b"),
        ("control.note", "word", "word"),
        ("control.note", "3", 3),
        ("control.note", "[1, 2]", [1, 2]),
        ("control.note", "null", None),
        ("control.motor", "dc", "dc"),
        ("control.motor", "5", "5"),  # annotated str: the text, not the number
        ("control.motor", "none", "none"),  # a word, such as latent_norm's
        ("control.motor", "None", None),
        ("control.gear", "3", 3.0),
        ("control.gear", "None", None),
        ("sim.widths", "64,64,32", [64, 64, 32]),
        ("sim.widths", "[512]", [512]),
        ("sim.widths", "512", [512]),
        ("sim.widths", "[]", []),
        ("sim.range", "0.25,1", [0.25, 1.0]),  # [0, 0.5] is a list of floats
        ("sim.groups", "policy,", ["policy"]),
        ("sim.groups", "", []),
        ("sim.groups", "policy,history", ["policy", "history"]),
        ("sim.groups", "[policy, history]", ["policy", "history"]),  # what a shell leaves of the quoted form
        ("sim.groups", "['policy', 'history']", ["policy", "history"]),
        ("sim.gravity", "0,0,-1.6", (0.0, 0.0, -1.6)),
        ("sim.points", "[[1, 2], [3, 4]]", [[1.0, 2.0], [3.0, 4.0]]),
        ("control.stiffness", "{'joint': 25}", {"joint": 25.0}),
    ],
)
def test_an_override_has_the_type_of_the_field(path, text, expected) -> None:
    value = override(path, text)
    assert value == expected and type(value) is type(expected)
    if isinstance(expected, (list, tuple)):
        assert [type(item) for item in value] == [type(item) for item in expected]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("env.num_envs", "1.5", "int"),
        ("env.num_envs", "1e3", "int"),
        ("env.num_envs", "", "int"),
        ("env.num_envs", "true", "int"),
        ("env.num_envs", "none", "int"),
        ("sim.dt", "abc", "float"),
        ("sim.dt", "0,5", "float"),
        ("sim.dt", "none", "float"),
        ("sim.dt", "nan", "float"),
        ("rewards.positive", "2", "bool (true or false)"),
        ("rewards.positive", "flase", "bool (true or false)"),
        ("control.gear", "big", "float"),
        ("sim.widths", "64,wide", "list of int"),
        ("sim.widths", "64,0.5", "list of int"),
        ("sim.widths", "64,True", "list of int"),
        ("sim.widths", "[64,", "list of int"),
        ("sim.groups", "[1, 2]", "list of str"),
        ("sim.gravity", "0,0", "tuple of 3 float"),
        ("sim.gravity", "0,0,0,0", "tuple of 3 float"),
        ("control.stiffness", "25", "dict such as {'hip': 20.0, 'knee': 30.0}"),
        ("control.stiffness", "{'hip': 'soft'}", "dict such as {'hip': 20.0, 'knee': 30.0}"),
        ("control.stiffness", "{'ankle': 'soft'}", "dict such as {'hip': 20.0, 'knee': 30.0}"),
        ("control.stiffness", "{1: 25.0}", "dict such as {'hip': 20.0, 'knee': 30.0}"),
    ],
)
def test_an_override_of_the_wrong_type_says_what_was_expected_and_found(path, text, expected) -> None:
    assert refusal(path, text) == f"--env.{path}={text}: expected {expected}, got '{text}'"


def test_an_override_reaches_a_key_of_a_dictionary_and_leaves_the_others() -> None:
    cfg = RobotCfg()
    apply_overrides(cfg, {"control.stiffness.hip": "25"}, "env")
    assert cfg.control.stiffness == {"hip": 25.0, "knee": 30.0}
    assert RobotCfg().control.stiffness["hip"] == 20.0


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"control.stiffness": "{'hip': 1}", "control.stiffness.hip": "2"}, {"hip": 2.0}),
        ({"control.stiffness.hip": "2", "control.stiffness": "{'hip': 1}"}, {"hip": 1.0}),
    ],
)
def test_overrides_are_applied_in_the_order_they_are_given(overrides, expected) -> None:
    cfg = RobotCfg()
    apply_overrides(cfg, overrides, "env")
    assert cfg.control.stiffness == expected


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("rewards.scales.feet_airtime", "rewards.scales.feet_air_time"),
        ("feet_air_time", "rewards.scales.feet_air_time"),  # the section was left out
        ("env.dt", "sim.dt"),  # the wrong section
        ("env.num_env", "env.num_envs"),
        ("Env.Num_Envs", "env.num_envs"),
        ("control.stiffness.hips", "control.stiffness.hip"),
    ],
)
def test_a_mistyped_path_names_the_nearest_field_first(path, suggestion) -> None:
    message = refusal(path, "1")
    assert f"there is no field '{path}'; did you mean {suggestion}" in message


@pytest.mark.parametrize(
    "path", ["", ".", "env.", ".env", "env..num_envs", "seed.x", "__class__", "env.__dict__", "_optional"]
)
def test_a_path_that_is_no_field_is_refused(path) -> None:
    assert "there is no field" in refusal(path, "1")


def test_a_new_reward_cannot_be_added_by_override() -> None:
    assert "there is no field" in refusal("rewards.scales.moonwalk", "1.0")


def test_assigning_to_a_section_is_refused_and_lists_its_fields() -> None:
    assert refusal("env", "5") == "--env.env=5: 'env' is a section; its fields are num_envs, length_s"


@pytest.mark.parametrize(
    "annotation", ["str | None", "None | str", "'str | None'", "Optional[str]", str | None, "typing.Optional[str]"]
)
def test_every_spelling_of_an_optional_annotation_is_understood(annotation: object) -> None:
    # As the compiler stores them: text with the future import, an object without.
    section = type("section", (), {"motor": None, "__annotations__": {"motor": annotation}})
    cfg = type("Cfg", (BaseConfig,), {"section": section})()
    apply_overrides(cfg, {"section.motor": "5"}, "env")
    assert cfg.section.motor == "5"  # a str; without the annotation it would be the int
    apply_overrides(cfg, {"section.motor": "null"}, "env")
    assert cfg.section.motor is None


# Suggestions


def test_unrelated_names_are_not_suggested() -> None:
    assert nearest("xyz", ["num_envs", "dt"]) == []
    assert did_you_mean("xyz", ["num_envs", "dt"]) == ""


def test_at_most_n_names_are_suggested_best_first() -> None:
    assert nearest("ab1", ["ab12", "ab1", "ab123"], n=2) == ["ab1", "ab12"]


def test_the_same_last_part_is_nearer_than_a_similar_path() -> None:
    assert nearest("env.dt", ["env.d", "sim.dt"]) == ["sim.dt", "env.d"]


def test_initials_are_found() -> None:
    fields = ["algorithm.lam", "algorithm.learning_rate", "actor.latent_reader"]
    assert nearest("algorithm.lr", fields)[0] == "algorithm.learning_rate"
    assert "actor.latent_reader" not in nearest("algorithm.lr", fields)
