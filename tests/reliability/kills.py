"""SIGKILL at random moments: `python -m tests.reliability.kills PROGRAM --count=N`; prints what was found as JSON.

`--json=FILE` adds the counts to that file after each kill (`record.py`), so that runs add up and may be ended any time.

Half of the kills come after a random time, half in a random one of the calls with which a program changes the disk.
After each kill the next command has to work, nothing whole may be lost, and what is learnt in the end has to be, bit
for bit, what an undisturbed training learns.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability import record
from tests.reliability.programs import (
    Disk,
    Ended,
    all_checkpoints,
    fork_scripts,
    forked,
    import_as,
    one_line_error,
    run,
    same,
    training,
)

ITERATIONS = 5


class Kills:
    """Repeats a program, kills it, and looks at what is left.

    Attributes:
        wrong: what should not have been, one line each.
        counts: what happened how often.
    """

    def __init__(self, root: Path, count: int, seed: int, save: Callable[[record.Counts], None] | None = None) -> None:
        """Work in the folder `root`; `save` gets the counts that are new, again and again."""
        self.root, self.count, self.rng = root, count, random.Random(seed)
        self.wrong: list[str] = []
        self._save, self._saved = save, {}
        self.counts: dict[str, int] = {}
        self.log = root / "output.txt"

    def note(self, what: str) -> None:
        """Count an event."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def expect(self, good: bool, what: str, ended: Ended | None = None) -> None:
        """Note what is wrong unless `good`."""
        if not good:
            self.wrong.append(what + ("" if ended is None else f" (code {ended.code}: {ended.output[-300:]})"))
            print(self.wrong[-1], file=sys.stderr, flush=True)
            self.note("wrong")

    def goes_on(self) -> bool:
        """Save the counts, and say whether kills are missing."""
        if self._save is not None:
            self._save({what: number - self._saved.get(what, 0) for what, number in self.counts.items()})
            self._saved = dict(self.counts)
        return self.counts.get("killed", 0) < self.count

    def undisturbed(
        self, main: Any, argv: list[str], below: Path, again: bool = False, before: Callable[[], None] = lambda: None
    ) -> tuple[float, int]:
        """Run once, and `again` without the time that imports take; `before` is called in its process.

        Returns:
            Its seconds, and how often it calls the disk below a folder.
        """
        counted = self.root / "calls.txt"
        done = run(main, argv, self.log, before=lambda: (Disk(below, count_in=counted).install(), before()))
        assert done.code == 0, done.output[-2000:]
        import_as(self.log)
        done = run(main, argv, self.log, before=lambda: (shutil.rmtree(below), before())) if again else done
        assert done.code == 0, done.output[-2000:]
        return done.seconds, int(counted.read_text(encoding="utf-8"))

    def kill(
        self,
        main: Any,
        argv: list[str],
        below: Path,
        seconds: float,
        calls: int,
        before: Callable[[], None] = lambda: None,
    ) -> bool:
        """Run and kill at a random moment; False if it had ended before."""
        if self.rng.random() < 0.5:
            ended = run(main, argv, self.log, kill_after=self.rng.uniform(0.0, seconds), before=before)
        else:
            disk = Disk(below, "kill", self.rng.randint(1, calls))
            ended = run(main, argv, self.log, before=lambda: (disk.install(), before()))
        self.note("killed" if ended.code == -9 else "ended before the kill")
        self.expect(ended.code in (0, -9), "the program failed by itself", ended)
        return ended.code == -9


def kill_trainings(kills: Kills) -> None:
    """Kill trainings and resumed trainings; compare the end with that of one that was never disturbed."""
    from legged_gym_ext.scripts import train

    whole = kills.root / "whole"
    seconds, calls = kills.undisturbed(train.main, training(whole, ITERATIONS), whole, again=True)
    expected = all_checkpoints(whole)[-1]
    while kills.goes_on():
        root = kills.root / "logs"
        kills.kill(train.main, training(root, ITERATIONS), root, seconds, calls)
        while True:
            before = {path: path.read_bytes() for path in all_checkpoints(root)}
            again = [*training(root, ITERATIONS), "--resume"]
            if before and kills.rng.random() < 0.4 and kills.counts.get("killed", 0) < kills.count:
                kills.kill(train.main, again, root, seconds, calls)
            else:
                done = run(train.main, again, kills.log)
                kills.note("next commands that worked")
                if not before:
                    kills.note("killed before the first checkpoint")
                    kills.expect(one_line_error(done), "nothing to resume, and no line that says so", done)
                    done = run(train.main, training(root, ITERATIONS), kills.log)
                kills.expect(done.code == 0, "the next command failed", done)
                break
        kept = all(path.is_file() and path.read_bytes() == data for path, data in before.items())
        kills.expect(kept, "a whole checkpoint was lost or changed")
        last = max(all_checkpoints(root), key=lambda path: int(path.stem.split("_")[1]), default=None)
        kills.expect(last is not None and same(last, expected), "what was learnt is not what it should be")
        shutil.rmtree(root)


