"""What the policy of rsl-rl-lib 3.x makes of observation groups; benchmarks/host_matrix.py trains under its runner."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.hosts import rsl_rl_v3
from tests.learning import ACTIONS, ToyEnv

GROUPS = {"policy": ["policy"], "critic": ["critic"], "privileged": ["privileged"], "history": ["window"]}


def observations() -> dict[str, torch.Tensor]:
    """Of an environment that brings windows of 4 frames."""
    return {**dict(ToyEnv().get_observations().items()), "window": torch.zeros(8, 4, 5)}


def test_the_windows_of_an_environment_are_read():
    policy = rsl_rl_v3.ActorCriticTS(observations(), GROUPS, ACTIONS, history_length=4)
    assert policy.sets["history"] == ["window"]


def test_windows_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"holds windows \(4, 5\), the student reads \(5, 5\)"):
        rsl_rl_v3.ActorCriticTS(observations(), GROUPS, ACTIONS, history_length=5)
