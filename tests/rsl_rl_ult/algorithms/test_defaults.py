"""What a class does without options is what its method's tasks ship, but for what `Method.on` says of a ground."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from legged_gym_ext.envs import methods
from legged_gym_ext.envs.go2.go2_config import GO2
from legged_gym_ext.utils.config import to_dict, update_from_dict
from rsl_rl_ult.algorithms import construct

METHODS = (methods.TS, methods.CTS, methods.RMA, methods.DAGGER, methods.SITT, methods.ULT)
SYMMETRY = "symmetry_cfg"  # names a function of the robot: no class can have it by default


def defaults(cls: type) -> dict[str, Any]:
    """Options of `cls` and, where it passes **options on, of its bases; the most derived class decides the default."""
    found: dict[str, Any] = {}
    for base in inspect.getmro(cls):
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        for parameter in parameters:
            if parameter.default is not parameter.empty:
                found.setdefault(parameter.name, parameter.default)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def different(options: dict[str, Any], known: dict[str, Any]) -> dict[str, tuple]:
    """Options that are not the default: name -> both."""
    return {n: (v, known[n]) for n, v in options.items() if plain(known.get(n, "unknown")) != plain(v)}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_options_of_a_method_are_the_defaults_of_its_classes(method):
    cfg = to_dict(method.cfg())
    algorithm = construct.resolve(cfg["algorithm"].pop("class_name"))
    network = construct.resolve(cfg["actor"]["class_name"], "rsl_rl_ult.modules")
    assert cfg["algorithm"].pop(SYMMETRY)
    assert different(cfg["algorithm"], defaults(algorithm)) == {}
    options = construct.network_options(cfg["actor"], cfg["critic"])
    assert options.pop("critic_activation") == options["activation"]  # which None means
    assert different(options, defaults(network)) == {}


def test_a_default_that_differs_would_be_noticed():
    cfg = to_dict(methods.ULTFaithfulCfg())
    network = construct.resolve(cfg["actor"]["class_name"], "rsl_rl_ult.modules")
    found = different(construct.network_options(cfg["actor"], cfg["critic"]), defaults(network))
    assert set(found) == {"critic_activation", "width", "feedforward_ratio", "token_hidden_dims", "head_reads_frame"}
    assert found["width"] == (128, 64) and found["head_reads_frame"] == (False, True)


@pytest.mark.parametrize("ground", methods.GROUNDS, ids=lambda ground: ground.name or "rough")
@pytest.mark.parametrize("method", [m for m in methods.METHODS if m.on], ids=lambda method: method.name)
def test_runs_from_before_a_ground_had_settings_of_its_own_can_be_read(method, ground):
    """A run's settings replace those of its task: those of the method itself must be of the same types."""
    cfg = GO2.train_cfg(method, ground)()
    update_from_dict(cfg, to_dict(method.cfg()))
    assert to_dict(cfg)["algorithm"] == to_dict(method.cfg())["algorithm"]
