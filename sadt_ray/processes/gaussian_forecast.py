"""A conditional Gaussian forecast: the mean and the spreads of the denoiser's preconditioning.

    x_0 | c  ~  N(b(c), H V diag(s(c)^2) V^T H),    H = diag(h(c)).

c is the instance-normalised context, b(c) a ridge regression on it, and V holds the principal axes of the residuals on
the training part. s(c) are the spreads along these axes, and h(c) is a factor per hour: a load is harder to predict in
the morning than at night. s and h come from one small network. The normalisation by the context's own mean and standard
deviation is that of RevIN (Kim et al., ICLR 2022), without its affine part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_LOG_SPREADS = (-4.0, 4.0)  # bounds; without the lower one, a constant channel has an infinite likelihood
_LOG_HOURLY = (-2.0, 2.0)
_LEVEL = 4.0
SCALE_FLOOR = 0.05  # added to the standard deviation of a context, which is 0 for a constant one


@dataclass(frozen=True)
class ForecastConfig:
    """Sizes of the forecast.

    Attributes:
        context_length, prediction_length: numbers of hours in the context and in the forecast.
        channels: number of known channels; one more row of the embedding is for unknown channels.
        recent: number of latest hours that the spread network sees; the mean sees all hours.
        hidden: width of the spread network.
        channel_width: width of the channel embedding.
        dropout: dropout rate in training.
    """

    context_length: int = 336
    prediction_length: int = 96
    channels: int = 7
    recent: int = 96
    hidden: int = 256
    channel_width: int = 16
    dropout: float = 0.2


class NormalisedContext(NamedTuple):
    """Contexts with zero mean and about unit spread, and the location and scale that were removed."""

    series: Float[Tensor, "B L"]
    location: Float[Tensor, "B 1"]
    scale: Float[Tensor, "B 1"]

    @property
    def level(self) -> tuple[Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
        """Log scale and location as inputs of a network, which the normalisation removes from the series.

        They are clipped to +-``_LEVEL``, because a network could only extrapolate beyond.
        """
        return self.scale.log().clamp(-_LEVEL, _LEVEL), self.location.clamp(-_LEVEL, _LEVEL)

    def undo(self, future: Float[Tensor, "B W"]) -> Float[Tensor, "B W"]:
        """Convert normalised futures to the units of the contexts."""
        return self.location + self.scale * future


def instance_normalise(context: Float[Tensor, "B L"]) -> NormalisedContext:
    """Subtract each context's mean and divide by its standard deviation + ``SCALE_FLOOR``."""
    location = context.mean(1, keepdim=True)
    scale = context.std(1, keepdim=True, correction=0) + SCALE_FLOOR
    return NormalisedContext((context - location) / scale, location, scale)


class Spreads(NamedTuple):
    """A Gaussian forecast: mean, log spread along each principal axis, log factor of each hour."""

    mean: Float[Tensor, "B W"]
    log_spread: Float[Tensor, "B W"]
    log_hourly: Float[Tensor, "B W"]


@dataclass(frozen=True)
class RidgeConfig:
    """Ridge penalties: ``penalty`` for the shared weights, ``channel_penalty`` for each channel's difference."""

    penalty: float = 0.01
    channel_penalty: float = 10.0


