"""Calibration: does the confidence of answers agree with their accuracy?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Reliability(NamedTuple):
    """Confidence and accuracy of answers in bins of equal width; NaN in an empty bin."""

    edges: Float[np.ndarray, " bins+1"]
    counts: Int[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]  # mean confidence
    accuracy: Float[np.ndarray, " bins"]  # share of correct answers


def reliability(
    confidence: Sequence[float] | Float[np.ndarray, " n"], correct: Sequence[bool] | np.ndarray, num_bins: int = 10
) -> Reliability:
    """Accuracy of answers by confidence. Raises ValueError for confidences outside 0..1 or lists of two lengths."""
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if sure.shape != right.shape or sure.ndim != 1 or not len(sure):
        raise ValueError(f"confidences {sure.shape} and answers {right.shape} must be two lists of the same length")
    if not ((sure >= -1e-9) & (sure <= 1 + 1e-9)).all():
        raise ValueError(f"confidences are probabilities, got {sure.min():.3g} to {sure.max():.3g}")
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    which = np.clip(np.digitize(sure, edges) - 1, 0, num_bins - 1)
    counts = np.bincount(which, minlength=num_bins)
    filled = np.where(counts > 0, counts, np.nan)
    sums = (np.bincount(which, weights=x, minlength=num_bins) for x in (sure, right))
    mean_confidence, share_right = (total / filled for total in sums)
    return Reliability(edges, counts, mean_confidence, share_right)


def calibration_error(bins: Reliability) -> float:
    """ECE = sum_b n_b/n |accuracy_b - confidence_b| (Naeini et al. 2015). Biased upwards for bins with few answers."""
    gaps = np.nan_to_num(np.abs(bins.accuracy - bins.confidence))
    return float(np.sum(bins.counts * gaps) / bins.counts.sum())


def brier_score(probabilities: Sequence[Mapping[str, float]], truths: Sequence[str]) -> float:
    """Mean of sum_k (p_k - 1[k is true])^2, between 0 and 2; a proper score (Brier 1950).

    If the probabilities of a question sum to less than one, the rest is the probability of "no answer".
    """
    scores = []
    for given, truth in zip(probabilities, truths, strict=True):
        missing = max(1.0 - sum(given.values()), 0.0)
        others = sum(p**2 for name, p in given.items() if name != truth)
        scores.append((given.get(truth, 0.0) - 1.0) ** 2 + others + missing**2)
    return float(np.mean(scores))
