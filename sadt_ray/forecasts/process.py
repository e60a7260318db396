"""A forecast as a prior: an exact denoising chain over the scores of a Gaussian copula.

    z ~ N(0, R),    x_h = F_h^-1(Phi(z_h)),    R = V diag(s^2) V^T

(sample paths from marginal forecasts: arXiv 2510.02224). The state is V^T z, whose coordinates are independent. Its
denoiser and the spread of x_0 given x_t are known,

    D_i = x_i s_i^2 / (s_i^2 + sigma^2),    sd(x_0 | x_t)_i = s_i sigma / sqrt(s_i^2 + sigma^2),

so the chain is exact in any number of steps, and its marginal laws are those of the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sadt_ray.forecasts.correlation import Correlation
from sadt_ray.forecasts.marginals import Marginals
from sadt_ray.interfaces import Problem
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig

if TYPE_CHECKING:
    from sadt_ray.forecasts.forecast import Forecast

_NOISE_TO_SIGNAL = 10.0
"""sigma_max over the largest s: x_T then explains 1 % of the variance of any coordinate of x_0."""


class CopulaDenoiser(nn.Module):
    """The exact ``Denoiser`` of the scores of a forecast of N items, each of C series over T steps.

    The conditioning is the item of each row. It may have trailing dimensions of size 1: for states [B, K, n] it is
    [B, 1].

    Args:
        names: name of the problem of each item.
        marginals: laws of the N items.
        correlation: R, for all items or for each.

    Raises:
        ValueError: if the correlation has another size or number of items.
    """

    decode_broadcasts = True
    axes: Tensor  # V, [1, n, n] or [N, n, n]
    spread: Tensor  # s, [N, n]

    def __init__(self, names: Sequence[str], marginals: Marginals, correlation: Correlation) -> None:
        super().__init__()
        items, series, steps = marginals.shape
        spread, axes = correlation.axes()
        if correlation.size != series * steps or (axes.ndim == 3 and len(axes) not in (1, items)):
            raise ValueError(
                f"a forecast of {items} items, {series} series and {steps} steps needs a correlation "
                f"[{series * steps}, {series * steps}], or {items} of them; this one is {list(axes.shape)}"
            )
        self.marginals = marginals
        self.sample_shape = (steps,) if series == 1 else (series, steps)
        self._items = {name: item for item, name in enumerate(names)}
        n = correlation.size
        self.register_buffer("axes", torch.as_tensor(axes.copy()).reshape(-1, n, n))
        self.register_buffer("spread", torch.as_tensor(spread.copy()).reshape(-1, n).expand(items, n).clone())

    @property
    def width(self) -> int:
        """n = C T, the length of a state."""
        return int(self.spread.shape[1])

    def encode(self, problems: Sequence[Problem], device: torch.device) -> tuple[Int[Tensor, " P"]]:
        """The item of each problem, found by its name. Raises ValueError naming a problem that is none of them."""
        unknown = [problem.name for problem in problems if problem.name not in self._items]
        if unknown:
            raise ValueError(
                f"problem {unknown[0]!r} is no item of this forecast ({', '.join(list(self._items)[:5])}, "
                f"{len(self._items)} in all); take the problems from Forecast.problems()"
            )
        return (torch.tensor([self._items[problem.name] for problem in problems], device=device),)

    def initial(
        self, noise: Float[Tensor, "*B n"], sigma: float, conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "*B n"]:
        """x_T ~ N(0, diag(s^2) + sigma^2 I), the exact law at this noise level."""
        return torch.sqrt(self._spread(noise, conditioning).square() + sigma**2) * noise

    def denoised(
        self, x: Float[Tensor, "*B n"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "*B n"]:
        """D_i = x_i s_i^2 / (s_i^2 + sigma^2)."""
        return x / (1 + (sigma[:, None] / self._spread(x, conditioning)).square())

    draft_denoised = denoised

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "B n"]:
        """s sigma / sqrt(s^2 + sigma^2)."""
        spread = self._spread(sigma, conditioning)
        return spread * torch.rsqrt(1 + (spread / sigma[:, None]).square())

    def scores(self, x: Float[Tensor, "*B n"], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "*B ..."]:
        """z = V x, the scores of clean states, in the shape of samples."""
        return self._as_sample(self._scores(x, conditioning))

    def _scores(self, x: Float[Tensor, "*B n"], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "*B C T"]:
        item = conditioning[0]
        shared = len(self.axes) == 1
        z = x @ self.axes[0].T.to(x.dtype) if shared else self._rotated(x, item.expand(x.shape[:-1]))
        return z.unflatten(-1, self.marginals.shape[1:])

    def scores_at(self, value: Tensor, conditioning: tuple[Tensor, ...]) -> Float[Tensor, "B ..."]:
        """The score of a value at every place of a sample; ``value`` broadcasts to a sample."""
        item = conditioning[0]
        return self._as_sample(self.to_scores(value.expand(len(item), *self.sample_shape), conditioning))

    def from_scores(self, z: Float[Tensor, "B ..."], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "B ..."]:
        """T(z), from the scores of samples to their values."""
        stacked = z.reshape(len(z), *self.marginals.shape[1:])
        return self._as_sample(self.marginals.transform(stacked, conditioning[0]))

    def _as_sample(self, values: Float[Tensor, "*B C T"]) -> Float[Tensor, "*B ..."]:
        return values.flatten(-2).unflatten(-1, self.sample_shape)

    def decode(self, x: Float[Tensor, "*B n"], conditioning: tuple[Tensor, ...]) -> Tensor:
        """Samples T(V x) in the units of the data: [*B, T], of several series [*B, C, T]."""
        return self._as_sample(self.marginals.transform(self._scores(x, conditioning), conditioning[0]))

    def to_states(self, samples: Float[Tensor, "*B ..."], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "*B n"]:
        """The inverse of ``decode``: V^T of the scores of the samples."""
        item = conditioning[0]
        leading = samples.shape[: samples.ndim - len(self.sample_shape)]
        z = self.to_scores(samples, conditioning).flatten(-2)
        if len(self.axes) == 1:
            return z @ self.axes[0].to(z.dtype)
        axes = self.axes[item.expand(leading)].to(z.dtype)
        return (z[..., None, :] @ axes)[..., 0, :]

    def to_scores(self, samples: Float[Tensor, "*B ..."], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "*B C T"]:
        """Scores of samples in the units of the data."""
        leading = samples.shape[: samples.ndim - len(self.sample_shape)]
        return self.marginals.score(samples.reshape(*leading, *self.marginals.shape[1:]), conditioning[0])

    def features(
        self, x: Float[Tensor, "B n"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B features"]:
        """x / sqrt(s^2 + sigma^2), which has unit variance, and log(sigma)/4."""
        scaled = x * torch.rsqrt(self._spread(x, conditioning).square() + sigma.square()[:, None])
        level = sigma.clamp_min(1e-3).log()[:, None] / 4
        return torch.cat([scaled, level.expand(len(x), 1)], dim=1)

    def _spread(self, like: Tensor, conditioning: tuple[Tensor, ...]) -> Float[Tensor, "*B n"]:
        return self.spread[conditioning[0]].to(like.dtype)

    def _rotated(self, x: Float[Tensor, "*B n"], item: Int[Tensor, " *B"]) -> Float[Tensor, "*B n"]:
        """V x with the axes of each row's item, one product per item: rows times n^2 numbers would fill the memory."""
        rows, items = x.reshape(-1, x.shape[-1]), item.reshape(-1)
        order = torch.argsort(items, stable=True)
        parts = [
            rows[index] @ self.axes[int(items[index[0]])].T.to(x.dtype)
            for index in torch.split(order, torch.unique_consecutive(items[order], return_counts=True)[1].tolist())
        ]
        return torch.cat(parts)[torch.argsort(order)].reshape(x.shape)


