"""One part of a joined batch per process of a torchrun, or all of it in one; writes the weights after some updates.

python -m torch.distributed.run --standalone --nproc_per_node=2 tests/two_processes.py METHOD OUT.pt
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tensordict import TensorDict

from rsl_rl_ult import losses
from tests.learning import ACTIONS, DIMS, ToyEnv, build
from tests.rsl_rl_ult.algorithms.test_dagger import dagger_cfg
from tests.rsl_rl_ult.algorithms.test_ppo_ts import ts_cfg
from tests.ult import ult_cfg

PARTS, ENVS, STEPS, UPDATES, BATCHES = 2, 4, 6, 3, 3


def joined_rows(rows: torch.Tensor, part: int) -> torch.Tensor:
    """Rows of a part's rollout -> rows of the joined rollout."""
    return rows // ENVS * (PARTS * ENVS) + part * ENVS + rows % ENVS


def shuffled(part: int, candidates: torch.Tensor, update: int) -> torch.Tensor:
    """A permutation that both ways of running can make."""
    generator = torch.Generator().manual_seed(1000 * update + part)
    return candidates[torch.randperm(len(candidates), generator=generator)]


def interleave(parts: list[torch.Tensor]) -> torch.Tensor:
    """Minibatch i of the joined batch holds minibatch i of every part."""
    return torch.cat([torch.cat(batches) for batches in zip(*(part.chunk(BATCHES) for part in parts))])


def fixed_order(alg, rank: int | None, update: int) -> None:
    """Replace random shuffles by ones that depend on part and update alone."""
    parts = range(PARTS) if rank is None else [rank]
    if hasattr(alg, "aggregate"):
        fixed_rows(alg, rank, update)
        return
    if alg.samples_trajectories:
        alg.shuffled_envs = lambda: fixed_envs(rank, update)
        return

    def order(candidates_of) -> torch.Tensor:
        if rank is not None:
            return shuffled(rank, candidates_of(rank), update)
        return interleave([joined_rows(shuffled(p, candidates_of(p), update), p) for p in parts])

    alg.storage.permutation = lambda *_: order(lambda part: torch.arange(STEPS * ENVS))
    students = (
        alg.teacher_envs[:ENVS].logical_not() if hasattr(alg, "teacher_envs") else torch.ones(ENVS, dtype=torch.bool)
    )

    def batches(*_):
        rows = torch.arange(STEPS * ENVS)
        for _ in range(2):
            yield from order(lambda part: rows[students[rows % ENVS]]).chunk(BATCHES)

    alg.regression.minibatches = batches


def fixed_rows(alg, rank: int | None, update: int) -> None:
    """The same for minibatches drawn from all rounds, each a few rows of every part."""
    step = iter(range(1000))

    def fit(aggregate, count, generator, symmetry):
        number, found = next(step), []
        for part in range(PARTS) if rank is None else [rank]:
            drawn = torch.Generator().manual_seed(1000 * update + 10 * number + part)
            rows = torch.randint((update + 1) * STEPS * ENVS, (16,), generator=drawn)
            found.append(rows if rank is not None else joined_rows(rows, part))
        return alg.student.fit_rows(aggregate, torch.cat(found), symmetry)

    alg.student.fit = fit


def fixed_envs(rank: int | None, update: int) -> torch.Tensor:
    """The same for minibatches of whole environments; what does not fill a minibatch comes last."""
    orders = [shuffled(part, torch.arange(ENVS), update) for part in range(PARTS)]
    if rank is not None:
        return orders[rank]
    orders = [order + part * ENVS for part, order in enumerate(orders)]
    used = ENVS // BATCHES * BATCHES
    return torch.cat([interleave([order[:used] for order in orders]), *(order[used:] for order in orders)])


def method_cfg(method: str) -> dict:
    """A configuration whose gradients travel in many messages."""
    options = {"num_mini_batches": BATCHES, "desired_kl": 1e-4, "grad_reduce_bucket_mb": 1e-4}
    if method == "DAgger":
        # Adam would make whole steps of gradients that are nothing but rounding.
        return dagger_cfg(grad_reduce_bucket_mb=1e-4, beta_start=0.5, optimizer="sgd", learning_rate=0.1)
    if method == "PPO_ULT":
        return ult_cfg(mix_mode="per_env", policy_samples="acted", student_share=0.0, **options)
    network = {"actor": {"obs_normalization": True}, "teacher_fraction": 0.5} if method == "PPO_CTS" else {}
    return ts_cfg(f"rsl_rl_ult.algorithms:{method}", **options, **network)


def main(method: str, out: str) -> None:
    """Train and save weights, statistics and learning rate."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ["RANK"]) if world > 1 else None
    cfg = method_cfg(method)
    if rank is not None:
        torch.distributed.init_process_group("gloo")
        cfg["multi_gpu"] = {"global_rank": rank, "local_rank": rank, "world_size": world}
    mine = slice(None) if rank is None else slice(rank * ENVS, (rank + 1) * ENVS)
    alg = build(cfg, ToyEnv(PARTS * ENVS if rank is None else ENVS), seed=1 if rank in (None, 0) else 99)
    if rank is not None:
        alg.broadcast_parameters()
    if method == "DAgger":
        teacher = build(ts_cfg(), ToyEnv(ENVS), seed=5)
        alg.load_teacher(teacher.save(), ts_cfg(), ToyEnv(ENVS).get_observations())
    rng = torch.Generator().manual_seed(0)
    for update in range(UPDATES):
        groups = {n: torch.randn(STEPS + 1, PARTS * ENVS, d, generator=rng) * 2 + 1 for n, d in DIMS.items()}
        actions = torch.randn(STEPS, PARTS * ENVS, ACTIONS, generator=rng)
        rewards = torch.randn(STEPS, PARTS * ENVS, generator=rng)
        dones = torch.rand(STEPS, PARTS * ENVS, generator=rng) < 0.2
        obs = [TensorDict({n: g[t][mine] for n, g in groups.items()}) for t in range(STEPS + 1)]
        for step in range(STEPS):
            alg.act(obs[step])
            taken, chosen = alg._step, actions[step][mine]
            taken.actions = chosen
            taken.log_prob = losses.gaussian_log_prob(taken.decision.mean, taken.std, chosen)
            alg.process_env_step(obs[step + 1], rewards[step][mine], dones[step][mine], {})
        alg.compute_returns(obs[-1])
        fixed_order(alg, rank, update)
        metrics = alg.update()
    if rank in (None, 0):
        torch.save({"weights": alg.network.state_dict(), "learning_rate": alg.learning_rate, "metrics": metrics}, out)
    if rank is not None:
        torch.distributed.destroy_process_group()  # its threads, left alone, now and then abort the interpreter's exit


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
