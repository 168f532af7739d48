"""Films the policy while it learns, in an environment of its own: training never notices."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from legged_gym_ext.simulators import prepare_view
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.utils.errors import UserError
from legged_gym_ext.viewer.agents import Agent
from legged_gym_ext.viewer.frontends import record
from legged_gym_ext.viewer.player import Player, nominal
from legged_gym_ext.viewer.video import check_packages, check_width

SEED = 12345


def check_filming(engine: str, runner_cfg: Any) -> None:
    """Choose how to draw; to be called before an engine is imported.

    Args:
        engine: that trains.
        runner_cfg: with `video_interval`, `video_length` and `video_width`.

    Raises:
        UserError: a number without sense, or what filming needs is not here.
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

    def __init__(self, runner: Any) -> None:
        """Film what `runner` (a `TrainRunner`) trains; the environment is built for the first video."""
        self._runner, self._env, self._broken = runner, None, False

    def __call__(self, it: int, total_it: int) -> None:
        """Film after iteration `it`, if it is the turn of one: every `video_interval` iterations, and after the last.

        A video that fails is said once and ends the filming, not the training.
        """
        runner = self._runner
        if self._broken or (it % runner.cfg["video_interval"] and it + 1 < total_it):
            return
        folder = Path(runner.logger.log_dir) / "videos"
        try:
            folder.mkdir(exist_ok=True)
            with self._undisturbed(), contextlib.redirect_stdout(io.StringIO()):
                self._film(folder / f"model_{it}.mp4")
        except (UserError, OSError, RuntimeError, ValueError) as error:
            self._broken = True
            print(f"no more videos: {' '.join(str(error).split())[:200]}")

    def _film(self, path: Path) -> None:
        cfg = self._runner.cfg
        if self._env is None:
            self._env = self._make_env()
        env, trained = self._env, self._runner.env.env
        env.rng.manual_seed(SEED)  # all videos begin alike
        if not env.terrain.is_flat:
            env.terrain.place_on(env.terrain.kinds[0], round(float(trained.terrain.levels.float().mean())))
        agent = _Learner(env, self._runner)
        record(Player(env, agent), path, None, cfg["video_length"], cfg["video_width"], None)

    def _make_env(self) -> Any:
        """One robot with nominal physics on the ground of the training."""
        trained = self._runner.env.env
        cfg = copy.deepcopy(trained.cfg)
        nominal(cfg)
        cfg.seed, cfg.sim.num_threads = SEED, 1
        return type(trained)(cfg)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Leave random numbers, modes and memories of the networks as they were."""
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


class _Learner(Agent):
    """The policy that is being trained: the student, where there is one."""

    def __init__(self, env: Any, runner: Any) -> None:
        from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

        super().__init__("zero", env, runner.task, None, None)
        self._groups = RslRlVecEnv(env, runner.env.groups)
        self.active = "student" if hasattr(runner.alg, "student") else "policy"
        self._policies = {self.active: Policy(runner.alg.get_policy(), runner.device)}
