"""One page about runs: `report.py logs/go2_ult/2026-01-31_12-00-00 --out report`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.user_tasks import import_tasks, refuse_nested
from legged_gym_ext.utils.cli import Parser, add_import_flag
from legged_gym_ext.utils.cpus import limit_spinning
from legged_gym_ext.utils.errors import UserError, did_you_mean, run_main, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.reports.records import Run
    from legged_gym_ext.reports.rollout import Rollout
    from legged_gym_ext.reports.style import Picture


def main(argv: list[str] | None = None) -> int:
    """Write the report and return the exit code."""
    args = _parse(argv)
    limit_spinning()
    from legged_gym_ext.reports.records import find_run_dirs, group_runs, read_runs
    from legged_gym_ext.reports.style import plotting
    from legged_gym_ext.training.runs import log_root

    paths = find_run_dirs(args.runs, log_root(args))
    target = (Path(os.path.expanduser(args.out)) if args.out else paths[0] / "report").resolve()
    with _folder(target):
        plotting()  # fails before anything slow if matplotlib is missing
        with user_errors("no report can be made of these folders"):  # files in them may be of other programs
            groups = group_runs(read_runs(paths))
            path = write_report(groups, target, rollout=args.rollout)
    print(f"wrote {path}")
    missing = evaluations_missing([run for runs in groups.values() for run in runs])
    if missing:
        print("\n  ".join(["not evaluated yet; afterwards make the report again:", *missing]))
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description="Make one HTML page (index.html, self-contained) and PNGs about one run or several: learning "
        "curves, teacher against student, evaluations, and a short roll-out. Runs of one task are seeds of one method.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folder, or TASK/RUN below the log folder, or TASK for its newest run",
    )
    add("--out", metavar="FOLDER", help="where to write; default: report/ in the first run's folder")
    add("--log_root", metavar="DIR", help="where runs are looked for; default: logs/ (a clone has its own)")
    add_import_flag(parser)
    add(
        "--rollout",
        action="store_true",
        default=True,
        help="let the newest checkpoint of each run walk for some seconds (default)",
    )
    add("--no_rollout", dest="rollout", action="store_false", help="leave that out: only what was logged and evaluated")
    refuse_nested()
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"unknown flag {unknown[0]}{did_you_mean(unknown[0], known)}")
    if args.out == "":
        raise UserError("--out=: expected a folder")
    for name in args.imports:
        import_tasks(name)
    return args


@contextlib.contextmanager
def _folder(target: Path) -> Iterator[None]:
    """Create the folder and check that it is writable; a new folder is removed on failure."""
    new = not target.exists()
    try:
        _check_target(target)
        yield
    except BaseException:
        if new:
            shutil.rmtree(target, ignore_errors=True)
        raise


def _check_target(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        probe = target / ".report"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {target}: {error.strerror}; choose another folder with --out") from error


def write_report(groups: dict[str, list[Run]], target: Path, rollout: bool = True) -> Path:
    """Write `index.html` and the PNGs of `groups` (label -> runs) to the folder `target`; returns the page's path."""
    from legged_gym_ext.reports import curves, ladder, scores
    from legged_gym_ext.reports.page import Shown, make_page
    from legged_gym_ext.training.runs import atomic_write

    notes = _notes(groups)
    pictures = [
        curves.learning_curves(groups, "steps"),
        curves.learning_curves(groups, "hours"),
        curves.cloning(groups),
        curves.teacher_and_student(groups),
        scores.interquartile_means(groups),
        curves.levels(groups),
        scores.ground(groups),
        ladder.ladder(groups),
    ]
    saved = [Shown(p.save(target), p.title, p.alt, p.caption, p.text) for p in pictures if p is not None]
    if rollout:
        more = _rollout_pictures(groups, notes)
        saved += [Shown(p.save(target), p.title, p.alt, p.caption, p.text) for p in more]
    page = make_page(groups, saved, notes, f"Report: {', '.join(groups)}")
    path = target / "index.html"
    atomic_write(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def _notes(groups: dict[str, list[Run]]) -> list[str]:
    """Notes for the reader: about single runs, about runs of a method that differ, about single seeds."""
    from legged_gym_ext.reports.records import differences

    notes = [f"{run.path.name}: {note}." for runs in groups.values() for run in runs for note in run.notes]
    for label, runs in groups.items():
        unlike = differences(runs)
        if unlike:
            more = f" and {len(unlike) - 6} more" if len(unlike) > 6 else ""
            notes.append(
                f"The runs of {label} are not seeds of one experiment: they differ in {', '.join(unlike[:6])}{more}."
            )
    online = [run for runs in groups.values() for run in runs if not run.cloned]
    silent = [run.path.name for run in online if "Train/mean_reward" not in run.curves]
    if silent:
        notes.append(
            f"No episode ended while these runs were trained, so they have no learning curves: {', '.join(silent)}."
        )
    single = [label for label, runs in groups.items() if len(runs) == 1]
    if single:
        notes.append(f"One seed only, so there is no interval over seeds: {', '.join(single)}.")
    return notes


def evaluations_missing(runs: list[Run]) -> list[str]:
    """Commands that evaluate the newest checkpoints of `runs` that have no evaluation, for a report to read."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.reports.sweep import is_evaluated
    from legged_gym_ext.training.next_step import script_command, task_flags
    from legged_gym_ext.training.runs import LOG_ROOT
    from legged_gym_ext.utils.errors import display_path

    lines = []
    for run in runs:
        if run.checkpoint is None or run.task not in task_registry.names or is_evaluated(run.checkpoint):
            continue
        folder = run.checkpoint.parent
        # By its path, which finds the run wherever it is.
        flags = task_flags(run.task, task_registry.get_cfgs(run.task)[1].runner, LOG_ROOT)
        flags += [f"--load_run={display_path(folder)}", f"--json={display_path(folder / 'evaluation.json')}"]
        lines.append(script_command("evaluate", flags))
    return lines


def _rollout_pictures(groups: dict[str, list[Run]], notes: list[str]) -> list[Picture]:
    """Pictures of a roll-out of every run; runs that fail add to `notes`."""
    drawn, robots = [], {}
    for label, runs in groups.items():
        draw = _own_pictures(runs[0].task)
        if draw is None:
            robots[label] = runs
            continue
        try:
            drawn += draw(label, runs)
        except UserError as error:
            notes.append(f"No roll-outs of {label}: {error}.")
    rollouts = _measure(robots, notes) if robots else {}
    if not rollouts:
        return drawn
    from legged_gym_ext.reports import motion
    from legged_gym_ext.scripts.describe import describe_attention

    pictures: list[Picture | None] = [motion.tracking(label, many) for label, many in rollouts.items()]
    pictures.append(motion.gait(rollouts))
    pictures += [motion.motors(label, many[0]) for label, many in rollouts.items()]
    pictures.append(motion.prediction(rollouts))
    for label, (first, *_) in rollouts.items():
        description = describe_attention(first.network, first.dt)
        pictures.append(motion.attention(label, first, description["lines"] if description else []))
    return drawn + [picture for picture in pictures if picture is not None]


def _own_pictures(task: str) -> Callable[[str, list[Run]], list[Picture]] | None:
    """What draws roll-outs of an environment that has no robots; None for the others."""
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.task_registry import resolve

    if task not in task_registry.names or hasattr(task_registry.get_cfgs(task)[0], "asset"):
        return None
    return resolve(task_registry.env_class(task).pictures)


def _measure(groups: dict[str, list[Run]], notes: list[str]) -> dict[str, list[Rollout]]:
    """Label -> roll-outs of its runs."""
    try:
        from legged_gym_ext.simulators import prepare_engine

        prepare_engine("mujoco")
        import torch

        from legged_gym_ext.reports.rollout import measure
        from legged_gym_ext.viewer.player import nominal
    except (ImportError, UserError) as error:
        notes.append(f"No roll-outs: {error}.")
        return {}
    torch.set_num_threads(1)  # few robots: more threads would only wait for each other
    rollouts: dict[str, list[Rollout]] = {}
    for label, runs in groups.items():
        for run in runs:
            print(f"roll-out of {run.path}", flush=True)
            try:
                rollouts.setdefault(label, []).append(measure(run, nominal))
            except UserError as error:
                notes.append(f"No roll-out of {run.path.name}: {error}.")
                print(f"  left out: {error}", file=sys.stderr)
    return {label: many for label, many in rollouts.items() if many}


if __name__ == "__main__":
    run_main(main)
