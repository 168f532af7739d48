"""The Unified Locomotion Transformer (arXiv 2503.08997): one causal transformer is teacher and student at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Sequence

import torch
from torch import nn

from rsl_rl_ult.modules.actor_critic import ActorCritic, Evaluation, Tensors
from rsl_rl_ult.modules.mlp import MLP
from rsl_rl_ult.modules.transformer import KeyValueCache, Transformer
from rsl_rl_ult.storage import Batch

CRITIC_INPUTS = ("critic", "privilege_token")


class Readouts(NamedTuple):
    """The read-outs of B steps from one pass."""

    student: torch.Tensor
    """(B, A) mean actions from the outputs of H."""
    teacher: torch.Tensor
    """(B, A) mean actions from the outputs of E."""
    frame_token: torch.Tensor
    """(B, D) outputs of H."""
    privileged_token: torch.Tensor
    """(B, D) outputs of E."""

    def acting(self, teacher: torch.Tensor) -> torch.Tensor:
        """(B, A) mean actions of the teacher where `teacher` (B,) is true, of the student elsewhere."""
        return torch.where(teacher[:, None], self.teacher, self.student)

    def other(self, teacher: torch.Tensor) -> torch.Tensor:
        """(B, A) mean actions of the read-out that does not act."""
        return torch.where(teacher[:, None], self.student, self.teacher)


@dataclass
class ULTBatch(Batch):
    """A minibatch of E whole trajectories of S steps: B = E S samples, row e S + s is step s of trajectory e."""

    frame_actions: torch.Tensor
    """(K E, C + S, d + A) frames, normalised, beside the actions before them; C of them from before the rollout."""
    next_frames: torch.Tensor
    """(K E, S, d) normalised frame after each step."""
    ongoing: torch.Tensor
    """(K E, S) bool, the steps whose episode goes on with that frame."""
    age: torch.Tensor
    """(K E, C + S) frames of its episode up to and including each."""
    teacher: torch.Tensor
    """(K B,) bool, the samples that the teacher acted."""
    teacher_probability: torch.Tensor
    """(B,) probability with which the teacher was to act in each step."""
    other_log_prob: torch.Tensor | None
    """(B,) log-probability of each action under the read-out that did not act; None where nothing is learnt from it."""


@dataclass
class ULTEvaluation(Evaluation):
    """Also all read-outs."""

    readouts: Readouts
    """Of the K B steps."""


class ActorCriticULT(ActorCritic):
    """A banded causal transformer over tokens [H ..., E], with a head for each read-out.

    Tokens are H_k = MLP([o_k, a_{k-1}]) for every frame and E_t = MLP(p_t) for the privileged vector.

    The student acts from the output of the last H, the teacher from that of E; a prediction head tells o_{k+1} and a_k
    from every H. No H ever sees an E, so the student is what remains when E is dropped. Reads the observation sets
    `actor` (o), `privileged` (p) and `critic`. The sizes are ours: those of the paper were not available to us.
    """

    student_acts_on_history = True
    distributions = ("gaussian",)  # the last action is a part of every frame's token, and its prediction a loss

    @property
    def context(self) -> int:
        """C = L (T - 1), as far back as the layers look together."""
        return self.transformer.context

    def __init__(
        self,
        num_actor_obs: int,
        num_critic_obs: int,
        num_actions: int,
        num_privileged_obs: int,
        width: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
        history_length: int = 16,
        feedforward_ratio: float = 1.0,
        token_hidden_dims: Sequence[int] = (96,),
        actor_hidden_dims: Sequence[int] = (128, 64),
        shared_action_head: bool = False,
        head_reads_frame: bool = True,
        zero_init: bool = True,
        attention_kernel: str = "auto",
        critic_input: str = "critic",
        critic_hidden_dims: Sequence[int] = (128, 128, 64),
        actor_obs_normalization: bool = True,
        critic_obs_normalization: bool = True,
        privileged_obs_normalization: bool | None = None,
        **actor_critic: Any,
    ) -> None:
        """Build the networks; the defaults are those of the task `go2_ult`, the best of our runs.

        `width=128` and `head_reads_frame=False` are faithful to the article on the method, whose tokens have 128
        columns and whose teacher acts from the output of the privilege token alone; the task `go2_ult_faithful` has
        both.

        Args:
            num_actor_obs: columns of o, one frame.
            num_critic_obs: columns of the observation set `critic`.
            num_actions: A.
            num_privileged_obs: columns of p.
            width: D of all tokens.
            num_layers: L.
            num_heads: h, a divisor of D.
            history_length: T, frames that a token sees.
            feedforward_ratio: hidden width of the feed-forward networks as a multiple of D.
            token_hidden_dims: hidden layers of both tokenisers.
            actor_hidden_dims: hidden layers of the action heads.
            shared_action_head: one head for teacher and student instead of one for each.
            head_reads_frame: the action heads also read o_t itself, past the transformer.
            zero_init: attention and feed-forward branches start at zero.
            attention_kernel: "auto", "sdpa" or "softmax".
            critic_input: "critic" for an MLP on that observation set, "privilege_token" for one on the output of E.
            critic_hidden_dims: hidden layers of the critic.
            actor_obs_normalization: normalise o by running statistics.
            critic_obs_normalization: the same for what the critic reads.
            privileged_obs_normalization: as for the actor by default.
            actor_critic: options of `ActorCritic`.
        """
        if critic_input not in CRITIC_INPUTS:
            raise ValueError(f"critic_input '{critic_input}': expected one of {', '.join(CRITIC_INPUTS)}")
        self._width, self._skip = width, num_actor_obs if head_reads_frame else 0
        super().__init__(
            num_actor_obs,
            num_critic_obs,
            num_actions,
            actor_hidden_dims=actor_hidden_dims,
            critic_hidden_dims=critic_hidden_dims,
            actor_obs_normalization=actor_obs_normalization,
            critic_obs_normalization=critic_obs_normalization,
            **actor_critic,
        )
        self.dims["privileged"] = num_privileged_obs
        normalize = actor_obs_normalization if privileged_obs_normalization is None else privileged_obs_normalization
        self._add_normalizer("privileged", normalize)
        activation = actor_critic.get("activation", "elu")
        self.history_length, self.head_reads_frame = history_length, head_reads_frame
        self.critic_input = critic_input
        self.transformer = Transformer(
            width, num_layers, num_heads, history_length, feedforward_ratio, zero_init, attention_kernel
        )
        self.frame_tokenizer = MLP(num_actor_obs + num_actions, width, token_hidden_dims, activation)
        self.privilege_tokenizer = MLP(num_privileged_obs, width, token_hidden_dims, activation)
        self.teacher_head = (
            None if shared_action_head else MLP(width + self._skip, num_actions, actor_hidden_dims, activation)
        )
        self.prediction_head = nn.Linear(width, num_actor_obs + num_actions)
        if critic_input == "privilege_token":
            self.critic = MLP(width, 1, critic_hidden_dims, actor_critic.get("critic_activation") or activation)

    def _head_inputs(self, num_actor_obs: int) -> int:
        return self._width + self._skip

    # -- tokens and read-outs ----------------------------------------------------------------------------------------

    def frame_actions(self, frames: torch.Tensor, last_actions: torch.Tensor) -> torch.Tensor:
        """What H is made of, (..., d + A): raw frames (..., d), normalised here, and last actions (..., A)."""
        return torch.cat((self.normalizers["actor"](frames), last_actions), dim=-1)

    def act_student(self, output: torch.Tensor, frame_actions: torch.Tensor) -> torch.Tensor:
        """Mean actions (..., A) from outputs of H (..., D) and their frame_actions (..., d + A)."""
        return self.actor(self._with_frame(output, frame_actions))

    def act_teacher(self, output: torch.Tensor, frame_actions: torch.Tensor) -> torch.Tensor:
        """Mean actions (..., A) from outputs of E (..., D) and the frame_actions (..., d + A) of their steps."""
        head = self.actor if self.teacher_head is None else self.teacher_head
        return head(self._with_frame(output, frame_actions))

    def _with_frame(self, output: torch.Tensor, frame_actions: torch.Tensor) -> torch.Tensor:
        return torch.cat((output, frame_actions[..., : self._skip]), dim=-1) if self._skip else output

    def read(self, frame_actions: torch.Tensor, privileged: torch.Tensor, age: torch.Tensor) -> Readouts:
        """Teacher and student for whole segments in one pass.

        Args:
            frame_actions: (B, C + S, d + A), C = L (T - 1) of them from before the segment.
            privileged: (B, S, dP) normalised.
            age: (B, C + S), frames of its episode up to and including each.

        Returns:
            Read-outs of the B S steps, row b S + s.
        """
        steps = privileged.shape[1]
        tokens = self.privilege_tokenizer(privileged)
        outputs, read = self.transformer(self.frame_tokenizer(frame_actions), tokens, age, steps)
        assert read is not None
        return self._readouts(outputs.flatten(0, 1), read.flatten(0, 1), frame_actions[:, -steps:].flatten(0, 1))

    def step(self, frame_actions: torch.Tensor, privileged: torch.Tensor, cache: KeyValueCache) -> Readouts:
        """The same for the next step: frame_actions (B, d + A), privileged (B, dP), and the cache before it."""
        output, read = self.transformer.step(
            self.frame_tokenizer(frame_actions), self.privilege_tokenizer(privileged), cache
        )
        assert read is not None
        return self._readouts(output, read, frame_actions)

    def _readouts(self, output: torch.Tensor, read: torch.Tensor, frame_actions: torch.Tensor) -> Readouts:
        return Readouts(self.act_student(output, frame_actions), self.act_teacher(read, frame_actions), output, read)

    def predict(self, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised next frames (B, d) and actions (B, A) from outputs of H (B, D)."""
        dims = self.dims["actor"], self.num_actions
        frame, action = self.prediction_head(output).split(dims, dim=-1)
        return frame, action

    # -- what the algorithms ask for ---------------------------------------------------------------------------------

    def policy_mean(self, inputs: Tensors) -> torch.Tensor:
        """Not a function of one observation: see `read` and `step`."""
        raise TypeError(
            "ActorCriticULT acts on a history: use read() for segments, step() with a cache, or the policies of PPO_ULT"
        )

    def value(self, inputs: Tensors, privileged_token: torch.Tensor | None = None) -> torch.Tensor:
        """State values (B, 1) from the set `critic`, or from `privileged_token` (B, D), the outputs of E."""
        if self.critic_input == "privilege_token":
            assert privileged_token is not None
            return self.critic(privileged_token)
        return self.critic(inputs["critic"])

    def evaluate(self, batch: ULTBatch) -> ULTEvaluation:
        """Policy and values for a minibatch of trajectories; one pass over the segments."""
        steps = batch.next_frames.shape[1]
        privileged = batch.inputs["privileged"].unflatten(0, (-1, steps))
        readouts = self.read(batch.frame_actions, privileged, batch.age)
        mean = readouts.acting(batch.teacher)
        value = self.value(batch.inputs, readouts.privileged_token)
        return ULTEvaluation(mean, self.std().expand_as(mean), value, readouts)

    def attention_parameters(self) -> list[nn.Parameter]:
        """The blocks of the transformer."""
        return list(self.transformer.blocks.parameters())

    def trunk_parameters(self) -> list[nn.Parameter]:
        """What teacher, student and prediction share: frame tokeniser and transformer."""
        return [*self.frame_tokenizer.parameters(), *self.transformer.parameters()]

    def actor_parameters(self) -> list[nn.Parameter]:
        """Everything but the critic."""
        parts = (self.privilege_tokenizer, self.teacher_head, self.prediction_head)
        rest = [p for part in parts if part is not None for p in part.parameters()]
        return [*super().actor_parameters(), *self.trunk_parameters(), *rest]
