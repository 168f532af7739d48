"""rsl-rl-lib's logger with compact output, and a writer that writes nothing."""

from __future__ import annotations

import contextlib
import io
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rsl_rl.utils.log_writer import LogWriter
from rsl_rl.utils.logger import Logger

from legged_gym_ext.training.comparison import SHOWN
from legged_gym_ext.training.progress import Progress, clock
from legged_gym_ext.training.stages import Stages

KEY_METRICS = {
    "Metrics/linear_tracking": "lin_tracking",
    "Metrics/yaw_tracking": "yaw_tracking",
    "Metrics/fall_rate": "falls",
    "Metrics/success": "success",
    "Metrics/lava": "lava",
    "Terrain/level": "level",
    "Metrics/nan_resets": "nan_resets",
}
"""Metrics of episodes that are shown on the screen -> their label."""


class NullWriter(LogWriter):
    """Writes nothing: `--logger none` still saves checkpoints and shows progress."""

    def __init__(self, log_dir: str) -> None:
        """`log_dir` is not used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Drop the value."""


class CompactLogger(Logger):
    """Logs the scalars of rsl-rl-lib's logger, and shows `Progress` instead of its 80-column block.

    Attributes:
        progress: made at the first iteration.
        stages: what robots can do by now; made at the first iteration.
        compare: iteration -> metrics by policy, empty where no comparison is due; None: never.
        record_video: called with the iteration and their total; None: no videos.
        after_iteration: called last, with the iteration, in every process.
    """

    progress: Progress | None = None
    stages: Stages | None = None
    compare: Callable[[int], dict[str, dict[str, float]]] | None = None
    record_video: Callable[[int, int], None] | None = None
    after_iteration: Callable[[int], None] = staticmethod(lambda it: None)

    def log(
        self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, *args: Any, **kwargs: Any
    ) -> None:
        """Log to the writer and show the key metrics, then call `after_iteration`, in every process."""
        if self.writer is not None:
            self._log(it, start_it, total_it, collect_time, learn_time, *args, **kwargs)
        self.after_iteration(it)

    def _log(
        self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, *args: Any, **kwargs: Any
    ) -> None:
        metrics = self._key_metrics(collect_time, learn_time)
        if self.record_video is not None:
            self.record_video(it, total_it)  # before upstream's `log`, which passes new videos to the writer
        with contextlib.redirect_stdout(io.StringIO()):
            super().log(it, start_it, total_it, collect_time, learn_time, *args, **kwargs)
        metrics.update(self._log_comparison(it))
        metrics.update(self._stage(metrics))
        if self.progress is None:
            self.progress = Progress(Path(self.log_dir or "").name)
        remaining = (total_it - it - 1) * (collect_time + learn_time)
        self.progress.update(it + 1, total_it, self.tot_time, remaining, metrics)

    def _key_metrics(self, collect_time: float, learn_time: float) -> dict[str, str]:
        steps = self.cfg["num_steps_per_env"] * self.num_envs * self.gpu_world_size
        metrics = {
            "steps": f"{(self.tot_timesteps + steps) / 1e6:.2f}M",
            "steps/s": f"{steps / (collect_time + learn_time):.0f}",
        }
        metrics["collect/learn"] = f"{collect_time:.2f}/{learn_time:.2f}s"
        if self.rewbuffer:
            metrics["reward"] = f"{statistics.mean(self.rewbuffer):.2f}"
            metrics["ep_len"] = f"{statistics.mean(self.lenbuffer):.0f}"
        for key, label in KEY_METRICS.items():
            values = [v.flatten() for extras in self.ep_extras if isinstance(v := extras.get(key), torch.Tensor)]
            if not values:
                continue
            value = float(values[-1][-1]) if label == "nan_resets" else float(torch.cat(values).mean())
            if label != "nan_resets" or value > 0:
                metrics[label] = f"{value:.2f}"
        return metrics

    def _stage(self, metrics: dict[str, str]) -> dict[str, str]:
        """The stage of the training in words, and how soon it may reach the next one."""
        if self.stages is None:
            self.stages = Stages()
        names = ("lin_tracking", "yaw_tracking", "falls", "level")
        words, seconds = self.stages.add(self.tot_time, {n: float(metrics[n]) for n in names if n in metrics})
        return {
            **({"now": words} if words else {}),
            **({"next level": f"in {clock(seconds)} at the earliest"} if seconds is not None else {}),
        }

    def _log_comparison(self, it: int) -> dict[str, str]:
        """Write the metrics of teacher and student if a comparison is due; returns what is shown of it."""
        compared = self.compare(it) if self.compare is not None else {}
        writer = self.writer
        if writer is not None:
            for name, metrics in compared.items():
                for metric in SHOWN:
                    if metric in metrics:
                        writer.add_scalar(f"Comparison/{metric}_{name}", metrics[metric], it)
        if not compared:
            return {}
        shown = [metric for metric in ("return", "success") if all(metric in metrics for metrics in compared.values())]
        names = "/".join(compared)
        return {f"{m} {names}": "/".join(f"{metrics[m]:.2f}" for metrics in compared.values()) for m in shown}

    def _store_code_state(self) -> list[str]:
        """Upstream's git diffs; without git, or where git refuses the repository, a note."""
        if self.log_dir is None or self.disable_logs or not self.git_status_repos:
            return []
        if shutil.which("git") is None:
            print("note: there is no git on this machine: the run does not record the state of the code")
            return []
        try:
            return super()._store_code_state()
        except OSError:
            raise
        except Exception as error:  # of GitPython
            for path in Path(self.log_dir, "git").glob("*.diff"):
                if path.stat().st_size == 0:
                    path.unlink()
            reason = " ".join(str(getattr(error, "stderr", "") or error).split())[:200]
            print(f"note: the run does not record the state of the code: git says {reason}")
            return []

    def stop_logging_writer(self) -> None:
        """Close the writer and the progress panel."""
        super().stop_logging_writer()
        if self.progress is not None:
            self.progress.close()
