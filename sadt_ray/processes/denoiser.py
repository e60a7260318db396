"""The backbone of diff-k: a conditional denoiser D(x; sigma, c) that is preconditioned with a Gaussian forecast.

EDM (Karras et al. 2022, eq. 7) writes D = c_skip x + c_out F(c_in x; c_noise). Its coefficients come from one number,
sigma_data. But the residuals of a forecast are far from white: the standard deviation of the slowest axis is tens of
times that of the fastest. So x is first centred on the forecast b(c), scaled by the hourly spread h(c) and rotated to
principal axes: u = V^T (x - b(c)) / h(c). Each axis k then has its own sigma_data, the forecast's spread s_k(c):

    c_skip = s^2 / (sigma^2 + s^2),  c_out = sigma s / sqrt(sigma^2 + s^2),  c_in = 1 / sqrt(sigma^2 + s^2),
    D(u; sigma, c) = c_skip u + c_out F(c_in u, log(sigma)/4, c).

With F = 0 this is the exact denoiser of the Gaussian forecast, so the network learns only what is not Gaussian. The
chain runs in u, so no step needs a rotation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sadt_ray.interfaces import Problem
from sadt_ray.processes.gaussian_forecast import ForecastConfig, GaussianForecast, NormalisedContext, instance_normalise


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the denoiser.

    Attributes:
        forecast: sizes of the Gaussian forecast.
        dataset: name of the training data; problems of other datasets use the unknown channel.
        hidden, depth: width and number of residual blocks.
        encoder: width of the context encoder of the residual network.
        frequencies: number of frequencies in the Fourier embedding of log(sigma)/4.
        dropout: dropout rate in training.
    """

    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    dataset: str = "ETTh1"
    hidden: int = 320
    depth: int = 3
    encoder: int = 256
    frequencies: int = 16
    dropout: float = 0.3


