"""Numbers in log space: means, normalised weights, effective sample sizes.

The soft value of children **sampled** from the prior is a log-*mean*-exp. For children **enumerated** with their
probabilities it is a log-*sum*-exp of p_k exp(.). Both are a weighted log-mean-exp. ``tree.backup`` computes it
incrementally; the functions here are the direct form.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


def log_mean_exp(log_values: Float[np.ndarray, "... n"]) -> Float[np.ndarray, ...]:
    """log( (1/n) sum_i exp(a_i) ) over the last axis; -inf if all values are -inf. Raises ValueError for n = 0."""
    n = np.shape(log_values)[-1]
    if n == 0:
        raise ValueError("log_mean_exp of no values is undefined")
    return logsumexp(log_values, axis=-1) - np.log(n)


def soft_backup_sampled(values: Float[np.ndarray, "... n"], lam: float) -> Float[np.ndarray, ...]:
    """V = (1/lambda) log (1/n) sum_i exp(lambda v_i), children sampled from the prior (DTS, arXiv 2506.20701)."""
    return log_mean_exp(lam * np.asarray(values, dtype=float)) / lam


def soft_backup_enumerated(
    values: Float[np.ndarray, "... n"], log_probs: Float[np.ndarray, "... n"], lam: float
) -> Float[np.ndarray, ...]:
    """V = (1/lambda) log sum_k p_k exp(lambda v_k) / sum_k p_k. It is exact if the p_k sum to one.

    If they sum to less, it is the value given that the next state is one of the enumerated ones. The remaining
    probability then needs a sampled child.
    """
    log_probs = np.asarray(log_probs, dtype=float)
    return (logsumexp(log_probs + lam * np.asarray(values), axis=-1) - logsumexp(log_probs, axis=-1)) / lam


def normalised(log_weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Weights that sum to one. Raises ValueError if every weight is zero or one is NaN or infinite."""
    log_weights = np.asarray(log_weights, dtype=float)
    top = np.max(log_weights, initial=-np.inf)
    if not np.isfinite(top):
        raise ValueError(f"cannot normalise log-weights whose largest is {top}")
    weights = np.exp(log_weights - top)
    return weights / weights.sum()


def effective_sample_size(weights: Float[np.ndarray, " n"]) -> float:
    """ESS = (sum w)^2 / sum w^2, from 1 (one sample has all the weight) to n (equal weights)."""
    weights = np.asarray(weights, dtype=float)
    return float(weights.sum() ** 2 / np.square(weights).sum())
