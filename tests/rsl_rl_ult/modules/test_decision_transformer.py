"""Decision Transformers: what a token sees, that a cache changes nothing, and that they are the published ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rsl_rl_ult import losses
from rsl_rl_ult.modules.decision_transformer import DecisionTransformer
from rsl_rl_ult.policies.decision import DecisionPolicy

D, A, K = 5, 3, 4


def network(seed=0, **options):
    torch.manual_seed(seed)
    net = DecisionTransformer(
        D, A, **{"width": 16, "num_layers": 2, "num_heads": 2, "context_steps": K, "max_steps": 50, **options}
    ).eval()
    with torch.no_grad():  # away from the start, where much is zero
        for value in net.parameters():
            value += 0.1 * torch.randn_like(value)
    net.return_scale.fill_(10.0)
    net.action_scale.copy_(torch.tensor([0.5, 1.0, 2.0]))
    net.normalizer.update(torch.randn(100, D) * 2.0 + 1.0)
    return net


def episode(steps=12, rows=2, seed=1):
    torch.manual_seed(seed)
    frames, actions = torch.randn(rows, steps, D), torch.randn(rows, steps, A)
    actions[:, 0] = 0.0
    rewards = torch.rand(rows, steps)
    returns = rewards.flip(1).cumsum(1).flip(1)
    return frames, actions, returns, torch.arange(1, steps + 1).expand(rows, steps), rewards


KINDS = [{}, {"returns": False}, {"returns": False, "actions": False, "max_steps": 0}, {"head": "mse"}]


@pytest.mark.parametrize("options", KINDS)
def test_what_comes_later_changes_nothing(options):
    net, (frames, actions, returns, age, _) = network(**options), episode()
    before = net(frames, actions, returns, age)
    frames, actions, returns = frames.clone(), actions.clone(), returns.clone()
    frames[:, 7:], actions[:, 8:], returns[:, 7:] = 9.0, 9.0, 9.0  # the action before step 7 is of step 6
    actions[:, 7] = 9.0
    after = net(frames, actions, returns, age)
    for one, two in zip(before, after):
        assert torch.equal(one[:, :7], two[:, :7])
    assert not torch.allclose(before[0][:, 7:], after[0][:, 7:])


@pytest.mark.parametrize("options", KINDS)
def test_what_is_before_the_episode_changes_nothing(options):
    net, (frames, actions, returns, age, _) = network(**options), episode()
    alone = net(frames, actions, returns, age)
    pad = 5
    filled = [torch.cat((torch.full_like(x[:, :pad], math.nan), x), dim=1) for x in (frames, actions, returns)]
    mean, std = net(*filled, torch.arange(1 - pad, age.shape[1] + 1).expand(2, -1))
    assert torch.allclose(mean[:, pad:], alone[0], atol=1e-6)
    assert torch.allclose(std[:, pad:], alone[1], atol=1e-6)


def test_a_step_sees_no_further_than_its_context():
    net, (frames, actions, returns, age, _) = network(), episode(40)
    before, _ = net(frames, actions, returns, age)
    changed = frames.clone()
    changed[:, 0] += 1.0
    after, _ = net(changed, actions, returns, age)
    seen = ((before - after).abs().amax((0, 2)) > 1e-7).nonzero().flatten()
    assert int(seen.max()) <= net.context
    last, _ = net(*(x[:, -net.context - 2 :] for x in (frames, actions, returns, age)), steps=2)
    assert torch.allclose(last, before[:, -2:], atol=1e-6)


@pytest.mark.parametrize("options", KINDS)
def test_the_cache_gives_what_the_whole_pass_gives(options):
    """Also across episodes of different lengths in one batch of environments."""
    net = network(**options)
    frames, actions, returns, age, _ = episode(30)
    restart = 13  # the second environment begins a new episode there
    actions[1, restart] = 0.0
    whole = net(frames, actions, returns, age)
    tail = net(*(x[1:, restart:] for x in (frames, actions, returns)), age[1:, : 30 - restart])
    cache = net.make_cache(2)
    for step in range(30):
        time = torch.tensor([step, step if step < restart else step - restart])
        if step == restart:
            cache.reset(torch.tensor([False, True]))
        mean, std = net.step(frames[:, step], actions[:, step], returns[:, step], time, cache)
        assert torch.allclose(mean[0], whole[0][0, step], atol=1e-5)
        expected = [x[1, step] for x in whole] if step < restart else [x[0, step - restart] for x in tail]
        assert torch.allclose(mean[1], expected[0], atol=1e-5)
        assert torch.allclose(std[1], expected[1], atol=1e-5)


def test_the_policy_counts_down_what_it_has_earned():
    """Target 5, rewards 1 and 0.5: to go are 5, 4, 3.5; a new episode starts at 5 with no action before."""
    net, seen = network(), []
    step = net.step

    def spy(frames, actions, returns, time, cache):
        seen.append((returns.tolist(), time.tolist(), actions[1].abs().sum().item() == 0.0))
        return step(frames, actions, returns, time, cache)

    net.step = spy
    policy = DecisionPolicy(net, target=5.0)
    for rewards, dones in ((1.0, [0, 0]), (0.5, [0, 1]), (2.0, [0, 0])):
        policy({"policy": torch.randn(2, D)})
        policy.observe(torch.tensor([rewards, rewards]))
        policy.reset(torch.tensor(dones))
    policy({"policy": torch.randn(2, D)})
    assert seen == [
        ([5.0, 5.0], [0, 0], True),
        ([4.0, 4.0], [1, 1], False),
        ([3.5, 5.0], [2, 0], True),
        ([1.5, 3.0], [3, 1], False),
    ]


def test_the_policy_acts_as_the_network_says():
    net, (frames, _, _, _, rewards) = network(), episode(10)
    policy, acted = DecisionPolicy(net, target=8.0), []
    with torch.no_grad():
        for step in range(10):
            acted.append(policy({"policy": frames[:, step]}))
            policy.observe(rewards[:, step])
            policy.reset(torch.zeros(2))
        actions = torch.stack(acted, dim=1)
        last = torch.cat((torch.zeros(2, 1, A), actions[:, :-1]), dim=1)
        spent = torch.cat((torch.zeros(2, 1), rewards[:, :-1].cumsum(1)), dim=1)
        mean, _ = net(frames, last, 8.0 - spent, torch.arange(1, 11).expand(2, -1))
    assert torch.allclose(net.act(mean), actions, atol=1e-5)
    assert (actions.abs() <= net.action_scale).all()


def published(net, frames, actions, returns, time):
    """The forward pass of kzl/decision-transformer with the weights of `net`: order R, s, a, and one mask for all."""
    count, steps = net.per_step, frames.shape[1]
    when = net.embed_time(time)
    states = net.embed_frame((frames - net.normalizer.mean) / (net.normalizer.std + 1e-6)) + when
    to_go = net.embed_return(returns[..., None] / net.return_scale) + when
    acts = net.embed_action(actions / net.action_scale) + when
    x = torch.stack((to_go, states, acts), dim=1).permute(0, 2, 1, 3).reshape(len(frames), count * steps, -1)
    x = net.embedding_norm(x)
    causal = torch.triu(torch.full((count * steps, count * steps), -math.inf), 1)
    for block in net.transformer.blocks:
        y = block.attention_norm(x)
        keys, values = block.key_value(y).chunk(2, dim=-1)
        parts = [part.unflatten(-1, (block.heads, -1)).transpose(1, 2) for part in (block.query(y), keys, values)]
        scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(parts[0].shape[-1]) + causal
        x = x + block.output((scores.softmax(-1) @ parts[2]).transpose(1, 2).flatten(2))
        first, _, second, _ = block.feedforward
        x = x + second(nn.functional.relu(first(block.feedforward_norm(x))))
    x = net.transformer.norm(x).reshape(len(frames), steps, count, -1)
    return torch.tanh(net.mean(x[:, :, 1]))  # of the state tokens


def test_with_the_head_mse_it_is_the_published_network():
    """On K steps, where the band hides nothing; the bias per distance, which the published one has not, is 0."""
    net = network(head="mse")
    with torch.no_grad():
        for block in net.transformer.blocks:
            block.distance_bias.zero_()
    frames, last, returns, age, _ = episode(K)
    following = torch.cat((last[:, 1:], torch.randn(2, 1, A)), dim=1)  # the action of each step, the last one unseen
    expected = published(net, frames, following, returns, age - 1)
    assert torch.allclose(net(frames, last, returns, age)[0], expected, atol=1e-5)


def test_the_published_sizes_have_730_thousand_weights():
    """3 blocks of 12 W^2 + 11 W less 2 W biases of keys and values, 1000 W of time, W (D + A + 1) and small ones."""
    net = DecisionTransformer(45, 12)
    width, window = 128, 60
    block = 12 * width**2 + 11 * width + window + 1
    small = width * (45 + 12 + 1) + 3 * width + 2 * width + 2 * width + 2 * 12 * (width + 1)
    assert sum(p.numel() for p in net.parameters()) == 3 * block + 1000 * width + small


def test_the_deviation_stays_in_its_bounds():
    net = network()
    with torch.no_grad():
        net.log_std.weight.mul_(1e3)
    _, std = net(*episode()[:4])
    assert std.min() >= math.exp(-5.0) - 1e-6 and std.max() <= math.exp(2.0) + 1e-3
    # And at zero it is in the middle: exp(-5 + 3.5).
    with torch.no_grad():
        net.log_std.weight.zero_()
        net.log_std.bias.zero_()
    assert torch.allclose(net(*episode()[:4])[1], torch.tensor(math.exp(-1.5)))


def test_the_squashed_density_integrates_to_one_and_its_kl_is_that_before_the_tanh():
    mean, std = torch.tensor([[0.3]]), torch.tensor([[0.8]])
    other = torch.tensor([[-0.4]]), torch.tensor([[1.1]])
    grid = torch.linspace(-1 + 1e-5, 1 - 1e-5, 400001, dtype=torch.float64)[:, None]
    log_p = losses.squashed_log_prob(mean.expand(len(grid), 1).double(), std.double(), grid)
    log_q = losses.squashed_log_prob(other[0].expand(len(grid), 1).double(), other[1].double(), grid)
    cell = float(grid[1] - grid[0])
    assert float(log_p.exp().sum() * cell) == pytest.approx(1.0, abs=1e-4)
    kl = float((log_p.exp() * (log_p - log_q)).sum() * cell)
    assert kl == pytest.approx(float(losses.gaussian_kl(mean, std, *other)), abs=1e-3)
    assert float(losses.gaussian_kl(mean, std, mean, std)) == 0.0


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="head 'x': expected one of gaussian, mse"):
        DecisionTransformer(D, A, head="x")
    with pytest.raises(ValueError, match="num_obs=0"):
        DecisionTransformer(0, A)
