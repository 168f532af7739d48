"""Whole files, made once, that the tests damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.worker import MATERIAL

FEW = ("--env.sim.num_threads=1", "--num_envs=4", "--train.runner.num_steps_per_env=4", "--max_iterations=1")
SMALL = ("--train.actor.hidden_dims=[8]", "--train.critic.hidden_dims=[8]", "--train.algorithm.num_mini_batches=2")


@pytest.fixture(scope="session", autouse=True)
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of three methods, a data set and a cloned student, all tiny; also where workers look for it."""
    from legged_gym_ext.scripts import collect, distill, train

    root = tmp_path_factory.mktemp("material")
    for task in ("go2_flat", "go2_cts_flat", "go2_ult_flat"):
        train.main([f"--task={task}", f"--log_root={root / 'logs'}", "--run_name=one", *FEW, *SMALL])
    run = next((root / "logs" / "go2_cts_flat").iterdir())
    collect.main(["--task=go2_cts_flat", f"--load_run={run}", f"--out={root / 'data'}", "--episodes=6", "--num_envs=3",
                  "--rows_per_shard=40", "--env.env.episode_length_s=0.4", "--env.sim.num_threads=1"])  # fmt: skip
    distill.main(["--task=go2_bc_flat", f"--dataset={root / 'data'}", "--max_iterations=1", "--logger=tensorboard",
                  f"--log_root={root / 'logs'}", "--train.algorithm.batch_size=16",
                  "--train.algorithm.held_out=0.3"])  # fmt: skip
    for folder in (root / "logs").glob("*/*"):  # a name that does not depend on the clock
        folder.rename(folder.with_name("2026-01-01_00-00-00"))
    MATERIAL.append(root)
    return root
