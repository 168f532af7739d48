"""Banded causal attention: what may be seen, in one pass, step by step and from a cache."""

from __future__ import annotations

import math

import pytest
import torch

from rsl_rl_ult.modules import transformer as module
from rsl_rl_ult.modules.attention import attend, attend_and_self, band_mask
from rsl_rl_ult.modules.transformer import Transformer

# (layers, T, S): T larger and smaller than S, one and several layers, a window of one frame.
SHAPES = [(1, 1, 5), (1, 4, 7), (2, 3, 8), (2, 6, 3), (3, 5, 4), (3, 2, 9)]


def make(layers: int, window: int, kernel: str = "softmax", width: int = 8, heads: int = 2) -> Transformer:
    """A transformer in double precision whose branches are not zero."""
    torch.manual_seed(layers * 100 + window)
    network = Transformer(width, layers, heads, window, 2.0, zero_init=False, kernel=kernel).double()
    for block in network.blocks:
        torch.nn.init.normal_(block.distance_bias)
    return network


def tokens(network: Transformer, rows: int, steps: int, seed: int = 0) -> tuple:
    """Frames (B, C + S, D), readers (B, S, D), ages of episodes that end anywhere, more than one per row."""
    torch.manual_seed(seed)
    frames = torch.randn(rows, network.context + steps, network.width).double()
    readers = torch.randn(rows, steps, network.width).double()
    ends = torch.rand(rows, network.context + steps) < 0.2
    ends[0] = False  # one row without an end, one with an end in every step
    ends[1] = True
    age, ages = torch.randint(1, 30, (rows,)), []
    for step in range(frames.shape[1]):
        ages.append(age)
        age = torch.where(ends[:, step], torch.ones_like(age), age + 1)
    return frames, readers, torch.stack(ages, dim=1)


def test_the_mask_by_hand():
    # Window 2; the second frame starts an episode: it sees itself, the third sees both, the fourth not the second.
    o, x = 0.0, -math.inf
    expected = [[o, x, x, x], [x, o, x, x], [x, o, o, x], [x, x, o, o]]
    assert band_mask(torch.tensor([[9, 1, 2, 3]]), 2)[0, 0].tolist() == expected


def test_an_age_below_one_still_sees_itself():
    assert band_mask(torch.tensor([[-3, 0, 1]]), 4)[0, 0].diagonal().tolist() == [0.0, 0.0, 0.0]


def test_attention_by_hand():
    # One head of one column: scores 2 * 1 and 2 * 0 + log 3, so weights e^2 / (e^2 + 3) and 3 / (e^2 + 3).
    query, keys = torch.tensor([[[[2.0]]]]), torch.tensor([[[[1.0], [0.0]]]])
    values, bias = torch.tensor([[[[10.0], [20.0]]]]), torch.tensor([0.0, math.log(3.0)])
    expected = (10 * math.exp(2) + 20 * 3) / (math.exp(2) + 3)
    for kernel in ("softmax", "sdpa"):
        assert attend(query, keys, values, (bias[None, None, None],), kernel).item() == pytest.approx(
            expected, rel=1e-6
        )


@pytest.mark.parametrize("seed", range(3))
def test_both_kernels_are_equal_with_gradients(seed):
    torch.manual_seed(seed)
    shapes = [(3, 2, 4, 5), (3, 2, 7, 5), (3, 2, 7, 5), (3, 2, 4, 7), (3, 2, 4, 5), (3, 2, 4, 5), (2, 1)]
    leaves = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    query, keys, values, bias, own_keys, own_values, own_bias = leaves
    results = []
    for kernel in ("softmax", "sdpa"):
        found = attend_and_self(query, keys, values, (bias,), (own_keys, own_values), own_bias, kernel)
        found = found + attend(query, keys, values, (bias,), kernel)
        results.append([found, *torch.autograd.grad(found.square().sum(), leaves)])
    for one, other in zip(*results):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("kernel", ["softmax", "sdpa"])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_a_pass_over_a_segment_equals_a_full_mask_in_every_layer(layers, window, steps, kernel):
    """The pass drops frames layer by layer and cuts bands into parts; here nothing is dropped or cut."""
    network = make(layers, window, kernel)
    frames, readers, age = tokens(network, 5, steps)
    found, found_read = network(frames, readers, age, steps)
    x, y, mask = frames, readers, band_mask(age, window)
    own = torch.full((steps, steps), -math.inf).fill_diagonal_(0.0)
    for block in network.blocks:
        index = torch.arange(frames.shape[1])
        bias = block.distance_bias[:, (index[:, None] - index).clamp(0, window - 1)] + mask
        queries, keys, values = block.project(x, x.shape[1])
        if y is not None:
            reader_queries, reader_keys, reader_values = block.project(y, steps)
            to_self = (block.distance_bias[:, -1, None, None] + own).expand(len(y), -1, -1, -1)
            joined = torch.cat((bias[:, :, -steps:], to_self), dim=-1)
            seen = torch.cat((keys, reader_keys), dim=2), torch.cat((values, reader_values), dim=2)
            y = block.finish(y, attend(reader_queries, *seen, (joined,), "softmax"))
        x = block.finish(x, attend(queries, keys, values, (bias,), "softmax"))
    assert torch.allclose(found, network.norm(x)[:, -steps:], atol=1e-10)
    assert torch.allclose(found_read, network.norm(y), atol=1e-10)


