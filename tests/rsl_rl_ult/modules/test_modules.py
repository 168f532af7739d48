"""Networks: shapes, statistics, what reads what, and what is exported."""

from __future__ import annotations

import math

import pytest
import torch

from rsl_rl_ult.modules import MLP, ActorCritic, ActorCriticCTS, ActorCriticTS, EmpiricalNormalization, GaussianStd
from rsl_rl_ult.modules.history_encoder import make_history_encoder
from rsl_rl_ult.modules.mlp import ACTIVATIONS
from rsl_rl_ult.policies.policy import Policy, StudentPolicy

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
ENCODERS = {"MLP": {}, "TCN": {}, "GRU": {"gru_num_layers": 2}}


def make_ts(cls=ActorCriticTS, **options):
    torch.manual_seed(3)
    network = cls(5, 7, 3, 4, **{"actor_hidden_dims": [16], "critic_hidden_dims": [8], "history_length": 20, **options})
    return network


def observations(num_envs: int = 6) -> dict[str, torch.Tensor]:
    return {
        "policy": torch.randn(num_envs, 5),
        "critic": torch.randn(num_envs, 7),
        "privileged": torch.randn(num_envs, 4),
    }


def test_an_mlp_has_an_activation_between_its_layers_and_none_at_the_end():
    mlp = MLP(2, 1, [2], "relu")
    with torch.no_grad():
        mlp[0].weight.copy_(torch.eye(2))
        mlp[0].bias.zero_()
        mlp[2].weight.fill_(-1.0)
        mlp[2].bias.zero_()
    assert mlp(torch.tensor([[3.0, -5.0]])).item() == -3.0  # relu drops the -5; the sum stays negative


def test_activations_have_the_names_and_meanings_of_rsl_rl_lib():
    from rsl_rl.utils import resolve_nn_activation

    x = torch.linspace(-3, 3, 13)
    for name, cls in ACTIVATIONS.items():
        assert torch.equal(cls()(x), resolve_nn_activation(name)(x)), name


def test_the_normaliser_has_mean_and_population_deviation_of_all_samples_it_was_given():
    normalizer, x = EmpiricalNormalization(3, eps=0.0), torch.randn(50, 3, dtype=torch.float64).float() * 4.0 + 2.0
    for part in (x[:7], x[7:8], x[8:]):
        normalizer.update(part)
    assert torch.allclose(normalizer.mean[0], x.mean(0), atol=1e-5)
    assert torch.allclose(normalizer.std[0], x.std(0, unbiased=False), atol=1e-5)
    assert normalizer.count.item() == 50
    assert torch.allclose(normalizer(x).std(0, unbiased=False), torch.ones(3), atol=1e-5)


@pytest.mark.parametrize("std_type", ["scalar", "log"])
def test_the_standard_deviation_starts_where_it_should_and_stays_positive(std_type):
    std = GaussianStd(2, 0.5, std_type)
    assert torch.allclose(std(), torch.full((2,), 0.5))
    with torch.no_grad():
        std.param.fill_(-50.0)
    assert torch.allclose(std(), torch.full((2,), 1e-6))


def test_a_fixed_standard_deviation_is_not_learnt():
    assert not ActorCritic(2, 2, 1, learn_std=False).std.param.requires_grad


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("length", [20, 100])
def test_encoders_map_windows_to_latents_and_read_every_frame(kind, length):
    encoder = make_history_encoder(kind, length, 5, 8, **ENCODERS[kind])
    window = torch.randn(3, length, 5, requires_grad=True)
    latent = encoder(window)
    assert latent.shape == (3, 8)
    latent.sum().backward()
    touched = window.grad.abs().sum((0, 2)) > 0
    # A strided convolution may leave the last frame or two of a window without a kernel, the others read all.
    assert touched.all() if kind != "TCN" else touched.float().mean() > 0.9


def test_the_newest_frame_is_read_by_the_default_tcn():
    encoder = make_history_encoder("TCN", 20, 5, 8)
    window = torch.randn(3, 20, 5, requires_grad=True)
    encoder(window).sum().backward()
    assert window.grad[:, -1].abs().sum() > 0


def test_a_tcn_that_does_not_fit_its_window_says_so():
    with pytest.raises(ValueError, match="a history of 5 frames is too short for TCN kernels"):
        make_history_encoder("TCN", 5, 5, 8)
    with pytest.raises(ValueError, match="need one entry per convolution, found 3, 1, 3 and 3"):
        make_history_encoder("TCN", 20, 5, 8, tcn_kernel_sizes=[4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history_encoder": "LSTM"}, "history_encoder 'LSTM': expected MLP, TCN or GRU"),
        ({"history_length": 0}, "history_length=0"),
        ({"latent_norm": "l1"}, "latent_norm 'l1': expected one of none, l2"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"activation": "relo"}, "unknown activation 'relo'"),
        ({"init_noise_std": 0.0}, "init_std=0.0"),
        ({"noise_std_type": "square"}, "std_type 'square'"),
        ({"noise_std_range": [1.0, 0.5]}, r"std_range=\[1\.0, 0\.5\]"),
        ({"actor_hidden_dims": [16, 0]}, "layer sizes must be positive integers"),
    ],
)
def test_options_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_ts(**options)


