"""Configurations as other hosts of rsl-rl-lib 4 and 5 write them: mjlab's, and those of 4.0."""

from __future__ import annotations

import pytest
import torch
from rsl_rl.runners import OnPolicyRunner

from tests.learning import ToyEnv

METHODS = ["PPO_TS", "PPO_CTS", "PPO_RMA", "PPO_SITT", "PPO_ULT"]
GAUSSIAN = {"class_name": "GaussianDistribution", "init_std": 0.7, "std_type": "scalar"}


def mjlab_cfg(method: str, **algorithm) -> dict:
    """What mjlab 1.6's train script hands over with one override, --agent.algorithm.class-name."""
    model = {"hidden_dims": (16, 8), "activation": "elu", "obs_normalization": True, "class_name": "MLPModel"}
    return {
        "seed": 42,
        "num_steps_per_env": 5,
        "max_iterations": 300,
        "obs_groups": {"actor": ("actor",), "critic": ("critic",)},
        "save_interval": 50,
        "experiment_name": "exp1",
        "run_name": "",
        "logger": "tensorboard",
        "wandb_project": "mjlab",
        "wandb_tags": (),
        "resume": False,
        "load_run": ".*",
        "load_checkpoint": "model_.*.pt",
        "clip_actions": None,
        "upload_model": True,
        "class_name": "OnPolicyRunner",
        "actor": {**model, "distribution_cfg": GAUSSIAN},
        "critic": model,
        "algorithm": {
            "num_learning_epochs": 2,
            "num_mini_batches": 2,
            "learning_rate": 1e-3,
            "schedule": "adaptive",
            "gamma": 0.99,
            "lam": 0.95,
            "entropy_coef": 0.01,
            "desired_kl": 0.01,
            "max_grad_norm": 1.0,
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "clip_param": 0.2,
            "normalize_advantage_per_mini_batch": False,
            "optimizer": "adam",
            "share_cnn_encoders": False,
            "class_name": f"rsl_rl_ult.algorithms:{method}",
            **algorithm,
        },
    }


class MjlabEnv(ToyEnv):
    """The toy task with mjlab's names of groups, and no privileged one."""

    def get_observations(self):
        """Groups `actor` and `critic`."""
        groups = super().get_observations()
        groups["actor"] = groups.pop("policy")
        del groups["privileged"]
        return groups


@pytest.mark.parametrize("method", METHODS)
def test_mjlab_needs_one_override(method, tmp_path, capsys):
    runner = OnPolicyRunner(MjlabEnv(), mjlab_cfg(method), str(tmp_path))
    runner.learn(2)
    network = runner.alg.network
    assert network.dims == {"actor": 5, "critic": 7, "privileged": 7}
    assert network.normalizers["actor"].count > 0 and network.normalizers["critic"].count > 0
    assert [layer.out_features for layer in network.critic.modules() if isinstance(layer, torch.nn.Linear)] == [
        16,
        8,
        1,
    ]
    # `learn` ended with two updates, which moved the deviation away from 0.7, but not far.
    assert (network.std() - 0.7).abs().max() < 0.05
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rsl_rl_ult: ")]
    expected = (
        "rsl_rl_ult: no observation group 'privileged': the privileged vector is what the critic reads, ['critic']"
    )
    assert expected in lines


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_survives_mjlabs_conversion_of_old_checkpoints(method, tmp_path):
    runner = OnPolicyRunner(MjlabEnv(), mjlab_cfg(method), str(tmp_path))
    runner.learn(1)
    saved = runner.alg.save()
    # What mjlab 1.6's runner makes of a file with `model_state_dict`: it takes the entry away and renames what it
    # knows.
    weights = saved.pop("model_state_dict")
    saved["actor_state_dict"] = {k.replace("actor.", "mlp."): v for k, v in weights.items() if k.startswith("actor.")}
    saved["critic_state_dict"] = {
        k.replace("critic.", "mlp."): v for k, v in weights.items() if k.startswith("critic.")
    }
    other = OnPolicyRunner(MjlabEnv(), mjlab_cfg(method), str(tmp_path))
    assert other.alg.load(saved, None, True)
    for name, value in runner.alg.network.state_dict().items():
        assert torch.equal(other.alg.network.state_dict()[name], value), name


def test_the_networks_are_in_the_file_once(tmp_path):
    runner = OnPolicyRunner(MjlabEnv(), mjlab_cfg("PPO_TS"), str(tmp_path))
    saved = runner.alg.save()
    torch.save(saved, tmp_path / "both.pt")
    del saved["network_state_dict"]
    torch.save(saved, tmp_path / "one.pt")
    weights = sum(p.numel() * 4 for p in runner.alg.network.parameters())
    assert (tmp_path / "both.pt").stat().st_size - (tmp_path / "one.pt").stat().st_size < 0.5 * weights


def test_recurrent_models_are_ignored_with_a_line(capsys, tmp_path):
    cfg = mjlab_cfg("PPO_ULT")
    cfg["actor"].update(class_name="RNNModel", rnn_type="gru", rnn_hidden_dim=8, rnn_num_layers=1)
    runner = OnPolicyRunner(MjlabEnv(), cfg, str(tmp_path))
    assert type(runner.alg.network).__name__ == "ActorCriticULT"
    assert "rsl_rl_ult: actor.rnn_type=gru and its sizes are ignored" in capsys.readouterr().out


def test_models_as_rsl_rl_lib_4_describes_them():
    cfg = mjlab_cfg("PPO_TS")
    for name, stochastic in (("actor", True), ("critic", False)):
        cfg[name].pop("distribution_cfg", None)
        cfg[name].update(stochastic=stochastic, init_noise_std=0.6, noise_std_type="scalar", state_dependent_std=False)
    runner = OnPolicyRunner(MjlabEnv(), cfg)
    assert torch.allclose(runner.alg.network.std(), torch.tensor(0.6))


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("actor", {"cnn_cfg": {"output_channels": [8]}}, "actor.cnn_cfg: these networks read vectors"),
        ("actor", {"state_dependent_std": True}, "actor.state_dependent_std: these networks"),
        ("actor", {"class_name": "CNNModel"}, "cannot find 'rsl_rl_ult.modules:CNNModel'"),
        ("critic", {"class_name": "CNNModel"}, "critic.class_name: our networks have an MLP critic"),
        ("algorithm", {"rnd_cfg": {"weight": 1.0}}, "algorithm.rnd_cfg: random network distillation is not part"),
        ("algorithm", {"share_cnn_encoders": True}, "algorithm.share_cnn_encoders: these networks have no CNN"),
        (
            "obs_groups",
            {"privileged": ("prvileged",)},
            "names the group 'prvileged', which the environment does not provide",
        ),
    ],
)
def test_what_does_not_apply_is_refused(section, options, message):
    cfg = mjlab_cfg("PPO_TS")
    cfg[section].update(options)
    with pytest.raises(ValueError, match=message):
        OnPolicyRunner(MjlabEnv(), cfg)