def test_cutting_a_long_band_into_parts_changes_nothing(monkeypatch):
    network = make(2, 5)
    frames, readers, age = tokens(network, 4, 37)
    whole = network(frames, readers, age, 37)
    for chunk in (1, 4, 16):
        monkeypatch.setattr(module, "CHUNK", chunk)
        for one, other in zip(network(frames, readers, age, 37), whole):
            assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize(("layers", "steps"), [(1, 6), (3, 6)])
def test_a_window_as_long_as_the_segment_is_plain_causal_attention(layers, steps):
    """Property (h), against torch's own encoder layers' mask: everything before, nothing after."""
    network = make(layers, steps + 2)
    torch.manual_seed(1)
    frames, age = torch.randn(3, steps, 8).double(), torch.arange(1, steps + 1).expand(3, -1)
    found, _ = network(frames, None, age, steps)
    x = frames
    causal = torch.full((steps, steps), -math.inf).triu(1)
    for block in network.blocks:
        distance = (torch.arange(steps)[:, None] - torch.arange(steps)).clamp(min=0)
        queries, keys, values = block.project(x, steps)
        x = block.finish(x, attend(queries, keys, values, (block.distance_bias[:, distance], causal), "sdpa"))
    assert torch.allclose(found, network.norm(x), atol=1e-10)


@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_frames_beyond_the_reach_and_of_other_episodes_change_nothing(layers, window, steps):
    """Property (i), and that C = L (T - 1) is enough: whatever stands there, outputs are bit-identical."""
    network = make(layers, window)
    frames, readers, age = tokens(network, 6, steps)
    expected = network(frames, readers, age, steps)
    for step in range(steps):
        now = network.context + step
        reach = torch.minimum(age[:, now], torch.tensor(network.context + 1))
        foreign = torch.arange(frames.shape[1])[None] <= now - reach[:, None]
        changed = torch.where(foreign[..., None], torch.full_like(frames, 1e3), frames)
        found = network(changed, readers, age, steps)
        for one, other in zip(found, expected):
            assert torch.equal(one[:, step], other[:, step])


@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_frames_within_the_reach_do_matter(layers, window, steps):
    network = make(layers, window)
    frames, readers, _ = tokens(network, 2, steps)
    age = torch.arange(100, 100 + frames.shape[1]).expand(2, -1)
    expected, _ = network(frames, readers, age, steps)
    frames[:, 0] *= -1.0  # the oldest context frame (a constant shift would be normalised away)
    changed, _ = network(frames, readers, age, steps)
    assert not torch.equal(changed[:, 0], expected[:, 0])
    assert torch.equal(changed[:, 1:], expected[:, 1:])  # and only the first step reaches that far


@pytest.mark.parametrize("kernel", ["softmax", "sdpa"])
@pytest.mark.parametrize(("layers", "window", "steps"), SHAPES)
def test_steps_from_a_cache_equal_the_full_pass(layers, window, steps, kernel):
    """Property (f): primed from context, then frame by frame, through episode ends."""
    network = make(layers, window, kernel)
    frames, readers, age = tokens(network, 5, steps)
    expected, expected_read = network(frames, readers, age, steps)
    context = network.context
    cache = network.prime(frames[:, :context], (age[:, :1] if not context else age[:, :context]))
    if not context:
        cache.age.copy_(age[:, 0] - 1)
    for step in range(steps):
        now = context + step
        cache.reset(age[:, now] == 1)
        output, read = network.step(frames[:, now], readers[:, step], cache)
        assert torch.allclose(output, expected[:, step], atol=1e-10)
        assert torch.allclose(read, expected_read[:, step], atol=1e-10)


