r"""rsl-rl-lib's own `Distillation` on the tasks of this package, with a teacher of ours: a reference for `DAgger`.

Its student always drives, with noise of its own; every update learns from the last rollout alone, by backpropagation
through time; there is neither beta nor aggregation. The student is upstream's `RNNModel` (a GRU) on the group `policy`.

    python benchmarks/upstream_distillation.py --teacher logs/go2_rma/RUN --env rewards.tracking_sigma=0.25 --seeds 1
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from dagger import TASK, _short, make_cfgs
from rsl_rl.algorithms import Distillation
from rsl_rl.models import RNNModel
from rsl_rl.storage import RolloutStorage
from torch import nn

from legged_gym_ext.utils.errors import run_main, user_errors
from rsl_rl_ult.algorithms.teacher import Teacher, load_teacher

STEPS, EPOCHS, GRADIENT_LENGTH = 24, 2, 12
NOISE = 0.1
"""Standard deviation of the student's actions, as in Isaac Lab's configuration of upstream's distillation."""


class OurTeacher(nn.Module):
    """A policy of ours as the teacher that upstream's algorithm asks for; it has no hidden state of upstream's kind."""

    def __init__(self, teacher: Teacher) -> None:
        """Act like `teacher`."""
        super().__init__()
        self.policy = teacher.policy

    def forward(self, obs: Any) -> torch.Tensor:
        """Observation groups (N, ...) -> mean actions (N, A)."""
        return self.policy(obs)

    def reset(self, dones: torch.Tensor | None = None, hidden_state: Any = None) -> None:
        """Forget episodes; upstream resets once more while it learns, where the teacher is not asked."""
        if dones is not None:
            self.policy.reset(dones)

    def get_hidden_state(self) -> None:
        """Nothing to carry over."""


def train(env: Any, teacher: Teacher, rounds: int) -> Distillation:
    """Upstream's algorithm after `rounds` updates in `env`, a `RslRlVecEnv`."""
    obs = env.get_observations()
    std = {"class_name": "GaussianDistribution", "init_std": NOISE, "std_type": "scalar"}
    student = RNNModel(
        obs,
        {"student": ["policy"]},
        "student",
        env.num_actions,
        hidden_dims=[128, 128, 64],
        obs_normalization=True,
        rnn_type="gru",
        rnn_hidden_dim=128,
        distribution_cfg=std,
    )
    storage = RolloutStorage("distillation", env.num_envs, STEPS, obs, [env.num_actions], "cpu")
    alg = Distillation(
        student,
        OurTeacher(teacher),  # pyright: ignore[reportArgumentType]  # what it asks for, not what it names
        storage,
        num_learning_epochs=EPOCHS,
        gradient_length=GRADIENT_LENGTH,
        max_grad_norm=1.0,
    )
    alg.train_mode()
    for number in range(rounds):
        with torch.inference_mode():
            for _ in range(STEPS):
                obs, rewards, dones, extras = env.step(alg.act(obs))
                alg.process_env_step(obs, rewards, dones, extras)
        print(f"round {number + 1}/{rounds}  behaviour loss {alg.update()['behavior']:.4f}", flush=True)
    return alg


def run(args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One training, and teacher and student side by side afterwards, as in benchmarks/dagger.py."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.comparison import Comparison
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.policies import Policy
    from legged_gym_ext.training.runs import load_checkpoint, load_run_configs
    from legged_gym_ext.training.teacher import find_source
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

    folder, path = find_source(str(args.teacher), Path(), "--teacher")
    saved, cfg = load_checkpoint(path, "cpu"), load_run_configs(folder)[1]
    env_cfg, _ = make_cfgs(args, "on_policy", seed)
    set_seed(seed)
    env, _ = task_registry.make_env(TASK, env_cfg)
    vec_env = RslRlVecEnv(env, ["policy", "critic", "privileged"])
    with user_errors(f"--teacher={args.teacher}"):
        teacher = load_teacher(saved, cfg, vec_env.get_observations(), vec_env.num_actions)
    shown = Policy(copy.deepcopy(teacher.policy), "cpu")
    alg = train(vec_env, teacher, args.rounds)
    alg.eval_mode()
    alg.student.reset()
    policies = {"teacher": shown, "student": Policy(alg.student, "cpu")}
    final = Comparison(env, vec_env.groups, args.final_robots).run(policies)
    steps = args.rounds * STEPS * args.num_envs
    return {"seed": seed, "steps": steps, "final": {name: _short(figures) for name, figures in final.items()}}


def main(argv: list[str] | None = None) -> None:
    """Train and print one line per seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--teacher", type=Path, required=True, help="run folder or checkpoint of one of our methods")
    add("--env", nargs="*", default=[], metavar="SECTION.FIELD=JSON", help="environment settings of the teacher's run")
    add("--seeds", type=int, nargs="+", default=[1])
    add("--rounds", type=int, default=16)
    add("--num_envs", type=int, default=128)
    add("--final_robots", type=int, default=64)
    args = parser.parse_args(argv)
    args.batch_size, args.interval, args.eval_robots = 1, 1, 2  # of DAgger's configuration, which is not trained here
    torch.set_num_threads(1)
    for seed in args.seeds:
        print(json.dumps(run(args, seed)), flush=True)


if __name__ == "__main__":
    run_main(main)
