"""A small made-up task and ways to drive algorithms through it: shared by the tests of the algorithms."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tensordict import TensorDict

DIMS = {"policy": 5, "privileged": 4, "critic": 7}
ACTIONS = 3


class ToyEnv:
    """Random observations that depend a little on the actions; episodes end at odd times, some by time-out."""

    def __init__(self, num_envs: int = 8, seed: int = 0, done_rate: float = 0.15) -> None:
        self.num_envs, self.num_actions, self.device, self.cfg = num_envs, ACTIONS, "cpu", {}
        self.max_episode_length = 20
        self.done_rate, self.rng = done_rate, torch.Generator().manual_seed(seed)
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)
        self.mix = torch.randn(ACTIONS, DIMS["policy"], generator=self.rng)
        self.last = torch.zeros(num_envs, ACTIONS)

    def get_observations(self) -> TensorDict:
        from tensordict import TensorDict  # not there for the Python of old forks, which use the rest of this module

        groups = {n: torch.randn(self.num_envs, d, generator=self.rng) * 2.0 + 0.5 for n, d in DIMS.items()}
        groups["policy"] += self.last.tanh() @ self.mix
        groups["privileged"][:, :2] = groups["policy"][:, :2]  # something a student can find out
        return TensorDict(groups, batch_size=[self.num_envs])

    def step(self, actions: torch.Tensor) -> tuple:
        rewards = -actions.square().mean(-1) + torch.randn(self.num_envs, generator=self.rng)
        dones = torch.rand(self.num_envs, generator=self.rng) < self.done_rate
        time_outs = dones & (torch.rand(self.num_envs, generator=self.rng) < 0.5)
        self.last = torch.where(dones[:, None], torch.zeros_like(actions), actions)
        return self.get_observations(), rewards, dones.long(), {"time_outs": time_outs}


def make_cfg(class_name: Any = "rsl_rl_ult.algorithms:PPO", *, steps: int = 6, **sections: dict) -> dict:
    """A 5.x training configuration with small networks; `actor`, `critic`, `algorithm` update the sections."""
    cfg = {
        "num_steps_per_env": steps,
        "save_interval": 100,
        "run_name": "",
        "logger": "tensorboard",
        "multi_gpu": None,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": {
            "class_name": "MLPModel",
            "hidden_dims": [16, 8],
            "activation": "elu",
            "obs_normalization": True,
            "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.8, "std_type": "scalar"},
        },
        "critic": {
            "class_name": "MLPModel",
            "hidden_dims": [12],
            "activation": "elu",
            "obs_normalization": True,
        },
        "algorithm": {
            "class_name": class_name,
            "num_learning_epochs": 3,
            "num_mini_batches": 2,
            "entropy_coef": 0.01,
            "learning_rate": 1e-3,
            "use_mixed_precision": False,  # numbers must not depend on the processor
        },
    }
    for name, options in sections.items():
        cfg.setdefault(name, {}).update(options)
    return cfg


def build(cfg: dict, env: ToyEnv, seed: int = 1) -> Any:
    """The algorithm of `cfg` on `env`, with weights drawn from `seed`."""
    from rsl_rl.utils import resolve_callable

    torch.manual_seed(seed)
    cls = resolve_callable(cfg["algorithm"]["class_name"])
    return cls.construct_algorithm(env.get_observations(), env, copy.deepcopy(cfg), "cpu")


def collect(alg: Any, env: ToyEnv, obs: TensorDict, steps: int) -> TensorDict:
    """One rollout, as the runner does it; returns the last observations."""
    with torch.inference_mode():
        for _ in range(steps):
            actions = alg.act(obs)
            obs, rewards, dones, extras = env.step(actions)
            alg.process_env_step(obs, rewards, dones, extras)
        alg.compute_returns(obs)
    return obs


def train(
    cfg: dict, iterations: int = 3, num_envs: int = 8, seed: int = 1, env_seed: int = 0, on_update: Any = None
) -> tuple:
    """Train on the toy task; returns the algorithm and the losses of every update."""
    env = ToyEnv(num_envs, env_seed)
    alg = build(cfg, env, seed)
    alg.train_mode()
    obs, history = env.get_observations(), []
    for iteration in range(iterations):
        torch.manual_seed(seed + 100 + iteration)  # upstream's update draws actions that it never uses; ours does not
        obs = collect(alg, env, obs, cfg["num_steps_per_env"])
        if on_update is not None:
            on_update(alg)
        history.append(alg.update())
    return alg, history
