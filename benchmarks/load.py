"""What does conditioning do on a real series? Hourly load of DEOK (PJM: Duke Energy Ohio and Kentucky), 2012 to 2018.

Quantile regression with gradient-boosted trees forecasts every fifth day of the last year from midnight. Two questions
follow. *What if* the total of the day were known: what do its hours look like? And how likely is a high peak?
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pandas.tseries.holiday import USFederalHolidayCalendar
from rich.console import Console
from rich.progress import track
from scipy import special, stats

from benchmarks import BenchResult
from sadt_ray.conditioning.condition import condition
from sadt_ray.data.etth1 import DataNotFound, cache_directory, data_directories
from sadt_ray.forecasts import correlation
from sadt_ray.forecasts.correlation import Correlation
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.metrics import crps
from sadt_ray.metrics.calibration import reliability
from sadt_ray.metrics.clustered import Estimate, clustered_mean, paired_difference
from sadt_ray.runs.tables import format_cell, text_table

QUESTION = "What does conditioning do on a real series: the day's total as what-if, and the risk of a peak?"
FILE = "DEOK_hourly.csv"
HOURS, YEAR, WARM_UP = 24, 365, 7
LEVELS = (0.01, 0.025, *np.round(np.arange(1, 20) / 20, 2).tolist(), 0.975, 0.99)
BAND = 0.01  # half width of the band about the total, as a share of it
SAMPLES = 100_000
RISKS = (95, 99)  # percentiles of the hourly load of the training years
BINS = 5
_TREES = {"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 31, "min_samples_leaf": 60, "random_state": 0}
_EVERY = {True: 30, False: 5}  # days from one forecast of the test year to the next; no multiple of a week
_EXACT = 20_000  # draws of the closed form
_T = TypeVar("_T")


# ---- the series -----------------------------------------------------------------------------------------------------


def find_file() -> Path:
    """``series/DEOK_hourly.csv`` or ``DEOK_hourly.csv`` in the directories where ETTh1 is looked for.

    Raises:
        DataNotFound: with the places, if there is none.
    """
    places = [root / part for root in data_directories() for part in (Path("series", FILE), Path(FILE))]
    for place in places:
        if place.is_file():
            return place
    listed = "\n".join(f"  - {place}" for place in places)
    raise DataNotFound(
        f"{FILE} was not found. Looked at:\n{listed}\nIt is the hourly load of DEOK as PJM publishes it, with columns "
        f"Datetime and DEOK_MW; put it in one of these places, or set SADT_DATA to the directory that holds series/"
    )


def read_load(path: Path) -> pd.Series:
    """Load in MW by the hour, whole days only, labelled by the hour's beginning.

    The file's labels are day first, out of order, and name the end of the hour. Hours that occur twice (autumn clock
    change) are averaged; hours that are missing are interpolated.
    """
    file = pd.read_csv(path)
    dates = pd.to_datetime(file.iloc[:, 0], format="%d-%m-%Y %H:%M") - pd.Timedelta(hours=1)
    hourly = file.iloc[:, 1].groupby(dates.to_numpy()).mean().sort_index().asfreq("h").interpolate()
    first, last = hourly.index[0].ceil("D"), (hourly.index[-1] + pd.Timedelta(hours=1)).floor("D")
    return hourly[(hourly.index >= first) & (hourly.index < last)].rename("load")


@dataclass(frozen=True, eq=False)
class Days:
    """A series by days, with what a forecaster knows of each at its midnight."""

    first: pd.Timestamp
    load: Float[np.ndarray, "D 24"]

    @property
    def test(self) -> range:
        """The last year."""
        return range(len(self.load) - YEAR, len(self.load))

    @property
    def validation(self) -> range:
        """The year before."""
        return range(len(self.load) - 2 * YEAR, len(self.load) - YEAR)

    @property
    def training(self) -> range:
        """All earlier days that have a week before them."""
        return range(WARM_UP, len(self.load) - 2 * YEAR)

    def date(self, day: int) -> pd.Timestamp:
        return self.first + pd.Timedelta(days=day)

    @cached_property
    def features(self) -> Float[np.ndarray, "D 24 F"]:
        """Calendar and load of the days before; NaN in the first week. Nothing of the day itself."""
        dates = pd.date_range(self.first, periods=len(self.load))
        off = dates.isin(USFederalHolidayCalendar().holidays(dates[0], dates[-1]))
        yesterday = pd.DataFrame(self.load).shift(1)
        before = pd.DataFrame(self.load).shift(2)
        week = pd.DataFrame(self.load).shift(1).rolling(WARM_UP).mean()
        by_day = [dates.dayofweek, dates.dayofyear, off, np.roll(off, 1), yesterday.mean(axis=1), yesterday.max(axis=1)]
        by_day += [yesterday.min(axis=1), yesterday[HOURS - 1], yesterday[HOURS - 1] - before[HOURS - 1]]
        by_hour = [np.broadcast_to(np.arange(HOURS), self.load.shape), yesterday, before]
        by_hour += [pd.DataFrame(self.load).shift(WARM_UP), week]
        columns = [np.broadcast_to(np.asarray(x, float)[:, None], self.load.shape) for x in by_day]
        return np.stack([*columns, *(np.asarray(x, float) for x in by_hour)], axis=-1)


def days_of(hourly: pd.Series) -> Days:
    """Raises ValueError for a series without a year of training before validation and test."""
    load = hourly.to_numpy(float).reshape(-1, HOURS)
    if len(load) < 3 * YEAR:
        raise ValueError(f"{len(load)} days are too few for a year each of training, validation and test")
    return Days(hourly.index[0], load)


# ---- the forecast ---------------------------------------------------------------------------------------------------


def quantile_forecasts(days: Days, fitted_on: Sequence[int], asked: Sequence[int]) -> Float[np.ndarray, "A 24 Q"]:
    """Quantiles of each hour by gradient-boosted trees, one model per level, sorted.

    The trees see the difference from the mean of the day before: they cannot extrapolate a level.

    Raises:
        ModuleNotFoundError: without scikit-learn.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ModuleNotFoundError:
        raise ModuleNotFoundError("scikit-learn is not installed; pip install -e '.[bench]'") from None

    level = days.features[..., 4]
    rows, at = np.asarray(fitted_on), np.asarray(asked)
    x, y = days.features[rows].reshape(rows.size * HOURS, -1), (days.load - level)[rows].ravel()
    wanted = days.features[at].reshape(at.size * HOURS, -1)
    found = []
    for q in track(LEVELS, "fitting", console=Console(stderr=True), transient=True):
        model = HistGradientBoostingRegressor(loss="quantile", quantile=q, early_stopping=False, **_TREES)
        found.append(model.fit(x, y).predict(wanted).reshape(at.size, HOURS) + level[at])
    return np.sort(np.stack(found, axis=-1), axis=-1)