def test_wrong_columns_are_an_error_that_names_the_set():
    raw = {"actor": torch.zeros(2, 5), "critic": torch.zeros(2, 7), "privileged": torch.zeros(2, 9)}
    with pytest.raises(ValueError, match="'privileged' has 9 columns, ActorCriticTS was built for 4"):
        make_ts().inputs(raw)


def test_the_student_does_not_read_privileged_data_and_the_teacher_does():
    network, obs = make_ts(), observations()
    teacher, student = Policy(network, SETS), StudentPolicy(network, SETS)
    other = {**obs, "privileged": obs["privileged"] + 1.0}
    assert torch.equal(student(obs), (student.reset(), student(other))[1])
    assert not torch.equal(teacher(obs), teacher(other))


def test_cts_latents_lie_on_the_unit_sphere():
    network = make_ts(ActorCriticCTS)
    inputs = {"privileged": torch.randn(9, 4)}
    for latent in (network.teacher_latent(inputs), network.student_latent(torch.randn(9, 20, 5))):
        assert torch.allclose(latent.norm(dim=-1), torch.ones(9))


def test_no_parameter_is_in_two_groups_and_none_is_forgotten():
    network = make_ts()
    groups = [*network.actor_parameters(), *network.critic_parameters(), *network.student_parameters()]
    assert len({id(p) for p in groups}) == len(groups) == len(list(network.parameters()))


def normalized_ts(**options):
    network = make_ts(actor_obs_normalization=True, **options)
    raw = {"actor": torch.randn(50, 5) * 3 + 1, "critic": torch.randn(50, 7), "privileged": torch.randn(50, 4)}
    network.update_normalization(raw)
    return network


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("cls", [ActorCriticTS, ActorCriticCTS])
def test_an_exported_student_acts_like_the_student_over_an_episode(kind, cls, tmp_path):
    network = normalized_ts(cls=cls, history_encoder=kind)
    student = StudentPolicy(network, SETS)
    path = tmp_path / "student.pt"
    torch.jit.script(student.as_jit()).save(str(path))
    scripted, stateless = torch.jit.load(str(path)), student.as_onnx(verbose=False)
    window = torch.zeros(1, 20, 5)
    for step in range(45):
        obs = observations(1)
        if step == 30:  # a new episode
            student.reset(torch.ones(1))
            scripted.reset()
            window = torch.zeros(1, 20, 5)
        window = torch.cat((window[:, 1:], obs["policy"][:, None]), dim=1)
        expected = student(obs)
        assert torch.allclose(scripted(obs["policy"]), expected, atol=1e-6)
        assert torch.allclose(stateless(window), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_onnx_file_acts_like_the_student(kind, tmp_path):
    reference = pytest.importorskip("onnx.reference")
    student = StudentPolicy(normalized_ts(history_encoder=kind), SETS)
    module, path = student.as_onnx(), tmp_path / "student.onnx"
    module.eval()
    torch.onnx.export(
        module, module.get_dummy_inputs(), str(path), input_names=list(module.input_names), output_names=["actions"],
        dynamo=False, opset_version=18,
    )  # fmt: skip
    window = torch.randn(1, 20, 5)
    (found,) = reference.ReferenceEvaluator(str(path)).run(None, {"obs_history": window.numpy()})
    assert torch.allclose(torch.from_numpy(found), module(window), atol=1e-5)


def test_a_teacher_is_not_exported():
    with pytest.raises(ValueError, match="export the student"):
        Policy(make_ts(), SETS).as_jit()


def test_the_reported_deviation_is_that_of_the_network():
    assert math.isclose(Policy(make_ts(init_noise_std=0.25), SETS).output_std.mean().item(), 0.25)


def test_under_autocast_outputs_stay_float32_where_asked_for_and_are_those_of_the_hidden_layers():
    torch.manual_seed(0)
    network, inputs = MLP(8, 3, [16]), torch.randn(5, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(inputs).dtype == torch.bfloat16
        network.float_output = True
        found = network(inputs)
        hidden = network[1](network[0](inputs))
    assert found.dtype == torch.float32 and hidden.dtype == torch.bfloat16
    assert torch.equal(found, network[2](hidden.float()))
    assert torch.equal(network(inputs), network[2](network[1](network[0](inputs))))  # without autocast nothing changes
