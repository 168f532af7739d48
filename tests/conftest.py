"""Fixtures of several files: Isaac Gym's recording double (isaac_double.py)."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=("tree", "alphabetical", "reversed"))
def gym(request, monkeypatch) -> Any:
    """The double, with every order of joints and bodies."""
    from tests.isaac_double import install

    return install(monkeypatch, request.param)


@pytest.fixture
def plain(monkeypatch) -> Any:
    """The double with joints and bodies in alphabetical order, where the order is not the point."""
    from tests.isaac_double import install

    return install(monkeypatch)
