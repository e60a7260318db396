"""From a tree to terms: which channels and time steps a written condition is about, for one problem."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sadt_ray.conditions import terms
from sadt_ray.conditions.calendar import STEP_UNITS, UNIT_SECONDS, Calendar, calendar_of
from sadt_ray.conditions.syntax import (
    Arithmetic,
    Both,
    Chain,
    ConditionError,
    During,
    Either,
    Named,
    Negated,
    Negative,
    Number,
    Quantity,
    Summary,
    Tally,
    Tree,
    has_tally,
)
from sadt_ray.conditions.terms import Comparison, Condition, Extreme, Statistic, Values
from sadt_ray.interfaces import Problem

Steps = tuple[int, ...]
Key = tuple

_ROUNDING = 1e-9  # of thresholds of counts, which are whole numbers
_FLIPPED = str.maketrans("<>", "><")
_NEVER_NEGATIVE = ("std", "range", "ramp")
_ASCENDING = ("min", "mean", "max")  # min <= mean <= max of the same values


@dataclass(frozen=True)
class Term:
    """A weighted statistic of a sum.

    Attributes:
        key: equal for equal statistics.
        most: the largest value of a count or run; None for other statistics.
    """

    weight: float
    statistic: Statistic
    key: Key
    most: int | None = None


@dataclass(frozen=True)
class Amount:
    """A number, or one number for each of n time steps: values + terms + constant.

    Attributes:
        values: weighted series over n time steps each; none for a plain number.
        terms: statistics; none beside values over several time steps.
    """

    values: tuple[tuple[float, int, Steps], ...] = ()
    terms: tuple[Term, ...] = ()
    constant: float = 0.0

    @property
    def num_steps(self) -> int:
        """n; 1 for a plain number."""
        return len(self.values[0][2]) if self.values else 1


@dataclass(frozen=True)
class Bound:
    """What a hard comparison that must hold says about one statistic, to find contradictions."""

    key: Key
    lower: float
    upper: float
    chain: Chain


@dataclass(frozen=True)
class Limits:
    """Bounds of a statistic, as those of ``Comparison``."""

    lower: float
    upper: float
    sd: float | None = None
    strict: bool = False

    def divided(self, weight: float) -> Limits:
        """Bounds of g for those of weight * g."""
        lower, upper = sorted((self.lower / weight, self.upper / weight))
        return Limits(lower, upper, None if self.sd is None else self.sd / abs(weight), self.strict)

    def on(self, statistic: Statistic, written: str) -> Comparison:
        """The comparison of a statistic with these bounds."""
        return Comparison(statistic, self.lower, self.upper, self.sd, self.strict, written)

    def bounds(self, key: Key, chain: Chain) -> list[Bound]:
        """What a hard comparison says of the statistic with this key."""
        return [Bound(key, self.lower, self.upper, chain)] if self.sd is None else []


class Resolver:
    """Resolves a tree for one problem.

    Args:
        text: of the condition, which errors show.
        shape: (C, T) of a sample.
    """

    def __init__(self, text: str, problem: Problem, shape: tuple[int, int]) -> None:
        self.text, self.shape = text, shape
        self.names = channel_names(problem, shape[0])
        self.unit = problem.scale.unit
        self.calendar: Calendar = calendar_of(problem.time, shape[1])

    def condition(self, tree: Tree) -> Condition:
        """Raises ConditionError for what does not fit the problem."""
        found, bounds = self._statement(tree, tuple(range(self.shape[1])), "")
        self._check_contradictions(bounds)
        return found

    # ---- statements -------------------------------------------------------------------------------------------------

    def _statement(self, tree: Tree, steps: Steps, suffix: str) -> tuple[Condition, list[Bound]]:
        """The condition, and what must hold if it does. ``suffix``: the brackets about it, as they are written."""
        if isinstance(tree, During):
            written = str(tree)[len(str(During(tree.inner, ()))) - 2 :]
            return self._statement(tree.inner, self._narrowed(tree, steps), written + suffix)
        if isinstance(tree, Negated):
            return terms.Not(self._statement(tree.part, steps, suffix)[0]), []
        if isinstance(tree, Either):
            return terms.Any(tuple(self._statement(part, steps, suffix)[0] for part in tree.parts)), []
        if isinstance(tree, Both):
            found = [self._statement(part, steps, suffix) for part in tree.parts]
            return terms.All(tuple(part for part, _ in found)), [bound for _, bounds in found for bound in bounds]
        assert isinstance(tree, Chain)
        return self._chain(tree, steps, f"({tree}){suffix}" if suffix else str(tree))

    def _chain(self, chain: Chain, steps: Steps, written: str) -> tuple[Condition, list[Bound]]:
        counted = any(map(has_tally, chain.operands))
        amounts = [self._amount(each, steps, counted) for each in chain.operands]
        tolerance = self._value(chain.tolerance[1], counted) if chain.tolerance else None
        if len(amounts) == 3 and _is_number(amounts[0]) and _is_number(amounts[2]):
            links = [self._between(chain, *amounts)]
        else:
            links = [self._pair(chain, *pair) for pair in zip(amounts, amounts[1:], chain.operators, strict=False)]
        parts: list[Condition] = []
        bounds: list[Bound] = []
        for rest, limits in links:
            if chain.operators == ("=",):
                limits = self._equality(chain, rest, limits.lower, tolerance)
            elif tolerance is not None:
                limits = replace(limits, sd=tolerance)
            found, facts = self._comparisons(chain, rest, limits, written)
            parts += found
            bounds += facts
        return parts[0] if len(parts) == 1 else terms.All(tuple(parts)), bounds

    def _pair(self, chain: Chain, left: Amount, right: Amount, operator: str) -> tuple[Amount, Limits]:
        """left < right as g < b; the constants are moved to b. A number on the left changes places with g."""
        if _is_number(left):
            left, right, operator = right, left, operator.translate(_FLIPPED)
        difference = self._sum(left, right, -1.0, chain)
        bound, strict = 0.0 - difference.constant, operator in "<>"
        lower, upper = bound if operator[0] in ">=" else -math.inf, bound if operator[0] in "<=" else math.inf
        return replace(difference, constant=0.0), Limits(lower, upper, strict=strict)

    def _between(self, chain: Chain, first: Amount, middle: Amount, last: Amount) -> tuple[Amount, Limits]:
        """lower < g < upper, as one comparison."""
        ends = [first.constant - middle.constant, last.constant - middle.constant]
        lower, upper = reversed(ends) if chain.operators[0].startswith(">") else ends
        if lower >= upper:
            raise self._error("no value is within these bounds", chain, "Write lower < g < upper.")
        return replace(middle, constant=0.0), Limits(lower, upper, strict="=" not in "".join(chain.operators))

    def _equality(self, chain: Chain, rest: Amount, bound: float, tolerance: float | None) -> Limits:
        whole = len(rest.terms) == 1 and rest.terms[0].most is not None
        if tolerance is None and not whole and not _is_number(rest):
            raise self._error(
                "the probability of an exact equality is 0",
                chain,
                f"Write {chain} +- d for a band, or {chain} ~ d for a soft equality of standard deviation d.",
            )
        if chain.tolerance and chain.tolerance[0] == "~":
            return Limits(bound, bound, tolerance)
        return Limits(bound - (tolerance or 0.0), bound + (tolerance or 0.0))

    def _comparisons(
        self, chain: Chain, rest: Amount, limits: Limits, written: str
    ) -> tuple[list[Condition], list[Bound]]:
        if _is_number(rest):
            raise self._error("this compares two numbers", chain, "One side must be a statistic or a series.")
        if rest.num_steps > 1:
            return self._at_every_step(chain, Values(rest.values), limits, written)
        found = sorted(self._terms_of(rest), key=lambda term: repr(term.key))
        if len(found) > 1:
            key: Key = ("combined", tuple((term.weight, term.key) for term in found))
            statistic = terms.combined([(term.weight, term.statistic) for term in found])
            return [limits.on(statistic, written)], limits.bounds(key, chain)
        (term,) = found
        alone = limits.divided(term.weight)
        if isinstance(term.statistic, terms.Linear):
            statistic = terms.combined([(term.weight, term.statistic)])
            return [limits.on(statistic, written)], alone.bounds(term.key, chain)
        if term.most is not None:
            alone = self._whole(chain, term, alone)
        self._check_sign(chain, term, alone)
        return [alone.on(term.statistic, written)], alone.bounds(term.key, chain)

    def _at_every_step(
        self, chain: Chain, values: Values, limits: Limits, written: str
    ) -> tuple[list[Condition], list[Bound]]:
        """A band at all steps is a bound on the largest and on the smallest value. A soft equality is one at each."""
        if limits.lower == limits.upper:
            each = [Values(tuple((w, c, (s[j],)) for w, c, s in values.terms)) for j in range(len(values))]
            return [limits.on(value.linear(1.0, self.shape), written) for value in each], []
        parts: list[Condition] = []
        bounds: list[Bound] = []
        for largest, side in (
            (False, replace(limits, upper=math.inf)),
            (True, replace(limits, lower=-math.inf)),
        ):
            if side.lower > -math.inf or side.upper < math.inf:
                parts.append(side.on(Extreme(values, largest), written))
                bounds += side.bounds(("max" if largest else "min", values.terms), chain)
        return parts, bounds

    def _whole(self, chain: Chain, term: Term, limits: Limits) -> Limits:
        """The bounds of a count, which become whole numbers, see ``Comparison``."""
        assert term.most is not None
        lower, upper, strict = limits.lower, limits.upper, limits.strict
        if limits.sd is not None:
            return replace(limits, strict=False)
        if lower > -math.inf:
            lower = math.floor(lower + _ROUNDING) + 1 if strict else math.ceil(lower - _ROUNDING)
        if upper < math.inf:
            upper = math.ceil(upper - _ROUNDING) - 1 if strict else math.floor(upper + _ROUNDING)
        if lower > upper:
            raise self._error(
                f"a {term.key[0]} is a whole number, and none is within these bounds", chain, "Widen them."
            )
        if lower > term.most:
            raise self._error(f"a {term.key[0]} is at most {term.most} here", chain, self._most_of(term))
        if upper < 0:
            raise self._error(f"a {term.key[0]} is never below 0", chain, "Write = 0 for none.")
        if lower <= 0 and upper >= term.most:
            raise self._error(f"a {term.key[0]} is from 0 to {term.most}, so this says nothing", chain, "Leave it out.")
        return Limits(lower if lower > 0 else -math.inf, upper + 0.5 if upper < term.most else math.inf)

    def _most_of(self, term: Term) -> str:
        what = "The span has" if term.key[0] == "count" else "The longest part of the span without a gap has"
        return f"{what} {term.most} time steps."

    def _check_sign(self, chain: Chain, term: Term, limits: Limits) -> None:
        if term.key[0] not in _NEVER_NEGATIVE or limits.sd is not None:
            return
        if limits.upper <= 0:
            raise self._error(f"{term.key[0]} is above 0", chain, "Give it a positive upper bound.")
        if limits.lower < 0 and limits.upper == math.inf:
            raise self._error(f"{term.key[0]} is never below 0, so this says nothing", chain, "Leave it out.")

    def _check_contradictions(self, bounds: Sequence[Bound]) -> None:
        for number, later in enumerate(bounds):
            for earlier in bounds[:number]:
                if _contradict(earlier, later) or _contradict(later, earlier):
                    remedy = "Widen one of them, or join them with or."
                    raise self._error(f"this contradicts {earlier.chain}", later.chain, remedy)

    # ---- quantities -------------------------------------------------------------------------------------------------

    def _amount(self, tree: Quantity, steps: Steps, counted: bool) -> Amount:
        """``counted``: whether numbers are numbers of time steps, and their units units of time."""
        if isinstance(tree, Number):
            return Amount(constant=self._value(tree, counted))
        if isinstance(tree, Named):
            return Amount(values=((1.0, self._channel(tree), steps),))
        if isinstance(tree, Negative):
            return _scaled(self._amount(tree.inner, steps, counted), -1.0)
        if isinstance(tree, During):
            return self._amount(tree.inner, self._narrowed(tree, steps), counted)  # type: ignore[arg-type]
        if isinstance(tree, Summary):
            return self._summary(tree, steps)
        if isinstance(tree, Tally):
            return self._tally(tree, steps)
        return self._arithmetic(tree, steps, counted)

    def _arithmetic(self, tree: Arithmetic, steps: Steps, counted: bool) -> Amount:
        left, right = (self._amount(each, steps, counted) for each in (tree.left, tree.right))
        if tree.operator in "+-":
            return self._sum(left, right, 1.0 if tree.operator == "+" else -1.0, tree)
        if tree.operator == "/":
            if not _is_number(right):
                raise self._error("only numbers divide", tree.right, "Write A < 0.5 * B for A / B < 0.5.")
            if right.constant == 0.0:
                raise self._error("this divides by 0", tree.right)
            return _scaled(left, 1.0 / right.constant)
        if _is_number(left):
            return _scaled(right, left.constant)
        if _is_number(right):
            return _scaled(left, right.constant)
        raise self._error("one of two factors must be a number", tree, "Sums, differences and multiples are possible.")

    def _sum(self, left: Amount, right: Amount, sign: float, tree: Tree) -> Amount:
        right = _scaled(right, sign)
        if left.values and right.values and left.num_steps != right.num_steps:
            raise self._error(
                f"{left.num_steps} time steps cannot be combined with {right.num_steps}",
                tree,
                "Give both the same span, or take a statistic such as mean(A).",
            )
        found = Amount(left.values + right.values, left.terms + right.terms, left.constant + right.constant)
        if found.values and found.terms:
            if found.num_steps > 1:
                remedy = (
                    "Take a statistic of the series too, as in max(A) < 2 * mean(A), or name one step, as in A[step 1]."
                )
                raise self._error("a series over several time steps meets a statistic", tree, remedy)
            return Amount((), self._terms_of(found), found.constant)
        return replace(found, values=_gathered(found.values), terms=_collected(found.terms))

    def _terms_of(self, amount: Amount) -> tuple[Term, ...]:
        """The terms, one for each series at its only step among them."""
        ones = [
            Term(w, terms.series(c, s).linear(1.0, self.shape), ("mean", ((1.0, c, s),))) for w, c, s in amount.values
        ]
        return _collected((*amount.terms, *ones))

    def _summary(self, tree: Summary, steps: Steps) -> Amount:
        values, constant = self._series(tree.argument, tree, steps)
        name = tree.function
        if name in ("std", "range", "ramp"):
            if len(values) < 2:
                raise self._error(f"{name} of one time step is always 0", tree, "Widen the span.")
            if name == "ramp" and not values.neighbours().any():
                raise self._error("no two time steps of the span are neighbours", tree, "Widen the span.")
            makers: dict[str, Callable[[Values], Statistic]] = {
                "std": terms.deviation_of,
                "range": terms.spread_of,
                "ramp": terms.ramp_of,
            }
            return Amount(terms=(Term(1.0, makers[name](values), (name, values.terms)),))
        if name in ("max", "min") and len(values) > 1:
            return Amount((), (Term(1.0, Extreme(values, name == "max"), (name, values.terms)),), constant)
        if name in ("first", "last"):
            values = Values(tuple((w, c, (s[0] if name == "first" else s[-1],)) for w, c, s in values.terms))
        weight = len(values) if name == "sum" else 1.0  # a sum is that many means, so that both have one key
        statistic = values.linear(1.0 / len(values), self.shape)
        return Amount((), (Term(float(weight), statistic, ("mean", values.terms)),), weight * constant)

    def _series(self, argument: Quantity | None, tree: Summary | Tally, steps: Steps) -> tuple[Values, float]:
        """A combination of series and the number that is added to it."""
        if argument is None:
            if len(self.names) > 1:
                example = str(Summary("max", Named(self.names[0])))
                raise self._error(
                    f"there are {len(self.names)} series: {self._list_of_names()}", tree, f"Say which, as in {example}."
                )
            return terms.series(0, steps), 0.0
        amount = self._amount(argument, steps, False)
        if amount.terms or not amount.values:
            what = "a number" if not amount.terms else "a statistic"
            raise self._error(
                f"a series is needed here, this is {what}", argument, f"The series: {self._list_of_names()}."
            )
        return Values(amount.values), amount.constant

    def _tally(self, tree: Tally, steps: Steps) -> Amount:
        sides = [self._side(each, tree, steps) for each in tree.operands]
        differences = []
        for left, right, operator in zip(sides, sides[1:], tree.operators, strict=False):
            above = operator.startswith(">")
            difference = self._sum(left if above else right, right if above else left, -1.0, tree)
            if not difference.values:
                raise self._error("this compares two numbers", tree, f"The series: {self._list_of_names()}.")
            differences.append((Values(difference.values), difference.constant))
        strict = not any("=" in operator for operator in tree.operators)
        adjacent = torch.stack([values.neighbours() for values, _ in differences]).all(0)

        def margins(x: Tensor) -> Tensor:
            return torch.stack([values(x) + constant for values, constant in differences]).amin(0)

        num_steps, level = len(differences[0][0]), _level(differences)
        key = (tree.function, strict, tuple((values.terms, constant) for values, constant in differences))
        if tree.function == "count":
            return Amount(terms=(Term(1.0, terms.count_of(margins, num_steps, strict, level), key, num_steps),))
        longest = min(values.longest_block() for values, _ in differences)
        return Amount(terms=(Term(1.0, terms.longest_run_of(margins, adjacent, strict, level), key, longest),))

    def _side(self, operand: Quantity | None, tree: Tally, steps: Steps) -> Amount:
        if operand is None:
            return Amount(values=self._series(None, tree, steps)[0].terms)
        amount = self._amount(operand, steps, False)
        if amount.terms:
            remedy = f"Compare series with numbers or series: {self._list_of_names()}."
            raise self._error("time steps are counted by their values, not by a statistic", operand, remedy)
        return amount

    def _value(self, number: Number, counted: bool) -> float:
        if not number.unit or number.unit == self.unit:
            return number.value
        if counted:
            return self.calendar.steps_of(number, self.text)
        known = f"the data is in {self.unit}" if self.unit else "the unit of the data is not known"
        remedy = f"Write {replace(number, unit='')}" + (f" {self.unit}." if self.unit else ".")
        if number.unit in self.names:
            remedy = f"For a multiple of the series write {replace(number, unit='')} * {number.unit}."
        elif number.unit in UNIT_SECONDS or number.unit in STEP_UNITS:
            remedy += " Durations belong to count(...) and longest run(...)."
        raise ConditionError(f"the unit {number.unit!r}: {known}", self.text, number.span, remedy)

    def _channel(self, tree: Named) -> int:
        if tree.name in self.names:
            return self.names.index(tree.name)
        if tree.name == "x" and len(self.names) == 1:
            return 0
        near = difflib.get_close_matches(tree.name.lower(), [name.lower() for name in self.names], 3, 0.5)
        meant = [name for name in self.names if name.lower() in near]
        known = f"The series: {self._list_of_names()}."
        remedy = f"Did you mean {' or '.join(str(Named(name)) for name in meant)}? {known}" if meant else known
        raise self._error(f"there is no series {tree.name!r}", tree, remedy)

    def _list_of_names(self) -> str:
        shown = ", ".join(str(Named(name)) for name in self.names[:12])
        return shown + (f" and {len(self.names) - 12} more" if len(self.names) > 12 else "")

    def _narrowed(self, tree: During, steps: Steps) -> Steps:
        chosen = set(self.calendar.steps(tree.parts, self.text, tree.bracket))
        both = tuple(step for step in steps if step in chosen)
        if not both:
            raise ConditionError("no time step is in this span and the one around it", self.text, tree.bracket)
        return both

    def _error(self, message: str, tree: Tree, remedy: str = "") -> ConditionError:
        return ConditionError(message, self.text, tree.span, remedy)


def channel_names(problem: Problem, channels: int) -> tuple[str, ...]:
    """Names of the C series of a sample. Raises ValueError if the scale names another number of series."""
    names = problem.scale.channels
    if len(names) != channels:
        raise ValueError(
            f"{problem.name}: samples have {channels} series, the problem's scale names {len(names)} "
            f"({', '.join(names)}); give the problem a Scale with {channels} channels"
        )
    return tuple(names)


def _is_number(amount: Amount) -> bool:
    return not amount.values and not amount.terms


def _scaled(amount: Amount, factor: float) -> Amount:
    if factor == 0.0:
        return Amount()
    return Amount(
        tuple((factor * w, c, s) for w, c, s in amount.values),
        tuple(replace(term, weight=factor * term.weight) for term in amount.terms),
        factor * amount.constant,
    )


def _gathered(values: tuple[tuple[float, int, Steps], ...]) -> tuple[tuple[float, int, Steps], ...]:
    """One weight for each series and span, in an order of their own; those that cancel are left out."""
    weights: dict[tuple[int, Steps], float] = {}
    for weight, channel, steps in values:
        weights[channel, steps] = weights.get((channel, steps), 0.0) + weight
    return tuple((weights[which], *which) for which in sorted(weights) if weights[which] != 0.0)


def _collected(found: tuple[Term, ...]) -> tuple[Term, ...]:
    """One term for each statistic; those that cancel are left out."""
    by_key: dict[Key, Term] = {}
    for term in found:
        known = by_key.get(term.key)
        by_key[term.key] = replace(term, weight=term.weight + (known.weight if known else 0.0))
    return tuple(term for term in by_key.values() if term.weight != 0.0)


def _contradict(one: Bound, other: Bound) -> bool:
    """Whether a lower bound and an upper bound exclude each other, of the same statistic or of min, mean and max."""
    if one.lower < other.upper:
        return False
    if one.key == other.key:
        return one.lower > other.upper or one.lower == other.upper
    names = one.key[0], other.key[0]
    if one.key[1:] != other.key[1:] or not all(name in _ASCENDING for name in names):
        return False
    return _ASCENDING.index(names[0]) < _ASCENDING.index(names[1])


def _level(differences: Sequence[tuple[Values, float]]) -> float | None:
    """The level that single values of x are compared with; None where margins are anything else."""
    (values, constant), *others = differences
    if others or len(values.terms) != 1 or abs(values.terms[0][0]) != 1.0:
        return None
    return -constant / values.terms[0][0]
