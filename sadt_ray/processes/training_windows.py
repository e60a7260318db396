"""What diff-k is trained on: every window and channel of a part as one row, normalised by its own context."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.processes.gaussian_forecast import NormalisedContext, instance_normalise


class WindowedSeries(Protocol):
    """What training needs of a dataset; ``sadt_ray.data`` has several."""

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
    """Channel-independent training rows in instance-normalised units."""

    context: NormalisedContext
    future: Float[Tensor, "N W"]
    channel: Int[Tensor, " N"]

    def rows(self, index: Tensor) -> Windows:
        context = NormalisedContext(*(column[index] for column in self.context))
        return Windows(context, self.future[index], self.channel[index])


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