@dataclass(frozen=True, eq=False)
class DayAhead:
    """Forecasts of A days and what came.

    Attributes:
        dates: the days.
        quantiles: of each hour, in MW.
        correlation: of the scores of the hours of a day.
        truth: load, in MW.
        seconds: that fitting took, when it was done.
    """

    dates: Sequence[pd.Timestamp]
    quantiles: Float[np.ndarray, "A 24 Q"]
    correlation: Correlation
    truth: Float[np.ndarray, "A 24"]
    seconds: float

    def forecast(self, which: slice = slice(None)) -> Forecast:
        """One item per day."""
        return forecast_of(self.dates[which], self.quantiles[which]).with_correlation(self.correlation)

    def day(self, k: int) -> Forecast:
        return self.forecast(slice(k, k + 1))

    def normal_day(self, k: int, mean: Float[np.ndarray, " 24"], sd: Float[np.ndarray, " 24"]) -> Forecast:
        """The day with normal laws."""
        name = f"{self.dates[k]:%Y-%m-%d}"
        return Forecast.from_normal(
            mean, sd, names=name, start=self.dates[k], step="h", unit="MW", correlation=self.correlation
        )


def forecast_of(dates: Sequence[pd.Timestamp], quantiles: Float[np.ndarray, "A 24 Q"]) -> Forecast:
    """Quantiles as a forecast of one item per day."""
    names = [f"{date:%Y-%m-%d}" for date in dates]
    return Forecast.from_quantiles(
        quantiles, LEVELS, lower=0, crossing="sort", names=names, start=list(dates), step="h", unit="MW"
    )


