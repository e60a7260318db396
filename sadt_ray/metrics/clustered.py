"""Standard errors for examples in clusters, such as windows of one subject or questions on one record.

Examples of one source are correlated, so the errors here are those of a new draw of sources, not of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """A figure and its standard error, which is NaN for fewer than two clusters."""

    value: float
    standard_error: float
    clusters: int

    def half_width(self, level: float = 0.95) -> float:
        """Half width of the confidence interval, by Student's t with (number of clusters - 1) degrees of freedom.

        NaN without a standard error.
        """
        if self.clusters < 2 or not np.isfinite(self.standard_error):
            return float("nan")
        return float(stdtrit(self.clusters - 1, (1 + level) / 2) * self.standard_error)


def clustered_mean(values: Sequence[float] | Shaped[np.ndarray, " n"], sources: Sequence[str]) -> Estimate:
    """The mean of n values, and its standard error from G clusters,

        se^2 = G/(G-1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2     (Liang & Zeger 1986; CR1).

    For clusters of size one it is the usual standard error.

    Args:
        values: the values.
        sources: cluster of each value.

    Raises ValueError if values and sources differ in number, or there are none.
    """
    x = np.asarray(values, np.float64)
    rows = _rows_by_cluster(sources, len(x))
    mean = float(x.mean())
    if len(rows) < 2:
        return Estimate(mean, float("nan"), len(rows))
    sums = np.array([np.sum(x[of_cluster] - mean) for of_cluster in rows])
    se = np.sqrt(len(rows) / (len(rows) - 1) * np.sum(sums**2)) / len(x)
    return Estimate(mean, float(se), len(rows))


def paired_difference(
    ours: Sequence[float] | Shaped[np.ndarray, " n"],
    theirs: Sequence[float] | Shaped[np.ndarray, " n"],
    sources: Sequence[str],
) -> Estimate:
    """Mean of ours minus theirs on the same examples. The difficulty of an example cancels."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values cannot be paired with {len(theirs)}; both must be of the same examples")
    return clustered_mean(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64), sources)


def clustered_statistic(
    statistic: Callable[[Int[np.ndarray, " k"]], float], sources: Sequence[str], max_groups: int = 200
) -> Estimate:
    """Any statistic of a set of rows (macro-F1, kappa, corpus BLEU), and its jackknife error over clusters,

        se^2 = (G-1)/G sum_g (theta_(-g) - mean theta)^2,      theta_(-g): all rows but those of group g.

    A group is one cluster. If there are more than ``max_groups`` clusters, they are divided into ``max_groups`` groups.

    Args:
        statistic: function of the row numbers that are included.
        sources: cluster of each row.
        max_groups: largest number of groups.
    """
    rows = _rows_by_cluster(sources, len(sources))
    every = np.arange(len(sources))
    value = float(statistic(every))
    if len(rows) < 2:
        return Estimate(value, float("nan"), len(rows))
    order = np.random.default_rng(0).permutation(len(rows))
    groups = [np.concatenate([rows[i] for i in of_group]) for of_group in _parts(order, max_groups)]
    without = np.array([statistic(np.delete(every, of_group)) for of_group in groups])
    se = np.sqrt((len(groups) - 1) / len(groups) * np.sum((without - without.mean()) ** 2))
    return Estimate(value, float(se), len(rows))


def _parts(order: Int[np.ndarray, " n"], parts: int) -> list[Int[np.ndarray, " k"]]:
    return np.array_split(order, min(parts, len(order)))


def _rows_by_cluster(sources: Sequence[str], n: int) -> list[Int[np.ndarray, " k"]]:
    if len(sources) != n or n == 0:
        raise ValueError(f"{n} values have {len(sources)} sources; give one source per value")
    of_source: dict[str, list[int]] = {}
    for i, source in enumerate(sources):
        of_source.setdefault(str(source), []).append(i)
    return [np.array(rows) for rows in of_source.values()]
