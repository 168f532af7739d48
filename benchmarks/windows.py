"""How well can a student know its teacher's action from T frames?

The student of a task's shipped policy walks with the noise of training on all levels of its map. Encoders with windows
of several lengths then learn the teacher's latents and actions from these walks, all with the same samples and steps.
Their errors on robots that they have not learnt from say whether longer windows hold more, without a training each.

    python benchmarks/windows.py --task=go2_cts --json windows.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts.evaluate import SEED
from legged_gym_ext.training import evaluation, pretrained
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.policies import load_policies
from legged_gym_ext.training.run_settings import apply_run
from legged_gym_ext.utils.cpus import usable_cpus
from rsl_rl_ult.losses import regression_loss
from rsl_rl_ult.modules.history_encoder import make_history_encoder
from rsl_rl_ult.storage import take_rows

BATCH, HELD_OUT, LEARNING_RATE = 2048, 8, 1e-3
"""Samples of a gradient step, one of how many robots is held out, and the rate at first, which falls to 0."""


class Walks:
    """What a student saw and its teacher thought of it.

    Attributes:
        frames: (S, N, D) normalised frames.
        latents: (S, N, L) of the teacher.
        age: (S, N) steps since the robot's last reset.
    """

    def __init__(self, vec_env: Any, student: Any, steps: int) -> None:
        """Let `student`, a policy of TS, CTS or RMA, walk `steps` control steps (S) with the noise of training."""
        network, sets = student.network, student.sets
        count = vec_env.env.num_envs
        self.network = network
        self.frames = torch.zeros(steps, count, network.dims["actor"])
        self.latents = torch.zeros(steps, count, network.latent_dim)
        self.age = torch.zeros(steps, count, dtype=torch.long)
        evaluation.use_full_command_range(vec_env.env)
        vec_env.env.reset()
        obs, age = vec_env.get_observations(), torch.zeros(count, dtype=torch.long)
        with torch.inference_mode():
            for step in range(steps):
                raw = {name: torch.cat([obs[group] for group in sets[name]], -1) for name in ("actor", "privileged")}
                inputs = network.inputs(raw)
                self.frames[step], self.age[step] = inputs["actor"], age
                self.latents[step] = network.teacher_latent(inputs)
                actions = student(obs)
                obs, _, dones, _ = vec_env.step(actions + network.std() * torch.randn_like(actions))
                student.reset(dones)
                age = torch.where(dones.bool(), 0, age + 1)

    def draw(self, robots: torch.Tensor, length: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Windows (B, T, D) of `robots` (M,), zero before the episode, their newest frames and latents."""
        steps = torch.randint(len(self.frames), (BATCH,), generator=generator)
        chosen = robots[torch.randint(len(robots), (BATCH,), generator=generator)]
        back = torch.arange(length - 1, -1, -1)
        inside = back <= self.age[steps, chosen][:, None]
        rows = (steps[:, None] - back).clamp(min=0) * self.frames.shape[1] + chosen[:, None]
        window = take_rows(self.frames.flatten(0, 1), rows) * inside[..., None]
        return window, self.frames[steps, chosen], self.latents[steps, chosen]

    def losses(self, encoder: Any, length: int, robots: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """(2,) squared differences of latents, and of mean actions."""
        window, frame, latent = self.draw(robots, length, generator)
        with torch.autocast("cpu", torch.bfloat16):
            found = encoder(window)
            with torch.no_grad():
                wanted = self.network.head({"actor": frame}, latent)
            action = regression_loss(self.network.head({"actor": frame}, found), wanted)
            return torch.stack((regression_loss(found, latent), action))


def learn(walks: Walks, length: int, steps: int, hidden: list[int]) -> tuple[Any, float]:
    """An MLP encoder that learnt for `steps` gradient steps, and the seconds it took."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    dims = walks.frames.shape[-1], walks.latents.shape[-1]
    encoder = make_history_encoder("MLP", length, *dims, hidden_dims=hidden)
    optimizer = torch.optim.Adam(encoder.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    robots = _robots(walks, held_out=False)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        walks.losses(encoder, length, robots, generator).sum().backward()
        optimizer.step()
        schedule.step()
    return encoder, time.perf_counter() - start


def _robots(walks: Walks, held_out: bool) -> torch.Tensor:
    index = torch.arange(walks.frames.shape[1])
    return index[(index % HELD_OUT == 0) == held_out]


@torch.no_grad()
def errors(walks: Walks, encoder: Any, length: int) -> dict[str, float]:
    """Mean squared errors of latent and action on held-out robots, 16 minibatches."""
    generator, robots = torch.Generator().manual_seed(5), _robots(walks, held_out=True)
    found = torch.stack([walks.losses(encoder, length, robots, generator) for _ in range(16)]).mean(0)
    return {"latent": round(float(found[0]), 4), "action": round(float(found[1]), 4)}


def main(argv: list[str] | None = None) -> None:
    """Collect, learn, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="go2_cts")
    parser.add_argument("--num_envs", type=int, default=512)
    parser.add_argument("--walk", type=int, default=1200, help="control steps of each robot")
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 20, 50, 100], metavar="T")
    parser.add_argument("--steps", type=int, default=2000, help="gradient steps of each encoder")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(usable_cpus())
    env_cfg, found = task_registry.get_cfgs(args.task)
    train_cfg: Any = found  # has the fields of the method
    folder = pretrained.find(args.task)
    apply_run(folder, args.task, env_cfg, train_cfg)
    evaluation.prepare(env_cfg)
    env_cfg.env.num_envs, env_cfg.seed = args.num_envs, SEED
    set_seed(SEED)
    env, _ = task_registry.make_env(args.task, env_cfg)
    vec_env, policies, _ = load_policies(env, args.task, train_cfg, folder)
    walks = Walks(vec_env, policies["student"].network, args.walk)
    own, length = walks.network.history_encoder, walks.network.history_length
    rows: list[dict[str, Any]] = [{"T": length, "encoder": "shipped", **errors(walks, own, length)}]
    print(rows[-1], flush=True)
    for length in args.lengths:
        encoder, seconds = learn(walks, length, args.steps, train_cfg.actor.history_hidden_dims)
        rows.append({"T": length, "encoder": "new", **errors(walks, encoder, length), "seconds": round(seconds, 1)})
        print(rows[-1], flush=True)
    samples = args.walk * args.num_envs
    result = {"task": args.task, "samples": samples, "gradient_steps": args.steps, "batch": BATCH, "rows": rows}
    args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
