"""Quantiles of weighted samples, and coverage and width of intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from sadt_ray.metrics.shapes import checked, checked_weights


def quantiles(
    samples: Float[np.ndarray, "*batch samples time"],
    levels: Sequence[float] | Float[np.ndarray, " levels"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
) -> Float[np.ndarray, "*batch levels time"]:
    """Weighted quantiles, interpolated between samples.

    The sample of rank i is at the probability C_i - w_i/2, where C_i is its cumulative weight. Level p is read at
    1/2 + (p - 1/2)(n + 1)/n, where n is the effective sample size, clipped to 1/(2n)..1 - 1/(2n). For equal weights
    this is numpy's ``method="weibull"``. It is the only definition for which an interval between two quantiles of n
    exchangeable draws covers the next draw with its nominal probability. (numpy's default covers 88.2 % instead of 90 %
    at n = 100.) A sample of vanishing weight has a vanishing effect, even if it is an outlier.

    Args:
        samples: the samples.
        levels: probabilities between 0 and 1.
        weights: weights that sum to one over the samples; None for equal weights.

    Raises ValueError for levels outside 0..1 and shapes that do not fit.
    """
    samples = np.asarray(samples, dtype=float)
    weights = checked_weights(samples, weights)
    levels = np.asarray(levels, dtype=float)
    if levels.ndim != 1 or np.any((levels < 0) | (levels > 1)):
        raise ValueError(f"levels must be a list of probabilities between 0 and 1, got {levels}")
    out = np.empty((*samples.shape[:-2], len(levels), samples.shape[-1]))
    for at in np.ndindex(samples.shape[:-2]):
        kept = weights[at] > 0
        x, w = samples[at][kept], weights[at][kept]
        order = np.argsort(x, axis=0)
        n = 1.0 / np.sum(w * w)
        where = np.clip(0.5 + (levels - 0.5) * (n + 1) / n, 0.5 / n, 1 - 0.5 / n)
        for t in range(x.shape[1]):
            mass = w[order[:, t]]
            out[*at, :, t] = np.interp(where, np.cumsum(mass) - 0.5 * mass, x[order[:, t], t])
    return out


def coverage(
    samples: Float[np.ndarray, "*batch samples time"],
    truth: Float[np.ndarray, "*batch time"],
    level: float = 0.9,
    weights: Float[np.ndarray, "*batch samples"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """Share of the time points at which the central interval of probability ``level`` contains the truth."""
    samples, truth, weights = checked(samples, truth, weights)
    interval = _central(samples, level, weights)
    return np.asarray(np.mean((interval[..., 0, :] <= truth) & (truth <= interval[..., 1, :]), axis=-1))


def interval_width(
    samples: Float[np.ndarray, "*batch samples time"],
    level: float = 0.9,
    weights: Float[np.ndarray, "*batch samples"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """Width of the central interval of probability ``level``, averaged over time: the sharpness of a forecast."""
    interval = _central(np.asarray(samples, dtype=float), level, weights)
    return np.asarray(np.mean(interval[..., 1, :] - interval[..., 0, :], axis=-1))


def _central(samples: np.ndarray, level: float, weights: np.ndarray | None) -> Float[np.ndarray, "*batch 2 time"]:
    if not 0 < level < 1:
        raise ValueError(f"level is the probability of the interval, between 0 and 1, got {level}")
    return quantiles(samples, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], weights)
