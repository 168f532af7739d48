"""What a checkpoint holds of an algorithm, and how it is taken over."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms.optimization import use_fused_kernels
from rsl_rl_ult.algorithms.rollout_state import RolloutState
from rsl_rl_ult.policies.policy import Policy
from rsl_rl_ult.storage import RolloutStorage

EVERYTHING = {"actor": True, "critic": True, "optimizer": True, "iteration": True}


class Resumable:
    """The part of an algorithm that saves, loads and continues a training."""

    network: Any
    storage: RolloutStorage
    optimizer: Any
    policies: dict[str, Policy]
    states: list[RolloutState]
    learning_rate: float
    updates: int
    frozen_teacher: bool

    def save(self) -> dict[str, Any]:
        """Networks, optimizer, the method's name and how many updates were made.

        The networks are there twice, in the same memory and once in the file: hosts before rsl-rl-lib 4 look for
        `model_state_dict`, and mjlab's runner takes that name away to convert what it thinks is an old checkpoint of
        upstream's PPO.
        """
        weights = self.network.state_dict()
        return {
            "method": type(self).__name__,
            "model_state_dict": weights,
            "network_state_dict": weights,
            "optimizer_state_dict": self.optimizer.state_dict(),
            "updates": self.updates,
            "frozen_teacher": self.frozen_teacher,
        }

    def load(
        self, loaded_dict: Mapping[str, Any], load_cfg: Mapping[str, bool] | None = None, strict: bool = True
    ) -> bool:
        """Take over what `save` returned.

        Args:
            loaded_dict: from `save`.
            load_cfg: chooses among actor, critic, optimizer and iteration (all by default).
            strict: refuse weights of another network.

        Returns:
            Whether the runner should continue at the saved iteration.
        """
        wanted = EVERYTHING if load_cfg is None else load_cfg
        method, weights = type(self).__name__, weights_of(loaded_dict)
        # Hosts before rsl-rl-lib 4 write no method; the shapes tell.
        found = loaded_dict.get("method", method if weights else "another algorithm")
        if found != method:
            raise ValueError(
                f"the checkpoint was written by {found}, this is {method}: name a checkpoint of the same method"
            )
        if wanted.get("actor") or wanted.get("critic"):
            if strict:
                check_shapes(weights, self.network.state_dict())
            self.network.load_state_dict(weights, strict=strict)
            self.frozen_teacher = loaded_dict.get("frozen_teacher", False)  # it is among these weights
            self.reset_state()
        if wanted.get("optimizer"):
            self.optimizer.load_state_dict(loaded_dict["optimizer_state_dict"])
            use_fused_kernels(self.optimizer)
            self.learning_rate = self.optimizer.param_groups[0]["lr"]
        if wanted.get("iteration"):
            self.updates = loaded_dict.get("updates", 0)
        return bool(wanted.get("iteration"))

    def reset_state(self) -> None:
        """Drop what was computed with former weights, after others were loaded."""
        for policy in self.policies.values():
            policy.reset()
        for state in self.states:
            state.on_update()

    def rollout_state(self) -> dict[str, Any]:
        """What an exactly continued training needs besides networks and optimizer, such as the frames before it."""
        found = {"storage": self.storage.state_dict()}
        for state in self.states:
            found.update(state.state_dict())
        return found

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        self.storage.load_state_dict(state["storage"])
        for part in self.states:
            part.load_state_dict(state)


def weights_of(saved: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """State dict of the network; empty where another program wrote the checkpoint."""
    return saved.get("network_state_dict", saved.get("model_state_dict", {}))


def check_shapes(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights of other shapes before any of them is taken over."""
    shapes = [{name: tuple(value.shape) for name, value in state.items()} for state in (found, expected)]
    wrong = [name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name)]
    if wrong:
        rows = [
            f"{name} {shapes[0].get(name, 'missing')} instead of {shapes[1].get(name, 'nothing')}" for name in wrong[:3]
        ]
        raise ValueError(
            f"the checkpoint holds another network, {len(wrong)} tensors differ: {'; '.join(rows)}; build it with the "
            "same options (layer sizes, encoders, history_length, normalisation, observation groups)"
        )
