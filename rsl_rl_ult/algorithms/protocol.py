"""What a runner of rsl-rl-lib 5.x asks of an algorithm besides acting and learning: construction, checkpoints, modes, the policy to deploy."""

from __future__ import annotations

from typing import Any, Mapping

import torch

from rsl_rl_ult.algorithms import construct
from rsl_rl_ult.distributed import Processes
from rsl_rl_ult.policies.policy import Policy
from rsl_rl_ult.storage import RolloutStorage

Tensors = Mapping[str, torch.Tensor]


class RunnerProtocol:
    """The part of the algorithms that hosts see; `PPO` and its subclasses fill the attributes."""

    network: Any
    storage: RolloutStorage
    optimizer: Any
    processes: Processes
    policy: Policy
    learning_rate: float
    updates: int

    def forget(self) -> None:
        """Drop what was computed with former weights, after others were loaded."""
        self.get_policy().reset()

    def train_mode(self) -> None:
        """Put the networks into training mode."""
        self.network.train()

    def eval_mode(self) -> None:
        """Put the networks into evaluation mode."""
        self.network.eval()

    def get_policy(self) -> Policy:
        """The policy to deploy: observation groups (N, ...) -> actions (N, A); with `reset`, `as_jit` and `as_onnx`."""
        return self.policy

    def inference_policies(self) -> dict[str, Policy]:
        """Every policy worth evaluating, by name."""
        return {"policy": self.policy}

    def broadcast_parameters(self) -> None:
        """Give all processes the networks of the first."""
        self.processes.broadcast(self.network.state_dict().values())

    def save(self) -> dict[str, Any]:
        """Networks, optimizer, the method's name and how many updates were made.

        The networks are there twice, in the same memory and once in the file: hosts before rsl-rl-lib 4 look for `model_state_dict`, and mjlab's runner
        takes that name away to convert what it thinks is an old checkpoint of upstream's PPO.
        """
        weights = self.network.state_dict()
        return {
            "method": type(self).__name__,
            "model_state_dict": weights,
            "network_state_dict": weights,
            "optimizer_state_dict": self.optimizer.state_dict(),
            "updates": self.updates,
        }

    def load(
        self, loaded_dict: Mapping[str, Any], load_cfg: Mapping[str, bool] | None = None, strict: bool = True
    ) -> bool:
        """Take over what `save` returned; `load_cfg` chooses among actor, critic, optimizer and iteration (all by default).

        Returns:
            Whether the runner should continue at the saved iteration.
        """
        wanted = {"actor": True, "critic": True, "optimizer": True, "iteration": True} if load_cfg is None else load_cfg
        weights = loaded_dict.get("network_state_dict", loaded_dict.get("model_state_dict", {}))
        # Hosts before rsl-rl-lib 4 write no method; the shapes tell.
        method = loaded_dict.get("method", type(self).__name__ if weights else "another algorithm")
        if method != type(self).__name__:
            raise ValueError(
                f"the checkpoint was written by {method}, this is {type(self).__name__}: name a checkpoint of the same method"
            )
        if wanted.get("actor") or wanted.get("critic"):
            if strict:
                construct.check_shapes(weights, self.network.state_dict())
            self.network.load_state_dict(weights, strict=strict)
            self.forget()
        if wanted.get("optimizer"):
            self.optimizer.load_state_dict(loaded_dict["optimizer_state_dict"])
            self.learning_rate = self.optimizer.param_groups[0]["lr"]
        if wanted.get("iteration"):
            self.updates = loaded_dict.get("updates", 0)
        return bool(wanted.get("iteration"))

    def rollout_state(self) -> dict[str, Any]:
        """What a training that continues exactly needs besides networks and optimizer: frames that histories reach back to."""
        return {"storage": self.storage.state_dict()}

    def load_rollout_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `rollout_state` returned, for the same number of environments."""
        self.storage.load_state_dict(state["storage"])

    # -- construction ------------------------------------------------------------------------------------------------

    @classmethod
    def context(cls, network: Any, sets: Mapping[str, list]) -> dict[str, int]:
        """Observation group -> frames from before the rollout that must be kept."""
        return {}

    @classmethod
    def network_sizes(cls, dims: Mapping[str, int]) -> dict[str, int]:
        """Positional sizes of the network class, from the columns of each observation set."""
        return {"num_actor_obs": dims["actor"], "num_critic_obs": dims["critic"]}

    @staticmethod
    def construct_algorithm(obs: Tensors, env: Any, cfg: Mapping[str, Any], device: str) -> Any:
        """Build network, storage and algorithm from a 5.x configuration; `cfg` is not changed.

        Args:
            obs: observation groups of the environment (N, ...).
            env: the host's environment: `num_envs`, `num_actions`.
            cfg: sections `algorithm`, `actor`, `critic`, `obs_groups`, and `num_steps_per_env`.
            device: where to learn.
        """
        return construct.make_algorithm(obs, env, cfg, device)

    @classmethod
    def host_options(cls, cfg: Mapping[str, Any]) -> dict:
        """The section `algorithm` of a 5.x configuration, with what a method takes from elsewhere in it."""
        return dict(cfg["algorithm"])

    @classmethod
    def make_network(cls, obs: Tensors, num_actions: int, cfg: Mapping[str, Any]) -> tuple:
        """The network that `actor.class_name` names, and the observation sets it reads."""
        network, sets = construct.make_network(cls, obs, num_actions, cfg)
        cls.check_sets(network, sets, obs)
        return network, sets

    @classmethod
    def check_sets(cls, network: Any, sets: Mapping[str, list], obs: Tensors) -> None:
        """Refuse observation sets of a shape that the network cannot read."""
