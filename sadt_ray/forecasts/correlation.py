"""The correlation R of the scores of a forecast: how its time steps and its series move together.

A forecast of quantiles says nothing about dependence. R supplies it. The scores z of the C series and T steps of one
sample, series after series, are N(0, R). R comes from samples, from past forecasts and their outcomes, from the history
of the series, or from an assumption. Estimates are shrunk: of n scores from m observations

    R = (1 - w) r + w t,    w = sum_{i != j} Var(r_ij) / sum_{i != j} (r_ij - t_ij)^2,  between 0 and 1,

where r is the sample correlation and t a target (Schaefer & Strimmer, *A shrinkage approach to large-scale covariance
matrix estimation*, Stat. Appl. Genet. Mol. Biol. 4, 2005, eq. 8 and section 2.4, after Ledoit & Wolf 2003). The
variance of r_ij is that of the mean of the m products of standardised scores. The error of the target is neglected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import linalg, special, stats

_SMALLEST_EIGENVALUE = 1e-6
_LARGEST_SCORE = 6.0  # an outcome far outside its forecast must not decide the correlation alone
TARGETS = ("stationary", "identity")


@dataclass(frozen=True, eq=False)
class Correlation:
    """Correlation matrices of the scores of C series over T steps, for all items or for each.

    Attributes:
        matrix: R, [n, n] for all items or [N, n, n], n = C T. Unit diagonal, positive definite.
        how: where it comes from, for people to read.
    """

    matrix: Float[np.ndarray, "... n n"]
    how: str

    @property
    def size(self) -> int:
        """n, the number of scores of one sample."""
        return int(self.matrix.shape[-1])

    def axes(self) -> tuple[Float[np.ndarray, "*N n"], Float[np.ndarray, "*N n n"]]:
        """Standard deviations s along the principal axes, the largest first, and the axes V: R = V diag(s^2) V^T."""
        variances, axes = np.linalg.eigh(self.matrix)
        return np.sqrt(np.maximum(variances, _SMALLEST_EIGENVALUE))[..., ::-1], axes[..., ::-1]


def independent(series: int, steps: int) -> Correlation:
    """No dependence at all. Sums over many steps are then far too certain."""
    return Correlation(np.eye(series * steps), "independent steps")


def ar1(rho: float, steps: int, between: Float[np.ndarray, "C C"] | float = 0.0, series: int = 1) -> Correlation:
    """R_(c,t),(d,u) = B_cd rho^|t - u|, the correlation of a first-order autoregression.

    Args:
        rho: correlation of neighbouring steps, between -1 and 1.
        steps: T.
        between: correlation B between series, a matrix or one number for every pair.
        series: C; known already from a matrix ``between``.

    Raises:
        ValueError: for a ``rho`` outside (-1, 1), or a ``between`` that is no correlation.
    """
    if not -1 < rho < 1:
        raise ValueError(f"rho is {rho}; the correlation of neighbouring steps must lie between -1 and 1")
    if isinstance(between, np.ndarray):
        pairs = between
    else:
        pairs = np.full((series, series), between) + (1 - between) * np.eye(series)
    pairs = given(pairs, len(pairs), what="correlation between series").matrix
    within = float(rho) ** np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    across = "" if len(pairs) == 1 else f", between series {_range_of(pairs)}"
    return Correlation(_positive(np.kron(pairs, within)), f"AR(1) with rho {rho:g}{across}")


def given(matrix: Float[np.ndarray, "*N n n"], size: int, what: str = "correlation") -> Correlation:
    """A matrix of your own, for all items or one each; eigenvalues that rounding made negative are clipped.

    Raises:
        ValueError: if it has another size, is not symmetric, has no unit diagonal, or is not positive semidefinite.
    """
    matrix = np.asarray(matrix, float)
    if matrix.ndim not in (2, 3) or matrix.shape[-2:] != (size, size):
        raise ValueError(f"the {what} has shape {matrix.shape}; it must be [{size}, {size}]: series times steps")
    for bad, problem, remedy in (
        (~np.isfinite(matrix), "not a number", "fill it in"),
        (np.abs(matrix) > 1 + 1e-9, "not between -1 and 1", "divide a covariance by both standard deviations"),
        (np.abs(matrix - matrix.swapaxes(-1, -2)) > 1e-8, "not the entry across the diagonal", "make it symmetric"),
        ((np.abs(matrix - 1) > 1e-8) & np.eye(size, dtype=bool), "not 1 on the diagonal", "divide by the variances"),
    ):
        if bad.any():
            where = tuple(int(index) for index in np.argwhere(bad)[0])
            raise ValueError(f"entry {list(where)} of the {what} is {matrix[where]:g}, {problem}; {remedy}")
    smallest = float(np.linalg.eigvalsh(matrix).min())
    if smallest < -1e-6 * size:
        raise ValueError(
            f"the {what} is not positive semidefinite: its smallest eigenvalue is {smallest:g}; estimate it from "
            "complete observations, or shrink it towards the identity"
        )
    return Correlation(_positive(matrix), "given")


def from_samples(samples: Float[np.ndarray, "*N m C T"], target: str = "stationary") -> Correlation:
    """From m samples of each item, [N, m, C, T]; or of all items, [m, C, T].

    Ranks at each step become normal scores, so that the marginal laws do not matter. A step without variation is
    uncorrelated with the others.
    """
    samples = np.asarray(samples, float)
    ranks = stats.rankdata(samples, axis=-3)
    scores = special.ndtri((ranks - 0.5) / samples.shape[-3])
    if scores.ndim == 3:
        return from_scores(scores, target, f"from {len(scores)} samples")
    each = [from_scores(item, target) for item in scores]
    return Correlation(np.stack([item.matrix for item in each]), f"from {samples.shape[-3]} samples of each item")


def from_scores(scores: Float[np.ndarray, "m C T"], target: str = "stationary", how: str = "") -> Correlation:
    """From the scores of m past outcomes under their forecasts (``Marginals.score``), shrunk.

    Scores are cut at +-6, and their mean and variance at each step are removed, so a biased or overconfident forecaster
    still shows its dependence.

    Args:
        scores: [m, C, T].
        target: ``stationary``, the mean of r over all pairs of steps with the same series and the same lag; or
            ``identity``.
        how: where the scores come from; by default, past outcomes.

    Raises:
        ValueError: for less than 3 observations, a score that is NaN, or an unknown target.
    """
    if target not in TARGETS:
        raise ValueError(f"there is no target {target!r}; choose one of {', '.join(TARGETS)}")
    scores = np.asarray(scores, float)
    if scores.ndim != 3 or len(scores) < 3:
        raise ValueError(f"scores have shape {scores.shape}; they must be [m, series, steps] with m of at least 3")
    if np.isnan(scores).any():
        where = np.argwhere(np.isnan(scores))[0].tolist()
        raise ValueError(f"score {where} is NaN; leave that observation out")
    count, series, steps = scores.shape
    z = np.clip(scores, -_LARGEST_SCORE, _LARGEST_SCORE).reshape(count, -1)
    z = z - z.mean(0)
    sd = z.std(0)
    z = np.divide(z, sd, out=np.zeros_like(z), where=sd > 1e-12)
    r = z.T @ z / count
    variance = np.maximum(np.square(z).T @ np.square(z) - count * np.square(r), 0) * count / (count - 1) ** 3
    np.fill_diagonal(r, 1.0)
    towards = np.eye(len(r)) if target == "identity" else _stationary(r, series, steps)
    off = ~np.eye(len(r), dtype=bool)
    distance = np.square(r - towards)[off].sum()
    weight = 1.0 if distance == 0 else float(np.clip(variance[off].sum() / distance, 0, 1))
    how = how or f"from {count} past outcomes"
    return Correlation(_positive((1 - weight) * r + weight * towards), f"{how}, shrunk by {weight:.2f}")


def from_residuals(residuals: Float[np.ndarray, "C L"], steps: int) -> Correlation:
    """A stationary R from one-step residuals, or any stationary errors, of C series: entries depend on the lag alone.

    The autocorrelation is that of L residuals divided by L, not by L - lag, so that R is positive semidefinite:
    R_(c,t),(d,u) = sum_s e_c,s e_d,s+u-t / sqrt(sum e_c^2 sum e_d^2).

    Raises:
        ValueError: if there are fewer than two horizons of residuals, or one is not a number or never varies.
    """
    e = np.atleast_2d(np.asarray(residuals, float))
    series, length = e.shape
    if length < 2 * steps:
        raise ValueError(f"{length} residuals are too few for {steps} steps; at least {2 * steps} are needed")
    if not np.isfinite(e).all():
        where = np.argwhere(~np.isfinite(e))[0]
        raise ValueError(f"residual {where[1]} of series {where[0]} is {e[tuple(where)]}; fill it in or leave it out")
    e = e - e.mean(1, keepdims=True)
    size = np.linalg.norm(e, axis=1)
    if (size == 0).any():
        raise ValueError(f"the residuals of series {int(size.argmin())} never vary; leave the series out")
    e = e / size[:, None]
    blocks = [[_lagged(e[c], e[d], steps) for d in range(series)] for c in range(series)]
    return Correlation(_positive(np.block(blocks)), f"stationary, from {length} residuals")


def from_history(history: Float[np.ndarray, "C L"], steps: int, season: int, target: str = "stationary") -> Correlation:
    """From how seasonal naive forecasts of the history erred: y_{o+h} - y_{o+h-k season}, over all origins o.

    ``k season`` is the shortest multiple of the season that reaches back before the origin. The errors of each step
    become normal scores. Origins overlap, so R is shrunk less than their number suggests.

    Raises:
        ValueError: if the history is too short for three origins, or has gaps.
    """
    y = np.atleast_2d(np.asarray(history, float))
    if season < 1:
        raise ValueError(f"season is {season}; it is a number of steps, such as 24 for hours with a daily cycle")
    if not np.isfinite(y).all():
        where = np.argwhere(~np.isfinite(y))[0]
        raise ValueError(f"value {where[1]} of series {where[0]} of the history is {y[tuple(where)]}; fill the gap")
    ahead = np.arange(steps)
    back = season * (ahead // season + 1)
    origins = np.arange(season, y.shape[1] - steps + 1)
    if len(origins) < 3:
        raise ValueError(
            f"a history of {y.shape[1]} steps is too short for a season of {season} and {steps} steps ahead; "
            f"at least {season + steps + 2} are needed"
        )
    rows = origins[:, None] + ahead
    errors = (y[:, rows] - y[:, rows - back]).swapaxes(0, 1)
    ranks = stats.rankdata(errors, axis=0)
    scores = special.ndtri((ranks - 0.5) / len(ranks))
    return from_scores(scores, target, f"from seasonal naive errors at {len(origins)} origins of the history")


def _lagged(e: np.ndarray, f: np.ndarray, steps: int) -> Float[np.ndarray, "T T"]:
    """Block of the correlation: the entry [t, u] is sum_s e_s f_(s + u - t)."""
    ahead = np.array([e[: len(e) - lag] @ f[lag:] for lag in range(steps)])
    behind = np.array([f[: len(f) - lag] @ e[lag:] for lag in range(steps)])
    return linalg.toeplitz(behind, ahead)


def _stationary(r: Float[np.ndarray, "n n"], series: int, steps: int) -> Float[np.ndarray, "n n"]:
    """The mean of ``r`` over entries with the same pair of series and the same lag."""
    blocks = r.reshape(series, steps, series, steps).transpose(0, 2, 1, 3)
    out = np.empty_like(blocks)
    for c in range(series):
        for d in range(series):
            lags = [np.diagonal(blocks[c, d], lag).mean() for lag in range(1 - steps, steps)]
            out[c, d] = linalg.toeplitz(lags[steps - 1 :: -1], lags[steps - 1 :])
    return _positive(out.transpose(0, 2, 1, 3).reshape(r.shape))


def _positive(matrix: Float[np.ndarray, "*N n n"]) -> Float[np.ndarray, "*N n n"]:
    """The matrix with its eigenvalues clipped from below and a unit diagonal."""
    symmetric = (matrix + matrix.swapaxes(-1, -2)) / 2
    variances, axes = np.linalg.eigh(symmetric)
    if variances.min() < _SMALLEST_EIGENVALUE:
        symmetric = (axes * np.maximum(variances, 2 * _SMALLEST_EIGENVALUE)[..., None, :]) @ axes.swapaxes(-1, -2)
    sd = np.sqrt(np.diagonal(symmetric, axis1=-2, axis2=-1))
    out = symmetric / sd[..., :, None] / sd[..., None, :]
    index = np.arange(out.shape[-1])
    out[..., index, index] = 1.0
    return out


def _range_of(matrix: Float[np.ndarray, "C C"]) -> str:
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    return f"{off.min():.2g}" if np.ptp(off) < 1e-12 else f"{off.min():.2g}..{off.max():.2g}"
