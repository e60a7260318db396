"""Numbers kept as logarithms: means, normalised weights, effective sample sizes.

Soft values of children **sampled** from the prior are log-*mean*-exps, of children **enumerated** with their
probabilities log-*sum*-exps of p_k exp(.). Both are one formula, a weighted log-mean-exp; ``tree.backup`` uses it
incrementally, these functions state it plainly.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


def log_mean_exp(log_values: Float[np.ndarray, "... n"]) -> Float[np.ndarray, ...]:
    """log( (1/n) sum_i exp(a_i) ) over the last axis; -inf where all are -inf. Raises ValueError for n = 0."""
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
    """V = (1/lambda) log sum_k p_k exp(lambda v_k) / sum_k p_k: exact where the p_k sum to one.

    Where they sum to less, this is the value given that the next state is one of those enumerated; the missing mass
    needs a sampled child of its own.
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
    """ESS = (sum w)^2 / sum w^2, from 1 (one sample carries all) to n (equal weights)."""
    weights = np.asarray(weights, dtype=float)
    return float(weights.sum() ** 2 / np.square(weights).sum())
