"""rsl-rl-lib's `OnPolicyRunner` with compact output, atomic checkpoints and exact resume."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from rsl_rl.runners import OnPolicyRunner, on_policy_runner

from legged_gym_ext import ROOT_DIR
from legged_gym_ext.task_registry import resolve
from legged_gym_ext.training.logger import CompactLogger
from legged_gym_ext.training.number_watch import NumberWatch, write_tensors
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.training.run_settings import Changes
from legged_gym_ext.training.runs import WriteError, checkpoints, load_checkpoint, os_error_reason
from legged_gym_ext.training.stopping import is_lost_process
from legged_gym_ext.utils import distributed
from legged_gym_ext.utils.errors import UserError, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.training.stopping import GracefulStop
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

# Upstream measures durations with the system's clock, which may be set while a training runs.
on_policy_runner.time = SimpleNamespace(time=time.monotonic)  # pyright: ignore

TRAINING_VIDEO = "legged_gym_ext.viewer.training_video:TrainingVideo"
"""Records videos; by name, because viewers import training."""


class TrainRunner(OnPolicyRunner):
    """Trains any algorithm that speaks the 5.x runner protocol.

    Attributes:
        env: the robots.
        alg: the algorithm; methods with a student or with state beyond 5.x's protocol offer `inference_policies`,
            `rollout_state`, `load_rollout_state` and `give_learning_rates`.
        logger: writes scalars and shows progress.
        number_watch: ends the training at the first broken number; None with `check_for_nan=False`.
        stop: handles the signals that end a training; None: Ctrl-C is an exception anywhere.
        after_iteration: called with the iteration after each one, in every process; None: nothing is.
        iterations_done: by this object, without those of a checkpoint.
    """

    env: RslRlVecEnv
    alg: Any
    logger: CompactLogger
    number_watch: NumberWatch | None = None
    stop: GracefulStop | None = None
    after_iteration: Callable[[int], None] | None = None
    iterations_done = 0
    _learning = False
    _saved_at = 0.0  # s, monotonic clock
    _interim: Path | None = None  # checkpoint that the next one replaces
    _save_error: WriteError | None = None  # why the newest checkpoint is missing

    def __init__(
        self,
        env: RslRlVecEnv,
        train_cfg: dict[str, Any],
        log_dir: str | None = None,
        device: str = "cpu",
        task: str = "",
    ) -> None:
        """Build the algorithm without output; `describe.py` shows the networks.

        Args:
            env: the robots.
            train_cfg: see `make_runner.to_rsl_cfg`.
            log_dir: run folder; None: nothing is written.
            device: where the networks learn.
            task: name of the task, for checkpoints and messages.

        Raises:
            UserError: the configuration does not fit the algorithm.
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
        if self.cfg.get("check_for_nan", True):
            self.number_watch = NumberWatch(self)
            self.cfg["check_for_nan"] = False  # upstream's own check sees less, in more time
        self._comparison: Any = None  # made by what the environment names under `comparison`
        if self.cfg.get("eval_interval", 0) > 0 and hasattr(self.alg, "inference_policies"):
            self.logger.compare = self.compare
        if self.cfg.get("video"):
            self.logger.record_video = resolve(TRAINING_VIDEO)(self)

    def _configure_multi_gpu(self) -> None:
        """Upstream connects GPUs over NCCL; processes that learn on CPUs are connected over gloo here."""
        if distributed.world_size() == 1 or torch.device(self.device).type == "cuda":
            super()._configure_multi_gpu()
            return
        self.cfg["multi_gpu"] = distributed.init_gloo()
        self.is_distributed, self.gpu_world_size = True, distributed.world_size()
        self.gpu_global_rank, self.gpu_local_rank = distributed.rank(), distributed.local_rank()

    def iterations_to_do(self) -> int:
        """Iterations left of `max_iterations` and of a second stage, if there is one."""
        total = self.cfg["max_iterations"] + self.cfg.get("stage2_iterations", 0)
        return max(0, total - self.current_learning_iteration)

    def compare(self, it: int) -> dict[str, dict[str, float]]:
        """Metrics of teacher and student every `eval_interval` iterations; empty in between."""
        if (it + 1) % self.cfg["eval_interval"]:
            return {}
        if self._comparison is None:
            make = resolve(self.env.env.comparison)
            self._comparison = make(self.env.env, self.env.groups, self.cfg["eval_envs"])
        policies = {name: Policy(network, self.device) for name, network in self.alg.inference_policies().items()}
        return self._comparison.run(policies)

    def learn(self, num_learning_iterations: int, init_at_random_ep_len: bool = False) -> None:
        """Train; the progress panel is closed also when training is interrupted.

        Raises:
            UserError: the first iteration failed, a number broke, or the last checkpoint could not be written.
        """
        if self.number_watch is not None:
            self.number_watch.iteration = self.current_learning_iteration
        self._saved_at, self._learning = time.monotonic(), True
        if self.stop is not None:
            self.stop.defer()
        try:
            super().learn(num_learning_iterations, init_at_random_ep_len)
        except UserError:
            raise
        except Exception as error:
            if is_lost_process(error):
                raise UserError(
                    "another process of this training has ended, see above; what was learnt up to the last checkpoint "
                    "is kept, and --resume goes on from it"
                ) from error
            if self.number_watch is not None:
                self.number_watch.explain(error)
            if self.iterations_done:
                raise
            with user_errors(f"task '{self.task}': the training cannot start"):
                raise
        finally:
            self._learning = False
            if self.logger.progress is not None:
                self.logger.progress.close()
        if self._save_error is not None:
            raise UserError(f"the training is done, but its last checkpoint is missing: {self._save_error}")

    def _after_iteration(self, it: int) -> None:
        """Check the networks; end on request, in all processes at once; save if the last checkpoint is old."""
        if self.number_watch is not None:
            self.number_watch.check_update()
            self.number_watch.iteration = it + 1
        self.iterations_done += 1
        if self.after_iteration is not None:
            self.after_iteration(it)
        stop = self.stop
        if stop is not None and distributed.any_process(stop.request is not None, self.device):
            stop.synchronized = True
            raise stop.request or KeyboardInterrupt()
        interval = self.cfg.get("save_interval_s", 0.0)
        if interval <= 0.0 or self.logger.writer is None or time.monotonic() - self._saved_at < interval:
            return
        if it % self.cfg["save_interval"]:  # otherwise upstream saves now
            path = Path(self.logger.log_dir or "", f"model_{it}.pt")
            self._try_to_save(path)
            self._interim = path if self._save_error is None else self._interim

    def save(self, path: str, infos: dict[str, Any] | None = None) -> None:
        """Write a checkpoint atomically; during training, a failed write is reported and training goes on.

        Raises:
            WriteError: the write failed, and no training is running.
        """
        if self._learning:
            self._try_to_save(Path(path), infos)
        else:
            self._write(Path(path), infos)
        if self._save_error is None:
            self.logger.save_model(path, self.current_learning_iteration)

    def _try_to_save(self, path: Path, infos: dict[str, Any] | None = None) -> None:
        self._saved_at = time.monotonic()  # also of a failure: it would fail after every iteration
        try:
            self._write(path, infos)
        except WriteError as error:
            reported, self._save_error = str(self._save_error) == str(error), error
            if reported:  # upstream saves the last iteration twice
                return
            kept = list(checkpoints(path.parent).values())
            last = f"the last whole checkpoint is {kept[-1].name}" if kept else "there is no checkpoint yet"
            print(f"\n{error}; {last}; the training goes on, and the next save is tried", file=sys.stderr, flush=True)

    def _write(self, path: Path, infos: dict[str, Any] | None = None) -> None:
        """Write a checkpoint under a temporary name and rename it: networks, optimizer, environment, random state.

        Raises:
            WriteError: it, or a file that it needs, cannot be written.
        """
        saved = self.alg.save()
        saved["iter"] = self.current_learning_iteration
        saved["infos"] = {
            **(infos or {}),
            "task": self.task,
            "env": self.env.env.take_snapshot(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "total": (self.logger.tot_timesteps, self.logger.tot_time),
        }
        if hasattr(self.alg, "rollout_state"):
            try:
                saved["infos"]["rollout"] = self.alg.rollout_state()
            except OSError as error:
                raise WriteError(f"cannot write what {path} needs: {os_error_reason(error)}") from error
        write_tensors(path, saved)
        self._save_error = None
        interim, self._interim = self._interim, None
        if interim is not None and interim != path:
            with contextlib.suppress(OSError):
                interim.unlink()

    def load(
        self, path: str, load_cfg: dict | None = None, strict: bool = True, map_location: str | None = None
    ) -> dict[str, Any]:
        """Load networks and, by default, optimizer and iteration.

        Args:
            path: of the checkpoint.
            load_cfg: parts to load, see `policies.WEIGHTS_ONLY`; None: all.
            strict: whether names of tensors must match exactly.
            map_location: device to load to; None: that of the runner.

        Returns:
            What the checkpoint holds besides the algorithm.

        Raises:
            UserError: the checkpoint is damaged, of another task, or does not fit the networks.
        """
        checkpoint = load_checkpoint(Path(path), map_location or self.device)
        infos = checkpoint.get("infos")
        infos = infos if isinstance(infos, dict) else {}
        self._check_task(path, infos)
        try:
            loaded_iteration = self.alg.load(checkpoint, load_cfg, strict)
        except Exception as error:  # contents of another form fail wherever they are used
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
        """Raise a `UserError` for a checkpoint of another task, even if its tensors would fit."""
        other = infos.get("task", self.task)
        if other != self.task:
            raise UserError(
                f"checkpoint {path} was written by task '{other}', not by task '{self.task}': "
                "give the same --task, or another --load_run"
            )

    def resume(self, path: str, changes: Changes | None = None, given: dict[str, Any] | None = None) -> str | None:
        """Continue a training: `load`, then restore environment, random state and totals.

        Args:
            path: of the checkpoint.
            changes: settings that differ from the run's; they replace what the checkpoint holds.
            given: learning rates that the user set, name -> value; they replace the checkpoint's in any case.

        Returns:
            A sentence for the user if the environment could not be restored exactly.

        Raises:
            UserError: the checkpoint or a changed setting does not allow to resume.
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
        self.set_learning_rates({**rates, **(given or {})})
        if distributed.rank() > 0:
            return None  # the checkpoint holds the robots and random numbers of process 0
        with user_errors(f"checkpoint {path} does not fit the settings of task '{self.task}'"):
            changed = [field[len("env.") :] for field in changes if field.startswith("env.")]
            note = self.env.env.restore_snapshot(infos["env"], changed)
            if note is None and "rollout" in infos:
                self.alg.load_rollout_state(infos["rollout"])
            torch.set_rng_state(infos["torch_rng"].cpu())
            if torch.cuda.is_available() and infos["cuda_rng"]:
                torch.cuda.set_rng_state_all([state.cpu() for state in infos["cuda_rng"]])
            self.logger.tot_timesteps, self.logger.tot_time = (number + 0 for number in infos["total"])
        return note

    def set_learning_rates(self, rates: dict[str, Any]) -> None:
        """Replace learning rates of the optimizer by those in `rates`, option -> value; other names are ignored."""
        alg = self.alg
        if hasattr(alg, "give_learning_rates"):
            alg.give_learning_rates(rates)
        elif "learning_rate" in rates:  # rsl-rl-lib's own algorithm: one rate for all
            alg.learning_rate = rates["learning_rate"]
            for group in alg.optimizer.param_groups:
                group["lr"] = alg.learning_rate
