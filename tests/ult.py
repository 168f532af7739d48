"""What tests of ULT share: configurations, small networks, segments of random frames."""

from __future__ import annotations

from typing import Any

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.modules import ActorCriticULT
from tests.learning import ACTIONS, DIMS, make_cfg

ULT = "rsl_rl_ult.algorithms:PPO_ULT"
NETWORK = {"width": 16, "num_heads": 2, "history_length": 4, "token_hidden_dims": [12], "zero_init": False}
NETWORK["head_reads_frame"] = False  # so that what tests find comes through the transformer
# (layers, T, S): context shorter and longer than the rollout, one frame, several layers.
SHAPES = [(1, 1, 5), (1, 4, 6), (2, 4, 6), (2, 9, 6), (3, 3, 4), (1, 6, 1)]


def ult_cfg(actor: dict | None = None, steps: int = 6, **algorithm: Any) -> dict:
    network = {"class_name": "ActorCriticULT", **NETWORK, **(actor or {})}
    cfg = make_cfg(ULT, steps=steps, actor=network, algorithm=algorithm)
    cfg["obs_groups"]["privileged"] = ["privileged"]
    return cfg


def shaped(layers: int, window: int, steps: int, **algorithm: Any) -> dict:
    return ult_cfg({"num_layers": layers, "history_length": window}, steps, **algorithm)


def make_network(layers: int = 2, window: int = 4, cls: type = ActorCriticULT, **options: Any) -> Any:
    torch.manual_seed(layers + window)
    raw = {"actor_obs_normalization": False, "critic_obs_normalization": False}
    options = {**NETWORK, **raw, "num_layers": layers, "history_length": window, **options}
    return cls(DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"], **options)


def segment(network: ActorCriticULT, rows: int = 3, steps: int = 5) -> tuple:
    """Pairs, privileged vectors and ages, with an episode end in the second row."""
    length = network.transformer.context + steps
    age = torch.arange(1, length + 1) + torch.tensor([[20], [0], [7]])[:rows]
    age[1, -2:] = torch.tensor([1, 2])
    return torch.randn(rows, length, DIMS["policy"] + ACTIONS), torch.randn(rows, steps, DIMS["privileged"]), age


def log_ratios(alg: Any) -> torch.Tensor:
    """Of the original samples of every minibatch, before any gradient step; those of both read-outs where both learn from a sample."""
    found = []
    samples, images = alg._prepare()
    batches = alg._mini_batches(samples, images)
    for _ in range(alg.num_mini_batches):
        batch = next(batches)
        count = len(batch["log_prob"])
        mean = alg.policy_mean(batch)[:count]
        std = alg.network.std().expand_as(mean)
        found.append(losses.gaussian_log_prob(mean, std, batch["actions"][:count]) - batch["log_prob"])
        if alg.policy_samples != "acted":
            readouts = batch["readouts"]
            other = torch.where(batch["teacher"][:, None], readouts.student, readouts.teacher)[:count]
            found.append(losses.gaussian_log_prob(other, std, batch["actions"][:count]) - batch["other_log_prob"])
    return torch.cat(found)
