"""Projection of gradients: hand-computed values, and PCGrad against torchjd."""

from __future__ import annotations

import pytest
import torch

from rsl_rl_ult.offline.gradient_projection import cosine, inner, pcgrad, project


def parts(*values):
    """A gradient of two parameters, (2,) and (1, 1)."""
    return [torch.tensor(values[:2]), torch.tensor([[values[2]]])]


def test_a_conflict_is_taken_out_and_nothing_else():
    # <g, h> = 1 - 4 + 0 = -3, |h|^2 = 1 + 4 + 0 = 5: g + 3/5 h.
    g, h = parts(1.0, -2.0, 3.0), parts(1.0, 2.0, 0.0)
    found, changed = project(g, h)
    assert changed and torch.allclose(found[0], torch.tensor([1.6, -0.8])) and torch.equal(found[1], g[1])
    assert abs(float(inner(found, h))) < 1e-6
    same, changed = project(parts(1.0, 2.0, 3.0), h)  # <g, h> = 5
    assert not changed and torch.equal(same[0], torch.tensor([1.0, 2.0]))
    assert not project(g, parts(0.0, 0.0, 0.0))[1]


def test_per_layer_looks_at_each_parameter():
    # First parameter: <g, h> = 5, kept. Second: 3 x -1 = -3 against 1: 3 - 3 = 0. Together 2 > 0: no conflict.
    g, h = parts(1.0, 2.0, 3.0), parts(1.0, 2.0, -1.0)
    assert not project(g, h)[1]
    found, changed = project(g, h, "per_layer")
    assert changed and torch.equal(found[0], g[0]) and float(found[1]) == 0.0
    with pytest.raises(ValueError, match="scope 'x': expected one of global, per_layer"):
        project(g, h, "x")


def test_cosines():
    assert cosine(parts(1.0, 0.0, 0.0), parts(1.0, 1.0, 0.0)) == pytest.approx(0.5**0.5)
    assert cosine(parts(0.0, 0.0, 0.0), parts(1.0, 1.0, 0.0)) == 0.0


@pytest.mark.parametrize("count", [2, 3])
def test_pcgrad_is_that_of_torchjd(monkeypatch, count):
    aggregation = pytest.importorskip("torchjd.aggregation")
    generator = torch.Generator().manual_seed(3)
    conflicts = 0
    # Whatever order torchjd draws, both walk through the others in that of their numbers.
    monkeypatch.setattr(torch, "randperm", lambda n, *args, **options: torch.arange(n))
    for _ in range(20):
        matrix = torch.randn(count, 5, generator=generator, dtype=torch.float64)
        expected = aggregation.PCGrad()(matrix)
        found, pairs = pcgrad([[row] for row in matrix], [list(range(count))] * count)
        assert torch.allclose(found[0], expected, atol=1e-10)
        conflicts += pairs
    assert conflicts > 0


def test_pcgrad_by_hand():
    # g1 = (1, 0), g2 = (-1, 1): <g1, g2> = -1. g1 - (-1/2) g2 = (0.5, 0.5); g2 + g1 = (0, 1). Sum (0.5, 1.5).
    found, pairs = pcgrad([[torch.tensor([1.0, 0.0])], [torch.tensor([-1.0, 1.0])]], [[1], [0]])
    assert torch.allclose(found[0], torch.tensor([0.5, 1.5])) and pairs == 2
