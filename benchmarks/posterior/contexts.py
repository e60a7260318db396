"""The forecasting problems on which samplers are compared: fixed windows, one channel each, so that they are apart."""

from __future__ import annotations

from sadt_ray.data.windows import SeriesDataset
from sadt_ray.interfaces import Problem

NUM_TEST, NUM_VALIDATION = 28, 14
_STRIDE = 48  # rows between windows


def test_contexts(data: SeriesDataset) -> list[Problem]:
    """28 windows of the test part, as far apart as they can be, the channels in turn: for the final figures alone."""
    return _spread(data, "test", NUM_TEST)


def validation_contexts(data: SeriesDataset) -> list[Problem]:
    """14 windows of the validation part, likewise: for choosing settings."""
    return _spread(data, "val", NUM_VALIDATION)


def _spread(data: SeriesDataset, part: str, count: int) -> list[Problem]:
    """One channel per window: channels of one window share its weather and are not independent."""
    available = len(data.window_starts(part, _STRIDE))
    windows = [int((i + 0.5) * available / count) for i in range(count)]
    return [data.problem(part, window, i % len(data.columns), _STRIDE) for i, window in enumerate(windows)]


def training_contexts(data: SeriesDataset, windows: int, channels: int = 2) -> list[Problem]:
    """Windows of the training part, some channels of each, for flows to learn from."""
    available, columns = len(data.window_starts("train", _STRIDE)), len(data.columns)
    numbers = [int((i + 0.5) * available / windows) for i in range(windows)]
    shifts = [j * columns // channels for j in range(channels)]
    return [data.problem("train", w, (i + shift) % columns, _STRIDE) for i, w in enumerate(numbers) for shift in shifts]
