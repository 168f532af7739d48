"""What ULT's design saves: banded passes and cached acting against windows, and its update against those of TS and PPO.

Sizes are those of update.py (Go2 columns, 24 steps, 4 minibatches) and a wide ULT (`WIDE`); `go2` has the options of
the task `go2_ult`. Both sides of a pair are timed in alternating order; figures are medians of the paired ratios. The
table goes to stderr, line by line, JSON to stdout.

    python benchmarks/ult_update.py --json result.json --png growth.png
    python benchmarks/ult_update.py --device cuda --num_envs 4096
"""

from __future__ import annotations

import argparse
import inspect
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from update import ACTIONS, DIMS, METHODS, SIZES, STEPS, MadeUpEnv, make_cfg, timed_update

from legged_gym_ext.envs.go2.go2_methods import Go2ULTCfgPPO
from legged_gym_ext.utils.config import to_dict
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.modules.actor_critic_ult import ActorCriticULT, Readouts
from rsl_rl_ult.modules.attention import attend

DEFAULTS = {n: p.default for n, p in inspect.signature(ActorCriticULT).parameters.items() if p.default is not p.empty}
WIDE = {
    **DEFAULTS,
    "width": 128,
    "feedforward_ratio": 4.0,
    "token_hidden_dims": (128,),
    "actor_hidden_dims": (64,),
    "head_reads_frame": False,
    "actor_obs_normalization": False,
    "critic_obs_normalization": False,
    "critic_hidden_dims": SIZES["legged_gym"]["hidden"],
}
WINDOW, MINI_BATCHES = WIDE["history_length"], 4
WINDOWS, LENGTHS = (8, 16, 32, 64), (24, 48, 96)  # T and S of the growth
PASSES = ("windowed_pass_s", "banded_pass_s"), ("windowed_acting_s", "cached_acting_s")  # names of the growth


class Stopwatch:
    """Times sides in one precision."""

    def __init__(self, device: str, precision: str, pairs: int) -> None:
        """`pairs` timings of both sides; `precision` is float32 or bfloat16."""
        self.device, self.precision, self.pairs = device, precision, pairs
        self._wait = torch.cuda.synchronize if device != "cpu" else lambda: None
        self.autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")

    def seconds(self, call: Callable[..., Any], *args: Any, repeats: int = 1) -> float:
        """Mean seconds of `repeats` calls."""
        self._wait()
        start = time.perf_counter()
        for _ in range(repeats):
            call(*args)
        self._wait()
        return (time.perf_counter() - start) / repeats

    def compare(self, *sides: Callable[[], float]) -> dict[str, Any]:
        """Medians: seconds of a side and of what it is compared with, and their ratios; sides return what they took."""
        for side in sides:
            side()  # warm up
        took: tuple[list[float], list[float]] = [], []
        for index in range(self.pairs):
            for which in (0, 1) if index % 2 == 0 else (1, 0):
                took[which].append(sides[which]())
        ratios = [first / second for first, second in zip(*took)]
        medians = [statistics.median(values) for values in (ratios, *took)]
        figures = dict(zip(("ratio", "seconds", "seconds_against"), medians))
        return {**figures, "ratio_range": [min(ratios), max(ratios)], "pairs": self.pairs}


