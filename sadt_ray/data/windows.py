"""A multichannel series as forecasting windows: contexts, futures and instances of ``Problem``.

Values are standardised by the mean and standard deviation of the training part, as in published ETT results, so that
errors of different channels can be averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.data.dates import later
from sadt_ray.interfaces import Problem, Scale, TimeAxis

CONTEXT_LENGTH = 336
PREDICTION_LENGTH = 96
PARTS = ("train", "val", "test")
_MONTH = 30 * 24
_ETT_HOURLY_ROWS = 17_420  # ETTh1 and ETTh2; published results use the first 12/4/4 months of 30 days


class Windows(NamedTuple):
    """n windows of C channels, all in standardised units."""

    contexts: Float[np.ndarray, "n context C"]
    futures: Float[np.ndarray, "n horizon C"]
    starts: Int[np.ndarray, " n"]  # row of the first target of each window


@dataclass(frozen=True)
class SeriesDataset:
    """A standardised series with its training, validation and test parts.

    Attributes:
        name: name of the dataset, with which every problem's name begins.
        columns: names of the channels.
        values: standardised values ``(raw - mean) / std``, [rows, channels] float32.
        mean, std: mean and standard deviation [channels] of the raw training values.
        splits: (start, stop) of each part: the rows of its *targets*. Contexts reach back into the previous part.
        context_length, prediction_length: numbers of rows of a context and of a future.
        time: dates of the rows: that of row 0, and the step; None if they are not known.
    """

    name: str
    columns: tuple[str, ...]
    values: Float[np.ndarray, "rows C"]
    mean: Float[np.ndarray, " C"]
    std: Float[np.ndarray, " C"]
    splits: Mapping[str, tuple[int, int]]
    context_length: int = CONTEXT_LENGTH
    prediction_length: int = PREDICTION_LENGTH
    time: TimeAxis | None = None

    def window_starts(self, split: str, stride: int) -> Int[np.ndarray, " n"]:
        """Rows of the first targets of a part's windows, every ``stride`` rows. All targets lie in the part.

        Raises ValueError for an unknown part or a stride less than 1.
        """
        if split not in self.splits:
            raise ValueError(f"{self.name} has no part {split!r}; choose one of {', '.join(self.splits)}")
        if stride < 1:
            raise ValueError(f"stride is {stride}; it is the number of rows between windows and must be at least 1")
        start, stop = self.splits[split]
        return np.arange(max(start, self.context_length), stop - self.prediction_length + 1, stride)

    def windows(self, split: str, stride: int) -> Windows:
        """All windows of a part: contexts [n, context_length, C], futures [n, prediction_length, C], starts [n]."""
        starts = self.window_starts(split, stride)
        views = np.lib.stride_tricks.sliding_window_view(
            self.values, self.context_length + self.prediction_length, axis=0
        )
        both = views[starts - self.context_length].transpose(0, 2, 1)
        return Windows(
            np.ascontiguousarray(both[:, : self.context_length]),
            np.ascontiguousarray(both[:, self.context_length :]),
            starts,
        )

    def channel_index(self, channel: int | str) -> int:
        """Column of a channel, from its name or its column. Raises ValueError if it does not exist."""
        if isinstance(channel, str):
            if channel not in self.columns:
                raise ValueError(f"{self.name} has no channel {channel!r}; choose one of {', '.join(self.columns)}")
            return self.columns.index(channel)
        if not 0 <= channel < len(self.columns):
            raise ValueError(f"channel {channel} is outside 0..{len(self.columns) - 1}, the channels of {self.name}")
        return int(channel)

    def problem(self, split: str, window_index: int, channel: int | str, stride: int = 48) -> Problem:
        """The forecasting problem of one window and channel, with a name such as ``ETTh1/test/0007/OT``.

        Only ``truth`` holds the future. ``time`` begins with the first target, ``scale`` leads back to the units of the
        file. A process or reward may read ``extras``: ``all_contexts`` [context_length, C],
        ``channel`` (its column), ``start`` (row of the first target) and ``dataset`` (name). Raises ValueError if the
        window or the channel does not exist.
        """
        starts = self.window_starts(split, stride)
        if not 0 <= window_index < len(starts):
            raise ValueError(
                f"window {window_index} does not exist: {self.name}/{split} has windows 0..{len(starts) - 1} "
                f"at stride {stride}"
            )
        start = int(starts[window_index])
        return self._problem(f"{split}/{window_index:04d}", start, self.channel_index(channel))

    def latest_problem(self, channel: int | str) -> Problem:
        """The problem after the last row, with a name such as ``ETTh1/latest/OT``. Its truth is not known yet."""
        return self._problem("latest", len(self.values), self.channel_index(channel))

    def _problem(self, where: str, start: int, column: int) -> Problem:
        """The problem whose first target is row ``start``. It has no truth if the series ends too early."""
        contexts = self.values[start - self.context_length : start]
        targets = self.values[start : start + self.prediction_length, column]
        return Problem(
            name=f"{self.name}/{where}/{self.columns[column]}",
            context=contexts[:, column].copy(),
            truth=targets.copy() if len(targets) == self.prediction_length else None,
            extras={"all_contexts": contexts.copy(), "channel": column, "start": start, "dataset": self.name},
            time=None if self.time is None else later(self.time, start),
            scale=Scale((float(self.mean[column]),), (float(self.std[column]),), (self.columns[column],)),
        )


def split_rows(rows: int, context_length: int, prediction_length: int) -> dict[str, tuple[int, int]]:
    """Target rows of the parts: 12/4/4 months for a file as long as hourly ETT, else 12/4/4 twentieths of the rows.

    Raises:
        ValueError: if a part has fewer rows than one window.
    """
    unit = _MONTH if rows == _ETT_HOURLY_ROWS else rows // 20
    bounds = (0, 12 * unit, 16 * unit, 20 * unit)
    splits = {part: (bounds[i], bounds[i + 1]) for i, part in enumerate(PARTS)}
    if 12 * unit < context_length + prediction_length or 4 * unit < prediction_length:
        needed = 20 * max(-(-(context_length + prediction_length) // 12), -(-prediction_length // 4))
        raise ValueError(
            f"{rows} rows are too few: the 12/4/4 split with context {context_length} and horizon "
            f"{prediction_length} needs at least {needed} rows"
        )
    return splits


def standardised(
    name: str,
    columns: tuple[str, ...],
    raw: Float[np.ndarray, "rows C"],
    context_length: int = CONTEXT_LENGTH,
    prediction_length: int = PREDICTION_LENGTH,
    time: TimeAxis | None = None,
) -> SeriesDataset:
    """Split raw values and standardise them by the training part. A channel that is constant there keeps its scale."""
    splits = split_rows(len(raw), context_length, prediction_length)
    train = raw[slice(*splits["train"])].astype(np.float64)
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 0, std, 1.0)
    values = ((raw - mean) / std).astype(np.float32)
    return SeriesDataset(name, columns, values, mean, std, splits, context_length, prediction_length, time)
