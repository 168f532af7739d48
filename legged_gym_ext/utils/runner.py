"""rsl-rl-lib's `OnPolicyRunner` with compact output, checkpoints that are never half written, and exact resume."""

from __future__ import annotations

import contextlib
import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rsl_rl.runners import OnPolicyRunner
from rsl_rl.utils.log_writer import LogWriter
from rsl_rl.utils.logger import Logger

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.utils import processes
from legged_gym_ext.utils.comparison import SHOWN, Comparison
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.utils.policies import Policy
from legged_gym_ext.utils.progress import Progress
from legged_gym_ext.utils.runs import atomic_write, load_checkpoint
from legged_gym_ext.utils.training_video import TrainingVideo

KEY_FIGURES = {
    "Metrics/linear_tracking": "lin_tracking",
    "Metrics/yaw_tracking": "yaw_tracking",
    "Metrics/fall_rate": "falls",
    "Terrain/level": "level",
    "Metrics/nan_resets": "nan_resets",
}
"""Episode summaries worth a place on the screen and what they are called there."""


class NullWriter(LogWriter):
    """Writes nothing: `--logger none` still saves checkpoints and shows progress."""

    def __init__(self, log_dir: str) -> None:
        """`log_dir` is where others would write."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Drop the value."""


class CompactLogger(Logger):
    """Upstream's logger, writing the same scalars, with `Progress` instead of its 80-column block."""

    progress: Progress | None = None
    compare: Callable[[int], dict[str, dict[str, float]]] | None = None
    film: Callable[[int, int], None] | None = None

    def log(
        self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, *args: Any, **kwargs: Any
    ) -> None:
        """Log to the writer, then show the key figures."""
        if self.writer is None:
            return
        figures = self._figures(collect_time, learn_time)
        if self.film is not None:
            self.film(it, total_it)  # first, because upstream's `log` hands the writer what videos there are
        with contextlib.redirect_stdout(io.StringIO()):
            super().log(it, start_it, total_it, collect_time, learn_time, *args, **kwargs)
        figures.update(self._comparison(it))
        if self.progress is None:
            self.progress = Progress(Path(self.log_dir or "").name)
        remaining = (total_it - it - 1) * (collect_time + learn_time)
        self.progress.update(it + 1, total_it, self.tot_time, remaining, figures)

    def _figures(self, collect_time: float, learn_time: float) -> dict[str, str]:
        steps = self.cfg["num_steps_per_env"] * self.num_envs * self.gpu_world_size
        figures = {
            "steps": f"{(self.tot_timesteps + steps) / 1e6:.2f}M",
            "steps/s": f"{steps / (collect_time + learn_time):.0f}",
        }
        figures["collect/learn"] = f"{collect_time:.2f}/{learn_time:.2f}s"
        if self.rewbuffer:
            figures["reward"] = f"{statistics.mean(self.rewbuffer):.2f}"
            figures["ep_len"] = f"{statistics.mean(self.lenbuffer):.0f}"
        for key, label in KEY_FIGURES.items():
            values = [v.flatten() for extras in self.ep_extras if isinstance(v := extras.get(key), torch.Tensor)]
            if not values:
                continue
            value = float(values[-1][-1]) if label == "nan_resets" else float(torch.cat(values).mean())
            if label != "nan_resets" or value > 0:
                figures[label] = f"{value:.2f}"
        return figures

    def _comparison(self, it: int) -> dict[str, str]:
        """Write the figures of teacher and student, where this iteration has them, and show their returns side by side."""
        found = self.compare(it) if self.compare is not None else {}
        writer = self.writer
        if writer is not None:
            for name, figures in found.items():
                for metric in SHOWN:
                    writer.add_scalar(f"Comparison/{metric}_{name}", figures[metric], it)
        if not found:
            return {}
        return {f"return {'/'.join(found)}": "/".join(f"{figures['return']:.2f}" for figures in found.values())}

    def stop_logging_writer(self) -> None:
        """Close the writer and the live view."""
        super().stop_logging_writer()
        if self.progress is not None:
            self.progress.close()


