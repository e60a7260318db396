"""Check the claims of a caption about trend, season and period against regression and spectrum of the series.

Each claim gets a log-probability. With s the share of the variance that a straight line explains, q the share of the
detrended power at the strongest period and its first harmonics beyond that of white noise, and S_P the power at
period P,

    a trend in the right direction   log s        no trend    log(1 - s)
    a seasonal pattern               log q        no season   log(1 - q)
    a period P                       log(S_P / max_P S_P)

and never less than ``log floor``, the value of a false claim. The reward is the mean over the claims.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.psd import welch
from sadt_ray.opentslm.rewards.answers import texts_of

HARMONICS = 4  # of a season, the fundamental included
_UP, _DOWN, _FLAT = 1, -1, 0
_NO = r"\b(?:no|not|without|lacks?|lacking|absence of|free of|nor)\b[^.;,]*?"
_TREND_WORD = (
    r"\b(?:trends?|drift|overall|long-term|gradual(?:ly)?|stead(?:y|ily)|tends?|the (?:time )?series|over time|"
    r"over the window|from beginning to end|throughout)\b"
)
_RISE = r"\b(?:up(?:ward|wards)|ris(?:es|e|ing)|increas(?:es|e|ing)|grow(?:s|th|ing)|climb(?:s|ing)?)\b"
_FALL = r"\b(?:down(?:ward|wards)|fall(?:s|ing)?|decreas(?:es|e|ing)|declin(?:es|e|ing)|descend(?:s|ing)?)\b"
_LEVEL = r"\b(?:flat|level|constant|stable|stationary|unchanged)\b"
_SEASON = r"\b(?:seasonal(?:ity)?|season|periodic(?:ity)?|cycl(?:e|es|ic|ical)|repeat(?:s|ing)?|oscillat\w+)\b"
_PERIODS = (
    r"\bperiod(?:icity)?(?: of| is| about| around| approximately| roughly| near)*\s+(\d+(?:\.\d+)?)",
    r"\b(?:cycle|season|pattern) of(?: about| around| approximately| roughly)?\s+(\d+(?:\.\d+)?)",
    r"\bevery\s+(?:about |around |approximately |roughly )?(\d+(?:\.\d+)?)\s*(?:-\s*)?"
    r"(?:steps?|samples?|points?|observations?|hours?|time)",
    r"\b(\d+(?:\.\d+)?)[\s-](?:step|sample|point|hour|observation)s?[\s-](?:seasonal |repeating )?"
    r"(?:cycle|period|pattern)",
)


class Claims(NamedTuple):
    """The claims of a caption; None for what it does not mention."""

    trend: int | None = None  # 1 up, -1 down, 0 none
    seasonal: bool | None = None
    period: float | None = None  # samples


def read_claims(text: str) -> Claims:
    """Find claims by patterns, sentence by sentence. The first claim of a kind counts.

    A direction is a trend only in a sentence about trends; "rises after noon" is not one.
    """
    trend, seasonal, period = None, None, None
    for sentence in re.split(r"(?<=[.;!?])\s+", text.lower()):
        trend = _trend(sentence) if trend is None else trend
        seasonal = _seasonal(sentence) if seasonal is None else seasonal
        found = next((match for pattern in _PERIODS if (match := re.search(pattern, sentence))), None)
        period = float(found[1]) if period is None and found and float(found[1]) > 0 else period
    return Claims(trend, seasonal if seasonal is not None or period is None else True, period)


def _trend(sentence: str) -> int | None:
    if not re.search(_TREND_WORD, sentence):
        return None
    if re.search(_NO + _TREND_WORD, sentence) or re.search(_LEVEL, sentence):
        return _FLAT
    rise, fall = re.search(_RISE, sentence), re.search(_FALL, sentence)
    if rise and fall:
        return _UP if rise.start() < fall.start() else _DOWN
    return _UP if rise else _DOWN if fall else None


def _seasonal(sentence: str) -> bool | None:
    if re.search(_NO + _SEASON, sentence) or re.search(r"\b(?:non-?seasonal|aperiodic)\b", sentence):
        return False
    return True if re.search(_SEASON, sentence) else None


class Measured(NamedTuple):
    """Measurements of a series."""

    trend_share: float  # of the variance, explained by a straight line
    direction: int  # of that line
    season_share: float  # of the detrended power, at the strongest period and its harmonics; 0 where it is white
    power: Float[np.ndarray, " frequencies"]  # of the detrended series, by frequency k / T

    def power_share(self, period: float) -> float:
        """Power within a bin of 1 / period, relative to the strongest period; 0 if the period does not fit."""
        k = len_of(self.power) / period
        if not 1 <= k <= len(self.power) - 1:
            return 0.0
        return _near(self.power, k) / max(_near(self.power, _peak(self.power)), 1e-300)


def len_of(power: np.ndarray) -> int:
    """Length of the series with this periodogram."""
    return 2 * (len(power) - 1)


def measure(series: Float[np.ndarray, " T"]) -> Measured:
    """Regression on time, and a Hann-windowed periodogram of the residual. Raises ValueError below 16 samples."""
    series = np.asarray(series, dtype=float)
    if series.ndim != 1 or len(series) < 16 or not np.isfinite(series).all():
        raise ValueError(f"claims are checked against a finite series [T] of 16 samples or more, got {series.shape}")
    series = series[len(series) % 2 :]
    time = np.arange(len(series)) - (len(series) - 1) / 2
    centred = series - series.mean()
    slope = float(time @ centred / (time @ time))
    rest = centred - slope * time
    variance = float(centred @ centred)
    flat = variance <= 1e-20 * float(series @ series)  # rounding errors
    power = welch(torch.tensor(rest), len(rest)).numpy()
    explained = 0.0 if flat else 1 - float(rest @ rest) / variance
    return Measured(explained, int(np.sign(slope)), 0.0 if flat else _season_share(power), power)


def _season_share(power: Float[np.ndarray, " frequencies"]) -> float:
    """(s - c) / (1 - c), with s the share of the power and c that of the frequencies within a bin of a harmonic."""
    bins, harmonics = np.arange(1, len(power)), _peak(power) * np.arange(1, HARMONICS + 1)
    near = (np.abs(bins[:, None] - harmonics) <= 1).any(1)
    share, chance = float(power[1:][near].sum()) / max(float(power[1:].sum()), 1e-300), float(near.mean())
    return max(0.0, (share - chance) / (1 - chance)) if chance < 1 else 0.0


def _peak(power: np.ndarray) -> int:
    """The strongest frequency among periods that fit at least twice; a single cycle is a trend."""
    return 2 + int(np.argmax(power[2:]))


def _near(power: np.ndarray, k: float) -> float:
    """Power within a bin of k, the main lobe of a Hann window."""
    nearest = round(k)
    return float(power[max(nearest - 1, 1) : nearest + 2].sum())


@dataclass(frozen=True)
class ClaimsReward:
    """r(caption) = mean log-probability of its claims under the measurements, nats; label-free.

    Attributes:
        silent: reward of a caption without a claim that can be checked; log 1/2 by default.
        floor: lowest probability of a claim.

    Raises ValueError for values out of range.
    """

    silent: float = math.log(0.5)
    floor: float = 0.02

    oracle = False

    def __post_init__(self) -> None:
        if not (0 < self.floor < 1 and np.isfinite(self.silent)):
            raise ValueError(f"claims need a floor in (0, 1) and a finite silent, got {self.floor} and {self.silent}")

    def bind(self, problems: Sequence[Problem]) -> ClaimsScorer:
        """Measure each series. Raises ValueError naming a problem whose context cannot be measured."""
        measured = []
        for problem in problems:
            try:
                measured.append(measure(problem.context))
            except ValueError as error:
                raise ValueError(f"problem {problem.name!r}: {error}") from None
        return ClaimsScorer(self, measured)


class ClaimsScorer:
    """The claims reward bound to problems."""

    def __init__(self, reward: ClaimsReward, measured: Sequence[Measured]) -> None:
        self._reward, self._measured = reward, tuple(measured)

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of texts [B]."""
        pairs = zip(texts_of(samples), problem, strict=True)
        return np.array([self._of(read_claims(text), self._measured[p]) for text, p in pairs], dtype=float)

    def _of(self, claims: Claims, measured: Measured) -> float:
        shares = _probabilities(claims, measured)
        if not shares:
            return self._reward.silent
        return float(np.mean(np.log(np.clip(shares, self._reward.floor, 1.0))))


def _probabilities(claims: Claims, measured: Measured) -> list[float]:
    found = []
    if claims.trend is not None:
        right_way = measured.trend_share if claims.trend == measured.direction else 0.0
        found.append(1 - measured.trend_share if claims.trend == _FLAT else right_way)
    if claims.seasonal is not None:
        found.append(measured.season_share if claims.seasonal else 1 - measured.season_share)
    if claims.period is not None:
        found.append(measured.power_share(claims.period))
    return found
