"""What a step of each method's exported policy costs on one CPU core, with onnxruntime and with TorchScript.

For each the median and the 99th percentile, and the size of the file.

Networks of the Go2 tasks with random weights: time does not depend on them. `onnxruntime` and `torchscript` are the
files that keep what they remember (policy.onnx, policy.pt), `window` is the one without a memory for Unitree's
controllers, `torch` the network as it is trained. Also the largest difference between onnxruntime and torch over the
steps, through resets. The teachers of `go2_multi` are not exported: `torch` only.

    python benchmarks/deployment.py --json result.json
    python benchmarks/deployment.py --only go2_multi "go2_multi, large" "teacher of go2_multi"
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from update import ACTIONS, DIMS

from legged_gym_ext.deploy.export.unitree import UnitreeGraph
from legged_gym_ext.deploy.export.writer import PolicyGraph, write_onnx
from legged_gym_ext.deploy.policy_file import open_session
from legged_gym_ext.envs.go2 import go2_config, go2_methods
from legged_gym_ext.envs.methods import MultiCfg
from legged_gym_ext.scripts.multi_task import SIZES
from legged_gym_ext.utils.config import to_dict
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.modules import ActorCritic, ActorCriticCTS, ActorCriticSITT, ActorCriticTS, ActorCriticULT
from rsl_rl_ult.modules.multi_task_student import ActorCriticMulti
from rsl_rl_ult.offline.decision_transformer import DecisionSettings, make_decision_transformer
from rsl_rl_ult.policies.decision import DecisionPolicy
from rsl_rl_ult.policies.policy import Policy, StudentPolicy
from rsl_rl_ult.policies.policy_ult import CachedPolicy

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
LAST_ACTION = slice(DIMS["policy"] - ACTIONS, DIMS["policy"])
RESET_EVERY = 250
METHODS: dict[str, tuple[Any, Any]] = {
    "go2": (ActorCritic, go2_config.Go2CfgPPO),
    "go2_ts": (ActorCriticTS, go2_methods.Go2TSCfgPPO),
    "go2_cts": (ActorCriticCTS, go2_methods.Go2CTSCfgPPO),
    "go2_rma": (ActorCriticTS, go2_methods.Go2RMACfgPPO),
    "go2_sitt": (ActorCriticSITT, go2_methods.Go2SITTCfgPPO),
    "go2_ult": (ActorCriticULT, go2_methods.Go2ULTCfgPPO),
    "go2_ult_faithful": (ActorCriticULT, go2_methods.Go2ULTFaithfulCfgPPO),
    "go2_multi": (ActorCriticMulti, MultiCfg),
    "go2_multi, large": (ActorCriticMulti, MultiCfg),
}
"""Row -> class of the network and configuration of the training."""

OPTIONS = {"go2_multi, large": SIZES["large"]}
"""Row -> options of the network other than the configuration's."""

TEACHER = "teacher of go2_multi"
"""Row of a Decision Transformer."""


def make_policy(network_class: Any, train_cfg: Any, changed: dict[str, Any]) -> Any:
    """The policy to deploy, with random weights; ULT's attention is not zero."""
    torch.manual_seed(0)
    task = to_dict(train_cfg())
    task["actor"].update(changed)
    options: dict[str, Any] = construct.network_options(task["actor"], task["critic"])
    sizes = {"num_actor_obs": DIMS["policy"], "num_critic_obs": DIMS["critic"], "num_actions": ACTIONS}
    if network_class is ActorCritic:
        return Policy(network_class(**sizes, **options).eval(), SETS)
    sizes["num_privileged_obs"] = DIMS["privileged"]
    if issubclass(network_class, ActorCriticULT):
        return CachedPolicy(network_class(**sizes, **{**options, "zero_init": False}).eval(), SETS, "student")
    return StudentPolicy(network_class(**sizes, **options).eval(), SETS)


