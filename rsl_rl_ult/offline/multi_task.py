"""Many teachers, one student: in each round it learns from the teacher that it is least like.

With teachers pi_i on data sets D_i, i = 1 ... M, and a student pi_S:

- d_i is the mean KL(pi_i || pi_S) on held-out episodes of D_i;
- the round's teacher is the one with the largest d_i / c_i;
- for `round_updates` minibatches of D_i, g is the gradient of the KL; where it points against what the round before
  did, <g, g_prev> < 0, that part is taken out; the optimizer steps with the rest.

In one line: choose teacher and step to maximise d_i subject to <g, g_prev> >= 0. Close relatives: group-DRO (argmax of
the loss), A-GEM (one stored gradient), PCGrad (all pairs of tasks). Other orders are there to compare with.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult import losses
from rsl_rl_ult.modules.multi_task_student import MultiTaskStudent
from rsl_rl_ult.offline.behaviour_cloning import BC_ULT
from rsl_rl_ult.offline.gradient_projection import SCOPES, cosine, pcgrad, project
from rsl_rl_ult.offline.gradients import clip_finite
from rsl_rl_ult.storage.dataset import held_out
from rsl_rl_ult.storage.loader import SegmentLoader, Segments
from rsl_rl_ult.storage.returns import LABELS, ReturnsDataset
from rsl_rl_ult.storage.stream import BatchStream

CHOICES = {
    "order": ("novelty", "cyclic", "uniform", "pcgrad"),
    "projection": ("none", "previous", "previous_other", "all"),
    "scope": SCOPES,
    "distance": ("raw", "relative", "std"),
    "direction": ("teacher", "student"),
    "optimizer": ("adam", "sgd"),
}
"""Option -> its values."""


class MULTI(BC_ULT):
    """The student of a distillation as runners load it, to evaluate and deploy it."""

    def train_mode(self) -> None:
        """Refuse to learn from an environment."""
        raise ValueError("this method learns from many teachers and their data sets: run multi_task.py")


@dataclass
class MultiTaskSettings:
    """How a student is distilled."""

    order: str = "novelty"
    """novelty: as above. cyclic: one teacher after the other. uniform: every minibatch is from all teachers alike.
    pcgrad: as uniform, the gradients of the teachers projected against each other."""
    round_updates: int = 50
    """Gradient steps of a round."""
    projection: str = "previous_other"
    """none. previous: against the mean gradient of the round before. previous_other: only if that had another teacher;
    gradients of one teacher conflict by noise alone near its optimum. all: against the last mean gradient of every
    other teacher. Orders `novelty` and `cyclic` only."""
    scope: str = "global"
    """global | per_layer: what is a vector in a projection."""
    distance: str = "relative"
    """c_i. raw: 1. relative: d_i before the first round. std: the deviation of d_i over the rounds so far."""
    epsilon: float = 0.05
    """Share of the rounds of `novelty` with a random teacher, so that none is starved by one that cannot be learnt."""
    softmax_temperature: float = 0.0
    """Above 0: the teacher of `novelty` is drawn from softmax(d_i / c_i / temperature)."""
    direction: str = "teacher"
    """teacher: KL(teacher || student). student: KL(student || teacher)."""
    min_std: float = 0.05
    """Deviations below it count as it: KLs would be ruled by who is most certain."""
    batch_size: int = 1024
    """Steps per gradient step, of all teachers together."""
    piece_steps: int = 16
    """Steps of the pieces of episodes that are learnt from."""
    learning_rate: float = 1e-3
    max_grad_norm: float = 1.0
    optimizer: str = "adam"
    """adam | sgd. Gradients are projected before Adam scales them, so that its step may leave the plane a little."""
    held_out: float = 0.1
    """Share of the episodes that only measure d_i."""
    held_out_steps: int = 2048
    """Steps of each teacher in that measurement."""
    buffer_rows: int = 65536
    """Rows of each data set that are shuffled together."""

    def check(self) -> None:
        """Refuse values that cannot be meant (`ValueError`)."""
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} '{getattr(self, name)}': expected one of {', '.join(known)}")
        for name in ("round_updates", "batch_size", "piece_steps", "held_out_steps", "buffer_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        for name in ("min_std", "learning_rate", "max_grad_norm"):
            if not (getattr(self, name) > 0.0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive number")
        if not 0.0 <= self.epsilon <= 1.0:
            raise ValueError(f"epsilon={self.epsilon}: expected in [0, 1]")
        if not self.softmax_temperature >= 0.0:
            raise ValueError(f"softmax_temperature={self.softmax_temperature}: expected at least 0")
        if not 0.0 < self.held_out < 1.0:
            raise ValueError(f"held_out={self.held_out}: a share of the episodes, expected in (0, 1)")


@dataclass
class Lesson:
    """One teacher with its data.

    Attributes:
        name: of the task.
        body: of the student that it teaches.
        dataset: with the columns `LABELS`.
        head: of the teacher, "gaussian" or "mse": labels are distributions of u, or of actions in units of their scale.
    """

    name: str
    body: str
    dataset: ReturnsDataset
    head: str = "gaussian"


class MultiTask:
    """Distils a student, round by round.

    Attributes:
        rounds: done so far.
        counts: rounds of each teacher; all of them count in `uniform` and `pcgrad`.
        history: of each round: `chosen` (None: all), `distances` before it, `projected` share of its gradients,
            `conflicts` share of pairs (pcgrad), `cosine` with the gradient of the round before, before projection, and
            `cosine_step` of the last step taken.
    """

    def __init__(
        self, student: MultiTaskStudent, lessons: Sequence[Lesson], settings: MultiTaskSettings, seed: int = 0
    ) -> None:
        """Measure the first distances.

        Args:
            student: with its normalisers and action scales set.
            lessons: one per teacher.
            settings: see there.
            seed: of the minibatches and of all choices; which episodes are held out does not depend on it.

        Raises:
            ValueError: a setting is wrong, or there is no lesson.
        """
        settings.check()
        if not lessons:
            raise ValueError("no teacher given: expected at least one lesson")
        self.student, self.lessons, self.settings, self.seed = student, list(lessons), settings, seed
        self.parameters = [p for p in student.parameters() if p.requires_grad]
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.optimizer]
        self.optimizer: Any = kind(self.parameters, lr=settings.learning_rate)
        self._together = settings.order in ("uniform", "pcgrad")
        share = settings.batch_size // len(lessons) if self._together else settings.batch_size
        self._streams = [BatchStream(self._loader(one, share, learnt=True)) for one in lessons]
        steps = settings.held_out_steps
        self._measured = [BatchStream(self._loader(one, steps, learnt=False)).next() for one in lessons]
        self._generator = torch.Generator().manual_seed(seed)
        self.rounds, self.counts = 0, [0] * len(lessons)
        self.history: list[dict[str, Any]] = []
        self._last: list[list[torch.Tensor] | None] = [None] * len(
            lessons
        )  # mean applied gradient of a teacher's round
        self._previous: int | None = None  # teacher of the round before
        self._first = self.distances()

    def _loader(self, lesson: Lesson, steps: int, learnt: bool) -> SegmentLoader:
        settings = self.settings
        return SegmentLoader(
            lesson.dataset,
            max(steps, settings.piece_steps),
            self.student.context,
            settings.piece_steps,
            columns=list(LABELS),
            last_actions=True,
            keep=lambda episodes: held_out(episodes, settings.held_out) != learnt,
            buffer_rows=settings.buffer_rows,
            prefetch=0,
            seed=self.seed if learnt else 0,
        )

    # -- distances ---------------------------------------------------------------------------------------------------

    def divergence(self, lesson: Lesson, batch: Segments) -> torch.Tensor:
        """Mean KL () between a teacher and the student over the samples of a minibatch."""
        mean, std = self.student(lesson.body, batch.frames, batch.last_actions, batch.age, batch.valid.shape[1])
        if lesson.head == "mse":
            mean = torch.tanh(mean)
        low = self.settings.min_std
        target = [batch.columns[name][batch.valid] for name in LABELS]
        teacher = target[0], target[1].clamp(min=low)
        student = mean[batch.valid], std[batch.valid].clamp(min=low)
        pair = (*teacher, *student) if self.settings.direction == "teacher" else (*student, *teacher)
        return losses.gaussian_kl(*pair).mean()

    @torch.no_grad()
    def distances(self) -> list[float]:
        """d_i of every teacher."""
        return [float(self.divergence(*pair)) for pair in zip(self.lessons, self._measured)]

    def novelty(self, distances: Sequence[float]) -> list[float]:
        """d_i / c_i."""
        kind = self.settings.distance
        if kind == "raw":
            return list(distances)
        if kind == "relative":
            return [d / max(c, 1e-12) for d, c in zip(distances, self._first)]
        seen = torch.tensor([*(record["distances"] for record in self.history), list(distances)])
        scale = seen.std(0) if len(seen) > 1 else torch.ones(len(distances))
        return (torch.tensor(list(distances)) / scale.clamp(min=1e-12)).tolist()

    def choose(self, distances: Sequence[float]) -> int | None:
        """Index of the next round's teacher; None: all."""
        settings, count = self.settings, len(self.lessons)
        if self._together:
            return None
        if settings.order == "cyclic":
            return self.rounds % count
        # Both are always drawn, so that a round's numbers do not depend on what was drawn before.
        explore = float(torch.rand((), generator=self._generator)) < settings.epsilon
        anyone = int(torch.randint(count, (), generator=self._generator))
        if explore:
            return anyone
        values = torch.tensor(self.novelty(distances))
        if settings.softmax_temperature > 0.0:
            shares = torch.softmax(values / settings.softmax_temperature, dim=0)
            return int(torch.multinomial(shares, 1, generator=self._generator))
        return int(values.argmax())

    # -- learning ----------------------------------------------------------------------------------------------------

    def train_round(self) -> dict[str, Any]:
        """One round; returns its record in `history`.

        Raises:
            ValueError: a gradient is not finite; nothing was learnt from it.
        """
        distances = self.distances()
        chosen = self.choose(distances)
        before = None if self._previous is None else self._last[self._previous]
        mean = [torch.zeros_like(p) for p in self.parameters]
        projected = conflicts = 0.0
        cosines, step = [], None
        updates = self.settings.round_updates
        for _ in range(updates):
            if chosen is None:
                gradient, found = self._joint_gradient()
                conflicts += found / updates
            else:
                raw = self._gradient(chosen)
                if before is not None:
                    cosines.append(cosine(raw, before))
                gradient, changed = self._projected(raw, chosen)
                projected += changed / updates
            step = self._apply(gradient, chosen)
            mean = [m + g / updates for m, g in zip(mean, gradient)]
        record = {
            "chosen": chosen,
            "distances": distances,
            "projected": projected,
            "conflicts": conflicts,
            "cosine": sum(cosines) / len(cosines) if cosines else None,
            "cosine_step": None if before is None or step is None else cosine(step, before),
        }
        for index in range(len(self.lessons)) if chosen is None else [chosen]:
            self.counts[index] += 1
        if chosen is not None:
            self._last[chosen], self._previous = mean, chosen
        self.history.append(record)
        self.rounds += 1
        return record

    def _gradient(self, index: int) -> list[torch.Tensor]:
        loss = self.divergence(self.lessons[index], self._streams[index].next())
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for g, p in zip(found, self.parameters)]

    def _joint_gradient(self) -> tuple[list[torch.Tensor], float]:
        """Mean gradient of all teachers, and the share of pairs in conflict where they are projected."""
        gradients, count = [self._gradient(index) for index in range(len(self.lessons))], len(self.lessons)
        if self.settings.order == "uniform":
            return [sum(parts) / count for parts in zip(*gradients)], 0.0  # pyright: ignore
        orders = [torch.randperm(count, generator=self._generator).tolist() for _ in range(count)]
        total, conflicts = pcgrad(gradients, orders, self.settings.scope)
        return [part / count for part in total], conflicts / max(1, count * (count - 1))

    def _projected(self, gradient: list[torch.Tensor], chosen: int) -> tuple[list[torch.Tensor], bool]:
        kind, changed = self.settings.projection, False
        others = [] if self._previous is None else [self._previous]
        if kind == "none" or (kind == "previous_other" and others == [chosen]):
            others = []
        elif kind == "all":
            others = [index for index in range(len(self.lessons)) if index != chosen]
        for index in others:
            onto = self._last[index]
            if onto is not None:
                gradient, found = project(gradient, onto, self.settings.scope)
                changed |= found
        return gradient, changed

    def _apply(self, gradient: Sequence[torch.Tensor], chosen: int | None) -> list[torch.Tensor]:
        """One step of the optimizer; returns how far it went downhill, for each parameter."""
        before = [p.detach().clone() for p in self.parameters]
        for parameter, part in zip(self.parameters, gradient):
            parameter.grad = part.clone()
        taught = "all teachers" if chosen is None else f"teacher '{self.lessons[chosen].name}'"
        rate = f"learning rate than {self.settings.learning_rate:g}"
        clip_finite(self.parameters, self.settings.max_grad_norm, f"round {self.rounds + 1}, {taught}", rate)
        self.optimizer.step()
        return [old - p.detach() for old, p in zip(before, self.parameters)]

    # -- resuming ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What is needed to continue exactly after a round."""
        return {
            "tasks": [lesson.name for lesson in self.lessons],
            "student": {name: value.detach().clone() for name, value in self.student.state_dict().items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "streams": [stream.state_dict() for stream in self._streams],
            "generator": self._generator.get_state(),
            "rounds": self.rounds,
            "counts": list(self.counts),
            "history": copy.deepcopy(self.history),
            "last": copy.deepcopy(self._last),
            "previous": self._previous,
            "first": list(self._first),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same teachers and data.

        Raises:
            ValueError: it is of other teachers.
        """
        names = [lesson.name for lesson in self.lessons]
        if state["tasks"] != names:
            raise ValueError(f"the distillation began with the teachers {state['tasks']}, now there are {names}")
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        for stream, saved in zip(self._streams, state["streams"]):
            stream.load_state_dict(saved)
        self._generator.set_state(state["generator"])
        self.rounds, self.counts, self.history = state["rounds"], list(state["counts"]), list(state["history"])
        self._last, self._previous, self._first = list(state["last"]), state["previous"], list(state["first"])
