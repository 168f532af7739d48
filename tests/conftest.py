"""Fixtures of several files, and where parallel workers run."""

from __future__ import annotations

import os
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keep each parallel worker, and what it starts, to one core: threads of several would wait for each other."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


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
