"""The steps of multi_task.py; each leaves a file, and is left out where that is there."""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import torch

from legged_gym_ext.envs import task_registry
from legged_gym_ext.foreign import parse_json
from legged_gym_ext.scripts import collect
from legged_gym_ext.scripts.multi_task import SIZES
from legged_gym_ext.training.make_runner import set_seed, to_rsl_cfg
from legged_gym_ext.training.multi_task_scores import SEED, Exam, Standing, recorded_return
from legged_gym_ext.training.policies import Policy, run_cfgs
from legged_gym_ext.training.regimes import overrides
from legged_gym_ext.training.runs import atomic_write, checkpoints, log_root, new_run_dir, save_run_configs
from legged_gym_ext.utils.config import update_from_dict
from legged_gym_ext.utils.cpus import usable_cpus
from legged_gym_ext.utils.errors import UserError, user_errors
from legged_gym_ext.wrappers.rsl_rl_vec_env import RslRlVecEnv
from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.modules.decision_transformer import DecisionTransformer
from rsl_rl_ult.modules.multi_task_student import MultiTaskStudent
from rsl_rl_ult.offline import MULTI
from rsl_rl_ult.offline.decision_transformer import (
    DecisionSettings,
    DecisionTraining,
    fit_scales,
    make_decision_transformer,
    mean_return,
    normalized_return,
)
from rsl_rl_ult.offline.labels import write_labels
from rsl_rl_ult.offline.multi_task import Lesson, MultiTask, MultiTaskSettings
from rsl_rl_ult.policies.decision import DecisionPolicy
from rsl_rl_ult.storage.returns import ReturnsDataset

BODY = "robot"
SAVE_UPDATES, SAVE_ROUNDS = 500, 20  # between two states to go on from


SETTINGS = (
    "task", "load_run", "checkpoint", "pretrained", "policy", "actions", "regimes", "quality", "medium_checkpoint",
    "episodes", "teacher_updates", "teacher_rate", "teacher_head", "returns", "teacher_rtg", "rounds", "round_updates",
    "projection", "distance", "eval_envs",
)  # fmt: skip
"""Flags that make results what they are; orders, sizes and seeds may be added later."""


def _restore(target: Any, path: Path) -> None:
    """Let `target` take over the state in a file of an earlier run."""
    with user_errors(f"{path} is damaged, delete it: the same command makes it again"):
        target.load_state_dict(torch.load(path, weights_only=True))


def _read_results(path: Path) -> dict[str, Any]:
    """The contents of an earlier `results.json`."""
    with user_errors(f"{path} is damaged: restore it, or choose another --out"):
        found = parse_json(path.read_text(encoding="utf-8"))
        parts = [found.get(name, {}) for name in ("args", "references", "teachers", "students", "seconds")]
        numbers = [seconds + 0.0 for seconds in parts[-1].values()]
        if not all(
            isinstance(part, dict) for part in (*parts, *parts[2].values(), *parts[3].values(), *parts[1].values())
        ):
            raise ValueError(f"expected objects by name, and {len(numbers)} times in seconds")
        return found


