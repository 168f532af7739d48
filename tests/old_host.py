"""A host of the rsl_rl 1.0.2 generation in miniature: runner, plain PPO and a legged_gym-style environment.

The runner looks class names up in its own module (1.0.2 evaluates them there), passes flat tensors and saves what 1.0.2
saves. PPO is that generation's update: one Adam, one gradient norm for actor and critic, KL by the formula with +1e-5.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn

TERMS = {"obs": 4, "load": 2, "distractor": 3}
"""Blocks of the privileged observation."""


class OldEnv:
    """Robots with a hidden load that the policy must compensate: actions shall equal `tanh(obs) + load`.

    Policy observations are noise and the effect of the last action (so the load can be inferred from two frames),
    privileged ones are obs (4), load (2) and a distractor (3).
    """

    num_obs, num_privileged_obs, num_actions, max_episode_length = 4, 9, 2, 40

    def __init__(self, num_envs: int = 64, seed: int = 0) -> None:
        self.num_envs, self.device, self.cfg = num_envs, "cpu", None
        self.rng = torch.Generator().manual_seed(seed)
        self.episode_length_buf = torch.zeros(num_envs, dtype=torch.long)
        self.load = torch.zeros(num_envs, self.num_actions)
        self.extras: dict[str, Any] = {}
        self._observe(torch.zeros(num_envs, self.num_actions), torch.ones(num_envs, dtype=torch.bool))

    def _observe(self, actions: torch.Tensor, dones: torch.Tensor) -> None:
        noise = lambda dim: torch.randn(self.num_envs, dim, generator=self.rng)  # noqa: E731
        self.load = torch.where(dones[:, None], noise(self.num_actions), self.load)
        felt = torch.where(dones[:, None], torch.zeros_like(actions), self.load - actions)
        self.obs_buf = torch.cat((noise(2), felt), dim=-1)
        self.privileged_obs_buf = torch.cat((self.obs_buf, self.load, noise(3)), dim=-1)

    def reset(self) -> tuple:
        return self.obs_buf, self.privileged_obs_buf

    def get_observations(self) -> torch.Tensor:
        return self.obs_buf

    def get_privileged_observations(self) -> torch.Tensor:
        return self.privileged_obs_buf

    def step(self, actions: torch.Tensor) -> tuple:
        """Five values, as in legged_gym."""
        wanted = self.obs_buf[:, :2].tanh() + self.load
        rewards = torch.exp(-(actions - wanted).square().sum(-1))
        self.episode_length_buf += 1
        time_outs = self.episode_length_buf >= self.max_episode_length
        falls = torch.rand(self.num_envs, generator=self.rng) < 0.01
        dones = time_outs | falls
        self.episode_length_buf[dones] = 0
        self._observe(actions, dones)
        self.extras["time_outs"] = time_outs & ~falls
        if bool(dones.any()):
            self.extras["episode"] = {"rew_match": rewards[dones].mean()}
        return self.obs_buf, self.privileged_obs_buf, rewards, dones, self.extras


class OldActorCritic(nn.Module):
    """The policy of that generation: two MLPs and one deviation per action."""

    is_recurrent = False

    def __init__(self, num_obs: int, num_critic_obs: int, num_actions: int, hidden: tuple = (16, 8)) -> None:
        super().__init__()
        self.actor, self.critic = _mlp(num_obs, hidden, num_actions), _mlp(num_critic_obs, hidden, 1)
        self.std = nn.Parameter(torch.ones(num_actions))

    def act_inference(self, obs: torch.Tensor) -> torch.Tensor:
        return self.actor(obs)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        pass


def _mlp(inputs: int, hidden: tuple, outputs: int) -> nn.Sequential:
    sizes, layers = (inputs, *hidden), []
    for first, second in zip(sizes, sizes[1:]):  # noqa: RUF007  the host of this test may be Python 3.8
        layers += [nn.Linear(first, second), nn.ELU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class OldPPO:
    """That generation's PPO on lists of steps."""

    def __init__(
        self,
        actor_critic: Any,
        device: str = "cpu",
        num_learning_epochs: int = 2,
        num_mini_batches: int = 2,
        clip_param: float = 0.2,
        gamma: float = 0.99,
        lam: float = 0.95,
        value_loss_coef: float = 1.0,
        entropy_coef: float = 0.01,
        learning_rate: float = 1e-3,
        max_grad_norm: float = 1.0,
        desired_kl: float = 0.01,
        schedule: str = "adaptive",
    ) -> None:
        self.actor_critic, self.cfg = actor_critic, {k: v for k, v in locals().items() if k not in ("self", "device")}
        self.learning_rate = learning_rate
        self.optimizer = torch.optim.Adam(actor_critic.parameters(), lr=learning_rate)
        self.steps: list = []

    def init_storage(self, num_envs: int, steps: int, *shapes: list) -> None:
        pass

    def act(self, obs: torch.Tensor, critic_obs: torch.Tensor) -> torch.Tensor:
        net = self.actor_critic
        mean, std = net.actor(obs), net.std.expand(len(obs), -1)
        actions = torch.normal(mean, std)
        log_prob = torch.distributions.Normal(mean, std).log_prob(actions).sum(-1)
        self.step = [obs, critic_obs, actions, net.critic(critic_obs)[:, 0], log_prob, mean, std]
        return actions

    def process_env_step(self, rewards: torch.Tensor, dones: torch.Tensor, infos: dict) -> None:
        rewards = rewards + self.cfg["gamma"] * self.step[3] * infos["time_outs"]
        self.steps.append([x.clone() for x in (*self.step, rewards, dones.float())])

    def compute_returns(self, last_critic_obs: torch.Tensor) -> None:
        gamma, lam = self.cfg["gamma"], self.cfg["lam"]
        following, advantage = self.actor_critic.critic(last_critic_obs)[:, 0], torch.zeros(len(last_critic_obs))
        self.returns = []
        for step in reversed(self.steps):
            value, reward, done = step[3], step[7], step[8]
            advantage = reward + (1 - done) * gamma * following - value + (1 - done) * gamma * lam * advantage
            self.returns.insert(0, advantage + value)
            following = value

    def update(self) -> tuple:
        cfg, net = self.cfg, self.actor_critic
        obs, critic_obs, actions, values, log_probs, means, stds = (torch.cat(x) for x in list(zip(*self.steps))[:7])
        returns = torch.cat(self.returns)
        advantages = returns - values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        order, sums = torch.randperm(len(obs)), torch.zeros(2)
        for _ in range(cfg["num_learning_epochs"]):
            for rows in order.chunk(cfg["num_mini_batches"]):
                mean, value = net.actor(obs[rows]), net.critic(critic_obs[rows])[:, 0]
                std = net.std.expand_as(mean)
                self._adapt(means[rows], stds[rows], mean.detach(), std.detach())
                distribution = torch.distributions.Normal(mean, std)
                ratio = torch.exp(distribution.log_prob(actions[rows]).sum(-1) - log_probs[rows])
                clip = cfg["clip_param"]
                gain = -advantages[rows]
                surrogate = torch.max(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
                near = values[rows] + (value - values[rows]).clamp(-clip, clip)
                value_loss = torch.max((value - returns[rows]) ** 2, (near - returns[rows]) ** 2).mean()
                entropy = distribution.entropy().sum(-1).mean()
                loss = surrogate + cfg["value_loss_coef"] * value_loss - cfg["entropy_coef"] * entropy
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), cfg["max_grad_norm"])
                self.optimizer.step()
                sums += torch.stack((value_loss, surrogate)).detach()
        self.steps = []
        return tuple((sums / (cfg["num_learning_epochs"] * cfg["num_mini_batches"])).tolist())

    def _adapt(self, mean: torch.Tensor, std: torch.Tensor, new_mean: torch.Tensor, new_std: torch.Tensor) -> None:
        if self.cfg["schedule"] != "adaptive":
            return
        kl = torch.log(new_std / std + 1e-5) + (std**2 + (mean - new_mean) ** 2) / (2 * new_std**2) - 0.5
        kl = kl.sum(-1).mean()
        if kl > 2 * self.cfg["desired_kl"]:
            self.learning_rate = max(1e-5, self.learning_rate / 1.5)
        elif 0 < kl < self.cfg["desired_kl"] / 2:
            self.learning_rate = min(1e-2, self.learning_rate * 1.5)
        self.optimizer.param_groups[0]["lr"] = self.learning_rate


