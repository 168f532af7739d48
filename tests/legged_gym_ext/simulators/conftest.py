"""The fixture of the tests that every engine must pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from legged_gym_ext.simulators.base import Simulator
from tests.engines import ENGINES, make_engine


@pytest.fixture(params=ENGINES)
def make(request, monkeypatch) -> Callable[..., Simulator]:
    """Makes simulators of each engine: `make(num_envs, section__field=value)`."""
    return partial(make_engine, request.param, monkeypatch)
