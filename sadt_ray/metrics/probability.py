"""Confidence intervals of the probability of an event."""

from __future__ import annotations

import math

from scipy import stats


def binomial_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Of P from ``hits`` among n independent samples: exact (Clopper & Pearson 1934), so it covers at least ``level``.

    Raises ValueError for hits outside 0..n, or no sample.
    """
    if not 0 <= hits <= n or n < 1:
        raise ValueError(f"{hits} hits among {n} samples; hits must be between 0 and n, and n at least 1")
    beyond = (1 - level) / 2
    low = 0.0 if hits == 0 else float(stats.beta.ppf(beyond, hits, n - hits + 1))
    high = 1.0 if hits == n else float(stats.beta.isf(beyond, hits + 1, n - hits))
    return low, high


def log_normal_interval(log_p: float, se: float, degrees: int, level: float = 0.95) -> tuple[float, float]:
    """Of P from an estimate of log P and its standard error over ``degrees + 1`` independent estimates of P.

        exp(log P -+ t se),    t the quantile of Student's law

    cut at 1. (0, 1) where the standard error is not finite.
    """
    if not math.isfinite(se) or degrees < 1:
        return 0.0, 1.0
    reach = float(stats.t.isf((1 - level) / 2, degrees)) * se
    return min(math.exp(log_p - reach), 1.0), math.exp(min(log_p + reach, 0.0))


def bound_without_hits(n: int, level: float = 0.95) -> float:
    """The largest P at which n independent samples miss with a probability of 1 - level: about 3 / n (rule of three).

    Raises ValueError without a sample.
    """
    if n < 1:
        raise ValueError(f"there must be at least one sample, got {n}")
    return -math.expm1(math.log1p(-level) / n)
