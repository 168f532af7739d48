"""Train and evaluate methods times seeds: `sweep.py --tasks go2_ts go2_cts --seeds 1 2 --budget 300it --log_root D`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if not __package__:  # run as a file, from any directory
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from legged_gym_ext.user_tasks import parse
from legged_gym_ext.utils.cli import Parser, add_import_flag, apply_args_to_cfgs
from legged_gym_ext.utils.errors import UserError, run_main, user_errors

if TYPE_CHECKING:
    from legged_gym_ext.reports.sweep import Method, Table

SCRIPTS = Path(__file__).resolve().parent
EPILOG = """Every cell is trained and evaluated, one after the other. The same command goes on where an interrupted one
stopped. Fields are set for all tasks that have them by --env.SECTION.FIELD=VALUE and --train.SECTION.FIELD=VALUE.
A second stage (go2_rma) is part of the budget."""
SET_BY_TABLE = (
    "runner.max_iterations",
    "runner.experiment_name",
    "runner.run_name",
    "runner.resume",
    "runner.load_run",
    "runner.checkpoint",
    "seed",
)
"""Fields of the training configuration that the table itself sets."""

ELAPSED = re.compile(r"  elapsed (?:(\d+):)?(\d+):(\d+)  eta ")
RUN_FOLDER = re.compile(r"run folder: (.+)")
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
PROGRESS_INTERVAL = 60.0  # s between lines of progress


def main(argv: list[str] | None = None) -> int:
    """Fill the table, print it and return the exit code: 1 when a cell failed."""
    args = _parse(argv)
    from legged_gym_ext.training.output import tolerate_broken_stdout
    from legged_gym_ext.training.runs import log_root

    with tolerate_broken_stdout("the table"):
        failures = _run(args, log_root(args))
    for cell, reason in failures.items():
        print(f"failed: {cell}: {reason}", file=sys.stderr)
    return 1 if failures else 0


def _run(args: argparse.Namespace, root: Path) -> dict[str, str]:
    """Fill the table, except with --report, and print it; returns failed cells -> reasons."""
    from legged_gym_ext.reports.sweep import Table

    failures: dict[str, str] = {}
    if args.report:
        table = Table(root, None)
    else:
        settings, methods = _settings(args)
        with _locked(root):
            table = Table(root, settings)
            table.save()
            failures = fill(table, methods, args)
    _show(table, args)
    return failures


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description="Train and evaluate a table of methods times seeds.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--tasks", nargs="+", metavar="NAME", help="methods of the table; see describe.py --list")
    add("--seeds", nargs="+", type=int, metavar="N", help="one training of every task per seed")
    add(
        "--budget",
        metavar="AMOUNT",
        help="of each training: 300it, 60min (of collecting and learning) or 5Msteps (of all robots together)",
    )
    add("--log_root", metavar="DIR", help="folder of this table, not shared with other runs")
    add("--num_envs", type=int, metavar="N", help="number of environments in training")
    add("--eval_envs", type=int, metavar="N", help="number of robots in evaluations; default: that of evaluate.py")
    add_import_flag(parser)
    add("--rl_device", metavar="DEVICE", help="where the networks run: cpu, cuda, ...")
    add("--report", action="store_true", help="train nothing: only print the table and write the report")
    add("--no_rollout", action="store_true", help="make the report without roll-outs")
    args = parse(parser, argv)
    if not args.log_root:
        raise UserError("give the folder of the table as --log_root=DIR")
    for name in ("tasks", "seeds", "budget"):
        if not args.report and not getattr(args, name):
            raise UserError(f"give --{name}; see --help")
    return args


def _settings(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Method]]:
    """Settings of the table, and `Method` by task.

    Raises:
        UserError: a mistake that the trainings would find later.
    """
    from legged_gym_ext.envs import task_registry
    from legged_gym_ext.reports.sweep import Method, check_budget, parse_budget

    budget = parse_budget(args.budget)
    for group in ("env", "train"):
        for field in getattr(args, f"{group}_overrides"):
            if field in (SET_BY_TABLE if group == "train" else ("seed",)):
                raise UserError(f"--{group}.{field}: the table sets this itself, by --tasks, --seeds and --budget")
    for name in ("num_envs", "eval_envs"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UserError(f"--{name}={getattr(args, name)}: expected at least 1")
    if min(args.seeds) < 0:
        raise UserError(f"--seeds: expected at least 0, got {min(args.seeds)}")
    tasks, methods = list(dict.fromkeys(args.tasks)), {}
    cfgs: dict[str, dict[str, Any]] = {
        task: dict(zip(("env", "train"), task_registry.get_cfgs(task))) for task in tasks
    }
    args.overrides = {task: _fitting(args, task, cfgs) for task in tasks}
    for task, cfg in cfgs.items():
        apply_args_to_cfgs(_overriding(args, task), cfg["env"], cfg["train"])
        methods[task] = Method.of(cfg["env"], cfg["train"])
        check_budget(task, budget, methods[task])
    overrides = sorted(
        f"--{g}.{name}={text}" for g in ("env", "train") for name, text in getattr(args, f"{g}_overrides").items()
    )
    settings = {"budget": args.budget, "num_envs": args.num_envs, "eval_envs": args.eval_envs, "overrides": overrides}
    return {**settings, "tasks": tasks, "seeds": list(dict.fromkeys(args.seeds))}, methods


def _fitting(args: argparse.Namespace, task: str, cfgs: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Overrides of the fields that a task has, and of fields that no task has: applying those reports the mistake."""
    return {
        group: {
            field: text
            for field, text in getattr(args, f"{group}_overrides").items()
            if _has(cfgs[task][group], field) or not any(_has(cfg[group], field) for cfg in cfgs.values())
        }
        for group in ("env", "train")
    }