class OnPolicyRunner:
    """What a runner of 1.0.2 does, its log kept in `scalars` instead of tensorboard: (iteration, name) -> value."""

    def __init__(self, env: Any, train_cfg: dict, log_dir: Any = None, device: str = "cpu") -> None:
        self.env, self.cfg, self.log_dir, self.device = env, train_cfg["runner"], log_dir, device
        critic_dim = env.num_obs if env.num_privileged_obs is None else env.num_privileged_obs
        policy_class = globals()[self.cfg["policy_class_name"]]
        policy = policy_class(env.num_obs, critic_dim, env.num_actions, **train_cfg["policy"]).to(device)
        algorithm_class = globals()[self.cfg["algorithm_class_name"]]
        self.alg = algorithm_class(policy, device=device, **train_cfg["algorithm"])
        steps, shapes = self.cfg["num_steps_per_env"], ([env.num_obs], [env.num_privileged_obs], [env.num_actions])
        self.alg.init_storage(env.num_envs, steps, *shapes)
        self.current_learning_iteration, self.scalars, self.rewards = 0, {}, []
        env.reset()

    def learn(self, num_learning_iterations: int) -> None:
        obs, critic_obs = self.env.get_observations(), self.env.get_privileged_observations()
        critic_obs = obs if critic_obs is None else critic_obs
        self.alg.actor_critic.train()
        first = self.current_learning_iteration
        for iteration in range(first, first + num_learning_iterations):
            episodes, rewards_seen = [], []
            with torch.inference_mode():
                for _ in range(self.cfg["num_steps_per_env"]):
                    actions = self.alg.act(obs, critic_obs)
                    obs, privileged_obs, rewards, dones, infos = self.env.step(actions)
                    critic_obs = obs if privileged_obs is None else privileged_obs
                    self.alg.process_env_step(rewards, dones, infos)
                    rewards_seen.append(float(rewards.mean()))
                    if "episode" in infos:
                        episodes.append(infos["episode"])
                self.alg.compute_returns(critic_obs)
            value_loss, surrogate_loss = self.alg.update()
            self.rewards.append(statistics.mean(rewards_seen))
            self._log(iteration, value_loss, surrogate_loss, episodes)
        self.current_learning_iteration += num_learning_iterations

    def _log(self, iteration: int, value_loss: float, surrogate_loss: float, episodes: list) -> None:
        for key in episodes[0] if episodes else ():
            values = torch.cat([torch.as_tensor(episode[key]).reshape(-1).float() for episode in episodes])
            self.scalars[iteration, f"Episode/{key}"] = float(values.mean())
        self.scalars[iteration, "Loss/value_function"] = value_loss
        self.scalars[iteration, "Loss/surrogate"] = surrogate_loss
        self.scalars[iteration, "Loss/learning_rate"] = self.alg.learning_rate
        self.scalars[iteration, "Policy/mean_noise_std"] = self.alg.actor_critic.std.mean().item()

    def save(self, path: Path) -> None:
        state = {
            "model_state_dict": self.alg.actor_critic.state_dict(),
            "optimizer_state_dict": self.alg.optimizer.state_dict(),
            "iter": self.current_learning_iteration,
            "infos": None,
        }
        torch.save(state, path)

    def load(self, path: Path, load_optimizer: bool = True) -> None:
        state = torch.load(path)
        self.alg.actor_critic.load_state_dict(state["model_state_dict"])
        if load_optimizer:
            self.alg.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.current_learning_iteration = state["iter"]

    def get_inference_policy(self) -> Any:
        self.alg.actor_critic.eval()
        return self.alg.actor_critic.act_inference


def as_dict(cfg: Any) -> Any:
    """What a fork makes of a configuration: every public attribute, in alphabetical order."""
    if not hasattr(cfg, "__dict__"):
        return cfg
    return {name: as_dict(getattr(cfg, name)) for name in dir(cfg) if not name.startswith("_")}


class ForkRegistry:
    """The part of legged_gym's registry that makes environments and runners."""

    def __init__(self) -> None:
        self.tasks: dict = {}

    def register(self, name: str, task_class: type, env_cfg: Any, train_cfg: Any) -> None:
        self.tasks[name] = (task_class, env_cfg, train_cfg)

    def make(self, name: str, num_envs: int = 8, sim_device: str = "cpu") -> Any:
        """A runner on an environment of the task, as legged_gym's scripts make them."""
        task_class, env_cfg, train_cfg = self.tasks[name]
        env_cfg.seed, env_cfg.env.num_envs = train_cfg.seed, num_envs
        torch.manual_seed(train_cfg.seed)
        env = task_class(cfg=env_cfg, sim_params=None, physics_engine=None, sim_device=sim_device, headless=True)
        return OnPolicyRunner(env, as_dict(train_cfg))
