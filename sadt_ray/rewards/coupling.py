"""Correlations between the errors of channels: the parameters of a Gaussian copula, learned from past forecasts.

The *scores* of a forecast are its standardised errors: u_c = W_c Q (x_c - p_c) for channel c. The mean p_c and
W_c = Cov(Q x_c)^{-1/2} come from the prior's samples of that channel, and Q holds the leading directions of forecast
errors. Under a Gaussian prior with independent channels, all scores are independent and standard normal. The scores of
the truths are not: their correlation between channels, in each direction, is the coupling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import rankdata


@dataclass(frozen=True)
class Coupling:
    """Correlations of scores between channels.

    Attributes:
        basis: directions Q; the rows are orthonormal.
        correlation: correlation of the scores of the C channels, for each direction.

    Raises ValueError for shapes that do not match, or correlations that are not positive definite with ones on the
    diagonal.
    """

    basis: Float[np.ndarray, "rank horizon"]
    correlation: Float[np.ndarray, "rank C C"]

    def __post_init__(self) -> None:
        rank, channels = self.correlation.shape[:2]
        if len(self.basis) != rank or self.correlation.shape != (rank, channels, channels):
            raise ValueError(
                f"a coupling needs a correlation [{len(self.basis)}, C, C] for each direction of its basis, got shape "
                f"{self.correlation.shape}"
            )
        if (
            not np.allclose(np.einsum("kcc->kc", self.correlation), 1.0)
            or np.linalg.eigvalsh(self.correlation).min() <= 0
        ):
            raise ValueError("the correlations of a coupling must be positive definite with ones on the diagonal")

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.correlation.shape[1]

    @property
    def information(self) -> float:
        """Mutual information of the channels, -log|S| / 2 in nats, summed over the directions.

        It is the mean log-density ratio under the coupled distribution: the divergence of the target from the prior.
        """
        return float(-np.linalg.slogdet(self.correlation)[1].sum() / 2)

    def weakened(self, strength: float) -> Coupling:
        """Return the coupling with its correlations multiplied by ``strength`` in [0, 1]; 0 is independence."""
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be in [0, 1], got {strength}")
        eye = np.eye(self.channels)
        return Coupling(self.basis, eye + strength * (self.correlation - eye))


class Scores(NamedTuple):
    """The map from samples of P problems to scores: u_c = W_c Q (x_c - p_c)."""

    mean: Float[np.ndarray, "P C horizon"]
    whitening: Float[np.ndarray, "P C rank horizon"]  # W Q

    def __call__(self, x: Float[np.ndarray, "P *n C horizon"]) -> Float[np.ndarray, "P *n C rank"]:
        """Scores of samples [P, C, horizon] or [P, n, C, horizon]."""
        mean = self.mean if x.ndim == self.mean.ndim else self.mean[:, None]
        return np.einsum("pckt,p...ct->p...ck", self.whitening, x - mean)


def scores_from(samples: Float[np.ndarray, "P n C horizon"], basis: Float[np.ndarray, "rank horizon"]) -> Scores:
    """Make the scores from the moments of the prior's samples: n samples of each of P problems.

    Raises ValueError unless n is more than twice the number of directions and the samples vary in all directions.
    """
    samples = np.asarray(samples, float)
    count, rank = samples.shape[1], len(basis)
    if count <= 2 * rank:
        raise ValueError(f"{count} prior samples are too few for {rank} directions; draw at least {2 * rank + 1}")
    mean = samples.mean(1)
    along = np.einsum("kt,pnct->pcnk", basis, samples - mean[:, None])
    variances, axes = np.linalg.eigh(np.einsum("pcnk,pcnl->pckl", along, along) / (count - 1))
    if not variances.min() > 0:
        raise ValueError(f"the prior samples of some channel do not vary in all {rank} directions of the basis")
    whitening = np.einsum("pcik,pck,pcjk->pcij", axes, variances**-0.5, axes)
    return Scores(mean, whitening @ basis)


def fit_coupling(
    samples: Float[np.ndarray, "N n C horizon"], truths: Float[np.ndarray, "N C horizon"], rank: int = 16
) -> Coupling:
    """Learn the coupling from N past forecasts and the truths.

    The directions are principal components of the errors of all channels, each in units of the forecast's spread. The
    correlations are those of the normal scores of the ranks (van der Waerden). So neither errors in the spreads nor
    heavy tails change them.

    Args:
        samples: n samples of each forecast.
        truths: realised values.
        rank: number of directions.

    Raises ValueError unless there are more forecasts than channels and the rank is between 1 and the horizon.
    """
    samples, truths = np.asarray(samples, float), np.asarray(truths, float)
    forecasts, channels, horizon = truths.shape
    if forecasts <= channels or not 1 <= rank <= horizon:
        raise ValueError(
            f"{forecasts} forecasts of {channels} channels and {horizon} steps do not make a coupling of rank {rank}"
        )
    errors = (truths - samples.mean(1)) / samples.std(1).mean(-1, keepdims=True)
    flat = errors.reshape(-1, horizon)
    basis = np.linalg.eigh(flat.T @ flat)[1][:, ::-1][:, :rank].T
    ranks = rankdata(scores_from(samples, basis)(truths), axis=0)
    normal = ndtri((ranks - 0.5) / forecasts)
    return Coupling(basis, np.stack([np.corrcoef(normal[:, :, k].T) for k in range(rank)]))
