"""The tutorial's ablation: MLP, TCN and GRU history encoders with windows of 20 and 100 frames, on one teacher.

In TS the student never touches the teacher: with the same seed, separate trainings of six encoders would collect the
very same rollouts and train the very same teacher (tests/rsl_rl_ult/algorithms/test_ppo_ts.py). So one training feeds
all six, which makes their losses and times comparable in the same run. It starts from the checkpoint of a trained
teacher, with fresh encoders.

    python benchmarks/encoders.py logs/go2_ts_flat/RUN --iterations 60 --json encoders.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.scripts.evaluate import SEED
from legged_gym_ext.training.evaluation import evaluate_policy
from legged_gym_ext.training.make_runner import set_seed
from legged_gym_ext.training.policies import Policy
from legged_gym_ext.training.runs import find_checkpoint, load_checkpoint
from legged_gym_ext.utils.cpus import usable_cpus
from legged_gym_ext.utils.errors import run_main
from rsl_rl_ult.algorithms import PPO_TS
from rsl_rl_ult.modules import ActorCriticTS

TASK = "go2_ts_flat"
STUDENTS: dict[str, dict[str, Any]] = {
    "MLP, T=20": {"history_encoder": "MLP", "history_length": 20},
    "TCN, T=20": {"history_encoder": "TCN", "history_length": 20},
    "GRU, T=20": {"history_encoder": "GRU", "history_length": 20, "gru_hidden_dim": 64},
    "MLP, T=100": {"history_encoder": "MLP", "history_length": 100},
    "TCN, T=100": {"history_encoder": "TCN", "history_length": 100},
    "GRU, T=100": {"history_encoder": "GRU", "history_length": 100, "gru_hidden_dim": 64},
}


STEPS, MINI_BATCHES = 8, 4  # gradient steps of each encoder in an update, two passes
LEARNING_RATE = 1e-3  # five times the default: these trainings are short


class OneTeacher(PPO_TS):
    """A teacher whose rollouts several students learn from, each timed."""

    students: dict[str, PPO_TS]

    def add_students(self, encoder_options: dict[str, Any]) -> None:
        """Six algorithms that share networks and storage with this one and bring their own E_hist."""
        self.students, self.seconds, self.figures = {}, {}, {}
        for name, options in STUDENTS.items():
            torch.manual_seed(0)
            dims = self.network.dims
            network = ActorCriticTS(
                dims["actor"],
                dims["critic"],
                12,
                dims["privileged"],
                self.network.latent_dim,
                **{**encoder_options, **options},
            )
            for part in ("actor", "std", "critic", "privilege_encoder", "normalizers"):
                setattr(network, part, getattr(self.network, part))
            self.students[name] = PPO_TS(
                network,
                self.storage,
                self.sets,
                num_mini_batches=self.num_mini_batches,
                num_encoder_steps=STEPS,
                num_encoder_mini_batches=MINI_BATCHES,
                encoder_learning_rate=LEARNING_RATE,
            )

    def after_update(self) -> dict[str, float]:
        """Every student's pass over the same rollout."""
        for name, student in self.students.items():
            start = time.perf_counter()
            self.figures[name] = student.train_student()
            self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        return {}


def make_teacher(run: Path) -> tuple[Any, OneTeacher]:
    """The task's environment and the trained teacher of a run, with storage for the longest windows."""
    env_cfg, found = task_registry.get_cfgs(TASK)
    train_cfg: Any = found  # has the method's own fields
    train_cfg.algorithm.class_name = OneTeacher
    train_cfg.algorithm.num_encoder_steps = 0
    train_cfg.runner.logger, train_cfg.runner.eval_interval = "none", 0
    env, _ = task_registry.make_env(TASK, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, TASK, train_cfg, log_root=None)
    saved = load_checkpoint(find_checkpoint(run, -1), "cpu")
    runner.alg.load({**saved, "method": "OneTeacher"})
    longest = max(options["history_length"] for options in STUDENTS.values())
    runner.alg.storage.context = dict.fromkeys(runner.alg.sets["actor"], longest - 1)
    runner.alg.add_students({"history_hidden_dims": train_cfg.actor.history_hidden_dims})
    return runner.env, runner.alg


def train(env: Any, alg: OneTeacher, iterations: int) -> dict[str, float]:
    """Collect and learn; returns median seconds of collection and of PPO."""
    seconds: dict[str, list[float]] = {"collection": [], "ppo": []}
    # As in a training: episodes end all the time, so that every iteration has windows that are not yet full.
    env.episode_length_buf = torch.randint_like(env.episode_length_buf, high=int(env.max_episode_length))
    obs = env.get_observations()
    for iteration in range(iterations):
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(alg.storage.num_steps):
                obs, rewards, dones, extras = env.step(alg.act(obs))
                alg.process_env_step(obs, rewards, dones, extras)
            alg.compute_returns(obs)
        collected = time.perf_counter()
        alg.update()
        passes = sum(times[-1] for times in alg.seconds.values())
        seconds["collection"].append(collected - start)
        seconds["ppo"].append(time.perf_counter() - collected - passes)
        losses = {name: round(figures["student_latent"], 4) for name, figures in alg.figures.items()}
        print(f"{iteration + 1}/{iterations} {time.perf_counter() - start:.1f} s", losses, flush=True)
    return {name: statistics.median(values) for name, values in seconds.items()}


def evaluate(alg: OneTeacher, num_envs: int) -> dict[str, dict[str, float]]:
    """`evaluate.py`'s figures of the teacher and of every student."""
    from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv

    results = {}
    policies = {"teacher": alg.policies["teacher"], **{name: student.student for name, student in alg.students.items()}}
    for name, policy in policies.items():
        env_cfg, _ = task_registry.get_cfgs(TASK)
        env_cfg.env.num_envs, env_cfg.seed = num_envs, SEED
        env, _ = task_registry.make_env(TASK, env_cfg)
        results[name] = evaluate_policy(RslRlVecEnv(env, alg.groups), Policy(policy, "cpu"))
    return results


def main(argv: list[str] | None = None) -> None:
    """Parse flags, train, evaluate, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a trained go2_ts_flat")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--num_envs", type=int, default=256, help="robots of the evaluation")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(usable_cpus())
    set_seed(1)
    env, alg = make_teacher(args.run)
    seconds = train(env, alg, args.iterations)
    figures = evaluate(alg, args.num_envs)
    rows = []
    for name in STUDENTS:
        passed = statistics.median(alg.seconds[name])
        rows.append(
            {
                "student": name,
                "latent_loss": alg.figures[name]["student_latent"],
                "action_loss": alg.figures[name]["student_action"],
                "collection_s": seconds["collection"],
                "learning_s": seconds["ppo"] + passed,
                "student_pass_s": passed,
                "parameters": sum(p.numel() for p in alg.students[name].network.student_parameters()),
                **figures[name],
            }
        )
    result = {
        "iterations": args.iterations,
        "learning_rate": LEARNING_RATE,
        "threads": torch.get_num_threads(),
        "teacher": figures["teacher"],
        "students": rows,
    }
    args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_main(main)
