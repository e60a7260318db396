"""Distances between two sets of weighted samples, and between probability vectors.

The distances between samples are V-statistics: distances between the weighted empirical distributions. They are zero
only if both are the same. They are larger for fewer samples, so they also measure diversity.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from sadt_ray.metrics.scores import mean_distance
from sadt_ray.metrics.shapes import checked_weights


def energy_distance(
    x: Float[np.ndarray, "n time"],
    y: Float[np.ndarray, "m time"],
    x_weights: Float[np.ndarray, " n"] | None = None,
    y_weights: Float[np.ndarray, " m"] | None = None,
) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| in the Euclidean norm over time (Szekely & Rizzo 2013), units of the samples.

    In one dimension it is the square of ``scipy.stats.energy_distance``. It is mostly sensitive to diversity; report it
    together with ``log_psd_energy_distance``. O(n m time). Raises ValueError with the shapes if they do not fit.
    """
    x, y, v, w = _pair(x, y, x_weights, y_weights)
    return 2.0 * mean_distance(x, y, v, w) - mean_distance(x, x, v, v) - mean_distance(y, y, w, w)


def log_psd_energy_distance(
    x: Float[np.ndarray, "n time"],
    y: Float[np.ndarray, "m time"],
    x_weights: Float[np.ndarray, " n"] | None = None,
    y_weights: Float[np.ndarray, " m"] | None = None,
    *,
    nperseg: int = 48,
    eps: float = 1e-4,
) -> float:
    """Energy distance between the samples' Welch log-PSDs, in nats. It is mostly sensitive to the spectrum."""
    from sadt_ray.metrics.spectra import log_psd

    return energy_distance(log_psd(x, nperseg, eps), log_psd(y, nperseg, eps), x_weights, y_weights)


def mmd_rbf(
    x: Float[np.ndarray, "n time"],
    y: Float[np.ndarray, "m time"],
    bandwidth: float,
    x_weights: Float[np.ndarray, " n"] | None = None,
    y_weights: Float[np.ndarray, " m"] | None = None,
) -> float:
    """Squared maximum mean discrepancy with the kernel exp(-|x - y|^2 / (2 bandwidth^2)); between 0 and 2.

    E k(X, X') + E k(Y, Y') - 2 E k(X, Y) (Gretton et al. 2012). Raises ValueError with the shapes if they do not fit.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, in the units of the samples, got {bandwidth}")
    x, y, v, w = _pair(x, y, x_weights, y_weights)

    def kernel(a: np.ndarray, b: np.ndarray, p: np.ndarray, q: np.ndarray) -> float:
        return float(p @ np.exp(-cdist(a, b, "sqeuclidean") / (2.0 * bandwidth**2)) @ q)

    return kernel(x, x, v, v) + kernel(y, y, w, w) - 2.0 * kernel(x, y, v, w)


def total_variation(p: Float[np.ndarray, " k"], q: Float[np.ndarray, " k"]) -> float:
    """1/2 sum_k |p_k - q_k|: the largest difference in probability over all events, between 0 and 1.

    Raises ValueError unless both are probability vectors of the same length.
    """
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.ndim != 1 or p.shape != q.shape:
        raise ValueError(f"total variation compares two probability vectors of one length, got {p.shape} and {q.shape}")
    for name, vector in (("p", p), ("q", q)):
        if np.any(vector < 0) or not np.isclose(vector.sum(), 1.0, atol=1e-6):
            raise ValueError(f"{name} must be non-negative and sum to one, its sum is {vector.sum():.6g}")
    return float(0.5 * np.abs(p - q).sum())


def _pair(
    x: np.ndarray, y: np.ndarray, x_weights: np.ndarray | None, y_weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be [samples, time] with the same time, got {x.shape} and {y.shape}")
    return x, y, checked_weights(x, x_weights, "x"), checked_weights(y, y_weights, "y")
