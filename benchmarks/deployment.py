"""What a step of ULT's exported student costs on one CPU core: onnxruntime and TorchScript, median and 99th percentile.

Random weights: time does not depend on them. Also the largest difference between onnxruntime and torch over the steps, through resets.

    python benchmarks/deployment.py --json result.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from update import ACTIONS, DIMS

from legged_gym_ext.envs.go2.go2_methods import Go2ULTCfgPPO
from legged_gym_ext.utils.config import to_dict
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT
from rsl_rl_ult.modules.policies_ult import CachedPolicy

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
RESET_EVERY = 250


def make_student(options: dict[str, Any]) -> CachedPolicy:
    """A student with random weights whose attention is not zero."""
    torch.manual_seed(0)
    sizes = (DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"])
    return CachedPolicy(ActorCriticULT(*sizes, **{**options, "zero_init": False}).eval(), SETS, "student")


def make_session(student: CachedPolicy, folder: str) -> tuple[Any, int]:
    """An onnxruntime session on one thread, and the size of the cache."""
    import onnxruntime

    path = str(Path(folder) / "student.onnx")
    module: Any = student.as_onnx().eval()
    names: dict[str, Any] = {"input_names": list(module.input_names), "output_names": list(module.output_names)}
    torch.onnx.export(module, module.get_dummy_inputs(), path, dynamo=False, opset_version=18, **names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), module.cache_size


def measure(name: str, options: dict[str, Any], steps: int) -> dict[str, Any]:
    """Milliseconds per step of both forms, and how far onnxruntime is from torch."""
    student = make_student(options)
    with tempfile.TemporaryDirectory() as folder:
        session, size = make_session(student, folder)
    scripted: Any = torch.jit.script(student.as_jit())
    observations = torch.randn(steps, 1, DIMS["policy"])
    cache, worst, took = np.zeros((1, size), np.float32), 0.0, {"onnxruntime": [], "torchscript": []}
    for step, obs in enumerate(observations):
        if step % RESET_EVERY == 0:
            student.reset()
            scripted.reset()
            cache = np.zeros_like(cache)
        start = time.perf_counter()
        actions, cache = session.run(None, {"obs": obs.numpy(), "cache": cache})
        middle = time.perf_counter()
        with torch.inference_mode():
            scripted(obs)
        took["onnxruntime"].append(middle - start)
        took["torchscript"].append(time.perf_counter() - middle)
        worst = max(worst, float((torch.from_numpy(actions) - student({"policy": obs})).abs().max()))
    warm = {form: [1e3 * seconds for seconds in values[steps // 10 :]] for form, values in took.items()}
    figures = {
        form: {"median_ms": statistics.median(values), "p99_ms": statistics.quantiles(values, n=100)[98]}
        for form, values in warm.items()
    }
    return {"network": name, **figures, "largest_difference": worst, "cache_floats": size, "steps": steps}


def main() -> None:
    """Parse flags, measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = to_dict(Go2ULTCfgPPO())
    networks = {"go2_ult": construct.network_options(task["actor"], task["critic"]), "class defaults": {}}
    result = {
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "rows": [measure(name, options, args.steps) for name, options in networks.items()],
    }
    text = json.dumps(result, indent=2)
    if args.json is not None and args.json != "-":
        Path(args.json).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
