"""A process in which the programs read their inputs: whatever an input does to it, the tests go on.

Native code that dies, a hang and a run on memory are outcomes like others: the process is replaced.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.reliability import record

ROOT = Path(__file__).resolve().parents[2]
START = 180.0  # s that a process may need to prepare its files
DEADLINE = float(os.environ.get("FUZZ_DEADLINE", "60"))  # s of an input; most need milliseconds, on a free core
MEMORY = 16 << 30  # bytes of addresses; torch and MuJoCo reserve some without using them
LONGEST = 1200  # characters of a line that somebody reads
MATERIAL: list[Path] = []
"""Folder of the files that conftest.py makes; in a worker, too."""

UNFINISHED = ("*.tmp", "*.partial", ".*.tmp")


class Resolved(BaseException):
    """Raised in place of the expensive part of a program: its arguments and configuration were understood."""


class RefusedError(Exception):
    """A program ended with this on standard error."""


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        kind: "ran", "refused", or a fault: "traceback", "died", "hang", "several lines", "left behind".
        text: the line of a refusal; where and why of a fault.
    """

    kind: str
    text: str = ""

    @property
    def fine(self) -> bool:
        """Whether it is what a user may expect."""
        return self.kind in ("ran", "refused")


class Worker:
    """Runs functions of a module of this folder in a process of its own.

    Attributes:
        counts: number of inputs by kind of outcome.
    """

    def __init__(self, module: str) -> None:
        self.module, self.counts = module, {"ran": 0, "refused": 0}
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._process: subprocess.Popen | None = None
        self._pipe: Any = None
        self._places: set[str] = set()
        self._written: dict[str, int] = {}

    def call(self, target: str, *inputs: Any, deadline: float = DEADLINE) -> Outcome:
        """The outcome of `target(*inputs)`."""
        if self._process is None:
            self._start()
        self._pipe.send((target, inputs))
        try:
            outcome = self._pipe.recv() if self._pipe.poll(deadline) else self._stop("hang", f"after {deadline:g} s")
        except (EOFError, OSError):
            outcome = self._stop("died", "")
        self.counts[outcome.kind] = self.counts.get(outcome.kind, 0) + 1
        if sum(self.counts.values()) % 100 == 0:
            self._write()
        return outcome

    def check(self, target: str, *inputs: Any) -> Outcome:
        """As `call`; a fault is an `AssertionError`, or a line in the file `FUZZ_COLLECT`."""
        outcome = self.call(target, *inputs)
        if outcome.fine:
            return outcome
        collect = os.environ.get("FUZZ_COLLECT")
        assert collect, f"{outcome.kind}: {outcome.text}"
        place = f"{target} {outcome.kind} {outcome.text.splitlines()[0]}"
        if place not in self._places:
            self._places.add(place)
            with open(collect, "a", encoding="utf-8") as file:
                file.write(f"== {target} {outcome.kind}\n{outcome.text}\ninput: {str(inputs)[:900]}\n\n")
        return outcome

    def _start(self) -> None:
        self._pipe, other = Pipe()
        arguments = [self.module, self._folder.name, str(other.fileno())]
        with open(Path(self._folder.name, "output.txt"), "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", *arguments, *map(str, MATERIAL)],
                cwd=ROOT,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "OMP_NUM_THREADS": "1", "HOME": self._folder.name},
            )
        other.close()
        assert self._pipe.poll(START) and self._pipe.recv() == "ready", self._tail()

    def _stop(self, kind: str, text: str) -> Outcome:
        assert self._process is not None
        if kind == "hang":
            self._process.send_signal(signal.SIGUSR1)  # writes where it is
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)
        self._process.kill()
        code = self._process.wait()
        self._process = None
        self._pipe.close()
        return Outcome(kind, f"{text} exit code {code}\n{self._tail()}")

    def _tail(self) -> str:
        return Path(self._folder.name, "output.txt").read_text(encoding="utf-8", errors="replace")[-3000:]

    def close(self) -> None:
        """End the process and write what came out."""
        if self._process is not None:
            self._stop("closed", "")
        self._folder.cleanup()
        self._write()

    def _write(self) -> None:
        """Add what is new to the counts of all runs."""
        if path := os.environ.get("FUZZ_COUNTS"):
            new = {kind: number - self._written.get(kind, 0) for kind, number in self.counts.items()}
            record.add(Path(path).absolute(), "fuzzing", self.module, new)
            self._written = dict(self.counts)


