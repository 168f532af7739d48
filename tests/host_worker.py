"""One method under the stock runner of whatever rsl_rl this interpreter has: train, save, load, resume, infer.

    python tests/host_worker.py ULT

Prints what was found; a failure is an exception. Run by the host matrix (benchmarks/host_matrix.py) and by
tests/test_hosts.py, in a process of its own, because only one rsl_rl can be imported.
"""

from __future__ import annotations

import copy
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from rsl_rl_ult import register
from rsl_rl_ult.hosts.generation import rsl_rl_generation
from rsl_rl_ult.hosts.register import RUNNER_MODULE, host_of
from tests.learning import ToyEnv

METHODS = {"TS": "PPO_TS", "CTS": "PPO_CTS", "RMA": "PPO_RMA", "SITT": "PPO_SITT", "ULT": "PPO_ULT"}
NETWORKS = {
    "TS": {"history_length": 4, "history_hidden_dims": [8], "privilege_hidden_dims": [8], "latent_dim": 3},
    "ULT": {"history_length": 4, "width": 8, "num_heads": 2, "token_hidden_dims": [8]},
}
NETWORKS["CTS"] = NETWORKS["RMA"] = NETWORKS["SITT"] = NETWORKS["TS"]
SETS = {"critic": ["critic"], "privileged": ["privileged"]}


def make_cfg(host: str, method: str) -> dict[str, Any]:
    """The training configuration that a user of that host would write."""
    policy_class = "ActorCriticTS" if method == "RMA" else f"ActorCritic{method}"
    algorithm = {"class_name": METHODS[method], "num_learning_epochs": 2, "num_mini_batches": 2}
    cfg = {
        "num_steps_per_env": 5,
        "save_interval": 100,
        "logger": "tensorboard",
        "run_name": "",
        "algorithm": algorithm,
    }
    if method == "RMA":
        algorithm["stage1_iterations"] = 2
    if host == "v3":
        algorithm.update(rnd_cfg=None, symmetry_cfg=None)
        policy = {
            "actor_hidden_dims": [8],
            "critic_hidden_dims": [8],
            "actor_obs_normalization": True,
            **NETWORKS[method],
        }
        return {**cfg, "obs_groups": {"policy": ["policy"], **SETS}, "policy": {"class_name": policy_class, **policy}}
    actor = {"class_name": policy_class, "hidden_dims": [8], "obs_normalization": True, **NETWORKS[method]}
    critic = {"class_name": "MLPModel", "hidden_dims": [8]}
    return {**cfg, "obs_groups": {"actor": ["policy"], **SETS}, "actor": actor, "critic": critic}


def actions_of(runner: Any) -> torch.Tensor:
    """(6, N, A): what the policy to deploy does in a fresh environment."""
    env, policy = ToyEnv(seed=9), runner.get_inference_policy("cpu")
    obs, found = env.get_observations(), []
    with torch.inference_mode():
        for _ in range(6):
            found.append(policy(obs))
            obs, _, _, _ = env.step(found[-1])
    return torch.stack(found)


def main(method: str) -> None:
    """Run one method; every assertion is a property of the host contract."""
    module: Any = importlib.import_module(RUNNER_MODULE)
    register(RUNNER_MODULE)
    cfg, folder = make_cfg(host_of(module), method), Path(tempfile.mkdtemp())
    runner = module.OnPolicyRunner(ToyEnv(), copy.deepcopy(cfg), str(folder / "first"))
    runner.learn(3)
    runner.save(str(folder / "model.pt"))
    other = module.OnPolicyRunner(ToyEnv(seed=1), copy.deepcopy(cfg), str(folder / "second"))
    other.load(str(folder / "model.pt"))
    assert other.alg.learning_rate == runner.alg.learning_rate
    expected, found = actions_of(runner), actions_of(other)
    assert expected.shape == (6, 8, 3) and torch.isfinite(expected).all() and expected.std() > 0
    assert torch.equal(found, expected), "a loaded policy acts differently"
    other.learn(1)
    assert not torch.equal(actions_of(other), expected), "nothing was learnt after loading"
    saved = torch.load(folder / "model.pt", map_location="cpu", weights_only=False)
    assert {"model_state_dict", "optimizer_state_dict", "iter"} <= set(saved)
    print(f"{method} under rsl_rl {rsl_rl_generation().version}: trained, saved, loaded, resumed, inferred")


if __name__ == "__main__":
    main(sys.argv[1])
