"""rsl-rl-lib's `OnPolicyRunner` with compact output, checkpoints that are never half written, and exact resume."""

from __future__ import annotations

import contextlib
import io
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rsl_rl.runners import OnPolicyRunner
from rsl_rl.utils.log_writer import LogWriter
from rsl_rl.utils.logger import Logger

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.envs.base.snapshot import restore_snapshot, take_snapshot
from legged_gym_ext.task_registry import resolve
from legged_gym_ext.training.comparison import SHOWN, Comparison
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.training.progress import Progress
from legged_gym_ext.training.run_settings import POLICY_RATES, Changes
from legged_gym_ext.training.runs import WriteError, atomic_write, checkpoints, load_checkpoint
from legged_gym_ext.training.stopping import Stop
from legged_gym_ext.utils import distributed
from legged_gym_ext.utils.errors import UserError, user_errors

TRAINING_VIDEO = "legged_gym_ext.viewer.training_video:TrainingVideo"
"""What films the policy; by name, because viewers are built on training."""

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
    after_iteration: Callable[[int], None] = staticmethod(lambda it: None)

    def log(
        self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, *args: Any, **kwargs: Any
    ) -> None:
        """Log to the writer and show the key figures, then do what is due after an iteration, in every process."""
        if self.writer is not None:
            self._log(it, start_it, total_it, collect_time, learn_time, *args, **kwargs)
        self.after_iteration(it)

    def _log(
        self, it: int, start_it: int, total_it: int, collect_time: float, learn_time: float, *args: Any, **kwargs: Any
    ) -> None:
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

    def _store_code_state(self) -> list[str]:
        """Upstream's git diffs; a machine without git, or with a repository that git refuses, trains without them."""
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
        """Close the writer and the live view."""
        super().stop_logging_writer()
        if self.progress is not None:
            self.progress.close()


