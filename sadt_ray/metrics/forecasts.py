"""The scores of a forecaster on every window of a dataset's part, by which priors are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.metrics.intervals import coverage, interval_width
from sadt_ray.metrics.scores import crps, mae, mse

SAMPLES = 100
"""Samples per forecast on which priors are scored."""
STRIDE = 48
"""Rows between the windows on which priors are scored."""


@runtime_checkable
class HasWindows(Protocol):
    """A series cut into windows, such as ``data.windows.SeriesDataset``."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the C channels."""

    def window_starts(self, split: str, stride: int) -> Any:
        """Rows of the first targets of a part's windows: [n]."""

    def problem(self, split: str, window_index: int, channel: int | str, stride: int = 48) -> Problem:
        """The forecasting problem of one window and channel."""


def problems_of(dataset: HasWindows, split: str, stride: int = STRIDE) -> list[Problem]:
    """One problem per window and channel of a part: all channels of the first window, then of the second, and so on.

    Args:
        dataset: the series.
        split: its part: train, val or test.
        stride: rows between windows.

    Raises:
        ValueError: for a part or a stride that does not exist.
    """
    windows = range(len(dataset.window_starts(split, stride)))
    return [dataset.problem(split, i, c, stride) for i in windows for c in range(len(dataset.columns))]


def forecast_scores(samples: Float[np.ndarray, "P S W"], problems: Sequence[Problem]) -> dict[str, float]:
    """Scores of unweighted forecasts, averaged over the P problems and the W hours.

    Args:
        samples: [P, S, W], S samples of W hours per problem, in the units of the data.
        problems: the P problems; each has its ``truth`` [W], in the same units.

    Returns:
        In the units of the data: ``crps`` (the fair estimator), ``width90`` (width of the central 90 % interval) and
        ``mae`` (of the median). In these units squared: ``mse`` (of the mean). Without a unit: ``coverage90`` (share of
        the truth inside the central 90 % interval).
    """
    truth = np.stack([np.asarray(problem.truth) for problem in problems])
    return {
        "crps": float(crps(samples, truth).mean()),
        "coverage90": float(coverage(samples, truth, 0.9).mean()),
        "width90": float(interval_width(samples, 0.9).mean()),
        "mse": float(mse(samples, truth).mean()),
        "mae": float(mae(samples, truth).mean()),
    }
