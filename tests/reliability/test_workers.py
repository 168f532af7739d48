"""A process of a torchrun that is killed: the other one ends with one line, and the checkpoint is whole."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from legged_gym_ext.scripts import train
from tests.reliability import FAULTS
from tests.reliability.programs import all_checkpoints, learnt, run, training

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def workers(parent: int) -> dict[int, int]:
    """Rank -> process of the workers that a torchrun has started."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            rank = re.search(rb"\0RANK=(\d+)\0", (path / "environ").read_bytes())
        except OSError:
            continue
        if int(status[1]) == parent and rank is not None:
            found[int(rank[1])] = int(path.name)
    return found


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("wait", [0.0, 1.3, 2.9][: max(1, FAULTS // 3)])
def test_the_other_process_of_a_killed_one_ends_with_one_line_within_a_minute(tmp_path, killed, wait):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = str(ROOT / "legged_gym_ext/scripts/train.py")
    process = subprocess.Popen(
        [sys.executable, *launch, script, *training(tmp_path, 100000, save_interval=2)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("it 3/"):
            break
    time.sleep(wait)
    os.kill(workers(process.pid)[killed], signal.SIGKILL)
    begin = time.monotonic()
    rest = process.stdout.read()
    process.wait(timeout=60)
    assert time.monotonic() - begin < 60.0
    own = [line for line in rest.splitlines() if line.startswith(("error: ", "terminated"))]
    assert len(own) == 1, rest
    # torchrun itself logs the death of its worker; of ours there is no traceback.
    assert 'train.py", line' not in rest, rest
    found = all_checkpoints(tmp_path)
    assert found and all(learnt(path) for path in found)
    done = run(train.main, [*training(tmp_path, len(found) * 2 + 2), "--resume"], tmp_path / "resumed.txt")
    assert done.code == 0 and "resumed from" in done.output, done.output
