"""The sweep: what each cell has to do next, and that a table survives everything that ends it.

A script of a few lines stands in for train.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from legged_gym_ext.reports import sweep as tables
from legged_gym_ext.reports.sweep import (
    ENDLESS,
    Budget,
    Method,
    State,
    Table,
    check_budget,
    next_training,
    parse_budget,
)
from legged_gym_ext.scripts import sweep
from legged_gym_ext.utils.errors import UserError

PPO = Method(iterations=1500, stage2=0, steps_per_iteration=1000, scheduled=False)
RMA = Method(iterations=300, stage2=60, steps_per_iteration=1000, scheduled=False)
RUN = Path("2026-01-01_00-00-00_seed1")

TRAIN = '''
"""Stands in for train.py: a folder, a checkpoint and a line per iteration; Ctrl-C saves and ends with 130."""
import json, os, sys, time
from pathlib import Path
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
root = Path(flags["log_root"]) / flags["experiment_name"]
if flags["seed"] == os.environ.get("BROKEN_SEED"):
    print("error: no such luck"); sys.exit(2)
done, seconds = 0, 0.0
if "--resume" in sys.argv:
    saved = json.loads((root / flags["load_run"] / f"model_{flags['checkpoint']}.pt").read_text())
    done, seconds = int(flags["checkpoint"]) + 1, saved["infos"]["total"][1]
first, second = int(flags["max_iterations"]), int(flags.get("train.runner.stage2_iterations", 0))
todo = min(200, max(0, first + second - done))
run = root / f"2026-01-01_00-00-{len(list(root.glob('*'))) if root.is_dir() else 0:02d}_{flags['run_name']}"
(run / "params").mkdir(parents=True)
(run / "params/train.json").write_text(json.dumps({"runner": {"max_iterations": first}}))
(run / "params/env.json").write_text("{}")
print(f"run folder: {run}")
def save(iteration):
    stages = [1 if not second or index < first else 2 for index in range(iteration + 1)]
    text = json.dumps({"iter": iteration, "stages": stages, "infos": {"total": [0, seconds]}})
    (run / f"model_{iteration}.pt").write_text(text)
iteration = done - 1
try:
    for iteration in range(done, done + todo):
        seconds += 10.0
        if os.environ.get("SLOW"):
            time.sleep(float(os.environ["SLOW"]))
        elapsed = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
        print(f"it {iteration + 1}/{done + todo}  steps 0.01M  elapsed {elapsed}  eta 1:00")
        if flags.get("run_name"):
            save(iteration)
        if second == 1000000 or first == 1000000:
            time.sleep(0.03)  # as a real iteration it leaves time for a signal
except KeyboardInterrupt:
    save(iteration); sys.exit(130)
'''
EVALUATE = '''
"""Plays evaluate.py."""
import json, os, sys
from pathlib import Path
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
checkpoint = Path(flags["log_root"]) / flags["experiment_name"] / flags["load_run"] / f"model_{flags['checkpoint']}.pt"
with open(Path(flags["log_root"]) / "evaluations.txt", "a") as file:
    file.write(f"{flags['experiment_name']} {checkpoint.name}\\n")
Path(flags["json"]).write_text(json.dumps({"checkpoint": str(checkpoint), "policies": {"policy": {"return": 1.0}}}))
'''


@pytest.fixture
def scripts(tmp_path, monkeypatch) -> Path:
    """Folder with the players, which sweep.py calls instead of the real scripts."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN, encoding="utf-8")
    (folder / "evaluate.py").write_text(EVALUATE, encoding="utf-8")
    monkeypatch.setattr(sweep, "SCRIPTS", folder)
    monkeypatch.setattr(sweep, "_show", lambda table, args: None)
    monkeypatch.setattr(tables, "load_checkpoint", lambda path, device: json.loads(path.read_text(encoding="utf-8")))
    return folder


def fill(
    root: Path, *flags: str, budget: str = "4it", tasks: tuple[str, ...] = ("go2_flat",), seeds: tuple[int, ...] = (1,)
) -> int:
    words = ["--tasks", *tasks, "--seeds", *map(str, seeds), f"--budget={budget}", f"--log_root={root}", *flags]
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        return sweep.main(words)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def stages(root: Path, task: str, seed: int = 1) -> list[int]:
    """Which stage every iteration of a cell's newest checkpoint belonged to, by the training that wrote it."""
    state = Table(root, None).state(task, seed)
    assert state.checkpoint is not None
    return json.loads(state.checkpoint.read_text(encoding="utf-8"))["stages"]


