"""Stage 1: multiple-choice questions like those of TSQA about generated series, with all three options as answers.

There are four kinds of questions, worded as in the public rows. The answer of those rows is never "(a)", so a model
that is evaluated on them alone looks better than it is. Here all options are equally frequent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow.csv
from jaxtyping import Float

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.data import stage_problem
from sadt_ray.opentslm.stand_in.corpus import SPLITS, Split, one_of, with_extras
from sadt_ray.opentslm.stand_in.files import data_file

OPTIONS = ("(a)", "(b)", "(c)")
LENGTHS = (64, 64, 128, 128, 256, 512)
ROWS = "tsqa/tsqa.csv"
_HELD_OUT = {"train": 480, "validation": 120, "test": 480}


class TsqaCorpus:
    """Questions about generated series of 64 to 256 points; each is a source of its own."""

    stage = 1

    def __init__(self, seed: int = 0) -> None:
        self.clues: Mapping[str, int] = dict.fromkeys(QUESTIONS, len(OPTIONS))
        self._seed = seed

    def draw(self, rng: np.random.Generator) -> Problem:
        return _question(rng, one_of(rng, LENGTHS), "tsqa/draw")

    def problems(self, split: Split) -> list[Problem]:
        """The questions of a split, from random streams of their own."""
        return [
            _question(
                np.random.default_rng([self._seed, 11, SPLITS.index(split), i]),
                LENGTHS[i % len(LENGTHS)],
                f"tsqa/{split}/{i:04d}",
            )
            for i in range(_HELD_OUT[split])
        ]


def real_tsqa_problems() -> list[Problem]:
    """The public rows of the data collection. Raises DataNotFound if they are not on this machine."""
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    rows = pyarrow.csv.read_csv(data_file(ROWS), parse_options=options).to_pylist()
    return [
        stage_problem(
            1, row | {"Series": [float(x) for x in row["Series"].strip("[] ").split(",")]}, f"tsqa/real/{i:03d}"
        )
        for i, row in enumerate(rows)
    ]


def _question(rng: np.random.Generator, length: int, name: str) -> Problem:
    task = one_of(rng, tuple(QUESTIONS))
    option = int(rng.integers(len(OPTIONS)))
    row = {
        "Task": task,
        "Question": QUESTIONS[task],
        "Answer": OPTIONS[option],
        "Series": _SERIES[task](option, length, rng),
    }
    return with_extras(stage_problem(1, row, name), clues={task: option})


def _trend(option: int, length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    """A constant, upward or downward trend, with a season and noise."""
    slope = (0.0, 1.0, -1.0)[option] * rng.uniform(1.2, 4.0)
    return slope * np.linspace(-0.5, 0.5, length) + _season(length, rng) * rng.uniform(0, 0.9) + _noise(length, rng)


def _seasonality(option: int, length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    """No season, a fixed one, or one whose period or amplitude changes."""
    drift = rng.uniform(-1, 1) * np.linspace(-0.5, 0.5, length)
    if option == 0:
        return drift + (0.1 + _noise(length, rng)) * rng.uniform(1, 3)
    if option == 1:
        return drift + _season(length, rng) * rng.uniform(0.8, 1.5) + _noise(length, rng) * 0.7
    return drift + _shifting(length, rng) + _noise(length, rng) * 0.7


def _shifting(length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    time = np.arange(length) / length
    cycles, change = rng.uniform(4, 10), rng.uniform(0.5, 0.9)
    if rng.random() < 0.5:
        size = 1 + change * (2 * time - 1) * rng.choice((-1, 1))
        return 1.2 * size * np.sin(2 * np.pi * (cycles * time + rng.random()))
    phase = cycles * (time + change * (time**2 - time) * rng.choice((-1, 1)))
    return 1.2 * np.sin(2 * np.pi * (phase + rng.random()))


def _volatility(option: int, length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    """Constant, increased or decreased volatility."""
    ratio = (1.0, 1.0, -1.0)[option] * (rng.uniform(1.0, 2.2) if option else rng.uniform(-0.25, 0.25))
    size = np.exp(ratio * np.linspace(-0.5, 0.5, length))
    return size * (_season(length, rng) * rng.uniform(0, 1.2) + rng.uniform(0.1, 0.5) * rng.standard_normal(length))


def _outliers(option: int, length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    """No outlier, a sudden spike, or a level shift."""
    series = _season(length, rng) * rng.uniform(0, 0.6) + _noise(length, rng)
    at = int(rng.integers(length // 5, 4 * length // 5))
    size = rng.choice((-1, 1)) * rng.uniform(1.8, 4.0)
    if option == 1:
        series[at : at + int(rng.integers(1, 4))] += 1.5 * size
    if option == 2:
        series[at:] += size * 0.7
    return series


def _season(length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    cycles = rng.uniform(3, min(16, length / 8))
    phase = 2 * np.pi * (cycles * np.arange(length) / length + rng.random())
    return np.sin(phase) + rng.uniform(0, 0.7) * np.sin(2 * phase + rng.uniform(0, 6))


def _noise(length: int, rng: np.random.Generator) -> Float[np.ndarray, " T"]:
    return rng.uniform(0.03, 0.35) * rng.standard_normal(length)


_SERIES = {"Trend": _trend, "Seasonality": _seasonality, "Volatility": _volatility, "Outliers": _outliers}

_ASK = "Select one of the following answers that best describes the provided time series:"
_ONLY = "Only answer (a), (b), or (c)."
QUESTIONS = {
    "Trend": (
        "Given the following definitions:\n"
        "Constant trend: The time series does not show any significant increase or decrease over time.\n"
        "Upward trend: The time series consistently increases over time.\n"
        "Downward trend: The time series consistently decreases over time.\n"
        f"{_ASK}\n(a) This time series has a constant trend.\n(b) This time series has an upward trend.\n"
        f"(c) This time series has a downward trend.\n{_ONLY}"
    ),
    "Seasonality": (
        "Given the following definitions:\n"
        "Seasonal pattern: The time series shows a repetitive and predictable fluctuation throughout the period.\n"
        "Fixed seasonal pattern: The timing and magnitude of the seasonal fluctuation remain constant over time.\n"
        "Shifting seasonal pattern: The timing or magnitude of the seasonal fluctuation changes over time.\n"
        f"{_ASK}\n(a) This time series has no obvious seasonal pattern.\n"
        "(b) This time series has a fixed seasonal pattern.\n"
        f"(c) This time series has a shifting seasonal pattern.\n{_ONLY}"
    ),
    "Volatility": (
        "Given the following definitions:\n"
        "Constant volatility: The time series shows relatively consistent fluctuation magnitude throughout the "
        "period.\n"
        "Increased volatility: The time series shows a rise in the magnitude of fluctuation over time.\n"
        "Decreased volatility: The time series shows a reduction in the magnitude of fluctuations over time.\n"
        f"{_ASK}\n(a) This time series has a constant volatility.\n(b) This time series has an increased volatility.\n"
        f"(c) This time series has a decreased volatility.\n{_ONLY}"
    ),
    "Outliers": (
        "Given the following definitions:\n"
        "Outlier: The data point that significantly differs from other observations in a time series.\n"
        "Sudden spike: The rapid and significant increase in the value of a variable over a short period, followed by "
        "a return to the original baseline.\n"
        "Level shift: The significant and sustained change in the average level of a time series.\n"
        f"{_ASK}\n(a) This time series has no obvious outlier.\n(b) This time series has a sudden spike.\n"
        f"(c) This time series has a level shift.\n{_ONLY}"
    ),
}
