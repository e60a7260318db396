"""Checks of the shapes and weights that the metrics expect."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def checked_weights(
    samples: np.ndarray, weights: np.ndarray | None, name: str = "samples"
) -> Float[np.ndarray, "*batch samples"]:
    """Check weights [..., samples] that sum to one; None gives equal weights. Raises ValueError with the bad value."""
    if samples.ndim < 2 or samples.shape[-2] == 0:
        raise ValueError(f"{name} must be [..., samples, time] with at least one sample, got shape {samples.shape}")
    if weights is None:
        return np.full(samples.shape[:-1], 1.0 / samples.shape[-2])
    weights = np.asarray(weights, dtype=float)
    if weights.shape != samples.shape[:-1]:
        raise ValueError(
            f"weights must have one entry per sample: {name} {samples.shape} need weights {samples.shape[:-1]}, "
            f"got {weights.shape}"
        )
    totals = weights.sum(-1)
    if np.any(weights < 0) or not np.allclose(totals, 1.0, atol=1e-6):
        raise ValueError(
            f"weights must be non-negative and sum to one over the samples, got sums {totals.min():.6g} to "
            f"{totals.max():.6g} and a smallest weight of {weights.min():.3g}; see logspace.normalised"
        )
    return weights


def checked(
    samples: np.ndarray, truth: np.ndarray, weights: np.ndarray | None
) -> tuple[
    Float[np.ndarray, "*batch samples time"], Float[np.ndarray, "*batch time"], Float[np.ndarray, "*batch samples"]
]:
    """Convert samples, truth and weights to arrays of doubles. Raises ValueError with the shapes if they do not fit."""
    samples, truth = np.asarray(samples, dtype=float), np.asarray(truth, dtype=float)
    weights = checked_weights(samples, weights)
    if truth.shape != samples.shape[:-2] + samples.shape[-1:]:
        raise ValueError(
            f"truth must be [..., time]: samples {samples.shape} need a truth of shape "
            f"{samples.shape[:-2] + samples.shape[-1:]}, got {truth.shape}"
        )
    return samples, truth, weights


def distinct_pairs(weights: Float[np.ndarray, "*batch samples"]) -> Float[np.ndarray, "*batch"]:
    """Total weight of pairs of different samples, 1 - sum w_i^2; 1 if one sample has all the weight.

    Fair estimators divide a sum over pairs by it. A single sample has no pairs, so its sum is zero and the divisor does
    not matter.
    """
    mass = np.sum(weights * (1.0 - weights), axis=-1)
    return np.where(mass > 1e-12, mass, 1.0)