def day_ahead(days: Days, asked: Sequence[int], content: bytes) -> DayAhead:
    """Forecasts of days of the test year; what the trees said is kept in the cache, for the whole of it.

    The laws come from models fitted on all years before the test year, their correlation from the scores of the
    validation year under models fitted on the years before that.
    """
    text = json.dumps([LEVELS, _TREES, days.features.shape[-1]])
    file = cache_directory() / "load" / f"{hashlib.sha256(content + text.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        begun = time.perf_counter()
        past = quantile_forecasts(days, days.training, days.validation)
        ahead = quantile_forecasts(days, [*days.training, *days.validation], days.test)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, past=past, ahead=ahead, seconds=time.perf_counter() - begun)
    with np.load(file) as kept:
        past, ahead, seconds = kept["past"], kept["ahead"], float(kept["seconds"])
    outcomes = days.load[np.asarray(days.validation)]
    scores = forecast_of([days.date(day) for day in days.validation], past).scores(outcomes)
    how = correlation.from_scores(scores, how=f"from {len(past)} past forecasts")
    at = np.asarray(asked)
    return DayAhead([days.date(day) for day in asked], ahead[at - days.test[0]], how, days.load[at], seconds)


# ---- samples and closed forms ---------------------------------------------------------------------------------------


def copula_draws(forecast: Forecast, n: int, seed: Sequence[int]) -> Float[np.ndarray, "n 24"]:
    """Independent samples of a forecast of one item: z ~ N(0, R), x = F^-1(Phi(z))."""
    root = np.linalg.cholesky(forecast.correlation.matrix)
    z = torch.from_numpy(np.random.default_rng(seed).standard_normal((n, HOURS)) @ root.T)
    return forecast.marginals.transform(z[:, None], torch.zeros(n, dtype=torch.int64))[:, 0].numpy()


@dataclass(frozen=True)
class SumGiven:
    """N(m, C) given that the sum lies in [low, high], in closed form.

    x = m + k (s - 1.m) + e with k = C 1 / (1.C 1), s the truncated normal sum, and e of covariance C - k k^T (1.C 1),
    independent of s.
    """

    mean: Float[np.ndarray, " T"]
    covariance: Float[np.ndarray, "T T"]
    low: float
    high: float

    @property
    def _bounds(self) -> tuple[float, float, float, float]:
        """Mean and standard deviation of the sum, and the band in standard deviations."""
        mean, sd = float(self.mean.sum()), float(np.sqrt(self.covariance.sum()))
        return mean, sd, (self.low - mean) / sd, (self.high - mean) / sd

    @property
    def _sum(self) -> stats.distributions.rv_frozen:
        mean, sd, a, b = self._bounds
        return stats.truncnorm(a, b, loc=mean, scale=sd)

    @property
    def _gain(self) -> Float[np.ndarray, " T"]:
        """k, by how much each hour moves with the sum."""
        return self.covariance.sum(1) / self.covariance.sum()

    @property
    def log_probability(self) -> float:
        """Of the band."""
        _, _, a, b = self._bounds
        a, b = (-b, -a) if a > 0 else (a, b)  # the lower tail is the accurate one
        return float(np.log(special.ndtr(b) - special.ndtr(a)))

    def conditional_mean(self) -> Float[np.ndarray, " T"]:
        return self.mean + self._gain * (float(self._sum.mean()) - self._bounds[0])

    def conditional_sd(self) -> Float[np.ndarray, " T"]:
        removed = self._bounds[1] ** 2 - float(self._sum.var())
        return np.sqrt(np.diag(self.covariance) - self._gain**2 * removed)

    def draws(self, n: int, seed: int) -> Float[np.ndarray, "n T"]:
        """Independent samples: those of N(m, C), moved along k until their sums are draws of s."""
        generator = np.random.default_rng(seed)
        x = self.mean + generator.standard_normal((n, len(self.mean))) @ np.linalg.cholesky(self.covariance).T
        sums = self._sum.ppf(generator.random(n))
        return x + np.outer(sums - x.sum(1), self._gain)


