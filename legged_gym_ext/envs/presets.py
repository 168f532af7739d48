"""Sizes of a training for other machines than a few CPU cores: `train.py --preset=gpu`.

A preset is a table of fields, listed once for all methods; a task takes those that it has. Flags and overrides of the
command line come after it and win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legged_gym_ext.utils.config import lookup
from legged_gym_ext.utils.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from legged_gym_ext.envs.base.legged_robot_config import LeggedRobotCfg, LeggedRobotCfgPPO

WIDE = [512, 256, 128]  # legged_gym's networks for 4096 robots
ENCODERS = [256, 128]

PRESETS: dict[str, dict[str, Any]] = {
    "gpu": {
        "env.env.num_envs": 4096,
        "env.sim.engine": "mujoco_warp",
        "env.sim.device": "cuda",
        "train.runner.device": "cuda",
        "train.actor.hidden_dims": WIDE,
        "train.critic.hidden_dims": WIDE,
        "train.actor.privilege_hidden_dims": ENCODERS,
        "train.actor.history_hidden_dims": ENCODERS,
        "train.actor.proxy_hidden_dims": ENCODERS,
        "train.actor.width": 128,  # of ULT's tokens
        "train.actor.token_hidden_dims": [192],
        # An iteration has eight times the samples of 512 robots: minibatches of 24576 samples and their mirror images.
        "train.algorithm.num_mini_batches": 4,
        "train.algorithm.learning_rate": 1e-3,
        "train.algorithm.desired_kl": 0.01,  # larger batches know the gradient better: legged_gym's step, not twice it
        "train.algorithm.use_mixed_precision": True,  # bfloat16; rsl-rl-lib's own PPO has no such field
    },
}
"""Name -> dotted field -> value. Chosen by calculation and from legged_gym's settings; not tuned by runs on a GPU."""


def apply_preset(name: str, env_cfg: LeggedRobotCfg, train_cfg: LeggedRobotCfgPPO) -> None:
    """Set the fields of preset `name` that the configurations have; they are changed in place.

    Raises:
        UserError: no such preset, or a task without robots, to which none of it applies.
    """
    if name not in PRESETS:
        raise UserError(f"--preset={name}: no such preset{did_you_mean(name, PRESETS)}; known: {', '.join(PRESETS)}")
    cfgs: dict[str, Any] = {"env": env_cfg, "train": train_cfg}
    for field, value in PRESETS[name].items():
        group, _, path = field.partition(".")
        section, _, last = path.rpartition(".")
        try:
            owner = lookup(cfgs[group], section)
        except (AttributeError, KeyError):
            continue
        if hasattr(owner, last):
            setattr(owner, last, list(value) if isinstance(value, list) else value)
