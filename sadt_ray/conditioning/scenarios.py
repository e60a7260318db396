"""What ``condition`` found: scenarios in which a condition holds, and the probability that it does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from sadt_ray.conditions.marks import Mark
from sadt_ray.data.dates import dates_of
from sadt_ray.interfaces import Problem
from sadt_ray.metrics import quantiles
from sadt_ray.numerics.logspace import effective_sample_size
from sadt_ray.report.picture import Picture
from sadt_ray.runs.directory import create_run_directory, write_json
from sadt_ray.runs.environment import describe_environment
from sadt_ray.runs.tables import format_cell, html_table, text_table

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
MAX_REPEATS = 3
COLUMNS = ("item", "probability", "95 % interval", "satisfied", "ESS", "starts", "evaluations", "method")
FORMATS = ("csv", "parquet")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ConditionedForecast:
    """Weighted samples of one item given a condition, and the probability of the condition. ``condition`` makes these.

    Everything is in the units and dates of the file.

    Attributes:
        problem: the item.
        text: the condition as it is written.
        words: the condition in words, and how many of the prior's samples satisfy it.
        samples: [n, C, T], C series over T time steps.
        weights: [n]; they sum to one, or are all 0 where nothing satisfies the condition.
        prior_samples: [m, C, T], without the condition.
        log_probability: log P; -inf where nothing satisfies it. For a soft condition P is the mean of its likelihood.
        interval: 95 % confidence interval of P.
        interval_method: how the interval was obtained.
        satisfied: share of the weight that satisfies the hard reading of the condition.
        starts: effective number of independent starts x_T that the weights come from.
        evaluations: function evaluations, pilots and prior samples included.
        reward_calls: samples that the condition was checked on, the same included.
        method: that found the samples.
        why: why it was chosen.
        remark: what has to be known before the result is used; empty if nothing.
        num_scenarios: that ``scenarios`` gives unless told otherwise.
        seed: of the choice of scenarios.
        marks: where the condition can be drawn.
    """

    problem: Problem
    text: str
    words: str
    samples: Float[np.ndarray, "n C T"]
    weights: Float[np.ndarray, " n"]
    prior_samples: Float[np.ndarray, "m C T"]
    log_probability: float
    interval: tuple[float, float]
    interval_method: str
    satisfied: float
    starts: float
    evaluations: int
    reward_calls: int
    method: str
    why: str
    remark: str = ""
    num_scenarios: int = 200
    seed: int = 0
    marks: tuple[Mark, ...] = ()

    @property
    def name(self) -> str:
        """Of the item."""
        return self.problem.name

    @property
    def probability(self) -> float:
        """P, the probability that the condition holds."""
        return math.exp(self.log_probability)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights; 0 where nothing satisfies the condition."""
        return effective_sample_size(self.weights) if self.weights.sum() > 0 else 0.0

    @property
    def unit(self) -> str:
        """Of the values; empty if not known."""
        return self.problem.scale.unit

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the C series."""
        known = self.problem.scale.channels
        count = self.samples.shape[1]
        return known if len(known) == count else tuple(f"x{k}" for k in range(count))

    @cached_property
    def dates(self) -> pd.Index:
        """Of the time steps; their numbers, from 1, where the dates are not known."""
        steps = self.samples.shape[2]
        if self.problem.time is None:
            return pd.RangeIndex(1, steps + 1, name="step")
        return dates_of(self.problem.time, steps).rename("timestamp")

    def quantiles(self, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
        """Quantiles given the condition: one row per date, one column per level; with several series, columns
        (series, level). NaN where nothing satisfies the condition.

        Raises ValueError for levels outside 0 to 1.
        """
        if not self.weights.sum() > 0:
            nothing = np.full((1, *self.samples.shape[1:]), np.nan)
            return self._frame(nothing, np.ones(1), levels)
        return self._frame(self.samples, self.weights, levels)

    def prior_quantiles(self, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
        """Quantiles without the condition, as ``quantiles`` gives them."""
        count = len(self.prior_samples)
        return self._frame(self.prior_samples, np.full(count, 1 / count), levels)

    @property
    def before(self) -> pd.DataFrame:
        """Quantiles of the forecast without the condition, at the levels .05, .25, .5, .75 and .95."""
        return self.prior_quantiles()

    def scenarios(
        self, n: int | None = None, equal_weights: bool = True, max_repeats: int = MAX_REPEATS
    ) -> pd.DataFrame:
        """Scenarios: one row per date, one column per scenario, numbered from 0; with several series, columns (series,
        scenario).

        Args:
            n: how many; those that ``condition`` was asked for if not given.
            equal_weights: resampled by their weights, so that each counts alike (systematic resampling). Otherwise the
                n samples of largest weight, whose weights are in ``frame.attrs["weights"]`` and sum to their share.
            max_repeats: no path comes more often than this. If it would, there are fewer scenarios, and
                ``frame.attrs["note"]`` says so.

        Raises:
            ValueError: for a number below 1.
        """
        n = self.num_scenarios if n is None else n
        for name, value in (("n", n), ("max_repeats", max_repeats)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not equal_weights:
            chosen = np.argsort(-self.weights, kind="stable")[: min(n, int((self.weights > 0).sum()))]
            frame = self._columns(chosen)
            frame.attrs["weights"] = self.weights[chosen].tolist()
            return frame
        chosen, note = self._resampled(n, max_repeats)
        frame = self._columns(chosen)
        frame.attrs["note"] = note
        return frame

    @property
    def notes(self) -> list[str]:
        """The remark, and whether there are fewer scenarios than asked for."""
        return [text for text in (self.remark, self._resampled(self.num_scenarios, MAX_REPEATS)[1]) if text]

    def to_frame(self, n: int | None = None) -> pd.DataFrame:
        """Scenarios of equal weight in long form: ``item_id, timestamp, sample, value``, which ``read_forecast`` reads.

        Several series have a column ``series``; time steps without dates a column ``step``.
        """
        chosen = self._resampled(self.num_scenarios if n is None else n, MAX_REPEATS)[0]
        steps, series = self.samples.shape[2], len(self.channels)
        values = self.samples[chosen]
        frame = pd.DataFrame(
            {
                "item_id": self.name,
                self.dates.name: np.tile(self.dates, len(chosen) * series),
                "sample": np.repeat(np.arange(len(chosen)), steps * series),
                "series": np.tile(np.repeat(np.asarray(self.channels, object), steps), len(chosen)),
                "value": values.reshape(-1),
            }
        )
        if self.problem.time is not None:
            frame["timestamp"] = self.dates.take(np.tile(np.arange(steps), len(chosen) * series))
        return frame.drop(columns="series") if series == 1 else frame

    def summary(self) -> dict[str, Any]:
        """Everything but the samples, by name."""
        low, high = self.interval
        return {
            "item": self.name,
            "condition": self.text,
            "words": self.words,
            "probability": self.probability,
            "probability_low": low,
            "probability_high": high,
            "interval_method": self.interval_method,
            "log_probability": self.log_probability,
            "satisfied": self.satisfied,
            "ess": self.ess,
            "starts": self.starts,
            "evaluations": self.evaluations,
            "reward_calls": self.reward_calls,
            "method": self.method,
            "why": self.why,
            "scenarios": len(self._resampled(self.num_scenarios, MAX_REPEATS)[0]),
            "notes": self.notes,
        }

    def picture(self) -> Picture:
        """What a figure of this needs."""
        scale = self.problem.scale
        mean, std = (np.asarray(values, float)[:, None] for values in (scale.mean, scale.std))
        history = np.atleast_2d(np.asarray(self.problem.context, float)) * std + mean
        truth = self.problem.truth
        count, shape = len(self.prior_samples), (len(self.channels), len(LEVELS), -1)
        before = _quantiles(self.prior_samples, np.full(count, 1 / count), LEVELS).swapaxes(0, 1).reshape(shape)
        after = None
        if self.weights.sum() > 0:
            after = _quantiles(self.samples, self.weights, LEVELS).swapaxes(0, 1).reshape(shape)
        return Picture(
            name=self.name,
            dates=self.dates,
            channels=self.channels,
            unit=self.unit,
            history=history if history.shape[0] == len(self.channels) else np.zeros((len(self.channels), 0)),
            before=before,
            after=after,
            truth=None if truth is None else np.atleast_2d(np.asarray(truth, float)) * std + mean,
            marks=self.marks,
            paths=self.samples[self._resampled(self.num_scenarios, MAX_REPEATS)[0][:12]],
        )

    def plot(self) -> Any:
        """A matplotlib figure: the forecast before and after, and the condition where it is a level or a band.

        Raises ImportError without matplotlib (``pip install 'sadt-ray[report]'``).
        """
        return _drawing().figure_of(self.picture())

    def probability_text(self) -> str:
        """The probability with its interval, such as ``1.3e-05 (95 %: 1.1e-05 to 1.6e-05)``."""
        low, high = self.interval
        return f"{self.probability:.3g} (95 %: {low:.2g} to {high:.2g})"

    def __repr__(self) -> str:
        return "\n".join([f"P({self.text}) = {self.probability_text()} for {self.name!r}", *_table([self])])

    def _repr_html_(self) -> str:
        return _html([self])

    def _frame(self, samples: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> pd.DataFrame:
        found = _quantiles(samples, weights, levels)  # [levels, C, T]
        if len(self.channels) == 1:
            return pd.DataFrame(found[:, 0].T, self.dates, pd.Index(list(levels), name="level"))
        columns = pd.MultiIndex.from_product([self.channels, levels], names=["series", "level"])
        return pd.DataFrame(found.transpose(2, 1, 0).reshape(len(self.dates), -1), self.dates, columns)

    def _columns(self, chosen: np.ndarray) -> pd.DataFrame:
        values = self.samples[chosen]  # [n, C, T]
        numbers = range(len(chosen))
        if len(self.channels) == 1:
            return pd.DataFrame(values[:, 0].T, self.dates, pd.Index(numbers, name="scenario"))
        columns = pd.MultiIndex.from_product([self.channels, numbers], names=["series", "scenario"])
        return pd.DataFrame(values.transpose(2, 1, 0).reshape(len(self.dates), -1), self.dates, columns)

    def _resampled(self, n: int, max_repeats: int) -> tuple[np.ndarray, str]:
        """Numbers of n samples that count alike, or of fewer, in random order; and the note about it.

        Equal samples are one path.
        """
        if not self.weights.sum() > 0:
            return np.empty(0, np.int64), "there is no scenario, since nothing satisfies the condition"
        first, weights = self._paths
        most = max(int(max_repeats / weights.max() * (1 + 1e-12)), 1)
        count = min(n, most)
        rng = np.random.default_rng([self.seed, n])
        picked = _systematic(weights, count, float(rng.uniform()))
        note = ""
        if count < n:
            note = f"{count} scenarios of {n}: more would repeat a path more than {max_repeats} times"
        return first[rng.permutation(picked)], note

    @cached_property
    def _paths(self) -> tuple[np.ndarray, np.ndarray]:
        """The different paths of positive weight: number of the first sample of each, and their weights."""
        held = np.flatnonzero(self.weights > 0)
        flat = np.ascontiguousarray(self.samples[held].reshape(len(held), -1))
        _, first, which = np.unique(flat, axis=0, return_index=True, return_inverse=True)
        weights = np.bincount(which.ravel(), self.weights[held])
        return held[first], weights / weights.sum()


class ConditionedForecasts(Mapping[str, ConditionedForecast]):
    """What ``condition`` found for each item, by its name. For a single item its attributes are reachable directly.

    Attributes:
        text: the condition.
    """

    def __init__(self, found: Sequence[ConditionedForecast]) -> None:
        self._items = {each.name: each for each in found}
        self.text = found[0].text

    def __getitem__(self, item: str) -> ConditionedForecast:
        if item not in self._items:
            raise KeyError(f"no item is called {item!r}; there are {', '.join(list(self._items)[:5])}")
        return self._items[item]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        items = self.__dict__.get("_items", {})
        if name.startswith("_") or (not hasattr(ConditionedForecast, name) and name not in _FIELDS):
            raise AttributeError(f"ConditionedForecasts has no attribute {name!r}")
        if len(items) != 1:
            raise AttributeError(f"there are {len(items)} items; name one, as in found[{next(iter(items))!r}].{name}")
        return getattr(next(iter(items.values())), name)

    @property
    def impossible(self) -> list[str]:
        """The items of which no sample satisfies the condition."""
        return [name for name, each in self.items() if each.probability == 0]

    def to_frame(self) -> pd.DataFrame:
        """The scenarios of all items in long form, see ``ConditionedForecast.to_frame``."""
        return pd.concat([each.to_frame() for each in self.values()], ignore_index=True)

    def quantile_table(self, levels: Sequence[float] = LEVELS) -> pd.DataFrame:
        """Quantiles of all items, one row per item, series and date: the levels given the condition, and without it as
        ``before 0.5``."""
        parts = []
        for name, each in self.items():
            for k, series in enumerate(each.channels):
                after, before = (
                    table if len(each.channels) == 1 else table[series]
                    for table in (each.quantiles(levels), each.prior_quantiles(levels))
                )
                part = after.rename(columns=str).join(before.rename(columns="before {}".format)).reset_index()
                part.insert(0, "item_id", name)
                if len(each.channels) > 1:
                    part.insert(1, "series", each.channels[k])
                parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> list[dict[str, Any]]:
        """One mapping per item."""
        return [each.summary() for each in self.values()]

    def rows(self) -> list[dict[str, object]]:
        """One row per item, with the columns of the printed table."""
        return [dict(zip(COLUMNS, _cells(each), strict=True)) for each in self.values()]

    def save(
        self, directory: str | Path, format: str = "csv", about: Mapping[str, Any] | None = None
    ) -> tuple[Path, str]:
        """Write ``scenarios.csv`` (or ``.parquet``), ``quantiles.csv``, ``summary.json``, ``config.json`` and
        ``report.html``.

        Args:
            directory: a new or empty one.
            format: ``csv`` or ``parquet``.
            about: what else ``config.json`` holds.

        Returns:
            The directory, and why there is no report; empty if there is one.

        Raises:
            ValueError: for another format, or a directory that is not empty.
        """
        if format not in FORMATS:
            raise ValueError(f"format is {format!r}; choose {' or '.join(FORMATS)}")
        run = create_run_directory(Path(directory))
        frame = self.to_frame()
        if format == "csv":
            frame.to_csv(run / "scenarios.csv", index=False)
        else:
            frame.to_parquet(run / "scenarios.parquet", index=False)
        self.quantile_table().to_csv(run / "quantiles.csv", index=False)
        config = {"kind": "condition", "condition": self.text, "items": list(self), **(about or {})}
        write_json(run / "config.json", {**config, "environment": describe_environment()})
        write_json(run / "summary.json", {"kind": "condition", "items": self.summary(), "complete": True})
        try:
            drawing = _drawing()
        except ImportError as reason:
            return run, str(reason)
        pictures = [each.picture() for each in list(self.values())[: drawing.MAX_ITEMS]]
        drawing.write_condition_page(run, self.summary(), pictures, config)
        return run, ""

    def __repr__(self) -> str:
        if len(self) == 1:
            return repr(next(iter(self.values())))
        return "\n".join([f"P({self.text}) for {len(self):,} items", *_table(list(self.values()))])

    def _repr_html_(self) -> str:
        return _html(list(self.values()))


_FIELDS = frozenset(ConditionedForecast.__dataclass_fields__)


def _quantiles(samples: np.ndarray, weights: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """[levels, C, T]."""
    flat = quantiles(samples.reshape(len(samples), -1), levels, weights)
    return flat.reshape(len(flat), *samples.shape[1:])


def _systematic(weights: np.ndarray, n: int, uniform: float) -> np.ndarray:
    """n numbers by systematic resampling: i comes floor(n W_i) or ceil(n W_i) times."""
    points = (np.arange(n) + uniform) / n
    cumulative = np.cumsum(weights)
    return np.minimum(np.searchsorted(cumulative / cumulative[-1], points, side="right"), len(weights) - 1)


def _cells(found: ConditionedForecast) -> list[object]:
    low, high = found.interval
    return [
        found.name, found.probability, f"{low:.2g} to {high:.2g}", found.satisfied, found.ess, found.starts,
        found.evaluations, found.method,
    ]  # fmt: skip


def _table(found: Sequence[ConditionedForecast]) -> list[str]:
    cells = [[format_cell(value) for value in _cells(each)] for each in found]
    return [text_table(COLUMNS, cells), *_below(found)]


def _below(found: Sequence[ConditionedForecast]) -> list[str]:
    words = [each.words[:1].upper() + each.words[1:] for each in found] if len(found) == 1 else []
    notes = [f"{each.name}: {note}" if len(found) > 1 else note for each in found for note in each.notes]
    return [*words, *notes]


def _html(found: Sequence[ConditionedForecast]) -> str:
    cells = [[format_cell(value) for value in _cells(each)] for each in found]
    first = f"P({found[0].text}) = {found[0].probability_text()}" if len(found) == 1 else f"P({found[0].text})"
    return f"<p><strong>{escape(first)}</strong></p>" + html_table("", COLUMNS, cells, _below(found))


def _drawing() -> Any:
    """What draws pages; ImportError says how to get it."""
    try:
        return import_module("sadt_ray.report.condition_page")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in ("matplotlib", "plotly"):
            raise
        raise ImportError(f"reports and plots need {missing.name}: pip install 'sadt-ray[report]'") from None