# ---- what if the total were known -----------------------------------------------------------------------------------

BEFORE, AFTER, REJECTION, SCALED = "before", "after", "after_rejection", "after_scaling"
NORMAL, NORMAL_AFTER, NORMAL_EXACT = "before_normal", "after_normal", "after_normal_exact"
_WORDS = {
    BEFORE: "before",
    AFTER: "condition()",
    REJECTION: "rejection",
    SCALED: "scaled samples",
    NORMAL: "normal laws",
    NORMAL_AFTER: "normal laws, condition()",
    NORMAL_EXACT: "normal laws, closed form",
}
_COMPARED = {AFTER: BEFORE, REJECTION: AFTER, SCALED: AFTER, NORMAL: BEFORE, NORMAL_AFTER: NORMAL_EXACT}


@dataclass(frozen=True)
class WhatIf:
    """One day given its total.

    Attributes:
        crps: by hour, of each way.
        seconds: of each way that was timed, sampling included.
        evaluations: of ``condition``, by way; of rejection its samples.
        log_p: of the band, by way; -inf where rejection accepts nothing.
        accepted: samples that rejection keeps.
        mean_error: of ``condition`` with normal laws, root mean square over hours, in conditional standard deviations.
        method: that ``condition`` chose.
    """

    crps: dict[str, Float[np.ndarray, " 24"]]
    seconds: dict[str, float]
    evaluations: dict[str, float]
    log_p: dict[str, float]
    accepted: int
    mean_error: float
    method: str


def what_if(ahead: DayAhead, k: int, draws: Float[np.ndarray, "n 24"], drawn_in: float) -> WhatIf:
    """Condition day k on its realised total. ``draws`` are its samples, drawn in so many seconds."""
    truth = ahead.truth[k]
    total = round(float(truth.sum()))
    low, high = total - round(BAND * total), total + round(BAND * total)
    given = f"sum = {total} +- {round(BAND * total)}"
    found, seconds = timed(lambda: condition(ahead.day(k), given, seed=k, progress=False))
    kept, rejecting = timed(lambda: draws[(draws.sum(1) >= low) & (draws.sum(1) <= high)])
    scaled, scaling = timed(lambda: draws * (total / draws.sum(1, keepdims=True)))
    mean, sd = draws.mean(0), draws.std(0)
    normal = ahead.normal_day(k, mean, sd)
    exact = SumGiven(mean, ahead.correlation.matrix * np.outer(sd, sd), low, high)
    normal_found, normal_seconds = timed(lambda: condition(normal, given, seed=k, progress=False))
    exact_draws, exact_seconds = timed(lambda: exact.draws(_EXACT, k))
    error = (normal_found.weights @ normal_found.samples[:, 0] - exact.conditional_mean()) / exact.conditional_sd()
    return WhatIf(
        crps={
            BEFORE: by_hour(draws, truth),
            AFTER: by_hour(found.samples[:, 0], truth, found.weights),
            REJECTION: by_hour(kept, truth),
            SCALED: by_hour(scaled, truth),
            NORMAL: by_hour(copula_draws(normal, _EXACT, [k, 1]), truth),
            NORMAL_AFTER: by_hour(normal_found.samples[:, 0], truth, normal_found.weights),
            NORMAL_EXACT: by_hour(exact_draws, truth),
        },
        seconds={
            AFTER: seconds,
            REJECTION: drawn_in + rejecting,
            SCALED: drawn_in + scaling,
            NORMAL_AFTER: normal_seconds,
            NORMAL_EXACT: exact_seconds,
        },
        evaluations={AFTER: found.evaluations, REJECTION: len(draws), NORMAL_AFTER: normal_found.evaluations},
        log_p={
            AFTER: found.log_probability,
            REJECTION: float(np.log(len(kept) / len(draws))) if len(kept) else -np.inf,
            NORMAL_AFTER: normal_found.log_probability,
            NORMAL_EXACT: exact.log_probability,
        },
        accepted=len(kept),
        mean_error=float(np.sqrt(np.mean(np.square(error)))),
        method=found.method,
    )


