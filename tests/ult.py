"""What tests of ULT share: configurations, small networks, segments of random frames."""

from __future__ import annotations

from typing import Any

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.modules import ActorCriticULT
from rsl_rl_ult.modules.actor_critic_ult import ULTBatch
from rsl_rl_ult.storage import Acted
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
    """Frames and actions, privileged vectors and ages, with an episode end in the second row."""
    length = network.transformer.context + steps
    age = torch.arange(1, length + 1) + torch.tensor([[20], [0], [7]])[:rows]
    age[1, -2:] = torch.tensor([1, 2])
    return torch.randn(rows, length, DIMS["policy"] + ACTIONS), torch.randn(rows, steps, DIMS["privileged"]), age


def make_batch(
    actions: torch.Tensor,
    teacher: torch.Tensor,
    log_prob: torch.Tensor,
    other_log_prob: torch.Tensor | None,
    advantages: torch.Tensor,
    teacher_probability: float | torch.Tensor = 0.5,
) -> ULTBatch:
    """A minibatch of single steps with what the surrogate reads; the rest is empty."""
    none = torch.zeros(len(actions), 0)
    acted = Acted(none, log_prob, none, none, none, advantages)
    segments = {"frame_actions": none, "next_frames": none, "ongoing": none, "age": none}
    common = {"acted": acted, "inputs": {}, "actions": actions, "kl_rows": None, "step": 0}
    probability = teacher_probability * torch.ones(len(actions))
    return ULTBatch(
        **common, **segments, teacher=teacher, teacher_probability=probability, other_log_prob=other_log_prob
    )


def first_batch(alg: Any) -> Any:
    """The first minibatch of the update that the full rollout is ready for."""
    return next(alg.minibatches(alg.make_batch(alg.sample_rows())))


def log_ratios(alg: Any) -> torch.Tensor:
    """Of the originals of every minibatch, before any gradient step; of both read-outs where both learn."""
    found = []
    batches = alg.minibatches(alg.make_batch(alg.sample_rows()))
    for _ in range(alg.num_mini_batches):
        batch = next(batches)
        evaluation = alg.evaluate(batch)
        actions, std = batch.originals(batch.actions), batch.originals(evaluation.std)
        log_prob = losses.gaussian_log_prob(batch.originals(evaluation.mean), std, actions)
        found.append(log_prob - batch.acted.log_prob)
        if alg.policy_samples != "acted":
            other = batch.originals(evaluation.readouts.other(batch.teacher))
            found.append(losses.gaussian_log_prob(other, std, actions) - batch.other_log_prob)
    return torch.cat(found)
