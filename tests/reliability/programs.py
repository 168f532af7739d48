"""Programs in forked processes: imports are paid for once, and each can be killed or meet a fault of its own."""

from __future__ import annotations

import builtins
import contextlib
import errno
import gc
import importlib
import io
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from legged_gym_ext.training.runs import checkpoints, load_checkpoint
from legged_gym_ext.utils.errors import run_main
from tests.small_trainings import SMALL

DISK_CALLS = ("mkdir", "replace", "fsync", "link")
"""Functions of `os` that a full or broken disk may refuse, besides opening and writing."""


@dataclass
class Ended:
    """How a program ended: its exit code (-9 when it was killed), what it printed, and its seconds."""

    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return ([line for line in self.output.splitlines() if line.strip()] or [""])[-1]


def run(
    main: Callable[[list[str]], Any],
    argv: list[str],
    log: Path,
    kill_after: float | None = None,
    before: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a program's `main(argv)` in a process of its own.

    Args:
        main: of a script.
        argv: its flags.
        log: file for its output.
        kill_after: s after which it is killed; None: never.
        before: called in the new process first, to prepare a fault.
    """
    begin = time.monotonic()
    gc.freeze()  # what is there is not looked through, and so not copied, in the new process
    pid = os.fork()
    if pid == 0:
        _become(main, argv, log, before)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic() - begin
        if done:
            return Ended(os.waitstatus_to_exitcode(status), log.read_text(encoding="utf-8", errors="replace"), now)
        if kill_after is not None and now >= kill_after:
            os.kill(pid, signal.SIGKILL)
            kill_after = None
        elif now > 900.0:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError(f"{argv} hangs: {log.read_text(encoding='utf-8')[-500:]}")
        time.sleep(0.005)


def import_as(log: Path) -> None:
    """Import what the programs with this log had imported, so that the next ones need not."""
    for name in log.with_suffix(".modules").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _become(main: Callable[[list[str]], Any], argv: list[str], log: Path, before: Callable[[], None]) -> None:
    """Be the program, and end with it."""
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 1), os.dup2(file, 2)
    _end_with(main, argv, log, before)


def _end_with(
    main: Callable[[list[str]], Any], argv: list[str], log: Path, before: Callable[[], None] = lambda: None
) -> None:
    """Run a program in this process, whose files 1 and 2 are its output, and end."""
    code, known = 70, set(sys.modules)
    try:
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        before()
        run_main(lambda _: main(argv))
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        with open(log.with_suffix(".modules"), "a", encoding="utf-8") as file:
            file.writelines(f"{name}\n" for name in list(sys.modules) if name not in known)
        os._exit(code)


def fork_scripts(module: Any, log: Path) -> None:
    """Let a module that starts our scripts fork them, so that imports are paid for once.

    All else is as it is there: session, pipes, signal when the parent ends.

    Args:
        module: one that uses `subprocess.Popen` and `subprocess.run`.
        log: of the program, see `run`; the processes are listed beside it, see `forked`.
    """

    def start(command: list[str], preexec_fn: Any = None, env: Any = None, **options: Any) -> subprocess.Popen:
        def become() -> None:
            if preexec_fn is not None:
                preexec_fn()
            with open(log.with_suffix(".forked"), "a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
            os.closerange(3, 1024)  # as when a program is started; the parent waits for it
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.environ.update(env or {})
            _end_with(importlib.import_module(f"legged_gym_ext.scripts.{Path(command[1]).stem}").main, command[2:], log)

        return subprocess.Popen(command, preexec_fn=become, **options)

    def run_script(command: list[str], check: bool) -> None:
        start(command).wait()

    module.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": start, "run": run_script})


def forked(log: Path) -> list[int]:
    """Processes of `fork_scripts` that have not ended."""
    listed = log.with_suffix(".forked")
    found = []
    for line in listed.read_text(encoding="utf-8").splitlines() if listed.exists() else ():
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{line}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            found += [int(line)] if state != "Z" else []
    return found


class Disk:
    """Counts what a program asks of the disk below a folder, and does something in the n-th call.

    Call `install` in the process of the program. Opening for writing, `os.mkdir`, `replace`, `fsync` and `link` are
    counted.
    """

    def __init__(self, root: Path, fault: str = "", number: int = 0, count_in: Path | None = None) -> None:
        """Prepare a fault.

        Args:
            root: calls that name nothing below it are not counted.
            fault: "refuse" (the call fails: no space left), "write" (a file is opened, and refuses what is written),
                "full" (this call and all later ones fail), "kill" (the process is killed), or "" (nothing).
            number: of the call, from 1.
            count_in: file to which the number of calls so far is written.
        """
        self.root, self.fault, self.number, self.count_in, self.calls = str(root), fault, number, count_in, 0
        self._open, self._process = builtins.open, 0

    def install(self) -> None:
        """Replace the functions of this process; one that it forks has a disk without faults."""
        self._process = os.getpid()
        builtins.open = io.open = self.open  # pyright: ignore
        for name in DISK_CALLS:
            setattr(os, name, self._refusing(getattr(os, name)))

    def open(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """As `open`."""
        if not any(letter in mode for letter in "wax+") or not self._below(file):
            return self._open(file, mode, *args, **kwargs)
        if self._meets("write"):
            return self._open("/dev/full", mode.replace("x", "w"), *args, **kwargs)
        return self._open(file, mode, *args, **kwargs)

    def _refusing(self, function: Callable) -> Callable:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if (isinstance(path, int) and os.getpid() == self._process) or self._below(path):
                self._meets("")
            return function(path, *args, **kwargs)

        return call

    def _below(self, path: Any) -> bool:
        if not isinstance(path, (str, os.PathLike)) or os.getpid() != self._process:
            return False
        return os.path.abspath(os.fspath(path)).startswith(self.root)

    def _meets(self, kind: str) -> bool:
        """Count a call and do what is to be done in it; True: the file shall refuse what is written."""
        self.calls += 1
        if self.count_in is not None:
            with self._open(self.count_in, "w", encoding="utf-8") as file:
                file.write(str(self.calls))
        now = self.calls == self.number or (self.fault == "full" and self.calls > self.number > 0)
        if not now or not self.fault:
            return False
        if self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "write" and kind == "write":
            return True
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# -- trainings ---------------------------------------------------------------------------------------------------------


def training(root: Path, iterations: int = 5, task: str = "go2_flat", save_interval: int = 1) -> list[str]:
    """Flags of a small training that takes what a real one takes: curves, checkpoints, episodes that end."""
    small = [flag for flag in SMALL if not flag.startswith("--logger")]
    if "dagger" in task:  # it has other minibatches
        small = [flag for flag in small if "mini_batches" not in flag]
        small += ["--train.algorithm.batch_size=16", "--train.algorithm.updates_per_round=2"]
    more = [f"--max_iterations={iterations}", f"--train.runner.save_interval={save_interval}"]
    return [f"--task={task}", f"--log_root={root}", *small, *more, "--env.env.episode_length_s=0.3", "--headless"]


def learnt(path: Path) -> list[torch.Tensor]:
    """Everything that a checkpoint holds of networks and optimizer, in a fixed order."""
    saved = load_checkpoint(path, "cpu")
    return _tensors([saved[name] for name in sorted(saved) if name.endswith("state_dict")])


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def same(a: Path, b: Path) -> bool:
    """Whether two checkpoints hold the same bits."""
    ours, theirs = learnt(a), learnt(b)
    return len(ours) == len(theirs) > 0 and all(torch.equal(x, y) for x, y in zip(ours, theirs))


def all_checkpoints(root: Path) -> list[Path]:
    """Checkpoints of all runs below a log folder, oldest run first."""
    return [path for run in sorted(root.glob("*/*")) if run.is_dir() for path in checkpoints(run).values()]


def one_line_error(ended: Ended) -> bool:
    """Whether a program ended with one line for its user, and no traceback."""
    return ended.code == 2 and ended.last_line.startswith("error: ") and "Traceback" not in ended.output