# -- budgets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount", "kind"),
    [
        ("300it", 300, "iterations"),
        ("60min", 3600, "seconds"),
        ("1.5h", 5400, "seconds"),
        ("5Msteps", 5e6, "steps"),
        ("90s", 90, "seconds"),
    ],
)
def test_budgets_are_read_with_their_units(text, amount, kind):
    assert parse_budget(text) == Budget(amount, kind)


@pytest.mark.parametrize("text", ["300", "it", "-3it", "0min", "2.5it", "5msteps", "1e3it", "nanmin", ""])
def test_other_budgets_are_one_clear_line(text):
    with pytest.raises(UserError, match="--budget="):
        parse_budget(text)


def flags(budget: str, method: Method, state: State) -> list[str] | None:
    training = next_training(parse_budget(budget), method, state)
    return None if training is None else training.flags


def test_a_budget_of_iterations_trains_what_is_missing():
    resumed = ["--resume", f"--load_run={RUN}", "--checkpoint=99"]
    assert flags("300it", PPO, State()) == ["--max_iterations=300"]
    assert flags("300it", PPO, State(RUN, 100)) == [
        *resumed,
        "--max_iterations=300",
    ]  # train.py counts from the beginning
    assert flags("300it", PPO, State(RUN, 300)) is None


def test_a_budget_of_steps_is_rounded_up_to_whole_iterations():
    assert flags("2500steps", PPO, State()) == ["--max_iterations=3"]  # of 1000 steps each
    assert flags("3ksteps", PPO, State(RUN, 3)) is None


def test_both_stages_share_the_budget_and_a_resumed_training_names_them_whole():
    # train.py counts both stages from the beginning: at iteration 320 of 300 + 60 it has 40 to do.
    both = ["--max_iterations=300", "--train.runner.stage2_iterations=60"]
    assert flags("360it", RMA, State()) == both
    assert flags("360it", RMA, State(RUN, 320)) == ["--resume", f"--load_run={RUN}", "--checkpoint=319", *both]
    assert flags("360it", RMA, State(RUN, 360)) is None


def test_by_the_clock_stage_1_gets_the_share_of_its_iterations():
    endless = ["--max_iterations=1000000", "--train.runner.stage2_iterations=60"]
    first = next_training(parse_budget("60min"), RMA, State())
    assert first is not None and first.flags == endless and first.seconds == 3000.0  # 60 min x 300 / 360
    later = next_training(parse_budget("60min"), RMA, State(RUN, 500, 3001.0))
    assert later is not None and later.seconds == 3600.0
    assert later.flags[3:] == ["--max_iterations=500", f"--train.runner.stage2_iterations={ENDLESS}"]
    again = next_training(parse_budget("60min"), RMA, State(RUN, 550, 3300.0, stage1=500))
    assert again is not None and again.flags[3:] == later.flags[3:]  # not 550: stage 1 is over
    assert next_training(parse_budget("60min"), RMA, State(RUN, 600, 3600.0, stage1=500)) is None


def test_a_schedule_ends_where_the_whole_training_does_also_after_a_resume():
    method = Method(600, 0, 1000, scheduled=True)
    assert "--train.algorithm.mix_iterations=300" in (flags("300it", method, State(RUN, 100)) or [])
    # Nobody knows how many updates a budget of time allows: as many as the task has by itself.
    timed = ["--train.algorithm.mix_iterations=600", f"--max_iterations={ENDLESS}"]
    assert flags("60min", method, State()) == timed
    assert (flags("60min", method, State(RUN, 100, 10.0)) or [])[3:] == timed


def test_a_budget_that_leaves_no_stage_1_is_one_clear_line():
    with pytest.raises(UserError, match="second stage of 60 iterations, the budget allows 60"):
        check_budget("go2_rma", parse_budget("60it"), RMA)
    check_budget("go2_rma", parse_budget("61it"), RMA)


# -- the table ---------------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"budget": "4it", "overrides": [], "tasks": ["a", "b"], "seeds": [1]}


