"""A synthetic hourly series with daily and weekly cycles, for use without data.

Each channel resembles an electricity load. It is the sum of a daily cycle with two harmonics and a drifting amplitude,
a weekday/weekend step, a slow mean-reverting walk, and autoregressive noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.signal import lfilter

from sadt_ray.data.windows import CONTEXT_LENGTH, PREDICTION_LENGTH, SeriesDataset, standardised
from sadt_ray.interfaces import TimeAxis

ROWS = 17_420  # the number of rows of ETTh1
CHANNELS = 7
TIME = TimeAxis("2024-01-01T00:00", "h")
"""A Monday: the sixth and seventh day of each week are the weekend."""


def synthetic_hourly(
    seed: int = 0,
    rows: int = ROWS,
    channels: int = CHANNELS,
    context_length: int = CONTEXT_LENGTH,
    prediction_length: int = PREDICTION_LENGTH,
) -> SeriesDataset:
    """Make a ``SeriesDataset`` named ``synthetic``. The same seed gives the same values on every machine.

    Raises ValueError for less than one channel, or too few rows for the split.
    """
    if channels < 1:
        raise ValueError(f"channels is {channels}; a series has at least one")
    generator = np.random.Generator(np.random.Philox(seed))
    raw = np.stack([_channel(generator, rows) for _ in range(channels)], axis=1)
    columns = tuple(f"channel_{i}" for i in range(channels))
    return standardised("synthetic", columns, raw, context_length, prediction_length, TIME)


def _channel(generator: np.random.Generator, rows: int) -> Float[np.ndarray, " rows"]:
    """One channel: cycles with their own phase, weights and noise."""
    hour = np.arange(rows)
    phase, second, weekend, level, noise = generator.uniform((0, 0.2, 0.2, 0.3, 0.1), (2 * np.pi, 0.6, 0.8, 0.9, 0.4))
    amplitude = 1.0 + 0.3 * _autoregression(generator, rows, 0.999)
    daily = np.cos(2 * np.pi * hour / 24 + phase) + second * np.cos(4 * np.pi * hour / 24 + 2 * phase)
    weekly = np.where(hour // 24 % 7 >= 5, -weekend, 0.0)
    slow = level * _autoregression(generator, rows, 0.998)
    return amplitude * daily + weekly + slow + noise * _autoregression(generator, rows, 0.7)


def _autoregression(generator: np.random.Generator, rows: int, coefficient: float) -> Float[np.ndarray, " rows"]:
    """A first-order autoregression of unit variance, started in its stationary distribution."""
    innovations = generator.standard_normal(rows)
    innovations[1:] *= np.sqrt(1 - coefficient**2)
    return lfilter([1.0], [1.0, -coefficient], innovations)
