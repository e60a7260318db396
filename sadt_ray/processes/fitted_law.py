"""A Gaussian law of x_0 given x_t for a denoiser that has nothing but D(x; sigma): fitted on samples of its own prior.

From M samples of x_0 of each problem: mean m and shrunk covariance V diag(s^2) V^T. Of a Gaussian x_0

    draft of x0_hat = m + V diag(s^2 / (s^2 + sigma^2)) V^T (x - m),
    Cov(x_0 | x) = V diag(s^2 sigma^2 / (s^2 + sigma^2)) V^T.

It guides particles and chooses among candidates. It does not change the chain: the prior stays as it is, and weights
correct for what is not Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sadt_ray.interfaces import Chain, Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import (
    Conditioning,
    Denoiser,
    DiffusionChain,
    DiffusionProcess,
    DraftsDenoised,
    KnowsCleanSpread,
    KnowsCoordinates,
    SamplerConfig,
)
from sadt_ray.processes.joint import JointChain

_SEED, _STREAM = 0x5AD7, 11
_SMALLEST = 1e-3  # of a standard deviation, as a share of the largest


class FittedLawDenoiser:
    """A denoiser with the draft and the covariance of the Gaussian that its own samples fit.

    Args:
        inner: the denoiser.
        sampler: its chain.
        samples: M, samples per problem that the Gaussian is fitted on.
    """

    def __init__(self, inner: Denoiser, sampler: SamplerConfig, samples: int) -> None:
        self.inner, self.sampler, self.samples = inner, sampler, samples
        self.multiply_adds = getattr(inner, "multiply_adds", 0)
        self.decode_broadcasts = bool(getattr(inner, "decode_broadcasts", False))

    @property
    def width(self) -> int:
        return self.inner.width

    @property
    def setup_nfe(self) -> int:
        """Evaluations per problem that ``encode`` costs."""
        return self.samples * self.sampler.num_steps

    def encode(self, problems: Sequence[Problem], device: torch.device) -> Conditioning:
        """The conditioning of the inner denoiser, and m [P, W], V [P, W, W] and s [P, W] of each problem."""
        process = DiffusionProcess(self.inner, self.sampler, "none", device)
        chain, count = process.bind(problems), len(problems) * self.samples
        rows = np.repeat(np.arange(len(problems)), self.samples)
        seeds = np.tile(derive_seeds(_SEED, _STREAM, np.arange(self.samples)), len(problems))
        roots = chain.root_states()[rows]
        states = chain.run_down(roots, np.zeros(count, np.int64), rows, seeds).states
        x = torch.as_tensor(states, device=device).double().reshape(len(problems), self.samples, -1)
        mean = x.mean(1)
        variances, axes = torch.linalg.eigh(shrunk_covariance(x - mean[:, None]))
        floor = _SMALLEST * variances.amax(-1, keepdim=True).sqrt()
        fitted = (mean, axes, variances.clamp_min(0).sqrt().clamp_min(floor).clamp_min(1e-12))
        inner = self.inner.encode(problems, device)
        return (*inner, *(column.float() for column in fitted))

    def initial(self, noise: Float[Tensor, "B W"], sigma: float, conditioning: Conditioning) -> Float[Tensor, "B W"]:
        return self.inner.initial(noise, sigma, conditioning[:-3])

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]:
        return self.inner.denoised(x, sigma, conditioning[:-3])

    def decode(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Tensor:
        return self.inner.decode(x, conditioning[:-3])

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B F"]:
        return self.inner.features(x, sigma, conditioning[:-3])

    def to_coordinates(self, x: Float[Tensor, "B W"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """V^T x: the mean stays in the coordinates."""
        return torch.einsum("...w,...wk->...k", x, conditioning[-2])

    def from_coordinates(self, y: Float[Tensor, "B W"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        return torch.einsum("...k,...wk->...w", y, conditioning[-2])

    def coordinate_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        """s sigma / sqrt(s^2 + sigma^2)."""
        spread = conditioning[-1]
        return spread * torch.rsqrt(1 + (spread / sigma[:, None]).square())

    def draft_denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: Conditioning
    ) -> Float[Tensor, "B W"]:
        """The denoiser of the fitted Gaussian."""
        mean, _, spread = conditioning[-3:]
        along = self.to_coordinates(x - mean, conditioning) / (1 + (sigma[:, None] / spread).square())
        return mean + self.from_coordinates(along, conditioning)


class _WithSpread(FittedLawDenoiser):
    """The same for a denoiser that knows ``clean_spread``, which belongs to its chain: it keeps it."""

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: Conditioning) -> Float[Tensor, "B W"]:
        assert isinstance(self.inner, KnowsCleanSpread)
        return self.inner.clean_spread(sigma, conditioning[:-3])


def with_fitted_law(process: DiffusionProcess, samples: int = 64) -> DiffusionProcess:
    """The same prior, with a fitted draft and covariance if its denoiser lacks either; the process itself if not."""
    denoiser = process.denoiser
    knows_spread = isinstance(denoiser, KnowsCleanSpread)
    knows_law = knows_spread or isinstance(denoiser, KnowsCoordinates)
    if knows_law and isinstance(denoiser, DraftsDenoised):  # as one that was fitted before
        return process
    kind = _WithSpread if knows_spread else FittedLawDenoiser
    fitted = kind(denoiser, process.sampler, samples)
    return DiffusionProcess(fitted, process.sampler, process.branch_steps, process.device)


def chain_with_fitted_law(chain: Chain, samples: int = 64) -> tuple[Chain, int]:
    """The chain with a fitted draft and covariance where it lacks either, and the evaluations per problem this cost.

    A chain that is not a diffusion, or lacks nothing, comes back as it is, at no cost. Of a joint chain, the parts.
    """
    if isinstance(chain, JointChain):
        parts, nfe = chain_with_fitted_law(chain.chain, samples)
        return (chain.with_chain(parts), nfe * chain.num_parts) if nfe else (chain, 0)
    if not isinstance(chain, DiffusionChain):
        return chain, 0
    process = with_fitted_law(chain.process, samples)
    if process is chain.process or not isinstance(process.denoiser, FittedLawDenoiser):
        return chain, 0
    return process.bind(chain.problems), process.denoiser.setup_nfe


def shrunk_covariance(x: Float[Tensor, "P M W"]) -> Float[Tensor, "P W W"]:
    """Covariance of M centred rows, shrunk towards its own diagonal (Schäfer & Strimmer 2005, target D).

    S* = (1 - a) S + a diag(S),    a = sum_{i != j} Var(s_ij) / sum_{i != j} s_ij^2, clipped to [0, 1]
    """
    count, width = x.shape[1], x.shape[2]
    products = torch.einsum("pmi,pmj->pij", x, x) / count
    squares = torch.einsum("pmi,pmj->pij", x.square(), x.square()) / count
    noise = (squares - products.square()).clamp_min(0) / max(count - 1, 1)
    off = ~torch.eye(width, dtype=torch.bool, device=x.device)
    share = (noise[:, off].sum(-1) / products.square()[:, off].sum(-1).clamp_min(1e-300)).clamp(0, 1)[:, None, None]
    covariance = products * count / max(count - 1, 1)
    return (1 - share) * covariance + share * torch.diag_embed(torch.diagonal(covariance, dim1=1, dim2=2))