class Pipeline:
    """Everything from a trained run to a table of students."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Read what there is in `--out`.

        Raises:
            UserError: it was begun with other settings.
        """
        self.args, self.out = args, Path(os.path.expanduser(args.out))
        self.out.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(usable_cpus())
        path = self.out / "results.json"
        self.results: dict[str, Any] = _read_results(path) if path.exists() else {}
        for name, before in self.results.get("args", {}).items():
            now = getattr(args, name, None)
            if name in SETTINGS and now != before:
                raise UserError(
                    f"{path.parent} was begun with --{name}={before}, now it is {now}: choose another --out"
                )
        if self.results.get("teachers") and "policy" not in self.results.get("args", {}):
            raise UserError(f"{path.parent} was begun by an earlier version, with other teachers: choose another --out")
        for part in ("references", "teachers", "students", "seconds"):
            self.results.setdefault(part, {})

    def run(self) -> None:
        """All steps, one after the other."""
        names = self.args.regimes
        data = {name: self._timed("record", self._record, name) for name in names}
        for name in names:
            self._timed("evaluation", self._reference, name, data[name])
        with user_errors("the data sets cannot be learnt from"):
            scale = torch.stack([fit_scales(data[name], 0.1).action_scale for name in names]).amax(0)
        teachers = {name: self._timed("teachers", self._teacher, name, data[name], scale) for name in names}
        for name in names:
            self._timed("labels", self._label, name, teachers[name], data[name])
        students = {}
        for size in self.args.sizes:
            for order in self.args.orders:
                for seed in range(self.args.seeds):
                    key = f"{order}/{size}/{seed}"
                    students[key] = self._timed("students", self._student, order, size, seed, data, scale)
        self._timed("evaluation", self._evaluate, data, teachers, students)
        self._finish(students)

    def _timed(self, part: str, step: Any, *inputs: Any) -> Any:
        begin = time.monotonic()
        found = step(*inputs)
        seconds = self.results["seconds"]
        seconds[part] = round(seconds.get(part, 0.0) + time.monotonic() - begin, 1)
        self._save_results()
        return found

    def _save_results(self) -> None:
        self.results["args"] = {k: v for k, v in vars(self.args).items() if isinstance(v, (str, int, float, list))}
        text = json.dumps(self.results, indent=1) + "\n"
        atomic_write(self.out / "results.json", lambda target: target.write_text(text, encoding="utf-8"))

    @staticmethod
    def _save(path: Path, content: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        atomic_write(path, lambda target: target.write_bytes(buffer.getvalue()))

    # -- data --------------------------------------------------------------------------------------------------------

    def _checkpoints(self) -> list[int | None]:
        """Checkpoint of each part of the data; None: the last."""
        args = self.args
        if args.quality != "mixed":
            return [None if args.quality == "expert" else args.medium_checkpoint]
        _, _, run = run_cfgs(args.task, argparse.Namespace(**vars(args)))
        there = [number for number in checkpoints(run) if number >= args.medium_checkpoint] if run else []
        picked = [there[round(index * (len(there) - 1) / 4)] for index in range(5)] if there else []
        if not picked:
            raise UserError(f"--medium_checkpoint={args.medium_checkpoint}: the run has no checkpoint from there on")
        return list(dict.fromkeys(picked))

    def _record(self, name: str) -> ReturnsDataset:
        """The data set of a regime; recorded with collect.py where it is not whole."""
        args, parts = self.args, self._checkpoints()
        folders = [self.out / "data" / f"{name}-{args.quality}" / f"part-{index}" for index in range(len(parts))]
        for folder, checkpoint in zip(folders, parts):
            done = folder / "done"
            wanted = max(10, args.episodes // len(parts))
            if done.exists() and int(done.read_text(encoding="utf-8")) >= wanted:
                continue
            flags = [f"--task={args.task}", f"--out={folder}", f"--episodes={wanted}", f"--actions={args.actions}"]
            flags += [f"--policy={args.policy}", "--labels=own", *(["--pretrained"] if args.pretrained else [])]
            for flag in ("load_run", "log_root", "experiment_name", "num_envs"):
                if getattr(args, flag) is not None:
                    flags.append(f"--{flag}={getattr(args, flag)}")
            number = args.checkpoint if checkpoint is None else checkpoint
            flags += [] if number is None else [f"--checkpoint={number}"]
            settings = {**overrides(name), **args.env_overrides}
            collect.main([*flags, *(f"--env.{path}={value}" for path, value in settings.items())])
            done.write_text(str(wanted), encoding="utf-8")
        with user_errors(f"the data set of '{name}' cannot be read"):
            return ReturnsDataset(*folders)

    # -- teachers ----------------------------------------------------------------------------------------------------

    def _settings(self) -> DecisionSettings:
        args = self.args
        return DecisionSettings(
            returns=args.returns,
            # Cloning needs neither: frames show the last action, and what to do does not depend on the time.
            actions=args.returns,
            max_steps=1000 if args.returns else 0,
            target="executed" if args.returns else "teacher",
            teacher_head=args.teacher_head,
            learning_rate=args.teacher_rate,
            warmup_updates=args.teacher_updates // 10,
            decay_updates=args.teacher_updates,
            buffer_rows=65536,
        )

    def _teacher(self, name: str, dataset: ReturnsDataset, scale: torch.Tensor) -> DecisionTransformer:
        settings, args = self._settings(), self.args
        sizes = dataset.card["columns"]["student"]
        set_seed(0)
        network = make_decision_transformer(sizes["policy"]["shape"][0], sizes["actions"]["shape"][0], settings)
        path = self.out / "teachers" / f"{name}.pt"
        if path.exists():
            _restore(network, path)
            return network.eval()
        state = self.out / "teachers" / f"{name}.state.pt"
        training = DecisionTraining(network, dataset, settings, action_scale=scale)
        if state.exists():
            _restore(training, state)
        begin, first = time.monotonic(), training.updates
        while training.updates < args.teacher_updates:
            with user_errors(f"teacher '{name}'"):
                losses = list(training.train(min(SAVE_UPDATES, args.teacher_updates - training.updates)))
            self._save(state, training.state_dict())
            rate = (training.updates - first) / (time.monotonic() - begin)
            print(
                f"teacher {name}: update {training.updates}/{args.teacher_updates}  loss "
                f"{sum(losses) / len(losses):.3f}  {rate:.1f} updates/s",
                flush=True,
            )
        error = training.evaluate(20)
        self._save(path, network.state_dict())
        state.unlink()
        weights = sum(p.numel() for p in network.parameters())
        self.results["teachers"].setdefault(name, {}).update(held_out_error=error, weights=weights)
        return network.eval()

    def _label(self, name: str, teacher: DecisionTransformer, dataset: ReturnsDataset) -> None:
        target = mean_return(dataset, 0.9) if self.args.returns and self.args.teacher_rtg == "target" else None
        write_labels(teacher, dataset, self.out / "labels" / name, target)
        dataset.add_labels(self.out / "labels" / name)

    # -- students ----------------------------------------------------------------------------------------------------

    def _new_student(self, size: str, data: dict[str, ReturnsDataset], scale: torch.Tensor) -> MultiTaskStudent:
        columns = next(iter(data.values())).card["columns"]["student"]
        student = MultiTaskStudent({BODY: (columns["policy"]["shape"][0], len(scale))}, **SIZES[size])
        body = student.bodies[BODY]
        body.head.action_scale.copy_(scale)
        fitted = [fit_scales(dataset, 0.1) for dataset in data.values()]
        mean = torch.stack([one.obs_mean for one in fitted]).mean(0)
        # Deviation of the mixture of all data sets: mean variance and variance of the means.
        square = torch.stack([one.obs_std.square() + (one.obs_mean - mean).square() for one in fitted]).mean(0)
        fitted[0].obs_mean, fitted[0].obs_std = mean, square.sqrt()
        fitted[0].apply(body.normalizer)
        return student

    def _student(
        self, order: str, size: str, seed: int, data: dict[str, ReturnsDataset], scale: torch.Tensor
    ) -> MultiTaskStudent:
        args, key = self.args, f"{order}/{size}/{seed}"
        path = self.out / "students" / f"{order}-{size}-{seed}.pt"
        set_seed(seed)
        student = self._new_student(size, data, scale)
        if path.exists():
            _restore(student, path)
            return student
        plain = order == "novelty-unprojected"
        settings = MultiTaskSettings(
            order="novelty" if plain else order,
            projection="none" if plain else args.projection,
            round_updates=args.round_updates,
            distance=args.distance,
        )
        lessons = [Lesson(name, BODY, dataset, args.teacher_head) for name, dataset in data.items()]
        learner, state = MultiTask(student, lessons, settings, seed), path.with_suffix(".state.pt")
        if state.exists():
            _restore(learner, state)
        begin = time.monotonic()
        while learner.rounds < args.rounds:
            with user_errors(f"student {key}"):
                record = learner.train_round()
            if learner.rounds % SAVE_ROUNDS == 0 or learner.rounds == args.rounds:
                self._save(state, learner.state_dict())
                shown = "  ".join(f"{n} {d:.2f}" for n, d in zip(data, record["distances"]))
                print(f"student {key}: round {learner.rounds}/{args.rounds}  {shown}", flush=True)
        self.results["students"].setdefault(key, {}).update(
            weights=sum(p.numel() for p in student.parameters()),
            seconds=round(time.monotonic() - begin, 1),
            rounds=dict(zip(data, learner.counts)),
            divergence=dict(zip(data, learner.distances())),
            curves={name: [r["distances"][i] for r in learner.history] for i, name in enumerate(data)},
            projected=sum(r["projected"] for r in learner.history) / learner.rounds,
            conflicts=sum(r["conflicts"] for r in learner.history) / learner.rounds,
            cosines=[r["cosine"] for r in learner.history],
        )
        self._save(path, student.state_dict())
        state.unlink()
        return student

    # -- evaluation --------------------------------------------------------------------------------------------------

    def _cfgs(self, card: dict[str, Any] | None = None) -> tuple[Any, Any, str]:
        """Configurations of the student's task, with the environment of a data set."""
        task = task_registry.with_method(str(self.args.task), "multi")
        if task is None:
            raise UserError(f"--task={self.args.task} is not composed of a robot and a method: no task for a student")
        env_cfg, train_cfg = task_registry.get_cfgs(task)
        if card is not None:
            update_from_dict(env_cfg, card["env"])
        return env_cfg, train_cfg, task

    def _network(self, student: MultiTaskStudent, size: str, env: Any) -> tuple[Any, dict, Any]:
        """The student as the network of its task: network, observation sets and training configuration."""
        _, train_cfg, _ = self._cfgs()
        for name, value in SIZES[size].items():
            setattr(train_cfg.actor, name, value)
        obs = {name: torch.zeros(1, dim) for name, dim in env.group_dims.items()}
        network, sets = construct.make_network(MULTI, obs, env.num_actions, to_rsl_cfg(train_cfg))
        student.copy_to(network, BODY)
        return network.eval(), sets, train_cfg

    def _exam(self, dataset: ReturnsDataset) -> tuple[Exam, Any]:
        """Robots of the student's task in the environment of a data set."""
        env_cfg, _, task = self._cfgs(dataset.card)
        env_cfg.env.num_envs, env_cfg.seed = self.args.eval_envs, SEED
        set_seed(SEED)
        env, _ = task_registry.make_env(task, env_cfg)
        return Exam(RslRlVecEnv(env, ["policy"])), env

    def _reference(self, name: str, dataset: ReturnsDataset) -> None:
        """Returns of a robot that stands and of the policy that was recorded: what 0 and 100 % are.

        Before anything is learnt: a policy that stands no better is an error at once.
        """
        if name in self.results["references"]:
            return
        exam, env = self._exam(dataset)
        low, mean = exam.mean_return(Standing(env.num_actions)), mean_return(dataset)
        # With checkpoints of several qualities, it is the mean of all that was recorded.
        high = recorded_return(self.args, dataset.card) if self.args.quality == "expert" else mean
        print(f"{name}: standing {low:.2f}, recorded policy {high:.2f}, its data {mean:.2f}", flush=True)
        if not high > low:
            raise UserError(
                f"'{name}': the recorded policy earns {high:.2f}, a robot that stands {low:.2f}: train it for longer, "
                "there is nothing to learn from it"
            )
        self.results["references"][name] = {"standing": low, "behaviour": high, "data": mean, "task": self.args.task}

    def _evaluate(self, data: dict, teachers: dict, students: dict) -> None:
        """Returns of all teachers and of all students, in every regime."""
        for name, dataset in data.items():
            left = [key for key in students if name not in self.results["students"][key].get("returns", {})]
            if not left and "return" in self.results["teachers"].get(name, {}):
                continue
            exam, env = self._exam(dataset)
            target = mean_return(dataset, 0.9)
            self._score("teachers", name, name, exam.mean_return(DecisionPolicy(teachers[name], target)))
            for key in left:
                network, sets, _ = self._network(students[key], key.split("/")[1], env)
                policy = Policy(MULTI.make_policies(network, sets)["student"], "cpu")
                self._score("students", key, name, exam.mean_return(policy))
                self._save_results()

    def _score(self, part: str, key: str, name: str, value: float) -> None:
        reference = self.results["references"][name]
        with user_errors(f"'{name}' cannot be scored"):
            score = normalized_return(value, reference["standing"], reference["behaviour"])
        entry = self.results[part].setdefault(key, {})
        if part == "teachers":
            entry.update({"return": value, "normalized": score})
        else:
            entry.setdefault("returns", {})[name] = value
            entry.setdefault("normalized", {})[name] = score
        print(f"{name}: {key} {value:.2f}, {score:.1f} % of the behaviour policy", flush=True)

    def _finish(self, students: dict) -> None:
        """The table, the pictures, and the best student as a run."""
        from legged_gym_ext.reports.multi_task import pictures, table

        print(table(self.results, self.args.regimes))
        for picture in pictures(self.results, self.args.regimes):
            print(f"  {picture.save(self.out)}")
        scores = {key: min(self.results["students"][key]["normalized"].values()) for key in students}
        best = max(scores, key=lambda key: scores[key])
        print(f"best student by its worst regime: {best}, as a run: {self._write_run(students[best], best)}")

    def _write_run(self, student: MultiTaskStudent, key: str) -> Path:
        """A run folder that evaluate.py, play.py, export.py and report.py read."""
        env_cfg, _, task = self._cfgs()
        env_cfg.env.num_envs, env_cfg.terrain.mesh_type = 1, "plane"
        env, _ = task_registry.make_env(task, env_cfg)
        network, _, train_cfg = self._network(student, key.split("/")[1], env)
        env_cfg, _, _ = self._cfgs()
        run = new_run_dir(log_root(self.args), train_cfg.runner.experiment_name, key.replace("/", "-"))
        save_run_configs(run, env_cfg, train_cfg, task)
        weights, updates = network.state_dict(), self.args.rounds * self.args.round_updates
        content = {"model_state_dict": weights, "network_state_dict": weights, "optimizer_state_dict": {}}
        more = {"method": "MULTI", "updates": updates, "frozen_teacher": False, "iter": updates}
        self._save(run / f"model_{updates}.pt", {**content, **more, "infos": {"task": task, "env": {}}})
        return run
