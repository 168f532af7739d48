"""Pictures of the colour maze: where teacher and student go, in single mazes and over many."""

from __future__ import annotations

from typing import Any

import numpy as np

from legged_gym_ext.reports import style
from legged_gym_ext.reports.records import Run
from legged_gym_ext.reports.style import Picture

MAZES, SEED, EXAMPLES = 200, 12345, 3
CELLS = ("#ffffff", "#f2b5a7", "#8fbf8f")
"""Colours of normal cells, lava and path."""

CAPTION = (
    "Each policy acts without exploration for the first episode in mazes that it was not trained on. Red is lava, "
    "green the path, which the student cannot tell from lava; S the start, T the target. "
)


def pictures(label: str, runs: list[Run]) -> list[Picture]:
    """Heat maps of the cells that the policies of runs of one method visit."""
    outcomes = [run_policies(run) for run in runs]
    return [over_mazes(label, runs, outcomes), in_single_mazes(label, runs[0], outcomes[0])]


def run_policies(run: Run, mazes: int = MAZES, seed: int = SEED) -> dict[str, Any]:
    """Policy -> what it made of the first episode in `mazes` mazes (`training.maze_evaluation.Outcome`)."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.training.maze_evaluation import prepare, run_mazes
    from legged_gym_ext.training.policies import load_policies
    from legged_gym_ext.training.run_settings import apply_run

    env_cfg: Any
    env_cfg, train_cfg = task_registry.get_cfgs(run.task)
    apply_run(run.path, run.task, env_cfg, train_cfg)
    prepare(env_cfg)
    env_cfg.env.num_envs, env_cfg.seed = mazes, seed
    train_cfg.runner.resume, train_cfg.runner.logger, train_cfg.runner.device = False, "none", "cpu"
    train_cfg.runner.checkpoint = -1
    env, _ = task_registry.make_env(run.task, env_cfg)
    vec_env, policies, _ = load_policies(env, run.task, train_cfg, run.path)
    return {name: run_mazes(vec_env, policy) for name, policy in policies.items()}


def over_mazes(label: str, runs: list[Run], outcomes: list[dict[str, Any]]) -> Picture:
    """A row per seed: the share of mazes in which each policy enters each cell."""
    names = list(outcomes[0])
    columns = len(names) * (2 if len(runs) > 1 else 1)
    figure, axes = style.panels(columns * -(-len(runs) * len(names) // columns), columns, 10.0 / columns)
    for panel in axes:
        panel.set_axis_off()
    for index, (run, found) in enumerate(zip(runs, outcomes)):
        for panel, name in zip(axes[index * len(names) :], names):
            outcome = found[name]
            values = outcome.visits.float().mean(0).numpy()
            rate = float(outcome.success.float().mean())
            draw_visits(panel, values, f"seed {run.seed}, {name}: {rate:.0%} arrive")
    figure.suptitle(
        f"{label}: share of {len(next(iter(outcomes[0].values())).success)} mazes in which a cell is visited"
    )
    return Picture(
        f"mazes_{label}",
        f"Where the policies of {label} go",
        f"Heat maps of the cells that {' and '.join(names)} of {label} visit, one for each seed.",
        CAPTION + "The darker a cell, the more mazes in which it is entered; the frame is the block of lava.",
        figure,
    )


def in_single_mazes(label: str, run: Run, found: dict[str, Any]) -> Picture:
    """The cells that each policy enters in the first mazes."""
    figure, axes = style.panels(EXAMPLES * len(found), EXAMPLES, 3.4)
    for row, (name, outcome) in enumerate(found.items()):
        for maze in range(EXAMPLES):
            draw_maze(axes[row * EXAMPLES + maze], outcome, maze, name)
    figure.suptitle(f"{label}, seed {run.seed}: cells visited in single mazes")
    return Picture(
        f"single_mazes_{label}",
        f"The policies of {label} in single mazes",
        f"Cells that {' and '.join(found)} of {label} visit in {EXAMPLES} mazes.",
        CAPTION + "Dots are the cells that were entered.",
        figure,
    )


def draw_visits(axes: Any, values: np.ndarray, title: str) -> None:
    """A heat map of values (21, 21) in [0, 1], indexed [x, y]."""
    from matplotlib.patches import Rectangle

    axes.imshow(values.T, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.add_patch(Rectangle((2.5, 2.5), 15.0, 15.0, fill=False, edgecolor="#d0705a", linewidth=1.2))
    _decorate(axes, title)


def draw_maze(axes: Any, outcome: Any, maze: int, name: str) -> None:
    """One maze with the cells that were entered in it."""
    from matplotlib.colors import ListedColormap

    cells = np.zeros((21, 21), dtype=int)
    cells[3:18, 3:18] = 1
    cells[outcome.path[maze].numpy()] = 2
    axes.imshow(cells.T, cmap=ListedColormap(CELLS), vmin=0, vmax=2)
    x, y = np.nonzero(outcome.visits[maze].numpy())
    axes.plot(x, y, ".", color="#0072B2", markersize=5)
    end = "arrives" if outcome.success[maze] else "dies in the lava" if outcome.lava[maze] else "does not arrive"
    _decorate(axes, f"{name} {end}")


def _decorate(axes: Any, title: str) -> None:
    for (x, y), letter in (((10, 19), "S"), ((10, 1), "T")):
        axes.text(x, y, letter, ha="center", va="center", fontsize=8, fontweight="bold", color=style.COLOURS[1])
    axes.set_title(title, fontsize=9)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.set_axis_on()
    for side in axes.spines.values():
        side.set_visible(True)
