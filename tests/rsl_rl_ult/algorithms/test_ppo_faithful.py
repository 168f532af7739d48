"""Our PPO is rsl-rl-lib 5.5.1's PPO, bit for bit."""

from __future__ import annotations

import pytest
import torch

from tests.learning import make_cfg, train

CONFIGS = {
    "adaptive schedule, clipped value loss, normalised observations": {},
    "fixed schedule": {"algorithm": {"schedule": "fixed", "learning_rate": 3e-3}},
    "plain value loss": {"algorithm": {"use_clipped_value_loss": False, "value_loss_coef": 0.5}},
    "advantages per minibatch": {"algorithm": {"normalize_advantage_per_mini_batch": True}},
    "raw observations": {"actor": {"obs_normalization": False}, "critic": {"obs_normalization": False}},
    "other activations": {"actor": {"activation": "tanh"}, "critic": {"activation": "relu"}},
    "narrow std": {
        "actor": {
            "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.5, "std_range": [0.499, 0.501]}
        },
        "algorithm": {"learning_rate": 5e-3, "schedule": "fixed"},
    },
    "log std, adamw": {
        "actor": {"distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 0.5, "std_type": "log"}},
        "algorithm": {"optimizer": "adamw"},
    },
    "several groups per set, samples left over": {
        "obs_groups": {"actor": ["policy", "privileged"], "critic": ["critic", "policy"]},
        "algorithm": {"num_mini_batches": 5},
    },
    "mixed precision": {"algorithm": {"use_mixed_precision": True}},
    "hard clipping": {"algorithm": {"max_grad_norm": 0.01, "clip_param": 0.02, "learning_rate": 1e-2, "gamma": 0.9}},
}


def weights_of_upstream(alg) -> dict[str, torch.Tensor]:
    weights = {}
    for prefix, model in (("actor", alg.actor), ("critic", alg.critic)):
        for name, value in model.mlp.state_dict().items():
            weights[f"{prefix}.{name}"] = value
        if hasattr(model.obs_normalizer, "_mean"):
            for name in ("_mean", "_var", "_std", "count"):
                weights[f"normalizers.{prefix}.{name.strip('_')}"] = getattr(model.obs_normalizer, name)
    (weights["std.param"],) = alg.actor.distribution.parameters()
    return weights


@pytest.mark.parametrize("name", CONFIGS)
def test_weights_losses_and_learning_rate_are_bit_equal_to_upstream_over_four_updates(name):
    upstream, expected = train(make_cfg("rsl_rl.algorithms:PPO", **CONFIGS[name]), iterations=4)
    ours, found = train(make_cfg("rsl_rl_ult.algorithms:PPO", **CONFIGS[name]), iterations=4)
    assert found == expected
    assert ours.learning_rate == upstream.learning_rate
    weights = dict(ours.network.state_dict())
    for key, value in weights_of_upstream(upstream).items():
        assert torch.equal(weights.pop(key), value), key
    assert not weights  # nothing else is learnt
