"""A Go2 task trained through the rsl_rl 1.0.2 contract (tests/old_host.py).

The run goes into a folder that evaluate.py and play.py read.

python benchmarks/fork_training.py --task go2_ts_flat --seed 1
python legged_gym_ext/scripts/evaluate.py --task=go2_ts_flat --load_run=<the folder it names>
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Parse flags, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="go2_ts_flat")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, help="those of the task by default")
    parser.add_argument("--log_root", type=Path)
    args = parser.parse_args()

    from legged_gym_ext.utils.cpus import limit_spinning

    limit_spinning()

    import torch

    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.runs import log_root, new_run_dir, save_run_configs
    from legged_gym_ext.utils.cpus import usable_cpus
    from legged_gym_ext.wrappers.vec_env_v1 import VecEnvV1, train_cfg_v1
    from rsl_rl_ult import register
    from tests import old_host

    register(old_host)
    torch.set_num_threads(usable_cpus())
    env_cfg, train_cfg = task_registry.get_cfgs(args.task)
    env_cfg.seed = train_cfg.seed = args.seed
    set_seed(args.seed)
    env = VecEnvV1(env_cfg)
    cfg = old_host.as_dict(train_cfg_v1(train_cfg, env.terms))
    folder = new_run_dir(log_root(args), train_cfg.runner.experiment_name, f"fork_seed{args.seed}")
    save_run_configs(folder, env_cfg, train_cfg)
    runner = old_host.OnPolicyRunner(env, cfg)
    env.episode_length_buf = torch.randint(0, env.max_episode_length, (env.num_envs,))
    begin, done = time.perf_counter(), 0
    total = args.iterations or cfg["runner"]["max_iterations"]
    while done < total:
        runner.learn(min(20, total - done))
        done = runner.current_learning_iteration
        print(
            f"it {done}/{total}  {time.perf_counter() - begin:.0f} s  mean reward per step {runner.rewards[-1]:.4f}",
            flush=True,
        )
    runner.save(folder / f"model_{done - 1}.pt")
    print(f"run folder: {folder}")


if __name__ == "__main__":
    main()
