"""Makes our class names known to a host's runner, whichever generation it is of."""

from __future__ import annotations

import importlib
from types import CodeType, ModuleType
from typing import Iterator

from rsl_rl_ult.algorithms import METHODS
from rsl_rl_ult.algorithms.construct import log_once
from rsl_rl_ult.hosts.generation import rsl_rl_generation

RUNNER_MODULE = "rsl_rl.runners.on_policy_runner"
ALGORITHMS = tuple(name for name in METHODS if name != "PPO")  # that name is the host's
POLICIES = tuple(dict.fromkeys(METHODS[name].network_class.__name__ for name in ALGORITHMS))
PACKAGES = {"algorithms": ALGORITHMS, "modules": POLICIES}
"""Package of rsl_rl in which runners that look names up find them -> names."""


def register(runner_module: ModuleType | str | None = None, prefix: str = "") -> list:
    """Make `ActorCriticULT`, `PPO_ULT` and the others resolve as bare names in a runner's configuration.

    In a fork, call it in the last line of `envs/__init__.py`: it imports the runner, which in some forks imports the
    environments.

    Args:
        runner_module: where the runner class lives, as a module or its name, for forks that keep it in a package of
            their own (humanoid-gym: "humanoid.algo.ppo.on_policy_runner"); rsl_rl's own by default.
        prefix: put before every name, for hosts that have classes of our names: "Ult" gives UltPPO_TS,
            UltActorCriticTS and so on.

    Returns:
        The names that were registered. Names under which the host has other classes stay the host's, and one line says
        so. Calling it again changes nothing.

    Raises:
        ValueError: the host is of a generation that accepts no foreign classes, hides another copy of rsl_rl, or is
            still being imported; or `prefix` does not make names.
        ModuleNotFoundError: there is no such module.
    """
    if prefix and not prefix.isidentifier():
        raise ValueError(f"register(prefix={prefix!r}): expected the beginning of a class name, such as 'Ult'")
    if runner_module is None:
        _check_copies()
    module = _import(RUNNER_MODULE if runner_module is None else runner_module)
    _check_complete(module)
    classes = _classes_for(host_of(module), module)
    targets: list = [(module, POLICIES + ALGORITHMS)]
    package = module.__name__.split(".")[0]
    if package == "rsl_rl":
        targets += [(found, names) for part, names in PACKAGES.items() for found in _optional(f"rsl_rl.{part}")]
    taken: dict = {}  # name -> module of the class that has it
    for target, names in targets:
        for name in names:
            found = getattr(target, prefix + name, classes[name])
            if found is not classes[name]:
                taken[name] = getattr(found, "__module__", target.__name__)
    free = [name for name in (*POLICIES, *ALGORITHMS) if name not in taken]
    for target, names in targets:
        for name in names:
            if name in free:
                setattr(target, prefix + name, classes[name])
    if taken:
        log_once(_what_is_left_out(taken, prefix))
    return [prefix + name for name in free]


def _what_is_left_out(taken: dict, prefix: str) -> str:
    """The line about names that stay the host's."""
    theirs = ", ".join(f"{prefix}{name} ({module})" for name, module in taken.items())
    other = "Ult" if prefix != "Ult" else "Our"
    return (
        f"register() left out names under which this host has classes of its own: {theirs}; for ours call "
        f"register(prefix='{other}') and write {other}{next(iter(taken))} and so on"
    )


def host_of(module: ModuleType) -> str:
    """Which contract the runner in `module` follows: "v1", "v2", "v3" or "v5".

    Read off the code: runners of 1.0.2 ask for `policy_class_name`, since 4.0 for `construct_algorithm`, those of 3.x
    for `obs_groups`.
    """
    runners = [value for name, value in vars(module).items() if isinstance(value, type) and name.endswith("Runner")]
    words = {word for runner in runners for cls in runner.__mro__ for word in _words(cls)}
    for word, host in (("policy_class_name", "v1"), ("construct_algorithm", "v5"), ("obs_groups", "v3")):
        if word in words:
            return host
    if not runners:
        raise ValueError(
            f"module {module.__name__} has no runner class: name the module in which the host's OnPolicyRunner is "
            "defined"
        )
    return "v2"


def _words(cls: type) -> Iterator[str]:
    """Names and strings in the methods of a class."""
    codes: list = [value.__code__ for value in vars(cls).values() if hasattr(value, "__code__")]
    while codes:
        code = codes.pop()
        yield from code.co_names
        for constant in code.co_consts:
            if isinstance(constant, str):
                yield constant
            elif isinstance(constant, CodeType):
                codes.append(constant)


def _classes_for(host: str, module: ModuleType) -> dict:
    """Name -> class for a host's contract."""
    if host == "v2":
        found = rsl_rl_generation()
        version = found.version or "2.x" if module.__name__.startswith("rsl_rl.") else "2.x"
        raise ValueError(
            f"{module.__name__} is of rsl_rl {version}, which cannot be extended from outside: use rsl-rl-lib 3.0 or "
            "newer, or a 1.0.2 fork"
        )
    if host == "v5":
        networks = {METHODS[name].network_class.__name__: METHODS[name].network_class for name in ALGORITHMS}
        return {**networks, **{name: METHODS[name] for name in ALGORITHMS}}
    source = importlib.import_module(f"rsl_rl_ult.hosts.rsl_rl_{host}")
    return {name: getattr(source, name) for name in POLICIES + ALGORITHMS}


def _import(module: ModuleType | str) -> ModuleType:
    if isinstance(module, ModuleType):
        return module
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"cannot import the runner's module '{module}' ({error}): install rsl-rl-lib or the fork's rsl_rl, or give "
            "register() the module in which your OnPolicyRunner is defined",
            name=error.name,
        ) from error
    except ImportError as error:  # "cannot import name ... from partially initialized module"
        raise ImportError(
            f"the runner's module '{module}' cannot be imported yet ({error}): in some forks it imports the "
            "environments, so call register() in the last line of envs/__init__.py",
            name=error.name,
        ) from error


def _optional(name: str) -> list:
    try:
        return [importlib.import_module(name)]
    except ModuleNotFoundError:
        return []


def _check_complete(module: ModuleType) -> None:
    """A module that is being imported further up has no runner yet."""
    if getattr(module.__spec__, "_initializing", False):
        raise ValueError(
            f"{module.__name__} is still being imported, and imports what calls register(): call register() in the "
            "last line of the fork's envs/__init__.py, or in its train.py and play.py after their imports"
        )


def _check_copies() -> None:
    """A library that hides a fork is found before its runner fails on the fork's configuration."""
    found = rsl_rl_generation()
    if found.shadowed:
        raise ValueError(
            f"rsl_rl is imported from {found.path} ({found.version or found.generation}) and hides another copy in "
            f"{found.shadowed[0]}: uninstall the one that you do not want (pip uninstall rsl-rl-lib), or call "
            f"register('{RUNNER_MODULE}') to use it as it is"
        )
