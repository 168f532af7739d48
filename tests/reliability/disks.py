"""Full and broken disks: `python -m tests.reliability.disks PROGRAM [--every=N]`; prints what was found as JSON.

Every call with which a program changes the disk fails once: it is refused (no space left), or the file opens and
refuses what is written to it; and the disk is full from that call on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.reliability.kills import ITERATIONS, Kills
from tests.reliability.programs import Disk, Ended, all_checkpoints, one_line_error, run, same, training

FAULTS = ("refuse", "write", "full")


def fail_in(kills: Kills, main: Any, argv: list[str], below: Path, fault: str, number: int) -> Ended:
    """Run with a fault in a call; traceback, hang or another code than 0 and 2 is wrong."""
    ended = run(main, argv, kills.log, before=Disk(below, fault, number).install)
    kills.note(f"{fault}: code {ended.code}")
    good = ended.code == 0 or one_line_error(ended)
    kills.expect(good and "Traceback" not in ended.output, f"{fault} in call {number}", ended)
    left = [path.name for path in below.rglob(".*.tmp")] if below.exists() else []
    kills.expect(not left, f"{fault} in call {number} leaves half files: {left}", ended)
    return ended


def train_on_bad_disks(kills: Kills, every: int, task: str = "go2_flat") -> None:
    """Only a training that cannot begin, or cannot write its last checkpoint, is an error; others learn the same."""
    from legged_gym_ext.scripts import train

    whole, root = kills.root / "whole", kills.root / "logs"
    teacher = []
    if task == "go2_dagger_flat":
        kills.undisturbed(train.main, training(kills.root / "teacher", 1, "go2_ts_flat"), kills.root / "teacher")
        teacher = [f"--teacher={all_checkpoints(kills.root / 'teacher')[-1]}"]
    argv = training(whole, ITERATIONS, task) + teacher
    _, calls = kills.undisturbed(train.main, argv, whole, again=True)
    expected = all_checkpoints(whole)[-1]
    kills.counts["calls"] = calls
    for number in range(1, calls + 1, every):
        for fault in FAULTS:
            ended = fail_in(kills, train.main, training(root, ITERATIONS, task) + teacher, root, fault, number)
            found, where = all_checkpoints(root), f"{fault} in call {number}"
            if ended.code == 0:
                kills.expect(bool(found) and same(found[-1], expected), f"{where}: something else was learnt", ended)
            elif found:
                told = "the training is done, but its last checkpoint is missing" in ended.last_line
                kills.expect(told, f"{where}: an error though there are checkpoints", ended)
                done = run(train.main, [*training(root, ITERATIONS, task), "--resume"], kills.log)
                kills.expect(done.code == 0, f"{where}: the next command failed", done)
                kills.expect(same(all_checkpoints(root)[-1], expected), f"{where}: not what it should be", done)
                kills.note("resumed")
            elif fault != "full":
                # One refused call ends only what has not begun.
                kills.expect("cannot" in ended.last_line, f"{where}: an unclear error", ended)
                kills.note("could not begin")
            shutil.rmtree(root, ignore_errors=True)


def collect_on_bad_disks(kills: Kills, every: int) -> None:
    """A recording that cannot be written is one line, and the same command goes on."""
    from legged_gym_ext.scripts import collect, train

    logs, out = kills.root / "logs", kills.root / "data"
    kills.undisturbed(train.main, training(logs, 2), logs)
    argv = ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--num_envs=4", "--episodes=12"]
    _go_on(kills, collect.main, [*argv, "--rows_per_shard=40", "--headless"], out, every)


def export_on_bad_disks(kills: Kills, every: int) -> None:
    """An export that cannot be written is one line, and the same command works afterwards."""
    from legged_gym_ext.scripts import export, train

    logs, out = kills.root / "logs", kills.root / "exported"
    kills.undisturbed(train.main, training(logs, 2), logs)
    _go_on(kills, export.main, ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--headless"], out, every)


def _go_on(kills: Kills, main: Any, argv: list[str], out: Path, every: int) -> None:
    _, calls = kills.undisturbed(main, argv, out, again=True)
    kills.counts["calls"] = calls
    for number in range(1, calls + 1, every):
        for fault in FAULTS:
            shutil.rmtree(out, ignore_errors=True)
            ended = fail_in(kills, main, argv, out, fault, number)
            kills.expect(ended.code == 2, f"{fault} in call {number}: no error", ended)
        done = run(main, argv, kills.log)
        kills.expect(done.code == 0, f"call {number}: the next command failed", done)
        kills.note("next commands that worked")


PROGRAMS = {
    "train": train_on_bad_disks,
    "dagger": lambda kills, every: train_on_bad_disks(kills, every, "go2_dagger_flat"),
    "collect": collect_on_bad_disks,
    "export": export_on_bad_disks,
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th call")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), 0, 0)
        begin = time.monotonic()
        PROGRAMS[args.program](kills, args.every)
    kills.counts["minutes"] = round((time.monotonic() - begin) / 60.0)
    print(json.dumps({"program": args.program, "counts": kills.counts, "wrong": kills.wrong}, indent=1))
    sys.exit(1 if kills.wrong else 0)


if __name__ == "__main__":
    main()