class TrainRunner(OnPolicyRunner):
    """Trains any algorithm that speaks the 5.x runner protocol.

    Attributes:
        stop: who hears the signals that end a training; None: nobody does, and Ctrl-C is an exception anywhere.
        iterations_done: by this object, without those of a checkpoint.
    """

    stop: Stop | None = None
    iterations_done = 0
    _learning = False
    _saved_at = 0.0  # s, of a clock
    _interim: Path | None = None  # checkpoint that the next one replaces
    _unsaved: WriteError | None = None  # why the newest checkpoint is missing

    def __init__(
        self, env: Any, train_cfg: dict[str, Any], log_dir: str | None = None, device: str = "cpu", task: str = ""
    ) -> None:
        """Build the algorithm quietly; `describe.py` shows the networks.

        Raises:
            UserError: the configuration does not fit.
        """
        unfit = f"task '{task}': the training configuration does not fit"
        with contextlib.redirect_stdout(io.StringIO()), user_errors(unfit):
            super().__init__(env, train_cfg, log_dir, device)
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
        self.logger.after_iteration = self._after_iteration
        self.task = task
        self._comparison: Comparison | None = None
        if self.cfg.get("eval_interval", 0) > 0 and hasattr(self.alg, "inference_policies"):
            self.logger.compare = self.compare
        if self.cfg.get("video"):
            self.logger.film = resolve(TRAINING_VIDEO)(self)

    def _configure_multi_gpu(self) -> None:
        """Upstream's set-up joins GPUs over NCCL; processes that learn on CPUs join over gloo."""
        if distributed.world_size() == 1 or torch.device(self.device).type == "cuda":
            super()._configure_multi_gpu()
            return
        self.cfg["multi_gpu"] = distributed.join_on_cpu()
        self.is_distributed, self.gpu_world_size = True, distributed.world_size()
        self.gpu_global_rank, self.gpu_local_rank = distributed.rank(), distributed.local_rank()

    def iterations_to_do(self) -> int:
        """How many are missing of `max_iterations`, and of a second stage where there is one."""
        total = self.cfg["max_iterations"] + self.cfg.get("stage2_iterations", 0)
        return max(0, total - self.current_learning_iteration)

    def compare(self, it: int) -> dict[str, dict[str, float]]:
        """Figures of teacher and student every `eval_interval` iterations; nothing in between."""
        if (it + 1) % self.cfg["eval_interval"]:
            return {}
        if self._comparison is None:
            self._comparison = Comparison(self.env.env, self.env.groups, self.cfg["eval_envs"])
        policies = {name: Policy(network, self.device) for name, network in self.alg.inference_policies().items()}
        return self._comparison.run(policies)

    def learn(self, num_learning_iterations: int, init_at_random_ep_len: bool = False) -> None:
        """Train; the output stays readable also when it is interrupted.

        Raises:
            UserError: the first iteration failed, or the last checkpoint could not be written.
        """
        self._saved_at, self._learning = time.monotonic(), True
        if self.stop is not None:
            self.stop.defer()
        try:
            super().learn(num_learning_iterations, init_at_random_ep_len)
        except UserError:
            raise
        except Exception:
            if self.iterations_done:
                raise
            with user_errors(f"task '{self.task}': the training cannot start"):
                raise
        finally:
            self._learning = False
            if self.logger.progress is not None:
                self.logger.progress.close()
        if self._unsaved is not None:
            raise UserError(f"the training is done, but its last checkpoint is missing: {self._unsaved}")

    def _after_iteration(self, it: int) -> None:
        """End where that was asked for, in all processes at once; save where the last checkpoint is old."""
        self.iterations_done += 1
        stop = self.stop
        if stop is not None and distributed.agree(stop.asked is not None, self.device):
            stop.agreed = True
            raise stop.asked or KeyboardInterrupt()
        interval = self.cfg.get("save_interval_s", 0.0)
        if interval <= 0.0 or self.logger.writer is None or time.monotonic() - self._saved_at < interval:
            return
        if it % self.cfg["save_interval"]:  # otherwise upstream is about to
            path = Path(self.logger.log_dir or "", f"model_{it}.pt")
            self._try_to_save(path)
            self._interim = path if self._unsaved is None else self._interim

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Write a checkpoint, whole or not at all; while training, where the disk refuses, say so and go on.

        Raises:
            WriteError: the system refused, and this is not in the middle of a training.
        """
        if self._learning:
            self._try_to_save(Path(path), infos)
        else:
            self._write(Path(path), infos)
        if self._unsaved is None:
            self.logger.save_model(path, self.current_learning_iteration)

    def _try_to_save(self, path: Path, infos: dict[str, Any] | None = None) -> None:
        self._saved_at = time.monotonic()  # also where it fails: it would fail again and again
        try:
            self._write(path, infos)
        except WriteError as error:
            told, self._unsaved = str(self._unsaved) == str(error), error
            if told:  # upstream saves the last iteration twice
                return
            kept = list(checkpoints(path.parent).values())
            last = f"the last whole checkpoint is {kept[-1].name}" if kept else "there is no checkpoint yet"
            print(f"\n{error}; {last}; the training goes on, and the next save is tried", file=sys.stderr, flush=True)

    def _write(self, path: Path, infos: dict[str, Any] | None = None) -> None:
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
        # In memory first: torch itself hides what the system said about a file that it could not write.
        buffer = io.BytesIO()
        torch.save(saved, buffer)
        atomic_write(path, lambda target: target.write_bytes(buffer.getbuffer()))
        self._unsaved = None
        interim, self._interim = self._interim, None
        if interim is not None and interim != path:
            with contextlib.suppress(OSError):
                interim.unlink()

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

    def resume(self, path: str, changes: Changes | None = None, given: dict[str, Any] | None = None) -> str | None:
        """Continue a training: `load`, and restore environment, random state and totals.

        Args:
            path: of the checkpoint.
            changes: settings that are not those of the checkpoint's run; they win over what the checkpoint holds.
            given: names of learning rates that the user gave -> value; they win even where they are the run's.

        Returns:
            A sentence for the user when the environment could not be restored exactly.
        """
        changes = changes or {}
        if "train.algorithm.optimizer" in changes:
            before, now = changes["train.algorithm.optimizer"]
            raise UserError(
                f"--train.algorithm.optimizer={now}: the run has the state of {before}; resume with {before}"
            )
        infos = self.load(path)
        if not {"env", "torch_rng", "total"} <= set(infos):
            raise UserError(f"checkpoint {path} was not written by this train.py: it can be evaluated, not resumed")
        own = "train.algorithm."
        rates = {field[len(own) :]: now for field, (_, now) in changes.items() if field.startswith(own)}
        self._take_rates({**rates, **(given or {})})
        if distributed.rank() > 0:
            return None  # the checkpoint holds the robots and random numbers of process 0
        with user_errors(f"checkpoint {path} does not fit the settings of task '{self.task}'"):
            changed = [field[len("env.") :] for field in changes if field.startswith("env.")]
            note = restore_snapshot(self.env.env, infos["env"], changed)
            if note is None and "rollout" in infos:
                self.alg.load_rollout_state(infos["rollout"])
        torch.set_rng_state(infos["torch_rng"].cpu())
        if torch.cuda.is_available() and infos["cuda_rng"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in infos["cuda_rng"]])
        self.logger.tot_timesteps, self.logger.tot_time = infos["total"]
        return note

    def _take_rates(self, rates: dict[str, Any]) -> None:
        """Learning rates, by name, instead of those that the checkpoint's optimizer has; other names are passed over."""
        alg = self.alg
        if any(name in rates for name in POLICY_RATES):
            alg.learning_rate = rates.get("learning_rate", alg.learning_rate)
            if hasattr(alg, "set_learning_rate"):  # ours know which parameters have rates of their own
                alg.set_learning_rate(alg.learning_rate)
            else:
                for group in alg.optimizer.param_groups:
                    group["lr"] = alg.learning_rate
        if "encoder_learning_rate" in rates:
            alg.optimizer.param_groups[-1]["lr"] = rates["encoder_learning_rate"]
