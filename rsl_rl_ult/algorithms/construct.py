"""From the configuration of rsl-rl-lib 5.x to networks and algorithms, with one clear error per mistake."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.storage import RolloutStorage

PLAIN_ACTORS = ("MLPModel", "rsl_rl.models:MLPModel", "RNNModel", "rsl_rl.models:RNNModel", "ActorCritic")
"""Names under `actor` that leave the choice of the network to the algorithm."""

OF_OTHER_MODELS = ("rnn_type", "rnn_hidden_dim", "rnn_num_layers", "cnn_cfg", "stochastic", "state_dependent_std")
"""Options of upstream's models that our networks do not have; ignored, with a line where they were set."""


def log_once(line: str) -> None:
    """Print a line about how a host's configuration was read, in the first process of a training only."""
    if os.environ.get("RANK", "0") == "0":
        print(f"rsl_rl_ult: {line}")


def resolve(name: Any, home: str = "") -> Any:
    """The object called "module:name" (or module.name); a bare name is looked up in the module `home`.

    What is not a string is returned as it is.
    """
    if not isinstance(name, str):
        return name
    if home and ":" not in name and "." not in name:
        name = f"{home}:{name}"
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        found = importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise ValueError(f"cannot find '{name}': expected \"module:name\" ({error})") from error
    if not hasattr(found, attribute):
        near = difflib.get_close_matches(attribute, dir(found), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(
            f"cannot find '{name}': {hint}expected \"module:name\" (module '{module}' has no attribute '{attribute}')"
        )
    return getattr(found, attribute)


def refuse_code(name: Any) -> None:
    """Refuse a name from a file that `resolve` would import a module for, unless it is known already.

    An import runs the module: a stranger's checkpoint must not choose it. Methods of a user are imported before.

    Raises:
        ValueError: such a name.
    """
    module = str(name).partition(":")[0] if ":" in str(name) else str(name).rpartition(".")[0]
    if module and module.partition(".")[0] not in ("rsl_rl_ult", "rsl_rl") and module not in sys.modules:
        raise ValueError(f"the teacher's settings name code of the module '{module}' ({name}): import it first")


def option_names(function: Any) -> set:
    """Names of the options that `function` and, where it passes **options on, its base classes take."""
    names: set = set()
    for cls in inspect.getmro(function) if inspect.isclass(function) else [function]:
        target = cls.__dict__.get("__init__") if inspect.isclass(cls) else cls
        if target is None or target is object.__init__:
            continue
        parameters = inspect.signature(target).parameters.values()
        names |= {p.name for p in parameters if p.default is not p.empty}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names


def check_options(cls: type, options: Mapping[str, Any], section: str, others: Sequence[str] = ()) -> None:
    """Refuse options that `cls` does not have, naming the nearest one; a host takes `others` in this section, too."""
    known = option_names(cls)
    for name in options:
        if name not in known:
            known |= set(others)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise ValueError(f"{section} has no option '{name}' for {cls.__name__}{hint}; known: {sorted(known)}")


def observation_sets(
    observations: Mapping[str, torch.Tensor], obs_groups: Mapping[str, Sequence[str]], needed: Sequence[str]
) -> dict[str, list[str]]:
    """Observation set -> groups for the `needed` sets (and `history` when configured), all of them checked.

    A set that is not configured reads the group of the same name; `actor` reads `policy`, and `privileged` what the
    critic reads.
    """
    available = list(observations.keys())
    sets = {}
    for name in [*needed, *(("history",) if "history" in obs_groups else ())]:
        default = [group for group in ((name, "policy") if name == "actor" else (name,)) if group in available][:1]
        if name == "privileged" and not default and "privileged" not in obs_groups:
            default = sets["critic"]
            log_once(f"no observation group 'privileged': the privileged vector is what the critic reads, {default}")
        groups = list(obs_groups.get(name, default))
        if not groups:
            raise ValueError(
                f"observation set '{name}' is missing: name its groups under obs_groups.{name}; the environment "
                f"provides {available}"
            )
        for group in groups:
            if group not in available:
                raise ValueError(
                    f"observation set '{name}' names the group '{group}', which the environment does not provide; it "
                    f"provides {available}"
                )
            dims, wanted = observations[group].dim(), 3 if name == "history" else 2
            if dims != wanted:
                shape = "(N, T, D)" if wanted == 3 else "(N, D)"
                raise ValueError(
                    f"observation group '{group}' has shape {tuple(observations[group].shape)}, set '{name}' expects "
                    f"{shape}"
                )
        sets[name] = groups
    return sets


def network_options(actor: Mapping[str, Any], critic: Mapping[str, Any]) -> dict[str, Any]:
    """Options of our networks from the `actor` and `critic` sections of rsl-rl-lib 5.x.

    `hidden_dims`, `activation`, `obs_normalization` and `distribution_cfg` mean what they mean there, and
    `distribution_cfg.class_name` may also be `CategoricalDistribution`; whatever else stands under `actor` is an option
    of the network class.
    """
    actor, critic = _without_other_models("actor", actor), _without_other_models("critic", critic)
    actor.pop("class_name", None)
    for name in ("distribution_cfg", "init_noise_std", "noise_std_type"):  # of stochastic models; a critic is none
        critic.pop(name, None)
    if critic.pop("class_name", "MLPModel") not in PLAIN_ACTORS:
        raise ValueError("critic.class_name: our networks have an MLP critic; expected MLPModel")
    options = dict(actor)
    for section, source in (("actor", actor), ("critic", critic)):
        for name in ("hidden_dims", "obs_normalization"):
            if name in source:
                options.pop(name, None)
                options[f"{section}_{name}"] = source[name]
    distribution = dict(options.pop("distribution_cfg", None) or {})
    kind = distribution.pop("class_name", "GaussianDistribution")
    name = str(kind).split(":")[-1].split(".")[-1]
    if name not in ("GaussianDistribution", "CategoricalDistribution"):
        raise ValueError(
            f"actor.distribution_cfg.class_name={kind}: expected GaussianDistribution or CategoricalDistribution"
        )
    if name == "CategoricalDistribution":
        options["distribution"] = "categorical"
    names = {
        "init_std": "init_noise_std",
        "std_type": "noise_std_type",
        "learn_std": "learn_std",
        "std_range": "noise_std_range",
    }
    for name, value in distribution.items():
        if name not in names:
            raise ValueError(f"actor.distribution_cfg has no option '{name}' here; known: {sorted(names)}")
        options[names[name]] = value
    if "activation" in critic:
        options["critic_activation"] = critic["activation"]
    for name in critic:
        if name not in ("hidden_dims", "obs_normalization", "activation"):
            raise ValueError(f"critic has no option '{name}'; known: hidden_dims, activation, obs_normalization")
    return options


def _without_other_models(section: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a model without those of recurrent and convolutional ones; lost ones are logged, or refused."""
    if options.get("cnn_cfg") or options.get("state_dependent_std"):
        name = "cnn_cfg" if options.get("cnn_cfg") else "state_dependent_std"
        raise ValueError(f"{section}.{name}: these networks read vectors and learn one deviation per action; remove it")
    if options.get("rnn_type"):
        log_once(
            f"{section}.rnn_type={options['rnn_type']} and its sizes are ignored: histories are the method's own "
            "business"
        )
    return {name: value for name, value in options.items() if name not in OF_OTHER_MODELS}


UNSUPPORTED = {
    "rnd_cfg": "random network distillation is not part of these algorithms; remove it, or train with rsl-rl-lib's PPO",
    "share_cnn_encoders": "these networks have no CNN; remove it",
}
"""Options of rsl-rl-lib's PPO that are an error here, and why; None and False are accepted."""

COMPILE_MODES = ("default", "max-autotune-no-cudagraphs")
"""Modes of `torch.compile` that rsl-rl-lib takes as well; those with CUDA graphs overwrite what was returned before."""


def refuse_unsupported(cfg: Mapping[str, Any]) -> None:
    """Options of rsl-rl-lib that these algorithms do not have are an error, never silently ignored."""
    for name, reason in UNSUPPORTED.items():
        if cfg["algorithm"].get(name):
            raise ValueError(f"algorithm.{name}: {reason}")


def compile_mode(cfg: Mapping[str, Any], cls: Any) -> str | None:
    """The mode of `torch.compile` that a host asks for, or None.

    Raises:
        ValueError: it is not possible with this mode, version of torch or algorithm `cls`.
    """
    mode = cfg.get("torch_compile_mode")
    if not mode:
        return None
    if mode not in COMPILE_MODES:
        raise ValueError(f"torch_compile_mode={mode}: expected None or one of {', '.join(COMPILE_MODES)}")
    if not hasattr(torch, "compile"):
        raise ValueError(
            f"torch_compile_mode={mode} needs torch 2.0 or newer, found {torch.__version__}: set it to None"
        )
    if not cls.can_compile:
        raise ValueError(f"torch_compile_mode: {cls.__name__} cannot be compiled; set it to None")
    return mode


def network_sizes(cls: Any, dims: Mapping[str, int]) -> dict[str, int]:
    """Sizes that the network class of algorithm `cls` takes by name, from the columns of each observation set."""
    return {f"num_{name}_obs": dims[name] for name in cls.needed_sets}


def make_network(cls: Any, obs: Mapping[str, torch.Tensor], num_actions: int, cfg: Mapping[str, Any]) -> tuple:
    """The network that `actor.class_name` names for algorithm `cls`, and the observation sets it reads."""
    sets = observation_sets(obs, cfg.get("obs_groups", {}), cls.needed_sets)
    name, network_class = cfg["actor"].get("class_name", PLAIN_ACTORS[0]), cls.network_class
    if name not in (*PLAIN_ACTORS, network_class.__name__):
        network_class = resolve(name, "rsl_rl_ult.modules")
    known = cls.network_class, *getattr(cls, "other_networks", ())
    if not issubclass(network_class, known):
        names = " or ".join(one.__name__ for one in known)
        raise ValueError(f"actor.class_name '{name}': {cls.__name__} needs {names}")
    options = network_options(cfg["actor"], cfg["critic"])
    check_options(network_class, options, "actor")
    dims = {set_name: sum(obs[group].shape[-1] for group in groups) for set_name, groups in sets.items()}
    network = network_class(**network_sizes(cls, dims), num_actions=num_actions, **options)
    cls.check_sets(network, sets, obs)
    return network, sets


def make_algorithm(obs: Mapping[str, torch.Tensor], env: Any, cfg: Mapping[str, Any], device: str) -> Any:
    """The algorithm that `algorithm.class_name` names, with network, storage and symmetry.

    Nothing in `cfg` is changed but a missing `algorithm.rnd_cfg`, which becomes None.
    """
    refuse_unsupported(cfg)
    if "rnd_cfg" not in cfg["algorithm"]:
        cfg["algorithm"]["rnd_cfg"] = None  # runners of 4.0 to 5.4 look it up there
    cls: Any = resolve(cfg["algorithm"]["class_name"], "rsl_rl_ult.algorithms")
    mode = compile_mode(cfg, cls)
    options = cls.host_options(cfg)
    del options["class_name"]
    symmetry_cfg = options.pop("symmetry_cfg", None)
    for name in UNSUPPORTED:
        options.pop(name, None)
    check_options(cls, options, "algorithm")
    network, sets = make_network(cls, obs, env.num_actions, cfg)
    storage = RolloutStorage(cfg["num_steps_per_env"], env.num_envs, device, cls.context(network, sets))
    symmetry = None
    if symmetry_cfg:
        symmetry = Symmetry(
            env, **{**symmetry_cfg, "data_augmentation_func": resolve(symmetry_cfg["data_augmentation_func"])}
        )
        symmetry.set_container(obs)
    made = cls(network, storage, sets, device=device, symmetry=symmetry, multi_gpu_cfg=cfg.get("multi_gpu"), **options)
    if mode is not None:  # the networks' pass in gradient steps; acting and exporting stay as they are
        made.evaluate = torch.compile(made.evaluate, mode=mode)
    return made