def make_network(device: str, window: int = WINDOW, **options: Any) -> ActorCriticULT:
    """A wide ULT with legged_gym's critic."""
    torch.manual_seed(0)
    sizes = (DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"])
    # Branches that start at zero would hide every mistake of the attention from `largest_difference`.
    options = {**WIDE, "history_length": window, "zero_init": False, **options}
    return ActorCriticULT(*sizes, **options).to(device)


def make_segments(network: ActorCriticULT, count: int, steps: int, device: str) -> tuple[torch.Tensor, ...]:
    """What `ActorCriticULT.read` reads, B = `count` and S = `steps`: pairs, privileged and ages; all windows full."""
    frames, window = network.transformer.context + steps, network.history_length
    return (
        torch.randn(count, frames, DIMS["policy"] + ACTIONS, device=device),
        torch.randn(count, steps, DIMS["privileged"], device=device),
        torch.arange(window, window + frames, device=device).expand(count, -1),
    )


def cut_windows(segments: tuple[torch.Tensor, ...], window: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The steps of `make_segments` as samples: windows (B S, T, d + A) and privileged (B S, dP)."""
    pairs, privileged, _ = segments
    windows = pairs.unfold(1, window, 1)[:, -privileged.shape[1] :].transpose(-1, -2)
    return windows.flatten(0, 1).contiguous(), privileged.flatten(0, 1)


def windowed_read(network: Any, windows: torch.Tensor, privileged: torch.Tensor) -> Readouts:
    """`ActorCriticULT.read` for windows (M, T, d + A) and privileged (M, dP): plain causal attention over [H ... H, E].

    Equal to `read` with one layer. With more, frames of a segment have themselves seen frames from before the window,
    which a window does not hold: the outputs differ by definition, the networks are the same.
    """
    window = windows.shape[1]
    tokens = torch.cat((network.frame_tokenizer(windows), network.privilege_tokenizer(privileged)[:, None]), dim=1)
    index = torch.arange(window + 1, device=tokens.device)
    times = index.clamp(max=window - 1)  # E stands at the time of the last H, but after it: no H sees E
    distance = (times[:, None] - times).clamp(min=0)
    distance[-1, -1] = window  # where blocks keep E's bias for itself
    future = torch.zeros(distance.shape, device=tokens.device).masked_fill_(index > index[:, None], -torch.inf)
    for block in network.transformer.blocks:
        query, keys, values = block.project(tokens, window + 1)
        bias = (block.distance_bias[:, distance], future)
        tokens = block.finish(tokens, attend(query, keys, values, bias, block.kernel))
    output, read = network.transformer.norm(tokens[:, -2:]).unbind(1)
    pairs = windows[:, -1]
    return Readouts(network.act_student(output, pairs), network.act_teacher(read, pairs), output, read)


@torch.no_grad()
def largest_difference(device: str) -> float:
    """Of read-outs by windows from those by segments and by cache, with one layer; a RuntimeError where too large."""
    network: Any = make_network(device, num_layers=1)
    torch.nn.init.normal_(network.transformer.blocks[0].distance_bias)
    segments = make_segments(network, 3, STEPS, device)
    windowed = windowed_read(network, *cut_windows(segments, WINDOW))
    found = [a - b for a, b in zip(windowed, network.read(*segments))]
    cache = network.transformer.make_cache(3)
    cached = [network.step(frame, segments[1][:, -1], cache) for frame in segments[0].unbind(1)][-1]
    found += [a[STEPS - 1 :: STEPS] - b for a, b in zip(windowed, cached)]
    largest = max(float(difference.abs().max()) for difference in found)
    if not largest <= 1e-5:
        raise RuntimeError(f"read-outs of one layer differ by {largest:.1e}, expected at most 1e-5")
    return largest


def compare_passes(watch: Stopwatch, network: ActorCriticULT, count: int, steps: int = STEPS) -> dict[str, Any]:
    """Forward and backward over windows against the banded pass over `count` segments of as many steps."""
    segments = make_segments(network, count, steps, watch.device)
    windows = cut_windows(segments, network.history_length)

    def learn(read: Callable[..., Readouts], *inputs: Any) -> None:
        with watch.autocast:
            loss = torch.stack([part.float().square().mean() for part in read(*inputs)]).sum()
        network.zero_grad(set_to_none=True)
        loss.backward()

    repeats = 1 if watch.device == "cpu" else 5  # a GPU takes milliseconds
    return watch.compare(
        lambda: watch.seconds(learn, windowed_read, network, *windows, repeats=repeats),
        lambda: watch.seconds(learn, network.read, *segments, repeats=repeats),
    )


def compare_acting(watch: Stopwatch, network: ActorCriticULT, num_envs: int) -> dict[str, Any]:
    """Means of one step from windows against those from a full cache."""
    windows, privileged = cut_windows(make_segments(network, num_envs, 1, watch.device), network.history_length)
    cache = network.transformer.make_cache(num_envs)
    cache.age += network.history_length

    def act(read: Callable[..., Readouts], *inputs: Any) -> None:
        with torch.inference_mode(), watch.autocast:
            read(*inputs)

    return watch.compare(
        lambda: watch.seconds(act, windowed_read, network, windows, privileged, repeats=10),
        lambda: watch.seconds(act, network.step, windows[:, -1], privileged, cache, repeats=10),
    )


def ult_cfg(sizes: str) -> dict[str, Any]:
    """ULT's configuration: a wide one with legged_gym's critic, or the options of `go2_ult`; no mirrored samples."""
    cfg = make_cfg(sizes, "rsl_rl_ult.algorithms:PPO_ULT", "MLPModel")
    cfg["obs_groups"]["privileged"] = ["privileged"]
    cfg["actor"]["class_name"] = "ActorCriticULT"
    cfg["actor"].update(hidden_dims=WIDE["actor_hidden_dims"])
    names = ("width", "feedforward_ratio", "token_hidden_dims", "head_reads_frame")
    cfg["actor"].update({name: WIDE[name] for name in names})
    if sizes == "go2":
        task = to_dict(Go2ULTCfgPPO())
        cfg.update({section: task[section] for section in ("actor", "critic", "algorithm")})
        cfg["algorithm"]["symmetry_cfg"] = None
    return cfg


def build(method: str, env: MadeUpEnv, sizes: str, precision: str) -> Any:
    """An algorithm of `METHODS`, or ULT; all with ULT's epochs and minibatches."""
    torch.manual_seed(0)
    ult = ult_cfg(sizes)
    cfg = ult if method == "ULT" else make_cfg(sizes, *METHODS[method][:2], **METHODS[method][2])
    cfg["algorithm"].update({name: ult["algorithm"][name] for name in ("num_learning_epochs", "num_mini_batches")})
    cfg["algorithm"]["use_mixed_precision"] = precision == "bfloat16"
    cls = construct.resolve(cfg["algorithm"]["class_name"])
    alg = cls.construct_algorithm(env.observations[0], env, cfg, env.device)
    alg.train_mode()
    return alg


def comparisons(watch: Stopwatch, num_envs: int) -> list[dict[str, Any]]:
    """Rows of the table; `ratio` is side / against."""
    rows = []

    def add(side: str, against: str, target: str | None, figures: dict[str, Any]) -> None:
        row = {"side": side, "against": against, "precision": watch.precision, "target": target, **figures}
        rows.append(row)
        label = f"{side} / {against} ({row.get('networks', 'wide')}, {watch.precision})"
        times = f"{row['seconds']:8.4f} s {row['seconds_against']:8.4f} s"
        ratio = f"{row['ratio']:6.2f} [{row['ratio_range'][0]:.2f}, {row['ratio_range'][1]:.2f}]"
        print(f"{label:60} {ratio} {times}" + (f"  target {target}" if target else ""), file=sys.stderr)

    network = make_network(watch.device)
    add("pass over windows", "banded pass", ">= 8", compare_passes(watch, network, num_envs // MINI_BATCHES))
    add("acting from windows", "cached", ">= 5", compare_acting(watch, network, num_envs))
    env = MadeUpEnv(num_envs, watch.device)
    for sizes in SIZES:
        for other, target in (("TS, MLP, T=20", "<= 3"), ("PPO", None)):
            algs = [build(method, env, sizes, watch.precision) for method in ("ULT", other)]
            figures = watch.compare(*(partial(timed_update, alg, env) for alg in algs))
            add("ULT", other, target, {"networks": sizes, **figures})
    return rows


def growth(watch: Stopwatch, num_envs: int) -> list[dict[str, Any]]:
    """Seconds of passes and of acting for growing T and S; with few segments, since windows need memory."""
    count = min(num_envs // MINI_BATCHES, 32 if watch.device == "cpu" else 256)
    few = Stopwatch(watch.device, watch.precision, min(watch.pairs, 3))
    rows = []
    for window, steps in [*((window, STEPS) for window in WINDOWS), *((WINDOW, s) for s in LENGTHS if s != STEPS)]:
        network = make_network(watch.device, window)
        row = {"precision": watch.precision, "window": window, "steps": steps, "segments": count, "pairs": few.pairs}
        found = [compare_passes(few, network, count, steps)]
        if steps == STEPS:  # acting has no S
            row["num_envs"] = MINI_BATCHES * count
            found.append(compare_acting(few, network, row["num_envs"]))
        for names, figures in zip(PASSES, found):
            row.update(zip(names, (figures["seconds"], figures["seconds_against"])))
        rows.append(row)
        print(", ".join(f"{k} {v:.4f}" if k.endswith("_s") else f"{k} {v}" for k, v in row.items()), file=sys.stderr)
    return rows


def draw(rows: list[dict[str, Any]], file: str) -> None:
    """Growth against T and against S; dashed lines are bfloat16."""
    from matplotlib.figure import Figure  # without pyplot: always Agg for PNG

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    texts = (("window", "T [frames]", f"S = {STEPS}"), ("steps", "S [steps]", f"T = {WINDOW}"))
    for panel, (key, label, title) in zip(figure.subplots(1, 2), texts):
        shown = [r for r in rows if (r["steps"] == STEPS if key == "window" else r["window"] == WINDOW)]
        for color, name in enumerate((*PASSES[0], *PASSES[1])):
            for precision, style in (("float32", "o-"), ("bfloat16", "o--")):
                line = [(r[key], r[name]) for r in shown if r["precision"] == precision and name in r]
                if len(line) > 1:
                    text = f"{name[:-2]}, {precision}".replace("_", " ")
                    panel.plot(*zip(*line), style, color=f"C{color}", label=text)
        panel.set(xlabel=label, ylabel="seconds", yscale="log", title=title, xticks=[r[key] for r in shown])
        panel.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))  # beside the lines
    figure.savefig(file, dpi=120)


def main() -> None:
    """Parse flags, measure, print and optionally write and draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--num_envs", type=int, help="512 on cpu, 4096 on cuda by default")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--json", metavar="FILE", nargs="?", const="-", help="write JSON to FILE, or to the output")
    parser.add_argument("--png", metavar="FILE", help="draw the growth")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--device={args.device}: torch sees no CUDA device here; use --device=cpu")
    on_cpu = args.device == "cpu"
    num_envs = args.num_envs if args.num_envs is not None else 512 if on_cpu else 4096
    if num_envs < MINI_BATCHES or args.pairs < 1:
        parser.error(f"--num_envs={num_envs} --pairs={args.pairs}: expected at least {MINI_BATCHES} and 1")
    if torch.device(args.device).index is not None:
        torch.cuda.set_device(args.device)  # the one that timings wait for
    watches = [Stopwatch(args.device, p, args.pairs) for p in (["float32"] if on_cpu else ["float32", "bfloat16"])]
    result = {
        "device": platform.processor() or "cpu" if on_cpu else torch.cuda.get_device_name(args.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "num_envs": num_envs,
        "steps": STEPS,
        "networks": {**SIZES, "ULT, wide": WIDE, "ULT, go2": ult_cfg("go2")},
        "largest_difference_of_one_layer": largest_difference(args.device),
        "comparisons": [row for watch in watches for row in comparisons(watch, num_envs)],
        "growth": [row for watch in watches for row in growth(watch, num_envs)],
    }
    if args.png:
        draw(result["growth"], args.png)
    text = json.dumps(result, indent=2)
    if args.json is not None and args.json != "-":
        Path(args.json).write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