class TrainRunner(OnPolicyRunner):
    """Trains any algorithm that speaks the 5.x runner protocol."""

    def __init__(
        self, env: Any, train_cfg: dict[str, Any], log_dir: str | None = None, device: str = "cpu", task: str = ""
    ) -> None:
        """Build the algorithm quietly; `describe.py` shows the networks."""
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                super().__init__(env, train_cfg, log_dir, device)
            except (TypeError, ValueError) as error:
                # Upstream checks class names, groups and arguments while it builds.
                raise UserError(f"task '{task}': the training configuration does not fit: {error}") from error
        upstream = self.logger
        self.logger = CompactLogger(
            log_dir=log_dir,
            cfg=self.cfg,
            env_cfg=self.env.cfg,
            num_envs=self.env.num_envs,
            is_distributed=self.is_distributed,
            gpu_world_size=upstream.gpu_world_size,
            gpu_global_rank=self.gpu_global_rank,
            device=self.device,
        )
        self.logger.git_status_repos = [str(ROOT_DIR / "setup.py")] if (ROOT_DIR / ".git").exists() else []
        self.task = task
        self._comparison: Comparison | None = None
        if self.cfg.get("eval_interval", 0) > 0 and hasattr(self.alg, "inference_policies"):
            self.logger.compare = self.compare
        if self.cfg.get("video"):
            self.logger.film = TrainingVideo(self)

    def _configure_multi_gpu(self) -> None:
        """Upstream's set-up joins GPUs over NCCL; processes that learn on CPUs join over gloo."""
        if processes.world_size() == 1 or torch.device(self.device).type == "cuda":
            super()._configure_multi_gpu()
            return
        self.cfg["multi_gpu"] = processes.join_on_cpu()
        self.is_distributed, self.gpu_world_size = True, processes.world_size()
        self.gpu_global_rank, self.gpu_local_rank = processes.rank(), processes.local_rank()

    def iterations_to_do(self) -> int:
        """How long to train: `max_iterations` more; with a second stage, what is missing of both together."""
        stage1, stage2 = self.cfg["max_iterations"], self.cfg.get("stage2_iterations", 0)
        return max(0, stage1 + stage2 - self.current_learning_iteration) if stage2 else stage1

    def compare(self, it: int) -> dict[str, dict[str, float]]:
        """Figures of teacher and student every `eval_interval` iterations; nothing in between."""
        if (it + 1) % self.cfg["eval_interval"]:
            return {}
        if self._comparison is None:
            self._comparison = Comparison(self.env.env, self.env.groups, self.cfg["eval_envs"])
        policies = {name: Policy(network, self.device) for name, network in self.alg.inference_policies().items()}
        return self._comparison.run(policies)

    def learn(self, num_learning_iterations: int, init_at_random_ep_len: bool = False) -> None:
        """Train; the output stays readable also when it is interrupted."""
        try:
            self.alg.train_mode()
        except ValueError as error:
            raise UserError(f"task '{self.task}': the training configuration does not fit: {error}") from error
        try:
            super().learn(num_learning_iterations, init_at_random_ep_len)
        finally:
            if self.logger.progress is not None:
                self.logger.progress.close()

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Write a checkpoint under a temporary name and rename it: networks, optimizer, environment, random state."""
        saved = self.alg.save()
        saved["iter"] = self.current_learning_iteration
        saved["infos"] = {
            **(infos or {}),
            "task": self.task,
            "env": take_snapshot(self.env.env),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "total": (self.logger.tot_timesteps, self.logger.tot_time),
        }
        if hasattr(self.alg, "rollout_state"):
            saved["infos"]["rollout"] = self.alg.rollout_state()
        atomic_write(Path(path), lambda target: torch.save(saved, target))
        self.logger.save_model(path, self.current_learning_iteration)

    def load(
        self, path: str, load_cfg: dict | None = None, strict: bool = True, map_location: str | None = None
    ) -> dict[str, Any]:
        """Load networks (and by default optimizer and iteration); a checkpoint of another task is a `UserError`."""
        checkpoint = load_checkpoint(Path(path), map_location or self.device)
        infos = checkpoint.get("infos")
        infos = infos if isinstance(infos, dict) else {}
        self._check_task(path, infos)
        try:
            loaded_iteration = self.alg.load(checkpoint, load_cfg, strict)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"checkpoint {path} does not fit the networks of task '{self.task}': {reason}; "
                "train with the same network sizes, or name another --load_run"
            ) from error
        if loaded_iteration:
            # The saved iteration is done: the next one follows it.
            self.current_learning_iteration = checkpoint["iter"] + 1
        return infos

    def _check_task(self, path: str, infos: dict[str, Any]) -> None:
        """Refuse the checkpoint of another task, even where its tensors would fit."""
        other = infos.get("task", self.task)
        if other != self.task:
            raise UserError(
                f"checkpoint {path} was written by task '{other}', not by task '{self.task}': "
                "give the same --task, or another --load_run"
            )

    def resume(self, path: str) -> str | None:
        """Continue a training: `load`, and restore environment, random state and totals.

        Returns:
            A sentence for the user when the environment could not be restored exactly.
        """
        infos = self.load(path)
        if not {"env", "torch_rng", "total"} <= set(infos):
            raise UserError(f"checkpoint {path} was not written by this train.py: it can be evaluated, not resumed")
        if processes.rank() > 0:
            return None  # the checkpoint holds the robots and random numbers of process 0
        note = restore_snapshot(self.env.env, infos["env"])
        if note is None and "rollout" in infos:
            self.alg.load_rollout_state(infos["rollout"])
        torch.set_rng_state(infos["torch_rng"].cpu())
        if torch.cuda.is_available() and infos["cuda_rng"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in infos["cuda_rng"]])
        self.logger.tot_timesteps, self.logger.tot_time = infos["total"]
        return note
