"""The second-opinion reward: tilt a forecast towards what other forecasts say, without narrowing it.

r(x_0) = weight * mean_j (Q f_j - Q p)' S^-1 Q (x_0 - p), the log-likelihood ratio of a Gaussian in the subspace Q that
is moved from the prior's mean p towards the opinions f_j, against the one that is not; Q are the leading directions of
forecast errors, S = Cov(Q x_0) and p the covariance and mean of the prior's own samples. It is linear in x_0: of a
Gaussian prior N(p, C) it moves the mean by weight * C Q' S^-1 (Q f - Q p), which is weight * (Q f - Q p) in the
subspace, and leaves the covariance as it was. (Log-densities of opinions, being quadratic, narrow the forecast.)

A weight of 1 takes the opinions at their word; it is meant for inverse temperature 1, which multiplies it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.rewards.opinions import Opinions

EXTRAS = ("opinions", "opinion_basis", "prior_samples")


def with_second_opinions(
    problems: Sequence[Problem], opinions: Opinions, prior_samples: Sequence[Float[np.ndarray, "n horizon"]]
) -> list[Problem]:
    """The problems with the extras that ``SecondOpinionReward`` needs; the given ones stay as they are.

    ``extras["opinions"]`` [J, horizon] are forecasts, ``extras["opinion_basis"]`` [rank, horizon] is Q,
    ``extras["prior_samples"]`` [n, horizon] are draws from the prior, one array a problem: whoever drew them accounts
    for their function evaluations. Raises ValueError for another number of arrays than of problems.
    """
    if len(prior_samples) != len(problems):
        raise ValueError(f"{len(problems)} problems need as many arrays of prior samples, got {len(prior_samples)}")
    filled = []
    for problem, samples in zip(problems, prior_samples, strict=True):
        known = {"opinions": opinions(problem), "opinion_basis": opinions.basis, "prior_samples": np.asarray(samples)}
        filled.append(replace(problem, extras={**problem.extras, **known}))
    return filled


@dataclass(frozen=True)
class SecondOpinionReward:
    """r(x_0) = weight * mean_j (Q f_j - Q p)' S^-1 Q (x_0 - p), nats; its mean under the prior is 0.

    Attributes:
        weight: how far to go towards the opinions; .45 was chosen on validation windows of ETTh1.

    Raises:
        ValueError: for a weight that is not a finite number.
    """

    weight: float = 0.45

    oracle = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight):
            raise ValueError(f"the weight of the second opinion must be a finite number, got {self.weight}")

    def bind(self, problems: Sequence[Problem]) -> LinearScorer:
        """One direction and one origin a problem. Raises ValueError naming a problem whose extras do not fit."""
        bound = [_tilt(problem) for problem in problems]
        slopes = self.weight * np.stack([slope for slope, _ in bound])
        return LinearScorer(slopes, np.stack([origin for _, origin in bound]))


class LinearScorer:
    """Rewards a_p . (x - o_p), one direction and one origin for each of P problems."""

    def __init__(self, slopes: Float[np.ndarray, "P horizon"], origins: Float[np.ndarray, "P horizon"]) -> None:
        self.slopes = slopes
        self.offsets = np.einsum("pt,pt->p", slopes, origins)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, horizon]. Raises ValueError for samples of another length."""
        samples = np.asarray(samples, dtype=float)
        if samples.ndim != 2 or samples.shape[1] != self.slopes.shape[1]:
            raise ValueError(
                f"samples must be [B, {self.slopes.shape[1]}], as long as the opinions, got {samples.shape}"
            )
        return np.einsum("bt,bt->b", samples, self.slopes[problem]) - self.offsets[problem]


def _tilt(problem: Problem) -> tuple[Float[np.ndarray, " horizon"], Float[np.ndarray, " horizon"]]:
    """Q' S^-1 (mean_j Q f_j - Q p) and p.

    The inverse of a covariance estimated from n samples in k directions is too large by (n - 1) / (n - k - 2), which
    is taken out (Hartlap, Simon & Schneider 2007): the weight means the same for 50 prior samples as for 5,000.
    """
    opinions, basis, samples = _known(problem)
    mean = samples.mean(0)
    projected = (samples - mean) @ basis.T
    covariance = projected.T @ projected / (len(samples) - len(basis) - 2)
    try:
        step = np.linalg.solve(covariance, basis @ (opinions.mean(0) - mean))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"problem {problem.name!r}: the prior samples do not vary in all {len(basis)} directions of the basis"
        ) from None
    return basis.T @ step, mean


def _known(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    missing = [name for name in EXTRAS if name not in problem.extras]
    if missing:
        raise ValueError(
            f"problem {problem.name!r} lacks extras {', '.join(missing)}: the second opinion needs forecasts and prior "
            f"samples; fill them in by with_second_opinions(problems, fit_opinions(dataset), prior_samples)"
        )
    opinions, basis, samples = (np.asarray(problem.extras[name], dtype=float) for name in EXTRAS)
    horizon = basis.shape[-1]
    if any(array.ndim != 2 or array.shape[1] != horizon or not np.isfinite(array).all()
           for array in (opinions, basis, samples)):  # fmt: skip
        shapes = ", ".join(f"{name} {np.shape(problem.extras[name])}" for name in EXTRAS)
        raise ValueError(f"problem {problem.name!r}: extras must be finite and [rows, horizon] each, got {shapes}")
    if len(samples) <= 2 * len(basis):
        raise ValueError(
            f"problem {problem.name!r}: {len(samples)} prior samples are too few for a covariance in {len(basis)} "
            f"directions; draw at least {2 * len(basis) + 1}, better 100"
        )
    return opinions, basis, samples