class ForecastProcess(DiffusionProcess):
    """A forecast as a ``GenerativeProcess``. Its problems are those of ``Forecast.problems()``.

    Every step counts as one evaluation, as of a network. The ``with_`` methods return a ``DiffusionProcess``.

    Args:
        forecast: items, laws and correlation.
        num_steps: denoising steps; the law of x_0 does not depend on it.
        sigma_max: of the schedule, in scores; by default ten times the largest s, so that x_T leaves nearly all of x_0
            open.
        sigma_min: by default a quarter of the smallest s, between 0.001 and 0.02.
        branch_steps: steps of the chain, or the name of a preset, as for ``DiffusionProcess``.
        device: of the tensors.
    """

    def __init__(
        self,
        forecast: Forecast,
        num_steps: int = 16,
        sigma_max: float | None = None,
        sigma_min: float | None = None,
        branch_steps: Sequence[int] | str = "published",
        device: str | torch.device = "cpu",
    ) -> None:
        denoiser = CopulaDenoiser(forecast.names, forecast.marginals, forecast.correlation).to(device)
        spread = denoiser.spread
        sampler = SamplerConfig(
            num_steps=num_steps,
            sigma_min=float(np.clip(float(spread.min()) / 4, 1e-3, 0.02)) if sigma_min is None else sigma_min,
            sigma_max=_NOISE_TO_SIGNAL * float(spread.max()) if sigma_max is None else sigma_max,
        )
        super().__init__(denoiser, sampler, branch_steps, device)
