"""Interquartile means and stratified bootstrap intervals over seeds.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

REPETITIONS = 2000  # of a bootstrap; the ends of 95 % intervals then move by about 1 % of their width
CONFIDENCE = 0.95


def interquartile_mean(values: Any, axis: int | None = None) -> Any:
    """Mean of the middle half of `values` along `axis` (None: of all).

    A quarter of the values, rounded down, is left out at either end: of fewer than four none is, so that it is their
    mean.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=axis)
    axis = 0 if axis is None else axis
    count = ordered.shape[axis]
    cut = count // 4
    return ordered.take(np.arange(cut, count - cut), axis=axis).mean(axis=axis)


def stratified_interval(
    strata: Sequence[Any], repetitions: int = REPETITIONS, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the interquartile mean of all values of all strata.

    Args:
        strata: one (R_k,) array of scores per stratum, a score per run; runs are drawn with replacement in each stratum
            by itself.
        repetitions: of the bootstrap.
        confidence: share of the resampled means within the interval.
        seed: of the draws.

    Returns:
        Lower and upper end; None where a stratum has fewer than two runs and there is nothing to resample.
    """
    scores = [np.asarray(values, dtype=float) for values in strata]
    if not scores or min(len(values) for values in scores) < 2:
        return None
    rng = np.random.default_rng(seed)
    drawn = [values[rng.integers(len(values), size=(repetitions, len(values)))] for values in scores]
    return _ends(interquartile_mean(np.concatenate(drawn, axis=1), axis=1), confidence)


def curve_band(
    curves: Any, repetitions: int = REPETITIONS, confidence: float = CONFIDENCE, seed: int = 0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pointwise bootstrap interval of the interquartile mean of curves (R, P), one per run.

    Whole runs are drawn, the same ones for all points.

    Returns:
        Lower and upper end, (P,) each; None with fewer than two runs.
    """
    curves = np.asarray(curves, dtype=float)
    if len(curves) < 2:
        return None
    rows = np.random.default_rng(seed).integers(len(curves), size=(repetitions, len(curves)))
    return _ends(interquartile_mean(curves[rows], axis=1), confidence)


def _ends(means: np.ndarray, confidence: float) -> Any:
    outside = 50.0 * (1.0 - confidence)
    low, high = np.percentile(means, (outside, 100.0 - outside), axis=0)
    return (float(low), float(high)) if means.ndim == 1 else (low, high)
