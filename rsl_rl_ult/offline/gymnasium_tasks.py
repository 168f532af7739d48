"""Hopper, halfcheetah and walker2d of gymnasium: our PPO as behaviour policy, its data, and scores of who learns them.

Environments are stepped one after the other, which is enough for tasks this small. Needs the extra `gymnasium`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
import torch

from rsl_rl_ult.algorithms.ppo import PPO
from rsl_rl_ult.storage.dataset import ShardWriter, make_card
from rsl_rl_ult.storage.recorder import Recorder

TASKS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
"""Name -> gymnasium's."""


class GymnasiumTask:
    """N environments of a task that reset themselves, as algorithms and recorders step them.

    Attributes:
        last: (N, D) observations after the latest step; of episodes that ended, those before the reset.
    """

    def __init__(self, name: str, num_envs: int, seed: int = 0) -> None:
        """Make and reset them; environment i has the seed `seed` + i.

        Raises:
            ValueError: no such task, or no environment.
        """
        if name not in TASKS:
            raise ValueError(f"task '{name}': expected one of {', '.join(TASKS)}")
        if num_envs < 1:
            raise ValueError(f"num_envs={num_envs}: expected at least 1")
        import gymnasium

        self.name, self.num_envs, self.device = name, num_envs, "cpu"
        self.cfg: dict[str, Any] = {}
        self._envs = [gymnasium.make(TASKS[name]) for _ in range(num_envs)]
        space: Any = self._envs[0].action_space
        self.num_actions, self.limit = int(space.shape[0]), torch.from_numpy(space.high)
        self.max_episode_length = int(self._envs[0].spec.max_episode_steps)  # pyright: ignore
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)
        self._observations = self._stack([env.reset(seed=seed + i)[0] for i, env in enumerate(self._envs)])
        self.last = self._observations

    @staticmethod
    def _stack(rows: list) -> torch.Tensor:
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def get_observations(self) -> dict[str, torch.Tensor]:
        """The group `policy` (N, D)."""
        return {"policy": self._observations}

    def reset(self, seed: int) -> dict[str, torch.Tensor]:
        """Begin new episodes everywhere; environment i from `seed` + i."""
        self._observations = self._stack([env.reset(seed=seed + i)[0] for i, env in enumerate(self._envs)])
        self.episode_length_buf.zero_()
        return self.get_observations()

    def clip(self, actions: torch.Tensor) -> torch.Tensor:
        """Actions (N, A) as they are executed."""
        return torch.maximum(torch.minimum(actions, self.limit), -self.limit)

    def step(self, actions: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Step with actions (N, A): observations, rewards (N,), dones (N,), and `time_outs` (N,) in a dictionary."""
        after, rewards, ends, time_outs, shown = [], [], [], [], []
        for env, action in zip(self._envs, self.clip(actions).numpy()):
            frame, reward, terminated, truncated, _ = env.step(action)
            after.append(frame)
            rewards.append(float(reward))
            ends.append(terminated or truncated)
            time_outs.append(truncated and not terminated)
            shown.append(env.reset()[0] if ends[-1] else frame)
        self.last, self._observations = self._stack(after), self._stack(shown)
        dones = torch.tensor(ends)
        self.episode_length_buf = (self.episode_length_buf + 1).masked_fill(dones, 0)
        extras = {"time_outs": torch.tensor(time_outs)}
        return self.get_observations(), torch.tensor(rewards), dones.long(), extras

    def close(self) -> None:
        """Free the environments."""
        for env in self._envs:
            env.close()


def make_ppo(task: GymnasiumTask, steps: int = 128) -> Any:
    """Our PPO with the usual sizes for these tasks: two networks of 64 x 64, 10 epochs, discount 0.99."""
    network = {"class_name": "MLPModel", "hidden_dims": [64, 64], "activation": "tanh", "obs_normalization": True}
    gaussian = {"class_name": "GaussianDistribution", "init_std": 0.6, "std_type": "log"}
    options = {"num_learning_epochs": 10, "num_mini_batches": 8, "entropy_coef": 0.0, "learning_rate": 3e-4}
    cfg = {
        "num_steps_per_env": steps,
        "multi_gpu": None,
        "obs_groups": {"actor": ["policy"], "critic": ["policy"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": dict(network),
        "algorithm": {"class_name": "rsl_rl_ult.algorithms:PPO", **options},
    }
    return PPO.construct_algorithm(task.get_observations(), task, cfg, "cpu")


def train_ppo(algorithm: Any, task: GymnasiumTask, updates: int) -> None:
    """Rollouts and updates."""
    algorithm.train_mode()
    observations = task.get_observations()
    for _ in range(updates):
        with torch.inference_mode():
            for _ in range(algorithm.storage.num_steps):
                observations, rewards, dones, extras = task.step(algorithm.act(observations))
                algorithm.process_env_step(observations, rewards, dones, extras)
            algorithm.compute_returns(observations)
        algorithm.update()


@torch.inference_mode()
def record(task: GymnasiumTask, policy: Any, folder: Path, episodes: int, sampled: bool, seed: int = 0) -> int:
    """Record `episodes` more of a policy in a data set; returns how many it has then.

    Args:
        task: each of its environments records equally many, and `episodes` is rounded up to that.
        policy: of PPO.
        folder: of the data set.
        episodes: see above.
        sampled: actions are drawn with the deviation of the training.
        seed: of the episodes and of these draws.
    """
    generator = torch.Generator().manual_seed(seed)
    dim, actions = task.last.shape[1], (task.num_actions,)
    card = make_card(
        {"policy": (dim,), "actions": actions, "teacher_actions": actions}, {}, ["teacher"],
        task=None, source=f"gymnasium {TASKS[task.name]}, our PPO", max_episode_length=task.max_episode_length,
    )  # fmt: skip
    observations = task.reset(seed)
    with ShardWriter(folder, card) as writer:
        recorder = Recorder(
            writer, task.num_envs, task.max_episode_length, episodes_per_env=-(-episodes // task.num_envs)
        )
        driver = torch.zeros(task.num_envs, dtype=torch.uint8)
        while recorder.unfinished:
            mean = policy(observations)
            noise = policy.output_std * torch.randn(mean.shape, generator=generator) if sampled else 0.0
            executed = task.clip(mean + noise)
            before = {"policy": observations["policy"], "actions": executed, "teacher_actions": task.clip(mean)}
            observations, rewards, dones, extras = task.step(executed)
            ends = {"truncations": extras["time_outs"], "terminations": dones.bool() & ~extras["time_outs"]}
            recorder.add({**before, **ends, "rewards": rewards, "driver": driver}, {"policy": task.last})
    return writer.episodes


@torch.inference_mode()
def returns_of(task: GymnasiumTask, policy: Any, episodes: int, seed: int = 0) -> list[float]:
    """Returns of the first episodes of a policy, equally many in each environment and at least `episodes` in all.

    Args:
        task: is reset.
        policy: observation groups -> actions (N, A), and, where it has them, `observe(rewards)` and `reset(dones)`.
        episodes: see above.
        seed: of the episodes.
    """
    each = -(-episodes // task.num_envs)
    found: list[list[float]] = [[] for _ in range(task.num_envs)]
    sums = torch.zeros(task.num_envs)
    observations = task.reset(seed)
    observe = getattr(policy, "observe", lambda rewards: None)
    reset = getattr(policy, "reset", lambda dones: None)
    reset(torch.ones(task.num_envs, dtype=torch.bool))
    while min(map(len, found)) < each:
        observations, rewards, dones, _ = task.step(policy(observations))
        sums += rewards
        observe(rewards)
        reset(dones)
        for index in dones.nonzero().flatten().tolist():
            found[index].append(float(sums[index]))
        sums.masked_fill_(dones.bool(), 0.0)
    return [value for values in found for value in values[:each]]


class RandomPolicy:
    """Uniform actions: what a score of 0 stands for."""

    def __init__(self, task: GymnasiumTask, seed: int = 0) -> None:
        """Draw within the limits of `task`."""
        self._limit, self._generator = task.limit, torch.Generator().manual_seed(seed)

    def __call__(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(N, A)."""
        rows = len(observations["policy"])
        return self._limit * (2.0 * torch.rand(rows, len(self._limit), generator=self._generator) - 1.0)
