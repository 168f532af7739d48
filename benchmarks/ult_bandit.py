"""ULT's policy gradient in a bandit with a hidden bit: who may learn from whose samples.

One step per episode. A bit b of +-0.2 (or another size) is drawn, only the privilege token sees it, and the reward of
an action a (12 components) is the mean of -(a - b)^2. The best teacher answers with b (a gain of 1), the best student
with 0; only something else than the reward could pull them together. No prediction, no imitation. Per variant and seed:
the teacher's gain on the bit (least squares of its mean action on b) early and at the end, and how far the student's
mean action is from 0 (root mean square over observations and components).

The last two variants are no options of `PPO_ULT`: the read-out that did not act has its ratio to the policy that did.
They are here for comparison.

    python benchmarks/ult_bandit.py --json benchmarks/results/ult_bandit.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tensordict import TensorDict

from rsl_rl_ult import losses
from rsl_rl_ult.algorithms import PPO_ULT
from rsl_rl_ult.modules import ActorCriticULT
from rsl_rl_ult.storage import RolloutStorage

ACTIONS, FRAME = 12, 6
ENVS, STEPS = 128, 8
SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
NETWORK: dict[str, Any] = {
    "width": 32,
    "num_layers": 1,
    "history_length": 1,
    "feedforward_ratio": 1.0,
    "token_hidden_dims": [32],
    "actor_hidden_dims": [32],
    "critic_hidden_dims": [32, 32],
    "head_reads_frame": True,
    "actor_obs_normalization": False,
    "critic_obs_normalization": False,
    "init_noise_std": 0.4,
}
ALGORITHM: dict[str, Any] = {
    "prediction_coef": 0.0,
    "imitation_coef": 0.0,
    "num_learning_epochs": 4,
    "num_mini_batches": 2,
    "entropy_coef": 0.005,
    "desired_kl": 0.01,
    "imitation_loss": "mse",
    "learning_rate": 1e-3,
    "cosine_interval": 0,
}


class RatiosToTheActor(PPO_ULT):
    """No policy gradient: the read-outs in `others` also learn from samples that they did not act.

    There they have their ratio to the policy that acted.
    """

    others = ("student", "teacher")

    def surrogate(self, per_sample: torch.Tensor, batch: Any, evaluation: Any) -> torch.Tensor:
        """Mean over acted samples, and over what the other read-out makes of them."""
        teacher, mean = batch.teacher, evaluation.readouts.other(batch.teacher)
        log_prob = losses.gaussian_log_prob(mean, self.network.std().expand_as(mean), batch.actions)
        other = self.clipped_surrogate(log_prob, batch.acted.log_prob, batch.acted.advantages)
        learns = torch.zeros_like(other)
        for name, rows in (("student", teacher), ("teacher", ~teacher)):
            learns += rows * float(name in self.others)
        return 0.5 * (per_sample + other * learns).mean()


class StudentRatiosToTheActor(RatiosToTheActor):
    """Only the student."""

    others = ("student",)


VARIANTS: dict[str, tuple[type, dict[str, Any]]] = {
    "acted": (PPO_ULT, {"policy_samples": "acted"}),
    "student_from_teacher": (PPO_ULT, {"policy_samples": "student_from_teacher"}),
    "mixture": (PPO_ULT, {"policy_samples": "mixture"}),
    "acted, imitation 0.5": (PPO_ULT, {"policy_samples": "acted", "imitation_coef": 0.5}),
    "ratios to the actor, student": (StudentRatiosToTheActor, {}),
    "ratios to the actor, both": (RatiosToTheActor, {}),
}


class Bandit:
    """Draws observations and bits, and rewards actions."""

    def __init__(self, seed: int, size: float) -> None:
        """Random numbers of its own; the bit is +-`size`."""
        self.size = size
        self.rng = torch.Generator().manual_seed(seed)
        self.observe()

    def observe(self) -> TensorDict:
        """The next episode's only observation: noise for all, the bit's sign for the privilege token and the critic."""
        frame = torch.randn(ENVS, FRAME, generator=self.rng)
        sign = torch.randint(0, 2, (ENVS, 1), generator=self.rng) * 2.0 - 1.0
        self.bit = self.size * sign
        groups = {"policy": frame, "privileged": sign, "critic": torch.cat((frame, sign), dim=-1)}
        return TensorDict(groups, batch_size=[ENVS])

    def reward(self, actions: torch.Tensor) -> torch.Tensor:
        """(N,)."""
        return -(actions - self.bit).square().mean(-1)


def train(variant: str, size: float, seed: int, iterations: int, every: int) -> dict[str, Any]:
    """One training; figures of every `every` iterations."""
    torch.manual_seed(seed)
    cls, options = VARIANTS[variant]
    network = ActorCriticULT(FRAME, FRAME + 1, ACTIONS, 1, **NETWORK)
    storage = RolloutStorage(STEPS, ENVS, context=cls.context(network, SETS))
    alg = cls(network, storage, SETS, mix_seed=seed, **{**ALGORITHM, **options})
    env, ends, curve = Bandit(seed, size), torch.ones(ENVS, dtype=torch.long), []
    obs = env.observe()
    for iteration in range(iterations):
        with torch.inference_mode():
            for _ in range(STEPS):
                rewards = env.reward(alg.act(obs))
                obs = env.observe()
                alg.process_env_step(obs, rewards, ends, {})
            alg.compute_returns(obs)
        alg.update()
        if (iteration + 1) % every == 0:
            curve.append(measure(network, size))
    return {"variant": variant, "bit": size, "seed": seed, "iterations": iterations, "every": every, "curve": curve}


@torch.no_grad()
def measure(network: ActorCriticULT, size: float) -> dict[str, float]:
    """Gain of the teacher on the bit and distance of the student from 0, over the same observations with both bits."""
    frame = torch.randn(512, FRAME, generator=torch.Generator().manual_seed(0))
    pairs = network.frame_actions(frame, torch.zeros(512, ACTIONS))[:, None]
    pairs = torch.cat((torch.zeros(512, network.transformer.context, pairs.shape[-1]), pairs), dim=1)
    age = torch.ones(pairs.shape[:2], dtype=torch.long)
    high, low = (network.read(pairs, torch.full((512, 1, 1), sign), age) for sign in (1.0, -1.0))
    figures = {
        "gain": ((high.teacher - low.teacher) / (2 * size)).mean().item(),
        "student_rms": high.student.square().mean().sqrt().item(),
        "teacher_rms": torch.cat((high.teacher - size, low.teacher + size)).square().mean().sqrt().item(),
        "std": network.std().mean().item(),
    }
    return {name: round(value, 5) for name, value in figures.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: gains of all seeds after a quarter of the training and at its end, and the student's distance.

    "At its end" is the mean of the last quarter.
    """
    lines = ["| bit | variant | gain, early | gain, end | teacher's distance | student's distance |", "|" + "---|" * 6]
    for size, name in dict.fromkeys((row["bit"], row["variant"]) for row in rows):
        curves = [row["curve"] for row in rows if (row["bit"], row["variant"]) == (size, name)]
        quarter = max(1, len(curves[0]) // 4)
        cells = [" / ".join(f"{curve[quarter - 1]['gain']:.2f}" for curve in curves)]
        for key, digits in (("gain", 3), ("teacher_rms", 4), ("student_rms", 4)):
            last = [statistics.mean(point[key] for point in curve[-quarter:]) for curve in curves]
            cells.append(" / ".join(f"{value:.{digits}f}" for value in last))
        lines.append(f"| {size} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Parse flags, train, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the curves")
    parser.add_argument("--bits", type=float, nargs="+", default=[0.2, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--every", type=int, default=2, help="iterations between measurements")
    parser.add_argument("--only", nargs="*", choices=[*VARIANTS], default=[*VARIANTS])
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for size, name in product(args.bits, args.only):
        rows += [train(name, size, seed, args.iterations, args.every) for seed in args.seeds]
        print(table(rows).splitlines()[-1], flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
