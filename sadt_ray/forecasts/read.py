"""Read a forecast from a table: a data frame, a CSV or a Parquet file, as forecasting libraries write them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sadt_ray.data.dates import time_axis
from sadt_ray.forecasts.columns import DATE, ITEM, OUTCOME, SAMPLE, VALUE, Columns, columns_of
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.forecasts.marginals import Limit
from sadt_ray.interfaces import TimeAxis

_SHOWN = 5  # faults of one kind


class BadForecast(ValueError):
    """A forecast that cannot be read. ``faults`` holds everything that is wrong with it."""

    def __init__(self, origin: str, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(f"{origin}:\n" + "\n".join(f"  - {fault}" for fault in faults))


def read_forecast(
    source: str | Path | pd.DataFrame,
    model: str | None = None,
    step: str | None = None,
    zone: str | None = None,
    dayfirst: bool = False,
    lower: Limit | None = None,
    upper: Limit | None = None,
    crossing: str = "refuse",
    unit: str = "",
    history: Any = None,
    correlation: Any = None,
) -> Forecast:
    """Read a forecast of quantiles, or of samples, one row per item and date.

    Columns: ``item_id`` or ``unique_id`` (not needed for one item), ``timestamp`` or ``ds``, and quantiles: ``0.1``,
    ``q10``, ``q0.1``, ``p90``, ``Model-lo-80`` and ``Model-hi-80``, ``median``. Or ``sample`` and ``value``, one row
    per item, date and sample. ``y`` or ``target`` is the outcome. Rows may be in any order. Dates keep their time zone.

    Args:
        source: a frame, or the path of a CSV (``.csv``, ``.csv.gz``) or Parquet file.
        model: name of the model, where the table has several.
        step: from one date to the next, an offset alias of pandas; by default found from the dates.
        zone: IANA name of the time zone: of dates without one, or to convert dates to.
        dayfirst: whether 03/01/2026 is in January.
        lower, upper, crossing: as for ``Forecast.from_quantiles``.
        unit: of the values, such as ``"MW"``.
        history: observed series before the forecast: a mapping from item to values, or as for ``Forecast``.
        correlation: as for ``Forecast.with_correlation``.

    Raises:
        BadForecast: a ValueError that names everything that is wrong at once, with item, row, value and remedy.
    """
    table, origin, first_row = _loaded(source)
    columns = columns_of([str(name) for name in table.columns])
    table.columns = pd.Index([str(name) for name in table.columns])
    levels = _chosen_levels(columns, model, origin)
    faults = list(columns.faults)
    values = [VALUE] if columns.samples else list(levels.values())
    rows = _Rows(table, columns, values, first_row, faults)
    rows.read_dates(zone, dayfirst)
    rows.read_numbers()
    if faults:
        raise BadForecast(origin, faults)
    names, times, blocks = rows.by_item(step)
    if faults:
        raise BadForecast(origin, faults)
    details: dict[str, Any] = {"names": names, "start": times, "unit": unit, "correlation": correlation}
    if history is not None:
        details["history"] = [history[name] for name in names] if hasattr(history, "keys") else history
    details["truth"] = rows.truth(names)
    try:
        if columns.samples:
            found = Forecast.from_samples(np.stack(blocks), lower, upper, **details)
        else:
            stacked = np.stack(blocks).astype(float)
            found = Forecast.from_quantiles(stacked, list(levels), lower, upper, crossing, **details)
    except ValueError as error:
        raise BadForecast(origin, [str(error)]) from None
    found.marginals.notes += tuple(columns.notes)
    return found


def _loaded(source: str | Path | pd.DataFrame) -> tuple[pd.DataFrame, str, int]:
    """A copy of the table, what errors call it, and the number of its first row."""
    if isinstance(source, pd.DataFrame):
        named = [name for name in source.index.names if name is not None]
        return (source.reset_index() if named else source.reset_index(drop=True)), "the data frame", 0
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give the path of a CSV or Parquet file of a forecast")
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            named = [name for name in table.index.names if name is not None]
            return (table.reset_index() if named else table), str(path), 0
        header = pd.read_csv(path, nrows=0).columns
        texts = dict.fromkeys([name for name in header if name.lower() in (*ITEM, *DATE)], str)
        return pd.read_csv(path, dtype=texts), str(path), 2
    except (ValueError, OSError) as error:  # not a table, or another encoding
        raise BadForecast(
            str(path), [f"cannot be read ({error}); give a CSV with a header, or a Parquet file"]
        ) from None


def _chosen_levels(columns: Columns, model: str | None, origin: str) -> dict[float, str]:
    """Column of each level of the model, ascending; faults of the columns alone end here."""
    faults = list(columns.faults)
    unknown = [name for name in columns.unknown if not (columns.samples and name in (SAMPLE, VALUE))]
    if columns.date is None:
        faults.append(f"there is no column of dates; name one of {' or '.join(DATE[:2])}")
    models = columns.quantiles
    if not models and not columns.samples:
        faults.append(
            "there are no quantile columns; name them 0.1, q10, p90 or Model-lo-80 and Model-hi-80, or bring "
            "samples in columns sample and value"
        )
    if unknown:
        faults.append(
            f"columns {', '.join(map(repr, unknown))} are neither item ({', '.join(ITEM)}), date ({', '.join(DATE)}), "
            f"outcome ({', '.join(OUTCOME)}) nor quantile; rename them or leave them out"
        )
    if model is not None and models and model not in models:
        faults.append(f"there is no model {model!r}; the models are {', '.join(map(repr, models))}")
    elif model is None and len(models) > 1:
        faults.append(f"there are several models: {', '.join(map(repr, models))}; choose one with model (--model)")
    elif models and not columns.samples:
        levels = models[model if model is not None else next(iter(models))]
        if len(levels) < 2:
            faults.append(f"quantile {next(iter(levels)):g} alone does not make a law; at least two levels are needed")
    if faults:
        raise BadForecast(origin, faults)
    if columns.samples:
        return {}
    return dict(sorted(models[model if model is not None else next(iter(models))].items()))


class _Rows:
    """The rows of a table, turned into numbers and dates; everything wrong goes to ``faults``."""

    def __init__(
        self, table: pd.DataFrame, columns: Columns, values: list[str], first_row: int, faults: list[str]
    ) -> None:
        self._table, self._columns, self._values = table.reset_index(drop=True), columns, values
        self._first_row, self._faults = first_row, faults
        item = columns.item
        self._items = pd.Series(["forecast"] * len(table)) if item is None else self._table[item].map(str)
        self._dates = pd.Series(dtype="datetime64[ns]")
        self._order: dict[str, np.ndarray] = {}
        if len(table) == 0:
            faults.append("there are no rows")

    def read_dates(self, zone: str | None, dayfirst: bool) -> None:
        """Parse the dates, keep or set their zone."""
        texts = self._table[self._columns.date]
        missing = texts.isna()
        try:
            dates = _parsed(texts, zone, dayfirst)
        except (ValueError, KeyError) as error:  # a zone that does not exist is a KeyError
            self._faults.append(f"dates cannot be placed in zone {zone!r} ({error})")
            return
        if dates is None:
            self._faults.append("dates have different offsets from UTC; name their time zone with zone")
            return
        for row in np.flatnonzero(dates.isna())[:_SHOWN]:
            what = "is missing" if missing[row] else f"{texts[row]!r} is no date"
            self._faults.append(f"{self._row(row)}: the date {what}; write it as 2026-01-03 18:00")
        self._more(int(dates.isna().sum()), "dates that do not parse")
        self._dates = dates

    def read_numbers(self) -> None:
        """Turn the values into numbers."""
        outcome = [] if self._columns.outcome is None else [self._columns.outcome]
        for column in [*self._values, *outcome]:
            numbers = pd.to_numeric(self._table[column], errors="coerce")
            bad = ~np.isfinite(numbers.to_numpy(float, na_value=np.nan))
            if column in outcome:  # an outcome may be unknown yet
                bad &= self._table[column].notna().to_numpy()
            for row in np.flatnonzero(bad)[:_SHOWN]:
                value = self._table[column][row]
                what = "is missing" if pd.isna(value) else f"is {value!r}, not a finite number"
                self._faults.append(f"{self._row(row)}: column {column!r} {what}; fill it in or leave the row out")
            self._more(int(bad.sum()), f"such values in column {column!r}")
            self._table[column] = numbers

    def by_item(self, step: str | None) -> tuple[list[str], list[TimeAxis], list[np.ndarray]]:
        """Names, time axes and values of the items, in order of appearance."""
        names, times, blocks = [], [], []
        for name, index in self._items.groupby(self._items, sort=False).groups.items():
            rows = np.asarray(index)
            found = self._samples(str(name), rows) if self._columns.samples else self._quantiles(str(name), rows)
            if found is None:
                continue
            dates, block = found
            try:
                times.append(time_axis(pd.DatetimeIndex(dates), step))
            except ValueError as error:
                self._faults.append(f"item {name!r}: {error}")
            names.append(str(name))
            blocks.append(block)
        shapes = {name: block.shape for name, block in zip(names, blocks, strict=True)}
        if len(set(shapes.values())) > 1:
            shown = ", ".join(f"{name!r} {_size(shape)}" for name, shape in list(shapes.items())[:_SHOWN])
            self._faults.append(f"items differ in size: {shown}; cut them to the same, or read them one by one")
        return names, times, blocks

    def truth(self, names: Sequence[str]) -> np.ndarray | None:
        """Outcomes [N, 1, T]; None unless all of them are known."""
        if self._columns.outcome is None:
            return None
        column = self._table[self._columns.outcome].to_numpy(float)
        found = np.stack([column[self._order[name]] for name in names])[:, None]
        return found if np.isfinite(found).all() else None

    def _quantiles(self, name: str, rows: np.ndarray) -> tuple[pd.Series, np.ndarray] | None:
        """Dates [T] and quantiles [T, Q] of an item; None if a date occurs twice."""
        dates = self._dates[rows].sort_values(kind="stable")
        self._order[name] = dates.index.to_numpy()
        if self._twice(name, dates, dates.duplicated(keep=False).to_numpy()):
            return None
        return dates, self._table.loc[dates.index, self._values].to_numpy(float)

    def _samples(self, name: str, rows: np.ndarray) -> tuple[pd.Series, np.ndarray] | None:
        """Dates [T] and samples [m, T] of an item; None if a date and sample occurs twice, or is missing."""
        part = pd.DataFrame(
            {"date": self._dates[rows], "sample": self._table[SAMPLE][rows], "value": self._table[VALUE][rows]}
        )
        if self._twice(name, part["date"], part.duplicated(["date", "sample"], keep=False).to_numpy()):
            return None
        wide = part.pivot(index="date", columns="sample", values="value").sort_index()
        first = part.sort_values("date", kind="stable").drop_duplicates("date")
        self._order[name] = first.index.to_numpy()
        if wide.isna().any(axis=None):
            date, sample = next(iter(wide.stack(future_stack=True).loc[lambda column: column.isna()].index))
            self._faults.append(
                f"item {name!r}: sample {sample} has no value on {date}; bring all dates of each sample"
            )
            return None
        return wide.index.to_series(), wide.to_numpy(float).T

    def _twice(self, name: str, dates: pd.Series, repeated: np.ndarray) -> bool:
        """Whether rows repeat, which is then a fault."""
        if not repeated.any():
            return False
        again = dates[repeated]
        same = again[again == again.iloc[0]].index[:2]
        rows = " and ".join(str(row + self._first_row) for row in same)
        what = "several models or origins in one file? keep one" if self._columns.item else "name the items in item_id"
        self._faults.append(
            f"item {name!r}: {again.iloc[0]} occurs more than once (rows {rows}; {repeated.sum()} such rows); "
            f"remove what is too much ({what})"
        )
        return True

    def _row(self, row: int) -> str:
        item = "" if self._columns.item is None else f"item {self._items[row]!r}, "
        return f"{item}row {row + self._first_row}"

    def _more(self, count: int, what: str) -> None:
        if count > _SHOWN:
            self._faults.append(f"and {count - _SHOWN} more {what}")


def _parsed(texts: pd.Series, zone: str | None, dayfirst: bool) -> pd.Series | None:
    """The dates, NaT for what is none; None if their offsets differ and no zone is named.

    Raises ValueError or KeyError for a zone that does not exist, or a local time that does not exist in it.
    """
    with warnings.catch_warnings(action="ignore"):  # of formats that must be guessed, and of mixed offsets
        try:
            dates = pd.to_datetime(texts, errors="coerce", dayfirst=dayfirst)
        except ValueError:  # newer pandas, for mixed offsets
            dates = pd.Series(dtype=object)
        if not pd.api.types.is_datetime64_any_dtype(dates):
            if zone is None:
                return None
            dates = pd.to_datetime(texts, errors="coerce", dayfirst=dayfirst, utc=True)
    if zone is None:
        return dates
    return dates.dt.tz_localize(zone) if dates.dt.tz is None else dates.dt.tz_convert(zone)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
