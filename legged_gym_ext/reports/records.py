"""What run folders hold: curves, configurations, evaluations; a resumed training is one record of several folders."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from legged_gym_ext.foreign import parse_json
from legged_gym_ext.reports.events import Curves, event_files, merge_curves, processes_of, read_events, seconds_of
from legged_gym_ext.training.runs import checkpoints, find_run, load_checkpoint, load_run_configs, run_age
from legged_gym_ext.utils.errors import UserError, did_you_mean

COMMIT = re.compile(r"^[0-9a-f]{40}$", re.MULTILINE)
OWN_FIELDS = (
    "env.seed", "env.sim.device", "env.sim.num_threads", "train.seed", "train.runner.run_name",
    "train.runner.experiment_name",
    "train.runner.resume", "train.runner.load_run", "train.runner.checkpoint", "train.runner.max_iterations",
    "train.runner.save_interval",
    "train.runner.save_interval_s",
    "train.runner.logger", "train.runner.wandb_project", "train.runner.device", "train.runner.eval_interval",
    "train.runner.eval_envs",
    "train.runner.video", "train.runner.video_interval", "train.runner.video_length", "train.runner.video_width",
)  # fmt: skip
"""Fields in which runs of one method differ without being another experiment."""


@dataclass
class Run:
    """One training.

    Attributes:
        folders: its run folders, oldest first; more than one when it was resumed.
        task: name of the task.
        seed: of environment and learning.
        env_cfg, train_cfg: configurations of the last folder, nested dictionaries.
        curves: tag -> iterations (P,) and values (P,), of redone iterations the last.
        steps_per_iteration: control steps of all robots.
        seconds: (iterations,) collecting and learning until the end of each iteration.
        checkpoint: newest one, None without.
        evaluation: contents of evaluation.json, None without.
        commit: of the code, None where it is not known.
        notes: remarks about this record.
    """

    folders: list[Path]
    task: str
    seed: int
    env_cfg: dict[str, Any]
    train_cfg: dict[str, Any]
    curves: Curves
    steps_per_iteration: int
    seconds: np.ndarray
    checkpoint: Path | None
    evaluation: dict[str, Any] | None
    commit: str | None
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The newest run folder."""
        return self.folders[-1]

    @property
    def flat(self) -> bool:
        """Whether it learnt on a plane."""
        return self.env_cfg.get("terrain", {}).get("mesh_type", "plane") == "plane"

    @property
    def iterations(self) -> int:
        """Done and logged."""
        return len(self.seconds)

    @property
    def steps(self) -> int:
        """Control steps of all robots together."""
        return 0 if self.cloned else self.iterations * self.steps_per_iteration

    @property
    def cloned(self) -> bool:
        """Whether `distill.py` taught it from a data set: an iteration is a pass, and no robot was stepped."""
        return {"Loss/cloning", "Loss/held_out"} <= set(self.curves)

    def curve(self, tag: str, over: str = "steps") -> tuple[np.ndarray, np.ndarray] | None:
        """Values of a tag over the training.

        Args:
            tag: name of the scalar.
            over: "steps", "hours" or "passes" (of a cloned student over its data).

        Returns:
            Millions of control steps, hours of wall time, or passes, (P,), and values (P,); None where the tag was not
            logged.
        """
        if tag not in self.curves:
            return None
        iterations, values = self.curves[tag]
        if over == "hours":
            return self.seconds[iterations] / 3600.0, values
        if over == "passes":
            return iterations + 1.0, values
        return (iterations + 1) * self.steps_per_iteration / 1e6, values

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """Metrics by policy of its evaluation; empty without one."""
        return (self.evaluation or {}).get("policies", {})

    @property
    def deployed(self) -> dict[str, Any] | None:
        """Metrics of the policy that a robot could run: the student where there is one."""
        return self.policies.get("student", next(iter(self.policies.values()), None))


def find_run_dirs(names: list[str], log_root: Path) -> list[Path]:
    """Run folders that a user names by path or as TASK/RUN below `log_root`.

    Raises:
        UserError: there is no such run (with the nearest names).
    """
    found = []
    for name in names:
        path = Path(os.path.expanduser(name))
        experiment, _, run = name.strip("/").partition("/")
        if not path.is_dir():
            if path.is_file():
                raise UserError(f"run '{name}' is a file; give its folder")
            if path.is_absolute() or len(path.parts) > 2:  # what was meant is a folder, not a name below `log_root`
                path = find_run(path.parent.parent, path.parent.name, path.name)
            elif run and not (log_root / experiment).is_dir():
                known = [folder.name for folder in log_root.iterdir()] if log_root.is_dir() else []
                raise UserError(
                    f"no run '{name}', here or in {log_root}{did_you_mean(experiment, known)}; give a run folder "
                    "logs/<experiment>/<date>_<run>, or <experiment>, or <experiment>/<date>_<run>"
                )
            else:
                path = find_run(log_root, experiment, run or None)
        elif not (path / "params").is_dir() and not checkpoints(path) and not list(path.glob("events.*")):
            raise UserError(
                f"{path} is no run folder: expected params/, checkpoints or event files in it; give "
                "logs/<experiment>/<date>_<run>"
            )
        found.append(path.resolve())
    return list(dict.fromkeys(found))


def read_runs(paths: list[Path]) -> list[Run]:
    """Records of run folders; one that another one continues is a part of that one's record."""
    chains = [_chain(path) for path in paths]
    continued = {folder for chain in chains for folder in chain[:-1]}
    return [_read(chain) for chain in chains if chain[-1] not in continued]


