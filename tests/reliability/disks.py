"""Full and broken disks: `python -m tests.reliability.disks PROGRAM [--every=N]`; prints what was found as JSON.

`--json=FILE` adds the counts to that file after each call (`record.py`); `--first=N` goes on with the N-th call.

Every call with which a program changes the disk fails once: it is refused (no space left), or the file opens and
refuses what is written to it; and the disk is full from that call on.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.reliability import record
from tests.reliability.kills import ITERATIONS, Kills, sweep_of
from tests.reliability.programs import Disk, Ended, all_checkpoints, fork_scripts, one_line_error, run, same, training

FAULTS = ("refuse", "write", "full")


def fail_in(
    kills: Kills,
    main: Any,
    argv: list[str],
    below: Path,
    fault: str,
    number: int,
    before: Callable[[], None] = lambda: None,
    code_1: bool = False,
) -> Ended:
    """Run with a fault in a call; traceback, hang or another code than 0 and 2 (with `code_1`: and 1) is wrong."""
    disk = Disk(below, fault, number)
    ended = run(main, argv, kills.log, before=lambda: (disk.install(), before()))
    kills.note("runs")
    kills.note("goes on" if ended.code == 0 else "one line")
    good = ended.code == 0 or one_line_error(ended) or (code_1 and ended.code == 1)
    kills.expect(good and "Traceback" not in ended.output, f"{fault} in call {number}", ended)
    left = [path.name for path in below.rglob(".*.tmp")] if below.exists() else []
    kills.expect(not left, f"{fault} in call {number} leaves half files: {left}", ended)
    return ended


def numbers(kills: Kills, calls: int, chosen: argparse.Namespace) -> Iterator[int]:
    """Calls that fail, one after the other; what was counted is saved after each."""
    kills.counts["calls"] = calls if chosen.first == 1 else 0
    for number in range(chosen.first, calls + 1, chosen.every):
        yield number
        kills.note("tried")
        kills.goes_on()


def train_on_bad_disks(kills: Kills, chosen: argparse.Namespace, task: str = "go2_flat") -> None:
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
    for number in numbers(kills, calls, chosen):
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


def collect_on_bad_disks(kills: Kills, chosen: argparse.Namespace) -> None:
    """A recording that cannot be written is one line, and the same command goes on."""
    from legged_gym_ext.scripts import collect, train

    logs, out = kills.root / "logs", kills.root / "data"
    kills.undisturbed(train.main, training(logs, 2), logs)
    argv = ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--num_envs=4", "--episodes=12"]
    _go_on(kills, collect.main, [*argv, "--rows_per_shard=40", "--headless"], out, chosen)


def export_on_bad_disks(kills: Kills, chosen: argparse.Namespace) -> None:
    """An export that cannot be written is one line, and the same command works afterwards."""
    from legged_gym_ext.scripts import export, train

    logs, out = kills.root / "logs", kills.root / "exported"
    kills.undisturbed(train.main, training(logs, 2), logs)
    _go_on(kills, export.main, ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--headless"], out, chosen)


def _go_on(kills: Kills, main: Any, argv: list[str], out: Path, chosen: argparse.Namespace) -> None:
    _, calls = kills.undisturbed(main, argv, out, again=True)
    files = _files(out)
    for number in numbers(kills, calls, chosen):
        for fault in FAULTS:
            shutil.rmtree(out, ignore_errors=True)
            ended = fail_in(kills, main, argv, out, fault, number)
            # What is not needed may be refused: a folder that is there already.
            whole = ended.code == 2 or _files(out) == files
            kills.expect(whole, f"{fault} in call {number}: no error, and {_files(out)}", ended)
        done = run(main, argv, kills.log)
        kills.expect(done.code == 0, f"call {number}: the next command failed", done)
        kills.note("next commands that worked")


def _files(folder: Path) -> dict[str, bool]:
    """Names of all files below a folder, and whether they hold something."""
    found = sorted(path for path in folder.rglob("[!.]*") if path.is_file())  # without locks
    return {str(path.relative_to(folder)): path.stat().st_size > 0 for path in found}


def sweep_on_bad_disks(kills: Kills, chosen: argparse.Namespace) -> None:
    """A table that cannot be written is one line or failed cells; the same command completes it.

    The disk fails for the sweep itself; its trainings are programs of their own, and tested as such.
    """
    from legged_gym_ext.reports.sweep import Table
    from legged_gym_ext.scripts import sweep

    root = kills.root / "table"
    argv = sweep_of(root)

    def fork() -> None:
        fork_scripts(sweep, kills.log)

    _, calls = kills.undisturbed(sweep.main, argv, root, again=True, before=fork)
    for number in numbers(kills, calls, chosen):
        for fault in FAULTS:
            shutil.rmtree(root, ignore_errors=True)
            fail_in(kills, sweep.main, argv, root, fault, number, before=fork, code_1=True)
        done = run(sweep.main, argv, kills.log, before=fork)
        kills.expect(done.code == 0, f"call {number}: the next command failed", done)
        kills.expect(Table(root, None).state("go2_flat", 1).iterations == ITERATIONS, f"call {number}: not completed")
        kills.note("next commands that worked")


PROGRAMS: dict[str, Any] = {
    "train": train_on_bad_disks,
    "dagger": functools.partial(train_on_bad_disks, task="go2_dagger_flat"),
    "collect": collect_on_bad_disks,
    "export": export_on_bad_disks,
    "sweep": sweep_on_bad_disks,
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th call")
    parser.add_argument("--first", type=int, default=1, help="call to begin with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the counts to this file")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save = functools.partial(record.add, args.json, "disks", args.program) if args.json else None
        kills = Kills(Path(folder), 0, 0, save)
        begin = time.monotonic()
        PROGRAMS[args.program](kills, args)
    kills.counts["minutes"] = round((time.monotonic() - begin) / 60.0)
    print(json.dumps({"program": args.program, "counts": kills.counts, "wrong": kills.wrong}, indent=1))
    sys.exit(1 if kills.wrong else 0)


if __name__ == "__main__":
    main()