def test_a_cache_without_context_is_an_empty_one():
    network = make(2, 4)
    cache = network.prime(torch.zeros(3, 0, 8).double(), torch.zeros(3, 0, dtype=torch.long))
    assert cache.age.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("layers", "window"), [(1, 1), (2, 4), (3, 3)])
def test_the_pure_step_equals_the_cached_one(layers, window):
    network = make(layers, window)
    cache = network.make_cache(2)
    past = torch.zeros(2, layers, 2, 2, window - 1, 4).double()
    seen = torch.zeros(2, window - 1).double()
    torch.manual_seed(3)
    for step in range(12):
        if step == 7:  # the second robot starts an episode
            cache.reset(torch.tensor([False, True]))
            past, seen = past.clone(), seen.clone()
            past[1], seen[1] = 0.0, 0.0
        frame = torch.randn(2, 8).double()
        expected, _ = network.step(frame, None, cache)
        output, past = network.step_with(frame, past, seen)
        seen = torch.cat((seen, torch.ones(2, 1).double()), dim=1)[:, 1:]
        assert torch.allclose(output, expected, atol=1e-10)


def test_zero_init_starts_as_the_identity():
    network = Transformer(8, 3, 2, 4, zero_init=True)
    frames, readers = torch.randn(2, 14, 8), torch.randn(2, 5, 8)
    found, read = network(frames, readers, torch.full((2, 14), 50), 5)
    assert torch.equal(found, network.norm(frames[:, -5:]))
    assert torch.equal(read, network.norm(readers))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "num_heads": 4}, "width=10.*that the number of heads divides"),
        ({"window": 0}, "history_length=0: expected at least 1"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"feedforward_ratio": 0.0}, r"feedforward_ratio=0\.0"),
        ({"kernel": "flash"}, "attention_kernel 'flash': expected one of auto, sdpa, softmax"),
    ],
)
def test_sizes_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**options)


def test_a_torch_without_the_fused_kernel_says_so(monkeypatch):
    monkeypatch.setattr(module, "HAS_SDPA", False)
    with pytest.raises(ValueError, match=r"attention_kernel 'sdpa' needs torch 2\.0 or newer"):
        Transformer(kernel="sdpa")
    assert Transformer(kernel="auto").blocks[0].kernel == "auto"


# -- numbers that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["softmax", "sdpa"])
@pytest.mark.parametrize("reads", [False, True])
def test_nan_of_a_finished_episode_does_not_stay_in_the_cache(kernel, reads):
    network = make(2, 4, kernel)
    frames, readers = torch.randn(2, 6, 3, network.width).double()
    spoilt = frames.clone()
    spoilt[1, 1] = math.nan  # robot 1 diverges in its second step and is reset
    found = {}
    for name, sequence in (("spoilt", spoilt), ("sound", frames)):
        cache, found[name] = network.make_cache(3), []
        for step, frame in enumerate(sequence):
            found[name].append(network.step(frame, readers[step] if reads else None, cache)[int(reads)])
            if step == 1:
                cache.reset(torch.tensor([False, True, False]))
    assert torch.isnan(found["spoilt"][1][1]).all()  # what it is fed is not hidden
    for one, other in zip(found["spoilt"][2:], found["sound"][2:]):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kernel", ["softmax", "sdpa"])
def test_nan_of_a_past_episode_does_not_reach_a_segment(kernel):
    network = make(2, 4, kernel)  # context 6
    frames, readers = torch.randn(3, 9, network.width).double(), torch.randn(3, 3, network.width).double()
    age = torch.tensor(
        [[5, 6, 7, 8, 9, 10, 11, 12, 13], [-5, -4, -3, -2, -1, 0, 1, 2, 3], [-1, 0, 1, 2, 3, 4, 5, 1, 2]]
    )
    spoilt = frames.masked_fill((age < 1)[..., None], math.nan)
    for one, other in zip(network(spoilt, readers, age, 3), network(frames, readers, age, 3)):
        assert torch.equal(one, other)
    assert torch.equal(network.last(spoilt[:, 2:], age[:, 2:]), network.last(frames[:, 2:], age[:, 2:]))
    token = torch.randn(3, network.width).double()
    primed = [network.prime(sequence[:, :6], age[:, :6]) for sequence in (spoilt, frames)]
    outputs = [network.step(token, None, cache)[0] for cache in primed]
    assert torch.equal(*outputs) and torch.isfinite(outputs[0]).all()