def test_a_table_takes_more_tasks_and_seeds_and_no_other_change(tmp_path):
    Table(tmp_path, SETTINGS).save()
    assert Table(tmp_path, {**SETTINGS, "seeds": [1, 2], "tasks": ["a", "b", "c"]}).settings["seeds"] == [1, 2]
    for change, message in (
        ({"budget": "5it"}, "was started with budget '4it', now it is '5it'"),
        ({"overrides": ["--env.seed=2"]}, "overrides"),
        ({"tasks": ["a"]}, "also has tasks b"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            Table(tmp_path, {**SETTINGS, **change})


def test_a_damaged_or_missing_table_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="there is no table"):
        Table(tmp_path, None)
    (tmp_path / tables.FILE).write_text('{"settings": {', encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        Table(tmp_path, SETTINGS)


def test_the_newest_checkpoint_of_a_cell_may_lie_in_an_older_folder(tmp_path):
    table = Table(tmp_path, SETTINGS)
    for run, files in (("r1", ["model_0.pt", "model_10.pt"]), ("r2", []), ("r3-gone", None)):
        table.add_run("a", 1, run)
        if files is not None:
            (tmp_path / "a" / run).mkdir(parents=True)
        for file in files or []:
            (tmp_path / "a" / run / file).touch()
    state = Table(tmp_path, None).state("a", 1)
    assert state == State(tmp_path / "a" / "r1", 11)
    assert Table(tmp_path, None).state("a", 2) == State()


def test_an_evaluation_counts_for_its_own_checkpoint_and_when_it_is_not_older(tmp_path):
    checkpoint, evaluation = tmp_path / "model_5.pt", tmp_path / "evaluation.json"
    checkpoint.touch()
    assert not tables.is_evaluated(checkpoint)
    evaluation.write_text(
        json.dumps({"checkpoint": "/elsewhere/model_5.pt", "policies": {"policy": {"ladder_score": 1}}}),
        encoding="utf-8",
    )
    assert not tables.is_evaluated(checkpoint)
    evaluation.write_text(
        json.dumps({"checkpoint": "/elsewhere/model_5.pt", "policies": {"policy": {"return": 1.0}}}), encoding="utf-8"
    )
    assert tables.is_evaluated(checkpoint)
    os.utime(evaluation, (1.0, 1.0))
    assert not tables.is_evaluated(checkpoint)
    evaluation.write_text(
        json.dumps({"checkpoint": "/elsewhere/model_4.pt", "policies": {"policy": {"return": 1.0}}}), encoding="utf-8"
    )
    assert not tables.is_evaluated(checkpoint)
    evaluation.write_text("{", encoding="utf-8")
    assert not tables.is_evaluated(checkpoint)


# -- filling it --------------------------------------------------------------------------------------------------------


def test_every_cell_is_trained_and_evaluated_once(tmp_path, scripts):
    root = tmp_path / "table"
    assert fill(root, tasks=("go2_flat", "go2_rma_flat"), seeds=(1, 2), budget="63it") == 0
    assert stages(root, "go2_flat", 2) == [1] * 63
    assert stages(root, "go2_rma_flat", 2) == [1] * 3 + [2] * 60
    done = (root / "evaluations.txt").read_text(encoding="utf-8").split("\n")
    assert sorted(filter(None, done)) == ["go2_flat model_62.pt"] * 2 + ["go2_rma_flat model_62.pt"] * 2
    folders = sorted(root.glob("go2*/*"))
    assert fill(root, tasks=("go2_flat", "go2_rma_flat"), seeds=(1, 2), budget="63it") == 0
    assert sorted(root.glob("go2*/*")) == folders  # nothing is done twice
    assert (root / "evaluations.txt").read_text(encoding="utf-8").split("\n") == done


def test_an_evaluation_is_repeated_when_it_is_missing(tmp_path, scripts):
    root = tmp_path / "table"
    fill(root)
    next(root.glob("go2_flat/*/evaluation.json")).unlink()
    assert fill(root) == 0
    assert (root / "evaluations.txt").read_text(encoding="utf-8") == "go2_flat model_3.pt\n" * 2


def test_the_clock_ends_a_training_and_each_of_two_stages(tmp_path, scripts):
    root = tmp_path / "table"
    # The player's iterations count 10 s each: 12 of them are 120 s, 10 belong to stage 1 (300 of 360 iterations).
    assert fill(root, tasks=("go2_flat", "go2_rma_flat"), budget="120s") == 0
    # A signal arrives while the next iteration runs or right after it.
    assert 12 <= len(stages(root, "go2_flat")) <= 14
    ones = stages(root, "go2_rma_flat").count(1)
    assert 10 <= ones <= 12 and stages(root, "go2_rma_flat").count(2) >= 1
    assert Table(root, None).state("go2_rma_flat", 1, clock=True).stage1 == ones


def test_an_override_reaches_the_tasks_that_have_its_field(tmp_path, scripts):
    root = tmp_path / "table"
    assert fill(root, "--train.runner.stage2_iterations=1", tasks=("go2_flat", "go2_rma_flat")) == 0
    assert stages(root, "go2_rma_flat") == [1, 1, 1, 2]
    assert "stage2" not in (root / "go2_flat_seed1.log").read_text(encoding="utf-8")


def test_a_cell_that_fails_is_named_and_does_not_stop_the_others(tmp_path, scripts, monkeypatch, capsys):
    root = tmp_path / "table"
    monkeypatch.setenv("BROKEN_SEED", "1")
    assert fill(root, seeds=(1, 2)) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("failed: go2_flat seed 1: training ended with code 2") and "error: no such luck" in last
    assert stages(root, "go2_flat", 2) == [1] * 4
    monkeypatch.delenv("BROKEN_SEED")
    assert fill(root, seeds=(1, 2)) == 0
    assert stages(root, "go2_flat", 1) == [1] * 4


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_table_that_was_ended_in_the_middle_goes_on_where_it_stopped(tmp_path, scripts, end):
    root = tmp_path / "table"
    code = (
        "import sys; from pathlib import Path; from legged_gym_ext.scripts import sweep; "
        f"sweep.SCRIPTS = Path({str(scripts)!r}); sweep._show = lambda *a: None; "
        "from legged_gym_ext.utils.errors import run_main; run_main(sweep.main)"
    )
    words = ["--tasks", "go2_flat", "--seeds", "1", "--budget=40it", f"--log_root={root}"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], env={**os.environ, "SLOW": "0.1"}, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60.0
    while not list(root.glob("go2_flat/*/model_3.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(end)
    process.communicate(timeout=60)
    before = Table(root, None).state("go2_flat", 1)
    assert 4 <= before.iterations < 40
    assert fill(root, budget="40it") == 0
    assert stages(root, "go2_flat") == [1] * 40
    runs = Table(root, None).cells["go2_flat/1"]
    assert len(runs) == 2 and before.run is not None and before.run.name == runs[0]


def test_two_processes_do_not_fill_one_table(tmp_path, scripts):
    with sweep._locked(tmp_path), pytest.raises(UserError, match="filled by another process"):
        fill(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "go2_flot", "--seeds", "1", "--budget=3it"], "did you mean go2_flat"),
        (["--tasks", "go2_flat", "--seeds", "1"], "give --budget"),
        (["--tasks", "go2_flat", "--seeds", "one", "--budget=3it"], "--seeds"),
        (
            ["--tasks", "go2_flat", "--seeds", "1", "--budget=3it", "--train.runner.max_iterations=7"],
            "sets this itself",
        ),
        (["--tasks", "go2_flat", "--seeds", "1", "--budget=3it", "--env.sim.dtt=7"], "did you mean sim.dt"),
        (["--tasks", "go2_flat", "--seeds", "1", "--budget=3it", "--num_envs=0"], "--num_envs=0: expected at least 1"),
        (["--report"], "there is no table"),
    ],
)
def test_a_mistake_is_one_clear_line_and_leaves_nothing_behind(tmp_path, words, message):
    with pytest.raises(UserError) as error:
        sweep.main([*words, f"--log_root={tmp_path / 'table'}"])
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "table").exists()


def test_help_does_not_wait_for_torch():
    code = (
        f"import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path({sweep.__file__!r}, run_name='__main__')\n"
        "except SystemExit: print('torch' in sys.modules or 'numpy' in sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "False" and "--budget" in result.stdout
