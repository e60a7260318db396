"""A prior of several Gaussian processes, whose denoiser is exact: a day with a morning peak, an evening peak, or both.

    p(x_0) = sum_k a_k N(m_k, C_k),    D(x; sigma) = sum_k r_k(x) [m_k + C_k (C_k + sigma^2 I)^-1 (x - m_k)],

r_k(x) the share of component k given x. ``Mixture`` knows its covariance and has a draft; ``Bare`` takes all of that
away, as of a denoiser that a user brings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.interfaces import Problem
from sadt_ray.processes.diffusion import Conditioning

HOURS = 24


class Mixture:
    """The denoiser of a mixture. A state is x_0 - m along the principal axes of the covariance of the mixture.

    ``clean_spread`` is that of a Gaussian with the mean and the covariance of the mixture, an upper bound.

    Args:
        weights: a_k, they sum to one.
        means: m_k, [K, W].
        covariances: C_k, [K, W, W], positive definite.
    """

    decode_broadcasts = True

    def __init__(
        self,
        weights: Float[np.ndarray, " K"],
        means: Float[np.ndarray, "K W"],
        covariances: Float[np.ndarray, "K W W"],
    ) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances
        self.mean = weights @ means
        apart = means - self.mean
        total = np.einsum("k,kij->ij", weights, covariances) + np.einsum("k,ki,kj->ij", weights, apart, apart)
        variances, axes = np.linalg.eigh(total)
        self.axes, self.spread = _tensor(axes), _tensor(np.sqrt(variances))
        self._mean = _tensor(self.mean)
        self._centres = _tensor(apart @ axes)
        parts = [np.linalg.eigh(axes.T @ covariance @ axes) for covariance in covariances]
        self._variances = _tensor(np.stack([part[0] for part in parts]))
        self._directions = _tensor(np.stack([part[1] for part in parts]))
        self._log_weights = _tensor(np.log(weights))

    @property
    def width(self) -> int:
        return len(self.mean)

    def encode(self, problems: Sequence[Problem], device: torch.device) -> Conditioning:
        """One column that says nothing: the prior is the same for every problem."""
        return (torch.zeros(len(problems), 1, device=device),)

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        return noise * torch.sqrt(self.spread.square() + sigma**2)

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]:
        log_shares, cleans = [], []
        variance = sigma[:, None].square()
        for k in range(len(self.weights)):
            along = (x - self._centres[k]) @ self._directions[k]
            noisy = self._variances[k] + variance
            log_shares.append(self._log_weights[k] - (along.square() / noisy + noisy.log()).sum(1) / 2)
            cleans.append(self._centres[k] + (along * (self._variances[k] / noisy)) @ self._directions[k].T)
        shares = torch.softmax(torch.stack(log_shares), dim=0)
        return (shares[:, :, None] * torch.stack(cleans)).sum(0)

    draft_denoised = denoised

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        return self.spread * torch.rsqrt(1 + (self.spread / sigma[:, None]).square())

    def decode(self, x: Float[Tensor, "*B W"], conditioning: Conditioning) -> Float[Tensor, "*B W"]:
        return self._mean + x @ self.axes.T

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        return torch.cat([x, sigma[:, None].expand(len(x), 1)], dim=1)


class Bare:
    """A denoiser that is D(x; sigma) and nothing else: its states are the hours themselves.

    Args:
        inner: the mixture that it evaluates.
    """

    def __init__(self, inner: Mixture) -> None:
        self._inner = inner
        self._sd = (inner.axes.square() @ inner.spread.square()).sqrt()

    @property
    def width(self) -> int:
        return self._inner.width

    def encode(self, problems: Sequence[Problem], device: torch.device) -> Conditioning:
        return self._inner.encode(problems, device)

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """Hours that are independent: right as far as sigma is much larger than the spread of x_0."""
        return self._inner._mean + noise * torch.sqrt(self._sd.square() + sigma**2)

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]:
        inner = self._inner
        return inner.decode(inner.denoised((x - inner._mean) @ inner.axes, sigma, conditioning), conditioning)

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        return x

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        return torch.cat([x, sigma[:, None].expand(len(x), 1)], dim=1)


def days() -> Mixture:
    """Days of 24 hours: a morning peak, an evening peak, or a rough day with both."""
    hour = np.arange(HOURS)
    morning, evening = np.exp(-np.square(hour - 8) / 10), np.exp(-np.square(hour - 18) / 14)
    lag = np.abs(np.subtract.outer(hour, hour))
    smooth = 0.5 * np.exp(-np.square(lag / 5.0) / 2) + 0.03 * np.eye(HOURS)
    slow, rough = 0.6 * np.exp(-lag / 12.0), 0.4 * np.exp(-lag / 1.5)
    return Mixture(
        np.array([0.5, 0.35, 0.15]),
        np.stack([2.2 * morning + 0.5 * evening, 2.5 * evening, 1.2 * morning + 1.2 * evening - 0.5]),
        np.stack([smooth, slow + 0.02 * np.eye(HOURS), rough + 0.3]),
    )


def _tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32)


def log_density(mixture: Mixture, x: Float[np.ndarray, "N W"]) -> Float[np.ndarray, " N"]:
    """log p(x_0), for checks of the denoiser: D(x; sigma) = x + sigma^2 grad log p_sigma(x)."""
    logs = []
    for weight, mean, covariance in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        root = np.linalg.cholesky(covariance)
        whitened = np.linalg.solve(root, (x - mean).T)
        log_size = np.log(np.diag(root)).sum() + mixture.width * math.log(2 * math.pi) / 2
        logs.append(math.log(weight) - np.square(whitened).sum(0) / 2 - log_size)
    found: np.ndarray = np.logaddexp.reduce(logs, axis=0)
    return found
