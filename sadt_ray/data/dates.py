"""Dates of time steps: from texts to a ``TimeAxis``, along it, and back to dates."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from sadt_ray.interfaces import TimeAxis

_DAY = pd.Timedelta("1D")


class IrregularDates(ValueError):
    """Dates that do not follow each other by one step. The message names the first gap."""


def time_axis(dates: pd.DatetimeIndex, step: str | None = None) -> TimeAxis:
    """The axis of regular dates.

    Equal distances in absolute time are a step such as ``"h"``; otherwise equal distances on the calendar of the zone,
    such as ``"D"`` across a change of clocks, ``"MS"`` or ``"B"``.

    Args:
        dates: ascending.
        step: if it is known, an offset alias of pandas; the dates must agree with it.

    Raises:
        IrregularDates: if there is no common step; the message names the first gap.
        ValueError: for a single date without ``step``.
    """
    zone = None if dates.tz is None else str(dates.tz)
    if len(dates) == 0 or (len(dates) == 1 and step is None):
        raise ValueError("one date does not say how far the next one is; give step, such as 'h' or 'D'")
    axis = TimeAxis(_text(dates[0]), step or "", zone)
    if step is not None:
        wanted = dates_of(axis, len(dates))
        if not wanted.equals(dates):
            first = int(np.flatnonzero(wanted != dates)[0])
            raise IrregularDates(f"after {dates[first - 1]} comes {dates[first]}, not {wanted[first]}, one {step!r} on")
        return axis
    distances = dates[1:] - dates[:-1]
    if (distances == distances[0]).all() and distances[0] > pd.Timedelta(0):
        return replace(axis, step=str(pd.tseries.frequencies.to_offset(distances[0]).freqstr))
    wall = dates.tz_localize(None)
    try:
        calendar = pd.infer_freq(wall) if len(wall) >= 3 else None
    except (ValueError, TypeError):
        calendar = None
    if calendar is not None and pd.Timedelta(0) < distances.min() and distances.max() >= _DAY - pd.Timedelta("2h"):
        return replace(axis, step=str(calendar))
    raise IrregularDates(_gap(dates, distances))


def dates_of(axis: TimeAxis, count: int) -> pd.DatetimeIndex:
    """The dates of ``count`` time steps, in the zone of the axis."""
    return pd.date_range(_start(axis), periods=count, freq=axis.step)


def later(axis: TimeAxis, steps: int) -> TimeAxis:
    """The same axis, begun ``steps`` time steps later; earlier if negative."""
    offset, start = pd.tseries.frequencies.to_offset(axis.step), _start(axis)
    fixed = isinstance(offset, pd.tseries.offsets.Tick) and pd.Timedelta(offset) < _DAY
    if start.tz is None or fixed:
        return replace(axis, start=_text(start + steps * offset))
    wall = start.tz_localize(None) + steps * offset
    return replace(axis, start=_text(wall.tz_localize(axis.zone, ambiguous=True, nonexistent="shift_forward")))


def axis_of_texts(texts: Sequence[str]) -> TimeAxis | None:
    """The axis of a column of dates; None if they are not dates or not regular."""
    if len(texts) < 2 or all(text.strip().lstrip("-").replace(".", "", 1).isdigit() for text in texts[:2]):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # pandas warns of formats that it must guess
            return time_axis(pd.DatetimeIndex(pd.to_datetime(list(texts))))
    except (ValueError, TypeError, OverflowError):  # no dates, several formats or zones, or irregular
        return None


def _start(axis: TimeAxis) -> pd.Timestamp:
    start = pd.Timestamp(axis.start)
    if axis.zone is None:
        return start
    if start.tz is not None:
        return start.tz_convert(axis.zone)
    return start.tz_localize(axis.zone, ambiguous=True, nonexistent="shift_forward")


def _text(date: pd.Timestamp) -> str:
    """Local time to the minute, or to the second or finer where needed; with its offset if the local time is twofold.

    A local time occurs twice when clocks are set back. Without an offset it is the first.
    """
    wall = date.tz_localize(None) if date.tz is not None else date
    whole = wall.second == 0 and wall.microsecond == 0 and wall.nanosecond == 0
    text = wall.isoformat(timespec="minutes") if whole else wall.isoformat()
    if date.tz is not None and wall.tz_localize(date.tz, ambiguous=True, nonexistent="shift_forward") != date:
        return str(date.isoformat())
    return str(text)


def _gap(dates: pd.DatetimeIndex, distances: pd.TimedeltaIndex) -> str:
    usual = distances.value_counts().index[0]
    if usual <= pd.Timedelta(0):
        example = f"after {dates[0]} comes {dates[1]}"
        return f"{example}: most dates do not come after the one before them; sort them, and keep one of each"
    first = int(np.flatnonzero(distances != usual)[0])
    return (
        f"after {dates[first]} comes {dates[first + 1]}: {distances[first]} on, where most steps take {usual}; "
        "insert what is missing, or remove what is too much"
    )


def season_of(step: str) -> int:
    """Steps of the usual cycle: a day for hours and minutes, a week for days, a year for weeks, months and quarters.

    1 for other steps, such as a year.
    """
    offset = pd.tseries.frequencies.to_offset(step)
    if isinstance(offset, pd.tseries.offsets.Tick):
        length = pd.Timedelta(offset)
        for cycle in (_DAY, 7 * _DAY, 364 * _DAY):
            if length < cycle and cycle % length == pd.Timedelta(0):
                return int(cycle // length)
        return 1
    name = str(offset.freqstr).split("-")[0]
    return {"B": 5, "W": 52, "MS": 12, "ME": 12, "BMS": 12, "BME": 12, "QS": 4, "QE": 4}.get(name, 1)
