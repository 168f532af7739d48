"""The newest policy of a running training on the page in a browser.

The training writes the networks' weights to a file now and then; a process of its own with the lowest priority, which
`play.py --web --follow` is, moves one robot with them, and only while a browser has the page open.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from legged_gym_ext.training.number_watch import write_tensors
from legged_gym_ext.training.runs import WriteError, checkpoints
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.web import check_page, free_port, page_url

if TYPE_CHECKING:
    from legged_gym_ext.training.runner import TrainRunner
    from legged_gym_ext.viewer.agents import Agent
    from legged_gym_ext.viewer.page import Page

WEIGHTS, LOG = "watch.pt", "watch.log"
"""In the run folder: the newest weights, and what the page's process says."""
INTERVAL = 10.0  # s between two files of weights
LOOK_INTERVAL = 1.0  # s between two looks for newer ones
PARENT = "LEGGED_GYM_WATCHED_BY"
"""Environment variable: process id of the training that a page belongs to, and with which it ends."""


def newest_weights(run_dir: Path) -> Path | None:
    """The newest file with weights in a run folder: a checkpoint, or what a watched training left; None without."""
    found = [path for path in (run_dir / WEIGHTS, *list(checkpoints(run_dir).values())[-1:]) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


class Follower:
    """Gives an agent the newest weights of its run as they appear."""

    def __init__(self, agent: Agent, run_dir: Path) -> None:
        """Follow `run_dir`."""
        self._agent, self._run_dir = agent, run_dir
        self._seen: tuple[Path, int] | None = None
        self._looked_at, self._level = 0.0, -1
        self._parent = int(os.environ.get(PARENT, "0"))

    def check(self, page: Page) -> None:
        """Load newer weights, if there are any.

        Raises:
            KeyboardInterrupt: the training that the page belongs to has ended.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_INTERVAL:
            return
        self._looked_at = now
        if self._parent and os.getppid() != self._parent:
            raise KeyboardInterrupt
        path = newest_weights(self._run_dir)
        if path is None:
            return
        try:
            mark = (path, path.stat().st_mtime_ns)
            if mark == self._seen:
                return
            infos = self._agent.load(path)
        except (OSError, UserError):  # replaced or removed just now: there will be another
            return
        self._seen = mark
        iteration = infos.get("iteration", path.stem.rpartition("_")[2])
        page.notice = f"newest policy: iteration {iteration}"
        self._move(page, infos.get("level"))

    def _move(self, page: Page, level: float | None) -> None:
        """Put the robot on the mean level of those that learn, unless somebody chose another one."""
        start = page.player.start_tile()
        if level is None or start is None:
            return
        wanted = min(round(level), page.player.num_levels - 1)
        if self._level in (-1, start[1]) and wanted != start[1]:
            page.player.request("level", wanted)
        if self._level in (-1, start[1]):
            self._level = wanted


class WatchPage:
    """Shows a training on a page: writes the weights, and keeps the process that serves the page.

    Attributes:
        url: of the page.
    """

    def __init__(self, host: str, port: int) -> None:
        """Check the address.

        Raises:
            UserError: viser or mjviser is missing, or the address cannot be used.
        """
        check_page("--watch")
        self._host, self._port = host, free_port(host, port, "--watch")
        self.url = page_url(host, self._port)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._written_at, self._failed = -INTERVAL, False

    def attach(self, runner: TrainRunner, flags: list[str]) -> None:
        """Begin with the next iteration of `runner`; `flags` of play.py name task, log root and run."""
        self._runner, self._flags = runner, flags
        self._run_dir = Path(runner.logger.log_dir or "")
        runner.after_iteration = self

    def __call__(self, it: int) -> None:
        """Write weights if the last ones are old; a page that fails is reported once, the training goes on."""
        if self._failed:
            return
        try:
            if time.monotonic() - self._written_at >= INTERVAL:
                self._write(it)
                self._written_at = time.monotonic()
            if self._process is None:
                self._start()
        except (OSError, WriteError) as error:
            self._fail(str(error))
            return
        if self._process is not None and self._process.poll() is not None:
            self._fail(f"its process ended, see {self._run_dir / LOG}")

    def _write(self, it: int) -> None:
        runner = self._runner
        saved = {name: value for name, value in runner.alg.save().items() if "optimizer" not in name}
        terrain = runner.env.env.terrain if hasattr(runner.env.env, "terrain") else None
        levels: dict[str, Any] = {} if terrain is None else terrain.level_statistics()
        level = {"level": float(levels["level"])} if "level" in levels else {}
        saved.update(iter=it, infos={"task": runner.task, "iteration": it, **level})
        write_tensors(self._run_dir / WEIGHTS, saved)

    def _start(self) -> None:
        from legged_gym_ext import PACKAGE_DIR

        script = PACKAGE_DIR / "scripts" / "play.py"
        aside = ["nice", "-n", "19"] if shutil.which("nice") else []  # from the first import on
        command = [*aside, sys.executable, str(script), *self._flags, f"--web={self._host}:{self._port}", "--follow"]
        self._log = (self._run_dir / LOG).open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, PARENT: str(os.getpid()), "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the training, which ends the page
        )

    def _fail(self, reason: str) -> None:
        self._failed = True
        print(f"\n--watch: no page any more: {reason}; the training goes on", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the page and remove the weights; checkpoints stay."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
            (self._run_dir / WEIGHTS).unlink(missing_ok=True)
        if self._log is not None:
            self._log.close()
