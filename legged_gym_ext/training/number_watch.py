"""Watches the numbers of a training: the first that is not finite, or explodes, ends it with its name and a report.

Checked are, in every step on the CPU, observations, rewards and their terms; before every gradient step its gradients;
before the first one of an update what was collected; after an update, weights and the deviation of the actions. A
broken number ends the training before anything is saved again: checkpoints hold good numbers.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from legged_gym_ext.training.runs import WriteError, atomic_write, checkpoints
from legged_gym_ext.utils import distributed
from legged_gym_ext.utils.errors import UserError

if TYPE_CHECKING:
    from legged_gym_ext.training.runner import TrainRunner

LARGEST, LARGEST_STD = 1e6, 1e3
"""Magnitudes beyond which numbers, and the standard deviation of actions, count as exploded.

Far above what is learnt from (observations are clipped to 100, rewards of a step and values lie below 1000, deviations
below 10) and far below where float32 ends: squares of them still have six digits.
"""

COLLECTED = ("actions", "mean", "std", "values", "rewards", "returns", "advantages")
"""What is checked of a rollout, in the order in which it is computed."""


class BrokenNumberError(UserError):
    """A number of the training is not finite or has exploded; the message says which, and where the batch is."""


class NumberWatch:
    """Watches one training."""

    def __init__(self, runner: TrainRunner) -> None:
        """Watch the robots and the algorithm of `runner` from now on.

        Attributes:
            every_step: look at every step of the robots. Not on a GPU, which would wait for each look: there broken
                observations and rewards are found before they are learnt from, without the term.
        """
        self.runner, self._update_checked = runner, True
        self.every_step = torch.device(runner.device).type == "cpu"
        self.iteration = runner.current_learning_iteration
        runner.env.on_step = self.check_step
        runner.alg.optimizer.register_step_pre_hook(lambda *_: self.check_gradients())

    # -- checks ------------------------------------------------------------------------------------------------------

    def check_step(self, observations: Mapping[str, torch.Tensor], rewards: torch.Tensor) -> None:
        """Check what a step of the robots gave: observation groups (N, ...), rewards (N,) and their terms.

        Raises:
            BrokenNumberError: with term and robot.
        """
        self._update_checked = False
        if not self.every_step:
            return
        terms = getattr(self.runner.env.env, "rewards", None)
        parts = {} if terms is None else {"": terms.parts}
        frames = {name: values for name, values in observations.items() if name != "history"}  # of frames seen before
        if _largest([*parts.values(), *frames.values(), rewards]) <= LARGEST:
            return
        step = {**{f"observations/{name}": x for name, x in frames.items()}, "rewards": rewards}
        if terms is not None:
            step.update({f"reward_terms/{name}": part for name, part in zip(terms.names, terms.parts)})
        for name, part in reversed(step.items()):  # terms before the sum, that before what the robots see
            found = _first_broken(part)
            if found is not None:
                kind, _, term = name.partition("/")
                what = "the reward" if kind == "rewards" else f"the reward '{term}'"
                what = f"observation {self._column(term, found)}" if kind == "observations" else what
                self._fail(f"{what} of robot {found[0]} is {_text(part[found])}", step)

    def check_gradients(self) -> None:
        """Check the gradients of a gradient step, and before the first one of an update what was collected.

        Raises:
            BrokenNumberError: with the parameters, and the losses that are not finite.
        """
        if not self._update_checked:
            self._update_checked = True
            self._check_rollout()
        parameters = [p for group in self.runner.alg.optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        # Clipped by now: their norm is finite if they are.
        if gradients and not math.isfinite(float(_norm(gradients))):
            broken = [name for name, p in self._parameters() if p.grad is not None and not p.grad.isfinite().all()]
            losses = getattr(self.runner.alg, "latest_losses", {})
            losses = [f"'{name}'" for name, loss in losses.items() if not loss.isfinite().all()]
            cause = f", as is the loss {', '.join(losses)}" if losses else ""
            more = f" and of {len(broken) - 1} more tensors" if len(broken) > 1 else ""
            self._fail(f"the gradient of {broken[0] if broken else 'the networks'}{more} is not finite{cause}")

    def check_update(self) -> None:
        """Check weights and the deviation of the actions after an update.

        Raises:
            BrokenNumberError: with the parameter or the action.
        """
        std = self._std()
        found = None if std is None or _largest([std]) <= LARGEST_STD else _first_broken(std, LARGEST_STD)
        if std is not None and found is not None:
            self._fail(f"the standard deviation of action {found[-1]} is {_text(std[found])}", limit=LARGEST_STD)
        named = [(name, p.detach()) for name, p in self._parameters()]
        if not _largest([p for _, p in named]) <= LARGEST:
            for name, p in named:
                found = _first_broken(p)
                if found is not None:
                    self._fail(f"the weight {name}{list(found)} is {_text(p[found])}")

    def explain(self, error: Exception) -> None:
        """Raise `BrokenNumberError` where broken numbers are behind an error of the training; otherwise do nothing."""
        self.check_update()
        self._check_rollout()
        if isinstance(error, FloatingPointError):
            self._fail(str(error))

    def _check_rollout(self) -> None:
        rollout = rollout_of(self.runner.alg)
        sets = () if self.every_step else self.runner.cfg["obs_groups"].values()
        groups = sorted({group for names in sets for group in names})
        for name in (name for name in (*groups, *COLLECTED) if name in rollout):
            limit = LARGEST_STD if name == "std" else LARGEST
            if not _largest([rollout[name]]) <= limit:
                self.check_update()  # a broken weight is the cause
                found = _first_broken(rollout[name], limit)
                assert found is not None
                what = {"std": "the standard deviation"}.get(name, f"'{name}'")
                where = f"of robot {found[1]} in step {found[0]} of the rollout"
                self._fail(f"{what} {where} is {_text(rollout[name][found])}", limit=limit)

    # -- names and report --------------------------------------------------------------------------------------------

    def _std(self) -> torch.Tensor | None:
        """Standard deviations (..., A) of the policy; None before it has acted."""
        try:
            return self.runner.alg.get_policy().output_std.detach()
        except AttributeError:
            return None

    def _parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """What the optimizer trains, with its name in the algorithm."""
        trained = {id(p) for group in self.runner.alg.optimizer.param_groups for p in group["params"]}
        for owner, module in vars(self.runner.alg).items():
            if isinstance(module, torch.nn.Module) and not owner.startswith("_"):
                yield from ((f"{owner}.{name}", p) for name, p in module.named_parameters() if id(p) in trained)

    def _column(self, group: str, index: tuple[int, ...]) -> str:
        """`'dof_vel' (group policy, column 21)`, as far as the environment says what a column is."""
        observations = getattr(self.runner.env.env, "observations", None)
        column = f"group {group}, column {index[-1]}"
        if observations is not None and group in observations.groups:
            for term, part in observations.slices(group).items():
                if part.start <= index[-1] % observations.dim(group) < part.stop:
                    return f"'{term}' ({column})"
        return f"({column})"

    def _fail(self, what: str, step: Mapping[str, torch.Tensor] | None = None, limit: float = LARGEST) -> None:
        """Write the report and raise."""
        runner = self.runner
        iteration = self.iteration
        process = f" in process {distributed.rank()}" if distributed.world_size() > 1 else ""
        message = f"iteration {iteration}{process}: {what}; expected finite numbers of at most {limit:g}"
        if runner.logger.log_dir is None:
            raise BrokenNumberError(message)
        folder = Path(runner.logger.log_dir)
        path = folder / f"broken_{iteration}.pt"
        content = {"message": message, "iteration": iteration, "step": dict(step or {})}
        content["rollout"] = rollout_of(runner.alg)
        content["networks"] = {name: p.detach() for name, p in self._parameters()}
        kept = list(checkpoints(folder).values())
        good = f"the last good checkpoint is {kept[-1].name}" if kept else "there is no checkpoint yet"
        try:
            write_tensors(path, content)
        except WriteError as error:
            raise BrokenNumberError(f"{message}; {error}; {good}") from error
        raise BrokenNumberError(f"{message}; the batch is in {path}; {good}")


def rollout_of(alg: Any) -> dict[str, torch.Tensor]:
    """Name -> (steps so far, N, ...) of what an algorithm has collected: ours, or rsl-rl-lib's."""
    storage = alg.storage
    if hasattr(storage, "collected"):
        found = storage.collected()
        made = {name: getattr(alg, name, None) for name in ("returns", "advantages")}
        return {**found, **{name: values for name, values in made.items() if values is not None}}
    steps = storage.step or storage.num_transitions_per_env  # 0 after an update, which leaves the values
    names = ("actions", "values", "rewards", "dones", "returns", "advantages")
    found = {name: getattr(storage, name)[:steps] for name in names if hasattr(storage, name)}
    for name, values in zip(("mean", "std"), storage.distribution_params or ()):
        found[name] = values[:steps]
    return {**found, **{name: values[:steps] for name, values in storage.observations.items()}}


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that `torch.load(path, weights_only=True)` reads, whole or not at all.

    In memory first: torch hides the system's reason why a file cannot be written.

    Raises:
        WriteError: the disk is full, or refuses the file otherwise.
    """
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    atomic_write(path, lambda target: target.write_bytes(buffer.getbuffer()))


def _largest(tensors: list[torch.Tensor]) -> float:
    """Largest magnitude in all tensors, nan where there is one; one transfer from the device."""
    ends = [end for x in tensors if x.numel() for end in torch.aminmax(x)]
    return float(torch.stack(ends).abs().max()) if ends else 0.0


def _norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """Norm () of all gradients; torch 2.6 has a function that launches few kernels on a GPU."""
    if hasattr(torch.nn.utils, "get_total_norm"):
        return torch.nn.utils.get_total_norm(gradients)
    return torch.stack([gradient.norm() for gradient in gradients]).norm()


def _first_broken(values: torch.Tensor, limit: float = LARGEST) -> tuple[int, ...] | None:
    """Index of the first element that is not finite or larger than `limit`; None without."""
    found = (~(values.abs() <= limit)).nonzero()
    return tuple(found[0].tolist()) if len(found) else None


def _text(value: torch.Tensor) -> str:
    return f"{float(value):.4g}"
