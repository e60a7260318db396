"""Scores of a forecast against the truth: CRPS, energy score, squared and absolute error. Lower is better.

CRPS and energy score are *fair*: they leave out pairs of a sample with itself, so the expected score of n samples does
not depend on n (Ferro 2014, doi:10.1002/qj.2270). With weights,

    S = sum_i w_i |x_i - y|  -  1/2 sum_{i != j} w_i w_j |x_i - x_j| / (1 - sum_i w_i^2).

The plain estimator divides by one and is too large by E|X - X'| / (2 ESS). At an effective sample size of 50 this is
more than the differences between methods.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from sadt_ray.metrics.intervals import quantiles
from sadt_ray.metrics.shapes import checked, distinct_pairs

_ROWS = 1024  # rows of a distance matrix held at a time


def crps(
    samples: Float[np.ndarray, "*batch samples time"],
    truth: Float[np.ndarray, "*batch time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
    *,
    fair: bool = True,
) -> Float[np.ndarray, "*batch"]:
    """Continuous ranked probability score (CRPS), averaged over time, in the units of the samples.

    O(n log n): over sorted samples sum_ij w_i w_j |x_i - x_j| = 2 sum_i w_i x_(i) (C_i + C_{i-1} - 1), where C_i is
    the cumulative weight. A single sample scores its absolute error. Raises ValueError on shapes that do not fit.
    """
    samples, truth, weights = checked(samples, truth, weights)
    error = np.sum(weights[..., None] * np.abs(samples - truth[..., None, :]), axis=-2)
    order = np.argsort(samples, axis=-2)
    ranked = np.take_along_axis(samples, order, axis=-2)
    mass = np.take_along_axis(np.broadcast_to(weights[..., None], samples.shape), order, axis=-2)
    spread = 2.0 * np.sum(mass * ranked * (2.0 * np.cumsum(mass, axis=-2) - mass - 1.0), axis=-2)
    pairs = distinct_pairs(weights)[..., None] if fair else 1.0
    return np.asarray(np.mean(error - 0.5 * spread / pairs, axis=-1))


def energy_score(
    samples: Float[np.ndarray, "*batch samples time"],
    truth: Float[np.ndarray, "*batch time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
    *,
    fair: bool = True,
) -> Float[np.ndarray, "*batch"]:
    """Energy score: the CRPS with the Euclidean norm over time in place of |.| (Gneiting & Raftery 2007, eq. 22).

    Unlike the CRPS it depends on the dependence between hours. O(n^2 time). Raises ValueError on shapes that do not
    fit.
    """
    samples, truth, weights = checked(samples, truth, weights)
    pairs = distinct_pairs(weights) if fair else np.ones(weights.shape[:-1])
    scores = np.empty(samples.shape[:-2])
    for at in np.ndindex(scores.shape):
        error = weights[at] @ np.linalg.norm(samples[at] - truth[at], axis=-1)
        scores[at] = error - 0.5 * mean_distance(samples[at], samples[at], weights[at], weights[at]) / pairs[at]
    return scores


def mean_distance(
    x: Float[np.ndarray, "n time"],
    y: Float[np.ndarray, "m time"],
    x_weights: Float[np.ndarray, " n"],
    y_weights: Float[np.ndarray, " m"],
) -> float:
    """sum_ij v_i w_j |x_i - y_j| in the Euclidean norm, computed in blocks of rows."""
    blocks = range(0, len(x), _ROWS)
    return float(sum(x_weights[i : i + _ROWS] @ (cdist(x[i : i + _ROWS], y) @ y_weights) for i in blocks))


def mse(
    samples: Float[np.ndarray, "*batch samples time"],
    truth: Float[np.ndarray, "*batch time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """Squared error of the weighted mean, the point forecast that minimises it, averaged over time (squared units)."""
    samples, truth, weights = checked(samples, truth, weights)
    mean = np.sum(weights[..., None] * samples, axis=-2)
    return np.asarray(np.mean(np.square(mean - truth), axis=-1))


def mae(
    samples: Float[np.ndarray, "*batch samples time"],
    truth: Float[np.ndarray, "*batch time"],
    weights: Float[np.ndarray, "*batch samples"] | None = None,
) -> Float[np.ndarray, "*batch"]:
    """Absolute error of the weighted median, the point forecast that minimises it, averaged over time."""
    samples, truth, weights = checked(samples, truth, weights)
    median = quantiles(samples, [0.5], weights)[..., 0, :]
    return np.asarray(np.mean(np.abs(median - truth), axis=-1))
