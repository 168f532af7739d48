"""The fixture of the tests that every engine must pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from legged_gym_ext.simulators.base import Simulator
from tests.engines import maker, parameters


@pytest.fixture(params=parameters())
def make(request, monkeypatch) -> Callable[..., Simulator]:
    """Makes simulators of each engine: `make(num_envs, section__field=value)`."""
    return maker(request, monkeypatch)
