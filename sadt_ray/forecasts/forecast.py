"""A forecast that a user brings, in its own units and dates, and the prior that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypedDict, Unpack

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from sadt_ray.data.dates import dates_of, season_of, time_axis
from sadt_ray.forecasts.correlation import Correlation, ar1, from_history, from_samples, given, independent
from sadt_ray.forecasts.marginals import (
    Limit,
    Marginals,
    law_marginals,
    normal_marginals,
    quantile_marginals,
    sample_marginals,
)
from sadt_ray.forecasts.process import ForecastProcess
from sadt_ray.interfaces import Problem, Scale, TimeAxis

ASSUMED_RHO = 0.9
Dates: TypeAlias = "str | pd.Timestamp | pd.DatetimeIndex | Sequence[Any]"


class Details(TypedDict, total=False):
    """What is known of a forecast beside its laws.

    Attributes:
        start: the first time step, a date or its text; or the dates of all steps; or a list of either, one per item.
        step: from one time step to the next, an offset alias of pandas: ``"h"``, ``"30min"``, ``"D"``, ``"MS"``. Needed
            with a single date.
        zone: IANA name of the time zone of dates without one.
        names: of the items.
        channels: names of the series.
        unit: such as ``"MW"``.
        history: the observed series before each item, [L], [N, L] or [N, C, L], or one array per item.
        truth: the outcomes, [T], [N, T] or [N, C, T].
        correlation: as for ``Forecast.with_correlation``.
    """

    start: Dates | None
    step: str | None
    zone: str | None
    names: Sequence[str] | str | None
    channels: Sequence[str] | str | None
    unit: str
    history: Any
    truth: Any
    correlation: Any


@dataclass(frozen=True, eq=False, repr=False)
class Forecast:
    """Marginal laws of N items, each of C series over T time steps, and the correlation of their scores.

    Make one with ``from_quantiles``, ``from_samples``, ``from_normal``, ``from_law`` or ``read_forecast``.

    Attributes:
        names: of the items, unique.
        marginals: their laws, in the units of the data.
        correlation: how steps and series move together.
        times: time steps of each item; None if they are not known.
        channels: names of the C series.
        unit: of the values; empty if not known.
        history: observed values of each item, [C, L] with any L.
        truth: outcomes [N, C, T]; None if they are not known.
    """

    names: tuple[str, ...]
    marginals: Marginals
    correlation: Correlation
    times: tuple[TimeAxis | None, ...]
    channels: tuple[str, ...] = ("x",)
    unit: str = ""
    history: tuple[np.ndarray, ...] = ()
    truth: Float[np.ndarray, "N C T"] | None = None

    @classmethod
    def from_quantiles(
        cls,
        values: Float[np.ndarray, "*n T Q"],
        levels: Sequence[float],
        lower: Limit | None = None,
        upper: Limit | None = None,
        crossing: str = "refuse",
        **details: Unpack[Details],
    ) -> Forecast:
        """From quantiles [T, Q], [N, T, Q] or [N, C, T, Q] of Q levels.

        Args:
            values: quantiles, in the units of the data.
            levels: ascending between 0 and 1.
            lower, upper: limits that no value passes, such as 0 for counts.
            crossing: ``refuse`` quantiles that cross, or ``sort`` them.
            details: see ``Details``.

        Raises:
            ValueError: with item and step, for quantiles that cross or are not numbers, or details that do not fit.
        """
        values = _with_axes(values, 4, "quantiles [T, Q], [N, T, Q] or [N, C, T, Q]")
        blank = _Blank(values.shape[:3], details)
        laws = quantile_marginals(values, levels, lower, upper, crossing, blank.place)
        return blank.filled(laws)

    @classmethod
    def from_samples(
        cls,
        samples: Float[np.ndarray, "*n m T"],
        lower: Limit | None = None,
        upper: Limit | None = None,
        **details: Unpack[Details],
    ) -> Forecast:
        """From samples [m, T], [N, m, T] or, of C series together, [N, m, C, T].

        Unless ``correlation`` says otherwise, it comes from the samples of each item too.
        """
        samples = np.asarray(samples, float)
        if samples.ndim < 4:
            samples = _with_axes(samples, 3, "samples [m, T], [N, m, T] or [N, m, C, T]")[:, :, None]
        blank = _Blank((len(samples), *samples.shape[2:]), details)
        laws = sample_marginals(np.moveaxis(samples, 1, -1), lower, upper, blank.place)
        return blank.filled(laws, from_samples(samples) if samples.shape[1] >= 3 else None)

    @classmethod
    def from_normal(
        cls, mean: Float[np.ndarray, "*n T"], sd: Float[np.ndarray, "*#n #T"] | float, **details: Unpack[Details]
    ) -> Forecast:
        """From means and standard deviations [T], [N, T] or [N, C, T]. Decoding is linear then."""
        mean = np.asarray(mean, float)
        sd = np.broadcast_to(np.asarray(sd, float), mean.shape)
        mean, sd = (_with_channels(values, "means [T], [N, T] or [N, C, T]") for values in (mean, sd))
        return _Blank(mean.shape, details).filled(normal_marginals(mean, sd))

    @classmethod
    def from_law(
        cls,
        law: Any,
        shape: tuple[int, ...],
        lower: Limit | None = None,
        upper: Limit | None = None,
        **details: Unpack[Details],
    ) -> Forecast:
        """From a frozen continuous distribution of ``scipy.stats``, such as ``stats.lognorm(s, scale=median)``.

        Its parameters broadcast to ``shape``: (T,), (N, T) or (N, C, T).
        """
        if len(shape) not in (1, 2, 3):
            raise ValueError(f"shape is {shape}; it must be (T,), (N, T) or (N, C, T)")
        full = (shape[0] if len(shape) > 1 else 1, shape[1] if len(shape) > 2 else 1, shape[-1])
        blank = _Blank(full, details)
        if len(shape) == 2:
            law = _AddsChannel(law)
        return blank.filled(law_marginals(law, full, lower, upper))

    @property
    def horizon(self) -> int:
        """T, the number of time steps."""
        return self.marginals.shape[2]

    def dates(self, item: int | str = 0) -> pd.DatetimeIndex:
        """The dates of the steps of an item. Raises ValueError if they are not known."""
        index = self.names.index(item) if isinstance(item, str) else item
        axis = self.times[index]
        if axis is None:
            raise ValueError(f"the dates of {self.names[index]!r} are not known; give start and step")
        return dates_of(axis, self.horizon)

    def problems(self) -> list[Problem]:
        """One problem per item. Its samples are [T], or [C, T] of several series, in the units of the data."""
        series = len(self.channels)
        scale = Scale((0.0,) * series, (1.0,) * series, self.channels, self.unit)
        flat = (lambda values: values[0]) if series == 1 else (lambda values: values)
        nothing = np.zeros((series, 0))
        return [
            Problem(
                name=name,
                context=flat(self.history[item] if self.history else nothing),
                truth=None if self.truth is None else flat(self.truth[item]),
                time=self.times[item],
                scale=scale,
            )
            for item, name in enumerate(self.names)
        ]

    def process(self, **settings: Any) -> ForecastProcess:
        """The prior that this forecast makes; ``settings`` are those of ``ForecastProcess``."""
        return ForecastProcess(self, **settings)

    def with_correlation(self, which: Any, season: int | None = None) -> Forecast:
        """The same laws with another dependence.

        Args:
            which: a ``Correlation`` (see ``sadt_ray.forecasts.correlation``); a number, the correlation of neighbouring
                steps of an AR(1); a matrix [C T, C T]; ``"independent"``; or ``"history"``: how seasonal naive
                forecasts of each item's history erred.
            season: steps of a cycle, for ``"history"``; by default a day of hours or minutes, a week of days, a year of
                months.

        Raises:
            ValueError: for a matrix that is no correlation, or a history that is missing or too short.
        """
        if isinstance(which, str):
            found = self._correlation_named(which, season)
        else:
            found = _as_correlation(which, len(self.channels), self.horizon)
        return replace(self, correlation=found)

    def scores(self, outcomes: Float[np.ndarray, "N *C T"]) -> Float[np.ndarray, "N C T"]:
        """Scores of the outcomes of the items: N(0, 1) if the forecasts were right.

        Of past forecasts they show the correlation: ``correlation.from_scores(past.scores(outcomes))``.
        """
        values = np.asarray(outcomes, float)
        if values.size != np.prod(self.marginals.shape):
            raise ValueError(f"outcomes have shape {values.shape}; this forecast has {list(self.marginals.shape)}")
        found: np.ndarray = self.marginals.score(torch.as_tensor(values.reshape(self.marginals.shape))).numpy()
        return found

    def joined(self, name: str) -> Forecast:
        """The items as the series of one item: samples hold all of them together, [N, T].

        Series are independent at first; ``with_correlation`` changes it. Raises ValueError if items have several series
        or different dates.
        """
        if len(set(self.times)) > 1:
            raise ValueError("the items have different dates; only forecasts of the same steps can be joined")
        laws, count = self.marginals.as_series(), len(self.names)
        matrices = np.broadcast_to(self.correlation.matrix, (count, self.horizon, self.horizon))
        matrix = np.zeros((count, self.horizon, count, self.horizon))
        matrix[np.arange(count), :, np.arange(count)] = matrices
        size = count * self.horizon
        history = [values[0] for values in self.history]
        same_length = len({len(values) for values in history}) == 1
        return replace(
            self,
            names=(name,),
            marginals=laws,
            correlation=Correlation(matrix.reshape(size, size), f"{self.correlation.how}, independent series"),
            times=self.times[:1],
            channels=self.names,
            history=(np.stack(history),) if history and same_length else (),
            truth=None if self.truth is None else self.truth.swapaxes(0, 1),
        )

    def __repr__(self) -> str:
        items = self.names[0] if len(self.names) == 1 else f"{len(self.names)} items"
        series = "" if len(self.channels) == 1 else f" of {len(self.channels)} series"
        axis, when = self.times[0], f"{self.horizon} steps, dates not known"
        if axis is not None:
            dates = self.dates()
            when = f"{self.horizon} steps of {axis.step}, {dates[0]:%Y-%m-%d %H:%M} to {dates[-1]:%Y-%m-%d %H:%M}"
            when += f" {axis.zone}" if axis.zone else ""
            when += "" if len(set(self.times)) == 1 else " (the first item)"
        laws = self.marginals
        tails = f"limits {_limits_text(laws)}" if laws.bounded else "normal tails"
        parts = [f"Forecast of {items}{series}", when, laws.how, tails, *laws.notes]
        parts += [self.unit] if self.unit else []
        return f"<{', '.join(parts)}; correlation {self.correlation.how}>"

    def _correlation_named(self, which: str, season: int | None) -> Correlation:
        series, steps = len(self.channels), self.horizon
        if which == "independent":
            return independent(series, steps)
        if which != "history":
            raise ValueError(f"there is no correlation {which!r}; choose history or independent, or give a number")
        if not self.history:
            raise ValueError("no history is known; give one, or another correlation")
        axis = self.times[0]
        if season is None and axis is None:
            raise ValueError("the step is not known; give season, the number of steps of a cycle")
        season = season_of(axis.step) if season is None and axis is not None else season
        assert season is not None
        each = [from_history(values, steps, season) for values in self.history]
        return Correlation(np.stack([item.matrix for item in each]), each[0].how)


class _Blank:
    """A forecast without its laws: items, dates and what else is known, checked against each other."""

    def __init__(self, shape: tuple[int, ...], details: Details) -> None:
        self.items, self.series, self.steps = shape
        self.details = details
        default = ["forecast"] if self.items == 1 else [f"item {item}" for item in range(self.items)]
        self.names = _named(details.get("names"), default, "item")
        fallback = ["x"] if self.series == 1 else [f"x{series}" for series in range(self.series)]
        self.channels = _named(details.get("channels"), fallback, "series")
        self.times = _times(self.items, self.steps, details)

    def place(self, item: int, series: int, step: int) -> str:
        """How errors name a number."""
        axis = self.times[item]
        when = f"step {step}" if axis is None else f"step {step} ({dates_of(axis, step + 1)[-1]})"
        what = "" if self.series == 1 else f", series {self.channels[series]!r}"
        return f"item {self.names[item]!r}{what}, {when}"

    def filled(self, laws: Marginals, found: Correlation | None = None) -> Forecast:
        """The forecast. Its correlation is what the details say, else ``found``, else an assumption."""
        truth = self.details.get("truth")
        if truth is not None:
            truth = np.asarray(truth, float)
            if truth.size != self.items * self.series * self.steps:
                shape = [self.items, self.series, self.steps]
                raise ValueError(f"the truth has shape {truth.shape}; this forecast is {shape}")
            truth = truth.reshape(self.items, self.series, self.steps)
        assumed = ar1(ASSUMED_RHO, self.steps, series=self.series)
        assumed = Correlation(assumed.matrix, f"assumed: {assumed.how}")
        forecast = Forecast(
            self.names,
            laws,
            found or assumed,
            self.times,
            self.channels,
            self.details.get("unit", ""),
            self._history(),
            truth,
        )
        which = self.details.get("correlation")
        return forecast if which is None else forecast.with_correlation(which)

    def _history(self) -> tuple[np.ndarray, ...]:
        history = self.details.get("history")
        if history is None:
            return ()
        if isinstance(history, np.ndarray) and history.ndim == 1:
            history = [history]
        each = tuple(np.atleast_2d(np.asarray(values, float)) for values in history)
        if len(each) != self.items or any(len(values) != self.series for values in each):
            raise ValueError(
                f"the history has {len(each)} items of {sorted({len(values) for values in each})} series; this "
                f"forecast has {self.items} items of {self.series}"
            )
        return each


class _AddsChannel:
    """A law of [N, T] as one of [N, 1, T]."""

    def __init__(self, law: Any) -> None:
        self._law, self.name = law, getattr(getattr(law, "dist", law), "name", type(law).__name__)
        if hasattr(law, "pdf"):
            self.pdf = lambda x: law.pdf(x[:, :, 0])[:, :, None]

    def ppf(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(self._law.ppf(p[:, :, 0]))[:, :, None]

    def isf(self, p: np.ndarray) -> np.ndarray:
        return np.asarray(self._law.isf(p[:, :, 0]))[:, :, None]


def _as_correlation(which: Any, series: int, steps: int) -> Correlation:
    if isinstance(which, Correlation):
        if which.size != series * steps:
            raise ValueError(f"the correlation has {which.size} scores; this forecast has {series} x {steps}")
        return which
    return ar1(float(which), steps, series=series) if np.ndim(which) == 0 else given(which, series * steps)


def _with_axes(values: Any, dimensions: int, expected: str) -> np.ndarray:
    """The array with leading items, and with one series before the last two dimensions."""
    array = np.asarray(values, float)
    if array.ndim == dimensions:
        return array
    if not 2 <= array.ndim < dimensions:
        raise ValueError(f"an array of shape {array.shape} is no {expected}")
    array = array[None] if array.ndim == 2 else array
    return array if dimensions == 3 else array[:, None]


def _with_channels(values: np.ndarray, expected: str) -> np.ndarray:
    if not 1 <= values.ndim <= 3:
        raise ValueError(f"an array of shape {values.shape} is no {expected}")
    return values if values.ndim == 3 else np.atleast_2d(values)[:, None]


def _named(names: Sequence[str] | str | None, default: Sequence[str], what: str) -> tuple[str, ...]:
    found = tuple(default) if names is None else (names,) if isinstance(names, str) else tuple(map(str, names))
    if len(found) != len(default) or len(set(found)) != len(found):
        raise ValueError(f"{len(found)} {what} names {list(found)[:5]}; {len(default)} different ones are needed")
    return found


def _times(items: int, steps: int, details: Details) -> tuple[TimeAxis | None, ...]:
    """The axis of each item. Raises ValueError for dates that are irregular, or too many or few."""
    start, step, zone = details.get("start"), details.get("step"), details.get("zone")
    if start is None:
        if step is not None:
            raise ValueError(f"step is {step!r}, but no start is given")
        return (None,) * items
    if isinstance(start, str | pd.Timestamp | pd.DatetimeIndex | np.datetime64):
        return (_axis(start, step, zone, steps),) * items
    if len(start) != items:
        raise ValueError(f"{len(start)} starts for {items} items; give one for all, or one each")
    return tuple(_axis(each, step, zone, steps) for each in start)


def _axis(start: Any, step: str | None, zone: str | None, steps: int) -> TimeAxis:
    if isinstance(start, TimeAxis):
        return start
    if not isinstance(start, pd.DatetimeIndex):
        first = pd.Timestamp(start)
        if step is None:
            raise ValueError(f"start {start} does not say how far the next step is; give step, such as 'h' or 'D'")
        dates = pd.DatetimeIndex([first])
    elif len(start) != steps:
        raise ValueError(f"{len(start)} dates for {steps} steps; give one for each, or the first one and step")
    else:
        dates = start
    if zone is not None:
        dates = dates.tz_localize(zone) if dates.tz is None else dates.tz_convert(zone)
    return time_axis(dates, step)


def _limits_text(laws: Marginals) -> str:
    lower, upper = (sorted(set(limit.tolist())) for limit in (laws.lower, laws.upper))
    return f"{lower[0]:g}..{upper[-1]:g}"
