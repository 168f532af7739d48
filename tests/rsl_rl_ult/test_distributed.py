"""Two processes over gloo learn what one process learns from the joined batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from legged_gym_ext.utils.distributed import process_seed
from rsl_rl_ult.distributed import Processes

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "two_processes.py"
TOLERANCE = 2e-6  # sums over halves are rounded in another order


@pytest.mark.parametrize("method", ["PPO_TS", "PPO_CTS", "PPO_SITT", "PPO_ULT", "DAgger"])
def test_two_processes_make_the_update_of_one_with_the_joined_batch(method, tmp_path):
    one, two = tmp_path / "one.pt", tmp_path / "two.pt"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for start, out in (([], one), (launch, two)):
        command = [sys.executable, *start, str(SCRIPT), method, str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    expected, found = torch.load(one), torch.load(two)
    assert found["learning_rate"] == expected["learning_rate"]
    assert method == "DAgger" or found["learning_rate"] != 1e-3  # the schedule moved, alike in both
    assert found["weights"].keys() == expected["weights"].keys()
    for name, value in expected["weights"].items():
        # Networks, and mean, deviation and count of the normalisers.
        assert torch.allclose(found["weights"][name].double(), value.double(), rtol=0.0, atol=TOLERANCE), name
    assert found["weights"]["normalizers.actor.count"].item() == 3 * 6 * 8


def test_one_process_standardises_like_torch():
    x = torch.randn(50)
    assert torch.equal(Processes().standardize(x), (x - x.mean()) / (x.std() + 1e-8))


def test_no_two_processes_of_neighbouring_seeds_share_a_seed():
    seeds = [process_seed(seed, rank) for seed in range(50) for rank in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert [process_seed(seed, 0) for seed in range(50)] == list(
        range(50)
    )  # one process alone keeps the seed it was given
    assert process_seed(3, 2) == process_seed(3, 2)
