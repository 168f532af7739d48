"""Videos of the policy while it learns, in a separate environment; training is not affected."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from legged_gym_ext.simulators import prepare_view
from legged_gym_ext.terrain import RoughTerrain
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.frontends import record
from legged_gym_ext.viewer.player import Player, nominal
from legged_gym_ext.viewer.video import check_packages, check_width
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot import LeggedRobot
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfgPPO
    from legged_gym_ext.training.runner import TrainRunner

SEED = 12345


def prepare_recording(engine: str, runner_cfg: type[LeggedRobotCfgPPO.runner]) -> None:
    """Check the settings of videos and choose how to render; to be called before an engine is imported.

    Args:
        engine: name of the engine that trains.
        runner_cfg: `video_interval`, `video_length` and `video_width` are read.

    Raises:
        UserError: an invalid value, or a missing package.
    """
    if engine != "mujoco":
        raise UserError(
            f"--video: simulator '{engine}' cannot be filmed while it trains; use play.py --video afterwards"
        )
    if runner_cfg.video_interval < 1:
        raise UserError(f"--train.runner.video_interval={runner_cfg.video_interval}: expected at least 1")
    if not runner_cfg.video_length > 0.0:
        raise UserError(f"--train.runner.video_length={runner_cfg.video_length}: expected more than 0 seconds")
    check_width(runner_cfg.video_width, "--train.runner.video_width")
    check_packages("--video", ("imageio", "imageio_ffmpeg"))
    prepare_view(window=False)


class TrainingVideo:
    """Writes `videos/model_<iteration>.mp4`: one undisturbed robot, driven by the policy of that checkpoint."""

    def __init__(self, runner: TrainRunner) -> None:
        """Record the policy of `runner`; the environment is built for the first video."""
        self._runner, self._failed = runner, False
        self._env: LeggedRobot | None = None

    def __call__(self, it: int, total_it: int) -> None:
        """Record a video if one is due after iteration `it`: every `video_interval` iterations, and after the last.

        A video that fails is reported and is the last one; the training goes on.
        """
        runner = self._runner
        if self._failed or (it % runner.cfg["video_interval"] and it + 1 < total_it):
            return
        folder = Path(runner.logger.log_dir or "") / "videos"
        try:
            folder.mkdir(exist_ok=True)
            with self._preserved_state(), contextlib.redirect_stdout(io.StringIO()):
                self._record(folder / f"model_{it}.mp4")
        except (UserError, OSError, RuntimeError, ValueError) as error:
            self._failed = True
            print(f"no more videos: {' '.join(str(error).split())[:200]}")

    def _record(self, path: Path) -> None:
        cfg = self._runner.cfg
        if self._env is None:
            self._env = self._make_env()
        env, trained = self._env, self._runner.env.env
        env.rng.manual_seed(SEED)  # the same start for all videos
        if isinstance(env.terrain, RoughTerrain):
            env.terrain.place_on(env.terrain.kinds[0], round(float(trained.terrain.levels.float().mean())))
        agent = _TrainingAgent(env, self._runner)
        record(Player(env, agent), path, None, cfg["video_length"], cfg["video_width"], None)

    def _make_env(self) -> LeggedRobot:
        """One robot with nominal physics on the ground of the training."""
        trained = self._runner.env.env
        cfg = copy.deepcopy(trained.cfg)
        nominal(cfg)
        cfg.seed, cfg.sim.num_threads = SEED, 1
        return type(trained)(cfg)

    @contextlib.contextmanager
    def _preserved_state(self) -> Iterator[None]:
        """Restore random state, modes and hidden states of the networks afterwards."""
        runner = self._runner
        policy = runner.alg.get_policy()
        hidden = policy.get_hidden_state() if hasattr(policy, "get_hidden_state") else None
        device = torch.device(runner.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            runner.alg.eval_mode()
            policy.reset()
            try:
                yield
            finally:
                runner.alg.train_mode()
                policy.reset() if hidden is None else policy.reset(hidden_state=hidden)


class _TrainingAgent(Agent):
    """The policy that is being trained: the student, if there is one."""

    def __init__(self, env: LeggedRobot, runner: TrainRunner) -> None:
        super().__init__("zero", env, runner.task)
        self._vec_env = RslRlVecEnv(env, runner.env.groups)
        self.active = "student" if hasattr(runner.alg, "student") else "policy"
        self._policies = {self.active: Policy(runner.alg.get_policy(), runner.device)}
