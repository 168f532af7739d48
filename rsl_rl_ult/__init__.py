"""Privileged-learning algorithms for legged robots, as a plugin for rsl_rl hosts.

`register()` makes the class names known to a host that looks them up by name; hosts that take "module:Class" need no
registration.
"""

from __future__ import annotations

from types import ModuleType

__version__ = "0.1.0"


def register(runner_module: ModuleType | str | None = None, prefix: str = "") -> list:
    """See `rsl_rl_ult.hosts.register.register`; imported only now, so that importing this package costs nothing."""
    from rsl_rl_ult.hosts.register import register as register_names

    return register_names(runner_module, prefix)
