"""How far off an estimate may be, from the children of a root: independent starts, where there is one level.

Below one level they are nearly so: where the next simulation goes depends on all of them. Both standard errors are the
jackknife's, se^2 = (n - 1)/n sum_i (e_i - mean e)^2, e_i being the estimate without child i. It equals the delta method
where weights are even; where few children carry the weight, the delta method never says more than one nat, and its 95 %
interval of log Z holds the truth half as often. The jackknife is too small as well when the large weights are yet to
come: with log-normal weights of 1 / 2 / 3 nats and 128 children, 95 % intervals hold it in 93 / 81 / 63 % of cases.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp


def log_mean_se(log_values: Float[np.ndarray, " n"]) -> float:
    """Standard error of log (1/n) sum_i exp(a_i), in nats; infinite with fewer than two finite a_i."""
    log_values = np.asarray(log_values, float)
    if np.isfinite(log_values).sum() < 2:
        return np.inf
    top = int(np.argmax(log_values))
    weights = np.exp(log_values - log_values[top])
    others = np.delete(log_values, top)
    without = np.log(np.delete(weights.sum() - weights, top))
    return _jackknife(np.append(without, logsumexp(others) - log_values[top]))


def weighted_mean_se(shares: Float[np.ndarray, " n"], means: Float[np.ndarray, " n"]) -> float:
    """Standard error of sum_i s_i m_i / sum_i s_i, children of shares s_i with means m_i within them.

    Infinite where fewer than two children have a share, or one that has a share has no finite mean.
    """
    held = shares > 0
    if held.sum() < 2 or not np.isfinite(means[held]).all():
        return np.inf
    top = int(np.argmax(shares))
    weighted = shares * (np.where(held, means, 0.0) - means[top])  # 0 for the top child itself
    rest = shares.sum() - shares
    rest[top] = np.delete(shares, top).sum()
    return _jackknife((weighted.sum() - weighted) / rest)


def _jackknife(without_each: Float[np.ndarray, " n"]) -> float:
    n = len(without_each)
    return float(np.sqrt((n - 1) / n * np.square(without_each - without_each.mean()).sum()))
