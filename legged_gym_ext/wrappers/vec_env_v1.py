"""Environment and tasks for legged_gym forks with rsl_rl 1.0.2: flat buffers, five values from `step`.

`privileged_obs_buf` is the critic's observation followed by the privileged one; `VecEnvV1.terms` has their sizes, which
the training configurations made here pass to the policy. A checkpoint is the same in these hosts and under rsl-rl-lib
5.x (of CTS with `critic_reads_latent=False`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

import torch

from legged_gym_ext.envs import task_registry as own_registry
from legged_gym_ext.envs.base.legged_robot import LeggedRobot
from legged_gym_ext.envs.base.observations import group_dims
from legged_gym_ext.utils.config import to_dict

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

PLAIN_POLICY = ("init_noise_std", "actor_hidden_dims", "critic_hidden_dims", "activation")
PLAIN_ALGORITHM = (
    "value_loss_coef", "use_clipped_value_loss", "clip_param", "entropy_coef", "num_learning_epochs",
    "num_mini_batches", "learning_rate", "schedule", "gamma", "lam", "desired_kl", "max_grad_norm",
)  # fmt: skip
"""Arguments of a fork's own `ActorCritic` and `PPO`."""


class VecEnvV1:
    """A `LeggedRobot` with the interface of legged_gym's `VecEnv`.

    Attributes:
        terms: size of each block of `privileged_obs_buf`.
    """

    def __init__(
        self,
        cfg: LeggedRobotCfg,
        sim_params: Any = None,
        physics_engine: Any = None,
        sim_device: str = "cpu",
        headless: bool = True,
    ) -> None:
        """Build the environment as a fork's registry does.

        Args:
            cfg: configuration of the environment, engine included.
            sim_params: of Isaac Gym, not used: time step and solver are in `cfg.sim`.
            physics_engine: of Isaac Gym, not used.
            sim_device: where the physics runs, for engines with a choice.
            headless: not used; training never opens a window.
        """
        if cfg.sim.engine != "mujoco":
            cfg.sim.device = sim_device
        self.env = LeggedRobot(cfg)
        self.cfg, self.device, self.dt = cfg, self.env.device, self.env.dt
        self.num_envs, self.num_actions = self.env.num_envs, self.env.num_actions
        self.num_obs = self.env.obs_buf.shape[1]
        self.terms = {"critic": self.env.critic_obs_buf.shape[1], "privileged": self.env.privileged_obs_buf.shape[1]}
        self.num_privileged_obs = sum(self.terms.values())
        self.max_episode_length = self.env.max_episode_length

    @property
    def obs_buf(self) -> torch.Tensor:
        """(N, num_obs) observations of the policy."""
        return self.env.obs_buf

    @property
    def privileged_obs_buf(self) -> torch.Tensor:
        """(N, num_privileged_obs) observations of the critic, then of the teacher."""
        return torch.cat((self.env.critic_obs_buf, self.env.privileged_obs_buf), dim=-1)

    @property
    def rew_buf(self) -> torch.Tensor:
        """(N,) rewards of the last step."""
        return self.env.rew_buf

    @property
    def reset_buf(self) -> torch.Tensor:
        """(N,) bool: episodes that ended in the last step."""
        return self.env.reset_buf

    @property
    def extras(self) -> dict[str, Any]:
        """Time-outs and metrics of the last step."""
        return self.env.extras

    @property
    def episode_length_buf(self) -> torch.Tensor:
        """(N,) control steps since each reset; runners may randomise them."""
        return self.env.episode_length_buf

    @episode_length_buf.setter
    def episode_length_buf(self, value: torch.Tensor) -> None:
        """Set values (N,)."""
        self.env.episode_length_buf.copy_(value)

    def get_observations(self) -> torch.Tensor:
        """See `obs_buf`."""
        return self.obs_buf

    def get_privileged_observations(self) -> torch.Tensor:
        """See `privileged_obs_buf`."""
        return self.privileged_obs_buf

    def reset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Reset all robots; returns both observations."""
        self.env.reset()
        return self.obs_buf, self.privileged_obs_buf

    def step(
        self, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, dict[str, Any]]:
        """Make one control step; returns both observations, rewards (N,), dones (N,) and extras."""
        self.env.step(actions)
        return self.obs_buf, self.privileged_obs_buf, self.rew_buf.clone(), self.reset_buf.clone(), self.extras


class _Cfg:
    """Fields as attributes; forks convert them to dictionaries."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def train_cfg_v1(train_cfg: LeggedRobotCfgPPO, terms: dict[str, int], class_prefix: str = "") -> Any:
    """A training configuration of this package in the sections of 1.0.2: `policy`, `algorithm`, `runner`.

    Args:
        train_cfg: configuration of the training.
        terms: see `VecEnvV1.terms`.
        class_prefix: prefix of the names of our classes in the fork; plain PPO tasks use the fork's own classes.
    """
    cfg = to_dict(train_cfg)
    actor, critic, algorithm, runner = cfg["actor"], cfg["critic"], cfg["algorithm"], cfg["runner"]
    name, policy_name = algorithm.pop("class_name").split(":")[-1], actor.pop("class_name")
    policy = {
        "init_noise_std": actor.pop("distribution_cfg")["init_std"],
        "actor_hidden_dims": actor.pop("hidden_dims"),
        "critic_hidden_dims": critic["hidden_dims"],
        "actor_obs_normalization": actor.pop("obs_normalization"),
        "critic_obs_normalization": critic["obs_normalization"],
        **actor,
    }
    iterations = runner["max_iterations"]
    if name == "PPO":
        policy_name = "ActorCritic"
        policy = {key: policy[key] for key in PLAIN_POLICY}
        algorithm = {key: algorithm[key] for key in PLAIN_ALGORITHM}
    else:
        policy.update(critic_obs_terms=terms, critic_terms=["critic"], privileged_terms=["privileged"])
        policy_name, name = class_prefix + policy_name, class_prefix + name
    if algorithm.get("mix_schedule", "constant") != "constant" and algorithm["mix_iterations"] is None:
        algorithm["mix_iterations"] = iterations  # a fork's runner does not tell how long it trains
    if runner.get("stage2_iterations"):
        algorithm["stage1_iterations"] = iterations
        iterations += runner["stage2_iterations"]
    return _Cfg(
        seed=cfg["seed"],
        runner_class_name="OnPolicyRunner",
        policy=_Cfg(**policy),
        algorithm=_Cfg(**algorithm),
        runner=_Cfg(
            policy_class_name=policy_name,
            algorithm_class_name=name,
            num_steps_per_env=runner["num_steps_per_env"],
            max_iterations=iterations,
            save_interval=runner["save_interval"],
            experiment_name=runner["experiment_name"],
            run_name=runner["run_name"],
            resume=False,
            load_run=-1,
            checkpoint=-1,
            resume_path=None,
        ),
    )


