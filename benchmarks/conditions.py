"""How well is the probability of a rare condition found, and what follows from it?

A copula forecast of 96 hours with skewed marginals, whose rare events are known by importance sampling of its scores
(``posterior.rare_events``), and the shipped prior of ETTh1 against many samples of itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from benchmarks.posterior.rare_events import (
    Scores,
    design_directions,
    single_directions,
    window_directions,
)
from sadt_ray.api import sample
from sadt_ray.conditions.reward import ConditionReward
from sadt_ray.forecasts.forecast import Forecast
from sadt_ray.interfaces import GenerativeProcess, Problem
from sadt_ray.methods import Method, method_named, sadt
from sadt_ray.runs.results import ProblemSamples

QUESTION = "How well are rare conditions found, and at what cost, against splitting, importance sampling and DTS?"
HORIZON, STEPS, ROLLOUTS = 96, 16, 256
LAST_DAY, FIRST_DAY = slice(72, 96), slice(0, 24)
_METHODS = ("sadt", "tempered", "surrogate", "smc-debiased", "snis", "dts")
_DIFFK = {"1e3": 0.4966, "1e6": 0.98}  # bounds on the largest value of OT, window 7


class Event(NamedTuple):
    """A condition on the forecast, in words and in numbers."""

    kind: str
    rarity: str  # 1e3: one in about a thousand
    given: str
    holds: Callable[[Float[np.ndarray, "N T"]], Bool[np.ndarray, " N"]]
    directions: Callable[[Scores], np.ndarray]


def forecast() -> Forecast:
    """Load of four days in MW: log-normal laws that widen with the horizon, AR(1) scores with correlation .97."""
    hour = np.arange(HORIZON)
    median = 1000 + 250 * np.sin(2 * np.pi * (hour - 9) / 24)
    spread = 0.08 + 0.12 * np.sqrt((hour + 1) / HORIZON)
    law = stats.lognorm(spread, scale=median)
    return Forecast.from_law(law, (HORIZON,), start="2026-01-05", step="h", unit="MW", names="load", correlation=0.97)


def events() -> Iterator[Event]:
    """Six kinds of condition at three probabilities."""
    mean_weights = np.zeros(HORIZON)
    mean_weights[LAST_DAY] = 1 / 24
    hours = range(HORIZON)
    for rarity, u in _BOUNDS["mean"]:
        yield Event(
            "mean", rarity, f"mean[day 4] > {u}", lambda x, u=u: x[:, LAST_DAY].mean(1) > u,
            lambda s, u=u: design_directions(s, mean_weights[None, None], np.array([u])),
        )  # fmt: skip
    for rarity, u in _BOUNDS["max"]:
        yield Event(
            "max", rarity, f"max > {u}", lambda x, u=u: x.max(1) > u, lambda s, u=u: single_directions(s, u, hours)
        )
    for rarity, u in _BOUNDS["ramp"]:
        yield Event(
            "ramp", rarity, f"ramp > {u}", lambda x, u=u: np.abs(np.diff(x)).max(1) > u,
            lambda s, u=u: design_directions(s, _rises()[None], np.array([u])),
        )  # fmt: skip
    for rarity, u in _BOUNDS["count"]:
        yield Event(
            "count above", rarity, f"count(> {u}) >= 12", lambda x, u=u: (x > u).sum(1) >= 12,
            lambda s, u=u: window_directions(s, u, 12),
        )  # fmt: skip
    for rarity, u, v in _BOUNDS["two"]:
        yield Event(
            "two at once", rarity, f"max[day 1] > {u} and mean[day 4] > {v}",
            lambda x, u=u, v=v: (x[:, FIRST_DAY].max(1) > u) & (x[:, LAST_DAY].mean(1) > v),
            lambda s, u=u, v=v: design_directions(s, _two(mean_weights), np.array([u, v])),
        )  # fmt: skip
    for rarity, u, v in _BOUNDS["or"]:
        yield Event(
            "either", rarity, f"max > {u} or min < {v}", lambda x, u=u, v=v: (x.max(1) > u) | (x.min(1) < v),
            lambda s, u=u, v=v: np.concatenate(
                [single_directions(s, u, hours), single_directions(s, v, hours, above=False)]
            ),
        )  # fmt: skip


_BOUNDS: dict[str, list] = {
    "mean": [("1e3", 1715), ("1e6", 2290), ("1e12", 3430)],
    "max": [("1e3", 2390), ("1e6", 3280), ("1e12", 5100)],
    "ramp": [("1e3", 332), ("1e6", 510), ("1e12", 910)],
    "count": [("1e3", 1880), ("1e6", 2460), ("1e12", 3600)],
    "two": [("1e3", 1550, 1530), ("1e6", 1780, 2000), ("1e12", 2150, 2900)],
    "or": [("1e3", 2480, 392), ("1e6", 3420, 300), ("1e12", 5250, 194)],
}


def _rises() -> Float[np.ndarray, "K T"]:
    """Weights of x[h+1] - x[h] for every h, and of its negative."""
    rise = np.zeros((HORIZON - 1, HORIZON))
    rise[np.arange(HORIZON - 1), np.arange(1, HORIZON)] = 1
    rise[np.arange(HORIZON - 1), np.arange(HORIZON - 1)] = -1
    return np.concatenate([rise, -rise])


def _two(mean_weights: Float[np.ndarray, " T"]) -> Float[np.ndarray, "2 K T"]:
    """One hour of the first day, for each of its hours, and the mean of the last day."""
    hour = np.eye(HORIZON)[FIRST_DAY]
    return np.stack([hour, np.broadcast_to(mean_weights, hour.shape)])


def search_method(name: str, seed: int, max_nfe: int = STEPS * ROLLOUTS) -> Method:
    """A method under the budget of 256 rollouts; S-ADT with the guidance that ``condition`` uses."""
    if name == "sadt":
        return sadt(n_rollouts=ROLLOUTS, guidance_scale=1.0, seed=seed)
    return method_named(name, max_nfe=max_nfe, seed=seed)


@dataclass(frozen=True)
class Found:
    """What a method found of an event with one seed."""

    log_p: float
    mean: Float[np.ndarray, " T"]  # NaN without a sample that has weight
    starts: float
    ess: float
    nfe: float
    seconds: float


def found_by(
    process: GenerativeProcess, problem: Problem, given: str, name: str, seed: int, horizon: int = HORIZON
) -> Found:
    """One search of one event."""
    begun = time.perf_counter()
    reward = ConditionReward(given, horizon=horizon)
    try:
        result = sample(process, [problem], reward, search_method(name, seed), flow=None, progress=False)
    except ValueError as error:
        if "no sample" not in str(error):
            raise
        return Found(-np.inf, np.full(horizon, np.nan), 0.0, 0.0, np.nan, time.perf_counter() - begun)
    samples: ProblemSamples = result[0]
    starts = 0.0 if samples.weightless else samples.starts
    return Found(samples.log_z, samples.mean(), starts, samples.ess, float(result.nfe[0]), time.perf_counter() - begun)