class GaussianForecast(nn.Module):
    """Context and channel -> mean b(c), log spreads log s(c) along the principal axes V, and log factors log h(c)."""

    weights: Tensor  # regression weights of b(c), [channels + 1, L, W]; the last row is for unknown channels
    axes: Tensor  # V, [W, W]; the columns are orthonormal

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.prediction_length, config.hidden
        self.register_buffer("axes", torch.eye(width))
        self.register_buffer("weights", torch.zeros(config.channels + 1, config.context_length, width))
        self.channel = nn.Embedding(config.channels + 1, config.channel_width)
        self.trunk = nn.Sequential(
            nn.Linear(config.recent + config.channel_width + 2, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.log_spread = nn.Linear(hidden, width)
        self.log_hourly = nn.Linear(hidden, width)
        for head in (self.log_spread, self.log_hourly):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, context: NormalisedContext, channel: Int[Tensor, " B"]) -> Spreads:
        """b(c), log s(c) and log h(c), in instance-normalised units."""
        recent = context.series[:, -self.config.recent :]
        hidden = self.trunk(torch.cat([recent, *context.level, self.channel(channel)], dim=1))
        return Spreads(
            self.mean(context.series, channel),
            self.log_spread(hidden).clamp(*_LOG_SPREADS),
            self.log_hourly(hidden).clamp(*_LOG_HOURLY),
        )

    def mean(self, series: Float[Tensor, "B L"], channel: Int[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """b(c) of normalised contexts, by the regression of each channel."""
        mean = series.new_empty(len(series), self.config.prediction_length)
        for c in channel.unique().tolist():
            rows = channel == c
            mean[rows] = series[rows] @ self.weights[c]
        return mean

    @torch.no_grad()
    def fit_ridge_(
        self, context: NormalisedContext, channel: Int[Tensor, " N"], future: Float[Tensor, "N W"], ridge: RidgeConfig
    ) -> GaussianForecast:
        """Fit b(c) by ridge regression, and V and the initial s(c) from the residuals, all in closed form.

        One regression is shared by all channels, and each channel's own regression is shrunk towards it. The weight of
        a row is the inverse of its scale, so that a few volatile windows do not dominate.
        """
        weight = 1 / context.scale
        weight = weight / weight.mean()
        shared = _ridge(context.series, future, weight, ridge.penalty)
        self.weights.copy_(shared)
        for c in channel.unique().tolist():
            rows = channel == c
            series = context.series[rows]
            self.weights[c] += _ridge(series, future[rows] - series @ shared, weight[rows], ridge.channel_penalty)
        residual = future - self.mean(context.series, channel)
        variances, axes = torch.linalg.eigh(residual.T @ residual / len(residual))
        self.axes.copy_(axes.flip(1))
        self.log_spread.bias.copy_(variances.flip(0).clamp_min(1e-3).log() / 2)
        return self


def _ridge(x: Float[Tensor, "N L"], y: Float[Tensor, "N W"], weight: Float[Tensor, "N 1"], penalty: float) -> Tensor:
    """argmin_B mean(weight |y - x B|^2) + penalty |B|^2, [L, W], in double precision."""
    covariance = ((x * weight).T @ x / len(x)).double() + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    return torch.linalg.solve(covariance, ((x * weight).T @ y / len(x)).double()).to(x.dtype)


def gaussian_crps(
    mean: Float[Tensor, "*s"], spread: Float[Tensor, "*s"], truth: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """CRPS of N(mean, spread^2), in closed form (Gneiting & Raftery 2007, eq. 21)."""
    z = (truth - mean) / spread
    density = torch.exp(-z.square() / 2) * math.sqrt(2 / math.pi)
    return spread * (z * torch.erf(z / math.sqrt(2)) + density - 1 / math.sqrt(math.pi))


def forecast_loss(
    forecast: GaussianForecast,
    context: NormalisedContext,
    channel: Int[Tensor, " B"],
    future: Float[Tensor, "B W"],
    likelihood_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean CRPS of the hourly marginals + ``likelihood_weight`` x negative log-likelihood per coordinate.

    Forecasts are evaluated by the CRPS. It hardly depends on the spreads of the fast axes, which determine the
    spectrum; the likelihood does.
    """
    mean, log_spread, log_hourly = forecast(context, channel)
    variances, hourly = torch.exp(2 * log_spread), torch.exp(log_hourly)
    marginal = hourly * torch.sqrt(variances @ forecast.axes.square().T)
    along = ((future - mean) / hourly) @ forecast.axes
    likelihood = (0.5 * along.square() / variances + log_spread + log_hourly).mean()
    return gaussian_crps(mean, marginal, future).mean() + likelihood_weight * likelihood