def kill_recordings(kills: Kills) -> None:
    """Kill recordings of a data set; the same command goes on."""
    from legged_gym_ext.scripts import collect, train
    from rsl_rl_ult.storage.dataset import Dataset

    logs, out = kills.root / "logs", kills.root / "data"
    kills.undisturbed(train.main, training(logs, 2), logs)
    argv = ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--num_envs=4", "--episodes=12"]
    argv += ["--rows_per_shard=40", "--headless"]
    seconds, calls = kills.undisturbed(collect.main, argv, out, again=True)
    while kills.goes_on():
        shutil.rmtree(out, ignore_errors=True)
        kills.kill(collect.main, argv, out, seconds, calls)
        before = {path: path.read_bytes() for path in out.glob("[!.]*.npz")} if out.is_dir() else {}
        finished = {path.name for path in before if "privileged" not in path.name}
        kept = {p: d for p, d in before.items() if p.name.replace(".privileged", "") in finished}
        done = run(collect.main, argv, kills.log)
        kills.expect(done.code == 0, "the next command failed", done)
        kills.note("next commands that worked")
        kills.note("killed with finished shards" if finished else "killed before the first shard")
        kills.expect(all(path.read_bytes() == data for path, data in kept.items()), "a finished shard was changed")
        data = Dataset(out)
        ends = sum(int((a["terminations"] | a["truncations"]).sum()) for a in _shards(data))
        kills.expect(ends >= 12, f"the data set has {ends} episodes of 12")
        kills.expect(not list(out.glob(".*.tmp")), "half files were left")


def _shards(data: Any) -> list[dict]:
    found = [data.read(shard, ["terminations", "truncations"]) for shard in data.shards]
    assert all(arrays is not None for arrays in found), "a shard cannot be read"
    return found


def kill_exports(kills: Kills) -> None:
    """Kill exports over an earlier export; the files that are there stay whole, and the next export replaces them."""
    from legged_gym_ext.deploy.policy_file import ExportedPolicy
    from legged_gym_ext.scripts import export, train

    logs, out = kills.root / "logs", kills.root / "exported"
    kills.undisturbed(train.main, training(logs, 2), logs)
    argv = ["--task=go2_flat", f"--log_root={logs}", f"--out={out}", "--headless"]
    seconds, calls = kills.undisturbed(export.main, argv, out, again=True)
    names = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    while kills.goes_on():
        kills.kill(export.main, argv, out, seconds, calls)
        kills.expect(all((out / name).is_file() for name in names), "a file of the earlier export is gone")
        ExportedPolicy(out / "policy.onnx")
        if kills.rng.random() < 0.3 or kills.counts.get("killed", 0) >= kills.count:
            done = run(export.main, argv, kills.log)
            kills.expect(done.code == 0, "the next command failed", done)
            kills.note("next commands that worked")
            left = [path.name for path in out.iterdir() if path.name.startswith(".")]
            kills.expect(not left, f"left behind: {left}")


def kill_sweeps(kills: Kills) -> None:
    """Kill the filling of a table; what it had started ends, and the same command completes the table.

    Nine of ten tables fork their trainings, evaluations and reports, so that few of the kills meet imports.
    """
    from legged_gym_ext.reports.sweep import Table
    from legged_gym_ext.scripts import sweep, train

    whole = kills.root / "whole"
    kills.undisturbed(train.main, [*training(whole, ITERATIONS), "--seed=1"], whole)
    expected, root = all_checkpoints(whole)[-1], kills.root / "table"
    argv = sweep_of(root)
    ways = {True: lambda: fork_scripts(sweep, kills.log), False: lambda: None}
    needs = {True: kills.undisturbed(sweep.main, argv, root, again=True, before=ways[True])}
    while kills.goes_on():
        fast = kills.rng.random() < 0.9
        if fast not in needs:
            needs[fast] = run(sweep.main, argv, kills.log, before=lambda: shutil.rmtree(root)).seconds, needs[True][1]
        shutil.rmtree(root)
        kills.kill(sweep.main, argv, root, *needs[fast], before=ways[fast])
        limit = time.monotonic() + 60.0
        while (left := _running(root) + forked(kills.log)) and time.monotonic() < limit:
            time.sleep(0.05)
        kills.log.with_suffix(".forked").unlink(missing_ok=True)
        kills.expect(not left, f"what it had started goes on: {left}")
        before = {path: path.read_bytes() for path in all_checkpoints(root)}
        done = run(sweep.main, argv, kills.log, before=ways[fast])
        kills.note("next commands that worked")
        kills.note("trainings were " + ("forked" if fast else "started"))
        kills.expect(done.code == 0, "the next command failed", done)
        state = Table(root, None).state("go2_flat", 1)
        kills.expect(state.iterations == ITERATIONS, f"the table has {state.iterations} iterations")
        kills.expect(same(state.checkpoint, expected), "what was learnt is not what it should be")
        kills.expect((state.run / "evaluation.json").is_file(), "the evaluation is missing")
        kills.expect(all(path.read_bytes() == data for path, data in before.items()), "a whole checkpoint was changed")


def sweep_of(root: Path) -> list[str]:
    """Flags of a table with one small training."""
    given = [flag for flag in training(root, ITERATIONS) if not flag.startswith(("--task", "--max", "--num", "--head"))]
    cells = ["--tasks", "go2_flat", "--seeds", "1", f"--budget={ITERATIONS}it"]
    return [*given, *cells, "--num_envs=4", "--eval_envs=4", "--no_rollout"]


def _running(root: Path) -> list[int]:
    """Processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"--log_root={root}".encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


PROGRAMS = {"train": kill_trainings, "collect": kill_recordings, "export": kill_exports, "sweep": kill_sweeps}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="default: another one each time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the counts to this file")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        save = functools.partial(record.add, args.json, "kills", args.program) if args.json else None
        kills = Kills(Path(folder), args.count, args.seed, save)
        begin = time.monotonic()
        PROGRAMS[args.program](kills)
    kills.counts["minutes"] = round((time.monotonic() - begin) / 60.0)
    print(json.dumps({"program": args.program, "seed": args.seed, "counts": kills.counts, "wrong": kills.wrong}))
    sys.exit(1 if kills.wrong else 0)


if __name__ == "__main__":
    main()
