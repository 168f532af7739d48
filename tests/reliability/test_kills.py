"""Programs that are killed or meet a bad disk; see kills.py and disks.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.reliability import FAULTS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def report(module: str, *args: str) -> dict[str, Any]:
    """What a module of this folder prints; in a process of its own, which nothing but imports has happened in."""
    command = [sys.executable, "-m", f"tests.reliability.{module}", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600 * 6)
    assert done.stdout.strip(), done.stderr[-3000:]
    return json.loads(done.stdout[done.stdout.index("{") :])


@pytest.mark.parametrize(("program", "share"), [("train", 1.0), ("collect", 1.0), ("export", 0.4), ("sweep", 0.2)])
def test_after_a_kill_the_next_command_works_and_nothing_whole_is_lost(program, share):
    count = max(1, round(FAULTS * share))
    found = report("kills", program, f"--count={count}")
    assert found["wrong"] == [] and found["counts"]["killed"] >= count, found


@pytest.mark.parametrize("program", ["train", "dagger", "collect", "export"])
def test_a_bad_disk_is_one_line_and_the_training_goes_on(program):
    every = max(1, 30 // FAULTS)  # 30 from the environment: every call
    found = report("disks", program, f"--every={every}")
    assert found["wrong"] == [], found