def _chain(path: Path) -> list[Path]:
    """`path` and, before it, the folders that it was resumed from, oldest first."""
    chain = [path]
    while True:
        runner = _configs(chain[0])[1].get("runner", {})
        if not runner.get("resume"):
            return chain
        before = _predecessor(chain[0], str(runner.get("load_run", "-1")))
        if before is None or before in chain:
            return chain
        chain.insert(0, before)


def _predecessor(path: Path, load_run: str) -> Path | None:
    """The folder that a resumed run continues: the one it names, or the newest one before it that has a checkpoint."""
    if load_run not in ("-1", ""):
        named = (path.parent / load_run).resolve()
        return named if named.is_dir() else None
    siblings = sorted((folder for folder in path.parent.iterdir() if folder.is_dir()), key=run_age)
    older = [folder for folder in siblings if run_age(folder) < run_age(path) and checkpoints(folder)]
    return older[-1] if older else None


def _configs(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configurations of a folder; empty ones where they cannot be read."""
    try:
        return load_run_configs(path)
    except UserError:
        return {}, {}


def _read(chain: list[Path]) -> Run:
    path, notes = chain[-1], []
    env_cfg, train_cfg = _configs(path)
    if not train_cfg:
        notes.append("its configuration (params/) cannot be read")
    found = [folder for folder in chain if list(folder.glob("events.out.tfevents.*"))]
    if not found:
        raise UserError(f"{path} has no event files: it was trained with --logger=none, or is no run folder")
    curves = merge_curves([read_events(file) for folder in chain for file in event_files(folder)])
    if "Perf/learning_time" not in curves:
        raise UserError(f"nothing is logged in {path} yet: wait for the first iteration")
    steps = int(train_cfg.get("runner", {}).get("num_steps_per_env", 24)) * int(
        env_cfg.get("env", {}).get("num_envs", 1)
    )
    first = int(curves["Perf/learning_time"][0][0])
    if first > 0:
        notes.append(f"what came before iteration {first} is not in its folders; wall time before it is an estimate")
    newest = next((list(checkpoints(folder).values())[-1] for folder in reversed(chain) if checkpoints(folder)), None)
    evaluation = _evaluation(chain, newest, notes)
    return Run(
        folders=chain,
        task=_task(path, train_cfg, evaluation, newest, notes),
        seed=int(train_cfg.get("seed", 0)),
        env_cfg=env_cfg,
        train_cfg=train_cfg,
        curves=curves,
        steps_per_iteration=steps * processes_of(curves, steps),
        seconds=seconds_of(curves),
        checkpoint=newest,
        evaluation=evaluation,
        commit=_commit(path),
        notes=notes,
    )


def _evaluation(chain: list[Path], newest: Path | None, notes: list[str]) -> dict[str, Any] | None:
    path = chain[-1] / "evaluation.json"
    if not path.is_file():
        return None
    try:
        evaluation = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(evaluation["policies"], dict):
            raise TypeError("policies")
    except (OSError, ValueError, KeyError, TypeError) as error:
        notes.append(f"evaluation.json cannot be used ({type(error).__name__}: {error})")
        return None
    measured = Path(str(evaluation.get("checkpoint", ""))).name
    if newest is not None and measured != newest.name:
        notes.append(f"evaluation.json is of {measured or 'an unknown checkpoint'}, the newest one is {newest.name}")
    return evaluation


def _task(path: Path, train_cfg: dict, evaluation: dict | None, newest: Path | None, notes: list[str]) -> str:
    """Name of the task: of the evaluation, of the checkpoint, or of the experiment."""
    if evaluation is not None and isinstance(evaluation.get("task"), str):
        return evaluation["task"]
    if newest is not None:
        try:
            infos = load_checkpoint(newest, "cpu").get("infos")
            if isinstance(infos, dict) and isinstance(infos.get("task"), str):
                return infos["task"]
        except UserError as error:
            notes.append(str(error))
    return train_cfg.get("runner", {}).get("experiment_name", path.parent.name)


def _commit(path: Path) -> str | None:
    """Commit that the runner noted in git/*.diff."""
    for file in sorted(path.glob("git/*.diff")):
        match = COMMIT.search(file.read_text(errors="replace", encoding="utf-8")[:4000])
        if match:
            return match[0]
    return None


def label_of(run: Run) -> str:
    """Label of the run's method in pictures: its task, and the ground where that differs from the task's."""
    from legged_gym_ext.envs import task_registry

    if run.task not in task_registry.names:
        return run.task
    env_cfg, _ = task_registry.get_cfgs(run.task)
    if not hasattr(env_cfg, "terrain") or (env_cfg.terrain.mesh_type == "plane") == run.flat:
        return run.task
    return f"{run.task} ({'flat' if run.flat else 'rough'} ground)"


def group_runs(runs: list[Run]) -> dict[str, list[Run]]:
    """Label of the method -> its runs by seed, methods in the order given."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label_of(run), []).append(run)
    return {label: sorted(members, key=lambda run: run.seed) for label, members in groups.items()}


def differences(runs: list[Run]) -> list[str]:
    """Fields of the configurations, beside seeds and names, in which runs are not alike."""
    flattened = [{**_flat(run.env_cfg, "env."), **_flat(run.train_cfg, "train.")} for run in runs]
    names = dict.fromkeys(name for fields in flattened for name in fields)
    return [name for name in names if name not in OWN_FIELDS and len({json.dumps(f.get(name)) for f in flattened}) > 1]


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