def _has(cfg: Any, field: str) -> bool:
    for part in field.split("."):
        fields = cfg if isinstance(cfg, dict) else getattr(cfg, "__dict__", {})
        if part not in fields:
            return False
        cfg = fields[part]
    return True


def _overriding(args: argparse.Namespace, task: str) -> argparse.Namespace:
    found = args.overrides[task]
    return argparse.Namespace(num_envs=args.num_envs, env_overrides=found["env"], train_overrides=found["train"])


def _overrides(args: argparse.Namespace, task: str) -> list[str]:
    """The overrides of a task as flags."""
    return [
        f"--{group}.{field}={text}" for group, found in args.overrides[task].items() for field, text in found.items()
    ]


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Let only one process fill a table, if the system has file locks."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".benchmark.lock").open("w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write to --log_root={root}: {error.strerror}") from error
    with lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ModuleNotFoundError:
            pass  # not on this system
        except OSError:
            raise UserError(f"the table in {root} is being filled by another process; wait for it, or end it") from None
        yield


def fill(table: Table, methods: dict[str, Method], args: argparse.Namespace) -> dict[str, str]:
    """Train and evaluate every cell that is not done; returns failed cells -> reasons."""
    # A shell starts background jobs with SIGINT ignored, which trainings would inherit; SIGINT ends them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failures = {}
    for seed in table.settings["seeds"]:  # row by row: an unfinished table then compares all methods
        for task in table.settings["tasks"]:
            try:
                train_cell(table, task, seed, methods[task], args)
                evaluate_cell(table, task, seed, args)
            except UserError as error:
                failures[f"{task} seed {seed}"] = str(error)
                print(f"{task} seed {seed}: failed: {error}", file=sys.stderr, flush=True)
    return failures


def train_cell(table: Table, task: str, seed: int, method: Method, args: argparse.Namespace) -> None:
    """Train a cell until its budget is used up.

    Raises:
        UserError: the training failed.
    """
    from legged_gym_ext.reports.sweep import next_training, parse_budget

    budget = parse_budget(table.settings["budget"])
    clock = budget.kind == "seconds"
    state = table.state(task, seed, clock)
    while (training := next_training(budget, method, state)) is not None:
        print(f"{task} seed {seed}: training from iteration {state.iterations}", flush=True)
        flags = [f"--seed={seed}", "--headless", f"--run_name=seed{seed}", *training.flags, *_overrides(args, task)]
        flags += [f"--num_envs={args.num_envs}"] if args.num_envs else []

        def on_line(line: str) -> None:
            match = RUN_FOLDER.match(line)
            if match:
                table.add_run(task, seed, Path(match[1].strip()).name)

        code = _call("train", table, task, seed, flags, args, on_line, training.seconds)
        before, state = state, table.state(task, seed, clock)
        if state.iterations <= before.iterations:
            raise UserError(
                f"training ended with code {code} and without a new checkpoint: {_last_line(table, task, seed)}"
            )
        if code not in (0, 130):
            raise UserError(f"training ended with code {code}: {_last_line(table, task, seed)}")