# -- in the process ----------------------------------------------------------------------------------------------------


def program(main: Any, words: list[str]) -> None:
    """Run a script's `main` as its command does; raises `RefusedError` where it ends with an error."""
    from legged_gym_ext.utils.errors import run_main

    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    errors.reconfigure(errors="backslashreplace")  # as Python does
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            run_main(lambda argv: main(words))
        except SystemExit as leaving:
            code = leaving.code
    errors.flush()
    text = errors.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
    if "Traceback" in text:
        raise AssertionError(text)
    if code == 2:
        start = text.rfind("error: ")  # notes may come before it
        raise RefusedError(text[start:].rstrip("\n") if start >= 0 else text)


def outcome_of(target: Any, inputs: tuple) -> Outcome:
    """What becomes of `target(*inputs)`, here."""
    from legged_gym_ext.utils.errors import UserError

    in_threads: list[str] = []
    threading.excepthook = lambda found: in_threads.append(str(found.exc_value))
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            target(*inputs)
    except Resolved:
        pass
    except SystemExit as leaving:
        if leaving.code not in (0, None):
            return Outcome("traceback", f"SystemExit({leaving.code})")
    except BaseException as error:
        refusals = (UserError, RefusedError, *getattr(target, "refusals", ()))
        if not isinstance(error, refusals):
            return Outcome("traceback", _place(error) + "".join(traceback.format_exception(error, limit=-6))[-3000:])
        line = str(error)
        if not line.strip() or len(line.splitlines()) > 1 or len(line) > LONGEST:
            return Outcome("several lines", f"{type(error).__name__}: {line[:2000]!r}")
        return Outcome("refused", line)
    if in_threads or "Traceback" in printed.getvalue():
        return Outcome("traceback", f"{in_threads} {printed.getvalue()[-2000:]}")
    return Outcome("ran")


def _place(error: BaseException) -> str:
    """The last line of this repository in the traceback of an error, and the error's type."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" not in frame.filename]
    own = [frame for frame in frames if frame.filename.startswith(str(ROOT))] or frames[-1:]
    return f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}\n" if own else ""


def unfinished() -> list[str]:
    """Files below the working directory that a program had begun to write."""
    return [str(path) for pattern in UNFINISHED for path in Path.cwd().rglob(pattern)]


def serve(module: str, folder: str, pipe: Connection) -> None:
    """Answer calls until the pipe closes."""
    import faulthandler

    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    targets: Any = importlib.import_module(f"tests.fuzz.{module}")
    work = Path(folder, "work")
    shutil.rmtree(work, ignore_errors=True)  # of one that was replaced
    work.mkdir()
    os.chdir(work)
    targets.prepare()
    pipe.send("ready")
    while True:
        try:
            target, inputs = pipe.recv()
        except EOFError:
            return
        outcome = outcome_of(getattr(targets, target), inputs)
        left = unfinished()
        if left and outcome.fine:
            outcome = Outcome("left behind", ", ".join(left))
        for path in left:
            Path(path).unlink()
        pipe.send(outcome)


if __name__ == "__main__":
    from tests.fuzz import worker  # by its name, so that there is one class `Resolved`

    worker.MATERIAL += map(Path, sys.argv[4:])
    worker.serve(sys.argv[1], sys.argv[2], Connection(int(sys.argv[3])))
