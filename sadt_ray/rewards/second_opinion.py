"""The second-opinion reward: it tilts a forecast towards other forecasts, without narrowing it.

    r(x_0) = sum_j w_j (Q f_j - Q p)' S^-1 Q (x_0 - p)

f_j are the other forecasts (opinions), Q the leading directions of forecast errors, p the mean and S = Cov(Q x_0) the
covariance of the prior's samples. Up to a constant, r is a log-likelihood ratio of two Gaussians in the subspace Q: one
with its mean moved towards the opinions, one at the prior's mean. It is linear in x_0. For a Gaussian prior N(p, C) it
moves the mean by C Q' S^-1 sum_j w_j (Q f_j - Q p), which is sum_j w_j (Q f_j - Q p) in the subspace, and keeps the
covariance. (Log-densities of the opinions are quadratic and would narrow it.)

Weights that sum to 1 move the mean all the way to the weighted opinions, at inverse temperature 1. Another inverse
temperature multiplies the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Problem
from sadt_ray.rewards.look_ahead import Ahead, LookAhead, Residuals
from sadt_ray.rewards.opinions import Opinions

EXTRAS = ("opinions", "opinion_basis", "prior_samples")


def with_second_opinions(
    problems: Sequence[Problem], opinions: Opinions, prior_samples: Sequence[Float[np.ndarray, "n horizon"]]
) -> list[Problem]:
    """Return the problems with the extras that ``SecondOpinionReward`` needs. The given problems are not changed.

    ``extras["opinions"]`` [J, horizon] are the forecasts, ``extras["opinion_basis"]`` [rank, horizon] is Q, and
    ``extras["prior_samples"]`` [n, horizon] are draws from the prior. The caller counts the function evaluations of
    these draws.

    Args:
        problems: problems that ``opinions`` can forecast.
        opinions: the forecasters.
        prior_samples: one array per problem.

    Raises ValueError unless there is one array per problem.
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
    """r(x_0) = sum_j w_j (Q f_j - Q p)' S^-1 Q (x_0 - p) in nats. Its mean under the prior is 0.

    Attributes:
        weight: one weight per opinion, or one number that is shared equally among the opinions. The default is the
            rounded result of ``fit_opinion_weights`` for the shipped prior on the validation windows of ETTh1. There
            yesterday and analogues add nothing to the prior, and the ridge helps because it sees the other channels.

    Raises:
        ValueError: for a weight that is not a finite number.
    """

    weight: float | tuple[float, ...] = (0.0, 0.0, 0.25)

    oracle = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight).all() or np.size(self.weight) == 0:
            raise ValueError(f"the weights of the second opinions must be finite numbers, got {self.weight}")

    def bind(self, problems: Sequence[Problem]) -> LinearScorer:
        """Compute one direction and one origin per problem.

        Raises ValueError with the name of a problem whose extras are missing or do not fit.
        """
        bound = [_difference(problem) for problem in problems]
        slopes = [
            self._weights(problem, d.steps) @ d.steps @ d.basis for problem, d in zip(problems, bound, strict=True)
        ]
        return LinearScorer(np.stack(slopes), np.stack([d.mean for d in bound]))

    def _weights(self, problem: Problem, steps: Float[np.ndarray, "J rank"]) -> Float[np.ndarray, " J"]:
        if isinstance(self.weight, tuple) and len(self.weight) != len(steps):
            raise ValueError(
                f"problem {problem.name!r} has {len(steps)} opinions, but {len(self.weight)} weights are given"
            )
        return (
            np.array(self.weight) if isinstance(self.weight, tuple) else np.full(len(steps), self.weight / len(steps))
        )


def fit_opinion_weights(problems: Sequence[Problem]) -> Float[np.ndarray, " J"]:
    """Fit the weights to problems with a known truth, by generalised least squares.

    w = argmin sum_i |S_i^(-1/2) (Q (y_i - p_i) - sum_j w_j (Q f_ij - Q p_i))|^2, where y_i is the ``truth`` of problem
    i, for example a validation window. This is the maximum-likelihood tilt of Gaussian priors. Raises ValueError for a
    problem without a truth or without the extras.
    """
    normal_matrix, normal_vector = 0.0, 0.0
    for problem in problems:
        if problem.truth is None:
            raise ValueError(f"problem {problem.name!r} has no truth to fit the weights to; use validation windows")
        d = _difference(problem)
        normal_matrix = normal_matrix + d.steps @ d.differences.T
        normal_vector = normal_vector + d.steps @ (d.basis @ (np.asarray(problem.truth, dtype=float) - d.mean))
    return np.linalg.lstsq(normal_matrix, normal_vector, rcond=None)[0]


class LinearScorer:
    """Rewards a_p . (x - o_p), with one direction a_p and one origin o_p for each of P problems."""

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

    def score_tensor(self, x: Float[Tensor, "B horizon"], problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor. Gradients flow to ``x``."""
        slopes, offsets = (torch.as_tensor(values).to(x.device, x.dtype) for values in (self.slopes, self.offsets))
        return (x * slopes[problem]).sum(-1) - offsets[problem]

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """r~ = r(x0_hat) + lambda Var[r | x_t] / 2, the exact soft value if x_0 given x_t is Gaussian.

        Features: r(x0_hat) and the standard deviation of r given x_t.
        """
        spread = np.stack([np.einsum("prt,pt->pr", residuals(at), self.slopes).std(1) for at in range(num_positions)])

        def ahead(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
            scatter = torch.as_tensor(spread[position, problem]).to(clean.device, clean.dtype)
            reward = self.score_tensor(clean, torch.as_tensor(problem, device=clean.device))
            value = reward + inv_temperature / 2 * scatter.square()
            return Ahead(value, torch.stack([reward, scatter], dim=-1))

        return LookAhead(ahead, self.slopes.shape[1])


class _Difference(NamedTuple):
    """Differences between J opinions and the prior of one problem, in the subspace Q."""

    basis: Float[np.ndarray, "rank horizon"]  # Q
    mean: Float[np.ndarray, " horizon"]  # p
    differences: Float[np.ndarray, "J rank"]  # Q f_j - Q p
    steps: Float[np.ndarray, "J rank"]  # S^-1 (Q f_j - Q p)


def _difference(problem: Problem) -> _Difference:
    """Compute the differences of a problem's opinions.

    The inverse of a covariance that is estimated from n samples in k directions is too large by the factor
    (n - 1) / (n - k - 2). This is corrected (Hartlap, Simon & Schneider 2007), so that a weight means the same for 50
    samples as for 5,000.
    """
    opinions, basis, samples = _known(problem)
    mean = samples.mean(0)
    projected = (samples - mean) @ basis.T
    covariance = projected.T @ projected / (len(samples) - len(basis) - 2)
    differences = (opinions - mean) @ basis.T
    try:
        steps = np.linalg.solve(covariance, differences.T).T
    except np.linalg.LinAlgError:
        raise ValueError(
            f"problem {problem.name!r}: the prior samples do not vary in all {len(basis)} directions of the basis"
        ) from None
    return _Difference(basis, mean, differences, steps)


def _known(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    missing = [name for name in EXTRAS if name not in problem.extras]
    if missing:
        raise ValueError(
            f"problem {problem.name!r} lacks extras {', '.join(missing)}: the second opinion needs forecasts and prior "
            f"samples; add them with with_second_opinions(problems, fit_opinions(dataset), prior_samples)"
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
