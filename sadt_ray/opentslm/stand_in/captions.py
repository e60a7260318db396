"""Stage 2: captions from measured trend, season and period of M4's hourly series and of generated series."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.stand_in.corpus import SPLITS, Split, grade, one_of, parted, with_extras
from sadt_ray.opentslm.stand_in.files import data_file

LENGTHS = (64, 96, 128, 192, 256)
_TRENDS = ("falls strongly", "falls slightly", "stays level", "rises slightly", "rises strongly")
_STRENGTHS = (0.2, 0.5, 0.8)  # autocorrelation at the season's lag: weak, clear, very regular
_REAL_SHARE = 0.6
_HELD_OUT = {"train": 300, "validation": 80, "test": 240}


class CaptionCorpus:
    """Windows of real series, split by series, and generated series. Without M4's file, generated series alone."""

    stage = 2

    def __init__(self, seed: int = 0) -> None:
        self.clues: Mapping[str, int] = {"trend": len(_TRENDS), "season": 4, "period": 6}
        self._seed = seed
        self._series = _load_m4()
        names = list(self._series)
        splits = parted(names, np.random.default_rng([seed, 22]))
        self._names: dict[Split, list[str]] = {
            split: [name for name, its in zip(names, splits, strict=True) if its == split] for split in SPLITS
        }

    def draw(self, rng: np.random.Generator) -> Problem:
        return self._problem("train", rng, "m4/draw", one_of(rng, LENGTHS))

    def problems(self, split: Split) -> list[Problem]:
        return [
            self._problem(
                split,
                np.random.default_rng([self._seed, 21, SPLITS.index(split), i]),
                f"m4/{split}/{i:04d}",
                LENGTHS[i % len(LENGTHS)],
            )
            for i in range(_HELD_OUT[split])
        ]

    def _problem(self, split: Split, rng: np.random.Generator, name: str, length: int) -> Problem:
        source, window = name, _generated(length, rng)
        if self._names[split] and rng.random() < _REAL_SHARE:
            source = one_of(rng, self._names[split])
            series = self._series[source]
            start = int(rng.integers(len(series) - length + 1))
            window = series[start : start + length]
        text, clues = caption(window, rng)
        row = {"id": source, "series": window, "caption": text}
        return with_extras(stage_problem(2, row, name, source), clues=clues)


def caption(series: Float[np.ndarray, " T"], rng: np.random.Generator) -> tuple[str, dict[str, int]]:
    """Four sentences that can be checked against the series, and their classes."""
    z = (series - series.mean()) / max(float(series.std()), 1e-9)
    slope, trend = _trend_of(z)
    strength, period = _season_of(z - trend)
    sentences = (
        one_of(rng, ("Over the window the series {}.", "The series {} from beginning to end.")).format(_TRENDS[slope]),
        _season_sentence(strength, period, rng),
        _extreme_sentence(z, rng),
        _scatter_sentence(z, rng),
    )
    clues = {"trend": slope, "season": strength} | ({"period": _period_class(period)} if strength else {})
    return " ".join(sentences), clues


def _trend_of(z: np.ndarray) -> tuple[int, np.ndarray]:
    """Class of the rise from start to end, in standard deviations, and the fitted line."""
    time = np.linspace(-0.5, 0.5, len(z))
    slope = float(np.polyfit(time, z, 1)[0])
    return int(np.searchsorted((-1.8, -0.6, 0.6, 1.8), slope)), slope * time


def _season_of(residual: np.ndarray) -> tuple[int, int]:
    """Class of the highest peak of the autocorrelation, 0 for none, and its lag in samples."""
    acf = np.correlate(residual, residual, "full")[len(residual) - 1 :]
    acf = acf / max(acf[0], 1e-9) * len(residual) / (len(residual) - np.arange(len(residual)))
    lags = range(3, len(residual) // 2)
    peaks = [lag for lag in lags if acf[lag] >= max(acf[lag - 1], acf[lag + 1])]
    best = max((acf[lag] for lag in peaks), default=0.0)
    strength = int(np.searchsorted(_STRENGTHS, best))
    if not strength:
        return 0, 0
    return strength, next(lag for lag in peaks if acf[lag] >= 0.9 * best)


def _period_class(period: int) -> int:
    return int(np.searchsorted((6, 10, 16, 22, 27), period))


def _season_sentence(strength: int, period: int, rng: np.random.Generator) -> str:
    if not strength:
        return one_of(rng, ("No season can be seen.", "It does not repeat itself."))
    word = ("weak", "clear", "very regular")[strength - 1]
    form = one_of(rng, ("A {} season repeats every {} samples.", "There is a {} cycle of {} samples."))
    return form.format(word, period)


def _extreme_sentence(z: np.ndarray, rng: np.random.Generator) -> str:
    places = ("first", "second", "last")
    high, low = (places[min(3 * int(i) // len(z), 2)] for i in (z.argmax(), z.argmin()))
    if high == low:
        return one_of(
            rng, ("Highest and lowest value both lie in the {} third.", "Both extremes are in the {} third.")
        ).format(high)
    form = one_of(
        rng,
        (
            "The highest value lies in the {} third, the lowest in the {}.",
            "It peaks in the {} third and bottoms out in the {}.",
        ),
    )
    return form.format(high, low)


def _scatter_sentence(z: np.ndarray, rng: np.random.Generator) -> str:
    word = grade(
        float(np.median(np.abs(np.diff(z)))), (0.12, 0.3, 0.6), ("smooth", "slightly rough", "rough", "very noisy")
    )
    return one_of(rng, ("The curve is {}.", "Its course is {}.")).format(word)


def _generated(length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    time = np.arange(length)
    period = rng.uniform(5, min(32, length / 3))
    season = np.sin(2 * np.pi * (time / period + rng.random())) * rng.choice((0.0, 0.5, 1.0, 1.5))
    trend = rng.normal(0, 1.5) * np.linspace(-0.5, 0.5, length)
    return 10 ** rng.uniform(0, 3) * (5 + trend + season + rng.uniform(0.05, 0.7) * rng.standard_normal(length))


def _load_m4() -> dict[str, np.ndarray]:
    try:
        path = data_file("m4/m4_series_Hourly.csv")
    except FileNotFoundError:
        return {}
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(newline="") as file:
        return {row["id"]: np.array(json.loads(row["series"])) for row in csv.DictReader(file)}
