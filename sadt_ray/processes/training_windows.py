"""Training data of diff-k: every window and channel of a part is one row, normalised by its own context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.processes.gaussian_forecast import NormalisedContext, instance_normalise


@dataclass(frozen=True)
class AugmentationConfig:
    """Shares of the training rows that are mixed, flipped, or made anonymous, see ``augmented``."""

    mixed: float = 0.5
    flipped: float = 0.3
    anonymous: float = 0.1


@runtime_checkable
class WindowedSeries(Protocol):
    """A dataset for training, such as ``sadt_ray.data.windows.SeriesDataset``."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def context_length(self) -> int: ...
    @property
    def prediction_length(self) -> int: ...
    def windows(self, split: str, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Contexts [n, context_length, C], futures [n, prediction_length, C] and rows of the first targets [n]."""


class Windows(NamedTuple):
    """Channel-independent training rows in instance-normalised units. The channels of a window are adjacent."""

    context: NormalisedContext
    future: Float[Tensor, "N W"]
    channel: Int[Tensor, " N"]

    def raw(self) -> tuple[Float[Tensor, "N L"], Float[Tensor, "N W"]]:
        """Contexts and futures before normalisation."""
        return self.context.undo(self.context.series), self.context.undo(self.future)

    def rows(self, index: Tensor) -> Windows:
        """The rows at ``index``."""
        context = NormalisedContext(*(column[index] for column in self.context))
        return Windows(context, self.future[index], self.channel[index])


def augmented(windows: Windows, rows: Int[Tensor, " B"], unknown_channel: int, shares: AugmentationConfig) -> Windows:
    """The windows at ``rows``, some of them augmented. Draws from torch's global generator.

    - mixed: (1 - w) x + w y with another window y of the same channel, w up to 1/2 (TSMix, Ansari et al. 2024);
    - flipped: -x, with the unknown channel, because no channel of the data looks like this;
    - anonymous: x with the unknown channel.
    """
    batch, count = windows.rows(rows), len(rows)
    mixed, flipped, anonymous, portion = torch.rand(4, count, 1)
    channels = int(windows.channel.max()) + 1
    partner = windows.rows(torch.randint(0, len(windows.channel) // channels, (count,)) * channels + batch.channel)
    portion = torch.where(mixed < shares.mixed, portion / 2, 0.0)
    sign = torch.where(flipped < shares.flipped, -1.0, 1.0)
    context, future = (
        sign * torch.lerp(own, other, portion) for own, other in zip(batch.raw(), partner.raw(), strict=True)
    )
    normalised = instance_normalise(context)
    unknown = (sign[:, 0] < 0) | (anonymous[:, 0] < shares.anonymous)
    channel = torch.where(unknown, unknown_channel, batch.channel)
    return Windows(normalised, (future - normalised.location) / normalised.scale, channel)


def normalised_windows(dataset: WindowedSeries, split: str, stride: int) -> Windows:
    """Every window and channel of a part, normalised by its own context."""
    contexts, futures, _ = dataset.windows(split, stride)
    n, _, channels = contexts.shape
    context = instance_normalise(_channel_rows(contexts))
    future = (_channel_rows(futures) - context.location) / context.scale
    return Windows(context, future, torch.arange(channels).repeat(n))


def _channel_rows(values: np.ndarray) -> Tensor:
    """[n, T, C] -> [n * C, T]."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 2, 1))).reshape(-1, values.shape[1])
