"""Weights & Biases as a logger: rsl-rl-lib's writer, inside the run folder, with the merged configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import wandb
from rsl_rl.utils.wandb_log_writer import WandbLogWriter

from legged_gym_ext.training.runs import load_run_configs
from legged_gym_ext.utils.errors import UserError

DEFAULT_ENVIRONMENT = ("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("WANDB_ERROR_REPORTING", "false")
"""Environment variables and their defaults: nothing leaves the machine, not even error reports."""


class WandbWriter(WandbLogWriter):
    """Writes scalars, configuration, code diff, checkpoints and videos; tensorboard's event files as well."""

    _open: ClassVar[WandbWriter | None] = None

    def __init__(self, log_dir: str, project_name: str) -> None:
        """Start a run of W&B in `log_dir` (or WANDB_DIR), named like that folder.

        Raises:
            UserError: W&B does not start, for example because nobody is logged in and WANDB_MODE is online.
        """
        if WandbWriter._open is not None:
            WandbWriter._open.finish(failed=True)  # of an aborted training; W&B would write into it
        for name, value in DEFAULT_ENVIRONMENT:
            os.environ.setdefault(name, value)
        try:
            # W&B reads its environment once per process; these settings apply to every run.
            folder = os.environ.get("WANDB_DIR") or log_dir
            settings: dict[str, Any] = {"root_dir": folder, "mode": os.environ["WANDB_MODE"]}
            wandb.setup(wandb.Settings(**settings))
            super().__init__(log_dir, project_name)
        except (wandb.Error, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise UserError(
                f"wandb does not start: {reason}; set WANDB_MODE=offline, or use --logger=tensorboard"
            ) from error
        WandbWriter._open = self

    def store_config(self, env_cfg: object, train_cfg: dict) -> None:
        """Store the configurations in `params/` of the run folder as `env` and `train`, under the names of the flags.

        The arguments are ignored: rsl-rl-lib removes class names from its dictionary while it builds the networks.
        """
        saved_env, saved_train = load_run_configs(Path(self.log_dir))
        wandb.config.update({"env": saved_env, "train": saved_train})

    def save_video(self, video: Path, it: int) -> None:
        """Store a video once; W&B's own copies below the run folder are skipped."""
        if "wandb" not in video.relative_to(self.log_dir).parts[:-1]:
            super().save_video(video, it)

    def stop(self) -> None:
        """Finish the run."""
        self.finish()

    def finish(self, failed: bool = False) -> None:
        """Write what is buffered and finish the run; a run that `failed` is marked as such."""
        self.close()
        wandb.finish(exit_code=int(failed))
        WandbWriter._open = None
