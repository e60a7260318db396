"""Conditions in plain words, and what they do to samples of the prior."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from sadt_ray.conditions.calendar import STEP_UNITS, Calendar, calendar_of
from sadt_ray.conditions.parse import ParsedCondition, parse_condition
from sadt_ray.conditions.resolve import channel_names
from sadt_ray.conditions.syntax import (
    Arithmetic,
    Both,
    Chain,
    Counted,
    During,
    Either,
    Named,
    Negated,
    Negative,
    Number,
    Part,
    Quantity,
    Summary,
    Tally,
    Tree,
    Weekdays,
    has_tally,
)
from sadt_ray.interfaces import Problem

_OF_NAME = {
    "max": "the largest {}",
    "min": "the smallest {}",
    "mean": "the mean {}",
    "first": "the first {}",
    "last": "the last {}",
    "sum": "the sum of {}",
    "std": "the standard deviation of {}",
    "range": "the range of {}",
    "ramp": "the largest change of {} from one time step to the next",
}
_RELATION = {"<": "below", ">": "above", "<=": "at most", ">=": "at least"}
_OPERATOR = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


def describe(
    condition: str | ParsedCondition, problem: Problem | None = None, shape: tuple[int, int] | None = None
) -> str:
    """A condition in plain words, such as

        the largest load in MW between 18:00 and 22:00 of each day (20 steps) is above 1,500 (hard)

    Args:
        problem: whose series and units are named.
        shape: (C, T) of its samples. With it the condition is checked, and every span says how many steps it has.

    Raises:
        ConditionError: for text that cannot be read, or, with a problem and a shape, that does not fit.
    """
    parsed = parse_condition(condition) if isinstance(condition, str) else condition
    calendar = None
    if problem is not None and shape is not None:
        parsed.resolve(problem, shape)
        calendar = calendar_of(problem.time, shape[1])
    return Words(problem, calendar).statement(parsed.tree)


def affects(
    satisfied: Bool[np.ndarray, " n"],
    shortfall: Float[np.ndarray, " n"] | None = None,
    unit: str = "",
    samples: str = "prior samples",
) -> str:
    """What a condition does to samples, in one sentence.

    Args:
        satisfied: whether each sample satisfies it.
        shortfall: by how much each sample misses it.
        unit: of the shortfall.
        samples: what they are called.
    """
    n, hits = len(satisfied), int(np.sum(satisfied))
    if n == 0:
        return f"no {samples} to check it with"
    if hits == n:
        return f"holds in all of {n:,} {samples}: it changes nothing"
    if hits == 0:
        nearest = "" if shortfall is None else f"; nearest misses by {np.min(shortfall):,.3g} {unit}".rstrip()
        return f"holds in none of {n:,} {samples}{nearest}"
    share = hits / n
    if hits < 10 or share < 0.01:
        return f"holds in {hits} of {n:,} {samples} ({100 * share:.2g} %)"
    percent = min(f"{100 * share:.0f}", "99", key=float) if share < 1 else "100"
    return f"holds in {percent} % of {n:,} {samples}"


class Words:
    """Writes trees in words, for one problem or for none."""

    def __init__(self, problem: Problem | None, calendar: Calendar | None) -> None:
        self.calendar = calendar
        self.unit = problem.scale.unit if problem else ""
        names = channel_names(problem, len(problem.scale.channels)) if problem else ()
        self.only = names[0] if len(names) == 1 and names[0] != "x" else "value"

    def statement(self, tree: Tree, where: str = "") -> str:
        """A condition. ``where``: the spans about it."""
        if isinstance(tree, During):
            return self.statement(tree.inner, f"{self.span(tree)}{where}")
        if isinstance(tree, Negated):
            return f"it is not so that {self._part(tree.part, where)}"
        if isinstance(tree, Both):
            return " and ".join(self._part(part, where) for part in tree.parts)
        if isinstance(tree, Either):
            return "either " + " or ".join(self._part(part, where) for part in tree.parts)
        assert isinstance(tree, Chain)
        return self._chain(tree, where)

    def _part(self, tree: Tree, where: str) -> str:
        inner = tree
        while isinstance(inner, During):
            inner = inner.inner
        words = self.statement(tree, where)
        return words if isinstance(inner, Chain) else f"({words})"

    def _chain(self, chain: Chain, where: str) -> str:
        operands, operators = chain.operands, chain.operators
        if len(operands) == 2 and isinstance(operands[0], Number):
            operands, operators = operands[::-1], tuple(_flipped(operator) for operator in operators)
        counted = any(map(has_tally, operands))
        if len(operands) == 3 and isinstance(operands[0], Number) and isinstance(operands[2], Number):
            subject = operands[1]
            low, high = (operands[0], operands[2]) if operators[0].startswith("<") else (operands[2], operands[0])
            relation = f"between {self._number(low)} and {self._number(high)}"
        else:
            subject = operands[0]
            relation = self._relations(chain, operands, operators, where)
        every = "" if counted or _is_summary(subject) or _is_moment(subject, where) else "at every time step "
        unit = f" in {self.unit}" if self.unit and not counted else ""
        return f"{every}{self.quantity(subject, where, unit)} is {relation} ({self._hardness(chain)})"

    def _relations(self, chain: Chain, operands: tuple[Quantity, ...], operators: tuple[str, ...], where: str) -> str:
        others = [self.quantity(each, where) for each in operands[1:]]
        if operators == ("=",):
            if chain.tolerance is None:
                return others[0]
            width = self._number(chain.tolerance[1])
            return f"within {width} of {others[0]}" if chain.tolerance[0] == "+-" else f"about {others[0]}"
        pairs = [f"{_RELATION[operator]} {other}" for operator, other in zip(operators, others, strict=True)]
        return ", which is ".join(pairs)

    def _hardness(self, chain: Chain) -> str:
        if chain.tolerance is None or chain.tolerance[0] == "+-":
            return "hard"
        return f"soft, standard deviation {self._number(chain.tolerance[1])}"

    def quantity(self, tree: Quantity, where: str = "", unit: str = "") -> str:
        """A number, a series or a statistic."""
        if isinstance(tree, Number):
            return self._number(tree)
        if isinstance(tree, Named):
            return f"{self._series(tree)}{unit}{where}"
        if isinstance(tree, During):
            return self.quantity(tree.inner, f"{self.span(tree)}{where}", unit)  # type: ignore[arg-type]
        if isinstance(tree, Negative):
            return f"minus {self.quantity(tree.inner, where, unit)}"
        if isinstance(tree, Summary):
            series = self._series(tree.argument)
            simple = tree.argument is None or isinstance(tree.argument, Named)
            if series == "value" and tree.function in ("sum", "std", "range", "ramp"):
                series = "the values"
            if not simple and tree.function in ("max", "min", "mean", "first", "last"):
                series = f"value of {series}"
            return f"{_OF_NAME[tree.function].format(series)}{unit}{where}"
        if isinstance(tree, Tally):
            what = "number" if tree.function == "count" else "longest run"
            return f"the {what} of time steps{where} with {self._tallied(tree)}"
        assert isinstance(tree, Arithmetic)
        if not (_is_summary(tree) or "[" in str(tree)):
            return f"{tree}{unit}{where}"
        left, right = self.quantity(tree.left, where, unit), self.quantity(tree.right, where, unit)
        return f"{left} {_OPERATOR[tree.operator]} {right}"

    def _tallied(self, tree: Tally) -> str:
        first = self._series(tree.operands[0])
        if len(tree.operands) == 3:
            return f"{self._series(tree.operands[1])} between {first} and {self._series(tree.operands[2])}"
        words = [
            f"{_RELATION[operator]} {self._series(each)}"
            for operator, each in zip(tree.operators, tree.operands[1:], strict=True)
        ]
        return f"{first} {' and '.join(words)}"

    def _series(self, tree: Quantity | None) -> str:
        if tree is None:
            return self.only
        if isinstance(tree, Named):
            return self.only if tree.name == "x" else tree.name
        return self._number(tree) if isinstance(tree, Number) else str(tree)

    def _number(self, number: Number) -> str:
        digits = f"{number.value:,.12g}"
        return digits + (f" {number.unit}" if number.unit and number.unit != self.unit else "")

    def span(self, tree: During) -> str:
        """A bracket, with a space before it."""
        words = ", ".join(self._one_span(part) for part in tree.parts)
        if self.calendar is None:
            return f" {words}"
        steps = len(self.calendar.steps(tree.parts, "", tree.bracket))
        plural = "step" if steps == 1 else "steps"
        return f" {words} ({self._dates(tree.parts)}{steps} {plural})"

    def _dates(self, parts: tuple[Part, ...]) -> str:
        """For days by number: their dates, and whether the horizon has all of them."""
        if self.calendar is None or len(parts) != 1 or not isinstance(parts[0], Counted) or parts[0].word != "day":
            return ""
        ends = [int(end.value) for end in (parts[0].first, parts[0].last) if end]
        numbers = self.calendar.numbers("day")
        dates = [str(self.calendar.local[np.searchsorted(numbers, end)])[:10] for end in ends]
        whole = all(map(self.calendar.is_whole_day, ends))
        return f"{' to '.join(dates)}, " + ("" if whole else "not whole, ")

    def _one_span(self, part: Part) -> str:
        if isinstance(part, Counted):
            return _counted(part)
        if isinstance(part, Weekdays):
            return f"on {part}" if part.word.startswith("week") else f"on {part.word.capitalize()}s"
        first, last = part.first, part.last
        if first.kind == "time":
            return f"at {first} of each day" if last is None else f"between {first} and {last} of each day"
        if last is not None:
            return f"from {first} to {last}"
        return f"{ {'moment': 'at', 'date': 'on', 'month': 'in'}[first.kind] } {first}"


def _counted(part: Counted) -> str:
    if part.word in ("first", "last"):
        unit = part.first.unit or "steps"
        unit = ("step" if part.first.value == 1 else "steps") if unit in STEP_UNITS else unit
        return f"in the {part.word} {part.first.value:g} {unit}"
    preposition = {"day": "on", "hour": "in", "step": "at"}[part.word]
    if part.last is None:
        return f"{preposition} {part.word} {part.first}"
    return f"{preposition} {part.word}s {part.first} to {part.last}"


def _flipped(operator: str) -> str:
    return operator.translate(str.maketrans("<>", "><"))


def _is_summary(tree: Quantity) -> bool:
    if isinstance(tree, During | Negative):
        return _is_summary(tree.inner)  # type: ignore[arg-type]
    if isinstance(tree, Arithmetic):
        return _is_summary(tree.left) or _is_summary(tree.right)
    return isinstance(tree, Summary | Tally)


def _is_moment(tree: Quantity, where: str) -> bool:
    """Whether a series is taken at one time step, as far as its brackets say so."""
    if where.startswith((" at step ", " at 2")) and "each day" not in where:
        return True
    if isinstance(tree, Arithmetic):
        return _is_moment(tree.left, where) and _is_moment(tree.right, where)
    if not isinstance(tree, During):
        return isinstance(tree, Number)
    for part in tree.parts:
        single = getattr(part, "last", 1) is None
        if single and (getattr(part, "word", "") == "step" or getattr(part.first, "kind", "") == "moment"):  # type: ignore[union-attr]
            return True
    return _is_moment(tree.inner, where)  # type: ignore[arg-type]
