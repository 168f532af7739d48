"""rsl_rl 1.0.2 and its forks: flat observations, positional calls, class names that the runner evaluates.

The history is ours: environments stay as they are. The privileged vector is cut from the critic observation
(`privileged_obs_buf`), as the `policy` section of the training configuration says:

    class policy:
        critic_obs_terms = {"obs": 48, "friction": 1, "heights": 187}  # blocks of privileged_obs_buf, in order
        privileged_terms = ["friction", "heights"]  # all by default
        critic_terms = ["obs", "heights"]  # what the critic reads, all by default

Losses that a runner of this generation does not know are logged with its episode metrics (`Episode/loss_...`), one
iteration late, and stand in `runner.alg.metrics`.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import torch

from rsl_rl_ult import algorithms
from rsl_rl_ult.algorithms.construct import option_names
from rsl_rl_ult.hosts.columns import Columns
from rsl_rl_ult.hosts.common import HostAlgorithm, HostPolicy, host_classes

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
LIKE_V1 = {"clip_jointly": True, "kl_epsilon": 1e-5}
"""Where that generation's PPO differs from 5.x's, where a method has these options; the configuration comes first."""

SHOWN_BY_HOST = ("value", "surrogate")
"""What `update` returns and the runner logs itself."""


class _Policy(HostPolicy):
    """A policy as 1.0.2 builds it: (num_obs, num_critic_obs, num_actions, **policy section)."""

    own_options = ("critic_obs_terms", "privileged_terms", "critic_terms")

    def __init__(
        self,
        num_obs: int,
        num_critic_obs: int,
        num_actions: int,
        critic_obs_terms: Mapping[str, int] | None = None,
        privileged_terms: Sequence[str] | None = None,
        critic_terms: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        columns = Columns(num_critic_obs, critic_obs_terms, privileged_terms, critic_terms)
        dims = {"actor": num_obs, "critic": columns.critic_dim, "privileged": columns.privileged_dim}
        if options.get("critic_input", "critic") != "critic":
            raise ValueError(
                f"policy.critic_input={options['critic_input']}: runners of rsl_rl 1.0.2 show the critic no frame "
                "after the rollout; expected critic"
            )
        if issubclass(self.core_class, algorithms.PPO_CTS):
            if options.get("critic_reads_latent"):
                raise ValueError(
                    "policy.critic_reads_latent=True: runners of rsl_rl 1.0.2 show no frame after the rollout, and the "
                    "critic would need its latent; expected False, their default"
                )
            options = {**options, "critic_reads_latent": False}
        sets = {name: SETS[name] for name in self.core_class.needed_sets}
        super().__init__(dims, num_actions, sets, options)
        self.num_obs, self.columns = num_obs, columns

    def groups(self, obs: torch.Tensor | None, critic_obs: torch.Tensor) -> dict:
        """Observation groups (N, d) from the host's flat tensors."""
        found = {name: self.columns.cut(critic_obs, name) for name in self.sets if name != "actor"}
        return found if obs is None else {"policy": obs, **found}

    def act_inference(self, observations: torch.Tensor) -> torch.Tensor:
        """Actions (N, A) of the policy to deploy for its own observations (N, D)."""
        return self.infer({"policy": observations})

    def evaluate(self, critic_observations: torch.Tensor, **_: Any) -> torch.Tensor:
        """Values (N, 1)."""
        critic = self.columns.cut(critic_observations, "critic")
        return self.network.value({"critic": self.network.normalizers["critic"](critic)})


class _Algorithm(HostAlgorithm):
    """An algorithm as 1.0.2 builds it: (policy, device=..., **algorithm section)."""

    _policy: _Policy

    def __init__(self, actor_critic: HostPolicy, device: str = "cpu", **options: Any) -> None:
        known = option_names(self.core_class)
        defaults = {name: value for name, value in LIKE_V1.items() if name in known}
        super().__init__(actor_critic, device, {**defaults, **options})
        self.actor_critic = actor_critic
        self._extra_losses: dict = {}
        self._shown: tuple | None = (
            None  # infos of the last step, the environment's own episode metrics in it, and ours
        )

    def init_storage(
        self,
        num_envs: int,
        num_transitions_per_env: int,
        actor_obs_shape: Sequence,
        critic_obs_shape: Sequence,
        action_shape: Sequence,
    ) -> None:
        """Build the algorithm; shapes are those of one environment, [None] where it has no privileged observations."""
        if critic_obs_shape[0] is None and "privileged" in self.core_class.needed_sets:
            raise ValueError(
                f"{type(self).__name__} learns from privileged observations, and this environment has none "
                "(num_privileged_obs is None): set env.num_privileged_obs and fill privileged_obs_buf, or train with "
                "PPO"
            )
        # These runners do not show the environment: mirror functions get None in its place, and groups in a dict.
        self.build(num_envs, num_transitions_per_env, symmetry=self.make_symmetry(None, {}))

    def act(self, obs: torch.Tensor, critic_obs: torch.Tensor) -> torch.Tensor:
        """Actions (N, A) for observations (N, D) and critic observations (N, D_c)."""
        self._give_back()
        self.begin_step()
        return self.core.act(self._policy.groups(obs, critic_obs))

    def process_env_step(self, rewards: torch.Tensor, dones: torch.Tensor, infos: dict) -> None:
        """Store the step; shows the runner the episode metrics with the losses of the last update added.

        The runner collects these dictionaries and reads all of an iteration by the keys of the first. Environments keep
        theirs for as long as no episode ends, so the runner gets a copy: a loss of an earlier iteration must not live
        on in one of them.
        """
        self.core.process_env_step({}, rewards, dones.long(), infos)
        if "episode" in infos:
            own, ours = infos["episode"], {**infos["episode"], **self._extra_losses}
            infos["episode"], self._shown = ours, (infos, own, ours)

    def _give_back(self) -> None:
        """Put the environment's own metrics back, which it may go on filling."""
        if self._shown is not None:
            infos, own, ours = self._shown
            if infos.get("episode") is ours:
                infos["episode"] = own
            self._shown = None

    def compute_returns(self, last_critic_obs: torch.Tensor) -> None:
        """Returns and advantages of the rollout."""
        self.core.compute_returns(self._policy.groups(None, last_critic_obs))

    def update(self) -> tuple:
        """Learn from the rollout; mean value loss and mean surrogate loss."""
        self._give_back()
        metrics = self.run_update()
        extra = {name: value for name, value in metrics.items() if name not in SHOWN_BY_HOST}
        self._extra_losses = {f"loss_{name}": torch.tensor(value) for name, value in extra.items()}
        return tuple(metrics.get(name, 0.0) for name in SHOWN_BY_HOST)


globals().update(host_classes(_Policy, _Algorithm, __name__))
