"""What a written condition is made of, before it is known what it is applied to: its tree, and how a tree is written.

Nodes compare by content. ``span`` (first and last character of the text) is left out of comparisons, so that a tree
equals the one that is read from ``str(tree)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CHARACTERS = tuple[int, int]  # [first, last) of the text

_LONGEST_LINE = 100
_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _UNARY, _ATOM = range(8)


class ConditionError(ValueError):
    """A condition that cannot be read, or not for this problem. The message shows the place in the text.

    Args:
        message: what is wrong.
        text: the whole condition.
        characters: first and last character at fault, or the position of a single one.
        remedy: how to write it.

    Attributes:
        position: of the first character at fault, from 0.
    """

    def __init__(self, message: str, text: str, characters: CHARACTERS | int, remedy: str = "") -> None:
        first, last = characters if isinstance(characters, tuple) else (characters, characters + 1)
        self.message, self.text, self.remedy = message, text, remedy
        self.position = min(first, len(text))
        super().__init__(f"{message}\n{_marked(text, self.position, last)}" + (f"\n{remedy}" if remedy else ""))

    def about(self, problem: str) -> ConditionError:
        """The same error, with the name of a problem."""
        end = self.position + 1
        found = ConditionError(f"{problem}: {self.message}", self.text, (self.position, end), self.remedy)
        found.args = (f"{problem}: {self.args[0]}",)
        return found


def _marked(text: str, first: int, last: int) -> str:
    """The line of the text at fault, and carets under the characters at fault."""
    start = text.rfind("\n", 0, first) + 1
    stop = text.find("\n", first)
    line = text[start : len(text) if stop < 0 else stop]
    if len(line) > _LONGEST_LINE:
        left = min(max(first - start - _LONGEST_LINE // 2, 0), len(line) - _LONGEST_LINE)
        line, start = line[left : left + _LONGEST_LINE], start + left
    width = max(1, min(last, start + len(line)) - first)
    return f"  {line}\n  {' ' * (first - start)}{'^' * width}"


@dataclass(frozen=True)
class Number:
    """A number that is not negative, with the unit that was written after it."""

    value: float
    unit: str = ""
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        digits = f"{self.value:.0f}" if self.value.is_integer() and self.value < 1e15 else repr(self.value)
        return digits + (f" {_name(self.unit, frozenset(('and', 'or', 'not')))}" if self.unit else "")


@dataclass(frozen=True)
class Named:
    """A series by its name."""

    name: str
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return _name(self.name)


@dataclass(frozen=True)
class Summary:
    """A statistic of a series: max, min, mean, sum, std, range, ramp, first or last.

    Attributes:
        argument: a combination of series; None for the only one.
    """

    function: str
    argument: Quantity | None = None
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return self.function if self.argument is None else f"{self.function}({self.argument})"


@dataclass(frozen=True)
class Tally:
    """How many time steps satisfy a comparison of series, in all (``count``) or in a row (``longest run``).

    Attributes:
        operands, operators: the comparison; the first operand is None for the only series.
    """

    function: str
    operands: tuple[Quantity | None, ...]
    operators: tuple[str, ...]
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"{self.function}({_chained(self.operands, self.operators)})"


@dataclass(frozen=True)
class Negative:
    """-q."""

    inner: Quantity
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"-{_within(self.inner, _UNARY)}"


@dataclass(frozen=True)
class Arithmetic:
    """left + right, or with another of + - * /."""

    left: Quantity
    operator: str
    right: Quantity
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        level = _level(self)
        return f"{_within(self.left, level)} {self.operator} {_within(self.right, level + 1)}"


@dataclass(frozen=True)
class Endpoint:
    """A date with a time of day (``moment``), a date, a month, or a time of day."""

    kind: str
    text: str  # 2026-01-03 18:00, 2026-01-03, 2026-01, 18:00
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Interval:
    """From one endpoint to another, both included; without the other, what the first one names."""

    first: Endpoint
    last: Endpoint | None = None
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"{self.first}" if self.last is None else f"{self.first}..{self.last}"


@dataclass(frozen=True)
class Counted:
    """``day 1``, ``hours 1..24``, ``first 4 h``: days, hours or steps by number, or the first or last so many."""

    word: str  # day, hour, step, first, last
    first: Number
    last: Number | None = None
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"{self.word} {self.first}" if self.last is None else f"{self.word} {self.first}..{self.last}"


@dataclass(frozen=True)
class Weekdays:
    """``weekdays``, ``weekends``, or a day of the week."""

    word: str
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return self.word


Part = Interval | Counted | Weekdays


@dataclass(frozen=True)
class During:
    """What is within, during the time steps that all parts of the bracket name."""

    inner: Tree
    parts: tuple[Part, ...]
    span: CHARACTERS = field(default=(0, 0), compare=False)
    bracket: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"{_within(self.inner, _ATOM)}[{', '.join(map(str, self.parts))}]"


@dataclass(frozen=True)
class Chain:
    """``a < b`` or ``a < b < c``, with the tolerance of its bounds.

    Attributes:
        tolerance: ``+-`` (a hard band about an equality) or ``~`` (a standard deviation) and a number.
    """

    operands: tuple[Quantity, ...]
    operators: tuple[str, ...]
    tolerance: tuple[str, Number] | None = None
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        tolerance = f" {self.tolerance[0]} {self.tolerance[1]}" if self.tolerance else ""
        return _chained(self.operands, self.operators) + tolerance


@dataclass(frozen=True)
class Both:
    """Every part holds."""

    parts: tuple[Tree, ...]
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return " and ".join(_within(part, _AND + 1) for part in self.parts)


@dataclass(frozen=True)
class Either:
    """At least one part holds."""

    parts: tuple[Tree, ...]
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return " or ".join(_within(part, _OR + 1) for part in self.parts)


@dataclass(frozen=True)
class Negated:
    """The part does not hold."""

    part: Tree
    span: CHARACTERS = field(default=(0, 0), compare=False)

    def __str__(self) -> str:
        return f"not {_within(self.part, _NOT)}"


Quantity = Number | Named | Summary | Tally | Negative | Arithmetic | During
Statement = Chain | Both | Either | Negated
Tree = Quantity | Statement


def is_statement(tree: Tree) -> bool:
    """Whether a tree says something that holds or not. Otherwise it is a number."""
    return is_statement(tree.inner) if isinstance(tree, During) else isinstance(tree, Statement)


def has_tally(tree: Tree | None) -> bool:
    """Whether a quantity counts time steps."""
    if isinstance(tree, Arithmetic):
        return has_tally(tree.left) or has_tally(tree.right)
    if isinstance(tree, Negative | During):
        return has_tally(tree.inner)
    return isinstance(tree, Tally)


def _level(tree: Tree) -> int:
    """How tightly a tree binds."""
    if isinstance(tree, Arithmetic):
        return _SUM if tree.operator in "+-" else _PRODUCT
    levels = {Either: _OR, Both: _AND, Negated: _NOT, Chain: _COMPARISON, Negative: _UNARY}
    return levels.get(type(tree), _ATOM)


def _within(tree: Tree, level: int) -> str:
    """A tree as a part of one that binds at ``level``, in parentheses if it needs them."""
    return str(tree) if _level(tree) >= level else f"({tree})"


def _chained(operands: tuple[Quantity | None, ...], operators: tuple[str, ...]) -> str:
    first = "" if operands[0] is None else f"{_within(operands[0], _SUM)} "
    rest = (f"{sign} {_within(each, _SUM)}" for sign, each in zip(operators, operands[1:], strict=True) if each)
    return first + " ".join(rest)


KEYWORDS = frozenset(
    "and or not max min mean average sum total std range ramp first last count".split()  # noqa: SIM905
)


def _name(name: str, keywords: frozenset[str] = KEYWORDS) -> str:
    """A name as it is written: in quotes unless it is one word that means nothing else."""
    if name.replace("_", "a").isalnum() and not name[0].isdecimal() and name.lower() not in keywords:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
