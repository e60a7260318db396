"""The copula reward: it couples the channels of a joint sample as the errors of past forecasts were coupled.

    r(x) = log c(u) = log N(u; 0, S) - log N(u; 0, I),    u the scores of all channels (``coupling.py``).

This is the log-density of a Gaussian copula relative to independence (Song, *Multivariate dispersion models generated
from Gaussian copula*, 2000). Take lambda = 1 and a Gaussian prior with independent channels. Then the target has the
prior's marginals and the correlations S between channels, Z = 1, and E[r] under the target is the mutual information of
the channels. For another prior, or for scores from the moments of few samples, this holds approximately. Reweighting
has infinite variance if an eigenvalue of S is 2 or more.

Scores are linear in x, so r is quadratic. Its soft value has a closed form if x_0 given x_t is Gaussian, so a particle
system can be guided without a learned flow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Problem
from sadt_ray.rewards.coupling import Coupling, Scores, scores_from
from sadt_ray.rewards.look_ahead import Ahead, LookAhead, Residuals

EXTRA = "prior_samples"


def with_prior_samples(
    problems: Sequence[Problem], samples: Sequence[Float[np.ndarray, "n C horizon"]]
) -> list[Problem]:
    """Return the problems with ``extras["prior_samples"]``, one array per problem.

    The caller counts the function evaluations of these samples. Raises ValueError unless there is one array per
    problem.
    """
    if len(samples) != len(problems):
        raise ValueError(f"{len(problems)} problems need as many arrays of prior samples, got {len(samples)}")
    return [
        replace(problem, extras={**problem.extras, EXTRA: np.asarray(drawn)})
        for problem, drawn in zip(problems, samples, strict=True)
    ]


@dataclass(frozen=True)
class CopulaReward:
    """r(x) = log N(u; 0, S) - log N(u; 0, I) in nats, for joint samples x [C, horizon].

    Attributes:
        coupling: correlations S and directions of the scores, from ``fit_coupling``.
    """

    coupling: Coupling

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> CopulaScorer:
        """Compute the moments of each problem's ``extras["prior_samples"]`` [n, C, horizon], with one n for all.

        Raises ValueError with the name of a problem whose prior samples are missing or have another shape.
        """
        shapes = [np.shape(problem.extras.get(EXTRA, ())) for problem in problems]
        horizon = self.coupling.basis.shape[1]
        for problem, shape in zip(problems, shapes, strict=True):
            if len(shape) != 3 or shape[1:] != (self.coupling.channels, horizon) or shape != shapes[0]:
                raise ValueError(
                    f"problem {problem.name!r}: the copula reward needs extras {EXTRA!r} [n, {self.coupling.channels}, "
                    f"{horizon}] with one n for all problems, got shape {shape}; add them with with_prior_samples"
                )
        samples = np.stack([problem.extras[EXTRA] for problem in problems])
        return CopulaScorer(self.coupling, scores_from(samples, self.coupling.basis))


class CopulaScorer:
    """The copula reward bound to P problems. It is differentiable and has a look-ahead."""

    def __init__(self, coupling: Coupling, scores: Scores) -> None:
        self.coupling, self.scores = coupling, scores
        rank, channels = coupling.correlation.shape[:2]
        precision = np.zeros((channels, rank, channels, rank))
        precision[:, range(rank), :, range(rank)] = np.linalg.inv(coupling.correlation) - np.eye(channels)
        self.precision = precision.reshape(channels * rank, channels * rank)  # S^-1 - I

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, C, horizon]. Raises ValueError for another shape."""
        samples = np.asarray(samples, dtype=float)
        if samples.shape[1:] != self.scores.mean.shape[1:]:
            raise ValueError(f"samples must be [B, {', '.join(map(str, self.scores.mean.shape[1:]))}], all channels of "
                             f"a problem together, got {samples.shape}")  # fmt: skip
        return self.score_tensor(torch.as_tensor(samples), torch.as_tensor(problem)).numpy()

    def score_tensor(self, x: Float[Tensor, "B C horizon"], problem: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Rewards as a function of a tensor. Gradients flow to ``x``."""
        u = self._of(x, problem)
        return self.coupling.information - (u @ torch.as_tensor(self.precision).to(u)).mul(u).sum(-1) / 2

    def look_ahead(self, residuals: Residuals, num_positions: int, inv_temperature: float) -> LookAhead:
        """r~, the exact soft value if x_0 given x_t is Gaussian:

            (1/lambda) log E exp(lambda r)
                = -log|S| / 2 - u' M (I + lambda D M)^-1 u / 2 - log|I + lambda D M| / (2 lambda),

        where u are the scores of x0_hat, M = S^-1 - I, and D is the covariance of the scores given x_t. Channels are
        independent given x_t. The variance in D is at most that under the prior, 1, in every direction. Features:
        r(x0_hat), r~, and tr D divided by the number of scores.

        Raises ValueError for a lambda at which a Gaussian target cannot be normalised.
        """
        kernel, constant, share = self._tables(residuals, num_positions, inv_temperature)

        def ahead(clean: Tensor, position: int, problem: np.ndarray) -> Ahead:
            index = torch.as_tensor(problem, device=clean.device)
            u = self._of(clean, index)
            form = _by_problem(lambda rows, at: (rows @ kernel[position, at].to(u)).mul(rows).sum(-1), u, index)
            value = constant[position].to(u)[index] - form / 2
            known = [self.score_tensor(clean, index), value, share[position].to(u)[index]]
            return Ahead(value, torch.stack(known, dim=-1))

        return LookAhead(ahead, self.scores.whitening[0].size + len(self.precision) ** 2)

    def _tables(
        self, residuals: Residuals, num_positions: int, lam: float
    ) -> tuple[Float[Tensor, "positions P n n"], Float[Tensor, "positions P"], Float[Tensor, "positions P"]]:
        """M (I + lambda D M)^-1, r~ at u = 0, and tr D / n, for each position and problem."""
        eye = np.eye(len(self.precision))
        if not np.linalg.eigvalsh(eye + lam * self.precision).min() > 0:
            largest = np.linalg.eigvalsh(self.coupling.correlation).max()
            raise ValueError(
                f"at inverse temperature {lam:g} the target of this copula cannot be normalised: the largest "
                f"eigenvalue of its correlations is {largest:.3g}; use a lower inverse temperature, such as 1"
            )
        kernels, constants, shares = [], [], []
        for position in range(num_positions):
            scatter = self._open(residuals(position))
            inner = eye + lam * scatter @ self.precision
            log_det = np.linalg.slogdet(inner)[1] / lam if lam else np.einsum("pij,ji->p", scatter, self.precision)
            kernels.append(self.precision @ np.linalg.inv(inner))
            constants.append(self.coupling.information - log_det / 2)
            shares.append(np.einsum("pii->p", scatter) / len(eye))
        kernel, constant, share = (torch.as_tensor(np.stack(rows)) for rows in (kernels, constants, shares))
        return kernel, constant, share

    def _of(self, x: Tensor, problem: Tensor) -> Float[Tensor, "B scores"]:
        def scored(rows: Tensor, at: int) -> Tensor:
            mean, whitening = (torch.as_tensor(values[at]).to(rows) for values in self.scores)
            return torch.einsum("ckt,bct->bck", whitening, rows - mean).flatten(1)

        return _by_problem(scored, x, problem)

    def _open(self, residuals: Float[np.ndarray, "P R C horizon"]) -> Float[np.ndarray, "P scores scores"]:
        """Covariance D of the scores given x_t, per channel, with variances clipped to those of the prior, 1."""
        u = np.einsum("pckt,prct->pcrk", self.scores.whitening, residuals)
        variances, axes = np.linalg.eigh(np.einsum("pcrk,pcrl->pckl", u, u) / u.shape[2])
        clipped = np.einsum("pcik,pck,pcjk->pcij", axes, variances.clip(0.0, 1.0), axes)
        problems, channels, rank = clipped.shape[:3]
        out = np.zeros((problems, channels, rank, channels, rank))
        out[:, range(channels), :, range(channels)] = clipped.swapaxes(0, 1)
        return out.reshape(problems, channels * rank, channels * rank)


def _by_problem(function: Callable[[Tensor, int], Tensor], rows: Tensor, problem: Int[Tensor, " B"]) -> Tensor:
    """Apply a function to the rows of each problem at once, so that its matrices are not copied for every row."""
    order = torch.argsort(problem, stable=True)
    found, counts = torch.unique_consecutive(problem[order], return_counts=True)
    parts = zip(rows[order].split(counts.tolist()), found.tolist(), strict=True)
    return torch.cat([function(some, at) for some, at in parts])[torch.argsort(order)]
