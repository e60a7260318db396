"""The terms that a condition is made of: statistics of a sample, and what must hold of them.

A sample is x [..., C, T]: C series over T time steps, in the units of the data. A condition is a tree: comparisons of a
statistic with bounds, joined by ``All``, ``Any`` and ``Not``. Its likelihood L(x) is between 0 and 1. Of a hard
comparison it is 0 or 1. Of a soft one with standard deviation s

    L = Phi((g - lower) / s)  or  Phi((upper - g) / s)     the bound is known up to a normal error of sd s
    L = exp(-(g - b)^2 / (2 s^2))                          for an equality g = b

``All`` multiplies likelihoods, ``Any`` is 1 - prod (1 - L), and ``Not`` is 1 - L. Both log L and log(1 - L) are
computed directly, so that neither is lost to rounding where the other is near 0.

Each condition also has a hard reading, ``holds``: standard deviations are ignored, and a soft equality holds within one
of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
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
        rise: where the elements are the rises x[later] - x[earlier] of a series, and their negatives after them:
            channel, earlier and later time steps; None otherwise.
    """

    elements: Callable[[Tensor], Tensor]
    largest: bool = True
    rise: tuple[int, Sequence[int], Sequence[int]] | None = None

    @property
    def single(self) -> bool:
        """Whether every element is one value of x."""
        return isinstance(self.elements, Values) and self.elements.single

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
        ways: (x, threshold) -> margins [..., W] of ways in which g >= threshold can come about: it does where one of
            them is positive. None if they are not known.
        complete: whether it does nowhere else, as for a run.
    """

    function: Callable[[Tensor], Tensor]
    margin: Callable[[Tensor, float], Tensor] | None = None
    level: float | None = None
    ways: Callable[[Tensor, float], Tensor] | None = None
    complete: bool = False

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return self.function(x)


@dataclass(frozen=True, eq=False)
class Comparison:
    """lower <= g(x) <= upper.

    A count or a run, which is a whole number, is compared without ``strict``: its lower bound is a whole number, its
    upper bound a whole number and a half, so that ``margin`` of its statistic is right for both.

    Attributes:
        statistic: g.
        lower, upper: bounds in the units of g; infinite for none. Equal for an equality, which must be soft.
        sd: standard deviation of a soft bound, in the units of g; None for a hard one.
        strict: whether a value on a bound does not satisfy it (``<``, ``>``). It matters for counts and runs.
        text: as it was written.

    Raises:
        ValueError: for bounds that no value can satisfy, no bound, a hard equality, or an sd that is not positive.
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

    def log_complement(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """log(1 - L)."""
        if self.sd is None or (self.lower > -math.inf and self.upper < math.inf):
            return log_not(self.log_likelihood(x))
        g = self.statistic(x)
        return torch.special.log_ndtr((self.lower - g if self.upper == math.inf else g - self.upper) / self.sd)

    def holds(self, x: Float[Tensor, "*n C T"]) -> Bool[Tensor, " *n"]:
        """The hard reading: whether g is within the bounds, or within one sd of an equality."""
        g = self.statistic(x)
        lower, upper = self._hard_bounds()
        return (g > lower) & (g < upper) if self.strict else (g >= lower) & (g <= upper)

    def shortfall(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """By how much g misses the bounds of the hard reading, in its units; 0 where they hold."""
        g = self.statistic(x)
        lower, upper = self._hard_bounds()
        missed = torch.maximum(lower - g, g - upper).clamp_min(0.0)
        return missed.ceil() if self.whole else missed

    def excess(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """By how much g would have to move to leave the bounds of the hard reading; 0 where they do not hold."""
        g = self.statistic(x)
        lower, upper = self._hard_bounds()
        up = (upper - g).ceil() if self.whole else upper - g
        down = (g - lower).floor() + 1.0 if self.whole else g - lower
        return torch.minimum(up, down).clamp_min(0.0)

    @property
    def whole(self) -> bool:
        """Whether g is a whole number: a count or a run."""
        return isinstance(self.statistic, General) and self.statistic.margin is not None

    def _hard_bounds(self) -> tuple[float, float]:
        within = self.sd if self.sd is not None and self.equality else 0.0
        return self.lower - within, self.upper + within

    def comparisons(self) -> Iterator[Comparison]:
        yield self


@dataclass(frozen=True, eq=False)
class All:
    """Every part holds."""

    parts: Sequence[Condition]

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return torch.stack([part.log_likelihood(x) for part in self.parts]).sum(0)

    def log_complement(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """log(1 - L)."""
        return log_union([(part.log_complement(x), part.log_likelihood(x)) for part in self.parts])

    def holds(self, x: Float[Tensor, "*n C T"]) -> Bool[Tensor, " *n"]:
        """The hard reading."""
        return torch.stack([part.holds(x) for part in self.parts]).all(0)

    def comparisons(self) -> Iterator[Comparison]:
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, eq=False)
class Any:
    """At least one part holds."""

    parts: Sequence[Condition]

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return log_union([(part.log_likelihood(x), part.log_complement(x)) for part in self.parts])

    def log_complement(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """log(1 - L)."""
        return torch.stack([part.log_complement(x) for part in self.parts]).sum(0)

    def holds(self, x: Float[Tensor, "*n C T"]) -> Bool[Tensor, " *n"]:
        """The hard reading."""
        return torch.stack([part.holds(x) for part in self.parts]).any(0)

    def comparisons(self) -> Iterator[Comparison]:
        for part in self.parts:
            yield from part.comparisons()


@dataclass(frozen=True, eq=False)
class Not:
    """The part does not hold."""

    part: Condition

    def log_likelihood(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        return self.part.log_complement(x)

    def log_complement(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, " *n"]:
        """log(1 - L)."""
        return self.part.log_likelihood(x)

    def holds(self, x: Float[Tensor, "*n C T"]) -> Bool[Tensor, " *n"]:
        """The hard reading."""
        return ~self.part.holds(x)

    def comparisons(self) -> Iterator[Comparison]:
        yield from self.part.comparisons()


Condition = Comparison | All | Any | Not


class Missed(NamedTuple):
    """By how much samples miss a condition.

    Of ``All`` the part that is missed most counts, of ``Any`` the one that is missed least, whatever their units.
    """

    amount: Float[Tensor, " *n"]  # in the units of the comparison; 0 where the condition holds
    comparison: Int[Tensor, " *n"]  # which one it is, by its number in ``comparisons()``


def missed_by(condition: Condition, x: Float[Tensor, "*n C T"]) -> Missed:
    """By how much each sample misses the hard reading of a condition, and at which comparison."""
    return _missed(condition, x, False, 0)


def _missed(condition: Condition, x: Tensor, negated: bool, number: int) -> Missed:
    """``number`` is that of the condition's first comparison. Not (A and B) is (not A) or (not B)."""
    if isinstance(condition, Comparison):
        amount = condition.excess(x) if negated else condition.shortfall(x)
        return Missed(amount, torch.full(amount.shape, number, device=amount.device))
    if isinstance(condition, Not):
        return _missed(condition.part, x, not negated, number)
    found = []
    for part in condition.parts:
        found.append(_missed(part, x, negated, number))
        number += sum(1 for _ in part.comparisons())
    amounts, numbers = (torch.stack(column) for column in zip(*found, strict=True))
    chosen = amounts.argmax(0) if isinstance(condition, All) != negated else amounts.argmin(0)
    return Missed(amounts.gather(0, chosen[None])[0], numbers.gather(0, chosen[None])[0])


def log_union(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """log(1 - prod (1 - L_k)) = log sum_k L_k prod_{j<k} (1 - L_j), from pairs log L_k and log(1 - L_k)."""
    firsts, none_before = [], torch.zeros_like(parts[0][0])
    for log_l, log_c in parts:
        firsts.append(log_l + none_before)
        none_before = none_before + log_c
    stacked = torch.stack(firsts)
    dead = (stacked == -math.inf).all(0)
    return torch.where(dead, -math.inf, torch.logsumexp(torch.where(dead, 0.0, stacked), 0))


def log_not(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)) for log_p <= 0; gradients stay finite."""
    log_p = log_p.clamp_max(0.0)
    small = log_p > -0.6931
    safe = torch.where(small, log_p, -0.6931).clamp_max(-1e-38)
    near_one = torch.log(-torch.expm1(safe))
    far = torch.log1p(-torch.exp(torch.where(small, -0.6931, log_p)))
    return torch.where(log_p == 0.0, -math.inf, torch.where(small, near_one, far))


# ---- statistics of one or several series over a span of time steps --------------------------------------------------


@dataclass(frozen=True, eq=False)
class Values:
    """Values v_j = sum_k w_k x[c_k, s_kj], j = 1 .. n: a combination of series over a span of n time steps.

    Attributes:
        terms: pairs of weight w_k, channel c_k and its n time steps s_k.
    """

    terms: tuple[tuple[float, int, tuple[int, ...]], ...]

    def __len__(self) -> int:
        return len(self.terms[0][2])

    def __call__(self, x: Float[Tensor, "*n C T"]) -> Float[Tensor, "*n steps"]:
        parts = [w * _taken(x[..., c, :], s) for w, c, s in self.terms]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @property
    def single(self) -> bool:
        """Whether every value is one value of x."""
        return len(self.terms) == 1 and self.terms[0][0] == 1.0

    def linear(self, each: float, shape: tuple[int, int]) -> Linear:
        """``each`` times the sum of the values, for samples of the shape (C, T)."""
        weights = torch.zeros(shape, dtype=torch.float64)
        for w, channel, steps in self.terms:
            weights[channel, list(steps)] += w * each
        return Linear(weights)

    def neighbours(self) -> Bool[Tensor, " n-1"]:
        """Whether each value and the next are neighbours in time: a span can have gaps."""
        steps = torch.tensor([steps for _, _, steps in self.terms])
        return (steps.diff(dim=-1) == 1).all(0)

    def longest_block(self) -> int:
        """The largest number of values in a row without a gap."""
        best = block = 1
        for adjacent in self.neighbours().tolist():
            block = block + 1 if adjacent else 1
            best = max(best, block)
        return best


def series(channel: int, steps: Sequence[int]) -> Values:
    """Values of one series at time steps."""
    return Values(((1.0, channel, tuple(steps)),))


def total(channel: int, steps: Sequence[int], shape: tuple[int, int]) -> Linear:
    """Sum of a series over time steps. ``shape`` is (C, T)."""
    return series(channel, steps).linear(1.0, shape)


def average(channel: int, steps: Sequence[int], shape: tuple[int, int]) -> Linear:
    """Mean of a series over time steps."""
    return series(channel, steps).linear(1.0 / len(steps), shape)


def largest(channel: int, steps: Sequence[int]) -> Extreme:
    """Largest value of a series over time steps."""
    return Extreme(series(channel, steps))


def smallest(channel: int, steps: Sequence[int]) -> Extreme:
    """Smallest value of a series over time steps."""
    return Extreme(series(channel, steps), largest=False)


def ramp(channel: int, steps: Sequence[int]) -> Extreme:
    """Largest absolute difference between neighbouring time steps, both in the span: at least two steps."""
    return ramp_of(series(channel, steps))


def ramp_of(values: Values) -> Extreme:
    """Largest absolute difference between values that are neighbours in time. Raises ValueError if there are none."""
    adjacent = values.neighbours()
    if not adjacent.any():
        raise ValueError("a ramp needs two neighbouring time steps in its span")

    def elements(x: Tensor) -> Tensor:
        rise = values(x).diff(dim=-1)[..., adjacent.to(x.device)]
        return torch.cat([rise, -rise], dim=-1)

    if not values.single:
        return Extreme(elements)
    (_, channel, steps), pairs = values.terms[0], torch.nonzero(adjacent)[:, 0].tolist()
    return Extreme(elements, rise=(channel, [steps[j] for j in pairs], [steps[j + 1] for j in pairs]))


def count(channel: int, steps: Sequence[int], level: float, above: bool = True) -> General:
    """Number of time steps at which a series is above a level (or below)."""
    values, sign = series(channel, steps), 1.0 if above else -1.0
    return count_of(lambda x: sign * (values(x) - level), len(steps), level=level)


def count_of(
    margins: Callable[[Tensor], Tensor], num_steps: int, strict: bool = True, level: float | None = None
) -> General:
    """Number of time steps with a positive margin.

    Args:
        margins: x [..., C, T] -> [..., n].
        num_steps: n.
        strict: whether a margin of 0 does not count.
        level: where each margin is one value of x less this level, or the level less the value; None otherwise.
    """

    def margin(x: Tensor, threshold: float) -> Tensor:
        """The k-th largest margin; k = threshold, rounded up."""
        k = min(max(math.ceil(threshold), 1), num_steps)
        return margins(x).topk(k, dim=-1).values[..., -1]

    def ways(x: Tensor, threshold: float) -> Tensor:
        """The smallest margin of every k steps in a row, which is not the only way to have k of them."""
        return _worst_of_spans(margins(x), min(max(math.ceil(threshold), 1), num_steps))

    return General(lambda x: _positive(margins(x), strict).sum(-1).to(x), margin, level, ways)


def longest_run(channel: int, steps: Sequence[int], level: float, above: bool = True) -> General:
    """Largest number of neighbouring time steps at which a series is above a level (or below)."""
    values, sign = series(channel, steps), 1.0 if above else -1.0
    return longest_run_of(lambda x: sign * (values(x) - level), values.neighbours(), level=level)


def longest_run_of(
    margins: Callable[[Tensor], Tensor],
    neighbours: Bool[Tensor, " n-1"],
    strict: bool = True,
    level: float | None = None,
) -> General:
    """Largest number of time steps in a row with a positive margin.

    Args:
        margins: x [..., C, T] -> [..., n].
        neighbours: whether each of the n steps and the next are neighbours in time. A run ends at a gap.
        strict: whether a margin of 0 does not count.
        level: where each margin is one value of x less this level, or the level less the value; None otherwise.
    """
    adjacent = [False, *neighbours.tolist()]
    starts = [j if not joined else -1 for j, joined in enumerate(adjacent)]
    for j in range(len(starts)):
        starts[j] = starts[j - 1] if starts[j] < 0 else starts[j]

    def function(x: Tensor) -> Tensor:
        holds = _positive(margins(x), strict)
        run = best = torch.zeros_like(x[..., 0, 0])
        for step, joined in enumerate(adjacent):
            run = torch.where(holds[..., step], run + 1 if joined else torch.ones_like(run), 0.0)
            best = torch.maximum(best, run)
        return best

    def ways(x: Tensor, threshold: float) -> Tensor:
        """The smallest margin of every span of k steps without a gap."""
        k = max(math.ceil(threshold), 1)
        ends = [j for j in range(len(adjacent)) if j - starts[j] + 1 >= k]
        if not ends:
            return torch.full_like(x[..., 0, :1], -math.inf)
        return _worst_of_spans(margins(x), k)[..., torch.tensor(ends, device=x.device) - k + 1]

    return General(function, lambda x, threshold: ways(x, threshold).amax(-1), level, ways, complete=True)


def _worst_of_spans(margins: Float[Tensor, "*s n"], length: int) -> Float[Tensor, "*s spans"]:
    """The smallest of every ``length`` margins in a row."""
    flat = -margins.reshape(1, -1, margins.shape[-1])
    return -torch.nn.functional.max_pool1d(flat, length, 1).reshape(*margins.shape[:-1], -1)


def deviation(channel: int, steps: Sequence[int]) -> General:
    """Standard deviation of a series over time steps, sqrt(mean (x - mean x)^2)."""
    return deviation_of(series(channel, steps))


def deviation_of(values: Values) -> General:
    """Standard deviation of values."""
    return General(lambda x: values(x).std(-1, correction=0))


def spread(channel: int, steps: Sequence[int]) -> General:
    """Largest value less the smallest."""
    return spread_of(series(channel, steps))


def spread_of(values: Values) -> General:
    """Largest value less the smallest."""

    def function(x: Tensor) -> Tensor:
        v = values(x)
        return v.amax(-1) - v.amin(-1)

    return General(function)


def combined(terms: Sequence[tuple[float, Statistic]], constant: float = 0.0) -> Statistic:
    """sum_k w_k g_k + constant: linear if all g_k are, an extreme if one is and the others are linear."""
    linear = [(weight, statistic) for weight, statistic in terms if isinstance(statistic, Linear)]
    if len(linear) == len(terms) and terms:
        weights = sum(
            (weight * statistic.weights for weight, statistic in linear), torch.zeros_like(linear[0][1].weights)
        )
        return Linear(weights, constant + sum(weight * statistic.constant for weight, statistic in linear))
    if len(terms) == 1 and terms[0][0] == 1.0 and constant == 0.0:
        return terms[0][1]
    others = [(weight, statistic) for weight, statistic in terms if not isinstance(statistic, Linear)]
    offset = constant + sum(weight * statistic.constant for weight, statistic in linear)
    if len(others) == 1 and isinstance(others[0][1], Extreme) and others[0][0] != 0.0 and offset == 0.0:
        return _moved(others[0][0], others[0][1], linear)

    def function(x: Tensor) -> Tensor:
        return sum((weight * statistic(x) for weight, statistic in terms), torch.full_like(x[..., 0, 0], constant))

    return General(function)


def _moved(weight: float, extreme: Extreme, linear: Sequence[tuple[float, Linear]]) -> Extreme:
    """weight * max_m e_m + sum_k w_k g_k = max_m (weight e_m + sum_k w_k g_k); min for a negative weight."""

    def elements(x: Tensor) -> Tensor:
        shift = sum((w * statistic(x) for w, statistic in linear), torch.zeros_like(x[..., 0, 0]))
        return weight * extreme.elements(x) + shift[..., None]

    return Extreme(elements, largest=extreme.largest == (weight > 0))


def _positive(margins: Tensor, strict: bool) -> Tensor:
    return margins > 0 if strict else margins >= 0


def _taken(x: Tensor, steps: Sequence[int]) -> Tensor:
    """x at time steps: a view if they have no gap."""
    if steps[-1] - steps[0] + 1 == len(steps):
        return x[..., steps[0] : steps[-1] + 1]
    return x.index_select(-1, torch.tensor(steps, device=x.device))