def _blocks(env_cfg: LeggedRobotCfg) -> dict[str, int]:
    """`VecEnvV1.terms` of a configuration."""
    dims = group_dims(env_cfg)
    return {group: dims[group] for group in ("critic", "privileged")}


def register_tasks(
    task_registry: Any,
    terms: dict[str, int] | None = None,
    prefix: str = "",
    names: Sequence[str] | None = None,
    class_prefix: str = "",
) -> list[str]:
    """Register tasks of this package in a legged_gym fork.

    Names that the fork already has are left out, and one line says so.

    Args:
        task_registry: the fork's; has `register(name, task_class, env_cfg, train_cfg)`.
        terms: see `train_cfg_v1`; by default those of each task's configuration.
        prefix: of every name, and of the folder of the task's runs.
        names: tasks of this package; all that have a robot by default.
        class_prefix: the one that `rsl_rl_ult.register` was given.

    Returns:
        The names that were registered.

    Raises:
        UserError: there is no such task in this package.
    """
    registered, taken = [], []
    for name in names or ():
        own_registry.require_robot(name, "forks of legged_gym train robots")
    wanted = {name: own_registry.get_cfgs(name) for name in (own_registry.robot_tasks if names is None else names)}
    for name, (env_cfg, train_cfg) in wanted.items():
        if _is_taken(task_registry, prefix + name):
            taken.append(prefix + name)
            continue
        cfg = train_cfg_v1(train_cfg, terms or _blocks(env_cfg), class_prefix)
        # A fork loads the newest run in the folder of this name, whichever task wrote it.
        cfg.runner.experiment_name = prefix + cfg.runner.experiment_name
        task_registry.register(prefix + name, VecEnvV1, env_cfg, cfg)
        registered.append(prefix + name)
    if taken:
        print(
            f"legged_gym_ext: register_tasks() left out tasks that this fork has already: {', '.join(taken)}; "
            f"for ours call register_tasks(task_registry, prefix='{'our_' if prefix != 'our_' else 'ext_'}')"
        )
    return registered


def _is_taken(task_registry: Any, name: str) -> bool:
    """Whether a fork's registry has a task of this name that is not ours; all forks keep tasks in dictionaries."""
    tables = [
        value for value in {**vars(type(task_registry)), **vars(task_registry)}.values() if isinstance(value, dict)
    ]
    entries = [table[name] for table in tables if name in table]
    return bool(entries) and not any(
        VecEnvV1 in entry if isinstance(entry, tuple) else entry is VecEnvV1 for entry in entries
    )
