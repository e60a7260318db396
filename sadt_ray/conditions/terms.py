"""The terms that a condition is made of: statistics of a sample, and what must hold of them.

A sample is x [..., C, T]: C series over T time steps, in the units of the data. A condition is a tree: comparisons of a
statistic with bounds, joined by ``All``, ``Any`` and ``Not``. Its likelihood L(x) is between 0 and 1. Of a hard
comparison it is 0 or 1. Of a soft one with standard deviation s

    L = Phi((g - lower) / s)  or  Phi((upper - g) / s)     the bound is known up to a normal error of sd s
    L = exp(-(g - b)^2 / (2 s^2))                          for an equality g = b

``All`` multiplies likelihoods, ``Any`` is 1 - prod (1 - L), and ``Not`` is 1 - L.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class Statistic(Protocol):
    """One number g of every sample."""

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """g of each sample; gradients flow to ``x`` where they exist."""


@dataclass(frozen=True, eq=False)
class Linear:
    """g = sum_ct w_ct x_ct + constant: a sum, a mean, a value, or a combination of them.

    Attributes:
        weights: w, [C, T], double.
        constant: in the units of g.
    """

    weights: Float[Tensor, "C T"]
    constant: float = 0.0

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return (x * self.weights.to(x)).sum((-1, -2)) + self.constant


@dataclass(frozen=True, eq=False)
class Extreme:
    """g = the largest, or the smallest, of M elements that are linear in x.

    Attributes:
        elements: x [..., C, T] -> [..., M], linear.
        largest: whether g is the largest of them.
        single: whether every element is one value of x.
        rise: where the elements are the rises x[later] - x[earlier] of a series, and their negatives after them:
            channel, earlier and later time steps; None otherwise.
    """

    elements: Callable[[Tensor], Tensor]
    largest: bool = True
    single: bool = False
    rise: tuple[int, Sequence[int], Sequence[int]] | None = None

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        elements = self.elements(x)
        return elements.amax(-1) if self.largest else elements.amin(-1)


@dataclass(frozen=True, eq=False)
class General:
    """Any other statistic: a count, a run, a standard deviation, a ratio.

    Attributes:
        function: x [..., C, T] -> g [...].
        margin: for a statistic with steps, such as a count: (x, threshold) -> a number that is positive where
            g >= threshold, zero on the border, and changes smoothly with x. None if g itself is smooth.
        level: of a statistic that depends on x only by whether each value is above this level; None otherwise.
    """

    function: Callable[[Tensor], Tensor]
    margin: Callable[[Tensor, float], Tensor] | None = None
    level: float | None = None

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return self.function(x)


@dataclass(frozen=True, eq=False)
class Comparison:
    """lower <= g(x) <= upper.

    Attributes:
        statistic: g.
        lower, upper: bounds in the units of g; infinite for none. Equal for an equality, which must be soft.
        sd: standard deviation of a soft bound, in the units of g; None for a hard one.
        strict: whether a value on a bound does not satisfy it (``<``, ``>``). It matters for counts and runs.
        text: as it was written.

    Raises:
        ValueError: for bounds that no value can satisfy, no bound at all, a hard equality, or an sd that is not positive.
    """

    statistic: Statistic
    lower: float = -math.inf
    upper: float = math.inf
    sd: float | None = None
    strict: bool = False
    text: str = ""

    def __post_init__(self) -> None:
        name = self.text or "a comparison"
        if math.isnan(self.lower) or math.isnan(self.upper) or self.lower > self.upper:
            raise ValueError(f"{name}: no value is at least {self.lower:g} and at most {self.upper:g}")
        if self.lower == -math.inf and self.upper == math.inf:
            raise ValueError(f"{name}: there is no bound")
        if self.sd is not None and not 0 < self.sd < math.inf:
            raise ValueError(f"{name}: the standard deviation of a soft bound must be positive, got {self.sd}")
        if self.sd is None and self.lower == self.upper:
            raise ValueError(
                f"{name}: the probability of an exact equality is 0; write = {self.lower:g} +- d for a band, or "
                f"= {self.lower:g} ~ d for a soft equality of standard deviation d"
            )

    @property
    def equality(self) -> bool:
        """Whether this is a soft equality."""
        return self.lower == self.upper

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        g = self.statistic(x)
        if self.sd is None:
            above, below = (g > self.lower, g < self.upper) if self.strict else (g >= self.lower, g <= self.upper)
            return torch.where(above & below, 0.0, -math.inf).to(g)
        if self.equality:
            return -((g - self.lower) / self.sd).square() / 2
        total = torch.zeros_like(g)
        if self.lower > -math.inf:
            total = total + torch.special.log_ndtr((g - self.lower) / self.sd)
        if self.upper < math.inf:
            total = total + torch.special.log_ndtr((self.upper - g) / self.sd)
        return total

    def shortfall(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """By how much g misses the bounds, in its units; 0 where they hold."""
        g = self.statistic(x)
        return torch.maximum(self.lower - g, g - self.upper).clamp_min(0.0)

    def comparisons(self) -> Iterator[Comparison]:
        yield self


@dataclass(frozen=True, eq=False)
class All:
    """Every part holds."""

    parts: Sequence[Condition]

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return torch.stack([part.log_likelihood(x) for part in self.parts]).sum(0)

    def comparisons(self) -> Iterator[Comparison]:
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, eq=False)
class Any:
    """At least one part holds."""

    parts: Sequence[Condition]

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return log_not(torch.stack([log_not(part.log_likelihood(x)) for part in self.parts]).sum(0))

    def comparisons(self) -> Iterator[Comparison]:
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, eq=False)
class Not:
    """The part does not hold."""

    part: Condition

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return log_not(self.part.log_likelihood(x))

    def comparisons(self) -> Iterator[Comparison]:
        yield from self.part.comparisons()


Condition = Comparison | All | Any | Not


def log_not(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)) for log_p <= 0; gradients stay finite."""
    log_p = log_p.clamp_max(0.0)
    small = log_p > -0.6931
    safe = torch.where(small, log_p, -0.6931).clamp_max(-1e-38)
    near_one = torch.log(-torch.expm1(safe))
    far = torch.log1p(-torch.exp(torch.where(small, -0.6931, log_p)))
    return torch.where(log_p == 0.0, -math.inf, torch.where(small, near_one, far))