class Block(nn.Module):
    """A residual block: h + W2 gelu(W1 norm(h) + shift). The shift depends on the context and the noise level."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.up = nn.Linear(hidden, hidden)
        self.down = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, h: Float[Tensor, "B H"], shift: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        return h + self.down(self.dropout(nn.functional.gelu(self.up(self.norm(h)) + shift)))


class DiffKDenoiser(nn.Module):
    """D(u; sigma, c) for channel-independent forecasting.

    A state is u = V^T (x - b(c)) / h(c), where x is the future in instance-normalised units. u = 0 is the forecast
    itself.
    """

    frequencies: Tensor
    decode_broadcasts = True

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden, depth = config.forecast.prediction_length, config.hidden, config.depth
        self.forecast = GaussianForecast(config.forecast)
        self.channel = nn.Embedding(config.forecast.channels + 1, config.forecast.channel_width)
        self.encoder = nn.Sequential(
            nn.Linear(config.forecast.context_length + config.forecast.channel_width + 2, config.encoder),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.encoder, hidden * depth),
        )
        self.noise_level = nn.Linear(2 * config.frequencies, hidden * depth)
        self.input = nn.Linear(width, hidden)
        self.blocks = nn.ModuleList(Block(hidden, config.dropout) for _ in range(depth))
        self.output = nn.Linear(hidden, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, math.log(50), config.frequencies)))

    @property
    def width(self) -> int:
        """Length W of a state: the prediction length."""
        return self.config.forecast.prediction_length

    @property
    def parameter_count(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per row of one evaluation."""
        hidden = self.config.hidden
        return 2 * self.width * hidden + 2 * self.config.depth * hidden**2

    @property
    def decode_multiply_adds(self) -> int:
        """Multiply-adds per row of the rotation from principal axes to hours."""
        return self.width**2

    def forward(
        self,
        u: Float[Tensor, "B W"],
        sigma: Float[Tensor, " #B"],
        spread: Float[Tensor, "B W"],
        shift: Float[Tensor, "B shifts"],
    ) -> Float[Tensor, "B W"]:
        """D(u; sigma, c): the preconditioned network.

        Args:
            u: states.
            sigma: noise levels, one per row or one for all.
            spread: spreads s(c) of the forecast.
            shift: shifts of the blocks, from ``shift``.
        """
        sigma = sigma[:, None]
        variance = torch.addcmul(sigma.square(), spread, spread)
        c_in = torch.rsqrt(variance)
        angle = torch.log(sigma) / 4 * self.frequencies
        shifts = shift + self.noise_level(torch.cat([torch.cos(angle), torch.sin(angle)], dim=1))
        h = self.input(c_in * u)
        for block, part in zip(self.blocks, shifts.chunk(self.config.depth, dim=1), strict=True):
            h = block(h, part)
        relative = spread * c_in
        return relative * (relative * u + sigma * self.output(h))

    def shift(self, context: NormalisedContext, channel: Int[Tensor, " B"]) -> Float[Tensor, "B shifts"]:
        """Shifts of all blocks for a context, computed once per problem."""
        return self.encoder(torch.cat([context.series, *context.level, self.channel(channel)], dim=1))

    def encode(self, problems: Sequence[Problem], device: torch.device) -> tuple[Tensor, ...]:
        """s(c), shifts, b(c) and h(c) of each problem, the last two in the units of the context.

        Raises ValueError with the name of a problem whose context has another shape or is not finite.
        """
        context = torch.from_numpy(np.stack([self._context(problem) for problem in problems])).to(device)
        channel = torch.tensor([self._channel(problem) for problem in problems], device=device)
        normalised = instance_normalise(context)
        mean, log_spread, log_hourly = self.forecast(normalised, channel)
        hourly = normalised.scale * log_hourly.exp()
        return log_spread.exp(), self.shift(normalised, channel), normalised.undo(mean), hourly

    def initial(
        self, noise: Float[Tensor, "B W"], sigma: float, conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B W"]:
        """u_T ~ N(0, diag(s^2) + sigma^2 I): the distribution of the forecast at noise level sigma."""
        spread = conditioning[0]
        return torch.sqrt(spread.square() + sigma**2) * noise

    def denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B W"]:
        """D(u; sigma, c), one evaluation per row."""
        return self(x, sigma, conditioning[0], conditioning[1])

    def clean_spread(self, sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "B W"]:
        """sd(u_0 | u) = sigma s / sqrt(sigma^2 + s^2), as for the Gaussian forecast."""
        spread = conditioning[0]
        return spread * torch.rsqrt(1 + (spread / sigma[:, None]).square())

    def draft_denoised(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B W"]:
        """c_skip u, the denoiser of the Gaussian forecast: D without the network."""
        spread = conditioning[0]
        return x / (1 + (sigma[:, None] / spread).square())

    def decode(self, x: Float[Tensor, "B W"], conditioning: tuple[Tensor, ...]) -> Float[Tensor, "B W"]:
        """Samples in the units of the contexts."""
        _, _, mean, hourly = conditioning
        return torch.addcmul(mean, hourly, x @ self.forecast.axes.T)

    def features(
        self, x: Float[Tensor, "B W"], sigma: Float[Tensor, " #B"], conditioning: tuple[Tensor, ...]
    ) -> Float[Tensor, "B features"]:
        """c_in u, the forecast's mean and log hourly spread, and log(sigma)/4. At the root u is zero."""
        spread, _, mean, hourly = conditioning
        u = x * torch.rsqrt(sigma.square()[:, None] + spread.square())
        return torch.cat([u, mean, hourly.log(), sigma.clamp_min(1e-3).log()[:, None] / 4], dim=1)

    def _context(self, problem: Problem) -> np.ndarray:
        context = np.asarray(problem.context if problem.conditioning is None else problem.conditioning, np.float32)
        length = self.config.forecast.context_length
        if context.shape != (length,):
            raise ValueError(
                f"problem {problem.name!r} has a context of shape {context.shape}; diff-k needs ({length},)"
            )
        if not np.isfinite(context).all():
            row = int(np.flatnonzero(~np.isfinite(context))[0])
            raise ValueError(
                f"problem {problem.name!r} has {context[row]} at position {row} of its context; fill the gap"
            )
        return context

    def _channel(self, problem: Problem) -> int:
        """Channel of the problem, or the unknown channel if the training data do not have it."""
        known = problem.extras.get("dataset") == self.config.dataset
        channel = int(problem.extras.get("channel", -1))
        channels = self.config.forecast.channels
        return channel if known and 0 <= channel < channels else channels
