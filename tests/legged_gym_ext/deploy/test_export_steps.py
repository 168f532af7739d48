"""One control step of every policy as a function with its state as a tensor; as TorchScript; on a window."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rsl_rl_ult.modules import ActorCriticCTS, ActorCriticSITT, ActorCriticTS
from rsl_rl_ult.policies.policy import Policy, StudentPolicy
from rsl_rl_ult.policies.policy_ult import CachedPolicy
from tests.learning import ACTIONS, DIMS
from tests.ult import make_network

SETS = {"actor": ["policy"], "critic": ["critic"], "privileged": ["privileged"]}
LAST_ACTION = slice(1, 1 + ACTIONS)  # columns of a frame in these tests


def with_statistics(network: Any) -> Any:
    """Statistics of a normaliser of its own, and biases of attention that are not zero."""
    sets = {name: torch.randn(50, DIMS["policy" if name == "actor" else name]) * 3 + 1 for name in network.dims}
    network.update_normalization(sets)
    for block in getattr(getattr(network, "transformer", None), "blocks", ()):
        torch.nn.init.normal_(block.distance_bias)
    return network.eval()


def make_ts(cls: Any = ActorCriticTS, **options: Any) -> Any:
    torch.manual_seed(0)
    return with_statistics(
        cls(DIMS["policy"], DIMS["critic"], ACTIONS, DIMS["privileged"], actor_obs_normalization=True, **options)
    )


def make_ult(layers: int = 2, window: int = 6, **options: Any) -> Any:
    return with_statistics(make_network(layers, window, actor_obs_normalization=True, **options))


LATENT_ALONE = {"head_reads_frame": False, "latent_activation": "tanh", "history_length": 1}
POLICIES = {
    "ts student": lambda: StudentPolicy(make_ts(), SETS),
    "tcn student": lambda: StudentPolicy(make_ts(history_encoder="TCN"), SETS),
    "gru student": lambda: StudentPolicy(make_ts(history_encoder="GRU"), SETS),
    "cts student": lambda: StudentPolicy(make_ts(ActorCriticCTS), SETS),
    "ts teacher": lambda: Policy(make_ts(), SETS),
    "cts teacher": lambda: Policy(make_ts(ActorCriticCTS), SETS),
    "sitt student": lambda: StudentPolicy(make_ts(ActorCriticSITT), SETS),
    "sitt student, latent alone": lambda: StudentPolicy(make_ts(ActorCriticSITT, **LATENT_ALONE), SETS),
    "sitt teacher, latent alone": lambda: Policy(make_ts(ActorCriticSITT, **LATENT_ALONE), SETS),
    "ult student": lambda: CachedPolicy(make_ult(), SETS, "student"),
    "ult teacher": lambda: CachedPolicy(make_ult(), SETS, "teacher"),
    "ult teacher, shared head, frame": lambda: CachedPolicy(
        make_ult(shared_action_head=True, head_reads_frame=True), SETS, "teacher"
    ),
    "ult student, one frame": lambda: CachedPolicy(make_ult(1, 1), SETS, "student"),
}


def observations(rows: int) -> dict:
    return {name: torch.randn(rows, dim) for name, dim in DIMS.items()}


def privileged(step: Any, obs: dict) -> torch.Tensor:
    return obs["privileged"] if step.num_privileged else obs["policy"][:, :0]


@pytest.mark.parametrize("name", POLICIES)
def test_a_step_equals_its_policy_for_several_robots_with_a_reset_of_one(name):
    policy: Any = POLICIES[name]()
    step, state = policy.as_step().eval(), None
    for k in range(45):
        obs = observations(3)
        state = torch.zeros(3, step.state_size) if state is None else state
        if k == 30:
            policy.reset(torch.tensor([0, 1, 0]))
            state = state * torch.tensor([[1.0], [0.0], [1.0]])
        actions, state = step(obs["policy"], privileged(step, obs), state)
        assert torch.allclose(actions, policy(obs), atol=2e-6)
        assert state.shape == (3, step.state_size)


@pytest.mark.parametrize("name", POLICIES)
def test_torchscript_equals_the_policy_through_resets_and_clips_what_it_returns(name, tmp_path):
    policy: Any = POLICIES[name]()
    seen, expected = [observations(1) for _ in range(45)], []
    for k, obs in enumerate(seen):
        if k in (20, 23):
            policy.reset()
        expected.append(policy(obs).detach())
    clip = float(torch.cat(expected).abs().median())  # half of the numbers are clipped, half say what is remembered
    assert clip > 0.01
    remembering = policy.as_step().stateful(offset=[0.5, 0.0, -0.5], scale=0.25, clip=clip)
    torch.jit.save(torch.jit.script(remembering), str(tmp_path / "policy.pt"))
    scripted = torch.jit.load(str(tmp_path / "policy.pt"))
    for k, obs in enumerate(seen):
        if k in (20, 23):
            scripted.reset()
        groups = [obs["policy"], obs["privileged"]] if "teacher" in name else [obs["policy"]]
        actions = scripted(*groups)
        # Not clipped inside: what ULT remembers is the action before clipping, as in training.
        assert torch.allclose(actions, expected[k].clamp(-clip, clip), atol=2e-6)
        assert torch.allclose(scripted.targets(actions), torch.tensor([[0.5, 0.0, -0.5]]) + 0.25 * actions)
        assert not scripted.state.requires_grad


def test_a_step_is_a_copy():
    policy = StudentPolicy(make_ts(), SETS)
    step, obs = policy.as_step(), observations(1)
    before = policy(obs)
    with torch.no_grad():
        for value in policy.network.parameters():
            value.zero_()
    after, _ = step(obs["policy"], obs["policy"][:, :0], torch.zeros(1, step.state_size))
    assert torch.allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(("layers", "window", "frames"), [(1, 1, 1), (1, 4, 4), (2, 6, 11), (3, 5, 13)])
@pytest.mark.parametrize("options", [{}, {"head_reads_frame": True}])
def test_ult_without_a_cache_equals_the_cached_student_from_the_first_step_on(layers, window, frames, options):
    student = CachedPolicy(make_ult(layers, window, **options), SETS, "student")
    step = student.as_step()
    assert step.history_length == frames == layers * (window - 1) + 1
    stateless = step.as_window(LAST_ACTION)
    history, last = torch.zeros(2, frames, DIMS["policy"]), torch.zeros(2, ACTIONS)
    for k in range(3 * frames + 20):
        if k == 2 * frames + 5:  # a new episode
            student.reset()
            history, last = torch.zeros_like(history), torch.zeros_like(last)
        frame = torch.randn(2, DIMS["policy"])
        frame[:, LAST_ACTION] = last
        history = torch.cat((history[:, 1:], frame[:, None]), dim=1)
        last = student({"policy": frame})
        assert torch.allclose(stateless(history), last, atol=2e-6)


def test_the_oldest_frame_of_that_window_matters_and_one_more_would_not():
    student = CachedPolicy(make_ult(2, 6), SETS, "student")
    stateless = student.as_step().as_window(LAST_ACTION)
    torch.manual_seed(1)
    history = torch.randn(1, 11, DIMS["policy"])
    changed = history.clone()
    changed[:, 0] += 1.0
    assert not torch.equal(stateless(changed), stateless(history))

    def cached(first: float) -> torch.Tensor:
        student.reset()
        frames = torch.cat((torch.full((1, 1, DIMS["policy"]), first), history), dim=1)
        for frame in frames[0]:
            # The actions before are those of the frames, so that both see the same tokens.
            if student._cache is not None:
                student._last_actions = frame[None, LAST_ACTION]
            found = student({"policy": frame[None]})
        return found

    assert torch.allclose(cached(0.5), cached(-2.0), atol=2e-6)
    assert torch.allclose(cached(0.5), stateless(history), atol=2e-6)


def test_a_teacher_and_wrong_columns_have_no_window():
    with pytest.raises(ValueError, match="a teacher has no form on a window"):
        CachedPolicy(make_ult(), SETS, "teacher").as_step().as_window(LAST_ACTION)
    with pytest.raises(ValueError, match="do not hold its 3 last actions"):
        CachedPolicy(make_ult(), SETS, "student").as_step().as_window(slice(0, 2))


def test_states_have_the_documented_layout():
    window = StudentPolicy(make_ts(history_length=20), SETS).as_step()
    assert (window.state_kind, window.state_size) == ("window", 20 * DIMS["policy"])
    frames = torch.randn(21, 1, DIMS["policy"])
    state = torch.zeros(1, window.state_size)
    for frame in frames:
        _, state = window(frame, frame[:, :0], state)
    assert torch.equal(state.view(20, -1), frames[1:, 0])  # raw, oldest first
    cache = CachedPolicy(make_ult(2, 6), SETS, "student").as_step()
    assert (cache.state_kind, cache.state_size) == ("cache", 5 + ACTIONS + 5 * 2 * 16 * 2)
    actions, state = cache(frames[0], frames[0][:, :0], torch.zeros(1, cache.state_size))
    assert torch.equal(state[:, :5], torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0]]))
    assert torch.equal(state[:, 5 : 5 + ACTIONS], actions)