# ---- statistics of one or several series over a span of time steps --------------------------------------------------


def total(channel: int, steps: Sequence[int], shape: tuple[int, int]) -> Linear:
    """Sum of a series over time steps. ``shape`` is (C, T)."""
    weights = torch.zeros(shape, dtype=torch.float64)
    weights[channel, list(steps)] = 1.0
    return Linear(weights)


def average(channel: int, steps: Sequence[int], shape: tuple[int, int]) -> Linear:
    """Mean of a series over time steps."""
    summed = total(channel, steps, shape)
    return Linear(summed.weights / len(steps))


def largest(channel: int, steps: Sequence[int]) -> Extreme:
    """Largest value of a series over time steps."""
    return Extreme(_values(channel, steps), single=True)


def smallest(channel: int, steps: Sequence[int]) -> Extreme:
    """Smallest value of a series over time steps."""
    return Extreme(_values(channel, steps), largest=False, single=True)


def ramp(channel: int, steps: Sequence[int]) -> Extreme:
    """Largest absolute difference between neighbouring time steps, both in the span: at least two steps."""
    values = _values(channel, steps)

    def elements(x: Tensor) -> Tensor:
        rise = values(x).diff(dim=-1)
        return torch.cat([rise, -rise], dim=-1)

    return Extreme(elements, rise=(channel, list(steps)[:-1], list(steps)[1:]))


def count(channel: int, steps: Sequence[int], level: float, above: bool = True) -> General:
    """Number of time steps at which a series is above a level (or below)."""
    values, sign = _values(channel, steps), 1.0 if above else -1.0

    def margin(x: Tensor, threshold: float) -> Tensor:
        """How far the k-th highest value is above the level; k = threshold, rounded up."""
        k = min(max(math.ceil(threshold), 1), len(steps))
        return (sign * (values(x) - level)).topk(k, dim=-1).values[..., -1]

    return General(lambda x: (sign * (values(x) - level) > 0).sum(-1).to(x), margin, level)


def longest_run(channel: int, steps: Sequence[int], level: float, above: bool = True) -> General:
    """Largest number of neighbouring time steps at which a series is above a level (or below)."""
    values, sign = _values(channel, steps), 1.0 if above else -1.0

    def function(x: Tensor) -> Tensor:
        holds = sign * (values(x) - level) > 0
        run, best = torch.zeros_like(x[..., 0, 0]), torch.zeros_like(x[..., 0, 0])
        for step in range(holds.shape[-1]):
            run = torch.where(holds[..., step], run + 1, 0.0)
            best = torch.maximum(best, run)
        return best

    def margin(x: Tensor, threshold: float) -> Tensor:
        """The best span of k steps: how far its worst value is above the level."""
        k = min(max(math.ceil(threshold), 1), len(steps))
        return (sign * (values(x) - level)).unfold(-1, k, 1).amin(-1).amax(-1)

    return General(function, margin, level)


def deviation(channel: int, steps: Sequence[int]) -> General:
    """Standard deviation of a series over time steps."""
    values = _values(channel, steps)
    return General(lambda x: values(x).std(-1, correction=0))


def spread(channel: int, steps: Sequence[int]) -> General:
    """Largest value less the smallest."""
    values = _values(channel, steps)
    return General(lambda x: values(x).amax(-1) - values(x).amin(-1))


def combined(terms: Sequence[tuple[float, Statistic]], constant: float = 0.0) -> Statistic:
    """sum_k w_k g_k + constant; linear if all g_k are."""
    linear = [(weight, statistic) for weight, statistic in terms if isinstance(statistic, Linear)]
    if len(linear) == len(terms) and terms:
        weights = sum(
            (weight * statistic.weights for weight, statistic in linear), torch.zeros_like(linear[0][1].weights)
        )
        return Linear(weights, constant + sum(weight * statistic.constant for weight, statistic in linear))
    if len(terms) == 1 and terms[0][0] == 1.0 and constant == 0.0:
        return terms[0][1]

    def function(x: Tensor) -> Tensor:
        return sum((weight * statistic(x) for weight, statistic in terms), torch.full_like(x[..., 0, 0], constant))

    return General(function)


def _values(channel: int, steps: Sequence[int]) -> Callable[[Tensor], Tensor]:
    index = torch.as_tensor(list(steps))
    return lambda x: x[..., channel, :].index_select(-1, index.to(x.device))