def by_hour(
    samples: Float[np.ndarray, "n 24"], truth: Float[np.ndarray, " 24"], weights: Float[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, " 24"]:
    """Fair CRPS of every hour; NaN without samples, or without weight."""
    if len(samples) == 0 or (weights is not None and weights.sum() == 0):
        return np.full(len(truth), np.nan)
    shared = None if weights is None else np.broadcast_to(weights, samples.shape[::-1])
    return crps(samples.T[:, :, None], truth[:, None], shared)


def timed(work: Callable[[], _T]) -> tuple[_T, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


# ---- the risk of a peak ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Risk:
    """P(largest load of the day > level) of A days, and whether it was.

    Attributes:
        percentile: of the hourly load of the training years.
        level: in MW.
        happened: whether the peak was above.
        predicted: by ``condition``, by counting samples, and by the share of training days, of all and of the month.
        seconds, evaluations: of ``condition`` per day.
        methods: that it chose.
    """

    percentile: int
    level: float
    happened: Bool[np.ndarray, " A"]
    predicted: dict[str, Float[np.ndarray, " A"]]
    seconds: float
    evaluations: float
    methods: Sequence[str]

    def loss(self, who: str) -> Float[np.ndarray, " A"]:
        """Squared error of the probability; its mean is the Brier score."""
        return np.square(self.predicted[who] - self.happened)

    def table(self, who: str) -> str:
        """Reliability: what was predicted, and how often it happened."""
        bins = reliability(np.clip(self.predicted[who], 0, 1), self.happened, BINS)
        columns = zip(bins.edges[:-1], bins.edges[1:], bins.counts, bins.confidence, bins.accuracy, strict=True)
        rows = [
            [f"{a:.1f} to {b:.1f}", str(n), format_cell(float(p)), format_cell(float(o))] for a, b, n, p, o in columns
        ]
        return text_table(["predicted", "days", "mean predicted", "happened"], rows)


PEAK, COUNTING, CLIMATOLOGY, MONTHLY = "peak", "counting", "climatology", "climatology_monthly"
_RISK_WORDS = {
    PEAK: "condition()",
    COUNTING: "counting",
    CLIMATOLOGY: "climatology",
    MONTHLY: "climatology by month",
}


def risk(days: Days, ahead: DayAhead, percentile: int, peaks: Float[np.ndarray, "A n"]) -> Risk:
    """``peaks`` are the largest hours of the samples of each day."""
    past = days.load[np.asarray(days.training)]
    level = round(float(np.percentile(past, percentile)))
    above = past.max(1) > level
    month = np.array([days.date(day).month for day in days.training])
    by_month = np.array([above[month == date.month].mean() for date in ahead.dates])
    found, seconds = timed(lambda: condition(ahead.forecast(), f"max > {level}", seed=percentile, progress=False))
    return Risk(
        percentile,
        level,
        ahead.truth.max(1) > level,
        {
            PEAK: np.array([item.probability for item in found.values()]),
            COUNTING: (peaks > level).mean(1),
            CLIMATOLOGY: np.full(len(peaks), above.mean()),
            MONTHLY: by_month,
        },
        seconds / len(peaks),
        float(np.mean([item.evaluations for item in found.values()])),
        [item.method for item in found.values()],
    )


# ---- the benchmark --------------------------------------------------------------------------------------------------


def run(quick: bool) -> BenchResult:
    """Every fifth day of the test year; if ``quick``, every thirtieth."""
    torch.set_num_threads(1)
    file = find_file()
    days = days_of(read_load(file))
    asked = days.test[:: _EVERY[quick]]
    ahead = day_ahead(days, asked, file.read_bytes())
    known, peaks = [], []
    for k in track(range(len(asked)), "days", console=Console(stderr=True), transient=True):
        draws, seconds = timed(partial(copula_draws, ahead.day(k), SAMPLES, [k]))
        known.append(what_if(ahead, k, draws, seconds))
        peaks.append(draws.max(1))
    risks = [risk(days, ahead, percentile, np.stack(peaks)) for percentile in RISKS]
    return _result(days, ahead, asked, known, risks)


def _result(
    days: Days, ahead: DayAhead, asked: Sequence[int], known: Sequence[WhatIf], risks: Sequence[Risk]
) -> BenchResult:
    months = [f"{date:%Y-%m}" for date in ahead.dates]
    scores = {way: np.stack([one.crps[way] for one in known]) for way in _WORDS}
    naive = float(np.abs(ahead.truth - days.load[np.asarray(asked) - 1]).mean())
    rows = [_what_if_row(way, known, scores, months) for way in _WORDS]
    rows += [_risk_row(each, who, months) for each in risks for who in _RISK_WORDS]
    notes = [*_NOTES, _forecast_note(ahead, naive), _agreement_note(known), _worst_note(ahead, scores)]
    notes.append(_hours_note(scores))
    for each in risks:
        title = f"Reliability of condition(), peak above {each.level:,.0f} MW ({each.percentile}th percentile):"
        unseen = int((each.predicted[COUNTING] == 0).sum())
        notes.append(f"{title}\n{each.table(PEAK)}\nCounting finds no sample above on {unseen} days.")
    return BenchResult(rows, _figures(ahead, known, scores, risks, months, naive), notes)


_NOTES = (
    "Series: labels of the file name the end of the hour, sorted; hours that occur twice are averaged, missing hours "
    "interpolated (4 and 9). Test: days of the last year; correlation: scores of the year before, under trees fitted "
    "on all earlier days.",
    f"what-if: given the realised total of the day to {BAND:.0%}, which nobody knows in advance: not a forecast.",
    "Loss: CRPS in MW, fair, mean of hours and days; of peaks the Brier score. Intervals: 95 %, months as clusters.",
    f"Rejection and counting: {SAMPLES:,} samples of the copula. Scaled: every sample times what its total lacks. "
    "Normal laws: mean and sd of the same forecast. Climatology: share of training days with such a peak.",
    "Evaluations: condition() counts the denoising steps of every sample, rejection and counting count samples.",
)


def _what_if_row(way: str, known: Sequence[WhatIf], scores: dict[str, np.ndarray], months: list[str]) -> dict:
    other = _COMPARED.get(way)
    there = np.isfinite(scores[way]).all(1) & (np.isfinite(scores[other]).all(1) if other else True)
    return {
        "case": f"what-if: {_WORDS[way]}",
        "days": int(there.sum()),
        "loss": float(np.nanmean(scores[way])),
        "against": _WORDS[other] if other else "",
        "difference": _signed(_paired(scores[way], scores[other], months)) if other else "",
        "evaluations": _mean(one.evaluations.get(way, np.nan) for one in known),
        "s/day": _mean(one.seconds.get(way, np.nan) for one in known),
    }


def _risk_row(each: Risk, who: str, months: list[str]) -> dict[str, object]:
    other = PEAK if who != PEAK else CLIMATOLOGY
    ours = who == PEAK
    return {
        "case": f"peak > {each.level:,.0f}: {_RISK_WORDS[who]}",
        "days": len(each.happened),
        "loss": float(each.loss(who).mean()),
        "against": _RISK_WORDS[other],
        "difference": _signed(paired_difference(each.loss(who), each.loss(other), months)),
        "evaluations": each.evaluations if ours else float(SAMPLES) if who == COUNTING else np.nan,
        "s/day": each.seconds if ours else np.nan,
    }


def _paired(ours: Float[np.ndarray, "A 24"], theirs: Float[np.ndarray, "A 24"], months: Sequence[str]) -> Estimate:
    """Mean difference over the days that both have."""
    difference = (ours - theirs).mean(1)
    there = np.isfinite(difference)
    return clustered_mean(difference[there], [month for month, kept in zip(months, there, strict=True) if kept])


def _signed(estimate: Estimate) -> str:
    digits = 2 if abs(estimate.value) >= 0.1 else 5
    return f"{estimate.value:+.{digits}f} ± {estimate.half_width():.{digits}f}"


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _forecast_note(ahead: DayAhead, naive: float) -> str:
    inside = _coverage(ahead)
    medians = ahead.quantiles[..., LEVELS.index(0.5)]
    return (
        f"Forecast: HistGradientBoostingRegressor (scikit-learn), {len(LEVELS)} levels, calendar and past load, no "
        f"weather; fitted in {ahead.seconds:.0f} s. 90 % intervals cover {inside:.1%} of the hours; mean absolute "
        f"error of the median {np.abs(medians - ahead.truth).mean():.0f} MW, of the same hour a day before "
        f"{naive:.0f} MW. Correlation {ahead.correlation.how}."
    )


def _coverage(ahead: DayAhead) -> float:
    low, high = (ahead.quantiles[..., LEVELS.index(level)] for level in (0.05, 0.95))
    return float(((low <= ahead.truth) & (ahead.truth <= high)).mean())


def _agreement_note(known: Sequence[WhatIf]) -> str:
    counts = pd.Series([one.method for one in known]).value_counts()
    chosen = ", ".join(f"{name} on {days}" for name, days in counts.items())
    accepted = [one.accepted for one in known]
    return (
        f"condition() took {chosen} of {len(known)} days. Rejection accepts {np.median(accepted):,.0f} samples "
        f"(median; least {min(accepted):,}). log P against rejection: rms "
        f"{_rms(_log_p_errors(known, AFTER, REJECTION)):.3f}; "
        f"normal laws against the closed form: rms {_rms(_log_p_errors(known, NORMAL_AFTER, NORMAL_EXACT)):.3f}, "
        f"conditional means differ by {np.mean([one.mean_error for one in known]):.3f} standard deviations."
    )


def _log_p_errors(known: Sequence[WhatIf], ours: str, theirs: str) -> Float[np.ndarray, " n"]:
    """Of the days on which both are finite."""
    pairs = np.array([[one.log_p[ours], one.log_p[theirs]] for one in known])
    pairs = pairs[np.isfinite(pairs).all(1)]
    return pairs[:, 0] - pairs[:, 1]


def _rms(values: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else float("nan")


def _worst_note(ahead: DayAhead, scores: dict[str, np.ndarray]) -> str:
    """What the worst day does to the means: the file holds days of a third of the usual load."""
    day, without = _without_worst(scores)
    there = "; ".join(f"{_WORDS[way]} {scores[way][day].mean():.1f}" for way in without)
    rest = "; ".join(f"{_WORDS[way]} {value:.1f}" for way, value in without.items())
    return f"CRPS of the worst day, {ahead.dates[day]:%Y-%m-%d}: {there}. Without it: {rest}."


def _without_worst(scores: dict[str, np.ndarray]) -> tuple[int, dict[str, float]]:
    """The day that the forecast itself is worst on, and the mean CRPS of each way without it."""
    day = int(scores[BEFORE].mean(1).argmax())
    return day, {way: float(np.nanmean(np.delete(values, day, axis=0))) for way, values in scores.items()}


def _hours_note(scores: dict[str, np.ndarray]) -> str:
    ways = (BEFORE, AFTER, REJECTION, SCALED)
    there = np.isfinite(scores[REJECTION]).all(1)
    rows = [[f"{hour:02d}:00", *(f"{scores[way][there, hour].mean():.1f}" for way in ways)] for hour in range(HOURS)]
    title = f"CRPS by hour, {there.sum()} days on which rejection accepts a sample:"
    return f"{title}\n" + text_table(["hour", *(_WORDS[way] for way in ways)], rows)


def _figures(
    ahead: DayAhead,
    known: Sequence[WhatIf],
    scores: dict[str, np.ndarray],
    risks: Sequence[Risk],
    months: Sequence[str],
    naive: float,
) -> dict[str, float]:
    """Peaks above the highest level have keys without a suffix."""
    found = {f"crps_{way}": float(np.nanmean(values)) for way, values in scores.items()}
    for way, other in _COMPARED.items():
        difference = _paired(scores[way], scores[other], months)
        found |= {
            f"crps_{way}_minus_{other}": difference.value,
            f"crps_{way}_minus_{other}_half_width": difference.half_width(),
        }
    found |= {f"crps_{way}_without_worst": value for way, value in _without_worst(scores)[1].items()}
    for way in (BEFORE, AFTER):
        found |= {f"crps_{way}_h{hour:02d}": float(np.nanmean(scores[way][:, hour])) for hour in range(HOURS)}
    for way, suffix in ((AFTER, ""), (REJECTION, "_rejection"), (NORMAL_AFTER, "_normal"), (NORMAL_EXACT, "_exact")):
        found[f"seconds_per_day{suffix}"] = _mean(one.seconds[way] for one in known)
    found |= {
        "cells": float(scores[BEFORE].size),
        "evaluations_per_day": _mean(one.evaluations[AFTER] for one in known),
        "accepted_least": float(min(one.accepted for one in known)),
        "log_p_rms": _rms(_log_p_errors(known, AFTER, REJECTION)),
        "log_p_rms_normal": _rms(_log_p_errors(known, NORMAL_AFTER, NORMAL_EXACT)),
        "mean_error_normal": _mean(one.mean_error for one in known),
        "coverage90": _coverage(ahead),
        "mae_median": float(np.abs(ahead.quantiles[..., LEVELS.index(0.5)] - ahead.truth).mean()),
        "mae_day_before": naive,
        "seconds_fitting": ahead.seconds,
    }
    for each in risks:
        suffix = "" if each.percentile == max(RISKS) else f"_p{each.percentile}"
        found |= {f"brier_{who}{suffix}": float(each.loss(who).mean()) for who in each.predicted}
        found |= {
            f"brier_skill{suffix}": 1 - float(each.loss(PEAK).mean() / each.loss(CLIMATOLOGY).mean()),
            f"brier_skill_monthly{suffix}": 1 - float(each.loss(PEAK).mean() / each.loss(MONTHLY).mean()),
            f"peak_days{suffix}": float(each.happened.sum()),
            f"peak_level{suffix}": each.level,
            f"unseen_by_counting{suffix}": float((each.predicted[COUNTING] == 0).sum()),
            f"seconds_per_day_peak{suffix}": each.seconds,
            f"evaluations_per_day_peak{suffix}": each.evaluations,
        }
    return found
