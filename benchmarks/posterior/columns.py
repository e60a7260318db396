"""The columns of a benchmark's table: how far a search's weighted samples are from the gold.

ED and edp here are the squared energy distance between the weighted empirical measure itself and the posterior,

    2 E|X - Y| - E|X - X'| - E|Y - Y'|,    X, X' from the samples, Y, Y' from the posterior.

Pairs of a sample with itself count, as in ``metrics.energy_distance``: few or uneven samples are far from any
distribution, which is what makes ED measure diversity. Pairs of a *gold* sample with itself do not (a U-statistic):
the gold is finite only because the posterior cannot be written down. Of n independent draws from the posterior itself
the distance is E|Y - Y'| / n in expectation, not 0: ``self_check`` prints it for the gold's own replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from benchmarks.posterior.gold import Gold
from sadt_ray.interfaces import Problem
from sadt_ray.metrics import crps, log_spectral_distance, spec_w1
from sadt_ray.metrics.spectra import log_psd
from sadt_ray.tree.samples import WeightedSamples

_MOST = 2_000  # samples that distances are computed of
_SEGMENT, _EPS = 48, 1e-4  # of log-PSDs, as in the spectral reward


class PosteriorQuality(NamedTuple):
    """One search of one problem against the gold.

    ``crps`` is fair (``metrics.crps``) and, like ``spec_w1`` and ``log_spectral_distance`` (from the context's
    spectrum), does not look at the gold: a forecast can be good and far from the posterior.
    """

    reward_bias: float  # weighted mean reward - E[r], signed
    log_z_error: float  # signed
    ed: float  # in the units of the data, standardised
    edp: float  # of log-PSDs, nats
    ess: float
    root_ess: float
    crps: float
    spec_w1: float  # cycles per sample
    log_spectral_distance: float  # nats


class Target:
    """A problem and its gold, with what all comparisons share computed once.

    Raises ValueError for a problem whose truth is not known.
    """

    def __init__(self, problem: Problem, gold: Gold) -> None:
        if problem.truth is None:
            raise ValueError(f"problem {problem.name!r} has no truth, and so no CRPS; use a window of the past")
        self.problem, self.gold = problem, gold
        self.samples = np.asarray(gold.samples, dtype=float)
        self.log_psds = log_psd(self.samples, _SEGMENT, _EPS)
        self.spread = mean_distance_of_pairs(self.samples)
        self.log_psd_spread = mean_distance_of_pairs(self.log_psds)


def judge(found: WeightedSamples, target: Target) -> PosteriorQuality:
    """All columns of one search. Of more than 2,000 samples, distances are of a systematic draw of 2,000."""
    truth, context = np.asarray(target.problem.truth), target.problem.context
    samples = np.asarray(found.samples, dtype=float)
    few, weights = thinned(samples, found.weights)
    return PosteriorQuality(
        reward_bias=found.mean_reward() - target.gold.mean_reward,
        log_z_error=found.log_z - target.gold.log_z,
        ed=distance(few, weights, target.samples, target.spread),
        edp=distance(log_psd(few, _SEGMENT, _EPS), weights, target.log_psds, target.log_psd_spread),
        ess=found.ess,
        root_ess=found.root_ess,
        crps=float(crps(samples, truth, found.weights)),
        spec_w1=float(spec_w1(samples, context, found.weights)),
        log_spectral_distance=float(log_spectral_distance(samples, context, found.weights)),
    )


def thinned(
    samples: Float[np.ndarray, "n W"], weights: Float[np.ndarray, " n"], most: int = _MOST
) -> tuple[Float[np.ndarray, "m W"], Float[np.ndarray, " m"]]:
    """At most ``most`` of the weighted samples, the same ones every time.

    Samples of weight zero go first. Of what is left, if it is too many, those at the weight quantiles (i + 1/2) / most
    in order of arrival: a systematic draw without its random start. A sample hit k times keeps weight k / most.
    """
    held = weights > 0
    samples, weights = samples[held], weights[held]
    if len(weights) <= most:
        return samples, weights
    ends = np.cumsum(weights)
    hits = np.searchsorted(ends / ends[-1], (np.arange(most) + 0.5) / most)
    rows, counts = np.unique(hits, return_counts=True)
    return samples[rows], counts / most


def as_found(gold: Gold) -> WeightedSamples:
    """Gold in the form of a search's samples, to be judged by other gold."""
    n = len(gold.rewards)
    return WeightedSamples(gold.samples, np.full(n, 1 / n), gold.rewards, np.full(n, gold.nfe), gold.log_z, float(n))


def self_check(problem: Problem, replicates: Sequence[Gold]) -> PosteriorQuality:
    """The first replicate judged by the second: the noise floor of every column. The mean reward is the exact one."""
    quality = judge(as_found(replicates[0]), Target(problem, replicates[1]))
    return quality._replace(reward_bias=replicates[0].mean_reward - replicates[1].mean_reward)


class Paired(NamedTuple):
    """Two methods on the same problems: mean of a - b, its standard error, and in how many of n a is smaller."""

    mean: float
    se: float
    wins: int
    n: int


def paired(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> Paired:
    """Compare two columns problem by problem; lower is better, so give magnitudes of what has a sign.

    Raises ValueError unless both have the same length, at least 2.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"paired compares two columns of the same problems, at least 2, got {a.shape} and {b.shape}")
    difference = a - b
    se = float(difference.std(ddof=1) / np.sqrt(len(a)))
    return Paired(float(difference.mean()), se, int(np.sum(difference < 0)), len(a))


def distance(x: np.ndarray, weights: np.ndarray, gold: np.ndarray, gold_spread: float) -> float:
    between = _distances(x, gold).mean(1) @ weights
    return float(2.0 * between - weights @ _distances(x, x) @ weights - gold_spread)


def mean_distance_of_pairs(x: np.ndarray) -> float:
    """E|Y - Y'| over pairs of different samples."""
    return float(_distances(x, x).sum() / (len(x) * (len(x) - 1)))


def _distances(x: Float[np.ndarray, "n W"], y: Float[np.ndarray, "m W"]) -> Float[np.ndarray, "n m"]:
    """Euclidean, by a matrix product: five times as fast as scipy's, and exact to 1e-6 of the samples' norm."""
    distances: np.ndarray = torch.cdist(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    return distances
