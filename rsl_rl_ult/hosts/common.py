"""What hosts before rsl-rl-lib 4 have in common.

They build a policy, hand it to an algorithm, and save and load both by their state dicts.

The policy of such a host is a shell around one of our networks; its state dict is the network's, so that one checkpoint
is good for every host. The algorithm is a shell around one of ours (the core), built when the host says how long its
rollouts are.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any, Mapping

import torch
from torch import nn

from rsl_rl_ult.algorithms import METHODS, PPO, OnPolicyAlgorithm
from rsl_rl_ult.algorithms.checkpoint import check_shapes
from rsl_rl_ult.algorithms.construct import check_options, network_sizes, resolve
from rsl_rl_ult.algorithms.symmetry import Symmetry
from rsl_rl_ult.storage import RolloutStorage

OPSET = 13
"""Of the ONNX files: torch 1.10 writes it, and current runtimes read it."""

UPDATES = "updates"
"""Key in the optimizer's first parameter group under which the number of updates travels in a checkpoint."""


class HostPolicy(nn.Module):
    """A network of ours in the shape that old hosts expect of their policies.

    Attributes:
        network: holds all parameters.
        sets: observation set -> groups that it is joined from.
    """

    is_recurrent = False
    core_class: type[OnPolicyAlgorithm] = PPO
    own_options: tuple = ()
    """Options of the host's `policy` section that the network does not get."""

    def __init__(self, dims: Mapping[str, int], num_actions: int, sets: Mapping[str, list], options: Mapping) -> None:
        """Build the network.

        Args:
            dims: columns of each observation set.
            num_actions: A.
            sets: observation set -> groups.
            options: the host's `policy` section, options of the network class.
        """
        super().__init__()
        cls: Any = self.core_class
        options = {name: value for name, value in options.items() if name != "class_name"}
        if options.pop("state_dependent_std", False):
            raise ValueError("policy.state_dependent_std: our networks learn one deviation per action; set it to False")
        check_options(cls.network_class, options, "policy", self.own_options)
        self.network = cls.network_class(**network_sizes(cls, dims), num_actions=num_actions, **options)
        self.sets = {name: list(groups) for name, groups in sets.items()}
        self.core: list = []  # the algorithm, once there is one; in a list, because modules register what they own

    @property
    def std(self) -> torch.Tensor:
        """(A,) standard deviation of the actions, which runners log."""
        return self.network.std().detach()

    @property
    def action_std(self) -> torch.Tensor:
        """The same, as rsl-rl-lib 2 and 3 call it."""
        return self.std

    @property
    def actor(self) -> nn.Module:
        """The deployable student, for hosts that export `policy.actor`: observation (1, D) -> actions (1, A)."""
        return self._algorithm().get_policy().as_jit()

    def export_onnx(self, path: str | Path) -> None:
        """Write the deployable student as an ONNX file, for one robot; what it remembers is an input and an output.

        Names and shapes are those of the policy's `as_onnx`: `obs` -> `actions` of a policy that remembers nothing,
        `obs_history` (1, T, D) -> `actions` of students that read a window, `obs` and `cache` (1, M) -> `actions` and
        `next_cache` of ULT's.
        """
        module: Any = self._algorithm().get_policy().as_onnx().cpu().eval()
        # Newer versions of torch have a second exporter, which writes the weights into a file of their own.
        legacy: dict = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
        names: dict = {"input_names": list(module.input_names), "output_names": list(module.output_names)}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # tracing warns of shapes, which never change here
            torch.onnx.export(module, module.get_dummy_inputs(), str(path), opset_version=OPSET, **names, **legacy)

    def _algorithm(self) -> OnPolicyAlgorithm:
        if not self.core:
            raise RuntimeError("this policy has no algorithm yet: the host calls init_storage first")
        return self.core[0]

    def infer(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Actions (N, A) of the policy to deploy; it remembers what it needs until `reset`."""
        return self._algorithm().get_policy()(observations)

    def reset(self, dones: torch.Tensor | None = None) -> None:
        """Forget the episodes of environments with `dones` (N,), of all without it; to be called where it is played."""
        if self.core:
            self.core[0].get_policy().reset(dones)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the network, as every host's checkpoint holds it."""
        return self.network.state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Take over a network's state dict; true, which rsl-rl-lib 3 reads as "continue this training"."""
        if strict:
            check_shapes(state_dict, self.network.state_dict())
        self.network.load_state_dict(state_dict, strict=strict)
        if self.core:
            self.core[0].reset_state()
        return True


class HostAlgorithm:
    """One of our algorithms in the shape that old hosts expect.

    Attributes:
        metrics: mean losses of the last update by name, also those that the host does not ask for.
    """

    core_class: type[OnPolicyAlgorithm] = PPO
    rnd: Any = None
    """No random network distillation."""

    def __init__(self, policy: HostPolicy, device: str, options: Mapping[str, Any]) -> None:
        """Check the host's `algorithm` section; the algorithm itself is built by `build`."""
        options = {name: value for name, value in options.items() if name != "class_name"}
        wanted = self.core_class.network_class
        if not isinstance(policy, HostPolicy):
            found = f"{type(policy).__module__}.{type(policy).__name__}"
            raise ValueError(
                f"{type(self).__name__} trains our {wanted.__name__}, the configuration names {found}: use ours, under "
                "the name that register() gave it (register(prefix='Ult') where the host has a class of that name)"
            )
        if type(policy.network) is not wanted:
            raise ValueError(
                f"{type(self).__name__} trains {wanted.__name__}, the configuration names the policy "
                f"{type(policy).__name__}: use {wanted.__name__}"
            )
        if options.pop("rnd_cfg", None):
            raise ValueError("algorithm.rnd_cfg: these algorithms have no random network distillation; remove it")
        self._symmetry_cfg = options.pop("symmetry_cfg", None)
        check_options(self.core_class, options, "algorithm")
        self._policy, self.device, self._options = policy, device, options
        self.core: Any = None
        self.metrics: dict = {}

    def build(self, num_envs: int, num_steps: int, **options: Any) -> None:
        """Build the algorithm for rollouts of `num_steps` steps of `num_envs` environments."""
        cls: Any = self.core_class
        policy = self._policy
        storage = RolloutStorage(num_steps, num_envs, self.device, cls.context(policy.network, policy.sets))
        self.core = cls(policy.network, storage, policy.sets, device=self.device, **{**self._options, **options})
        policy.core[:] = [self.core]

    def make_symmetry(self, env: Any, obs: Mapping[str, torch.Tensor]) -> Symmetry | None:
        """Mirrored samples as the host's `symmetry_cfg` describes them; None without it."""
        if not self._symmetry_cfg:
            return None
        cfg = {name: value for name, value in self._symmetry_cfg.items() if name != "_env"}
        symmetry = Symmetry(env, **{**cfg, "data_augmentation_func": resolve(cfg["data_augmentation_func"])})
        symmetry.set_container(obs)
        return symmetry

    @property
    def optimizer(self) -> Any:
        """The one optimizer of everything that is trained."""
        return self.core.optimizer

    @property
    def learning_rate(self) -> float:
        """That of actor and critic, as the optimizer has it, also after loading."""
        return self.core.optimizer.param_groups[0]["lr"]

    def begin_step(self) -> None:
        """Follow an optimizer that the host has loaded: hosts of these generations do not say when they do."""
        group = self.core.optimizer.param_groups[0]
        self.core.learning_rate = group["lr"]
        if UPDATES in group:
            self.core.updates = group[UPDATES]

    def run_update(self) -> dict:
        """Learn from the rollout; mean losses by name."""
        self.metrics = self.core.update()
        self.core.optimizer.param_groups[0][UPDATES] = self.core.updates
        return self.metrics

    def train_mode(self) -> None:
        """Put the networks into training mode."""
        self.core.train_mode()

    def test_mode(self) -> None:
        """Put the networks into evaluation mode."""
        self.core.eval_mode()

    def broadcast_parameters(self) -> None:
        """Give all processes the networks of the first."""
        self.core.broadcast_parameters()


def host_classes(policy: type[HostPolicy], algorithm: type[HostAlgorithm], module: str) -> dict[str, type]:
    """Name -> class for every method and its network, as the host whose bases are given builds them.

    The names are those of the native classes: `ActorCriticTS`, `PPO_TS` and so on.
    """
    found: dict[str, type] = {}
    # Networks check observations as the methods of PPO read them; DAgger, which shares networks with them, is last.
    for name, method in sorted(METHODS.items(), key=lambda item: not issubclass(item[1], PPO)):
        network = method.network_class
        parts = {"core_class": method, "__module__": module}
        found.setdefault(network.__name__, type(network.__name__, (policy,), {**parts, "__doc__": network.__doc__}))
        found[name] = type(name, (algorithm,), {**parts, "__doc__": method.__doc__})
    return found