def make_forms(step: Any, folder: Path) -> tuple[dict[str, Callable], Callable, dict[str, float]]:
    """What is timed, by name (frame (1, D) -> actions), how an episode starts, and the sizes of the files in kB."""
    about: Any = SimpleNamespace(
        clip_actions=100.0,
        clip_observations=100.0,
        action_scale=0.25,
        default_joint_pos=(0.0,) * ACTIONS,
        history_length=step.history_length,
        dim=lambda group: step.num_obs,
    )
    files = {name: folder / name for name in ("policy.onnx", "policy.pt", "window.onnx")}
    module, length = PolicyGraph(step, about), step.history_length * step.num_obs
    write_onnx(module, module.example(), (module.input_names, module.output_names), {}, files["policy.onnx"])
    torch.jit.save(torch.jit.script(step.stateful()), str(files["policy.pt"]))
    unitree = UnitreeGraph(step.as_window(LAST_ACTION), about)
    write_onnx(unitree, (torch.zeros(1, length),), (["obs"], ["actions"]), {}, files["window.onnx"])
    sessions = {name: open_session(files[name]) for name in ("policy.onnx", "window.onnx")}
    scripted: Any = torch.jit.load(str(files["policy.pt"]))
    memory = {"state": np.zeros((1, step.state_size), np.float32), "window": np.zeros((1, length), np.float32)}

    def run_onnx(frame: torch.Tensor) -> np.ndarray:
        feed = {"obs": frame.numpy(), **({"state": memory["state"]} if step.state_size else {})}
        actions, _, *state = sessions["policy.onnx"].run(None, feed)
        memory["state"] = state[0] if state else memory["state"]
        return actions

    def run_window(frame: torch.Tensor) -> np.ndarray:
        memory["window"] = np.concatenate((memory["window"][:, step.num_obs :], frame.numpy()), axis=1)
        return sessions["window.onnx"].run(None, {"obs": memory["window"]})[0]

    def run_script(frame: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return scripted(frame).numpy()

    def reset() -> None:
        scripted.reset()
        memory.update({name: np.zeros_like(values) for name, values in memory.items()})

    forms = {"onnxruntime": run_onnx, "torchscript": run_script, "window": run_window}
    return forms, reset, {name: path.stat().st_size / 1e3 for name, path in files.items()}


def measure(name: str, network_class: Any, train_cfg: Any, steps: int) -> dict[str, Any]:
    """Milliseconds per step of all forms, how far onnxruntime is from torch, and sizes."""
    policy = make_policy(network_class, train_cfg, OPTIONS.get(name, {}))
    step = policy.as_step()
    with tempfile.TemporaryDirectory() as folder:
        forms, reset, sizes = make_forms(step, Path(folder))
    took: dict[str, list[float]] = {form: [] for form in (*forms, "torch")}
    observations, last, worst = torch.randn(steps, 1, DIMS["policy"]), torch.zeros(1, ACTIONS), 0.0
    for index, obs in enumerate(observations):
        if index % RESET_EVERY == 0:
            policy.reset()
            reset()
            last = torch.zeros_like(last)
        obs[:, LAST_ACTION] = last
        found = {}
        for form, act in forms.items():
            start = time.perf_counter()
            found[form] = act(obs)
            took[form].append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.inference_mode():
            last = policy({"policy": obs, "critic": torch.zeros(1, DIMS["critic"])})
        took["torch"].append(time.perf_counter() - start)
        worst = max(worst, *(float(np.abs(actions - last.numpy()).max()) for actions in found.values()))
    return {
        "network": name,
        **{form: _figures(values) for form, values in took.items()},
        "largest_difference": worst,
        "state_floats": step.state_size,
        "window_frames": step.history_length,
        "kB": sizes,
        "steps": steps,
    }


def measure_teacher(steps: int) -> dict[str, Any]:
    """Milliseconds per step of a Decision Transformer that clones, with its cache."""
    torch.manual_seed(0)
    settings = DecisionSettings(returns=False, actions=False, max_steps=0)  # as multi_task.py clones
    policy = DecisionPolicy(make_decision_transformer(DIMS["policy"], ACTIONS, settings))
    took = []
    for index in range(steps):
        if index % RESET_EVERY == 0:
            policy.reset()
        frame = {"policy": torch.randn(1, DIMS["policy"])}
        start = time.perf_counter()
        policy(frame)
        took.append(time.perf_counter() - start)
    return {"network": TEACHER, "torch": _figures(took), "steps": steps}


def _figures(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds, without the first tenth."""
    warm = [1e3 * value for value in seconds[len(seconds) // 10 :]]
    return {"median_ms": statistics.median(warm), "p99_ms": statistics.quantiles(warm, n=100)[98]}


def main() -> None:
    """Parse flags, measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--only", nargs="+", choices=[*METHODS, TEACHER], default=[*METHODS, TEACHER], metavar="ROW")
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": [
            measure_teacher(args.steps) if name == TEACHER else measure(name, *METHODS[name], args.steps)
            for name in args.only
        ],
    }
    text = json.dumps(result, indent=2)
    if args.json is not None and args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
