r"""Distribution shift made visible: cloning, DAgger and on-policy distillation of one teacher, on rough ground.

Students of the same teacher, network and number of environment steps differ in who drives while they learn: the teacher
for ever (`cloning`, beta 1), first the teacher and then the student (`dagger`, every round kept), or the student from
the beginning (`on_policy`, beta 0, only the last round kept). Every few rounds teacher and student drive robots side by
side, and the squared difference of their mean actions is measured in the states of each. At the end: return, falls and
the ladder.

Rows that the result file has are not trained again, so the command may be interrupted and repeated.

    python benchmarks/dagger.py --teacher logs/go2_rma/RUN --env rewards.tracking_sigma=0.25 \
        --json benchmarks/results/dagger.json --png docs/images/dagger.png
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

from legged_gym_ext.utils.errors import run_main

TASK = "go2_dagger"
ARMS: dict[str, dict[str, Any]] = {
    "cloning": {"beta_schedule": "constant", "beta_start": 1.0},
    "dagger": {"beta_schedule": "linear", "beta_start": 1.0},
    "on_policy": {"beta_schedule": "constant", "beta_start": 0.0, "aggregate": "none"},
}
TITLES = {
    "cloning": "cloning: the teacher drives",
    "dagger": "DAgger: the teacher, then the student",
    "on_policy": "on-policy: the student drives",
}
ERROR = "action_error"


def make_cfgs(args: argparse.Namespace, arm: str, seed: int) -> tuple[Any, Any]:
    """Configurations of one training; robots are spread evenly over all levels of the ground."""
    from legged_gym_ext.envs import task_registry

    env_cfg, train_cfg = task_registry.get_cfgs(TASK)
    for text in args.env:
        name, _, value = text.partition("=")
        section, _, field = name.partition(".")
        setattr(getattr(env_cfg, section), field, json.loads(value))
    env_cfg.env.num_envs, env_cfg.seed, train_cfg.seed = args.num_envs, seed, seed
    env_cfg.terrain.curriculum, env_cfg.sim.num_threads = False, 1
    common = {"beta_rounds": max(1, args.rounds // 3), "batch_size": args.batch_size, "dagger_seed": seed}
    for name, value in {**ARMS[arm], **common}.items():
        setattr(train_cfg.algorithm, name, value)
    runner: Any = train_cfg.runner
    runner.teacher, runner.logger, runner.run_name = str(args.teacher.resolve()), "tensorboard", f"{arm}_{seed}"
    runner.max_iterations, runner.eval_interval, runner.eval_envs = args.rounds, args.interval, args.eval_robots
    return env_cfg, train_cfg


def train(args: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Train one student and measure it; the row of the result file."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.comparison import Comparison
    from legged_gym_ext.training.make_runner import set_seed
    from legged_gym_ext.training.policies import Policy

    env_cfg, train_cfg = make_cfgs(args, arm, seed)
    set_seed(seed)
    env, _ = task_registry.make_env(TASK, env_cfg)
    runner, _ = task_registry.make_alg_runner(env, TASK, train_cfg, args.log_root)
    rounds, compared = [], []
    update, compare = runner.alg.update, runner.logger.compare

    def updated() -> dict[str, float]:
        metrics = update()
        rounds.append({name: round(value, 5) for name, value in metrics.items()})
        return metrics

    def comparing(it: int) -> dict[str, dict[str, float]]:
        found = compare(it)
        if found:
            compared.append({"round": it + 1, **{name: _short(figures) for name, figures in found.items()}})
        return found

    runner.alg.update, runner.logger.compare = updated, comparing
    started = time.monotonic()
    runner.learn(args.rounds, init_at_random_ep_len=True)
    seconds = time.monotonic() - started
    policies = {name: Policy(network, runner.device) for name, network in runner.alg.inference_policies().items()}
    for policy in policies.values():
        policy.network.reset()  # of what it remembers of other robots, of another number
    final = Comparison(env, runner.env.groups, args.final_robots).run(policies)
    return {
        "arm": arm,
        "seed": seed,
        "teacher_steps": runner.alg.teacher_steps,
        "steps": runner.alg.labels,
        "labels": runner.alg.labels,
        "seconds": round(seconds, 1),
        "rounds": rounds,
        "compared": compared,
        "final": {name: _short(figures) for name, figures in final.items()},
        "run": Path(str(runner.logger.log_dir)).name,
        "ladder": None,
    }


def _short(figures: dict[str, float]) -> dict[str, float]:
    kept = ("return", "linear_tracking", "yaw_tracking", "fall_rate", ERROR)
    return {name: round(figures[name], 5) for name in kept}


def climb(args: argparse.Namespace, run: str) -> dict[str, Any]:
    """The ladder of a run's student, with few robots per level."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.ladder import configure_ladder, make_plan
    from legged_gym_ext.training.ladder_run import Ladder
    from legged_gym_ext.training.policies import load_policies

    env_cfg, train_cfg = make_cfgs(args, "dagger", 1)
    configure_ladder(env_cfg, env_cfg.terrain)
    plan = make_plan(env_cfg.terrain, args.ladder_robots)
    env_cfg.env.num_envs = plan.num_envs
    env, _ = task_registry.make_env(TASK, env_cfg)
    vec_env, policies, _ = load_policies(env, TASK, train_cfg, args.log_root / TASK / run)
    found = Ladder(vec_env, plan, 1).climb(policies["student"])
    rates = {kind: [round(rate, 3) for rate in levels] for kind, levels in found["ladder"].items()}
    return {"robots_per_level": args.ladder_robots, "rates": rates, "fall_rate": found["ladder_effort"]["fall_rate"]}


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the result file, a row per line."""
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


def mean(values: list[float]) -> float:
    """Mean, 0 of nothing."""
    return statistics.fmean(values) if values else 0.0


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line per way to learn; seeds are separated by slashes."""
    lines = [
        "| who drives | steps = labels | error in the teacher's states | in the student's | ratio | return of 5 s "
        "(teacher) | falls in 5 s (teacher) | ladder: share that gets 4 m away |",
        "|" + "---|" * 8,
    ]
    for arm in ARMS:
        mine = sorted((row for row in rows if row["arm"] == arm), key=lambda row: row["seed"])
        if not mine:
            continue
        teacher, student = ([row["final"][name] for row in mine] for name in ("teacher", "student"))
        cells = [
            TITLES[arm],
            f"{mine[0]['steps'] / 1e6:.2f} M",
            " / ".join(f"{one[ERROR]:.3f}" for one in teacher),
            " / ".join(f"{one[ERROR]:.3f}" for one in student),
            " / ".join(f"{s[ERROR] / t[ERROR]:.1f}" for s, t in zip(student, teacher)),
            " / ".join(f"{s['return']:.1f}" for s in student) + f" ({mean([t['return'] for t in teacher]):.1f})",
            " / ".join(f"{s['fall_rate']:.0%}" for s in student) + f" ({mean([t['fall_rate'] for t in teacher]):.0%})",
            " / ".join(f"{_climbed(row):.2f}" for row in mine if row["ladder"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _climbed(row: dict[str, Any]) -> float:
    """Share of the robots of a ladder that succeed, over all kinds and levels."""
    return mean([rate for levels in row["ladder"]["rates"].values() for rate in levels])


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """How far the student is from its teacher, in the states of each: a panel per way to learn, means of the seeds."""
    from matplotlib.ticker import NullLocator

    from legged_gym_ext.reports import style

    arms = [arm for arm in ARMS if any(row["arm"] == arm for row in rows)]
    figure, axes = style.panels(len(arms) + 1, len(arms) + 1, 3.7)
    own, others = style.COLOURS[1], style.COLOURS[0]
    colours = dict(zip(arms, (style.COLOURS[3], style.COLOURS[2], style.COLOURS[4])))
    for panel, arm in zip(axes, arms):
        mine = [row for row in rows if row["arm"] == arm]
        rounds = [point["round"] for point in mine[0]["compared"]]
        both = {}
        for name, colour in (("student", own), ("teacher", others)):
            curves = [[point[name][ERROR] for point in row["compared"]] for row in mine]
            both[name] = [mean(list(values)) for values in zip(*curves)]
            for curve in curves:
                panel.plot(rounds, curve, color=colour, linewidth=0.7, alpha=0.5)
            panel.plot(rounds, both[name], color=colour, marker=".")
        panel.fill_between(rounds, both["teacher"], both["student"], color=style.GREY, alpha=0.18, linewidth=0)
        ratio = both["student"][-1] / both["teacher"][-1]
        panel.set(
            title=TITLES[arm].replace(": ", "\n"), xlabel=f"round\nin the end {ratio:.1f} times as far", yscale="log"
        )
        panel.yaxis.set_minor_locator(NullLocator())
        panel.set_yticks([0.03, 0.1, 0.3, 1.0], ["0.03", "0.1", "0.3", "1"])
        panel.label_outer()
    limits = [panel.get_ylim() for panel in axes[:-1]]
    for panel in axes[:-1]:
        panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    axes[0].set_ylabel("squared difference from\nthe teacher's mean action")
    last = axes[-1]
    for arm in arms:
        mine = [row for row in rows if row["arm"] == arm]
        steps = [point["round"] for point in mine[0]["compared"]]
        curves = [[point["student"]["return"] for point in row["compared"]] for row in mine]
        for curve in curves:
            last.plot(steps, curve, color=colours[arm], linewidth=0.7, alpha=0.5)
        name = TITLES[arm].partition(":")[0]
        last.plot(steps, [mean(list(v)) for v in zip(*curves)], color=colours[arm], marker=".", label=name)
    level = mean([row["final"]["teacher"]["return"] for row in rows])
    last.axhline(level, color=style.INK, linewidth=0.9, linestyle=":")
    last.annotate("teacher", (0.03, level), xycoords=("axes fraction", "data"), va="bottom")
    last.set(
        title="what it earns\nwhen it drives alone", xlabel="round", ylabel="return of 5 s", ylim=(0.0, 1.15 * level)
    )
    last.legend(loc="lower right", fontsize="small", labelspacing=0.2, borderaxespad=0.0)
    style.legend(
        figure,
        [
            style.line(own, "-", "in states that the student visits: where it will have to act", marker="."),
            style.line(others, "-", "in states that the teacher visits: where a data set comes from", marker="."),
        ],
    )
    figure.suptitle("A student that only watches is good where its teacher goes, not where it goes itself")
    figure.savefig(path, dpi=style.DPI, facecolor="white")


def main(argv: list[str] | None = None) -> None:
    """Train what is missing, print the table and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--teacher", type=Path, required=True, help="run folder or checkpoint")
    add("--json", type=Path, required=True, help="the result; rows that are there are kept")
    add("--png", type=Path, help="the picture")
    add("--log_root", type=Path, default=Path("logs"))
    add("--env", nargs="*", default=[], metavar="SECTION.FIELD=JSON", help="environment settings of the teacher's run")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    add("--rounds", type=int, default=16)
    add("--num_envs", type=int, default=128)
    add("--batch_size", type=int, default=512)
    add("--interval", type=int, default=4, help="rounds between comparisons")
    add("--eval_robots", type=int, default=24, help="robots of these comparisons, half of them driven by each")
    add("--final_robots", type=int, default=64, help="robots of the last one")
    add("--ladder_robots", type=int, default=1, help="per kind and level; 0: no ladder")
    args = parser.parse_args(argv)
    from legged_gym_ext.utils.cpus import limit_spinning

    limit_spinning()
    import torch

    torch.set_num_threads(1)
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    for seed in args.seeds:  # a whole comparison before the next seed
        for arm in args.arms:
            if any((row["arm"], row["seed"]) == (arm, seed) for row in rows):
                continue
            rows.append(train(args, arm, seed))
            write(rows, args.json)
    for row in rows if args.ladder_robots else ():
        if row["ladder"] is None:
            row["ladder"] = climb(args, row["run"])
            write(rows, args.json)
    print(table(rows))
    if args.png:
        draw(rows, args.png)


if __name__ == "__main__":
    run_main(main)
