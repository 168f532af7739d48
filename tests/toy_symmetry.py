"""A mirror for the toy task: all signs change."""

from __future__ import annotations

import torch
from tensordict import TensorDict


def mirror(env, obs, actions):
    """Samples followed by their mirror images."""
    both = None
    if obs is not None:
        groups = {name: torch.cat((value, -value)) for name, value in obs.items()}
        both = TensorDict(groups, batch_size=[2 * obs.batch_size[0]])
    return both, None if actions is None else torch.cat((actions, -actions))


SYMMETRY = {"data_augmentation_func": "tests.toy_symmetry:mirror", "use_data_augmentation": True}
