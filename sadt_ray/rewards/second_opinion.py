"""The second-opinion reward: tilt a forecast towards what other forecasts say, without narrowing it.

r(x_0) = sum_j w_j (Q f_j - Q p)' S^-1 Q (x_0 - p): up to a constant, the log-likelihood ratio of a Gaussian in the
subspace Q that is moved from the prior's mean p towards the opinions f_j against the one that is not. Q are the leading
directions of forecast errors, S = Cov(Q x_0) and p the covariance and mean of the prior's own samples. It is linear in
x_0: of a Gaussian prior N(p, C) it moves the mean by C Q' S^-1 sum_j w_j (Q f_j - Q p), in the subspace that is
sum_j w_j (Q f_j - Q p), and leaves the covariance as it was. (Log-densities of opinions, being quadratic, narrow it.)

Weights that sum to 1 take the opinions at their word; they are meant for inverse temperature 1, which multiplies them.
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
    """r(x_0) = sum_j w_j (Q f_j - Q p)' S^-1 Q (x_0 - p), nats; its mean under the prior is 0.

    Attributes:
        weight: one number for each opinion, or one number to be shared equally among them. The default is what
            ``fit_opinion_weights`` finds on ETTh1's validation windows beside the shipped prior, rounded: yesterday
            and analogues add nothing there that the prior does not know, the ridge sees the other channels.

    Raises:
        ValueError: for a weight that is not a finite number.
    """

    weight: float | tuple[float, ...] = (0.0, 0.0, 0.25)

    oracle = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight).all() or np.size(self.weight) == 0:
            raise ValueError(f"the weights of the second opinions must be finite numbers, got {self.weight}")

    def bind(self, problems: Sequence[Problem]) -> LinearScorer:
        """One direction and one origin a problem. Raises ValueError naming a problem whose extras do not fit."""
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
    """The weights under which past problems' truths were likeliest, by generalised least squares.

    w = argmin sum_i |S_i^(-1/2) (Q (y_i - p_i) - sum_j w_j (Q f_ij - Q p_i))|^2 over problems whose ``truth`` y_i is
    known, such as validation windows: the maximum-likelihood tilt of Gaussian priors. Raises ValueError for a problem
    without a truth or without the extras.
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

    def score_tensor(self, x: Float[Tensor, "B horizon"], problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The same as a function of a tensor, through which gradients flow to ``x``."""
        slopes, offsets = (torch.as_tensor(values).to(x.device, x.dtype) for values in (self.slopes, self.offsets))
        return (x * slopes[problem]).sum(-1) - offsets[problem]

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """r~ = r(x0_hat) + lambda Var[r | x_t] / 2: the soft value itself where x_0 given x_t is Gaussian.

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
    """How J opinions differ from the prior of one problem, in the subspace."""

    basis: Float[np.ndarray, "rank horizon"]  # Q
    mean: Float[np.ndarray, " horizon"]  # p
    differences: Float[np.ndarray, "J rank"]  # Q f_j - Q p
    steps: Float[np.ndarray, "J rank"]  # S^-1 (Q f_j - Q p)


def _difference(problem: Problem) -> _Difference:
    """The inverse of a covariance estimated from n samples in k directions is too large by (n - 1) / (n - k - 2).

    That is taken out (Hartlap, Simon & Schneider 2007), so that a weight means the same for 50 samples as for 5,000.
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
