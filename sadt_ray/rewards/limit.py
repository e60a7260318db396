"""A penalty for the violation of a limit, for example a peak above a threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sadt_ray.interfaces import Problem, Scale

STATISTICS: dict[str, Callable[[Float[np.ndarray, "B time"]], Float[np.ndarray, " B"]]] = {
    "max": lambda x: x.max(-1),
    "min": lambda x: x.min(-1),
    "mean": lambda x: x.mean(-1),
    "std": lambda x: x.std(-1),
    "range": lambda x: np.ptp(x, axis=-1),
    "ramp": lambda x: np.abs(np.diff(x, axis=-1)).max(-1),  # largest step from one sample to the next
}


@dataclass(frozen=True)
class LimitReward:
    """r(x) = -(violation of lower <= statistic(x) <= upper) / margin; 0 where the limit holds.

    Attributes:
        upper: largest value allowed, in the units of the samples; ``None`` for no upper limit.
        lower: smallest value allowed; ``None`` for no lower limit.
        statistic: statistic of the sample: max, min, mean, std, range, or ramp (largest step between neighbours).
        margin: violation that costs 1, in the units of the samples. 0 makes the limit hard: any violation costs -inf.

    Raises:
        ValueError: for an unknown statistic, no limit, lower > upper, or a margin that is negative or infinite.
    """

    upper: float | None = None
    lower: float | None = None
    statistic: str = "max"
    margin: float = 1.0

    oracle = False

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise ValueError(f"unknown statistic {self.statistic!r}; choose one of {', '.join(STATISTICS)}")
        limits = [limit for limit in (self.lower, self.upper) if limit is not None]
        if not limits or not np.isfinite(limits).all():
            raise ValueError(f"give a finite upper or lower limit, got lower={self.lower} and upper={self.upper}")
        if limits != sorted(limits):
            raise ValueError(f"lower={self.lower} is above upper={self.upper}: no sample could satisfy both")
        if not 0 <= self.margin < np.inf:
            raise ValueError(f"margin must be a finite number, 0 (hard) or larger, got {self.margin}")

    def as_condition(self, problem: Problem, strength: float) -> str:
        """The condition in the units of the file that comes nearest, such as ``max < 30.9 ~ 1.2``.

        The limit's likelihood falls by e with every margin / strength beyond the bound. That width becomes the standard
        deviation of the condition's bound.

        Args:
            problem: whose scale has the units of the file, of its first channel.
            strength: weight of the limit in the reward, times lambda.
        """
        mean, std = problem.scale.mean[0], problem.scale.std[0]
        shift = mean if self.statistic in ("max", "min", "mean") else 0.0
        bounds = [None if bound is None else f"{shift + std * bound:.4g}" for bound in (self.lower, self.upper)]
        soft = "" if self.margin == 0 else f" ~ {std * self.margin / strength:.2g}"
        if bounds[0] is None:
            return f"{self.statistic} < {bounds[1]}{soft}"
        return (
            f"{self.statistic} > {bounds[0]}{soft}"
            if bounds[1] is None
            else f"{bounds[0]} < {self.statistic} < {bounds[1]}{soft}"
        )

    def note(self, problems: Sequence[Problem], strength: float) -> str:
        """What a user who asks for a limit should read: its units, and how a condition says the same."""
        soft = "" if self.margin == 0 else " and soft: samples beyond it lose weight, but may keep some"
        about = f"The limit on {self.statistic} is in the units of the samples{soft}."
        if not problems or strength <= 0:
            return about
        first = problems[0]
        known = first.scale != Scale()
        units = "In the units of the file" if known else "As a condition"
        example = f'{units} and for {first.name} it is near --given "{self.as_condition(first, strength)}"'
        hard = "; without ~ the condition must hold" if self.margin > 0 else ""
        return f"{about} {example}{hard}."

    def bind(self, problems: Sequence[Problem]) -> LimitReward | HardLimit:
        """Return the reward itself, since it does not depend on the problem; of a hard limit with its margin."""
        return HardLimit(self) if self.margin == 0 else self

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Rewards of samples [B, time]. Raises ValueError for samples of another shape."""
        violation = np.maximum(0.0, -self.slack(samples))
        if self.margin == 0:
            return np.where(violation > 0, -np.inf, 0.0 - violation)
        return 0.0 - violation / self.margin

    def slack(self, samples: np.ndarray) -> Float[np.ndarray, " B"]:
        """How far the statistic is inside the limit, in the units of the samples; negative where it is violated."""
        samples = np.asarray(samples, dtype=float)
        if samples.ndim != 2:
            raise ValueError(f"a limit scores samples [B, time], got shape {samples.shape}")
        value = STATISTICS[self.statistic](samples)
        slack = np.full(len(samples), np.inf)
        if self.upper is not None:
            slack = np.minimum(slack, self.upper - value)
        if self.lower is not None:
            slack = np.minimum(slack, value - self.lower)
        return slack


@dataclass(frozen=True)
class HardLimit:
    """A hard limit bound to problems: a scorer that says how far a sample is from satisfying it."""

    limit: LimitReward

    def __call__(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        return self.limit(samples, problem)

    def margin(self, samples: np.ndarray, problem: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Positive or zero where the limit holds, in the units of the samples."""
        return self.limit.slack(samples)
