"""A conditional Gaussian forecast: the mean and the principal spreads that the denoiser is preconditioned with.

    x_0 | c  ~  N(b(c), V diag(s(c)^2) V^T),

with c the instance-normalised context, b(c) linear in it plus a small correction, V the principal axes of the residuals
of the ridge forecast on the training part, and s(c) from a small network. Normalisation by the context's own mean and
standard deviation is that of RevIN (Kim et al., ICLR 2022), without its affine part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SCALE_FLOOR = 0.05  # added to the standard deviation of a context, so that a flat one does not divide by zero


@dataclass(frozen=True)
class ForecastConfig:
    """Sizes of the forecast.

    Attributes:
        context_length, prediction_length: hours seen and hours forecast.
        channels: known channels; one more row of the embedding stands for an unknown one.
        recent: how many of the latest hours the spread network sees; the mean sees all.
        hidden: width of the spread network.
        channel_width: width of the channel embedding.
        dropout: while training.
    """

    context_length: int = 336
    prediction_length: int = 96
    channels: int = 7
    recent: int = 168
    hidden: int = 256
    channel_width: int = 16
    dropout: float = 0.3


class GaussianForecast(nn.Module):
    """Context and channel -> mean b(c) and log spreads log s(c) along the principal axes V."""

    axes: Tensor  # V, [W, W], columns are orthonormal

    def __init__(self, config: ForecastConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.prediction_length, config.hidden
        self.register_buffer("axes", torch.eye(width))
        self.linear = nn.Linear(config.context_length, width)
        self.channel = nn.Embedding(config.channels + 1, config.channel_width)
        self.trunk = nn.Sequential(
            nn.Linear(config.recent + config.channel_width, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
        )
        self.correction = nn.Linear(hidden, width)
        self.log_spread = nn.Linear(hidden, width)
        for head in (self.correction, self.log_spread):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(
        self, context: Float[Tensor, "B L"], channel: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B W"], Float[Tensor, "B W"]]:
        """Mean b(c) and log s(c), both in instance-normalised units."""
        recent = context[:, -self.config.recent :]
        hidden = self.trunk(torch.cat([recent, self.channel(channel)], dim=1))
        return self.linear(context) + self.correction(hidden), self.log_spread(hidden)

    @torch.no_grad()
    def fit_ridge_(
        self, context: Float[Tensor, "N L"], future: Float[Tensor, "N W"], penalty: float = 0.01
    ) -> GaussianForecast:
        """Start from closed forms: b(c) is ridge regression, V and s are the principal axes of its residuals."""
        covariance = context.T @ context / len(context) + penalty * torch.eye(context.shape[1])
        weights = torch.linalg.solve(covariance, context.T @ future / len(context))
        residual = future - context @ weights
        variances, axes = torch.linalg.eigh(residual.T @ residual / len(residual))
        self.axes.copy_(axes.flip(1))
        self.linear.weight.copy_(weights.T)
        self.linear.bias.zero_()
        self.log_spread.bias.copy_(variances.flip(0).clamp_min(1e-4).log() / 2)
        return self


def instance_normalise(
    context: Float[Tensor, "B L"],
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B 1"], Float[Tensor, "B 1"]]:
    """Contexts at zero mean and about unit spread, and the location and scale that undo it."""
    location = context.mean(1, keepdim=True)
    scale = context.std(1, keepdim=True, correction=0) + SCALE_FLOOR
    return (context - location) / scale, location, scale


def gaussian_crps(
    mean: Float[Tensor, "*s"], spread: Float[Tensor, "*s"], truth: Float[Tensor, "*s"]
) -> Float[Tensor, "*s"]:
    """CRPS of N(mean, spread^2), in closed form (Gneiting & Raftery 2007, eq. 21)."""
    z = (truth - mean) / spread
    density = torch.exp(-z.square() / 2) * math.sqrt(2 / math.pi)
    return spread * (z * torch.erf(z / math.sqrt(2)) + density - 1 / math.sqrt(math.pi))


def forecast_loss(
    forecast: GaussianForecast,
    context: Float[Tensor, "B L"],
    channel: Int[Tensor, " B"],
    future: Float[Tensor, "B W"],
    likelihood_weight: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean CRPS of the hourly marginals + ``likelihood_weight`` x negative log-likelihood per principal axis.

    The first is what forecasts are judged by; the second alone sees the spreads of the fast axes, which hardly move
    any marginal and yet carry the spectrum.
    """
    mean, log_spread = forecast(context, channel)
    variances = torch.exp(2 * log_spread)
    marginal = torch.sqrt(variances @ forecast.axes.square().T)
    along = (future - mean) @ forecast.axes
    likelihood = (0.5 * along.square() / variances + log_spread).mean()
    return gaussian_crps(mean, marginal, future).mean() + likelihood_weight * likelihood