def evaluate_cell(table: Table, task: str, seed: int, args: argparse.Namespace) -> None:
    """Evaluate the newest checkpoint of a cell, unless that was done.

    Raises:
        UserError: the evaluation failed.
    """
    from legged_gym_ext.reports.sweep import is_evaluated

    state = table.state(task, seed)
    assert state.run is not None and state.checkpoint is not None
    if is_evaluated(state.checkpoint):
        print(f"{task} seed {seed}: done", flush=True)
        return
    print(f"{task} seed {seed}: evaluation of {state.checkpoint}", flush=True)
    flags = [
        f"--load_run={state.run.name}",
        f"--checkpoint={state.iterations - 1}",
        f"--json={state.run / 'evaluation.json'}",
    ]
    flags += [f"--num_envs={args.eval_envs}"] if args.eval_envs else []
    code = _call("evaluate", table, task, seed, flags, args, lambda line: None, None)
    if code or not is_evaluated(state.checkpoint):
        raise UserError(f"evaluation ended with code {code}: {_last_line(table, task, seed)}")


def _log_path(table: Table, task: str, seed: int) -> Path:
    return table.root / f"{task}_seed{seed}.log"


def _last_line(table: Table, task: str, seed: int) -> str:
    path = _log_path(table, task, seed)
    lines = [line.strip() for line in path.read_text(errors="replace", encoding="utf-8").splitlines() if line.strip()]
    return f"{lines[-1][:300] if lines else 'no output'} (all of it: {path})"


def _call(
    script: str,
    table: Table,
    task: str,
    seed: int,
    flags: list[str],
    args: argparse.Namespace,
    on_line: Callable[[str], None],
    seconds: float | None,
) -> int:
    """Run a script for a cell, with its output in the cell's log; returns its exit code.

    Args:
        script: name of the script.
        table: the table.
        task: method of the cell.
        seed: seed of the cell.
        flags: of the script.
        args: command line of the table.
        on_line: called with every line of output.
        seconds: of training after which the script is interrupted, as by Ctrl-C; None: never.
    """
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), f"--task={task}", f"--log_root={table.root}"]
    command += [f"--experiment_name={task}", *flags]
    command += [f"--rl_device={args.rl_device}"] if args.rl_device else []
    command += [f"--import={name}" for name in args.imports]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with _log_path(table, task, seed).open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        # In a session of its own: Ctrl-C in a terminal would reach it twice, and the second one interrupts the saving.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            _follow(process, log, on_line, seconds)
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            print("waiting for the last checkpoint", file=sys.stderr, flush=True)
            for line in process.stdout or ():
                log.write(line)
            process.wait()
            raise


def _end_with_parent() -> None:
    """Ask the system to send this process SIGTERM when its parent ends, so that a killed table leaves no training."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _follow(
    process: subprocess.Popen[str], log: IO[str], on_line: Callable[[str], None], seconds: float | None
) -> None:
    """Read the output of a process until it ends; see `_call`."""
    printed_at, interrupted = time.monotonic(), False
    for line in process.stdout or ():
        log.write(line)
        log.flush()
        on_line(line)
        match = ELAPSED.search(line)
        if match is None:
            continue
        if time.monotonic() - printed_at > PROGRESS_INTERVAL:
            printed_at = time.monotonic()
            print(f"  {line.strip()}", flush=True)
        elapsed = 3600 * int(match[1] or 0) + 60 * int(match[2]) + int(match[3])
        if seconds is not None and elapsed >= seconds and not interrupted:
            interrupted = True
            process.send_signal(signal.SIGINT)


def _show(table: Table, args: argparse.Namespace) -> None:
    """Print the table in Markdown, save it as benchmark.md, and write the report."""
    from legged_gym_ext.reports.page import markdown_table, methods_rows
    from legged_gym_ext.reports.records import group_runs, read_runs
    from legged_gym_ext.training.runs import atomic_write

    settings = table.settings
    states = {(t, s): table.state(t, s) for t in settings["tasks"] for s in settings["seeds"]}
    paths = [state.run for state in states.values() if state.run is not None]
    if not paths:
        print("nothing is trained yet")
        return
    with user_errors("no table can be made of these folders"):
        rows = methods_rows(group_runs(read_runs(paths)))
    if rows is not None:
        text = markdown_table(*rows)
        print(f"\n{text}\n")
        atomic_write(table.root / "benchmark.md", lambda target: target.write_text(text + "\n", encoding="utf-8"))
    flags = ["--no_rollout"] if args.no_rollout else []
    flags += [f"--import={name}" for name in args.imports]
    report = [sys.executable, str(SCRIPTS / "report.py"), *map(str, paths), f"--out={table.root / 'report'}", *flags]
    subprocess.run(report, check=False)


if __name__ == "__main__":
    run_main(main)
