"""How sure a figure is when examples come in clusters: windows of one subject, questions on one record.

Rows of one source are alike, so that n of them tell less than n. Errors here are of the sources: drawing other ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped
from scipy.special import stdtrit


class Estimate(NamedTuple):
    """A figure and its standard error; NaN where there are fewer than two clusters."""

    value: float
    standard_error: float
    clusters: int

    def half_width(self, level: float = 0.95) -> float:
        """Of the interval of that level around the value: Student's t, one degree less than there are clusters.

        NaN without a standard error.
        """
        if self.clusters < 2 or not np.isfinite(self.standard_error):
            return float("nan")
        return float(stdtrit(self.clusters - 1, (1 + level) / 2) * self.standard_error)


def clustered_mean(values: Sequence[float] | Shaped[np.ndarray, " n"], sources: Sequence[str]) -> Estimate:
    """The mean of n values, and its error from G clusters,

        se^2 = G/(G-1) sum_g (sum_{i in g} (x_i - mean))^2 / n^2     (Liang & Zeger 1986; CR1).

    With clusters of one it is the usual standard error. Raises ValueError if values and sources differ in number.
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
    """Mean of ours minus theirs on the same examples; what both find hard cancels."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} values cannot be paired with {len(theirs)}; both must be of the same examples")
    return clustered_mean(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64), sources)


def clustered_statistic(
    statistic: Callable[[Int[np.ndarray, " k"]], float], sources: Sequence[str], max_groups: int = 200
) -> Estimate:
    """Any figure of a set of rows (macro-F1, kappa, corpus BLEU) with its jackknife error over clusters,

        se^2 = (G-1)/G sum_g (theta_(-g) - mean theta)^2,      theta_(-g): all rows but those of group g.

    A group is a cluster, or, of more than ``max_groups``, as many clusters as make that number of groups.

    Args:
        statistic: of the numbers of the rows that are in.
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
        raise ValueError(f"{n} values have {len(sources)} sources; give each value the source that it is from")
    of_source: dict[str, list[int]] = {}
    for i, source in enumerate(sources):
        of_source.setdefault(str(source), []).append(i)
    return [np.array(rows) for rows in of_source.values()]
